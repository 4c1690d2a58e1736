"""The cross-attention decoder: text looks at visual tokens, which are no part of its sequence.

Trained from nothing, with as few layers as are needed to read. The visual tokens are those of
sequence fusion: first the local map (what the compressor leaves of SAM), then the global one
(CLIP). A layer looks at one of them, so that the two scales never compete for the same attention:

    layers 0, 2, 4 ...   the global map: where on the page the text is, what comes after what
    layers 1, 3, 5 ...   the local map: what is printed there

Text sees its own past by the same self-attention, rotary positions and cache as the other
decoders. Knows nothing of images: it takes embeddings.

Axes: B R sequences, L new tokens, T those that have room, N visual tokens, M those of one map,
D width, A heads, K head width.
"""

from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lightseek.attention import attend
from lightseek.config import DecoderConfig
from lightseek.decoder import (
    HIDDEN,
    KvCache,
    Rotary,
    SelfAttention,
    make_feed_forward,
    make_norm,
    rotary_angles,
)
from lightseek.linear import Linear


class Seen(NamedTuple):
    """Keys and values of the map that a layer looks at."""

    keys: Float[Tensor, "B A M K"]
    values: Float[Tensor, "B A M K"]
    hidden: Float[Tensor, "B 1 1 M"] | None
    """Minus infinity where a token is padding or of the other map."""

    def only(self, rows: Int[Tensor, " R"]) -> "Seen":
        """What some sequences see."""
        hidden = None if self.hidden is None else self.hidden[rows]
        return Seen(self.keys[rows], self.values[rows], hidden)


