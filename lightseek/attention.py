"""What encoder and decoder share: attention, norms over channels, activations.

Axes: B sequences, A heads, L queries, M keys, K head width, D width, H W map rows and columns.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lightseek.config import Activation
from lightseek.linear import Linear

FEW_QUERIES, FEW_WITH_BIAS = 64, 256
"""Up to so many, plain operations beat the fused attention kernel of a CPU."""


def quick_gelu(x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """The sigmoid approximation of GELU that CLIP was trained with."""
    return x * torch.sigmoid(1.702 * x)


def relu2(x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """ReLU squared: as good as GELU here and nearly free on a CPU."""
    return F.relu(x).square()


ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "quick_gelu": quick_gelu,
    "relu2": relu2,
}


def attend(
    query: Float[Tensor, "B A L K"],
    key: Float[Tensor, "B A M K"],
    value: Float[Tensor, "B A M K"],
    bias: Float[Tensor, "..."] | None = None,
) -> Float[Tensor, "B A L K"]:
    """Softmax attention with an additive bias on the scores.

    On a CPU, three plain operations take half the time of the fused kernel backwards, and forward
    wherever few queries look at once: in windows and in decoding. Elsewhere the fused kernel wins.
    """
    most = FEW_QUERIES if bias is None else FEW_WITH_BIAS
    if query.device.type == "cpu" and (torch.is_grad_enabled() or query.shape[2] <= most):
        scores = _scores(query * query.shape[-1] ** -0.5, key)
        if bias is not None:
            scores += bias
        return scores.softmax(-1) @ value
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias)


def _scores(
    query: Float[Tensor, "B A L K"], key: Float[Tensor, "B A M K"]
) -> Float[Tensor, "B A L M"]:
    if query.shape[2] == 1:
        # a CPU reads the keys three times as fast when they are the left side
        return (key @ query.transpose(-1, -2)).transpose(-1, -2)
    return query @ key.transpose(-1, -2)


class MapNorm(nn.LayerNorm):
    """LayerNorm over the channels of a feature map."""

    def forward(self, x: Float[Tensor, "B D H W"]) -> Float[Tensor, "B D H W"]:
        """Norm every cell by itself."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Mlp(nn.Module):
    """Two linear layers with an activation between them."""

    def __init__(self, dim: int, hidden_dim: int, activation: Activation, *, bias: bool = True):
        super().__init__()
        self.up = Linear(dim, hidden_dim, bias=bias)
        self.down = Linear(hidden_dim, dim, bias=bias)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        """Widen, activate, narrow."""
        return self.down(self.activation(self.up(x)))
