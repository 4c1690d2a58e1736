"""Segments to printed lines.

Knows nothing of columns.
"""

import math
from dataclasses import replace

from lightseek.blocks.sieve import MAX_UNEVEN, Segment

Row = list[Segment]
"""Segments on one printed line, left to right."""

MAX_SPACE = 2.5
"""Widest space between words of one line, in heights of a letter."""
_WORD = 4.0
"""Width of a run that is no mark, at least, in heights of a letter."""


def rows_of(segments: list[Segment]) -> list[Row]:
    """Group segments on one line into rows, top to bottom.

    Every row grows from left to right and goes on from its last segment, so that it may slant or
    bend a little.
    """
    rows: list[Row] = []
    ends: list[Segment] = []  # the last of a row that is more than a sign or two
    for segment in sorted(segments, key=lambda s: s.left):
        middle, reach = segment.middle, 2 * segment.tall
        near = [i for i, end in enumerate(ends) if abs(end.middle - middle) < reach]
        off, at = min(
            ((_off(ends[i], segment), i) for i in near if _free(rows[i], segment)),
            default=(math.inf, 0),
        )
        if off < 1:
            rows[at].append(segment)
            ends[at] = segment if segment.width > 2 * segment.letter else ends[at]
        else:
            rows.append([segment])
            ends.append(segment)
    return _side_by_side(sorted(rows, key=lambda row: sum(s.middle for s in row) / len(row)))


def _side_by_side(rows: list[Row]) -> list[Row]:
    """Rows downwards, but of two that overlap in height and not across, the left one first.

    So lines of two columns that do not stand level are read from left to right where there are too
    few for a gutter.
    """
    ordered: list[Row] = []
    for row in rows:
        at = len(ordered)
        while at and _is_left_of(row, ordered[at - 1]):
            at -= 1
        ordered.insert(at, row)
    return ordered


def _is_left_of(row: Row, other: Row) -> bool:
    """Whether a row ends before another begins that is on about the same height."""
    own, its = ((min(s.top for s in r), max(s.bottom for s in r)) for r in (row, other))
    shared = min(own[1], its[1]) - max(own[0], its[0])
    level = shared > 0.3 * min(own[1] - own[0], its[1] - its[0])
    return level and row[-1].right < other[0].left


def _free(row: Row, segment: Segment) -> bool:
    """Whether a row ends before a segment, a sign aside that was given to the wrong one of them."""
    return row[-1].right <= segment.left + 0.7 * segment.letter


def _off(end: Segment, segment: Segment) -> float:
    """How far a segment stands from the level of the end of a row; below 1 it goes on there."""
    sign = segment.width < 1.5 * end.letter
    size = end.tall if sign else min(segment.tall, end.tall)
    off = min(abs(segment.middle - end.middle), abs(segment.base - end.base))
    return off / (0.5 * size)


def joined(row: Row) -> Row:
    """Join what only wide word spaces part, as in justified lines.

    Beside a headline, the last word of a line of text is farther away than that.
    """
    whole = [replace(row[0], pieces=list(row[0].pieces))]
    for segment in row[1:]:
        last = whole[-1]
        if segment.left - last.right < MAX_SPACE * _size(segment, last):
            last.take(segment)
        else:
            whole.append(replace(segment, pieces=list(segment.pieces)))
    return whole


def _size(one: Segment, other: Segment) -> float:
    """Height of the letters by which the space between two runs is measured."""
    small, large = sorted((one, other), key=lambda s: s.letter)
    uneven = large.letter > MAX_UNEVEN * small.letter and small.width > _WORD * small.letter
    return small.letter if uneven else large.letter