class CrossAttention(nn.Module):
    """Multi-head attention from text to a map."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.query = Linear(config.dim, config.dim, bias=config.bias)
        self.key = Linear(config.dim, config.dim, bias=config.bias)
        self.value = Linear(config.dim, config.dim, bias=config.bias)
        self.out = Linear(config.dim, config.dim, bias=config.bias)

    def see(self, visual: Float[Tensor, "B M D"], hidden: Float[Tensor, "B 1 1 M"] | None) -> Seen:
        """What text will look at: the same for every token that is written."""
        return Seen(self._part(self.key(visual)), self._part(self.value(visual)), hidden)

    def forward(self, x: Float[Tensor, "B L D"], seen: Seen) -> Float[Tensor, "B L D"]:
        """Bring to each token what it looks for."""
        found = attend(self._part(self.query(x)), seen.keys, seen.values, seen.hidden)
        return self.out(rearrange(found, "b a l k -> b l (a k)"))

    def _part(self, x: Float[Tensor, "B L D"]) -> Float[Tensor, "B A L K"]:
        return rearrange(x, "b l (a k) -> b a l k", a=self.heads)


class CrossLayer(nn.Module):
    """Attention to the text before, attention to a map, feed-forward, each behind a norm."""

    def __init__(self, config: DecoderConfig, index: int) -> None:
        super().__init__()
        self.index = index
        self.norm1 = make_norm(config)
        self.attention = SelfAttention(config)
        self.cross_norm = make_norm(config)
        self.cross = CrossAttention(config)
        self.norm2 = make_norm(config)
        self.feed_forward = make_feed_forward(config, index)

    def forward(
        self,
        x: Float[Tensor, "B L D"],
        seen: Seen,
        rotary: Rotary,
        bias: Float[Tensor, "L T"] | None,
        cache: KvCache | None,
    ) -> Float[Tensor, "B L D"]:
        """One layer over new tokens."""
        x = x + self.attention(self.norm1(x), rotary, bias, cache, self.index)
        x = x + self.cross(self.cross_norm(x), seen)
        return x + self.feed_forward(self.norm2(x))


class CrossDecoder(nn.Module):
    """Visual tokens and embeddings of text in, hidden states of the text out."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.visual_norm = make_norm(config)
        self.layers = nn.ModuleList(CrossLayer(config, i) for i in range(config.depth))
        self.norm = make_norm(config)

    def forward(
        self,
        visual: Float[Tensor, "B N D"],
        x: Float[Tensor, "B L D"],
        padding: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B L D"]:
        """Run whole texts, each token of which sees those before it."""
        length = x.shape[1]
        causal = x.new_full((length, length), HIDDEN).triu(1)
        rotary = rotary_angles(self.config, torch.arange(length, device=x.device)[None], x)
        return self.step(x, self.see(visual, padding), rotary, causal)

    def see(
        self, visual: Float[Tensor, "B N D"], padding: Bool[Tensor, "B N"] | None = None
    ) -> list[Seen]:
        """What each layer looks at; visual tokens are filled up on their left."""
        visual = self.visual_norm(visual)
        local_map, global_map = visual.chunk(2, dim=1)
        no_local: Tensor | None = None
        no_global: Tensor | None = None
        if padding is not None:
            # the maps of shorter rows begin elsewhere: all look at everything, most of it hidden
            local_map = global_map = visual
            rank = (~padding).cumsum(1)
            is_local = rank <= rank[:, -1:] // 2
            no_local = _hide(visual, padding | ~is_local)
            no_global = _hide(visual, padding | is_local)
        maps = ((global_map, no_global), (local_map, no_local))
        seen = []
        for index, layer in enumerate(self.layers):
            assert isinstance(layer, CrossLayer)
            seen.append(layer.cross.see(*maps[index % 2]))
        return seen

    def step(
        self,
        x: Float[Tensor, "B L D"],
        seen: list[Seen],
        rotary: Rotary,
        bias: Float[Tensor, "..."] | None = None,
        cache: KvCache | None = None,
    ) -> Float[Tensor, "B L D"]:
        """Run new tokens through all layers; the cache holds those before them."""
        if cache is not None:
            bias = cache.make_room(bias, x.shape[1])
        for layer, its_map in zip(self.layers, seen, strict=True):
            x = layer(x, its_map, rotary, bias, cache)
        if cache is not None:
            cache.length += x.shape[1]
        return self.norm(x)

    def begin(
        self, prompt: Float[Tensor, "B P D"], max_tokens: int, padding: Bool[Tensor, "B P"] | None
    ) -> "CrossSequences":
        """Begin to write.

        Args:
            prompt: Visual tokens and, behind them, the one token that begins the text.
            max_tokens: Most tokens that will be written.
            padding: True where shorter prompts are filled up, on their left.
        """
        return CrossSequences(self, prompt, max_tokens, padding)


def _hide(like: Tensor, hidden: Bool[Tensor, "B M"]) -> Float[Tensor, "B 1 1 M"]:
    return like.new_zeros(hidden.shape).masked_fill(hidden, HIDDEN)[:, None, None]


class CrossSequences:
    """Sequences being written: what they look at, and the cache of what they say."""

    def __init__(
        self,
        decoder: CrossDecoder,
        prompt: Float[Tensor, "B P D"],
        max_tokens: int,
        padding: Bool[Tensor, "B P"] | None,
    ) -> None:
        self.decoder = decoder
        self.first = prompt[:, -1:]
        self.seen = decoder.see(prompt[:, :-1], None if padding is None else padding[:, :-1])
        self.cache = KvCache(decoder.config, batch=len(prompt), like=prompt, prompt=1)
        positions = torch.arange(1 + max_tokens, device=prompt.device)[None]
        self.rotary = rotary_angles(decoder.config, positions, prompt)

    def prefill(self) -> Float[Tensor, "B D"]:
        """Begin every text."""
        return self.next(self.first)

    def next(self, x: Float[Tensor, "R 1 D"]) -> Float[Tensor, "R D"]:
        """Write one token a sequence."""
        rotary = self.rotary.at(self.cache.length, 1)
        return self.decoder.step(x, self.seen, rotary, cache=self.cache)[:, 0]

    def select(self, rows: Int[Tensor, " R"]) -> None:
        """Keep these sequences, in this order."""
        self.cache.select(rows)
        self.seen = [seen.only(rows) for seen in self.seen]
