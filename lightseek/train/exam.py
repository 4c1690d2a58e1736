"""Strips that training never shows, and how exactly a model reads strips."""

import random
from collections.abc import Sequence

from lightseek.config import ModelConfig
from lightseek.data.strips import StripSample
from lightseek.eval.metrics import Score, score_all
from lightseek.model import LightSeekOCR
from lightseek.reader import read_strips
from lightseek.tokenizer import Tokenizer
from lightseek.train.batch import HELD_OUT_SEED, StripBatches
from lightseek.train.recipe import Recipe

HELD_OUT_STRIPS = 64


def held_out_strips(
    recipe: Recipe, model: ModelConfig, tokenizer: Tokenizer, count: int | None = None
) -> list[StripSample]:
    """Strips of text that no batch ever shows, as the last stage draws them.

    In font families kept aside as well, but for those in which something new is learnt.
    """
    batches = StripBatches(recipe, model, tokenizer, held_out=True)
    rng = random.Random(HELD_OUT_SEED)
    last = recipe.stages[-1]
    width = max(last.widths)
    lines = [last.lines[i % len(last.lines)] for i in range(count or HELD_OUT_STRIPS)]
    return [batches.draw(rng, width, last.difficulty, most) for most in lines]


def examine(model: LightSeekOCR, tokenizer: Tokenizer, strips: Sequence[StripSample]) -> Score:
    """Read strips and compare with what stands on them.

    Args:
        model: A model that reads strips, in evaluation mode.
        tokenizer: Its tokenizer.
        strips: What to read.
    """
    read = read_strips(model, tokenizer, [strip.image for strip in strips])
    return score_all((found.text for found in read), (strip.text for strip in strips))
