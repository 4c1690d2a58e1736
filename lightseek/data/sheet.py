"""A sheet of samples of every sort, to look at before hours are spent on them."""

import random
from collections.abc import Callable, Iterable
from functools import cache, partial
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from lightseek.data.corpus import Corpus
from lightseek.data.cuttings import TypesetStrips
from lightseek.data.fonts import SHIPPED, load_faces
from lightseek.data.kinds import KINDS
from lightseek.data.layouts import PageSample, PageSetter
from lightseek.data.look import PRESSES, Press
from lightseek.data.strips import StripRenderer, StripSample
from lightseek.tokenizer import LATIN, character_tokenizer

_COLUMNS, _WIDTH, _GAP = 3, 512, 12
_LABEL_PX, _TITLE_PX = 13, 22
_GROUND, _TEXT, _BOX = (96, 112, 160), (255, 255, 255), (220, 60, 60)
_DIFFICULTIES = (0.0, 0.5, 1.0)
_COLOURS = 128


def draw_sheet(path: Path, *, fonts: Path, text: Path, each: int = 9, seed: int = 0) -> None:
    """Draw strips of every sort with what is written for them, and a page of every kind.

    Boxes are drawn around the words of the pages.

    Args:
        path: PNG to write.
        fonts: Folder of faces.
        text: Folder of text.
        each: Strips of each sort.
        seed: Another seed shows other samples.

    Raises:
        UsageError: If a folder has nothing to draw with.
    """
    faces, ids = load_faces(fonts, LATIN), character_tokenizer().ids
    corpus = Corpus.load(text, LATIN)
    renderer, setter = StripRenderer(faces, ids), PageSetter(fonts, faces, corpus)
    typeset = TypesetStrips(setter, ids)
    rng = random.Random(f"{seed} sheet")
    sections: list[Image.Image] = []

    def add(title: str, draw: Callable[[], StripSample]) -> None:
        sections.extend((_title(title), _grid(_strip(draw()) for _ in range(each))))

    def drawn(press: Press, difficulty: float) -> StripSample:
        sample = corpus.sample(rng, 100)
        return renderer.render(rng, sample, width=_WIDTH, difficulty=difficulty, press=press)

    for difficulty in _DIFFICULTIES:
        add(f"print, difficulty {difficulty}", partial(drawn, "print", difficulty))
    for press in PRESSES[1:]:
        add(f"{press}, difficulty 1.0", partial(drawn, press, 1.0))
    add("cut from pages, difficulty 1.0", partial(typeset.draw, rng, _WIDTH, 1.0))
    pages = [setter.set_page(rng, kind=kind) for kind in KINDS]
    sections += [_title(f"pages: {', '.join(KINDS)}"), _grid(map(_page, pages))]
    _stacked(sections).quantize(_COLOURS).save(path, optimize=True)


def _strip(sample: StripSample) -> Image.Image:
    """A strip with its label beneath."""
    height, width = sample.image.shape
    tile = Image.new("RGB", (width, height + _LABEL_PX + 5), _GROUND)
    tile.paste(Image.fromarray(sample.image))
    ImageDraw.Draw(tile).text((2, height + 1), sample.text, font=_font(_LABEL_PX), fill=_TEXT)
    return tile


def _page(sample: PageSample) -> Image.Image:
    """A page with its words marked, as wide as a column."""
    page = Image.fromarray(sample.image).convert("RGB")
    draw = ImageDraw.Draw(page)
    for _, box in sample.words:
        draw.rectangle((box.left - 2, box.top - 2, box.right + 2, box.bottom + 2), outline=_BOX)
    return page.resize((_WIDTH, round(page.height * _WIDTH / page.width)), Image.Resampling.BOX)


def _title(text: str) -> Image.Image:
    tile = Image.new("RGB", _row_size(_TITLE_PX + 10), _GROUND)
    ImageDraw.Draw(tile).text((0, 4), text, font=_font(_TITLE_PX), fill=_TEXT)
    return tile


def _grid(tiles: Iterable[Image.Image]) -> Image.Image:
    """Tiles side by side, a few in a row."""
    left = list(tiles)
    rows = []
    while left:
        row, left = left[:_COLUMNS], left[_COLUMNS:]
        rows.append(Image.new("RGB", _row_size(max(tile.height for tile in row)), _GROUND))
        for i, tile in enumerate(row):
            rows[-1].paste(tile, (i * (_WIDTH + _GAP), 0))
    return _stacked(rows)


def _stacked(parts: list[Image.Image]) -> Image.Image:
    """Parts under each other."""
    whole = Image.new("RGB", _row_size(sum(part.height for part in parts)), _GROUND)
    y = 0
    for part in parts:
        whole.paste(part, (0, y))
        y += part.height
    return whole


def _row_size(height: int) -> tuple[int, int]:
    return _COLUMNS * (_WIDTH + _GAP) - _GAP, height


@cache
def _font(px: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(SHIPPED / "Inter-Regular.otf", px)
