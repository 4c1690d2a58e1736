"""A flat sheet to segments: runs of letters that stand side by side on one line.

Rules, frames, pictures and dirt are left out; dots, accents and commas go to the run they belong
to. Knows nothing of columns or reading order.

Axes: H W rows and columns of pixels, N pieces of ink, K small ones, S segments.
"""

import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from lightseek.blocks.drawn import find_drawn, find_pictures, unlabelled, without_rules
from lightseek.blocks.fragments import (
    broken_letters,
    goes_on,
    rows_of_stars,
    with_fragments_returned,
)
from lightseek.blocks.initials import with_initials
from lightseek.blocks.overprint import part_overprinted
from lightseek.blocks.sheet import Components, Sheet, touching
from lightseek.blocks.sieve import BESIDE, MAX_UNEVEN, Segment, segment_of, text_alone

_LONG_DASH = 1.3
"""Width of a dash, in heights of a letter, from which one far above or below a line is a rule."""
_UNDERSCORES = 3
"""Width of two or three in a row, at most, likewise."""
_BESIDE_SIGN = 3
"""Farthest that a sign between two words stands from either, in heights of a letter."""
_BEFORE_LINE, _BULLET_BEFORE_LINE = 2, 5
"""Farthest that a dash, and that a round bullet stands before the line it begins, likewise."""
_COLON, _COLON_WIDTH = (0.3, 0.7), 0.25
"""Distance of its points, and what they differ across at most, likewise."""
_SHORTEST_LINE = 4
"""Width of that line, at least, likewise."""
_MAX_SEGMENTS = 4000
"""Of more runs, as in noise, the widest are kept: the time they take grows with their square."""
_MAX_SMALL = 20_000
"""Of more dots and dashes the largest, likewise."""


class Found(NamedTuple):
    """What `find_segments` makes of a sheet."""

    segments: list[Segment]
    pieces: Components
    """The ink that the segments are made of; pictures and rules have lost their label."""
    loose: Bool[np.ndarray, " N"]
    """Small pieces that belong to no segment: dirt, or dots of the faintest print."""


def find_segments(sheet: Sheet) -> Found:
    """Find the runs of letters."""
    letter = sheet.letter
    pieces = without_rules(sheet)
    if letter == 0:
        return Found([], pieces, np.zeros(len(pieces.area), bool))
    pieces = part_overprinted(pieces, letter)
    pictures = find_pictures(pieces, letter)
    drawn = pictures | find_drawn(pieces, letter)
    specks = pieces.area < max(1.0, 0.01 * letter**2)
    text = ~drawn & (~specks | _faint_colons(pieces, specks, letter))
    tall = pieces.height >= 0.55 * letter
    at_side, at_edge = _at_edges(pieces, sheet, 0.1 * letter)
    segments = _joined_letters(pieces, np.flatnonzero(text & tall), letter)
    segments = sorted(segments, key=lambda s: -s.width)[:_MAX_SEGMENTS]
    segments = with_fragments_returned(segments, letter, at_side, at_edge)
    small = text & ~tall & ~at_side
    for find in (broken_letters, rows_of_stars):
        found = find(segments, pieces, np.flatnonzero(small & ~specks), letter)
        small[[i for segment in found for i in segment.pieces]] = False
        segments += found
    _attach_small(segments, pieces, np.flatnonzero(small), letter, at_edge, specks)
    whole = _merged(segments)
    wide = [s for s in whole if s.width > 0.3 * letter]
    whole = [s for s in whole if s.width > 0.3 * letter or _is_figure(s, wide, letter)]
    page_px = float(np.hypot(*sheet.to_page[:, 0]))
    whole = text_alone(whole, pieces, letter, pictures=pictures, at_edge=at_edge, page_px=page_px)
    whole = with_initials(whole, pieces, letter)
    loose = ~drawn & ~at_edge & (pieces.height < 0.4 * letter)
    loose &= pieces.width < _LONG_DASH * letter
    for segment in whole:
        loose[segment.pieces] = False
    drawn[[s.initial for s in whole if s.initial is not None]] = False
    return Found(whole, unlabelled(pieces, drawn), loose)


def _faint_colons(
    pieces: Components, specks: Bool[np.ndarray, " N"], letter: float
) -> Bool[np.ndarray, " N"]:
    """Specks of which two stand above each other as the points of a colon do, and no third near."""
    found = np.zeros(len(specks), bool)
    numbers = np.flatnonzero(specks)
    numbers = numbers[np.argsort(pieces.boxes[numbers][:, ::2].sum(axis=1))]
    x, y = pieces.boxes[numbers].reshape(-1, 2, 2).mean(axis=1).T
    for offset in (0.0, 0.5):  # two ways to part the page into columns: none is cut by both
        columns = np.floor(x / (_COLON_WIDTH * letter) + offset)
        order = np.lexsort((y, columns))
        above, below = order[:-1], order[1:]
        apart = (y[below] - y[above]) / letter
        pairs = (columns[above] == columns[below]) & (apart > _COLON[0]) & (apart < _COLON[1])
        for one, other in zip(above[pairs].tolist(), below[pairs].tolist(), strict=True):
            first = np.searchsorted(x, x[one] - _COLON[1] * letter, "right")
            last = np.searchsorted(x, x[one] + _COLON[1] * letter, "left")
            near = (y[first:last] > y[one] - letter) & (y[first:last] < y[other] + letter)
            found[numbers[[one, other]]] |= near.sum() == 2
    return found


