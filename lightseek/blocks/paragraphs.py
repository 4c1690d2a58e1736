"""Rows of a column to paragraphs, headings and rows of tables.

Knows nothing of pixels or strips.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np

from lightseek.blocks.rows import Row
from lightseek.blocks.sieve import Segment

_HEADING_SIZE, _HEADING_ROWS = 1.2, 4
"""Letters of a heading over those of most text, at least; its rows, at most."""
_LARGER, _MUCH_LARGER = 1.05, 1.12
"""Every and one size of the letters of a heading over those of the line below it, at least."""
_SAME_SIZE = 1.2
"""Letters of one paragraph over those of another row of it, at most."""
_COMPARED = 3
"""Rows above of which one at least must have letters of that size."""
_GAPS = 0.1
"""Share of a line of running text, at most, that is wide gaps: a long dash, justified words."""
_CELLS, _CLOSER, _FULL_CELL = 3, 0.87, 0.6
"""Cells of a row of a table, at least; steps between lines of a cell over those between rows, at
most; and what a cell that goes on takes of the room before the next, at least."""
_GAP, _GAP_SIZE = 1.3, 2.1
"""Step down to the next paragraph over that to the next line, and over the height of a capital, at
least."""
_INDENT = 0.8
"""Least that a line is farther right than another to be indented, in heights of a letter."""
_MARK, _AFTER_MARK = 2.5, 6.0
"""Width of the bullet or number of an item, and of the space after it, at most, likewise."""
_FULL = 0.85
"""Share of the width of a column from which a line is full: there was room for no other word."""


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Rows that belong together."""

    kind: str
    """`text` or `heading`."""
    rows: tuple[Row, ...]


def paragraphs(column: list[Row], body: float) -> list[Paragraph]:
    """Group the rows of a column.

    A new group begins with a larger step down, another size of letters, an indent, below a
    heading, after a line that ends early, and with every row of a table. What hangs below the
    first line of an item of a list, farther right, belongs to it, and so do lines that go on with
    the cells of a row.

    Args:
        column: Rows from top to bottom.
        body: Height of the capitals of most text on the page.
    """
    found: list[Paragraph] = []
    done = 0
    for i, row in enumerate(column):
        below = column[i + 1 : i + 1 + _num_wrapped(column, i)] if i >= done else []
        if below:
            found += _flowing(column[done:i], body)
            found.append(Paragraph(kind="text", rows=tuple(_cell_by_cell(row, below))))
            done = i + 1 + len(below)
    return found + _flowing(column[done:], body)


def _num_wrapped(column: list[Row], start: int) -> int:
    """How many rows below one of a table only go on with some of its cells.

    They follow each other closer than the rows of the table do.
    """
    row = column[start]
    if len(row) < _CELLS:
        return 0
    steps: list[float] = []
    for above, below in itertools.pairwise(column[start:]):
        step = _middle(below) - _middle(above)
        wraps = len(below) < len(row) and all(_cell(segment, row) is not None for segment in below)
        if not wraps or step > _GAP_SIZE * _widest(row).tall:
            break
        steps.append(step)
    after = column[start + len(steps) : start + len(steps) + 2]
    beyond = after if len(after) == 2 else column[max(0, start - 1) : start + 1]
    if not steps or len(beyond) < 2:
        return 0
    return len(steps) if max(steps) < _CLOSER * (_middle(beyond[1]) - _middle(beyond[0])) else 0


def _cell(segment: Segment, row: Row) -> int | None:
    """The cell of a row that a run below goes on with: it is nearly full, and holds the run."""
    for i, (cell, following) in enumerate(itertools.zip_longest(row, row[1:])):
        if abs(cell.left - segment.left) < 0.5 * cell.letter:
            room = math.inf if following is None else following.left - cell.left
            is_full = following is None or cell.width > _FULL_CELL * room
            return i if is_full and segment.width < room else None
    return None


def _cell_by_cell(row: Row, below: list[Row]) -> list[Row]:
    """The lines of a row of a table, those of one cell after those of the one before it."""
    lines: list[Row] = [[]]
    for i, cell in enumerate(row):
        lines[-1].append(cell)
        rest = [[segment] for line in below for segment in line if _cell(segment, row) == i]
        lines += [*rest, []] if rest else []
    return [line for line in lines if line]


def _flowing(column: list[Row], body: float) -> list[Paragraph]:
    """The groups of rows none of which goes on with cells."""
    if not column:
        return []
    steps = [_middle(b) - _middle(a) for a, b in itertools.pairwise(column)]
    # of short paragraphs, half of the steps may be those from one to the next
    usual = float(np.percentile(steps, 25)) if steps else 0.0
    edges = _edges(column, usual)
    heads = _headings(column)
    groups: list[list[Row]] = []
    for i, row in enumerate(column):
        following = column[i + 1] if i + 1 < len(column) else None
        is_below = i > 0 and heads[i - 1]
        if groups and not is_below and _continues(groups[-1], row, following, usual, edges[i]):
            groups[-1].append(row)
        else:
            groups.append([row])
    ends = itertools.accumulate(len(group) for group in groups)
    return [
        Paragraph(kind=_kind(group, body, is_head=heads[end - 1]), rows=tuple(group))
        for group, end in zip(groups, ends, strict=True)
    ]


