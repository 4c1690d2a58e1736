"""Strips to characters: batches of one width through encoder and decoder.

Knows nothing of pages: a strip is a grey image of one line, `lightseek.blocks` cuts it.

Axes: Y X pixels of a strip, V strips of one batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from lightseek.generate import Decoding, Generated, generate
from lightseek.model import LightSeekOCR
from lightseek.tokenizer import Tokenizer

PX_PER_CHARACTER = 4
"""No printed character of a strip is narrower on average: bounds the tokens of a strip."""
SPARE_TOKENS = 20
BATCH_PX = 64 * 512
"""Pixels across all strips of a batch: more gain nothing and cost memory."""


@dataclass(frozen=True, slots=True)
class StripText:
    """What a strip says."""

    text: str
    confidences: Float[np.ndarray, " n"]
    """Probability of each character."""
    centres: Float[np.ndarray, "n 2"]
    """Where each character stands on the strip, in pixels from its top left corner."""
    finished: bool
    """Whether the reader came to the end."""


def read_strips(
    model: LightSeekOCR, tokenizer: Tokenizer, strips: Sequence[UInt8[np.ndarray, "Y _"]]
) -> list[StripText]:
    """Read strips of any widths.

    Args:
        model: A model with place heads, in evaluation mode.
        tokenizer: Its tokenizer.
        strips: Grey images of one height.

    Returns:
        One result a strip, in order.
    """
    results: dict[int, StripText] = {}
    for width in sorted({strip.shape[1] for strip in strips}):
        rows = [i for i, strip in enumerate(strips) if strip.shape[1] == width]
        size = max(1, BATCH_PX // width)
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            read = _read_batch(model, tokenizer, np.stack([strips[i] for i in part]))
            results.update(zip(part, read, strict=True))
    return [results[i] for i in range(len(strips))]


@torch.inference_mode()
def _read_batch(
    model: LightSeekOCR, tokenizer: Tokenizer, pixels: UInt8[np.ndarray, "V Y X"]
) -> list[StripText]:
    weight = model.embedding.weight
    views = to_views(torch.from_numpy(pixels)).to(weight)
    visual = model.visual_tokens(views)
    count, tokens = visual.shape[:2]
    ids = torch.tensor([[tokenizer.image_id] * tokens + [tokenizer.bos_id]] * count)
    prompt = model.splice(ids.to(weight.device), visual.flatten(0, 1), tokenizer.image_id)
    decoding = Decoding(max_tokens=pixels.shape[2] // PX_PER_CHARACTER + SPARE_TOKENS)
    return [
        _strip_text(tokenizer, result)
        for result in generate(model, prompt, tokenizer.eos_id, decoding)
    ]


def to_views(pixels: UInt8[Tensor, "V Y X"]) -> Float[Tensor, "V 1 Y X"]:
    """Grey values to -1 .. 1, in the memory order that convolutions like."""
    views = pixels[:, None].float() / 127.5 - 1
    return views.contiguous(memory_format=torch.channels_last)


def _strip_text(tokenizer: Tokenizer, result: Generated) -> StripText:
    assert result.places is not None, "strips are read by models with place heads"
    # a special token that a poor model writes is no character
    kept = [i for i, token in enumerate(result.ids) if token not in tokenizer.special_ids]
    return StripText(
        tokenizer.decode(result.ids),
        np.exp(np.array(result.logprobs, dtype=np.float32)[kept]),
        np.array(result.places, dtype=np.float32).reshape(-1, 2)[kept],
        result.finished,
    )