def _joined_letters(
    pieces: Components, main: Int[np.ndarray, " M"], letter: float
) -> list[Segment]:
    """Join letters that stand side by side.

    Every letter draws a bar through its middle, longer than a word space, on a small canvas; bars
    that touch are one segment. The bars are thin enough not to meet those of the next line.
    """
    boxes = pieces.boxes[main]
    height = boxes[:, 3] - boxes[:, 1]
    middle = (boxes[:, 1] + boxes[:, 3]) / 2
    reach = 0.5 * np.clip(height, 0.8 * letter, 2.2 * letter)
    half = np.where(height < 1.8 * letter, 0.18, 0.12) * height
    bars = np.stack([boxes[:, 0] - reach, middle - half, boxes[:, 2] + reach, middle + half], 1)
    return [segment_of(pieces, main[group]) for group in touching(bars, letter)]


def _is_figure(segment: Segment, others: list[Segment], letter: float) -> bool:
    """Whether a narrow run alone may be a 1 in a row of a table."""
    high = 0.8 * letter <= segment.height <= 1.3 * letter and segment.width > 0.15 * letter
    return high and goes_on(segment, others, letter)


def _attach_small(
    segments: list[Segment],
    pieces: Components,
    small: Int[np.ndarray, " K"],
    letter: float,
    at_edge: Bool[np.ndarray, " N"],
    specks: Bool[np.ndarray, " N"],
) -> None:
    """Give dots, accents and commas to the nearest run, dashes and bullets to one farther off.

    Points that follow each other on the baseline go on with the run that they begin at. Specks are
    those of a colon on the line, or none.
    """
    if not segments:
        return
    if len(small) > _MAX_SMALL:
        small = small[np.argsort(-pieces.area[small], kind="stable")[:_MAX_SMALL]]
    small = small[np.argsort(pieces.boxes[small, 0], kind="stable")]
    lefts, bottoms = pieces.boxes[small, 0].tolist(), pieces.boxes[small, 3].tolist()
    bases = np.array([s.base for s in segments])
    spans = np.array([[s.left, s.right] for s in segments], float)
    middles = np.array([s.middle for s in segments])
    reach = np.maximum(letter, [s.letter for s in segments])
    for i in small.tolist():
        left, top, right, bottom = pieces.boxes[i].tolist()
        x, y = (left + right) / 2, (top + bottom) / 2
        across = np.maximum(np.maximum(spans[:, 0] - x, x - spans[:, 1]), 0)
        down = np.abs(y - middles)
        above = 1.0 if at_edge[i] or right - left > 0.7 * letter else 1.5
        below = 1.1
        if right - left > _LONG_DASH * letter:
            above = below = 0.6
            # underscores that touch each other stand at the edge of a word, as no rule does
            gaps = np.minimum(np.abs(spans[:, 0] - right), np.abs(left - spans[:, 1]))
            if right - left < _UNDERSCORES * letter:
                below = 1.1 if ((gaps < 0.4 * letter) & (down < 1.1 * reach)).any() else 0.6
        near = (across < 1.6 * reach) & (down < np.where(y < middles, above, below) * reach)
        level = down < 0.5 * reach
        near |= level & _begun_with(pieces.boxes[i], spans, level, reach, letter)
        if min(right - left, bottom - top) > 0.12 * letter or right - left > 0.3 * letter:
            near |= _far_off(right - left, across, down, reach, letter)
        beside = (across < _BESIDE_SIGN * reach) & level
        if (beside & (spans[:, 1] < x)).any() and (beside & (spans[:, 0] > x)).any():
            near |= beside
        after = left - spans[:, 1]
        # the first of a row of points may stand farther off than the next ones
        start = 1.6 * reach if _is_in_row(pieces.boxes[i], lefts, bottoms, letter) else letter
        follows = (after >= 0) & (after < start) & (np.abs(bottom - bases) < 0.2 * reach)
        spans[follows, 1] = right
        near |= follows
        near &= level | ~specks[i]
        if near.any():
            host = segments[int(np.argmin(np.where(near, across + down, np.inf)))]
            host.left, host.top = min(host.left, left), min(host.top, top)
            host.right, host.bottom = max(host.right, right), max(host.bottom, bottom)
            host.pieces.append(i)


