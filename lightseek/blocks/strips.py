"""Rows of segments to strips, the images that the reader is given, and words back to the page.

A strip holds one line or a piece of one, scaled so that its letters are as high as what the
reader was trained on. Knows nothing of models.

Axes: H W rows and columns of a strip, N characters.
"""

import itertools
import re
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, Num, UInt8

from lightseek.blocks.bend import slope_of
from lightseek.blocks.segments import Found
from lightseek.blocks.sheet import Sheet
from lightseek.blocks.sieve import Segment
from lightseek.document import Box

STRIP_HEIGHT = 32
"""As high as a line, from its highest ink to its lowest."""
STRIP_WIDTHS = tuple(range(192, 1025, 64))
"""On narrower ones the reader tells wrong places."""
MARGIN = 4
"""Pixels of a strip beside its line."""
_AFTER_INITIAL, _INITIAL_INK = 0.1, 160
"""Space between a drop capital and its word, in heights of a letter; the lightest of its ink."""
_MAX_ENLARGEMENT = 3.0
_MAX_SQUEEZE = 1.25


@dataclass(frozen=True, slots=True)
class Strip:
    """One line, or a piece of one, as the reader sees it."""

    image: UInt8[np.ndarray, "H W"]
    """Dark ink on white, `STRIP_HEIGHT` high and as wide as one of `STRIP_WIDTHS`."""
    to_page: Float[np.ndarray, "2 3"]
    """From pixels of the strip to pixels of the page."""
    box: Box
    """Around its ink, in pixels of the page."""


