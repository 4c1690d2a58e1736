import re
import shutil
from pathlib import Path

import numpy as np
import pypdfium2 as pdfium
import pytest
from PIL import Image

from lightseek.blocks import cut_page
from lightseek.data.fonts import SHIPPED
from lightseek.data.render import PAPERS, TextSetter, find_cutting, find_paper, visual_tokens
from lightseek.errors import UsageError
from lightseek.views import MODES

PROSE = " ".join(f"The {i}th fox ran “{i * 7} miles” to Exmoor — quickly." for i in range(150))
TEXT = f"A title\n\nDear reader,\nthis line stays a line.\n\n{PROSE}\n"


@pytest.fixture(scope="module")
def setter() -> TextSetter:
    return TextSetter(paper=find_paper("a5"), dpi=100)


def words(text: str) -> str:
    return " ".join(text.split())


def test_pages_show_the_whole_text_in_order(setter: TextSetter) -> None:
    pages = setter.set_pages(TEXT, 11)
    assert len(pages) == 3
    assert words(" ".join(page.text for page in pages)) == words(TEXT)
    assert pages[0].text.startswith(
        "A title\n\nDear reader,\nthis line stays a line.\n\nThe 0th fox"
    )
    picture = pages[-1].picture
    assert (picture.mode, picture.size) == ("L", (583, 827))
    assert np.asarray(picture).min() < 50


def test_the_pdf_has_the_same_pages(setter: TextSetter) -> None:
    book = pdfium.PdfDocument(setter.pdf(TEXT, 11))
    pages = setter.set_pages(TEXT, 11)
    assert len(book) == len(pages)
    for sheet, page in zip(book, pages, strict=True):
        assert words(sheet.get_textpage().get_text_range()) == words(page.text)


def test_the_same_text_gives_the_same_pages(setter: TextSetter) -> None:
    one, other = (setter.set_pages(TEXT, 9)[0].picture for _ in range(2))
    assert np.array_equal(np.asarray(one), np.asarray(other))


@pytest.fixture(scope="module")
def card() -> TextSetter:
    return TextSetter(paper=find_paper("50x50"), dpi=100)


@pytest.mark.parametrize(("mode", "density"), [("tiny", 6.0), ("base", 2.0)])
def test_a_full_page_has_the_density_asked_for(card: TextSetter, mode: str, density: float) -> None:
    cutting = find_cutting(mode)
    size = card.size_for(PROSE, density=density, mode=cutting)
    page = card.set_pages(PROSE, size)[0]
    assert len(page.text) / visual_tokens(page.picture, cutting) == pytest.approx(density, rel=0.1)


def test_a_short_text_is_set_in_the_size_of_a_full_page(card: TextSetter) -> None:
    sizes = [card.size_for(text, density=6, mode=MODES["tiny"]) for text in (PROSE, PROSE[:300])]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.15)


def test_a_density_that_cannot_be_had(card: TextSetter) -> None:
    with pytest.raises(UsageError, match=r"the nearest is \d+\.\d, at 1\.\d pt"):
        card.size_for(PROSE, density=500, mode=MODES["tiny"])


def test_tokens_of_blocks_are_those_of_its_strips(setter: TextSetter) -> None:
    picture = setter.set_pages("One line of words\n\nand a second one", 11)[0].picture
    lines = [line for block in cut_page(picture.convert("RGB")) for line in block.lines]
    strips = [strip.image.shape for line in lines for strip in line.strips]
    assert len(strips) == 2
    cutting = find_cutting("blocks")
    assert visual_tokens(picture, cutting) == sum(width // 64 for _, width in strips)
    assert visual_tokens(Image.new("L", (80, 80), 255), cutting) == 0


def test_tokens_are_of_as_many_tiles_as_the_model_looks_at() -> None:
    # three by four are more than nine
    picture = Image.new("L", (1920, 2560), 255)
    assert visual_tokens(picture, find_cutting("gundam")) == 6 * 100 + 256
    assert visual_tokens(picture, find_cutting("gundam", sliding_window=128)) == 12 * 100 + 256
    with pytest.raises(UsageError, match="no mode 'huge'"):
        find_cutting("huge")


def test_fonts_by_name_and_by_file(tmp_path: Path) -> None:
    mine = tmp_path / "Mine.otf"
    shutil.copyfile(SHIPPED / "CourierPrime.otf", mine)
    by_file, by_name = TextSetter(font=str(mine)), TextSetter(font="courier prime")
    assert by_file.face_name == by_name.face_name != TextSetter().face_name
    assert TextSetter(font="caladea").face_name == "Caladea Regular"
    with pytest.raises(UsageError, match=r"no font Garamond in .*: there are Caladea, "):
        TextSetter(font="Garamond")
    with pytest.raises(UsageError, match="no font"):
        TextSetter(font=str(tmp_path / "other.ttf"))


def test_characters_that_a_face_lacks(setter: TextSetter) -> None:
    assert setter.set_pages("soft\u00adly\u200b ﬁne\x00", 11)[0].text == "softly fine"
    with pytest.raises(UsageError, match=re.escape("has no 你 好: choose a font that draws them")):
        setter.set_pages("你好", 11)


def test_text_that_does_not_fit(setter: TextSetter) -> None:
    with pytest.raises(UsageError, match="a word is too long for the page"):
        setter.set_pages("incomprehensibilities" * 10, 30)
    for nothing in ("", " \n\n\t"):
        with pytest.raises(UsageError, match="there is no text to set"):
            setter.set_pages(nothing, 11)


def test_papers() -> None:
    assert {name for name in PAPERS if find_paper(name).width > 0} == set(PAPERS)
    assert find_paper("100x50.5").width == pytest.approx(283.46, abs=0.01)
    for name in ("a3x", "5x5", "-1x100", "100"):
        with pytest.raises(UsageError, match="paper"):
            find_paper(name)
