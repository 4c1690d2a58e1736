"""Where the decoder looked while it wrote a word.

The text is known, so one pass over all of it gives the attention of every step: each token is
told what was written before it, and its scores are kept. Attention is averaged over heads, and of
a word over its tokens. Visual tokens lie on one map, or with sequence fusion on two, which are
looked at apart. Knows nothing of colours or pictures.

Axes: B sequences, A heads, L queries, M keys, K head width, Y layers, T tokens of the text,
W words, S maps, N places of a prompt, P prompt tokens, D width.
"""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from unittest import mock

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor

from lightseek import cross as cross_module
from lightseek import decoder as decoder_module
from lightseek.attention import attend
from lightseek.cross import CrossDecoder
from lightseek.decoder import attention_bias
from lightseek.document import Box
from lightseek.errors import UsageError
from lightseek.explain.sight import MAPS, Passage, Sight
from lightseek.language import LanguageDecoder
from lightseek.model import AnyDecoder, LightSeekOCR, Places
from lightseek.tokenizer import Tokenizer

_ROWS_AT_ONCE = 256
"""Queries whose scores are in memory together."""
_WATCHING = threading.Lock()
_SETTLING = 2
"""Passes after which places hardly move: 2 in 1000 characters of the examples, by one bin."""
_TINY = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Gaze:
    """Where the decoder looked while it wrote a word."""

    text: str
    box: Box | None
    """Of the word on the page, where it is known."""
    confidence: float | None
    first: int
    """Number of the first place."""
    weights: dict[str, Float32[np.ndarray, " N"]]
    """Share of the attention that each visual token of a map got; what is left went to others."""


@torch.inference_mode()
def find_gazes(
    model: LightSeekOCR, tokenizer: Tokenizer, sight: Sight, *, layer: int | None = None
) -> tuple[dict[str, int], tuple[Gaze, ...]]:
    """Follow what was read, and see where the decoder looks.

    Args:
        model: What read it.
        tokenizer: Its tokenizer.
        sight: The page as it was seen.
        layer: Decoder layer, from 0; None takes for each map the one whose words differ most.

    Returns:
        The layer of each map that is looked at, and one gaze a word.

    Raises:
        UsageError: If there is no such layer.
    """
    depth = _depth(model.decoder)
    if layer is not None and not 0 <= layer < depth:
        raise UsageError(f"there is no layer {layer}: the decoder has 0 to {depth - 1}")
    followed = [follow(model, tokenizer, passage) for passage in sight.passages]
    if not followed:
        return {}, ()
    told = torch.stack([telling(weights) for _, weights in followed]).sum(0)
    # a layer of a cross-attention decoder looks at one of the maps
    looks = torch.stack([weights.sum((2, 3)) for _, weights in followed]).sum(0) > 0
    layers = {}
    for s, name in enumerate(MAPS[model.config.fusion]):
        best = int(told[:, s].masked_fill(~looks[:, s], -1).argmax()) if layer is None else layer
        if looks[best, s]:
            layers[name] = best
    gazes = []
    for passage, (texts, weights) in zip(sight.passages, followed, strict=True):
        known = passage.words or (None,) * len(texts)
        for w, (text, word) in enumerate(zip(texts, known, strict=True)):
            own = {
                name: weights[layers[name], s, w].numpy()
                for s, name in enumerate(MAPS[model.config.fusion])
                if name in layers
            }
            box, confidence = (word.box, word.confidence) if word else (None, None)
            gazes.append(Gaze(text, box, confidence, passage.first, own))
    return layers, tuple(gazes)


def _depth(decoder: AnyDecoder) -> int:
    """Its layers."""
    if isinstance(decoder, LanguageDecoder):
        return int(decoder.body.config.num_hidden_layers)
    return decoder.config.depth


def telling(weights: Float[Tensor, "Y S W N"]) -> Float[Tensor, "Y S"]:
    """How much the gaze of each layer says about which word is being written, over all words.

    Divergence of each word's distribution over the places of a map from that of the mean word: a
    layer that always looks at the same places says nothing.
    """
    shares = weights / weights.sum(-1, keepdim=True).clamp(min=_TINY)
    mean = shares.mean(2, keepdim=True)
    ratio = (shares.clamp(min=_TINY) / mean.clamp(min=_TINY)).log()
    return (shares * ratio).sum((2, 3))


@torch.inference_mode()
def follow(
    model: LightSeekOCR, tokenizer: Tokenizer, passage: Passage
) -> tuple[list[str], Float[Tensor, "Y S W N"]]:
    """The words of a passage, and the attention of every layer to every map for each of them."""
    prompt = passage.prompt
    ids = torch.tensor([tokenizer.encode(passage.text)], device=prompt.device)
    places = None
    if model.place is not None:
        places = _first_places(model, passage)
        for _ in range(_SETTLING):
            predicted = model.predict(_teach(model, prompt, ids, places))
            assert predicted.x is not None
            assert predicted.y is not None
            places = Places(predicted.x.argmax(-1), predicted.y.argmax(-1))
    attention = _attention(model, prompt, ids, places).cpu()[:, :, passage.spots.cpu()]
    text, spans = token_spans(tokenizer, ids[0].tolist())
    words = [match.span() for match in re.finditer(r"\S+", text)]
    means = [attention[:, tokens_of(spans, span)].mean(1) for span in words]
    return [text[a:b] for a, b in words], torch.stack(means, dim=2)


