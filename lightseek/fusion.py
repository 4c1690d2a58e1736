"""How CLIP and compressor features become visual tokens: side by side, or one after the other.

Channels (DeepSeek-OCR): both vectors of a place are one token. Sequence (LightSeek-OCR): each is
a token of its own, so that a decoder can look at what is printed and at how it belongs together
apart from each other.

Axes: V views, h w rows and columns of places, F width of both vectors together, D width of the
decoder.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightseek.config import ModelConfig

SCALES = {"channels": 1, "sequence": 2}
"""Visual tokens for one place of a view."""


EMBEDDING_STD = 0.02
"""Of fresh embeddings, and of the places that are added to them and to visual tokens: a loud one
makes a tied head sure of what it has just read."""


class Projector(nn.Module):
    """Features to the decoder's width."""

    def __init__(self, in_dim: int, out_dim: int, *, norm: bool, eps: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(in_dim, eps=eps) if norm else nn.Identity()
        self.linear = nn.Linear(in_dim, out_dim)

    def forward(self, features: Float[Tensor, "*B F"]) -> Float[Tensor, "*B D"]:
        """Project every vector."""
        return self.linear(self.norm(features))


class SequenceProjector(nn.Module):
    """Two visual tokens for every place: those of the compressor (local), then CLIP's (global).

    They leave as large as embeddings. Features are a hundred times larger: a place that is added
    to them would not be heard, and attention would have no address to go to.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.widths = [config.clip.dim, config.compressor.dim]
        self.of_clip, self.of_compressor = (
            Projector(dim, config.decoder.dim, norm=config.fusion_norm, eps=config.clip.norm_eps)
            for dim in self.widths
        )
        self.out_norm = nn.LayerNorm(config.decoder.dim, eps=config.clip.norm_eps)
        nn.init.constant_(self.out_norm.weight, EMBEDDING_STD)

    def forward(self, fused: Float[Tensor, "V h w F"]) -> Float[Tensor, "V 2*h w D"]:
        """Project both, the rows of the local map above those of the global one."""
        clip, compressed = torch.split(fused, self.widths, dim=-1)
        tokens = torch.cat([self.of_compressor(compressed), self.of_clip(clip)], dim=1)
        return self.out_norm(tokens)


def make_projector(config: ModelConfig) -> nn.Module:
    """The fusion that the config names."""
    if config.fusion == "sequence":
        return SequenceProjector(config)
    return Projector(
        config.fused_dim, config.decoder.dim, norm=config.fusion_norm, eps=config.clip.norm_eps
    )
