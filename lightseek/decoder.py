"""The language decoder: rotary attention with a cache, dense or mixture-of-experts feed-forward.

One class for the official family (RMS norm, SwiGLU, 64 experts of which 6 answer) and for nano
(layer norm, ReLU squared, place heads beside it). Knows nothing of images: it takes embeddings.

Axes: B R sequences, L new tokens, M tokens seen, T room, N layers, D width, A heads, K head width.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from lightseek.attention import Mlp, attend
from lightseek.config import DecoderConfig, MoeConfig
from lightseek.linear import Linear


class Rotary(NamedTuple):
    """Cosine and sine of every position's angles."""

    cos: Float[Tensor, "B 1 L K"]
    sin: Float[Tensor, "B 1 L K"]

    def at(self, start: int, length: int) -> "Rotary":
        """The part for `length` tokens from `start`."""
        stop = start + length
        return Rotary(self.cos[:, :, start:stop], self.sin[:, :, start:stop])

    def turn(self, x: Float[Tensor, "B A L K"]) -> Float[Tensor, "B A L K"]:
        """Rotate the first half of each head against the second (RoFormer, arXiv 2104.09864)."""
        first, second = x.chunk(2, dim=-1)
        return x * self.cos + torch.cat([-second, first], dim=-1) * self.sin