def _attention(
    model: LightSeekOCR,
    prompt: Float[Tensor, "1 P D"],
    ids: Int[Tensor, "1 T"],
    places: Places | None,
) -> Float[Tensor, "Y T M"]:
    """How much each step of writing a text looked at each token of the prompt, and behind it."""
    if isinstance(model.decoder, LanguageDecoder):
        x = torch.cat([prompt, model.embed(ids[:, :-1], None)], dim=1)
        return model.decoder.attention(x)[:, prompt.shape[1] - 1 :]
    beside = isinstance(model.decoder, CrossDecoder)
    with watched(0 if beside else prompt.shape[1] - 1, beside=beside) as seen:
        _teach(model, prompt, ids, places)
    return torch.cat(seen)


def _teach(
    model: LightSeekOCR,
    prompt: Float[Tensor, "1 P D"],
    ids: Int[Tensor, "1 T"],
    places: Places | None,
) -> Float[Tensor, "1 T D"]:
    """Hidden states of our own decoders that predict each token of a text from those before it."""
    decoder = model.decoder
    assert not isinstance(decoder, LanguageDecoder)
    told = None if places is None else Places(places.x[:, :-1], places.y[:, :-1])
    x = torch.cat([prompt, model.embed(ids[:, :-1], told)], dim=1)
    length, start = x.shape[1], prompt.shape[1]
    if isinstance(decoder, CrossDecoder):
        # with padding, be it none, all layers look at both maps, one of them hidden
        nobody = torch.zeros(1, start - 1, dtype=torch.bool, device=x.device)
        return decoder(x[:, : start - 1], x[:, start - 1 :], nobody)
    bias = attention_bias(decoder.config, length, start, like=x)
    positions = torch.arange(length, device=x.device)[None]
    hidden = decoder(x, decoder.rotary(positions, x), bias)
    return hidden[:, start - 1 :]


def _first_places(model: LightSeekOCR, passage: Passage) -> Places:
    """Characters spread evenly over the boxes of their words, spaces between them."""
    assert model.place is not None
    assert passage.strip is not None
    to_page = passage.strip.to_page
    points: list[tuple[float, float]] = []
    for word in passage.words:
        left, middle = word.box.left, (word.box.top + word.box.bottom) / 2
        if points:
            points.append(((points[-1][0] + left) / 2, points[-1][1]))
        step = word.box.width / len(word.text)
        points += [(left + step * (i + 0.5), middle) for i in range(len(word.text))]
    on_strip = np.linalg.solve(to_page[:, :2], (np.array(points) - to_page[:, 2]).T)
    config = model.place.config
    bins = torch.from_numpy(on_strip / config.bin_px).long()[:, None]
    bins = bins.to(passage.prompt.device)
    return Places(bins[0].clamp(0, config.x_bins - 1), bins[1].clamp(0, config.y_bins - 1))


@contextmanager
def watched(first: int, *, beside: bool = False) -> Iterator[list[Float[Tensor, "1 L M"]]]:
    """Keep the attention of every decoder layer that runs inside, averaged over heads.

    The decoder looks `attend` up when it calls it, and inside finds one that keeps the weights
    too; outside, and in other threads, nothing differs. One watches at a time.

    Args:
        first: Query from which on weights are kept.
        beside: Whether it is cross-attention that is kept, in place of self-attention.

    Yields:
        A list that gets one entry a layer.
    """
    kept: list[Tensor] = []
    thread = threading.get_ident()

    def attend_and_keep(
        query: Float[Tensor, "B A L K"],
        key: Float[Tensor, "B A M K"],
        value: Float[Tensor, "B A M K"],
        bias: Float[Tensor, "..."] | None = None,
    ) -> Float[Tensor, "B A L K"]:
        if threading.get_ident() == thread:
            kept.append(mean_weights(query, key, bias, first))
        return attend(query, key, value, bias)

    module = cross_module if beside else decoder_module
    with _WATCHING, mock.patch.object(module, "attend", attend_and_keep):
        yield kept


def mean_weights(
    query: Float[Tensor, "B A L K"],
    key: Float[Tensor, "B A M K"],
    bias: Float[Tensor, "..."] | None,
    first: int,
) -> Float[Tensor, "B _ M"]:
    """Softmax of the scores of all queries from the first on, averaged over heads."""
    parts = []
    for start in range(first, query.shape[2], _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        scores = (query[:, :, rows] * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
        if bias is not None:
            scores = scores + (bias if bias.shape[-2] == 1 else bias[..., rows, :])
        parts.append(scores.float().softmax(-1).mean(1))
    return torch.cat(parts, dim=1)


def token_spans(tokenizer: Tokenizer, ids: list[int]) -> tuple[str, list[tuple[int, int]]]:
    """The text of tokens, and which of its characters each of them wrote."""
    taken = 0

    def counted() -> Iterator[int]:
        nonlocal taken
        for token in ids:
            taken += 1
            yield token

    text = ""
    spans: list[tuple[int, int]] = []
    for piece in tokenizer.stream(counted()):
        # tokens that wrote a part of a character stand for the whole of it
        spans += [(len(text), len(text) + len(piece))] * (taken - len(spans))
        text += piece
    return text, spans + [(len(text), len(text))] * (len(ids) - len(spans))


def tokens_of(spans: list[tuple[int, int]], word: tuple[int, int]) -> list[int]:
    """Tokens that wrote some of the characters of a word."""
    start, end = word
    return [i for i, (a, b) in enumerate(spans) if a < end and b > start]
