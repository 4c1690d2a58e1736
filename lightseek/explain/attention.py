"""Where the decoder looked while it wrote a word.

The text is known, so one pass over all of it gives the attention of every step: each token is
told what was written before it, and its scores are kept. Attention is averaged over heads, and of
a word over its tokens. Knows nothing of pixels or pictures.

Axes: B sequences, A heads, L queries, M keys, K head width, Y layers, T tokens of the text,
W words, N visual tokens of a prompt, P prompt tokens, D width.
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

from lightseek import decoder as decoder_module
from lightseek.attention import attend
from lightseek.decoder import DeepDecoder, attention_bias
from lightseek.document import Box
from lightseek.errors import UsageError
from lightseek.explain.sight import Passage, Sight
from lightseek.model import LightSeekOCR, Places
from lightseek.tokenizer import Tokenizer

_ROWS_AT_ONCE = 256
"""Queries whose scores are in memory together."""
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
    """Number of the first visual token."""
    weights: Float32[np.ndarray, " N"]
    """Share of the attention that each visual token got; what is left went to other tokens."""


@torch.inference_mode()
def find_gazes(
    model: LightSeekOCR, tokenizer: Tokenizer, sight: Sight, *, layer: int | None = None
) -> tuple[int, tuple[Gaze, ...]]:
    """Follow what was read, and see where the decoder looks.

    Args:
        model: What read it.
        tokenizer: Its tokenizer.
        sight: The page as it was seen.
        layer: Decoder layer, from 0; None takes the one whose words differ most.

    Returns:
        The layer, and one gaze a word.

    Raises:
        UsageError: If there is no such layer.
    """
    assert isinstance(model.decoder, DeepDecoder)
    depth = model.decoder.config.depth
    if layer is not None and not 0 <= layer < depth:
        raise UsageError(f"there is no layer {layer}: the decoder has 0 to {depth - 1}")
    followed = [follow(model, tokenizer, passage) for passage in sight.passages]
    if layer is None:
        scores = sum((telling(weights) for _, weights in followed), torch.zeros(depth))
        layer = int(scores.argmax())
    gazes = []
    for passage, (texts, weights) in zip(sight.passages, followed, strict=True):
        known = passage.words or (None,) * len(texts)
        for text, word, own in zip(texts, known, weights[layer], strict=True):
            box, confidence = (word.box, word.confidence) if word else (None, None)
            gazes.append(Gaze(text, box, confidence, passage.first, own.numpy()))
    return layer, tuple(gazes)


def telling(weights: Float[Tensor, "Y W N"]) -> Float[Tensor, " Y"]:
    """How much the gaze of each layer says about which word is being written, over all words.

    Divergence of each word's distribution over visual tokens from that of the mean word: a layer
    that always looks at the same places says nothing.
    """
    shares = weights / weights.sum(-1, keepdim=True).clamp(min=_TINY)
    mean = shares.mean(1, keepdim=True)
    ratio = (shares.clamp(min=_TINY) / mean.clamp(min=_TINY)).log()
    return (shares * ratio).sum((1, 2))


@torch.inference_mode()
def follow(
    model: LightSeekOCR, tokenizer: Tokenizer, passage: Passage
) -> tuple[list[str], Float[Tensor, "Y W N"]]:
    """The words of a passage, and the attention of every layer for each of them."""
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
    with watched(prompt.shape[1] - 1) as seen:
        _teach(model, prompt, ids, places)
    attention = torch.cat(seen).cpu()[:, :, passage.spots.cpu()]
    text, spans = token_spans(tokenizer, ids[0].tolist())
    words = [match.span() for match in re.finditer(r"\S+", text)]
    means = [attention[:, tokens_of(spans, span)].mean(1) for span in words]
    return [text[a:b] for a, b in words], torch.stack(means, dim=1)


def _teach(
    model: LightSeekOCR,
    prompt: Float[Tensor, "1 P D"],
    ids: Int[Tensor, "1 T"],
    places: Places | None,
) -> Float[Tensor, "1 T D"]:
    """Hidden states that predict each token of a text from those before it."""
    assert isinstance(model.decoder, DeepDecoder)
    config = model.decoder.config
    told = None if places is None else Places(places.x[:, :-1], places.y[:, :-1])
    x = torch.cat([prompt, model.embed(ids[:, :-1], told)], dim=1)
    length, start = x.shape[1], prompt.shape[1]
    # the last token of a prompt predicts: only those before it see both ways
    prefix = start - 1 if config.bidirectional_prefix else start
    bias = attention_bias(config, length, prefix, like=x)
    positions = torch.arange(length, device=x.device)[None]
    hidden = model.decoder(x, model.decoder.rotary(positions, x), bias)
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
def watched(first: int) -> Iterator[list[Float[Tensor, "1 L M"]]]:
    """Keep the attention of every decoder layer that runs inside, averaged over heads.

    The decoder looks `attend` up when it calls it, and inside finds one that keeps the weights
    too; outside, and in other threads, nothing differs.

    Args:
        first: Query from which on weights are kept.

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

    with mock.patch.object(decoder_module, "attend", attend_and_keep):
        yield kept


def mean_weights(
    query: Float[Tensor, "B A L K"],
    key: Float[Tensor, "B A M K"],
    bias: Float[Tensor, "L M"] | None,
    first: int,
) -> Float[Tensor, "B _ M"]:
    """Softmax of the scores of all queries from the first on, averaged over heads."""
    parts = []
    for start in range(first, query.shape[2], _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        scores = (query[:, :, rows] * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
        if bias is not None:
            scores = scores + bias[rows]
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
