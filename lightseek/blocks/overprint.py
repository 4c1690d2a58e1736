"""Two lines that are printed into each other, parted between them.

Knows nothing of segments.

Axes: N pieces of ink.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from lightseek.blocks.sheet import Components, components, median, touching

_HIGH = 1.35, 2.6
"""Height of letters of two lines that hang together, in heights of a letter."""
_MANY, _NEARLY_ALL = 6, 0.95
"""Of them side by side, at least, and of the letters there that are not clear of either line."""
_UNEVEN = 0.2
"""Spread of their feet, at most, in heights of a letter."""
_CLEAR = 3
"""Letters of each of the two lines that do not touch the other, at least."""
_LETTER = 0.7, 1.3
"""Height of one of those, likewise."""
_STEP = 0.5
"""From line to line, at least, likewise."""


def part_overprinted(pieces: Components, letter: float) -> Components:
    """Cut pieces that belong to two lines, one printed into the other, between the lines.

    In larger print all letters stand on one line. Where two lines meet, some letters are clear of
    the other: they end above the foot of the high pieces, or begin below their head.
    """
    high = np.flatnonzero((pieces.height > _HIGH[0] * letter) & (pieces.height < _HIGH[1] * letter))
    ink = None
    for group in touching(_through_middle(pieces.boxes[high], letter), letter):
        run = high[group]
        row = _row_between(pieces, run, letter) if len(run) >= _MANY else None
        if row is not None:
            ink = (pieces.labels > 0).astype(np.uint8) if ink is None else ink
            ink[row, np.isin(pieces.labels[row], run + 1)] = 0
    return pieces if ink is None else components(ink)


def _through_middle(boxes: Int[np.ndarray, "M 4"], letter: float) -> Float[np.ndarray, "M 4"]:
    """Bars that reach over a few letters between."""
    left, top, right, bottom = boxes.T
    middle, reach, half = (top + bottom) / 2, 3 * letter, 0.2 * letter
    return np.stack([left - reach, middle - half, right + reach, middle + half], axis=1)


def _row_between(pieces: Components, run: Int[np.ndarray, " K"], letter: float) -> int | None:
    """The row between the two lines that meet in a run of high pieces; none if it is one line."""
    left, top, right, bottom = pieces.boxes.T
    head, foot, step = median(top[run]), median(bottom[run]), _STEP * letter
    clear = (pieces.height > _LETTER[0] * letter) & (pieces.height < _LETTER[1] * letter)
    upper = clear & (np.abs(top - head) < step) & (bottom < foot - step)
    lower = clear & (np.abs(bottom - foot) < step) & (top > head + step)
    within = (right > left[run].min()) & (left < right[run].max()) & (pieces.height > step)
    within &= (top < foot - step) & (bottom > head + step) & ~upper & ~lower
    if len(run) < _NEARLY_ALL * within.sum() or np.std(bottom[run]) > _UNEVEN * letter:
        return None
    beside = _beside(pieces, run, np.flatnonzero(upper | lower), letter)
    upper, lower = upper & beside, lower & beside
    if min(upper.sum(), lower.sum()) < _CLEAR:
        return None
    return round((median(bottom[upper]) + median(top[lower])) / 2)


def _beside(
    pieces: Components, run: Int[np.ndarray, " K"], others: Int[np.ndarray, " L"], letter: float
) -> Bool[np.ndarray, " N"]:
    """Others that follow on the run with no wider gap than between words."""
    all_of_them = np.concatenate([run, others])
    left, _, right, _ = pieces.boxes[all_of_them].T
    level = np.zeros_like(left)
    bars = np.stack([left - letter / 2, level, right + letter / 2, level + 1], axis=1)
    found = np.zeros(len(pieces.area), bool)
    for group in touching(bars, letter):
        if (group < len(run)).any():
            found[all_of_them[group]] = True
    return found
