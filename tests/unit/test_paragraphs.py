"""Rows of a column to paragraphs, headings and rows of tables: one case a rule."""

import pytest

from lightseek.blocks.paragraphs import paragraphs
from lightseek.blocks.rows import Row
from lightseek.blocks.sieve import Segment

TALL = 20.0


def segment(
    left: float, right: float, middle: float, tall: float = TALL, letter: float | None = None
) -> Segment:
    return Segment(
        left=round(left),
        top=round(middle - tall / 2),
        right=round(right),
        bottom=round(middle + tall / 2),
        letter=0.7 * tall if letter is None else letter,
        small=0.7 * tall if letter is None else letter,
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


def test_gaps_between_short_paragraphs_are_seen() -> None:
    assert sizes([row(at) for at in (0, 1.8, 2.8, 4.6, 6.4, 7.4, 9.2)]) == [1, 2, 1, 2, 1]


def test_a_wide_line_above_leaves_a_narrow_paragraph_whole() -> None:
    ragged = [500.0, 470.0, 495.0, 440.0, 498.0]
    column = [row(0), *(row(i + 3, right=right) for i, right in enumerate(ragged))]
    assert sizes(column) == [1, 5]


def test_a_short_line_in_larger_letters_is_the_heading_of_what_follows() -> None:
    def heading(number: float, times: float, right: float = 300) -> Row:
        # the few capitals of a short line tell its size badly
        line = segment(100, right, 100 + 30 * number, 1.06 * TALL, letter=0.7 * times * TALL)
        line.pieces = list(range(8))
        return [line]

    text = [row(i) for i in range(1, 4)]
    kinds = [(group.kind, len(group.rows)) for group in paragraphs([heading(0, 1.2), *text], TALL)]
    assert kinds == [("heading", 1), ("text", 3)]
    for column in ([heading(0, 1.05), *text], [heading(0, 1.2, right=890), *text]):
        assert {group.kind for group in paragraphs(column, TALL)} == {"text"}
    beside = [*text, heading(4, 1.2)]
    assert {group.kind for group in paragraphs(beside, TALL)} == {"text"}


def test_an_indent_begins_a_paragraph() -> None:
    column = [row(0), row(1), row(2, left=140), row(3), row(4)]
    assert sizes(column) == [2, 3]


def test_a_hanging_indent_does_not() -> None:
    column = [row(0), row(1, left=140), row(2, left=140)]
    assert sizes(column) == [3]


def test_items_of_two_lines_stay_whole() -> None:
    column = [row(0), row(1, left=140, right=500), row(2, right=400), row(3)]
    column += [row(4, left=140, right=300)]
    assert sizes(column) == [2, 1, 2]


def test_a_full_indented_line_after_another_begins_a_paragraph() -> None:
    assert sizes([row(0), row(1, left=140), row(2), row(3)]) == [1, 3]


@pytest.mark.parametrize("text", [150, 195])
def test_a_mark_that_stands_apart_begins_an_item(text: int) -> None:
    def marked(number: float, right: float = 900) -> Row:
        return [segment(105, 112, 100 + 30 * number), segment(text, right, 100 + 30 * number)]

    column = [
        marked(0),
        row(1, left=text, right=500),
        marked(2, right=700),
        marked(3),
        row(4, left=text),
    ]
    assert sizes([*column, row(5, left=text, right=300)]) == [2, 1, 3]


def test_full_lines_with_numbers_before_them_are_one_paragraph() -> None:
    column = [[segment(100, 120, 100 + 30 * i), segment(150, 900, 100 + 30 * i)] for i in range(6)]
    assert sizes(column) == [6]


def test_lines_that_go_on_with_a_cell_are_read_after_it() -> None:
    def cells(number: float, *lefts: int) -> Row:
        return [segment(left, left + 150, 100 + 30 * number) for left in lefts]

    rows = [cells(0, 100, 300, 500), cells(1, 300), cells(2, 300)]
    rows += [cells(3.5, 100, 300, 500), cells(5, 100, 300, 500), cells(6, 100, 300)]
    first, second, third = paragraphs(rows, TALL)
    assert [[s.left for s in line] for line in first.rows] == [[100, 300], [300], [300], [500]]
    assert list(second.rows) == [rows[3]]
    assert [[s.left for s in line] for line in third.rows] == [[100], [100], [300], [300], [500]]
    # what stands below a short cell is a line of its own
    short = [segment(100, 180, 100), *cells(0, 300, 500)]
    assert sizes([short, cells(1, 100), cells(3, 100, 300, 500)]) == [1, 1, 1]
    # rows as far apart as any are rows
    assert (
        sizes([cells(i, *lefts) for i, lefts in enumerate([(100, 300, 500), (300,)] * 3)])
        == [1] * 6
    )


def test_a_line_that_ends_early_ends_a_paragraph() -> None:
    assert sizes([row(0), row(1, right=400), row(2), row(3)]) == [2, 2]


def test_lines_of_an_address_stay_together() -> None:
    """That one is longer than the one before it means nothing while it is not full."""
    assert sizes([row(i, right=right) for i, right in enumerate((300, 360, 420))]) == [3]


def test_what_stands_beside_a_line_does_not_go_on_with_it() -> None:
    assert sizes([row(0, left=500), row(0.4, right=400), row(1.4, right=400)]) == [1, 2]


def test_the_rows_of_a_table_stand_apart() -> None:
    cells = [[segment(100, 300, 100 + 30 * i), segment(600, 800, 100 + 30 * i)] for i in range(3)]
    assert sizes([*cells, row(3), row(4)]) == [1, 1, 1, 2]


@pytest.mark.parametrize(("tall", "expected"), [(1.15 * TALL, [4]), (1.5 * TALL, [1, 3])])
def test_letters_of_another_size_are_another_group(tall: float, expected: list[int]) -> None:
    assert sizes([row(0, tall=tall), *(row(i) for i in range(1, 4))]) == expected


@pytest.mark.parametrize(
    ("tall", "letter"),
    [(0.72 * TALL, 0.7 * TALL), (TALL, TALL)],
    ids=["without tall letters", "capitals and figures"],
)
def test_a_line_of_few_kinds_of_letters_is_no_other_size(tall: float, letter: float) -> None:
    column = [row(i) for i in range(5)]
    column[2] = [segment(100, 900, 160, tall, letter)]
    assert sizes(column) == [5]


def test_one_line_that_is_measured_too_large_does_not_part_the_others() -> None:
    talls = [TALL, TALL, 1.15 * TALL, 1.3 * TALL, TALL, TALL]
    assert sizes([row(i, tall=tall) for i, tall in enumerate(talls)]) == [6]
    smaller = [TALL] * 3 + [0.7 * TALL] * 3
    assert sizes([row(i, tall=tall) for i, tall in enumerate(smaller)]) == [3, 3]


@pytest.mark.parametrize(
    ("gap", "right", "expected"), [(60, 900, [5]), (120, 900, [2, 1, 2]), (60, 700, [2, 1, 2])]
)
def test_a_full_line_with_a_dash_in_it_goes_on(
    gap: float, right: float, expected: list[int]
) -> None:
    column = [row(i) for i in range(5)]
    column[2] = [segment(100, 400, 160), segment(400 + gap, right, 160)]
    assert sizes(column) == expected


@pytest.mark.parametrize(
    ("rows", "size", "kind"),
    [(1, 1.5, "heading"), (4, 1.5, "heading"), (5, 1.5, "text"), (1, 1.1, "text")],
)
def test_a_few_large_rows_are_a_heading(rows: int, size: float, kind: str) -> None:
    [group] = paragraphs([row(i, tall=size * TALL, pitch=45) for i in range(rows)], TALL)
    assert group.kind == kind


def test_a_large_row_of_a_table_is_no_heading() -> None:
    cells = [segment(100, 300, 100, 1.5 * TALL), segment(600, 800, 100, 1.5 * TALL)]
    [group] = paragraphs([cells], TALL)
    assert group.kind == "text"