def _far_off(
    width: int,
    across: Float[np.ndarray, " S"],
    down: Float[np.ndarray, " S"],
    reach: Float[np.ndarray, " S"],
    letter: float,
) -> Bool[np.ndarray, " S"]:
    """Runs that a dash or a bullet so wide may belong to, unless it stands in a column of text."""
    if ((across == 0) & (down < 4 * reach)).any():
        return np.zeros(len(reach), bool)
    farthest, off = (4.0, 0.5) if width > 0.3 * letter else (2.5, 0.8)
    return (across < farthest * reach) & (down < off * reach)


def _begun_with(
    box: Int[np.ndarray, " 4"],
    spans: Float[np.ndarray, "S 2"],
    level: Bool[np.ndarray, " S"],
    reach: Float[np.ndarray, " S"],
    letter: float,
) -> Bool[np.ndarray, " S"]:
    """Runs that begin with a dash or a bullet, whatever stands above and below it."""
    left, top, right, bottom = box.tolist()
    is_bullet = _is_bullet(right - left, bottom - top, letter)
    if not is_bullet and right - left <= 0.3 * letter:
        return np.zeros(len(spans), bool)
    farthest = _BULLET_BEFORE_LINE if is_bullet else _BEFORE_LINE
    ahead = (spans[:, 0] >= right) & (spans[:, 0] - right < farthest * reach)
    ahead &= spans[:, 1] - spans[:, 0] > _SHORTEST_LINE * reach
    behind = level & (spans[:, 1] <= left) & (left - spans[:, 1] < BESIDE * reach)
    return ahead & ~behind.any()


def _is_in_row(
    box: Int[np.ndarray, " 4"], lefts: list[int], bottoms: list[int], letter: float
) -> bool:
    """Whether a point has another close behind it, on its level, among those from left to right."""
    left, _, right, bottom = box.tolist()
    if right - left >= 0.4 * letter:
        return False
    first, last = bisect_right(lefts, right), bisect_left(lefts, right + letter)
    return any(abs(other - bottom) <= 0.1 * letter for other in bottoms[first:last])


def _is_bullet(width: float, height: float, letter: float) -> bool:
    """Whether a piece is round and as large as the bullets of lists."""
    small, large = sorted((width, height))
    return 0.25 * letter < small and large < min(0.7 * letter, 1.5 * small)


def _merged(segments: Iterable[Segment]) -> list[Segment]:
    """Join runs that overlap or nearly touch on the same line, and what lies inside a run."""
    merged: list[Segment] = []
    for segment in sorted(segments, key=lambda s: s.left):
        host = next((other for other in merged if _is_one_run(other, segment)), None)
        if host is None:
            merged.append(segment)
        else:
            host.take(segment)
    whole: list[Segment] = []
    for segment in sorted(merged, key=lambda s: -s.width):
        wider = itertools.takewhile(lambda s: s.width > 4 * segment.width, whole)  # noqa: B023
        host = next((other for other in wider if _is_inside(segment, other)), None)
        if host is None:
            whole.append(segment)
        else:
            host.take(segment)
    return whole


def _is_one_run(before: Segment, after: Segment) -> bool:
    letter, apart = max(before.letter, after.letter), abs(before.middle - after.middle)
    # first what most runs of a page fail: it is asked of every two of them
    if apart >= 0.75 * letter or letter > MAX_UNEVEN * min(before.letter, after.letter):
        return False
    small, large = (before, after) if before.width <= after.width else (after, before)
    raised = small.height < 0.8 * large.tall and small.width < 3 * letter
    if apart >= 0.45 * letter and not raised:
        return False
    shared = min(before.bottom, after.bottom) - max(before.top, after.top)
    level = shared > 0.6 * min(before.height, after.height)
    return level and after.left - before.right < 0.8 * letter


def _is_inside(small: Segment, large: Segment) -> bool:
    """Whether a run is but worn-off pieces of the letters of another."""
    across = min(small.right, large.right) - max(small.left, large.left)
    top, bottom = large.middle - 0.8 * large.tall, large.middle + 0.8 * large.tall
    down = min(small.bottom, bottom) - max(small.top, top)
    low = small.height < 1.2 * large.tall
    return low and across > 0.6 * small.width and down > 0.7 * small.height


def _at_edges(
    pieces: Components, sheet: Sheet, distance: float
) -> tuple[Bool[np.ndarray, " N"], Bool[np.ndarray, " N"]]:
    """Pieces as near to the left or right, and to the upper or lower edge of the page."""
    left, top, right, bottom = pieces.boxes.T
    scale = float(np.hypot(*sheet.to_page[:, 0]))
    x, y = sheet.to_page @ np.stack([(left + right) / 2, (top + bottom) / 2, np.ones(len(left))])
    near = max(1.0, distance) * scale
    x_spare = near + (right - left) / 2 * scale
    y_spare = near + (bottom - top) / 2 * scale
    return (
        np.asarray((x <= x_spare) | (x >= sheet.page[0] - x_spare)),
        np.asarray((y <= y_spare) | (y >= sheet.page[1] - y_spare)),
    )