@dataclass(frozen=True, slots=True)
class TextLine:
    """One printed line of a column; its strips are joined with one space."""

    strips: tuple[Strip, ...]
    box: Box


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph, a heading, a row of a table."""

    kind: str
    """`text` or `heading`."""
    lines: tuple[TextLine, ...]
    box: Box

    @property
    def strips(self) -> list[Strip]:
        """Those of all lines, in reading order."""
        return [strip for line in self.lines for strip in line.strips]


def cut_strips(sheet: Sheet, found: Found, segment: Segment, page: Box) -> list[Strip]:
    """Cut one segment into as many strips as its length needs."""
    window = _window(sheet, found, segment)
    inked = _inked_columns(window.kept)
    scale = min(STRIP_HEIGHT / len(window.grey), _MAX_ENLARGEMENT)
    room = STRIP_WIDTHS[-1] - 2 * MARGIN
    count = max(1, int(np.ceil(len(inked) * scale / (room * _MAX_SQUEEZE))))
    to_page = sheet.to_page @ window.to_sheet
    strips = []
    for a, b in itertools.pairwise([0, *_word_gaps(inked, count), len(inked)]):
        corners = _bounds(window.kept, a, b)
        if corners is not None:
            box = _mapped(to_page, corners, page)
            strips.append(_strip(window.grey[:, a:b], a, scale, to_page, box))
    return strips


class _Window(NamedTuple):
    """What a strip shows of the sheet, its line level."""

    grey: UInt8[np.ndarray, "h w"]
    kept: Bool[np.ndarray, "h w"]
    """Where its ink is, that of neighbours left out."""
    to_sheet: Float[np.ndarray, "3 3"]


def _window(sheet: Sheet, found: Found, segment: Segment) -> _Window:
    """The line and what it would take with all letters; other lines are painted over.

    A piece that reaches into the core of the line stays, whatever it belongs to: where letters
    of two lines touch, a neighbour's tail is better than a missing letter.
    """
    boxes, centre = found.pieces.boxes, (segment.left + segment.right) / 2
    fall = _fall(boxes[segment.pieces], segment)
    sunk = fall * ((boxes[:, 0] + boxes[:, 2]) / 2 - centre)
    tops, lows = boxes[:, 1] - sunk, boxes[:, 3] - sunk
    core = 0.4 * segment.letter
    stays = (lows >= segment.middle - core) & (tops <= segment.middle + core)
    stays |= found.loose
    stays[segment.pieces] = True
    top, low = _extent(segment, tops[segment.pieces], lows[segment.pieces])
    side = 0.3 * segment.letter
    columns = np.arange(
        max(0, int(segment.left - side)),
        min(sheet.grey.shape[1], int(np.ceil(segment.right + side))),
    )
    dips = np.round(fall * (columns - centre)).astype(int)
    grey, ink, labels = (
        _level(image[:, columns[0] : columns[-1] + 1], top, low, dips, blank)
        for image, blank in ((sheet.grey, 255), (sheet.ink, 0), (found.pieces.labels, 0))
    )
    kept = np.concatenate([[False], stays])[labels]
    foreign = (ink > 0) & ~kept
    rise = top - fall * (centre - columns[0])
    to_sheet = np.array([[1.0, 0.0, columns[0]], [fall, 1.0, rise], [0.0, 0.0, 1.0]])
    window = _Window(_painted_over(grey, foreign, kept), kept, to_sheet)
    if segment.initial is None:
        return window
    left, high, right, foot = found.pieces.boxes[segment.initial].tolist()
    place = slice(high, foot), slice(left, right)
    own = np.asarray(found.pieces.labels[place] == segment.initial + 1, np.uint8)
    whole = cv2.dilate(own, np.ones((3, 3), np.uint8)) > 0
    return _with_initial(window, np.where(whole, sheet.grey[place], np.uint8(255)), segment)


def _with_initial(window: _Window, initial: UInt8[np.ndarray, "y x"], segment: Segment) -> _Window:
    """Set a drop capital close before its line, as high as the capitals of the line."""
    height, width = initial.shape
    tall = min(max(1, round(segment.tall)), len(window.grey))
    size = max(1, round(width * tall / height)), tall
    small = cv2.resize(initial, size, interpolation=cv2.INTER_AREA)
    start, rise = window.to_sheet[0, 2], window.to_sheet[1, 2]
    spare = max(0, int(segment.left - start - _AFTER_INITIAL * segment.letter))
    foot = int(np.clip(round(segment.base - rise), tall, len(window.grey)))
    before = np.full((len(window.grey), size[0]), 255, np.uint8)
    before[foot - tall : foot] = small
    to_sheet = window.to_sheet @ np.array([[1.0, 0, spare - size[0]], [0, 1, 0], [0, 0, 1]])
    return _Window(
        np.hstack([before, window.grey[:, spare:]]),
        np.hstack([before < _INITIAL_INK, window.kept[:, spare:]]),
        to_sheet,
    )


def _level(
    image: Num[np.ndarray, "H w"], top: int, low: int, dips: Int[np.ndarray, " w"], blank: int
) -> Num[np.ndarray, "h w"]:
    """Rows of an image from top to low, each column as much further down as it dips."""
    first, last = top + int(dips.min()), low + int(dips.max())
    over, under = max(0, -first), max(0, last - len(image))
    crop = image[max(0, first) : max(0, last)]
    if over or under:
        crop = np.pad(crop, ((over, under), (0, 0)), constant_values=blank)
    if not dips.any():
        return crop
    return np.take_along_axis(crop, np.arange(low - top)[:, None] + dips - dips.min(), axis=0)


def _fall(boxes: Int[np.ndarray, "N 4"], segment: Segment) -> float:
    """Pixels that a line falls a pixel to the right, where that is more than its letters differ."""
    slope = slope_of(boxes, segment) or 0.0
    return slope if abs(slope) * segment.width > 0.3 * segment.letter else 0.0


def _extent(
    segment: Segment, tops: Float[np.ndarray, " K"], lows: Float[np.ndarray, " K"]
) -> tuple[int, int]:
    """First and past-the-last row of a line: tall brackets and strokes do not make it higher."""
    reach, spare = 0.8 * segment.letter, 0.12 * segment.letter
    top = max(float(tops.min()), segment.middle - max(1.15 * segment.tall, reach))
    low = min(float(lows.max()), segment.middle + max(1.1 * segment.tall, reach))
    top, low = min(top, segment.middle - reach), max(low, segment.middle + reach)
    return int(np.floor(top - spare)), int(np.ceil(low + spare))


def _painted_over(
    grey: UInt8[np.ndarray, "h w"], foreign: Bool[np.ndarray, "h w"], kept: Bool[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "h w"]:
    if not foreign.any():
        return grey
    kernel = np.ones((3, 3), np.uint8)
    cover = cv2.dilate(foreign.astype(np.uint8), kernel, iterations=2)
    spare = cv2.dilate(kept.astype(np.uint8), kernel)
    return np.where((cover > 0) & (spare == 0), np.uint8(255), grey)


def _word_gaps(inked: Bool[np.ndarray, " W"], count: int) -> list[int]:
    """Columns at which to cut into a number of pieces: the widest gaps near equal parts."""
    gaps = _white_runs(inked)
    part = len(inked) / count
    cuts = []
    for ideal in (part * k for k in range(1, count)):
        off = [(b - a, -abs((a + b) / 2 - ideal), (a + b) // 2) for a, b in gaps]
        near = [gap for gap in off if -gap[1] < 0.25 * part]
        cuts.append(max(near)[-1] if near else int(ideal))
    return cuts


def _inked_columns(ink: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, " W"]:
    return np.asarray(ink.any(axis=0))


def _white_runs(inked: Bool[np.ndarray, " W"]) -> list[tuple[int, int]]:
    """First and past-the-last column of every run without ink."""
    edges = np.diff(np.concatenate([[True], inked, [True]]).astype(np.int8))
    return list(
        zip(np.flatnonzero(edges == -1).tolist(), np.flatnonzero(edges == 1).tolist(), strict=True)
    )


def _strip(
    grey: UInt8[np.ndarray, "h w"],
    left: int,
    scale: float,
    to_page: Float[np.ndarray, "2 3"],
    box: Box,
) -> Strip:
    """Scale a piece of a window and lay it on a strip of the narrowest width that holds it."""
    height, width = grey.shape
    scale = min(scale, (STRIP_WIDTHS[-1] - 2 * MARGIN) / width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    how = cv2.INTER_AREA if scale < 0.9 else cv2.INTER_CUBIC
    scaled = cv2.resize(grey, size, interpolation=how)
    across = next(w for w in STRIP_WIDTHS if w >= size[0] + 2 * MARGIN)
    image = np.full((STRIP_HEIGHT, across), 255, np.uint8)
    down = (STRIP_HEIGHT - size[1]) // 2
    image[down : down + size[1], MARGIN : MARGIN + size[0]] = scaled
    fx, fy = width / size[0], height / size[1]
    to_window = np.array([[fx, 0, left - MARGIN * fx], [0, fy, -down * fy], [0, 0, 1]])
    return Strip(image=image, to_page=to_page @ to_window, box=box)


def _mapped(
    to_page: Float[np.ndarray, "2 3"], corners: tuple[float, float, float, float], page: Box
) -> Box:
    """The upright box on the page around a box elsewhere, kept inside the page."""
    left, top, right, bottom = corners
    points = np.array(
        [[left, right, left, right], [top, top, bottom, bottom], [1.0, 1.0, 1.0, 1.0]]
    )
    x, y = to_page @ points
    return Box(
        float(np.clip(x.min(), page.left, page.right)),
        float(np.clip(y.min(), page.top, page.bottom)),
        float(np.clip(x.max(), page.left, page.right)),
        float(np.clip(y.max(), page.top, page.bottom)),
    )


def word_boxes(strip: Strip, centres: Float[np.ndarray, " N"], text: str) -> list[Box]:
    """Boxes on the page around the ink of every word that was read on a strip.

    Two words part at the widest white gap between the last character of the one and the first
    of the next, so that the centres need not be exact.

    Args:
        strip: What was read.
        centres: Middle of every character of the text, in pixels across the strip.
        text: What the reader wrote, words between single spaces.
    """
    ink = _ink_of_strip(strip.image)
    spans = [match.span() for match in re.finditer(r"\S+", text)]
    ends = [0]
    for (_, end), (start, _) in itertools.pairwise(spans):
        ends.append(_widest_gap(ink, float(centres[end - 1]), float(centres[start])))
    ends.append(strip.image.shape[1])
    boxes = []
    for (start, end), (left, right) in zip(spans, itertools.pairwise(ends), strict=True):
        corners = _bounds(ink, left, max(left + 1, right))
        if corners is None:
            corners = _guess(strip, float(centres[start]), float(centres[end - 1]))
        boxes.append(_mapped(strip.to_page, corners, strip.box))
    return boxes


def _ink_of_strip(image: UInt8[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    split, _ = cv2.threshold(image, 0, 255, cv2.THRESH_OTSU)
    return image <= min(max(split, 100.0), 200.0)


def _widest_gap(ink: Bool[np.ndarray, "H W"], last: float, first: float) -> int:
    """The column in the middle of the widest white gap between two characters."""
    left = int(np.clip(min(last, first), 0, ink.shape[1] - 1))
    right = int(np.clip(max(last, first), left + 1, ink.shape[1]))
    gaps = _white_runs(_inked_columns(ink[:, left:right]))
    a, b = max(gaps, key=lambda gap: gap[1] - gap[0], default=(0, right - left))
    return left + (a + b) // 2


def _bounds(
    ink: Bool[np.ndarray, "H W"], left: int, right: int
) -> tuple[float, float, float, float] | None:
    columns = np.flatnonzero(ink[:, left:right].any(axis=0))
    if len(columns) == 0:
        return None
    rows = np.flatnonzero(ink[:, left:right].any(axis=1))
    return (
        left + float(columns[0]),
        float(rows[0]),
        left + float(columns[-1]) + 1,
        float(rows[-1]) + 1,
    )


def _guess(strip: Strip, first: float, last: float) -> tuple[float, float, float, float]:
    """Where a word would be that was read where no ink is left."""
    quarter = STRIP_HEIGHT / 4
    return first - quarter, quarter, last + quarter, 3 * quarter
