"""Matrix products at the speed at which weights come out of memory.

Decoding multiplies every weight by one row for each token, which takes as long as reading the
weights: that is all that a kernel can lose or win.
"""

import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int8
from torch import Tensor, nn

SMALLEST = 1e-12
"""Stands for the height of rows that are all zero."""
HAS_KERNEL = "fbgemm" in torch.backends.quantized.supported_engines
REDUCE_RANGE = not torch.cpu._is_vnni_supported()
"""Whether a bit is left out, because sums of the kernel overflow without VNNI."""


class Linear(nn.Linear):
    """`nn.Linear`, twice as fast for one row of bfloat16 on a CPU."""

    def forward(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B E"]:
        """Multiply rows by the weights."""
        return multiply(x, self.weight, self.bias)


def multiply(
    x: Float[Tensor, "*B D"], weight: Float[Tensor, "E D"], bias: Float[Tensor, " E"] | None = None
) -> Float[Tensor, "*B E"]:
    """Rows times weights.

    oneDNN rearranges all weights for every product, which pays for many rows. For one, torch's
    own kernel reads them once, as they are, and sums in float32.
    """
    one_row = x.numel() == x.shape[-1] and x.dtype == torch.bfloat16 and x.device.type == "cpu"
    if not one_row or torch.is_grad_enabled() or not torch._C._get_mkldnn_enabled():
        return F.linear(x, weight, bias)
    # the switch is the process's: what another thread computes meanwhile is right, only slower
    torch._C._set_mkldnn_enabled(False)
    try:
        return F.linear(x, weight, bias)
    finally:
        torch._C._set_mkldnn_enabled(True)


class Int8Linear(nn.Module):
    """A linear layer whose weights are whole numbers, each row of them with its scale.

    On x86 they are packed for FBGEMM, which rounds the rows that it multiplies to 8 bits too;
    elsewhere they are spread out to the dtype of the rows.
    """

    def __init__(self, in_dim: int, out_dim: int, *, bias: bool) -> None:
        super().__init__()
        self.in_features, self.out_features = in_dim, out_dim
        self.weight: Tensor
        self.scale: Tensor
        self.register_buffer("weight", torch.zeros(out_dim, in_dim, dtype=torch.int8))
        self.register_buffer("scale", torch.ones(out_dim))
        self.bias = nn.Parameter(torch.zeros(out_dim)) if bias else None
        self.packed: Packed | None = None

    def forward(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B E"]:
        """Multiply rows by the weights."""
        if torch.is_grad_enabled() and x.requires_grad:
            found = _Int8Product.apply(x, self)  # type: ignore[no-untyped-call]
        else:
            found = self.multiply(x)
        return found if self.bias is None else found + self.bias

    def spread(self, dtype: torch.dtype) -> Float[Tensor, "E D"]:
        """The weights as numbers of a dtype."""
        if self.packed is not None:
            weight, _ = torch.ops.quantized.linear_unpack(self.packed.matrix)
            return weight.dequantize()[self.packed.rows_of[self]].to(dtype)
        return self.weight.to(dtype) * self.scale[:, None].to(dtype)

    def multiply(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B E"]:
        """Rows times weights, without the bias; no gradients are kept."""
        if self.packed is None:
            return F.linear(x, self.spread(x.dtype))
        return self.packed.multiply(x)[..., self.packed.rows_of[self]]


class Packed:
    """Weights of layers that multiply the same rows, one under the other, as FBGEMM reads them.

    Args:
        layers: Give up their weights, which are there from now on.
    """

    def __init__(self, layers: Sequence[Int8Linear]) -> None:
        weight = torch.cat([layer.weight for layer in layers])
        scale = torch.cat([layer.scale for layer in layers])
        zeros = torch.zeros(len(scale), dtype=torch.long)
        whole = torch._make_per_channel_quantized_tensor(weight, scale, zeros, 0)
        self.matrix = torch.ops.quantized.linear_prepack(whole, None)
        self.rows_of: dict[Int8Linear, slice] = {}
        stop = 0
        for layer in layers:
            start, stop = stop, stop + len(layer.scale)
            self.rows_of[layer] = slice(start, stop)
            layer.register_buffer("weight", None)
            layer.register_buffer("scale", None)
            layer.packed = self

    def multiply(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B E"]:
        """Rows times the weights of all layers."""
        kernel = torch.ops.quantized.linear_dynamic
        rows = x.float()
        if x.numel() == x.shape[-1]:
            return kernel(rows, self.matrix, REDUCE_RANGE).to(x.dtype)
        # one scale serves all rows: of equal height, none drowns the others
        height = rows.abs().amax(-1, keepdim=True).clamp(min=SMALLEST)
        return (kernel(rows / height, self.matrix, REDUCE_RANGE) * height).to(x.dtype)


def fan_out(x: Float[Tensor, "*B D"], *layers: nn.Module) -> list[Float[Tensor, "*B _"]]:
    """Multiply the same rows by several layers: in one product, where they are packed together."""
    packed = getattr(layers[0], "packed", None)
    learns = torch.is_grad_enabled() and x.requires_grad
    # those that have got an adapter are no longer what was packed
    if packed is None or learns or list(packed.rows_of) != list(layers):
        return [layer(x) for layer in layers]
    found = packed.multiply(x)
    parts = [found[..., rows] for rows in packed.rows_of.values()]
    return [
        part if layer.bias is None else part + layer.bias
        for layer, part in zip(packed.rows_of, parts, strict=True)
    ]


class _Int8Product(torch.autograd.Function):
    """Lets gradients through to the rows; weights in 8 bits are frozen.

    They are spread out again on the way back: kept from the way forth, they would take twice the
    memory of the model that was not in 8 bits.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Int8Linear) -> Tensor:
        ctx.layer = layer
        return layer.multiply(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        [grad] = grads
        return grad @ ctx.layer.spread(grad.dtype), None


def to_int8(weight: Float[Tensor, "E D"]) -> tuple[Int8[Tensor, "E D"], Float[Tensor, " E"]]:
    """Round every row to 255 steps between its extremes."""
    rows = weight.float()
    scale = (rows.abs().amax(-1) / 127).clamp(min=SMALLEST)
    return (rows / scale[:, None]).round().to(torch.int8), scale


def hold_in_int8(module: nn.Module) -> None:
    """Put an `Int8Linear` in place of every `Linear` in a module; the values are to be loaded."""
    for name, child in module.named_children():
        if isinstance(child, Linear):
            bias = child.bias is not None
            setattr(module, name, Int8Linear(child.in_features, child.out_features, bias=bias))
        else:
            hold_in_int8(child)


def int8_tensors(module: nn.Module) -> set[str]:
    """Names of the tensors that keep their type, whatever the others are cast to."""
    return {f"{at}.{name}" for at, part in _int8_parts(module) for name in ("weight", "scale")}


def pack_int8(module: nn.Module) -> None:
    """Pack all layers whose values are there, on all cores: it takes longer than reading them.

    Those that a module names in `FED_ALIKE` multiply the same rows, and are packed together.
    """
    if not HAS_KERNEL:
        return
    with warnings.catch_warnings(), ThreadPoolExecutor(torch.get_num_threads()) as pool:
        # tensors of such a type are to go one day, but no other kernel of torch is as fast
        warnings.filterwarnings("ignore", "torch.quantize_per_tensor")
        list(pool.map(Packed, [group for group in _groups(module) if all(map(_is_here, group))]))


def _groups(module: nn.Module) -> Iterator[list[Int8Linear]]:
    for part in module.modules():
        alone = {n: child for n, child in part.named_children() if isinstance(child, Int8Linear)}
        together = [alone.pop(name) for name in getattr(part, "FED_ALIKE", ()) if name in alone]
        yield from ([layer] for layer in alone.values())
        if together:
            yield together


def _is_here(layer: Int8Linear) -> bool:
    """Whether a layer has its values, in the memory that the kernel reads, and is not packed."""
    return layer.packed is None and all(b.device.type == "cpu" for b in layer.buffers())


def _int8_parts(module: nn.Module) -> Iterator[tuple[str, Int8Linear]]:
    return ((n, part) for n, part in module.named_modules() if isinstance(part, Int8Linear))
