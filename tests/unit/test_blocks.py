"""The cutter on pages drawn here: what it finds, in which order, and where."""

import itertools
from collections.abc import Iterator
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import typst
from PIL import Image, ImageDraw, ImageFilter, ImageFont

import lightseek.blocks.ink
from lightseek.blocks import STRIP_HEIGHT, STRIP_WIDTHS, Block, Strip, cut_page, word_boxes
from lightseek.blocks.frames import without_frames
from lightseek.blocks.ink import flat_sheet
from lightseek.blocks.overprint import part_overprinted
from lightseek.blocks.sheet import components
from lightseek.blocks.sieve import Segment, _is_beside, _picture_cells
from lightseek.document import Box

FONTS = Path(lightseek.__file__).parent / "assets" / "fonts"
PROSE = (
    "the quick brown fox jumps over a lazy dog while many small birds sing in the old garden and "
    "people walk along the river to see light on water before evening comes down again"
)


@lru_cache
def font(size: int, name: str = "Caladea-Regular.ttf") -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(FONTS / name, size)


def sentence(seed: int, num_words: int) -> str:
    words = PROSE.split()
    return " ".join(words[(seed * 7 + i) % len(words)] for i in range(num_words))


def fits(text: str) -> float:
    return font(24).getlength(text)


def ink_box(at: tuple[float, float], text: str, face: ImageFont.FreeTypeFont) -> Box:
    """Where a text that is drawn at a place leaves ink."""
    left, top, right, bottom = face.getbbox(text)
    alone = Image.new("L", (round(right - left) + 8, round(bottom - top) + 8))
    ImageDraw.Draw(alone).text((4 - left, 4 - top), text, font=face, fill=255)
    ink = alone.point(lambda value: 255 * (value > 100)).getbbox()
    assert ink is not None
    x, y = at[0] + left - 4, at[1] + top - 4
    return Box(ink[0] + x, ink[1] + y, ink[2] + x, ink[3] + y)


class Sheet:
    """A page to draw on, which remembers where every line is."""

    def __init__(self, width: int = 1000, height: int = 900) -> None:
        self.image = Image.new("RGB", (width, height), "white")
        self.draw = ImageDraw.Draw(self.image)
        self.boxes: list[Box] = []

    def line(
        self, x: float, y: float, text: str, size: int = 24, fill: str = "black", **kind: str
    ) -> None:
        face = font(size, **kind)
        self.draw.text((x, y), text, font=face, fill=fill)
        self.boxes.append(ink_box((x, y), text, face))

    def column(self, x: float, y: float, rows: int, width: int, seed: int = 0) -> None:
        """Ragged lines, as full as words allow."""
        for row in range(rows):
            count = next(n for n in range(1, 99) if fits(sentence(seed + row, n + 1)) > width)
            self.line(x, y + 34 * row, sentence(seed + row, count))


def lines(blocks: list[Block]) -> list[Box]:
    return [line.box for block in blocks for line in block.lines]


def strips(blocks: list[Block]) -> Iterator[Strip]:
    return (strip for block in blocks for line in block.lines for strip in line.strips)


def assert_found_in_order(blocks: list[Block], expected: list[Box], *, iou: float = 0.75) -> None:
    found = lines(blocks)
    assert len(found) == len(expected)
    overlaps = [box.iou(true) for box, true in zip(found, expected, strict=True)]
    assert min(overlaps) > iou, overlaps


def assert_sound(blocks: list[Block], width: int, height: int) -> None:
    """What holds for any image."""
    for strip in strips(blocks):
        assert strip.image.shape[0] == STRIP_HEIGHT
        assert strip.image.shape[1] in STRIP_WIDTHS
        assert strip.image.dtype == np.uint8
        left, top, right, bottom = strip.box
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
    for block in blocks:
        assert block.lines
        assert block.kind in {"text", "heading"}
        for line in block.lines:
            assert line.strips
            assert block.box.union(line.box) == block.box


@pytest.mark.parametrize("name", ["Caladea-Regular.ttf", "Inter-Regular.otf", "CourierPrime.otf"])
@pytest.mark.parametrize(
    "text", ["Please find enclosed 3 copies.", "TOTAL 12,480.00", "agency", "7"]
)
def test_a_tight_crop_of_a_line_is_one_strip(name: str, text: str) -> None:
    left, top, right, bottom = font(32, name).getbbox(text)
    page = Sheet(round(right - left) + 2, round(bottom - top) + 2)
    page.line(1 - left, 1 - top, text, size=32, name=name)
    blocks = cut_page(page.image)
    assert_found_in_order(blocks, page.boxes, iou=0.85)
    assert len(list(strips(blocks))) == 1


def test_a_paragraph_is_one_block_of_lines_in_order() -> None:
    page = Sheet()
    page.column(100, 200, rows=6, width=640)
    blocks = cut_page(page.image)
    assert_found_in_order(blocks, page.boxes)
    assert len(blocks) == 1


def test_a_gap_and_an_indent_begin_paragraphs() -> None:
    page = Sheet()
    page.column(100, 100, rows=4, width=640)
    page.column(130, 100 + 34 * 4, rows=1, width=610, seed=5)
    page.column(100, 100 + 34 * 5, rows=3, width=640, seed=6)
    page.column(100, 100 + 34 * 10, rows=3, width=640, seed=9)
    assert [len(block.lines) for block in cut_page(page.image)] == [4, 4, 3]


def test_columns_are_read_one_after_the_other_and_a_heading_across_first() -> None:
    page = Sheet()
    page.line(150, 60, "A heading over both of the columns", size=44)
    page.column(60, 160, rows=10, width=400)
    page.column(530, 160, rows=10, width=400, seed=20)
    blocks = cut_page(page.image)
    assert_found_in_order(blocks, page.boxes)
    assert [block.kind for block in blocks] == ["heading", "text", "text"]


def test_a_table_above_columns_stays_a_table() -> None:
    page = Sheet()
    expected = []
    for row in range(6):
        for x, text in ((120, f"Part {row}"), (430, f"{row * 37}.50"), (760, f"{row * 113}")):
            page.line(x, 80 + 40 * row, text)
        cells = page.boxes[-3:]
        expected.append(cells[0].union(cells[1]).union(cells[2]))
    page.column(60, 380, rows=10, width=400)
    page.column(530, 380, rows=10, width=400, seed=20)
    assert_found_in_order(cut_page(page.image), expected + page.boxes[18:])


@pytest.mark.parametrize("degrees", [-3.0, 1.5, 3.0])
def test_boxes_of_a_slanted_page_lie_on_the_page(degrees: float) -> None:
    page = Sheet()
    page.column(150, 250, rows=12, width=560)
    straight = cut_page(page.image)
    turned = page.image.rotate(degrees, Image.Resampling.BICUBIC, fillcolor="white")
    blocks = cut_page(turned)
    assert len(lines(blocks)) == 12
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    centre = np.array([500.0, 450.0])
    for line, flat in zip(lines(blocks), lines(straight), strict=True):
        middle = np.array([(flat.left + flat.right) / 2, (flat.top + flat.bottom) / 2])
        expected = turn @ (middle - centre) + centre
        found = (line.left + line.right) / 2, (line.top + line.bottom) / 2
        np.testing.assert_allclose(found, expected, atol=4)


@pytest.mark.parametrize("degrees", [8.0, -13.0])
def test_all_lines_of_a_page_on_a_tilt_are_found(degrees: float) -> None:
    sheet = Sheet(1400, 1400)
    sheet.column(350, 350, rows=18, width=600)
    turned = sheet.image.rotate(degrees, fillcolor="white", resample=Image.Resampling.BICUBIC)
    assert len(lines(cut_page(turned))) == 18


