"""Matrix products at the speed at which weights come out of memory.

Decoding multiplies every weight by one row for each token, which takes as long as reading the
weights: that is all that a kernel can lose or win.
"""

import warnings
from collections.abc import Iterator
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
        self._packed: torch.ScriptObject | None = None

    def pack(self) -> None:
        """Lay the weights out for the kernel, once they are there, and let go of what was read."""
        here = all(tensor.device.type == "cpu" for tensor in self.buffers())
        if self._packed is not None or not here or not HAS_KERNEL:
            return
        zeros = torch.zeros(len(self.scale), dtype=torch.long)
        with warnings.catch_warnings():
            # tensors of such a type are to go one day, but no other kernel of torch is as fast
            warnings.filterwarnings("ignore", "torch.quantize_per_tensor")
            whole = torch._make_per_channel_quantized_tensor(self.weight, self.scale, zeros, 0)
            self._packed = torch.ops.quantized.linear_prepack(whole, None)
        self.register_buffer("weight", None)
        self.register_buffer("scale", None)

    def forward(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B E"]:
        """Multiply rows by the weights."""
        if x.requires_grad and torch.is_grad_enabled():
            # torch has no types for it
            found: Tensor = _Frozen.apply(x, self)  # type: ignore[no-untyped-call]
        else:
            found = self.multiply(x)
        return found if self.bias is None else found + self.bias

    def spread(self, dtype: torch.dtype) -> Float[Tensor, "E D"]:
        """The weights as they would be in another type."""
        if self._packed is None:
            return self.weight.to(dtype) * self.scale[:, None].to(dtype)
        whole: Tensor = torch.ops.quantized.linear_unpack(self._packed)[0].dequantize()
        return whole.to(dtype)

    def multiply(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B E"]:
        """Rows times weights, by the kernel if there is one."""
        if self._packed is None:
            return F.linear(x, self.spread(x.dtype))
        kernel = torch.ops.quantized.linear_dynamic
        rows = x.float()
        if x.numel() == x.shape[-1]:
            return kernel(rows, self._packed, REDUCE_RANGE).to(x.dtype)
        # one scale serves all rows: of equal height, none drowns the others
        height = rows.abs().amax(-1, keepdim=True).clamp(min=SMALLEST)
        return (kernel(rows / height, self._packed, REDUCE_RANGE) * height).to(x.dtype)


class _Frozen(torch.autograd.Function):
    """What reaches the rows of a product whose weights, in 8 bits, do not learn.

    The kernel has no derivative, and weights spread out for one would be kept by every layer.
    """

    @staticmethod
    def forward(ctx: Any, x: Float[Tensor, "*B D"], layer: Int8Linear) -> Float[Tensor, "*B E"]:
        ctx.layer = layer
        return layer.multiply(x)

    @staticmethod
    def backward(ctx: Any, gradient: Float[Tensor, "*B E"]) -> tuple[Float[Tensor, "*B D"], None]:
        return gradient @ ctx.layer.spread(gradient.dtype), None


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
    """Pack all layers whose values are there."""
    for _, part in _int8_parts(module):
        part.pack()


def _int8_parts(module: nn.Module) -> Iterator[tuple[str, Int8Linear]]:
    return ((n, part) for n, part in module.named_modules() if isinstance(part, Int8Linear))
