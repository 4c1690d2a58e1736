"""The language decoder: rotary attention with a cache, dense or mixture-of-experts feed-forward.

One class for the official family (RMS norm, SwiGLU, 64 experts of which 6 answer) and for nano
(layer norm, ReLU squared, place heads beside it). Knows nothing of images: it takes embeddings.

Axes: B R sequences, L new tokens, M tokens seen, T room, N layers, D width, A heads, K head width.
"""

from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lightseek.attention import Mlp, attend
from lightseek.config import DecoderConfig, MoeConfig
from lightseek.linear import Linear, fan_out

HIDDEN = float("-inf")
"""Score of a token that may not be seen."""
GROWTH = 32
"""Tokens by which a cache grows: seldom enough, and few of them empty."""


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
    """Keys and values of every layer, growing with the sequence, or until the window is full.

    Matrix products copy what does not lie side by side, so the tokens of a sequence do, and a
    few places behind them that are not written yet. Attention does not ask in which order they
    lie: with a sliding window, a token takes the place of the one that has left it.

    Args:
        config: Sizes of the decoder.
        batch: Sequences.
        like: A tensor whose device and dtype the cache takes.
        prompt: Tokens of the prompt, which every token sees.
    """

    def __init__(self, config: DecoderConfig, *, batch: int, like: Tensor, prompt: int) -> None:
        self._prompt, self._window = prompt, config.sliding_window
        shape = (config.depth, batch, config.heads, 0, config.dim // config.heads)
        self.keys = like.new_empty(shape)
        self.values = like.new_empty(shape)
        self.length = 0
        """Tokens of the sequence so far, those that are forgotten too."""

    @property
    def room(self) -> int:
        """Tokens that fit before it grows."""
        return self.keys.shape[3]

    def held(self, new: int) -> int:
        """Tokens that it holds once some new ones are written."""
        stop = self.length + new
        return stop if self._window is None else min(stop, self._prompt + self._window)

    def make_room(
        self, bias: Float[Tensor, "*B L M"] | None, count: int
    ) -> Float[Tensor, "*B L T"] | None:
        """Grow for so many new tokens, and hide from them what is not written yet."""
        stop = self.held(count)
        if stop > self.room:
            added = -(-(stop - self.room) // GROWTH) * GROWTH
            # zeros: what is hidden must not be a NaN behind its mask
            # one after the other: both copies at once would double the memory
            self.keys = F.pad(self.keys, (0, 0, 0, added))
            self.values = F.pad(self.values, (0, 0, 0, added))
        if stop == self.room:
            return bias
        seen = self.keys.new_zeros(1, stop) if bias is None else bias
        return F.pad(seen, (0, self.room - stop), value=HIDDEN)

    def extend(
        self, layer: int, key: Float[Tensor, "B A L K"], value: Float[Tensor, "B A L K"]
    ) -> tuple[Float[Tensor, "B A T K"], Float[Tensor, "B A T K"]]:
        """Write new tokens behind the old ones and return all places, the empty ones too.

        `length` moves once a step, in the pass of the decoder: all layers write at one place.
        """
        start = self._next_place()
        stop = start + key.shape[2]
        self.keys[layer, :, :, start:stop] = key
        self.values[layer, :, :, start:stop] = value
        return self.keys[layer], self.values[layer]

    def _next_place(self) -> int:
        written = self.length - self._prompt
        if self._window is None or written < self._window:
            return self.length
        return self._prompt + written % self._window

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
        held = self.held(0)
        stored[:, : len(rows), :, :held] = stored[:, rows, :, :held]
        return stored[:, : len(rows)]


class SelfAttention(nn.Module):
    """Multi-head attention with rotary positions."""

    FED_ALIKE: ClassVar = ("query", "key", "value")

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
            rearrange(projected, "b l (a k) -> b a l k", a=self.heads)
            for projected in fan_out(x, self.query, self.key, self.value)
        )
        query, key = rotary.turn(query), rotary.turn(key)
        if cache is not None:
            key, value = cache.extend(layer, key, value)
        return self.out(rearrange(attend(query, key, value, bias), "b a l k -> b l (a k)"))


class SwiGlu(nn.Module):
    """Gated feed-forward (arXiv 2002.05202)."""

    FED_ALIKE: ClassVar = ("gate", "up")

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.gate = Linear(dim, hidden_dim, bias=False)
        self.up = Linear(dim, hidden_dim, bias=False)
        self.down = Linear(hidden_dim, dim, bias=False)

    def forward(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        """Widen, gate, narrow."""
        gate, up = fan_out(x, self.gate, self.up)
        return self.down(F.silu(gate) * up)


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
        mixed = answers.new_zeros(tokens.shape).index_add_(0, owners, answers)
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


class DeepDecoder(nn.Module):
    """Embeddings in, hidden states out.

    Raises:
        ValueError: If the config is that of a `CrossDecoder`, which `make_decoder` makes.
    """

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        if config.cross_attention:
            raise ValueError("a decoder with cross-attention is lightseek.cross.CrossDecoder")
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
        if cache is not None:
            bias = cache.make_room(bias, x.shape[1])
        for layer in self.layers:
            x = layer(x, rotary, bias, cache)
        if cache is not None:
            cache.length += x.shape[1]
        return self.norm(x)

    def begin(
        self, prompt: Float[Tensor, "B P D"], max_tokens: int, padding: Bool[Tensor, "B P"] | None
    ) -> "DeepSequences":
        """Begin to write.

        Args:
            prompt: Embeddings of visual tokens and text.
            max_tokens: Most tokens that will be written.
            padding: True where shorter prompts are filled up, on their left.
        """
        return DeepSequences(self, prompt, max_tokens, padding)

    def rotary(self, positions: Int[Tensor, "B L"], like: Tensor) -> Rotary:
        """Angles of positions, in the dtype of `like`; computed in float32."""
        return rotary_angles(self.config, positions, like)


def rotary_angles(config: DecoderConfig, positions: Int[Tensor, "B L"], like: Tensor) -> Rotary:
    """Angles of positions, in the dtype of `like`; computed in float32."""
    head_dim = config.dim // config.heads
    powers = torch.arange(0, head_dim, 2, device=positions.device).float() / head_dim
    angles = positions[:, None, :, None].float() / config.rope_base**powers
    angles = torch.cat([angles, angles], dim=-1)
    return Rotary(angles.cos().to(like.dtype), angles.sin().to(like.dtype))


class DeepSequences:
    """Sequences being written: their cache and positions."""

    def __init__(
        self,
        decoder: DeepDecoder,
        prompt: Float[Tensor, "B P D"],
        max_tokens: int,
        padding: Bool[Tensor, "B P"] | None,
    ) -> None:
        self.decoder, self.prompt = decoder, prompt
        batch, length = prompt.shape[:2]
        room = length + max_tokens
        self.cache = KvCache(decoder.config, batch=batch, like=prompt, prompt=length)
        at = torch.arange(room, device=prompt.device)[None]
        self.rotary = decoder.rotary(at, prompt)
        self.filling: Tensor | None = None
        """Scores that hide what shorter prompts are filled up with."""
        if padding is not None:
            at = (at - padding.sum(1, keepdim=True)).clamp(min=0)
            self.rotary = Rotary(*(angles[0, 0, at][:, None] for angles in self.rotary))
            # a finite score: a row that sees padding alone must not become NaN
            low = torch.finfo(prompt.dtype).min / 2
            hidden = F.pad(padding, (0, max_tokens))[:, None, None]
            self.filling = prompt.new_zeros(hidden.shape).masked_fill(hidden, low)

    def prefill(self) -> Float[Tensor, "B D"]:
        """Run the prompt and return the hidden state that predicts the first token."""
        length = self.prompt.shape[1]
        bias = attention_bias(self.decoder.config, length, length, like=self.prompt)
        if self.filling is not None:
            bias = bias + self.filling[..., :length]
        hidden = self.decoder(self.prompt, self.rotary.at(0, length), bias, self.cache)
        return hidden[:, -1]

    def next(self, x: Float[Tensor, "R 1 D"]) -> Float[Tensor, "R D"]:
        """Write one token a sequence and return the hidden state that predicts the next."""
        bias = None if self.filling is None else self.filling[..., : self.cache.held(1)]
        return self.decoder(x, self.rotary.at(self.cache.length, 1), bias, self.cache)[:, 0]

    def select(self, rows: Int[Tensor, " R"]) -> None:
        """Keep these sequences, in this order."""
        self.cache.select(rows)
        if self.filling is not None:
            self.filling = self.filling[rows]
            self.rotary = Rotary(self.rotary.cos[rows], self.rotary.sin[rows])


def attention_bias(
    config: DecoderConfig, length: int, prompt: int, *, like: Tensor
) -> Float[Tensor, "L L"]:
    """Who sees whom in a sequence that begins with `prompt` tokens.

    The last of these predicts the first of the output: only those before it see both ways.

    Args:
        config: Says whether the prefix is bidirectional and how far back output looks.
        length: Tokens of the whole sequence.
        prompt: Tokens before the output.
        like: A tensor of the wanted device and dtype.
    """
    at = torch.arange(length, device=like.device)
    seen = at[:, None] >= at[None]
    if config.bidirectional_prefix:
        seen |= at[None] < prompt - 1
    if config.sliding_window is not None:
        recent = at[:, None] - at[None] < config.sliding_window
        seen &= recent | (at[None] < prompt)
    return like.new_zeros(length, length).masked_fill(~seen, HIDDEN)