def typeset(source: str, ppi: int) -> Image.Image:
    """A page in types that are shipped here, or with typst."""
    page = "#set page(paper: 'a5', margin: 2cm)\n".replace("'", '"')
    made = typst.compile((page + source).encode(), format="png", ppi=ppi, font_paths=[str(FONTS)])
    return Image.open(BytesIO(made)).convert("RGB")


@pytest.mark.parametrize("ppi", [150, 200])
def test_noughts_that_touch_are_no_dark_band(ppi: int) -> None:
    numbers = "1000, 20000 and 3 000 000, 67000 EUR, 100000 people, *10000* and *67000 Strasbourg*"
    page = typeset(f'#set text(font: "Caladea", size: 11pt)\n{numbers} #lorem(60)', ppi).convert(
        "L"
    )
    sheet = flat_sheet(page)
    assert sheet.grey.shape == page.size[::-1]
    assert sheet.grey[np.asarray(page) < 60].max() < 128, "what is dark stays dark"


def test_a_dark_head_of_a_table_with_rules_is_read() -> None:
    sheet = Sheet()
    sheet.draw.rectangle((100, 200, 800, 240), fill=(30, 40, 90))
    for row in range(6):
        for col in range(3):
            words = sentence(row * 3 + col, 2)
            sheet.line(120 + 230 * col, 206 + 44 * row, words, fill="black" if row else "white")
    for row in range(1, 7):
        sheet.draw.line((100, 197 + 44 * row, 800, 197 + 44 * row), fill=(30, 40, 90), width=2)
    for x in (100, 335, 565, 800):
        sheet.draw.line((x, 200, x, 461), fill=(30, 40, 90), width=2)
    found = lines(cut_page(sheet.image))
    assert len(found) == 6
    assert found[0].iou(sheet.boxes[0].union(sheet.boxes[2])) > 0.7


