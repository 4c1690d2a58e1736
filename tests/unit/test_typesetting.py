import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lightseek.data.fonts import SHIPPED, Face, load_faces
from lightseek.data.kinds import Manuscript
from lightseek.data.typesetting import SetPage, Typesetter
from lightseek.tokenizer import LATIN

PAPER = "#{{ set page(width: {width}pt, height: {height}pt, margin: 10pt)\n{set}\n{body} }}"
SERIF = 'set text(font: "Caladea", size: 10pt, hyphenate: false, ligatures: false)'


@pytest.fixture(scope="module")
def faces() -> list[Face]:
    return load_faces(SHIPPED, LATIN)


def set_text(body: str, text: str, *, width: float = 200, height: float = 100) -> SetPage | None:
    source = PAPER.format(width=width, height=height, set=SERIF, body=body)
    return Typesetter(SHIPPED).set(Manuscript(source, text), load_faces(SHIPPED, LATIN)[0])


def test_lines_break_where_typst_breaks_them() -> None:
    words = "first-class words of a ready-made first-class line that has to break"
    page = set_text(f'"{words}"', words, width=68, height=300)
    assert page is not None
    assert page.text.replace("-\n", "-").replace("\n", " ") == words
    assert "-\n" in page.text
    assert len(page) == len(page.text.split("\n")) > 5
    assert [page.line(i).text for i in range(len(page))] == page.text.split("\n")


def test_blocks_and_rows_are_kept_apart() -> None:
    body = '"Title"\nparbreak()\ngrid(columns: 2, column-gutter: 9pt, "a", "1.5", "b", "22")'
    page = set_text(body, "Title\n\na 1.5\nb 22")
    assert page is not None
    assert page.text == "Title\n\na 1.5\nb 22"
    first, second = page.line(1), page.line(2)
    assert first.words[1][1].left == pytest.approx(second.words[1][1].left, abs=1)
    assert first.baseline < second.baseline


def test_a_space_is_as_wide_as_the_gap() -> None:
    page = set_text('"ab" + h(50pt) + "cd"', "ab cd")
    assert page is not None
    line = page.line(0)
    assert line.spans[2, 1] - line.spans[2, 0] == pytest.approx(50, abs=1)
    assert (np.diff(line.spans[:, 0]) > 0).all()
    assert line.end == pytest.approx(line.spans[-1, 1])


def test_a_ligature_is_written_as_letters() -> None:
    page = set_text('"a ﬁeld ﬂat"', "a ﬁeld ﬂat")
    assert page is not None
    line = page.line(0)
    assert line.text == page.text == "a field flat"
    assert len(line.boxes) == len(line.text)
    assert line.boxes[2, 2] == pytest.approx(line.boxes[3, 0])
    assert (np.diff(line.spans[:, 0]) > 0).all()


def test_text_beyond_the_page_is_not_there() -> None:
    text = " ".join(f"word{i}" for i in range(200))
    page = set_text(f'"{text}"', text)
    assert page is not None
    assert 3 < len(page) < 9
    assert text.startswith(page.text.replace("\n", " "))


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ('"abc"', "abd"),
        ('"abc def"', "abc"),
        ('place(dx: -40pt, "abc")', "abc"),
        ('"abcdef" + h(-25pt) + "ghi"', "abcdef ghi"),
    ],
    ids=["another letter", "more", "off the page", "over each other"],
)
def test_a_page_that_does_not_show_its_text_is_none(body: str, text: str) -> None:
    assert set_text(body, text) is None


def test_a_window_is_a_part_of_the_image() -> None:
    page = set_text('"Window of a page"', "Window of a page")
    assert page is not None
    for scale in (1.0, 2.0833, 3.7):
        whole = page.image(scale)
        assert whole.shape == (np.ceil(100 * scale), np.ceil(200 * scale))
        part = page.image(scale, (11, 7, 130, 60))
        assert np.array_equal(part, whole[7:60, 11:130])
        assert part.min() < 90


def test_ink_is_where_the_boxes_are() -> None:
    page = set_text('"Agfx, jM."', "Agfx, jM.")
    assert page is not None
    across, down = page.factors(5)
    dark = page.image(5) < 128
    line = page.line(0)
    left, top, right, bottom = line.box
    rows, columns = np.nonzero(dark)
    assert columns.min() == pytest.approx(left * across, abs=2)
    assert columns.max() == pytest.approx(right * across, abs=2)
    assert rows.min() == pytest.approx(top * down, abs=2)
    assert rows.max() == pytest.approx(bottom * down, abs=2)
    capital = line.boxes[line.text.index("M")]
    assert capital[3] == pytest.approx(line.baseline, abs=0.3)
    assert capital[3] - capital[1] == pytest.approx(line.body_height, abs=0.8)


def test_files_that_typst_would_confuse_are_not_asked_for(
    faces: list[Face], tmp_path: Path
) -> None:
    for name in ("CourierPrime.otf", "GenBasR.ttf"):
        shutil.copy(SHIPPED / name, tmp_path)
    shutil.copy(SHIPPED / "GenBasR.ttf", tmp_path / "twin.ttf")
    setter = Typesetter(tmp_path)
    known = {
        path.name: setter.hand(replace(faces[0], path=path)) is not None
        for path in tmp_path.iterdir()
    }
    assert known == {"CourierPrime.otf": True, "GenBasR.ttf": False, "twin.ttf": False}


def test_folders_may_be_named_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(SHIPPED / "GenBasR.ttf", tmp_path)
    monkeypatch.chdir(tmp_path.parent)
    folder = Path(tmp_path.name)
    (face,) = load_faces(folder, LATIN)
    assert Typesetter(folder).hand(face) is not None
