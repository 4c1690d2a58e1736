"""Typst source to a page: its image, and where every character of its text stands.

    Manuscript ──typst──> PDF ──pdfium──> SetPage: lines in points, pixels of any part at any scale

Knows nothing of what is written.

Axes: H W pixels of an image.
"""

import ctypes
import math
import unicodedata
from collections.abc import Iterator
from functools import cache, lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c
from jaxtyping import UInt8

from lightseek.data.corpus import to_label
from lightseek.data.fonts import Face
from lightseek.data.kinds import BLOCK, LINE, SPACE, Hand, Manuscript
from lightseek.data.lettering import PrintedLine, Type
from lightseek.errors import require

_HYPHEN_AT_LINE_END = "\x02"  # what pdfium makes of it
_SAME_LINE = 0.5
"""Of the size of the type: baselines closer than this are one."""


class _Glyph(NamedTuple):
    """A character as it was drawn; y is that of its baseline, counted from the top."""

    drawn: str
    number: int
    """Of the character in the PDF."""
    x: float
    y: float


class _Run(NamedTuple):
    """The glyphs of a line, what stands before each, and before the line."""

    after: str
    glyphs: list[_Glyph]
    gaps: list[str]
    size: float


class Typesetter:
    """Sets manuscripts with the fonts of a folder.

    Args:
        folder: Holds .ttf and .otf files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def hand(self, face: Face) -> Hand | None:
        """How typst is asked for a face, or None if it would take another file for it."""
        found = _fonts(self._folder)[1].get(face.path.resolve())
        return None if found is None else Hand(face, found)

    def pdf(self, source: str) -> bytes:
        """Typst source as a PDF."""
        typst = require("typst", extra="synth")
        fonts = _fonts(self._folder)[0]
        made: bytes = typst.compile(source.encode(), format="pdf", font_paths=fonts)
        return made

    def set(self, manuscript: Manuscript, face: Face) -> "SetPage | None":
        """Set the first page of a manuscript.

        Args:
            manuscript: What to set.
            face: That of most of it: tells how high letters are.

        Returns:
            The page, or None if what is printed on it is not the text or its beginning.
        """
        document = pdfium.PdfDocument(self.pdf(manuscript.source))
        page = SetPage(document[0], _body_height(face))
        return page if page.find(manuscript.text) else None

    def set_all(self, manuscript: Manuscript, face: Face) -> "list[SetPage] | None":
        """Set all pages of a manuscript; arguments as for `set`.

        Returns:
            The pages, or None if what is printed is not the text, or not all of it on the pages.
        """
        rest, pages = manuscript.text, []
        for sheet in pdfium.PdfDocument(self.pdf(manuscript.source)):
            page = SetPage(sheet, _body_height(face))
            if not page.find(rest):
                return None
            rest = _after(rest, page.num_drawn)
            pages.append(page)
        return None if rest.strip() else pages


class SetPage:
    """A page of a PDF and the lines on it; lengths are in points, from the top left.

    Args:
        page: Of a PDF.
        body_height: Of the type, in em.
    """

    def __init__(self, page: pdfium.PdfPage, body_height: float) -> None:
        self._page = page
        self._texts = self._page.get_textpage()
        self._body_height = body_height
        self.width, self.height = self._page.get_size()
        self._runs: list[_Run] = []

    def __len__(self) -> int:
        """Number of lines."""
        return len(self._runs)

    def find(self, text: str) -> bool:
        """Look for the lines of a text, and say whether the page shows it or its beginning."""
        glyphs = self._glyphs()
        shown = list(islice(_characters(text), len(glyphs)))
        if len(shown) < len(glyphs):
            return False
        for (character, after), glyph in zip(shown, glyphs, strict=True):
            inside = 0 <= glyph.x < self.width and 0 <= glyph.y < self.height
            if not inside or not _is_shown(character, glyph.drawn):
                return False
            glyph = glyph._replace(drawn=character)
            if LINE in after or not self._runs or not self._on_line(glyph):
                size = float(pdfium_c.FPDFText_GetFontSize(self._texts.raw, glyph.number))
                after = after if LINE in after else LINE
                self._runs.append(_Run(after, [glyph], [""], size))
            elif glyph.x < self._runs[-1].glyphs[-1].x:  # one cell is printed over another
                return False
            else:
                self._runs[-1].glyphs.append(glyph)
                self._runs[-1].gaps.append(after)
        return True

    @property
    def text(self) -> str:
        """Its lines, with blank lines between blocks."""
        lines = (f"{run.after}{_written(run)}" for run in self._runs)
        return "".join(lines).removeprefix(BLOCK).removeprefix(LINE)

    @property
    def num_drawn(self) -> int:
        """Characters on it, white space aside."""
        return sum(len(run.glyphs) for run in self._runs)

    def extent(self, line: int) -> float:
        """Length of a line from the first to the last of its characters."""
        glyphs = self._runs[line].glyphs
        return glyphs[-1].x - glyphs[0].x

    def line(self, number: int) -> PrintedLine:
        """The characters of a line."""
        run = self._runs[number]
        text, spans, boxes = [], [], []
        baseline, body = run.glyphs[0].y, self._body_height * run.size
        end = 0.0
        for glyph, gap in zip(run.glyphs, run.gaps, strict=True):
            left, top, right, bottom = self._ink(glyph.number)
            if gap:
                text.append(SPACE)
                spans.append((end, max(end, glyph.x)))
                boxes.append((end, baseline - body, max(end, glyph.x), baseline))
            start, end = glyph.x, self._end(glyph.number)
            letters = to_label(glyph.drawn)
            step, ink_step = (end - start) / len(letters), (right - left) / len(letters)
            for i, written in enumerate(letters):
                text.append(written)
                spans.append((start + step * i, start + step * (i + 1)))
                boxes.append((left + ink_step * i, top, left + ink_step * (i + 1), bottom))
        return PrintedLine(
            text="".join(text),
            spans=np.array(spans),
            boxes=np.array(boxes),
            baseline=baseline,
            body_height=body,
            end=end,
        )

    def factors(self, scale: float) -> tuple[float, float]:
        """Pixels for a point, across and down, of an image that is so many times larger."""
        width, height = _size_px(self.width, self.height, scale)
        return width / self.width, height / self.height

    def image(
        self, scale: float, window: tuple[int, int, int, int] | None = None
    ) -> UInt8[np.ndarray, "H W"]:
        """Black on white.

        Args:
            scale: Pixels for a point.
            window: Left, top, right and bottom in pixels of the whole page, None for all of it.
        """
        width, height = _size_px(self.width, self.height, scale)
        left, top, right, bottom = window or (0, 0, width, height)
        # half a pixel less, because pdfium cuts to the next whole one
        crop = ((px - 0.5) / scale for px in (left, height - bottom, width - right, top))
        bitmap = self._page.render(
            scale=scale, crop=tuple(crop), grayscale=True, may_draw_forms=False, draw_annots=False
        )
        return np.array(bitmap.to_numpy()).reshape(bottom - top, right - left)

    def _glyphs(self) -> list[_Glyph]:
        """Everything that was drawn, in the order of the source; a ligature is one glyph."""
        raw = self._texts.raw
        x, y = ctypes.c_double(), ctypes.c_double()
        glyphs: list[_Glyph] = []
        for index in range(pdfium_c.FPDFText_CountChars(raw)):
            drawn = chr(pdfium_c.FPDFText_GetUnicode(raw, index))
            if drawn.isspace() or pdfium_c.FPDFText_IsGenerated(raw, index):
                continue
            pdfium_c.FPDFText_GetCharOrigin(raw, index, x, y)
            glyph = _Glyph(drawn, index, x.value, self.height - y.value)
            if glyphs and glyphs[-1][2:] == glyph[2:]:
                glyphs[-1] = glyphs[-1]._replace(drawn=glyphs[-1].drawn + drawn)
            else:
                glyphs.append(glyph)
        return glyphs

    def _on_line(self, glyph: _Glyph) -> bool:
        """Whether it stands as high as the last one."""
        run = self._runs[-1]
        return abs(glyph.y - run.glyphs[-1].y) < _SAME_LINE * run.size

    def _ink(self, index: int) -> tuple[float, float, float, float]:
        left, right, bottom, top = (ctypes.c_double() for _ in range(4))
        pdfium_c.FPDFText_GetCharBox(self._texts.raw, index, left, right, bottom, top)
        return left.value, self.height - top.value, right.value, self.height - bottom.value

    def _end(self, index: int) -> float:
        box = pdfium_c.FS_RECTF()
        pdfium_c.FPDFText_GetLooseCharBox(self._texts.raw, index, box)
        return float(box.right)


@lru_cache(maxsize=4)
def _fonts(folder: Path) -> tuple[Any, dict[Path, str]]:
    """The fonts of a folder, and how to ask for those files that cannot be mistaken for others."""
    typst = require("typst", extra="synth")
    fonts = typst.Fonts(
        font_paths=[folder], include_system_fonts=False, include_embedded_fonts=False
    )
    found: dict[tuple[str, str, int, float], list[Any]] = {}
    for info in fonts.fonts():
        key = (info.family.lower(), info.style, info.weight, info.stretch)
        found.setdefault(key, []).append(info)
    return fonts, {
        Path(only.path).resolve(): f'font: "{only.family}", style: "{only.style}", '
        f"weight: {only.weight}, stretch: {only.stretch * 100}%"
        for only, *others in found.values()
        if not others
    }


@cache
def _body_height(face: Face) -> float:
    px = 64
    return Type(face, px, {}).body_height / px


def _size_px(width: float, height: float, scale: float) -> tuple[int, int]:
    return math.ceil(width * scale), math.ceil(height * scale)


def _characters(text: str) -> Iterator[tuple[str, str]]:
    """Each character that is drawn, and what white space stands before it."""
    after = ""
    for character in text:
        if character.isspace():
            after += character
        else:
            yield character, after
            after = ""


def _after(text: str, num_drawn: int) -> str:
    """A text without so many characters at its beginning, white space not counted."""
    places = (i for i, character in enumerate(text) if not character.isspace())
    return text[next(islice(places, num_drawn, None), len(text)) :]


def _is_shown(character: str, drawn: str) -> bool:
    plain = unicodedata.normalize("NFKC", character)
    return drawn in (character, plain) or (
        drawn == _HYPHEN_AT_LINE_END and to_label(character) == "-"
    )


def _written(run: _Run) -> str:
    return "".join(
        f"{gap}{to_label(glyph.drawn)}" for glyph, gap in zip(run.glyphs, run.gaps, strict=True)
    )
