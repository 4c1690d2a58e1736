"""Rows of a column to paragraphs, headings and rows of tables: one case a rule."""

import pytest

from lightseek.blocks.order import Row
from lightseek.blocks.paragraphs import paragraphs
from lightseek.blocks.sieve import Segment

TALL = 20.0


def segment(left: float, right: float, middle: float, tall: float = TALL) -> Segment:
    return Segment(
        left=round(left),
        top=round(middle - tall / 2),
        right=round(right),
        bottom=round(middle + tall / 2),
        letter=0.7 * tall,
        tall=tall,
        middle=middle,
        base=middle + tall / 2,
        pieces=[],
    )


def row(
    number: float, left: float = 100, right: float = 900, tall: float = TALL, pitch: float = 30
) -> Row:
    """A full line, so many steps down."""
    return [segment(left, right, 100 + pitch * number, tall)]


def sizes(column: list[Row]) -> list[int]:
    return [len(group.rows) for group in paragraphs(column, TALL)]


def test_even_lines_are_one_paragraph() -> None:
    column = [row(i) for i in range(6)]
    assert sizes(column) == [6]
    [group] = paragraphs(column, TALL)
    assert (group.kind, list(group.rows)) == ("text", column)


def test_a_larger_step_begins_a_paragraph() -> None:
    assert sizes([*(row(i) for i in range(3)), *(row(i + 0.8) for i in range(3, 6))]) == [3, 3]


def test_lines_farther_apart_than_a_paragraph_allows_stand_alone() -> None:
    assert sizes([row(i, pitch=60) for i in range(4)]) == [4]
    assert sizes([row(i, pitch=80) for i in range(4)]) == [1, 1, 1, 1]


def test_an_indent_begins_a_paragraph() -> None:
    column = [row(0), row(1), row(2, left=140), row(3), row(4)]
    assert sizes(column) == [2, 3]


def test_a_hanging_indent_does_not() -> None:
    column = [row(0), row(1, left=140), row(2, left=140)]
    assert sizes(column) == [3]


def test_a_line_that_ends_early_ends_a_paragraph() -> None:
    assert sizes([row(0), row(1, right=400), row(2), row(3)]) == [2, 2]


def test_the_rows_of_a_table_stand_apart() -> None:
    cells = [[segment(100, 300, 100 + 30 * i), segment(600, 800, 100 + 30 * i)] for i in range(3)]
    assert sizes([*cells, row(3), row(4)]) == [1, 1, 1, 2]


@pytest.mark.parametrize(("tall", "expected"), [(1.15 * TALL, [4]), (1.5 * TALL, [1, 3])])
def test_letters_of_another_size_are_another_group(tall: float, expected: list[int]) -> None:
    assert sizes([row(0, tall=tall), *(row(i) for i in range(1, 4))]) == expected


@pytest.mark.parametrize(
    ("rows", "size", "kind"),
    [(1, 1.5, "heading"), (4, 1.5, "heading"), (5, 1.5, "text"), (1, 1.1, "text")],
)
def test_a_few_large_rows_are_a_heading(rows: int, size: float, kind: str) -> None:
    [group] = paragraphs([row(i, tall=size * TALL, pitch=45) for i in range(rows)], TALL)
    assert group.kind == kind
