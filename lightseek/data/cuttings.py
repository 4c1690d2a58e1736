"""Strips cut from typeset pages, as the reader's cutter leaves them.

The line fills most of the height of the strip; what stands above and below it within the cut, and
the paper beside it, come along. Knows nothing of models.

Axes: H W pixels of an image.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from lightseek.blocks.ink import flattened
from lightseek.blocks.strips import MARGIN, STRIP_WIDTHS
from lightseek.data import degrade
from lightseek.data.kinds import Paper
from lightseek.data.layouts import PageSetter, first_set, scaled, toned
from lightseek.data.lettering import PrintedLine
from lightseek.data.look import draw_look
from lightseek.data.press import CUT_PX, wear
from lightseek.data.strips import LINE_PX, StripSample, label_strip
from lightseek.data.typesetting import SetPage

_SPARE_BODIES = 0.4
"""Cut out above and below the line at most, in heights of a letter."""
_EM_PX = 24.0
"""Size of the type that makes it so high, roughly."""
_FAR_GAP = (1.5, 3.5)
"""In heights of a letter: parts two strips."""
_FLATTENED = 0.6
"""Share of the strips whose paper was made white."""
_SLIP_SIZE = 10.0
_SLIP_LINES, _FORM_LINES = 6, 16
"""Of running text, and of what has a head above the lines that it is there for."""
_WIDE_KINDS = ("prose", "prose", "prose", "list")
_NARROW_KINDS = (*_WIDE_KINDS, "table", "letter", "receipt", "invoice")


class _Cut(NamedTuple):
    """What is cut out around a line, in the units of the line."""

    left: float
    top: float
    right: float
    bottom: float
    scale: float
    """Pixels of the strip for one unit."""


class TypesetStrips:
    """Lines of small pages, a page set for each.

    Args:
        setter: Sets the pages.
        ids: Token id of every character that a label may hold.
    """

    def __init__(self, setter: PageSetter, ids: Mapping[str, int]) -> None:
        self._setter = setter
        self._ids = ids

    def draw(self, rng: random.Random, width: int, difficulty: float = 1.0) -> StripSample:
        """Set a few lines in a column that suits the strip, and cut one of them out.

        Args:
            rng: Source of every decision: its state and the other arguments make the sample.
            width: Of the strip in pixels, a multiple of 4.
            difficulty: From 0, clean black print, to 1, every kind of wear.
        """
        look = draw_look(rng, difficulty)
        page = first_set(partial(self._try_slip, rng, width, look.scale_x / look.scale_y))
        line = _choose_line(rng, page)
        cut = _cut_around(rng, line)
        factors = page.factors(cut.scale * look.scale_y)
        limits = page.width * factors[0], page.height * factors[1]
        window = _window(cut, factors, limits)
        image = page.image(cut.scale * look.scale_y, window)
        image, matrix = wear(rng, toned(image, ink=look.ink, paper=look.paper), look, difficulty)
        size = image.shape[1] / look.scale_x, image.shape[0] / look.scale_y
        strip, place = _mount(rng, image, size, width, difficulty)
        to_image = matrix @ _square(_moved(-window[0], -window[1]))
        return label_strip(strip, [scaled(line, factors)], place @ _square(to_image), self._ids)

    def _try_slip(self, rng: random.Random, width: int, stretch: float) -> SetPage | None:
        kind = rng.choice(_WIDE_KINDS if width >= STRIP_WIDTHS[-1] else _NARROW_KINDS)
        px = rng.uniform(0.55, 1.1) * (width - 2 * MARGIN)
        room = px / _EM_PX * _SLIP_SIZE * stretch
        margin = _SLIP_SIZE
        lines = _SLIP_LINES if kind in _WIDE_KINDS else _FORM_LINES
        height = lines * 1.4 * _SLIP_SIZE + 2 * margin
        paper = Paper(room + 2 * margin, height, margin, margin)
        return self._setter.try_kind(rng, kind, paper, _SLIP_SIZE)


def _choose_line(rng: random.Random, page: SetPage) -> PrintedLine:
    """Any line that is not much shorter than the longest."""
    lengths = [page.extent(i) for i in range(len(page))]
    long = [i for i, length in enumerate(lengths) if length >= 0.5 * max(lengths)]
    parts = _parted(page.line(rng.choice(long)), rng.uniform(*_FAR_GAP))
    return max(parts, key=lambda part: part.end - float(part.spans[0, 0]))


def _parted(line: PrintedLine, gap: float) -> list[PrintedLine]:
    """What stands between gaps of so many heights of a letter."""
    widths = np.ptp(line.spans, axis=1)
    far = [i for i, c in enumerate(line.text) if c == " " and widths[i] > gap * line.body_height]
    return _split(line, far)


def _split(line: PrintedLine, spaces: Sequence[int]) -> list[PrintedLine]:
    """The line without some of its spaces."""
    ends = [-1, *spaces, len(line.text)]
    return [
        replace(
            line,
            text=line.text[a + 1 : b],
            spans=line.spans[a + 1 : b],
            boxes=line.boxes[a + 1 : b],
            end=float(line.spans[b - 1, 1]),
        )
        for a, b in pairwise(ends)
    ]


def _cut_around(rng: random.Random, line: PrintedLine) -> _Cut:
    """As high as its ink, and as it would be with all letters, and a little more."""
    body = line.body_height
    middle, reach = line.baseline - body / 2, 0.8 * body
    box = line.box
    top = min(box.top, middle - reach) - rng.uniform(0, _SPARE_BODIES) * body
    bottom = max(box.bottom, middle + reach) + rng.uniform(0, _SPARE_BODIES) * body
    side = rng.uniform(0.1, 0.5) * body
    scale = rng.uniform(*CUT_PX) / (bottom - top)
    return _Cut(box.left - side, top, box.right + side, bottom, scale)


def _window(
    cut: _Cut, factors: tuple[float, float], limits: tuple[float, float]
) -> tuple[int, int, int, int]:
    """Whole pixels of an image that has so many for a unit, and no more than the limits."""
    (across, down), (width, height) = factors, limits
    return (
        max(0, int(cut.left * across)),
        max(0, int(cut.top * down)),
        min(round(width), math.ceil(cut.right * across)),
        min(round(height), math.ceil(cut.bottom * down)),
    )


def _mount(
    rng: random.Random,
    image: UInt8[np.ndarray, "H W"],
    size: tuple[float, float],
    width: int,
    difficulty: float,
) -> tuple[UInt8[np.ndarray, "h w"], Float[np.ndarray, "2 3"]]:
    """The cutting at another size on a strip of paper, and where its pixels are now."""
    squeeze = min(1.0, (width - 2 * MARGIN) / size[0], LINE_PX / size[1])
    across, down = (max(1, round(side * squeeze)) for side in size)
    cutting = degrade.resize(image, rng, width=across, height=down)
    cutting = degrade.finish(cutting, rng, difficulty)
    if difficulty and rng.random() < _FLATTENED:
        cutting = flattened(cutting)
    usual = rng.random() < 0.9
    left = MARGIN if usual else rng.randint(0, width - across)
    spare = LINE_PX - down
    top = spare // 2 if usual else rng.randint(0, spare)
    paper = int(np.median(cutting))
    white = 255 if paper > 127 else paper
    strip = np.full((LINE_PX, width), rng.choice((paper, white)), np.uint8)
    strip[top : top + down, left : left + across] = cutting
    place = np.array(
        [[across / image.shape[1], 0, left], [0, down / image.shape[0], top]], np.float64
    )
    return strip, place


def _moved(right: float, down: float) -> Float[np.ndarray, "2 3"]:
    return np.array([[1.0, 0.0, right], [0.0, 1.0, down]])


def _square(matrix: Float[np.ndarray, "2 3"]) -> Float[np.ndarray, "3 3"]:
    return np.vstack([matrix, [0.0, 0.0, 1.0]])