def _headings(column: list[Row]) -> list[bool]:
    """For each row, whether it is a short line in letters larger than those of the line below it.

    Where they are but little larger, that line is the longer one.
    """
    left, right = min(row[0].left for row in column), max(row[-1].right for row in column)
    found = []
    for row, below in itertools.zip_longest(column, column[1:]):
        may_be = below is not None and len(row) == 1 and not _is_full(row, (left, right))
        found.append(may_be and _is_larger(row[0], _widest(below)))
    return found


def _is_larger(heading: Segment, below: Segment) -> bool:
    """Whether the letters of a short line are larger: few tell each of their sizes badly."""
    tall, most, small = (
        heading.tall / below.tall,
        heading.letter / below.letter,
        heading.small / below.small,
    )
    little = tall > _LARGER and max(most, small) > _MUCH_LARGER and heading.width < below.width
    return len(heading.pieces) > 3 and (little or (tall > _HEADING_SIZE and small > _LARGER))


def _edges(column: list[Row], usual: float) -> list[tuple[int, int]]:
    """For each row, the left and right edge of the rows around it that no gap parts from it.

    What stands above or below, such as a heading across, may be wider than its column.
    """
    stacks = [column[:1]]
    for above, row in itertools.pairwise(column):
        if _is_gap(_middle(row) - _middle(above), usual, _widest(row).tall):
            stacks.append([])
        stacks[-1].append(row)
    ends = ((min(r[0].left for r in rows), max(r[-1].right for r in rows)) for rows in stacks)
    return [edges for edges, rows in zip(ends, stacks, strict=True) for _ in rows]


def _is_gap(step: float, usual: float, size: float) -> bool:
    """Whether a step down is larger than from line to line, in letters of that size."""
    return step > max(_GAP * usual, _GAP_SIZE * size)


def _continues(
    group: list[Row],
    row: Row,
    following: Row | None,
    usual: float,
    edges: tuple[int, int],
) -> bool:
    """Whether a row goes on with the group above it."""
    before = group[-1]
    if not (_is_run_on(row, edges) and _is_run_on(before, edges)):
        return False
    # of full lines that follow each other the first word may be a short one, or all have numbers
    if _has_mark(row) and not (_fills(row, edges) and _fills(before, edges)):
        return False
    # touching letters of a single line may mislead
    if not any(_is_as_large(_widest(row), _widest(above)) for above in group[-_COMPARED:]):
        return False
    if row[-1].right < before[0].left or before[-1].right < row[0].left:
        return False  # what stands beside it
    step, size = _middle(row) - _middle(before), _widest(row).tall
    if _is_gap(step, usual, size) or step > 3.5 * size:
        return False
    indent = _INDENT * _widest(row).letter
    if row[0].left > _text(before).left + indent:
        goes_on = following is not None and following[0].left > row[0].left - indent
        hangs = len(group) == 1 and _is_full(before, edges) and not _is_full(row, edges)
        if not (goes_on or hangs):
            return False
    hanging = before[0].left > group[0][0].left + indent
    if hanging and row[0].left < before[0].left - indent:
        return False
    ends_early = before[-1].right < edges[1] - 0.25 * (edges[1] - edges[0])
    # lines that are all short, as of addresses, stay together
    return not (ends_early and row[-1].right > before[-1].right and _is_full(row, edges))


def _has_mark(row: Row) -> bool:
    """Whether it begins with a bullet or a number that stands apart."""
    if len(row) != 2:
        return False
    mark, text = row
    gap = text.left - mark.right
    return mark.width < _MARK * text.letter and gap < _AFTER_MARK * text.letter < text.width


def _text(row: Row) -> Segment:
    """Where its words begin."""
    return row[1] if _has_mark(row) else row[0]


def _is_full(row: Row, edges: tuple[int, int]) -> bool:
    return row[-1].right > edges[0] + _FULL * (edges[1] - edges[0])


def _is_run_on(row: Row, edges: tuple[int, int]) -> bool:
    """Whether a row is running text: in one run, after a mark, or full and nearly so."""
    return len(row) == 1 or _has_mark(row) or _fills(row, edges)


def _fills(row: Row, edges: tuple[int, int]) -> bool:
    """Whether a row reaches from edge to edge of its column without wide gaps."""
    left, right = row[0].left, row[-1].right
    gaps = right - left - sum(s.width for s in row)
    ends = max(left - edges[0], edges[1] - right)
    return ends < row[0].letter and gaps <= _GAPS * (right - left)


def _is_as_large(a: Segment, b: Segment) -> bool:
    """Both measures must tell: a line may have no tall letters at all, or no others."""
    grown = min(a.tall / b.tall, a.letter / b.letter)
    shrunk = min(b.tall / a.tall, b.letter / a.letter)
    return max(grown, shrunk) <= _SAME_SIZE


def _kind(group: list[Row], body: float, *, is_head: bool) -> str:
    if is_head and len(group) == 1 and group[0][0].tall > _LARGER * body:
        return "heading"
    large = all(len(row) == 1 and row[0].tall > _HEADING_SIZE * body for row in group)
    return "heading" if large and len(group) <= _HEADING_ROWS else "text"


def _middle(row: Row) -> float:
    return sum(s.middle for s in row) / len(row)


def _widest(row: Row) -> Segment:
    return max(row, key=lambda s: s.width)
