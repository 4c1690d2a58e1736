"""A page made flat, and its ink in pieces that hang together.

Axes: H W rows and columns of pixels, N components, M bars, K those of a group.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Int, Num, UInt8

CANVAS_LETTER = 10.0
"""Height of a letter, in pixels, on a canvas on which it is found what stands side by side."""


@dataclass(frozen=True, slots=True)
class Components:
    """Connected pieces of ink."""

    labels: Int[np.ndarray, "H W"]
    """Number of the component at every pixel, 0 on paper."""
    boxes: Int[np.ndarray, "N 4"]
    """Left, top, right, bottom; row 0 is component 1."""
    area: Int[np.ndarray, " N"]
    """Pixels of ink."""

    @property
    def width(self) -> Int[np.ndarray, " N"]:
        """Pixels across."""
        return np.asarray(self.boxes[:, 2] - self.boxes[:, 0])

    @property
    def height(self) -> Int[np.ndarray, " N"]:
        """Pixels down."""
        return np.asarray(self.boxes[:, 3] - self.boxes[:, 1])


@dataclass(frozen=True, slots=True)
class Sheet:
    """A page made flat and upright."""

    grey: UInt8[np.ndarray, "H W"]
    """Paper 255, ink dark."""
    ink: UInt8[np.ndarray, "H W"]
    """1 on ink."""
    pieces: Components
    """The ink in connected pieces."""
    letter: float
    """Typical height of a letter, 0 on a page without any."""
    to_page: Float[np.ndarray, "2 3"]
    """From pixels of the sheet to pixels of the page."""
    page: tuple[int, int]
    """Pixels across the page and down."""


def components(ink: UInt8[np.ndarray, "H W"]) -> Components:
    """Pieces of ink that hang together, corners included."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(ink, connectivity=8)
    left, top, width, height, area = stats[1:].T
    boxes = np.stack([left, top, left + width, top + height], axis=1)
    return Components(labels=labels, boxes=boxes, area=area)


def touching(bars: Float[np.ndarray, "M 4"], letter: float) -> list[Int[np.ndarray, " K"]]:
    """Numbers of the bars of every group whose bars touch on a small canvas.

    Args:
        bars: Left, top, right, bottom in pixels.
        letter: Height of a letter, which is `CANVAS_LETTER` on the canvas.
    """
    bars = bars * (CANVAS_LETTER / letter)
    corners = np.round(bars).astype(int)
    cols, rows = corners[:, 2:].max(axis=0, initial=0) + 1
    canvas = np.zeros((rows, cols), np.uint8)
    for left, top, right, bottom in corners.tolist():
        cv2.rectangle(canvas, (left, top), (right, bottom), 1, cv2.FILLED)
    _, labels = cv2.connectedComponents(canvas, connectivity=4)
    across = ((bars[:, 0] + bars[:, 2]) / 2).astype(int).clip(0, cols - 1)
    down = np.round((bars[:, 1] + bars[:, 3]) / 2).astype(int).clip(0, rows - 1)
    groups = labels[down, across]
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order])) + 1
    return [group for group in np.split(order, starts) if len(group)]


def in_line(
    boxes: Num[np.ndarray, "M 4"], gap: float, letter: float
) -> list[Int[np.ndarray, " K"]]:
    """Numbers of the boxes of every level row in which none is farther from the next than a gap."""
    left, top, right, bottom = boxes.T
    middle = (top + bottom) / 2
    bars = np.stack([left - gap / 2, middle, right + gap / 2, middle + 1], axis=1)
    return touching(bars, letter)


def quantile(values: Num[np.ndarray, " N"], share: float) -> float:
    """What `np.quantile` says of a few numbers, in a tenth of its time."""
    ordered = np.sort(values)
    at = share * (len(ordered) - 1)
    low, high = ordered[math.floor(at)], ordered[math.ceil(at)]
    return float(low + (high - low) * (at - math.floor(at)))


def median(values: Num[np.ndarray, " N"]) -> float:
    """The middle of a few numbers."""
    return quantile(values, 0.5)


def letter_height(pieces: Components, about: float | None = None) -> float:
    """Typical height of a letter in pixels, 0 on a page without any.

    The median weighs every piece by its height, so that specks and single large figures, however
    many or large, do not outvote the letters.

    Args:
        pieces: Ink of a page.
        about: What it is, roughly, where that is known.
    """
    width, height = pieces.width, pieces.height
    likely = (height >= 3) & (width < 12 * height) & (height < 8 * width)
    if about is not None:
        likely &= (height > 0.5 * about) & (height < 2 * about)
    heights = np.sort(height[likely])
    return _weighted_median(heights) if len(heights) else 0.0


def _weighted_median(ordered: Num[np.ndarray, " N"]) -> float:
    weights = np.cumsum(np.minimum(ordered, 4 * median(ordered)))
    return float(ordered[np.searchsorted(weights, weights[-1] / 2)])
