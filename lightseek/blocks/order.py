"""Segments to reading order: columns left to right, headings across, tables row by row.

Knows nothing of pixels.

Axes: N segments.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from lightseek.blocks.rows import MAX_SPACE, Row, joined, rows_of
from lightseek.blocks.sieve import Segment

_MIN_ROWS = 3
"""Rows that a column has at least."""
_MIN_GUTTER, _SHORT_GUTTER = 0.9, 2.0
"""Least width of a gutter, and of one beside few rows, in heights of a letter."""
_SET_IN = 2.0
"""Least white on both sides of what is set into columns, in heights of a letter."""
_MAX_INDENT = 5.0
"""Farthest from the gutter that a line of its right column begins, in heights of a letter."""
_NUMBER = 4.0
"""Width of the number of a page, at most, in heights of a letter."""
_COLUMN = 14.0
"""Width of prose beside other columns, at least, likewise."""
_FEW = 0.2
"""Share of text that is in narrower ones, at most."""
_ROUGHLY, _TO_A_HAIR = 0.5, 0.12
"""How far lines that stand level may differ, in heights of a letter."""
_CELLS = 0.7
"""Share of a column that is cells of a table, from which it is none, where some stand halfway."""
_SHARED = 0.2
"""How much of its height a line may share with those that it stands between."""
_MAX_TRIES = 40
"""Gutters that are looked at closely."""


@dataclass(frozen=True, slots=True)
class _Gutter:
    """White space between two columns, from one height of the sheet to another."""

    x: float
    top: float
    bottom: float


def reading_order(segments: list[Segment]) -> list[list[Row]]:
    """Columns of rows, in the order in which they are read.

    The gutter between two columns with the most text is sought; what stands above it is read
    first, then its left side, its right side, what is set into both, and what stands below.
    Where there is none, the rows are read downwards.
    """
    if not segments:
        return []
    letter = float(np.median([s.letter for s in segments]))
    gutter = _best_gutter(segments, letter)
    if gutter is None:
        return [[joined(row) for row in rows_of(segments)]]
    beside = [s for s in segments if gutter.top < s.middle < gutter.bottom]
    parts = (
        [s for s in segments if s.middle <= gutter.top],
        [s for s in beside if s.right <= gutter.x],
        [s for s in beside if s.left >= gutter.x],
        [s for s in beside if s.left < gutter.x < s.right],
        [s for s in segments if s.middle >= gutter.bottom],
    )
    return [column for part in parts for column in reading_order(part)]


def _best_gutter(segments: list[Segment], letter: float) -> _Gutter | None:
    """The gutter with the most text on its poorer side that parts two columns.

    It is sought as far as lines on its right begin at it, since a table above two columns has its
    gaps elsewhere.
    """
    left = np.array([s.left for s in segments], float)
    right = np.array([s.right for s in segments], float)
    middle = np.array([s.middle for s in segments])
    width = right - left
    inset = _set_in(segments, _SET_IN * letter)
    half = _MIN_GUTTER * letter / 2
    found: list[tuple[float, _Gutter]] = []
    for x in np.unique(np.round(left - 1.2 * half)):
        sides = right <= x - half, left >= x + half
        across = ~(sides[0] | sides[1])
        stops = np.array([-math.inf, *np.sort(middle[across & ~inset]), math.inf])
        for top, bottom in _tall_enough(stops, *(middle[side] for side in sides)):
            between = [side & (middle > top) & (middle < bottom) for side in sides]
            near = middle[between[1] & (left < x + _MAX_INDENT * letter)]
            if min(_num_rows(middle[between[0]], letter), _num_rows(near, letter)) >= _MIN_ROWS:
                text = min(float(width[side].sum()) for side in between)
                text -= float(width[across & (middle > top) & (middle < bottom)].sum())
                core = max(top, near.min() - letter / 2), min(bottom, near.max() + letter / 2)
                found.append((text, _Gutter(float(x), float(core[0]), float(core[1]))))
    flowing = [s for s, is_inset in zip(segments, inset, strict=True) if not is_inset]
    for _, gutter in sorted(found, key=lambda item: -item[0])[:_MAX_TRIES]:
        if _parts_columns(gutter, segments, flowing, letter):
            return _between_numbers(_extended(gutter, segments, letter), segments, letter)
    return None


def _tall_enough(
    stops: Float[np.ndarray, " M"], left: Float[np.ndarray, " K"], right: Float[np.ndarray, " L"]
) -> list[tuple[float, float]]:
    """Neighbouring stops with so many segments between them on both sides that rows may be."""
    counts = [np.diff(np.searchsorted(np.sort(side), stops)) for side in (left, right)]
    enough = np.flatnonzero(np.minimum(*counts) >= _MIN_ROWS)
    return [(float(stops[i]), float(stops[i + 1])) for i in enough]


def _extended(gutter: _Gutter, segments: list[Segment], letter: float) -> _Gutter:
    """The gutter down to where a column ends, or both go on side by side.

    A column is rarely as long as its neighbour; what it alone holds below is read with it.
    """
    sides = _sides(gutter, segments)
    top = _top(gutter, segments, letter)
    below = [s for s in segments if s.middle >= gutter.bottom]
    # the number of a page stands in the gutter
    edges = max(s.right for s in sides[0]), min(s.left for s in sides[1])
    in_left = [s.right <= gutter.x and s.left < edges[0] for s in below]
    in_right = [s.left >= gutter.x and s.right > edges[1] for s in below]
    bottom = gutter.bottom
    for core, beside, goes_on in zip(sides, sides[::-1], (in_left, in_right), strict=True):
        others = [s for s, own in zip(below, goes_on, strict=True) if not own]
        ends = (s.middle for s in others if not _is_centred(s, beside, letter))
        limit = min(ends, default=math.inf) - letter
        own = [s for s in itertools.compress(below, goes_on) if s.middle <= limit]
        bottom = max(bottom, _last_below(core, own, letter) + letter / 2)
    return _Gutter(gutter.x, top, bottom)


def _last_below(core: list[Segment], own: list[Segment], letter: float) -> float:
    """The middle of the last line of a column that goes on below what is known of it.

    Prose goes on as long as it is prose, another column to the end of its paragraph.

    Args:
        core: What is known to be the column.
        own: What stands below and may belong to it.
        letter: Height of a letter.
    """
    rows = rows_of(core)
    middles = np.sort([s.middle for s in core])
    last = float(middles[-1])
    if _is_prose(rows, letter):
        pitch = float(np.diff(middles).max())
        # a heading or a picture in a column does not end it
        if len(own) >= _MIN_ROWS and all(_is_prose(rows_of(x), letter) for x in (own, core + own)):
            pitch = math.inf
    else:
        above, below = rows[-2:][0][0], rows[-1][0]
        flush = abs(above.left - below.left) < _ROUGHLY * letter
        pitch = below.middle - above.middle if flush else 0.0
        own = [s for s in own if abs(s.left - below.left) < _ROUGHLY * letter]
    for middle in sorted(s.middle for s in own):
        if middle - last > 1.2 * pitch:
            break
        last = middle
    return last


def _between_numbers(gutter: _Gutter, segments: list[Segment], letter: float) -> _Gutter:
    """The gutter without the row of a page number that stands in it, above or below all lines."""
    sides = _sides(gutter, segments)
    lines = [[s for s in side if s.width > _NUMBER * letter] for side in sides]
    if not all(lines) or not all(_is_prose(rows_of(side), letter) for side in sides):
        return gutter
    ends = max(s.right for s in lines[0]), min(s.left for s in lines[1])
    numbers = [s.middle for side in sides for s in side if ends[0] < s.left and s.right < ends[1]]
    middles = [s.middle for side in lines for s in side]
    spare = letter / 2
    above = [y + spare for y in numbers if y < min(middles) + spare]
    below = [y - spare for y in numbers if y > max(middles) - spare]
    return _Gutter(gutter.x, max([gutter.top, *above]), min([gutter.bottom, *below]))


def _top(gutter: _Gutter, segments: list[Segment], letter: float) -> float:
    """Where prose on the left begins beside a heading in the middle of the right column."""
    left, right = _sides(gutter, segments)
    if not _is_prose(rows_of(left), letter):
        return gutter.top
    above = [s for s in segments if s.middle <= gutter.top]
    across = max((s.bottom for s in above if s.left < gutter.x < s.right), default=-math.inf)
    middles = np.sort([s.middle for s in left])
    step, first = 1.2 * float(np.diff(middles).max()), float(middles[0])
    for segment in sorted(above, key=lambda s: -s.middle):
        if segment.right <= gutter.x and segment.top >= across and first - segment.middle <= step:
            first = segment.middle
    beside = [s for s in above if s.left >= gutter.x and s.middle > first - letter]
    centred = all(_is_centred(s, right, letter) for s in beside)
    return min(gutter.top, first - letter / 2) if beside and centred else gutter.top


def _is_centred(segment: Segment, column: list[Segment], letter: float) -> bool:
    """Whether a run stands in the middle of a column, away from both of its edges."""
    start, end = min(s.left for s in column), max(s.right for s in column)
    before, after = segment.left - start, end - segment.right
    return min(before, after) > 2 * letter and abs(before - after) < 4 * letter


def _set_in(segments: list[Segment], distance: float) -> Bool[np.ndarray, " N"]:
    """Which segments have others at some distance on both sides.

    Such is the caption of a picture that two columns flow around; it does not end their gutter.
    What stands on one line with less between is taken together.
    """
    left, top, right, bottom, middle = np.array(
        [[s.left, s.top, s.right, s.bottom, s.middle] for s in segments], np.float32
    ).T
    gap = np.maximum(left[:, None] - right, left - right[:, None])
    joins = np.abs(middle[:, None] - middle) < 0.3 * np.minimum.outer(bottom - top, bottom - top)
    joins &= gap < distance
    group, last = np.arange(len(segments)), np.full(len(segments), -1)
    while not np.array_equal(group, last):
        group, last = np.where(joins, group, len(segments)).min(axis=1), group
    same = group[:, None] == group
    spare = 0.5 * (bottom - top)  # a caption need not be set on the same lines
    level = (top - spare < middle[:, None]) & (bottom + spare > middle[:, None]) & ~same
    before = np.where(level & (right <= left[:, None]), left[:, None] - right, np.inf).min(axis=1)
    after = np.where(level & (left >= right[:, None]), left - right[:, None], np.inf).min(axis=1)
    before = np.where(same, before, np.inf).min(axis=1)
    after = np.where(same, after, np.inf).min(axis=1)
    alone = np.isinf(before) | np.isinf(after)
    return np.asarray(~alone & (np.minimum(before, after) >= distance))


def _num_rows(middles: Float[np.ndarray, " N"], letter: float) -> int:
    return 1 + int(np.sum(np.diff(np.sort(middles)) > 0.5 * letter)) if len(middles) else 0


def _parts_columns(
    gutter: _Gutter, segments: list[Segment], flowing: list[Segment], letter: float
) -> bool:
    """Whether both sides of a gutter are columns of text, not of a table.

    The rows of a table stand level on both sides, and its cells are short; lines of prose may
    stand level too, but fill their column, and are in none that is too narrow. A gutter must be
    wider than the spaces between words, a short one even more so, since some of them happen to
    stand one below the other, less so where the right side begins evenly. Beside prose, the rows
    of a table are level to a hair.
    """
    sides, flows = _sides(gutter, segments), _sides(gutter, flowing)
    rows = [rows_of(side) for side in flows]
    if min(map(len, rows)) < _MIN_ROWS:
        return False
    large = max(float(np.median([s.letter for s in side])) for side in sides)
    least = _SHORT_GUTTER if min(map(len, rows)) < 2 * _MIN_ROWS else 0.7 * _MIN_GUTTER
    if _white(*sides) < least * large:
        return False
    gaps = (b.left - a.right for side in rows for row in side for a, b in itertools.pairwise(row))
    spaces = [gap for gap in gaps if gap < MAX_SPACE * large]
    usual = float(np.median(spaces)) if len(spaces) >= _MIN_ROWS else 0.0
    even = _begins_evenly(rows_of(sides[1]), letter)
    if _white(*flows) < (1.1 if even else 1.5) * usual:
        return False
    narrow = [_share_narrow(side, letter) >= _FEW for side in sides]
    fills = [_is_prose(flow, letter) for flow in rows]
    prose = [full and not cells for full, cells in zip(fills, narrow, strict=True)]
    if all(prose):
        return True
    few, many = sorted(sides, key=len)
    if _take_turns(few, many):
        return False
    within = _TO_A_HAIR if any(prose) and (even or all(fills)) else _ROUGHLY
    level = max(_share_level(few, many, within), _share_level(many, few, within))
    return level < 0.5 and (any(prose) or level + _share_between(few, many) < _CELLS)


def _begins_evenly(rows: list[Row], letter: float) -> bool:
    """Whether most rows begin one below the other, as words within lines hardly ever do."""
    left = np.array([row[0].left for row in rows], float)
    flush = left < np.percentile(left, 20) + 0.5 * letter
    return len(rows) >= 2 * _MIN_ROWS and float(flush.mean()) > 0.7


def _sides(gutter: _Gutter, segments: list[Segment]) -> tuple[list[Segment], list[Segment]]:
    """What stands left and right of a gutter."""
    inside = [s for s in segments if gutter.top < s.middle < gutter.bottom]
    return [s for s in inside if s.right <= gutter.x], [s for s in inside if s.left >= gutter.x]


def _white(left: list[Segment], right: list[Segment]) -> int:
    return min(s.left for s in right) - max(s.right for s in left)


def _share_level(few: list[Segment], many: list[Segment], within: float) -> float:
    """How many of some segments are level with any of the others, to a share of their height."""
    one, other = (
        np.array([[s.middle, s.base, s.tall] for s in group]).T[:, :, None] for group in (few, many)
    )
    off = np.abs(one - np.swapaxes(other, 1, 2))[:2].min(axis=0)
    level = off < within * np.minimum(one[2], other[2].T)
    return float(level.any(axis=1).mean())


def _share_between(few: list[Segment], many: list[Segment]) -> float:
    """How many stand halfway between two lines of the other side, as a cell beside two rows."""
    middles = np.sort([float(np.mean([s.middle for s in row])) for row in rows_of(many)])
    off = np.abs(np.array([[s.middle] for s in few]) - (middles[1:] + middles[:-1]) / 2)
    near = off < _TO_A_HAIR * np.array([[s.tall] for s in few])
    return float(near.any(axis=1).mean())


def _take_turns(few: list[Segment], many: list[Segment]) -> bool:
    """Whether most lines of one side stand between those of the other, as a price below a name.

    Lines above or below all others count for neither: there is nothing to take turns with.
    """
    lines = sorted(many, key=lambda s: s.middle)
    beside = [s for s in few if lines[0].middle < s.middle <= lines[-1].middle]
    between = (
        s.top >= above.bottom - _SHARED * s.tall and s.bottom <= below.top + _SHARED * s.tall
        for s in beside
        for above, below in itertools.pairwise(lines)
        if above.middle < s.middle <= below.middle
    )
    return 2 * len(beside) >= len(few) and sum(between) > 0.5 * len(beside)


def _is_prose(rows: list[Row], letter: float) -> bool:
    """Whether most rows fill the width that the longest takes, or end where their neighbours do."""
    left = np.array([row[0].left for row in rows], float)
    right = np.array([row[-1].right for row in rows], float)
    inked = np.array([sum(s.width for s in row) for row in rows], float)
    width = float(right.max() - left.min())
    steps = np.abs(np.diff(right, prepend=np.inf, append=np.inf))
    justified = np.minimum(steps[1:], steps[:-1]) < letter
    long = (right - left > 0.7 * width) | (justified & (right - left > 10 * letter))
    full = long & (inked > 0.65 * (right - left))
    return width > 10 * letter and float(np.mean(full)) > 0.5


def _share_narrow(segments: list[Segment], letter: float) -> float:
    """How much of the text is in narrow ones of several columns, with white that no row crosses."""
    columns: list[list[Segment]] = []
    end = -math.inf
    for segment in sorted(segments, key=lambda s: s.left):
        if segment.left - end > MAX_SPACE * letter:
            columns.append([])
        columns[-1].append(segment)
        end = max(end, segment.right)
    if len(columns) == 1:
        return 0.0
    inked = [sum(s.width for s in column) for column in columns]
    wide = [max(s.right for s in c) - c[0].left > _COLUMN * letter for c in columns]
    return 1 - sum(itertools.compress(inked, wide)) / sum(inked)