class KvCache:
    """Keys and values of every layer, with room for the whole sequence.

    Args:
        config: Sizes of the decoder.
        batch: Sequences.
        room: Tokens that fit.
        like: A tensor whose device and dtype the cache takes.
    """

    def __init__(self, config: DecoderConfig, *, batch: int, room: int, like: Tensor) -> None:
        shape = (config.depth, batch, config.heads, room, config.dim // config.heads)
        # not zeroed: memory that is never written is never taken, and the limit is far away
        self.keys = like.new_empty(shape)
        self.values = like.new_empty(shape)
        self.length = 0

    def extend(
        self, layer: int, key: Float[Tensor, "B A L K"], value: Float[Tensor, "B A L K"]
    ) -> tuple[Float[Tensor, "B A M K"], Float[Tensor, "B A M K"]]:
        """Write new tokens behind the old ones and return all of them.

        `length` moves once a step, in `Decoder.forward`: all layers write at one place.
        """
        stop = self.length + key.shape[2]
        self.keys[layer, :, :, self.length : stop] = key
        self.values[layer, :, :, self.length : stop] = value
        return self.keys[layer, :, :, :stop], self.values[layer, :, :, :stop]

    def select(self, rows: Int[Tensor, " R"]) -> None:
        """Keep these sequences, in this order: finished ones leave, beams are copied."""
        self.keys = self._chosen(self.keys, rows)
        self.values = self._chosen(self.values, rows)

    def _chosen(
        self, stored: Float[Tensor, "N B A T K"], rows: Int[Tensor, " R"]
    ) -> Float[Tensor, "N R A T K"]:
        if len(rows) > stored.shape[1]:
            return stored.index_select(1, rows)
        # in place, and only what has been written
        stored[:, : len(rows), :, : self.length] = stored[:, rows, :, : self.length]
        return stored[:, : len(rows)]


class SelfAttention(nn.Module):
    """Multi-head attention with rotary positions."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.query = Linear(config.dim, config.dim, bias=config.bias)
        self.key = Linear(config.dim, config.dim, bias=config.bias)
        self.value = Linear(config.dim, config.dim, bias=config.bias)
        self.out = Linear(config.dim, config.dim, bias=config.bias)

    def forward(
        self,
        x: Float[Tensor, "B L D"],
        rotary: Rotary,
        bias: Float[Tensor, "..."] | None,
        cache: KvCache | None,
        layer: int,
    ) -> Float[Tensor, "B L D"]:
        """Mix each token with those that the bias lets it see."""
        query, key, value = (
            rearrange(project(x), "b l (a k) -> b a l k", a=self.heads)
            for project in (self.query, self.key, self.value)
        )
        query, key = rotary.turn(query), rotary.turn(key)
        if cache is not None:
            key, value = cache.extend(layer, key, value)
        return self.out(rearrange(attend(query, key, value, bias), "b a l k -> b l (a k)"))


class SwiGlu(nn.Module):
    """Gated feed-forward (arXiv 2002.05202)."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.gate = Linear(dim, hidden_dim, bias=False)
        self.up = Linear(dim, hidden_dim, bias=False)
        self.down = Linear(hidden_dim, dim, bias=False)

    def forward(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        """Widen, gate, narrow."""
        return self.down(F.silu(self.gate(x)) * self.up(x))


class MoeFeedForward(nn.Module):
    """A few of many experts for each token, and one that all tokens share.

    Router weights are a softmax over all experts, not renormalised over the chosen
    (`norm_topk_prob` false in the official config).
    """

    def __init__(self, dim: int, config: MoeConfig) -> None:
        super().__init__()
        self.active = config.active
        self.router = nn.Linear(dim, config.experts, bias=False)
        self.experts = nn.ModuleList(SwiGlu(dim, config.expert_dim) for _ in range(config.experts))
        self.shared = SwiGlu(dim, config.shared_dim)

    def forward(self, x: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        """Send tokens to their experts in groups, add the shared answer."""
        tokens = rearrange(x, "b l d -> (b l) d")
        scores = F.linear(tokens.float(), self.router.weight.float()).softmax(-1)
        weights, chosen = scores.topk(self.active, dim=-1)
        if len(tokens) == 1:
            answers = torch.cat([self.experts[e](tokens) for e in chosen[0].tolist()])
            return (weights.to(answers.dtype) @ answers + self.shared(tokens)).view_as(x)
        # tokens sorted by expert: every expert multiplies one group
        order = chosen.flatten().argsort(stable=True)
        counts = chosen.flatten().bincount(minlength=len(self.experts)).tolist()
        owners = order // self.active
        groups = torch.split(tokens[owners], counts)
        answers = torch.cat(
            [self.experts[e](group) for e, group in enumerate(groups) if len(group)]
        )
        answers = answers * weights.flatten()[order, None].to(answers.dtype)
        mixed = torch.zeros_like(tokens).index_add_(0, owners, answers)
        return (mixed + self.shared(tokens)).view_as(x)


class DecoderLayer(nn.Module):
    """Attention, then feed-forward, each behind a norm."""

    def __init__(self, config: DecoderConfig, index: int) -> None:
        super().__init__()
        self.index = index
        self.norm1 = make_norm(config)
        self.attention = SelfAttention(config)
        self.norm2 = make_norm(config)
        self.feed_forward = make_feed_forward(config, index)

    def forward(
        self,
        x: Float[Tensor, "B L D"],
        rotary: Rotary,
        bias: Float[Tensor, "..."] | None,
        cache: KvCache | None,
    ) -> Float[Tensor, "B L D"]:
        """One layer over new tokens."""
        x = x + self.attention(self.norm1(x), rotary, bias, cache, self.index)
        return x + self.feed_forward(self.norm2(x))


def make_norm(config: DecoderConfig) -> nn.Module:
    """The norm that the config names."""
    if config.norm == "rms":
        return nn.RMSNorm(config.dim, eps=config.norm_eps)
    return nn.LayerNorm(config.dim, eps=config.norm_eps)


def make_feed_forward(config: DecoderConfig, index: int) -> nn.Module:
    """Experts where the config has them and the layer is not one of the first, dense elsewhere."""
    if config.moe is not None and index >= config.moe.dense_layers:
        return MoeFeedForward(config.dim, config.moe)
    if config.feed_forward == "swiglu":
        return SwiGlu(config.dim, config.mlp_dim)
    return Mlp(config.dim, config.mlp_dim, config.feed_forward, bias=config.bias)


class Decoder(nn.Module):
    """Embeddings in, hidden states out."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(DecoderLayer(config, i) for i in range(config.depth))
        self.norm = make_norm(config)

    def forward(
        self,
        x: Float[Tensor, "B L D"],
        rotary: Rotary,
        bias: Float[Tensor, "..."] | None = None,
        cache: KvCache | None = None,
    ) -> Float[Tensor, "B L D"]:
        """Run new tokens through all layers.

        Args:
            x: Embeddings of the new tokens.
            rotary: Angles of their positions.
            bias: Added to attention scores: minus infinity where a token may not look.
            cache: Earlier tokens; the new ones are written behind them.
        """
        for layer in self.layers:
            x = layer(x, rotary, bias, cache)
        if cache is not None:
            cache.length += x.shape[1]
        return self.norm(x)

    def rotary(self, positions: Int[Tensor, "B L"], like: Tensor) -> Rotary:
        """Angles of positions, in the dtype of `like`; computed in float32."""
        head_dim = self.config.dim // self.config.heads
        powers = torch.arange(0, head_dim, 2, device=positions.device).float() / head_dim
        angles = positions[:, None, :, None].float() / self.config.rope_base**powers
        angles = torch.cat([angles, angles], dim=-1)
        return Rotary(angles.cos().to(like.dtype), angles.sin().to(like.dtype))
