"""Lines that rise or fall, as on a crumpled receipt or a curled page: what is level with what.

A page that is slanted as a whole is level on its sheet; this is about one part of it.

Axes: N pieces of ink, K those of one line.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int

from lightseek.blocks.sheet import median
from lightseek.blocks.sieve import Segment

_FEWEST_LETTERS = 8
"""Of which the slope of a line is told."""
_FEWEST_LINES, _NEAR = 3, 6.0
"""Lines that tell how others slope, and how far above or below they are, in heights of a letter."""
_LEVEL = 0.01
"""Slope of lines that need no care, in pixels down a pixel to the right."""


def straightened(segments: list[Segment], boxes: Int[np.ndarray, "N 4"]) -> list[Segment]:
    """Segments moved up and down until those of one printed line are level.

    Args:
        segments: Of a sheet; they stay as they are.
        boxes: Of its pieces of ink.
    """
    slopes = [slope_of(boxes[s.pieces], s) for s in segments]
    lines = [i for i, slope in enumerate(slopes) if slope is not None]
    if len(lines) < _FEWEST_LINES:
        return segments
    slope = np.array([slopes[i] for i in lines], float)
    middle, letter = np.array([[segments[i].middle, segments[i].letter] for i in lines]).T
    centre = (min(s.left for s in segments) + max(s.right for s in segments)) / 2
    moved = []
    for s in segments:
        near = np.abs(middle - s.middle) < _NEAR * letter
        fall = median(slope[near]) if near.sum() >= _FEWEST_LINES else 0.0
        by = fall * ((s.left + s.right) / 2 - centre) if abs(fall) > _LEVEL else 0.0
        moved.append(_moved_up(s, by) if by else s)
    return moved


def bent(segment: Segment) -> Segment:
    """Where it stands on the sheet."""
    return _moved_up(segment, -segment.moved) if segment.moved else segment


def _moved_up(segment: Segment, by: float) -> Segment:
    return replace(
        segment,
        top=round(segment.top - by),
        bottom=round(segment.bottom - by),
        middle=segment.middle - by,
        base=segment.base - by,
        moved=segment.moved + by,
    )


def slope_of(boxes: Int[np.ndarray, "K 4"], segment: Segment) -> float | None:
    """Pixels that a line falls a pixel to the right; none where it has too few letters to tell.

    Args:
        boxes: Of its pieces.
        segment: Itself.
    """
    height = boxes[:, 3] - boxes[:, 1]
    letters = boxes[(height > 0.6 * segment.letter) & (height < 1.8 * segment.letter)]
    if len(letters) < _FEWEST_LETTERS:
        return None
    x, y = (letters[:, 0] + letters[:, 2]) / 2, letters[:, 3].astype(float)
    for _ in range(3):
        slope, base = _straight(x, y)
        off = np.abs(y - slope * x - base)
        near = off <= max(1.0, 1.5 * median(off))
        x, y = x[near], y[near]
    return slope


def _straight(x: Float[np.ndarray, " K"], y: Float[np.ndarray, " K"]) -> tuple[float, float]:
    """Slope and height at zero of the line with the least squares."""
    across, down = x.mean(), y.mean()
    slope = float((x - across) @ (y - down) / max(1e-9, (x - across) @ (x - across)))
    return slope, float(down - slope * across)