def test_a_dark_page_is_read_like_a_light_one() -> None:
    page = Sheet()
    page.column(100, 200, rows=8, width=640)
    dark = Image.eval(page.image, lambda value: 240 - value * 200 // 255)
    blocks = cut_page(dark)
    assert_found_in_order(blocks, page.boxes)
    for strip in strips(blocks):
        assert np.median(strip.image) > 200


def test_dark_text_on_light_parts_of_a_dark_page_is_read_too() -> None:
    page = Sheet(1400, 1000)
    page.draw.rectangle((24, 24, 1376, 900), fill=(20, 20, 20))
    page.draw.rectangle((400, 70, 1000, 200), fill="white")
    page.line(540, 100, "INTENT", size=72)
    for row in range(8):
        page.line(90, 280 + 70 * row, sentence(row, 9), size=32, fill="white")
    page.line(60, 940, "subject to a protective order", size=22)
    assert_found_in_order(cut_page(page.image), page.boxes)


def assert_dark_on_light_above_a_column(page: Sheet) -> None:
    page.column(100, 180, rows=5, width=640)
    blocks = cut_page(page.image)
    assert_found_in_order(blocks, page.boxes)
    assert np.median(next(strips(blocks)).image) > 200


def test_light_text_on_a_dark_band_becomes_dark_on_light() -> None:
    page = Sheet()
    page.draw.rectangle((80, 80, 900, 130), fill=(20, 40, 110))
    page.line(100, 88, "Summary of the third quarter", fill="white")
    assert_dark_on_light_above_a_column(page)


def test_a_dark_band_that_letters_fill_to_its_upper_edge_is_read() -> None:
    page = Sheet()
    page.line(200, 80, "**** PROMO ****", size=40, fill="white", name="Inter-Regular.otf")
    box = page.boxes[0]
    page.draw.rectangle((120, box.top, 700, box.bottom + 3), fill="black")
    page.line(200, 80, "**** PROMO ****", size=40, fill="white", name="Inter-Regular.otf")
    page.boxes.pop()
    assert_dark_on_light_above_a_column(page)


def test_black_letters_that_touch_at_their_middle_are_no_dark_band() -> None:
    page = Sheet()
    face = font(60, "Inter-Regular.otf")
    page.draw.text((100, 60), "HHHHHH", font=face, fill="black", stroke_width=5)
    page.column(100, 200, rows=8, width=640)
    sheet = flat_sheet(page.image)
    drawn = np.asarray(page.image.convert("L"))
    assert sheet.grey[drawn < 60].max() < 128, "what is dark stays dark"


def test_words_on_a_dark_side_bar_are_seen_though_their_letters_nearly_touch() -> None:
    page = Sheet()
    page.draw.rectangle((0, 0, 320, page.image.height), fill=(45, 60, 85))
    bar = ("Machine learning", "Project management", "Public speaking", "rowing, singing, cycling")
    for number, text in enumerate(bar):
        page.line(40, 80 + 40 * number, text, size=19, fill="white")
    page.column(380, 80, rows=9, width=500)
    assert_found_in_order(cut_page(page.image), page.boxes)


def test_uneven_light_hides_nothing() -> None:
    page = Sheet()
    page.column(100, 200, rows=15, width=640)
    light = np.linspace(0.45, 1.0, page.image.width)[None, :, None]
    shaded = Image.fromarray((np.asarray(page.image) * light).astype(np.uint8))
    assert_found_in_order(cut_page(shaded), page.boxes)


def test_rules_and_frames_are_left_out() -> None:
    page = Sheet()
    page.line(100, 100, "Results of the trial", size=36)
    page.draw.line((100, 150, 900, 150), fill="black", width=3)
    page.column(120, 200, rows=5, width=600)
    page.draw.rectangle((100, 180, 940, 390), outline="black", width=2)
    assert_found_in_order(cut_page(page.image), page.boxes)


def test_a_picture_is_left_out() -> None:
    page = Sheet()
    page.column(100, 100, rows=5, width=640)
    noise = np.random.default_rng(0).integers(0, 255, (20, 30), np.uint8)
    picture = Image.fromarray(noise).resize((600, 400), Image.Resampling.BICUBIC).convert("RGB")
    page.image.paste(Image.eval(picture, lambda value: value // 2), (150, 320))
    page.column(100, 730, rows=5, width=640, seed=9)
    assert_found_in_order(cut_page(page.image), page.boxes)


def test_a_line_too_long_for_a_strip_is_cut_between_words() -> None:
    page = Sheet(3600, 200)
    page.line(40, 60, sentence(0, 40), size=40)
    (line,) = (line for block in cut_page(page.image) for line in block.lines)
    assert len(line.strips) >= 3
    assert line.box.iou(page.boxes[0]) > 0.9
    ink = np.asarray(page.image.convert("L")).min(axis=0) < 128
    for before, after in zip(line.strips, line.strips[1:], strict=False):
        assert before.box.right < after.box.left
        assert not ink[round(before.box.right) + 1 : round(after.box.left) - 1].any()


def test_a_long_line_is_cut_into_pieces_of_like_width() -> None:
    """A strip much wider than its share would be squeezed, and its letters made smaller."""
    page = Sheet(7000, 100)
    page.line(40, 30, sentence(0, 110), size=32)
    (line,) = (line for block in cut_page(page.image) for line in block.lines)
    widths = [strip.box.width for strip in line.strips]
    assert len(widths) >= 5
    assert max(widths) < 1.3 * min(widths)


@pytest.mark.parametrize("size", [60, 90, 130])
@pytest.mark.parametrize("title", ["DAILY NEWS", "Local fair", "Oil spill"])
def test_a_title_of_any_size_is_found(title: str, size: int) -> None:
    page = Sheet(1200, 1000)
    page.line(60, 30, title, size=size, name="Inter-Regular.otf")
    page.column(60, 330, rows=12, width=900)
    assert_found_in_order(cut_page(page.image), page.boxes)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "I;16"])
def test_a_page_that_may_not_look_as_it_is_stored_is_refused(mode: str) -> None:
    with pytest.raises(ValueError, match=f"a page in mode {mode}: convert"):
        cut_page(Image.new(mode, (90, 90)))


def grainy(image: Image.Image, faint: float, seed: int = 0) -> Image.Image:
    """As a worn typewriter leaves it: pale, uneven from letter to letter, on grainy paper."""
    rng = np.random.default_rng(seed)
    dark = 1 - np.asarray(image.convert("L"), np.float32) / 255
    rows, columns = (side // 12 + 1 for side in dark.shape)
    touch = np.kron(rng.uniform(0.5, 1.0, (rows, columns)), np.ones((12, 12)))
    dark *= touch[: dark.shape[0], : dark.shape[1]] * faint
    return Image.fromarray(
        np.clip(235 * (1 - dark) + rng.normal(0, 4, dark.shape), 0, 255).astype(np.uint8)
    )


@pytest.mark.parametrize("size", [20, 44, 80])
def test_a_faint_typewritten_line_is_one_strip(size: int) -> None:
    face = font(size, "CourierPrime.otf")
    text = "Au loin , dans la plaine : un pasteur"
    page = Sheet(round(face.getlength(text)) + 2 * size, 2 * size)
    page.line(size, size / 2, text, size=size, name="CourierPrime.otf")
    blocks = cut_page(grainy(page.image, faint=0.45))
    assert_found_in_order(blocks, page.boxes, iou=0.8)
    assert len(list(strips(blocks))) == 1


def test_slices_of_neighbouring_lines_are_left_out() -> None:
    page = Sheet(900, 300)
    for row in range(3):
        page.line(40, 100 + 38 * row, sentence(row, 9), name="CourierPrime.otf")
    crop = page.image.crop((0, 116, 900, 186))
    blocks = cut_page(crop)
    (strip,) = strips(blocks)
    assert abs((strip.box.top + strip.box.bottom) / 2 - 36) < 8


def test_a_line_at_the_edge_is_whole_beside_lines_printed_over_each_other() -> None:
    page = Sheet(900, 150)
    # ascenders at the edge; descenders just above the next line
    for left, top in ((20, 0), (20, 36), (60, 50), (60, 96)):
        page.line(left, top - 6, sentence(0, 9), size=30, name="Inter-Regular.otf")
    found = lines(cut_page(page.image))
    assert len(found) == 3
    assert found[0].top < 6
    assert found[2].top > 90


@pytest.mark.parametrize("step", [17, 18])
def test_lines_printed_over_each_other_are_parted(step: int) -> None:
    page = Sheet(900, 200)
    for left, top in ((20, 20), (100, 20 + step), (20, 80)):
        page.line(left, top, sentence(0, 9), size=30, name="Inter-Regular.otf")
    found = lines(cut_page(page.image))
    assert len(found) == 3
    for box, line in zip(found, page.boxes, strict=True):
        assert abs(box.top - line.top) < 10
        assert abs(box.bottom - line.bottom) < 10


def test_columns_half_a_line_apart_are_not_parted() -> None:
    page = Sheet(1000, 500)
    for row in range(16):
        page.line(40, 40 + 23 * row, sentence(row, 7), size=20, name="Inter-Regular.otf")
        left = page.boxes[-1].right + 30
        page.line(left, 50 + 23 * row, sentence(row + 5, 7), size=20, name="Inter-Regular.otf")
    sheet = flat_sheet(page.image)
    assert part_overprinted(sheet.pieces, sheet.letter) is sheet.pieces


@pytest.mark.parametrize("fall", [-0.05, -0.03, 0.03, 0.05])
def test_rows_of_a_part_that_slants_stay_together(fall: float) -> None:
    page = Sheet(700, 900)
    rows = [*range(10), *range(11, 20)]
    for row in rows:
        page.line(60, 60 + 40 * row, sentence(row, 2))
        page.line(360, 60 + 40 * row, f"{row + 10} pieces at {row + 3}.50")
    upper = page.image.crop((0, 0, 700, 480))
    shear = (1, 0, 0, -fall, 1, 350 * fall)
    slanted = upper.transform(
        upper.size, Image.Transform.AFFINE, shear, Image.Resampling.BICUBIC, fillcolor="white"
    )
    page.image.paste(slanted, (0, 0))
    found = [line for block in cut_page(page.image) for line in block.lines]
    assert len(found) == len(rows)
    assert all(line.box.left < 70 and line.box.right > 500 for line in found)
    assert [line.box.top for line in found] == sorted(line.box.top for line in found)


def test_a_slanted_line_is_level_on_its_strip() -> None:
    page = Sheet(1000, 700)
    for row in range(3):
        page.column(80, 60 + 200 * row, rows=3, width=700, seed=row)
    slanted = page.image.transform(
        page.image.size, Image.Transform.AFFINE, (1, 0, 0, -0.012, 1, 0), fillcolor="white"
    )
    slanted.paste(page.image.crop((0, 250, 1000, 700)), (0, 250))  # the sheet as a whole is level
    strip = next(strips(cut_page(slanted)))
    ink = strip.image < 128
    assert np.ptp(np.flatnonzero(ink.any(axis=1))) < 44
    assert abs(strip.to_page[1, 0] / strip.to_page[0, 0] - 0.012) < 0.006


def test_an_underline_and_a_bracket_do_not_make_letters_smaller() -> None:
    heights = []
    for decorated in (False, True):
        page = Sheet()
        page.line(100, 300, "Chantons pour passer le temps", size=30)
        if decorated:
            page.draw.line((95, 250, 95, 390), fill="black", width=2)
        strip = next(strips(cut_page(page.image)))
        heights.append(1 / strip.to_page[1, 1])
    assert heights[1] > 0.85 * heights[0]


def test_columns_flow_around_a_picture_and_its_caption() -> None:
    page = Sheet(1000, 1000)
    rng = np.random.default_rng(3)
    for x, narrow in ((60, 60), (530, 690)):
        page.column(x, 60, rows=6, width=400)
        page.column(narrow, 60 + 34 * 6, rows=9, width=240, seed=9)
        page.column(x, 60 + 34 * 15, rows=6, width=400, seed=20)
    expected = list(page.boxes)
    page.draw.rectangle((370, 280, 630, 480), fill="black")
    for x, y in rng.integers((380, 290), (620, 470), (60, 2)).tolist():
        page.draw.rectangle((x, y, x + 6, y + int(rng.integers(3, 14))), fill="white")
    page.line(420, 500, "THE ROOFS OF", size=16)
    found = lines(cut_page(page.image))
    order = [max(range(len(found)), key=lambda i: found[i].iou(box)) for box in expected]
    assert order == sorted(order)
    assert len(found) == len(expected) + 1


def test_a_dash_before_a_line_among_others_is_part_of_it() -> None:
    page = Sheet()
    for row in range(3):
        page.column(100, 100 + 102 * row, rows=2, width=640, seed=row)
        page.draw.line((100, 182 + 102 * row, 128, 182 + 102 * row), fill="black", width=2)
        page.line(150, 168 + 102 * row, sentence(row, 9))
    found = lines(cut_page(page.image))
    assert [round(box.left) for box in found[2::3]] == pytest.approx([100] * 3, abs=3)


@pytest.mark.parametrize("size", [6, 7])
def test_bullets_far_from_their_text_are_read_with_it(size: int) -> None:
    page = Sheet()
    page.line(100, 60, "Before you leave", size=32)
    for y in (120, 160, 200):
        page.line(200, y, sentence(y, 3))
        text = page.boxes[-1]
        bullet = (140, text.bottom - 14, 140 + size, text.bottom - 14 + size)
        page.draw.ellipse(bullet, fill="black")
        page.boxes[-1] = text.union(Box(*bullet))
    assert_found_in_order(cut_page(page.image), page.boxes)


def test_word_spaces_that_stand_below_each_other_are_no_gutter() -> None:
    page = Sheet()
    for row in range(8):
        page.line(100, 100 + 40 * row, "seven letter " + sentence(row, 5), name="CourierPrime.otf")
    assert_found_in_order(cut_page(page.image), page.boxes, iou=0.8)


def test_two_monospaced_columns_are_read_one_after_the_other() -> None:
    page = Sheet(1000, 700)
    for x, seed in ((50, 0), (540, 30)):
        for row in range(12):
            words = sentence(seed + row, 7)[:26].rsplit(" ", 1)[0]
            page.line(x, 80 + 40 * row, words, name="CourierPrime.otf")
    assert_found_in_order(cut_page(page.image), page.boxes, iou=0.7)


@pytest.mark.parametrize("gutter", [24, 34, 50])
def test_a_sidebar_with_a_table_is_read_after_the_prose_beside_it(gutter: int) -> None:
    page = Sheet(1000, 800)
    for row in range(18):  # justified
        count = next(n for n in range(1, 99) if fits(sentence(row, n + 1)) > 590)
        text = sentence(row, count).split()
        x, spare = 60.0, 590 - sum(map(fits, text))
        for word in text:
            page.draw.text((x, 100 + 34 * row), word, font=font(24), fill="black")
            x += fits(word) + spare / (len(text) - 1)
    rows = [f"{PROSE.split()[i]} total" if i % 3 else sentence(i, 3)[:21] for i in range(19)]
    for i, text in enumerate(rows):
        page.line(650 + gutter, 90 + 31 * i, text)
        if i % 3:
            page.draw.text((900, 90 + 31 * i), f"{i}.75", font=font(24), fill="black")
    found = lines(cut_page(page.image))
    assert [box.left < 660 for box in found] == [True] * 18 + [False] * 19


def test_lines_of_two_columns_in_a_crop_are_read_from_left_to_right() -> None:
    page = Sheet(1000, 60)
    page.line(20, 18, sentence(0, 6))
    page.line(540, 6, sentence(9, 6))
    assert [box.left > 500 for box in lines(cut_page(page.image))] == [False, True]


def test_the_dots_of_a_screen_do_not_make_a_line_larger() -> None:
    page = Sheet()
    for y in range(90, 150, 5):
        for x in range(80 + y % 2 * 2, 900, 5):
            page.draw.point((x, y), fill="black")
            page.draw.point((x + 1, y), fill="black")
    page.draw.rectangle((380, 95, 560, 145), fill="white")
    page.line(400, 105, "Analyst", size=26)
    page.column(100, 180, rows=5, width=640)
    assert_found_in_order(cut_page(page.image), page.boxes)


def test_the_frames_of_a_dense_table_touch_no_cell() -> None:
    page = Sheet()
    for row in range(8):
        for x, text in ((110, f"00093-{row}851"), (330, "tablets of ten"), (620, f"$1{row}4.50")):
            page.line(x, 103 + 40 * row, text)
        page.draw.line((90, 98 + 40 * row, 900, 98 + 40 * row), fill="black", width=2)
    for x in (90, 310, 600, 900):
        page.draw.line((x, 98, x, 380), fill="black", width=2)
    blocks = cut_page(page.image)
    found = [strip.box for strip in strips(blocks)]
    assert len(found) == len(page.boxes)
    assert min(a.iou(b) for a, b in zip(found, page.boxes, strict=True)) > 0.75


@pytest.mark.parametrize(("word", "bottom"), [("[Bir20]", 71), ("[7]", 71), ("gypsy", 67)])
def test_frames_around_words_are_taken_off(word: str, bottom: int) -> None:
    plain, framed = Sheet(700, 120), Sheet(700, 120)
    for page in (plain, framed):
        page.line(40, 40, f"many small birds sing {word} in the old garden")
    inner = word.strip("[]")
    start = 40 + fits("many small birds sing " + "[" * (inner != word))
    sides = start - 4, 41, start + fits(inner) + 3, bottom
    framed.draw.rectangle(sides, outline=(90, 0, 0), width=2)
    bare, seen = flat_sheet(plain.image), flat_sheet(framed.image)
    assert without_frames(bare) is bare
    before, after = ((bare.ink != sheet.ink).sum() for sheet in (seen, without_frames(seen)))
    assert after < before / 2  # brackets lose what lay under it
    assert len(list(strips(cut_page(framed.image)))) == 1


@pytest.mark.parametrize("name", ["Inter-Regular.otf", "Caladea-Bold.ttf", "CourierPrime.otf"])
@pytest.mark.parametrize("size", [30, 40, 60])
def test_letters_are_no_frames(name: str, size: int) -> None:
    page = Sheet(1000, 300)
    page.column(40, 20, 3, 600)
    page.line(40, 150, "DOQ 0 B 8 BAD GOOD Detection", size=size, name=name)
    sheet = flat_sheet(page.image)
    assert without_frames(sheet) is sheet


def test_rules_as_high_as_a_crop_are_left_out() -> None:
    row = Sheet(1400, 30)
    for x, text in ((8, "00093-4147"), (300, "INH SOL EQ 30"), (700, "$160.80"), (1000, "$40.92")):
        row.line(x, -1, text)
    for x in (284, 600, 880):
        row.draw.line((x, 0, x, 30), fill="black", width=2)
    found = [strip.box for strip in strips(cut_page(row.image))]
    assert len(found) == len(row.boxes)
    assert min(a.iou(b) for a, b in zip(found, row.boxes, strict=True)) > 0.75


@pytest.mark.parametrize("text", ["Home | About", "I | We"])
def test_bars_between_words_stay(text: str) -> None:
    left, top, right, bottom = font(32).getbbox(text)
    page = Sheet(round(right - left) + 2, round(bottom - top) + 2)
    page.line(1 - left, 1 - top, text, size=32)
    (strip,) = strips(cut_page(page.image))
    bar = np.ptp(np.flatnonzero((strip.image < 128).any(axis=1))) + 1
    assert (np.sum(strip.image < 160, axis=0) > 0.9 * bar).any()


@pytest.mark.parametrize("margin", [0, 2, 4])
def test_a_narrow_letter_far_from_the_next_stays(margin: int) -> None:
    width, height = round(font(32).getlength("I")), font(32).getbbox("I")
    page = Sheet(700, round(height[3] - height[1]) + 2 * margin)
    page.line(40, margin - height[1], "I", size=32)
    page.line(160 + width, margin - height[1], "concern us more", size=32)
    [line] = lines(cut_page(page.image))
    assert line.left == pytest.approx(page.boxes[0].left, abs=2)


def test_letters_on_a_ground_of_dots_are_read_from_plain_paper() -> None:
    page = Sheet()
    page.column(100, 300, rows=6, width=640)
    page.draw.rectangle((100, 80, 800, 240), fill="white")
    for y in range(80, 240, 2):
        for x in range(100 + y % 4, 800, 4):
            page.draw.line((x, y, x + 1, y), fill="black")
    page.line(300, 140, "Variance 1,930.5", size=34, name="Inter-Regular.otf")
    shown = [s for s in strips(cut_page(page.image)) if s.box.iou(page.boxes[-1]) > 0.5]
    assert len(shown) == 1
    assert np.median(shown[0].image) > 230
    assert shown[0].image.min() < 100


def test_a_dotted_rule_makes_no_line_larger() -> None:
    page = Sheet()
    page.column(100, 100, rows=5, width=640)
    for row in range(5):
        for x in range(80, 900, 5):
            page.draw.rectangle((x, 131 + 34 * row, x + 1, 132 + 34 * row), fill="black")
    assert_found_in_order(cut_page(page.image), page.boxes)


def test_a_dashed_rule_makes_no_line_larger() -> None:
    page = Sheet()
    for row in range(6):
        for x in range(100, 700, 13):
            page.draw.rectangle((x, 97 + 60 * row, x + 7, 99 + 60 * row), fill="black")
        page.line(100, 100 + 60 * row, "Total of all items")
    assert_found_in_order(cut_page(page.image), page.boxes)


def test_a_short_rule_in_pieces_below_a_sum_is_left_out() -> None:
    page = Sheet()
    for row, (name, price) in enumerate((("Bread", "2.40"), ("Milk", "1.20"), ("Total", "3.60"))):
        page.line(100, 100 + 50 * row, name)
        page.line(400, 100 + 50 * row, price)
        page.boxes[-2:] = [page.boxes[-2].union(page.boxes[-1])]
    x = 365
    for length in (32, 50, 14, 26):
        page.draw.line((x, 178, x + length, 178), fill="black", width=3)
        x += length + 3
    assert_found_in_order(cut_page(page.image), page.boxes, iou=0.8)


@pytest.mark.parametrize("stars", ["* * *", "*     *     *", "* * * * *"])
def test_stars_between_two_paragraphs_are_a_line(stars: str) -> None:
    page = Sheet()
    page.column(100, 100, rows=5, width=640)
    page.line(350, 290, stars)
    page.column(100, 340, rows=5, width=640, seed=9)
    found = lines(cut_page(page.image))
    assert len(found) == 11
    assert found[5].left == pytest.approx(page.boxes[5].left, abs=2)
    assert found[5].right == pytest.approx(page.boxes[5].right, abs=2)


def test_figures_that_fell_to_pieces_stay_in_their_row() -> None:
    page = Sheet()
    for row in range(4):
        for x, text in ((100, "Bread and rolls"), (400, "2.40"), (520, "2"), (640, "5.60")):
            page.line(x, 100 + 40 * row, text)
        page.boxes[-4:] = [page.boxes[-4].union(page.boxes[-1])]
        top = page.boxes[-1].top
        page.draw.rectangle((500, top + 4, 560, top + 8), fill="white")
        page.draw.rectangle((500, top + 11, 560, top + 13), fill="white")
    page.column(100, 300, rows=3, width=640)
    blocks = cut_page(page.image)
    assert_found_in_order(blocks, page.boxes)
    middles = [(strip.box.left + strip.box.right) / 2 for strip in strips(blocks)]
    assert sum(510 < middle < 540 for middle in middles) == 4
    assert all(strip.box.bottom - strip.box.top < 30 for strip in strips(blocks))


def test_dotted_rules_between_cells_are_no_text() -> None:
    page = Sheet(900, 330)
    for row in range(6):
        for x, text in ((60, "Neil Harlow, Director"), (420, "(203) 569-4345"), (640, "Biotech")):
            page.line(x, 40 + 42 * row, text)
    dots = [(x, y) for y in range(31, 285, 42) for x in range(30, 860, 7)]
    dots += [(x, y) for y in range(31, 285, 7) for x in (30, 408, 618, 856)]
    for x, y in dots:
        page.draw.rectangle((x, y, x + 2, y + 2), fill="black")
    found = [strip.box for strip in strips(cut_page(page.image))]
    assert len(found) == len(page.boxes)
    assert min(box.iou(true) for box, true in zip(found, page.boxes, strict=True)) > 0.75


def test_a_table_whose_cells_stand_beside_two_rows_is_read_row_by_row() -> None:
    page = Sheet(1400, 900)
    subjects = ("Autos, trucks, specialty finance", "Biotech", "Media and telecom", "Utilities")
    found: list[str] = []
    for row in range(8):
        y = 60 + 84 * row
        cells = [(60, f"{sentence(row, 3)} senior"), (620, f"(203) 569-43{10 + row}")]
        pairs = [[(x, y + dy, text) for x, text in cells] for dy in (0, 34)]
        written = [*pairs[0], (900, y + 17, subjects[row % 4]), *pairs[1]]
        for x, top, text in written:
            page.line(x, top, text)
        found += [text for _, _, text in written]
    tops = [strip.box.top for strip in strips(cut_page(page.image))]
    assert len(tops) == len(found)
    falls = [before - after for before, after in itertools.pairwise(tops)]
    assert max(falls) < 40, "no column is read before the next one"


def test_a_box_of_two_narrow_columns_beside_prose_is_read_apart() -> None:
    page = Sheet(1400, 900)
    page.column(60, 60, rows=18, width=640)
    facts = ("Developer", "Mozilla"), ("Release", "2 July 2011"), ("Written in", "JavaScript")
    for row in range(15):
        for x, text in zip((800, 1000), facts[row % 3], strict=True):
            page.line(x, 70 + 40 * row, text)
    lefts = [strip.box.left for strip in strips(cut_page(page.image))]
    assert len(lefts) == 18 + 30
    assert max(lefts[:18]) < 100


def test_parties_and_what_they_are_at_the_right_margin_are_read_downwards() -> None:
    page = Sheet(1240, 560)
    for party, y in enumerate(range(60, 470, 136)):
        for dy, text in ((0, "Between" if party % 2 == 0 else "and"), (34, sentence(party, 7))):
            page.line(500 - fits(text) / 2, y + dy, text)
        role = ("The plaintiff and respondent", "The defendants and appellants")[party % 2]
        page.line(1180 - fits(role), y + 68, role)
    assert_found_in_order(cut_page(page.image), page.boxes)


def test_a_line_beside_a_headline_is_a_strip_of_its_own() -> None:
    page = Sheet(1200, 700)
    page.line(260, 34, "Nice Watches Love a Dent", size=90)
    page.column(40, 100, rows=16, width=180)
    found = [strip.box for strip in strips(cut_page(page.image))]
    assert len(found) == len(page.boxes)
    assert all(max(box.iou(true) for box in found) > 0.75 for true in page.boxes)


def test_a_paragraph_beside_examples_is_not_broken_where_they_end() -> None:
    page = Sheet(1240, 600)
    for row, text in enumerate(("expression > var", "list > var", "matrix > var", "store > list")):
        page.line(60, 60 + 34 * row, text)
    for row, count in enumerate((8, 3, 8, 7, 2, 8, 7, 8)):
        page.line(110, 210 + 34 * row + 20 * ((row > 1) + (row > 4)), sentence(row, count))
    for row in range(10):
        page.line(760, 60 + 44 * row, f"{row}+{row} [enter] = {2 * row}", name="CourierPrime.otf")
    assert_found_in_order(cut_page(page.image), page.boxes)


def test_ones_below_each_other_are_no_rule() -> None:
    page = Sheet(600, 500)
    for row in range(12):
        page.line(40, 30 + 34 * row, "1")
        page.line(80, 30 + 34 * row, sentence(row, 6))
    assert all(box.left < 50 for box in lines(cut_page(page.image)))


def test_text_that_runs_upwards_is_left_out_and_ends_no_column() -> None:
    page = Sheet()
    page.column(60, 100, rows=20, width=380)
    page.column(500, 100, rows=20, width=380, seed=30)
    label = Image.new("L", (620, 30), "white")
    ImageDraw.Draw(label).text((2, 2), sentence(4, 12), font=font(20), fill="black")
    page.image.paste(label.rotate(90, expand=True), (930, 130))
    assert_found_in_order(cut_page(page.image), page.boxes)


STROKES = {
    "N": ((0, 1), (0, 0), (1, 1), (1, 0)),
    "A": ((0, 1), (0.5, 0), (1, 1), (0.75, 0.5), (0.25, 0.5)),
    "V": ((0, 0), (0.5, 1), (1, 0)),
    "L": ((0, 0), (0, 1), (1, 1)),
    "H": ((0, 0), (0, 1), (0, 0.5), (1, 0.5), (1, 0), (1, 1)),
}
"""Letters as a thin pen draws them."""


@pytest.mark.parametrize("rise", [1.0, 2.2])
def test_a_rising_title_of_thin_letters_is_found(rise: float) -> None:
    page = Sheet()
    for i, letter in enumerate("NAVALHANNAHLAVALANNA"):
        x, y = 100 + 26 * i, 110 - rise * i
        page.draw.line([(x + 19 * a, y + 30 * b) for a, b in STROKES[letter]], "black", 2)
    page.boxes.append(Box(100, 110 - 19 * rise, 100 + 26 * 19 + 20, 141))
    page.column(100, 200, rows=8, width=640)
    assert_found_in_order(cut_page(page.image), page.boxes)


def test_what_lies_around_a_page_is_no_picture_on_it() -> None:
    ink = np.zeros((600, 500), np.uint8)
    ink[:, :60] = ink[:, 440:] = ink[:60] = ink[540:] = 1
    ink[200:300, 200:300] = 1
    pieces = components(ink)
    covered = _picture_cells(pieces, 10.0, np.array([True, True]), [])
    assert covered[20:30, 20:30].all()
    assert not covered[40:50, 10:40].any()


def test_a_page_within_a_picture_is_left_out() -> None:
    page = Sheet()
    page.column(100, 450, rows=10, width=640)
    for row in range(16):
        page.draw.text((200, 100 + 13 * row), sentence(row, 9), font=font(6), fill="black")
    assert_found_in_order(cut_page(page.image), page.boxes)


def test_the_longer_of_two_columns_is_read_to_its_end() -> None:
    page = Sheet()
    page.column(60, 100, rows=18, width=380)
    page.column(500, 100, rows=10, width=380, seed=30)
    assert_found_in_order(cut_page(page.image), page.boxes)


def test_signs_between_monospaced_words_stay() -> None:
    page = Sheet()
    for row in range(8):
        page.line(100, 100 + 30 * row, sentence(row, 6), name="CourierPrime.otf")
    page.line(100, 100 + 30 * 8, "your order = 12 - 4 + 3 – 7 = 4", name="CourierPrime.otf")
    *_, last = (line for block in cut_page(page.image) for line in block.lines)
    ink = sum((strip.image < 128).any(axis=0).sum() for strip in last.strips)
    alone = Sheet()
    alone.line(100, 100, "your order = 12 - 4 + 3 – 7 = 4", name="CourierPrime.otf")
    assert ink == pytest.approx(
        sum((s.image < 128).any(axis=0).sum() for s in strips(cut_page(alone.image))), rel=0.02
    )


def test_a_stroke_that_touches_a_line_takes_none_of_it_away() -> None:
    page = Sheet()
    page.line(100, 250, "Tyger Tyger, burning bright,", size=40)
    left, top, _, bottom = title = page.boxes[0]
    page.column(100, 400, rows=4, width=640)
    branch = ((3, top + 10), (-50, top - 30), (-60, bottom + 60), (60, bottom + 70))
    page.draw.line([(left + x, y) for x, y in branch], fill="black", width=10)
    found = lines(cut_page(page.image))
    assert max(box.iou(title) for box in found) > 0.9


def test_a_number_alone_in_a_dense_table_stays_in_its_row() -> None:
    page = Sheet()
    numbers = []
    for y in range(100, 452, 44):
        page.line(100, y, "QUANTITY")
        left = 124 + fits("QUANTITY")
        numbers.append(ink_box((left, y), "1", font(24)))
        page.line(left, y, "1")
        page.line(left + 34, y, "9.90")
        page.line(100, y + 22, "PAPER AND TISSUES IN A BOX")
    found = [strip.box for strip in strips(cut_page(page.image))]
    assert max(box.bottom - box.top for box in found) < 22
    for number in numbers:
        assert any(box.union(number) == box for box in found)


def test_a_figure_far_from_the_next_of_its_row_stays_in_it() -> None:
    page = Sheet(700, 300)
    for y, number in ((40, "1"), (140, "7")):
        page.line(60, y, "Bitterground Fish Head (S)", size=28)
        page.line(330, y + 25, number, size=28)
        page.line(460, y + 25, "35.00", size=28)
        page.line(610, y + 25, "0.00", size=28)
    found = lines(cut_page(page.image))
    for box in (page.boxes[0], page.boxes[4]):
        assert any(line.iou(box) > 0.75 for line in found)


def test_prices_below_names_are_read_after_them() -> None:
    page = Sheet()
    expected = []
    for i in range(6):
        page.line(100, 100 + 84 * i, f"{sentence(i, 2)} {sentence(i + 3, 1)}")
        expected.append(page.boxes[-1])
        for x, text in ((380, f"{i + 2}"), (520, f"{i}6.00"), (680, "0.00")):
            page.line(x, 142 + 84 * i, text)
        expected.append(page.boxes[-3].union(page.boxes[-1]))
    assert_found_in_order(cut_page(page.image), expected)


def test_a_narrow_1_alone_in_its_cell_is_found() -> None:
    page = Sheet()
    for row in range(4):
        for x, text in ((200, "I"), (320, "16.00"), (480, "0.00")):
            page.line(x, 100 + 50 * row, text, name="Inter-Regular.otf")
    rows = [page.boxes[3 * row].union(page.boxes[3 * row + 2]) for row in range(4)]
    assert_found_in_order(cut_page(page.image), rows, iou=0.9)


def test_the_rest_of_a_line_that_rises_is_on_it() -> None:
    def run(left: int, middle: float, pieces: int) -> Segment:
        top, low = int(middle - 12), int(middle + 12)
        return Segment(left, top, left + 250, low, 16, 12, 17, middle, low, list(range(pieces)))

    line = run(64, 206, 20)
    assert _is_beside(run(330, 195, 25), [line])
    assert not _is_beside(run(330, 195, 4), [line])
    assert not _is_beside(run(330, 188, 25), [line])


def test_a_raised_number_stays_in_its_line() -> None:
    page = Sheet()
    page.column(100, 100, rows=3, width=640)
    x = 100 + fits("as was shown before.")
    page.draw.text((x, 200), "2,3", font=font(14), fill="black")
    page.draw.text((100, 202), "as was shown before.", font=font(24), fill="black")
    page.draw.text((x + 24, 202), "It is therefore likely", font=font(24), fill="black")
    page.column(100, 236, rows=3, width=640, seed=9)
    assert len(lines(cut_page(page.image))) == 7


def test_the_edge_of_the_paper_swallows_no_lines() -> None:
    page = Sheet()
    page.column(60, 100, rows=16, width=640)
    for y in range(90, 640, 130):
        page.draw.rectangle((20, y, 40, y + 90), fill="black")
        page.draw.line((36, y + 30, 62, y + 36), fill="black", width=3)
    found = lines(cut_page(page.image))
    assert all(max(box.iou(other) for other in found) > 0.7 for box in page.boxes)


def test_a_label_on_a_grey_box_is_found_and_the_box_is_not() -> None:
    page = Sheet()
    page.draw.rectangle((200, 80, 700, 160), fill=(180, 180, 180))
    page.line(400, 105, "Locking shoulder", size=22)
    page.column(100, 220, rows=5, width=640)
    assert_found_in_order(cut_page(page.image), page.boxes)


def test_the_edge_of_the_paper_belongs_to_no_line() -> None:
    page = Sheet()
    page.column(40, 100, rows=8, width=640)
    for y in range(90, 400, 18):
        page.draw.line((0, y, 0, y + 13), fill="black")
    assert_found_in_order(cut_page(page.image), page.boxes)


def test_dots_accents_and_commas_stay_with_their_line() -> None:
    page = Sheet()
    for row, text in enumerate(["Île d'été, où l'on naïf; ça!", "¿Größe, ÄÖÜ? ñandú: fin."]):
        page.line(100, 100 + 36 * row, text, size=28)
    assert_found_in_order(cut_page(page.image), page.boxes, iou=0.9)


@pytest.mark.parametrize(("name", "size"), [("Inter-Regular.otf", 13), ("CourierPrime.otf", 15)])
def test_no_dot_of_small_print_is_painted_over(name: str, size: int) -> None:
    page = Sheet(400, 200)
    for row in range(6):
        page.line(20, 20 + 24 * row, "filing 8.8.8 in 3.50", size, name=name)
    grey = np.asarray(page.image.convert("L"))
    for strip in strips(cut_page(page.image)):
        _, top, _, bottom = map(round, strip.box)
        y, x = np.nonzero(grey[top - 1 : bottom] < 128)
        row = (y + top - 0.5 - strip.to_page[1, 2]) / strip.to_page[1, 1]
        column = (x + 0.5 - strip.to_page[0, 2]) / strip.to_page[0, 0]
        assert strip.image[row.astype(int), column.astype(int)].max() < 200


def one_line(text: str, size: int = 24) -> Sheet:
    """A crop that holds a line of text."""
    sheet = Sheet(width=round(font(size).getlength(text)) + 24, height=2 * size)
    sheet.line(8, 8, text, size=size)
    return sheet


def test_a_line_whose_letters_run_together_is_found() -> None:
    sheet = Sheet(width=900, height=80)
    sheet.line(10, 16, "La durée de cet indicatif couverture", size=36, name="GenBasR.ttf")
    blurred = sheet.image.filter(ImageFilter.GaussianBlur(3))
    assert_found_in_order(cut_page(blurred.point(lambda v: v // 2 + 100)), sheet.boxes)


@pytest.mark.parametrize(
    ("name", "size", "blur"),
    [("GenBasR.ttf", 30, 1.8), ("Caladea-Regular.ttf", 36, 2.2), ("Inter-Regular.otf", 42, 2.8)],
)
def test_words_that_are_ink_from_end_to_end_are_no_rules(name: str, size: int, blur: float) -> None:
    sheet = Sheet(width=1300, height=80)
    sheet.line(10, 16, "La communication commence commune", size=size, name=name)
    blurred = sheet.image.filter(ImageFilter.GaussianBlur(blur))
    assert_found_in_order(cut_page(blurred.point(lambda v: v // 2 + 100)), sheet.boxes)


@pytest.mark.parametrize("rise", [2, 3, 4])
def test_the_torn_off_foot_of_a_letter_stays_with_it(rise: int) -> None:
    sheet = Sheet(width=1600, height=70)
    x, words = 10.0, "the countenances of the reat animals of prey are incapable"
    for word in words.split():
        x += 22 * (word == "reat")
        sheet.line(x, 4, word, size=42)
        x += font(42).getlength(word) + 34
    at, base = sheet.boxes[4].left - 23, sheet.boxes[4].bottom
    sheet.draw.ellipse((at, base - 23, at + 19, base - 7), outline="black", width=3)
    sheet.draw.ellipse((at - 3, base - rise, at + 18, base - rise + 17), outline="black", width=3)
    [line] = [line for block in cut_page(sheet.image) for line in block.lines]
    lefts = [strip.box.left for strip in line.strips]
    assert lefts == sorted(lefts)
    assert line.box.right == pytest.approx(sheet.boxes[-1].right, abs=2)


def test_leaders_belong_to_their_line_to_the_last_point() -> None:
    sheet = Sheet(width=620, height=48)
    sheet.line(8, 8, 'The State shall provide for education............".')
    assert lines(cut_page(sheet.image))[0].right == pytest.approx(sheet.boxes[0].right, abs=3)


def test_entries_of_the_contents_are_found_for_all_their_points() -> None:
    sheet = Sheet(1200, 900)
    for row in range(12):
        words = sentence(row, 1 + row % 3)
        points = int((900 - fits(words)) / fits(". ")) * ". "
        sheet.line(100, 100 + 44 * row, f"{words} {points}{row}")
    assert len(lines(cut_page(sheet.image))) == 12


def test_points_that_begin_far_from_an_entry_lead_to_its_page() -> None:
    page = typeset(
        """
        #set text(font: "Libertinus Serif", size: 10.5pt)
        #let entry(name, page) = block(spacing: 0.7em)[
          #name #box(width: 1fr, repeat[#h(0.25em).]) #page]
        #entry("Preface", "vii") #entry("1  The harbour before 1700", "1")
        #entry("2  The age of coal", "29") #entry("2.1  Engines", "31") #entry("Index", "117")
        """,
        150,
    )
    found = lines(cut_page(page))
    right = page.width - 2 / 2.54 * 150
    assert [round(box.right) for box in found] == pytest.approx([right] * 5, abs=5)
    widths = [strip.box.width for strip in strips(cut_page(page))]
    assert min(widths) > 0.9 * (right - 2 / 2.54 * 150)


def test_a_title_page_in_thin_capitals_is_found() -> None:
    page = typeset(
        """
        #set text(font: "Libertinus Serif")
        #align(center)[
          #text(14pt)[GUSTAVE FLAUBERT] #v(3cm)
          #text(36pt)[MADAME \\ BOVARY] #v(5mm)
          #text(12pt, style: "italic")[Moeurs de province] #v(4cm)
          #text(10pt)[PARIS \\ LIBRAIRES-ÉDITEURS \\ RUE VIVIENNE, 2 BIS] #v(3mm)
          1857
        ]
        """,
        ppi=200,
    )
    assert len(lines(cut_page(page))) == 8


@pytest.mark.parametrize("size", [20, 26])
def test_underscores_at_the_edge_of_a_word_stay(size: int) -> None:
    sheet = Sheet()
    sheet.column(100, 100, rows=6, width=700)
    sheet.line(100, 400, "__name__ and __init__", size=size, name="CourierPrime.otf")
    found = lines(cut_page(sheet.image))[-1]
    assert found.left == pytest.approx(sheet.boxes[-1].left, abs=4)
    assert found.right == pytest.approx(sheet.boxes[-1].right, abs=4)


def test_a_heading_in_a_column_does_not_end_it() -> None:
    sheet = Sheet(1100, 1200)
    sheet.column(100, 100, rows=7, width=380)
    sheet.line(100, 380, "Methods", size=30)
    sheet.column(100, 460, rows=12, width=380, seed=9)
    left = len(sheet.boxes)
    sheet.column(600, 100, rows=6, width=380, seed=3)
    assert_found_in_order(cut_page(sheet.image), sheet.boxes)
    assert len(sheet.boxes) > left


@pytest.mark.parametrize("longer", [0, 8])
def test_headings_in_the_middle_of_a_right_column_tear_no_columns_apart(longer: int) -> None:
    sheet = Sheet(1100, 1200)
    sheet.column(100, 100, rows=18 + longer, width=380)
    sheet.line(740, 100, "Letters")
    sheet.column(600, 168, rows=14, width=380, seed=3)
    sheet.line(690, 678, "To be continued")
    assert_found_in_order(cut_page(sheet.image), sheet.boxes)


def test_the_number_of_a_page_is_read_after_both_columns() -> None:
    sheet = Sheet(1100, 1200)
    sheet.column(100, 100, rows=16, width=380)
    sheet.line(100, 700, "A note below a gap")
    sheet.column(600, 100, rows=14, width=380, seed=3)
    sheet.line(540, 790, "13")
    assert_found_in_order(cut_page(sheet.image), sheet.boxes)


def test_a_header_with_a_number_between_two_columns_is_read_first() -> None:
    sheet = Sheet(1100, 1200)
    sheet.line(100, 60, "The old harbour")
    sheet.line(492, 60, "12")
    sheet.line(790, 60, "Its boats")
    header = sheet.boxes[0].union(sheet.boxes[2])
    sheet.boxes.clear()
    sheet.column(100, 130, rows=16, width=380)
    sheet.column(530, 130, rows=14, width=380, seed=3)
    assert_found_in_order(cut_page(sheet.image), [header, *sheet.boxes])


def test_a_faint_colon_after_a_word_is_on_its_strip() -> None:
    page = Sheet(400, 300)
    for y, name in ((60, "Change"), (110, "Rounding"), (160, "Payable")):
        page.line(60, y, name, size=30)
        page.line(300, y, "12.00", size=30)
        left, foot = int(page.boxes[-2].right) + 8, y + 28
        for top in (foot - 12, foot - 1):
            page.draw.rectangle((left, top, left + 2, top + 1), fill=(100, 100, 100))
        page.boxes[-2] = page.boxes[-2].union(Box(left, foot - 12, left + 3, foot + 1))
    ends = [strip.box.right for strip in strips(cut_page(page.image))]
    for box in page.boxes[::2]:
        assert min(abs(end - box.right) for end in ends) <= 2


@pytest.mark.parametrize(("size", "at"), [(72, (100, 191)), (60, (114, 168))])
def test_a_drop_capital_is_set_before_its_line(size: int, at: tuple[int, int]) -> None:
    page = Sheet()
    for row, text in enumerate(["hey sat until the morning", "and none of them said a", "word"]):
        page.line(148 if row < 2 else 100, 200 + 34 * row, text)
    plain, *_ = strips(cut_page(page.image))
    page.line(*at, "T", size=size)
    found = list(strips(cut_page(page.image)))
    assert len(found) == 3
    alone, whole = (np.flatnonzero((s.image < 128).any(axis=0)) for s in (plain, found[0]))
    added = np.ptp(whole) - np.ptp(alone)
    assert 14 < added < 26
    letter = (found[0].image < 128)[:, whole[0] : whole[0] + added - 3]
    # as high as the capitals of its line, and on its baseline
    rows = np.flatnonzero(letter.any(axis=1))
    line = np.flatnonzero((plain.image < 128)[:, alone[0] : alone[0] + 8].any(axis=1))
    assert abs(rows[-1] - line[-1]) <= 1
    assert abs(rows[0] - line[0]) <= 3


def test_neighbours_are_painted_over() -> None:
    page = Sheet()
    for row in range(3):
        page.line(100, 100 + 24 * row, "gypsy fly by dusk, bold lofty kings", size=24)
    _, middle, _ = strips(cut_page(page.image))
    alone = Sheet()
    alone.line(100, 124, "gypsy fly by dusk, bold lofty kings", size=24)
    (expected,) = strips(cut_page(alone.image))
    ink = [np.flatnonzero((strip.image < 128).any(axis=1)) for strip in (middle, expected)]
    assert abs(int(np.ptp(ink[0])) - int(np.ptp(ink[1]))) <= 2


def test_a_strip_maps_back_to_its_place_on_the_page() -> None:
    page = Sheet()
    page.column(100, 200, rows=4, width=500)
    for strip in strips(cut_page(page.image)):
        rows, columns = np.nonzero(strip.image < 128)
        x, y = strip.to_page @ np.array(
            [[columns.min(), columns.max() + 1], [rows.min(), rows.max() + 1], [1, 1]]
        )
        np.testing.assert_allclose((*x, *y), np.array(strip.box)[[0, 2, 1, 3]], atol=2)


def test_word_boxes_lie_on_the_words_though_centres_are_off() -> None:
    page = Sheet()
    text, face = "Light on the old river, again; 42 birds (in all) sing.", font(30)
    page.line(80, 300, text, size=30)
    (strip,) = strips(cut_page(page.image))
    scale, shift = strip.to_page[0, 0], strip.to_page[0, 2]
    advances = np.array([face.getlength(text[:i]) for i in range(len(text) + 1)])
    centres = (80 + (advances[:-1] + advances[1:]) / 2 - shift) / scale
    centres += np.random.default_rng(0).uniform(-6, 6, len(text))
    found = word_boxes(strip, centres, text)
    words = text.split()
    assert len(found) == len(words)
    for i, (box, word) in enumerate(zip(found, words, strict=True)):
        x = 80 + face.getlength(" ".join([*words[:i], ""]))
        true = ink_box((x, 300), word, face)
        assert box.iou(true) > 0.7, word


def test_words_read_where_no_ink_is_have_a_box_in_the_strip() -> None:
    page = Sheet()
    page.line(80, 300, "Yes", size=30)
    (strip,) = strips(cut_page(page.image))
    boxes = word_boxes(strip, np.array([10.0, 100.0, 200.0]), "a b")
    assert len(boxes) == 2
    assert all(strip.box.union(box) == strip.box for box in boxes)


@pytest.mark.parametrize("shade", [0, 128, 255])
@pytest.mark.parametrize("size", [(1, 1), (2, 300), (300, 2), (400, 500)])
def test_an_even_page_has_no_lines(size: tuple[int, int], shade: int) -> None:
    assert cut_page(Image.new("RGB", size, (shade,) * 3)) == []


@pytest.mark.parametrize("size", [(1, 7), (2, 90), (90, 2), (40, 40), (400, 300)])
def test_noise_does_no_harm(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), np.uint8)
    assert_sound(cut_page(Image.fromarray(noise)), *size)


def test_a_gradient_does_no_harm() -> None:
    ramp = np.add.outer(np.linspace(0, 128, 600), np.linspace(0, 127, 900)).astype(np.uint8)
    assert_sound(cut_page(Image.fromarray(ramp).convert("RGB")), 900, 600)


def test_a_huge_page_is_cut_in_page_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lightseek.blocks.ink, "_MAX_PIXELS", 250_000)
    page = Sheet(1600, 1200)
    for row in range(4):
        page.line(100, 100 + 250 * row, sentence(row, 6), size=90)
    blocks = cut_page(page.image)
    assert_sound(blocks, 1600, 1200)
    assert_found_in_order(blocks, page.boxes, iou=0.9)


def test_a_page_of_small_print_is_found() -> None:
    page = Sheet(500, 300)
    for row in range(10):
        page.line(20, 20 + 14 * row, sentence(row, 12), size=10)
    blocks = cut_page(page.image)
    assert_sound(blocks, 500, 300)
    assert_found_in_order(blocks, page.boxes, iou=0.6)
