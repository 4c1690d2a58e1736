"""Text of one's own to page images, in any face, as dense as asked for.

    text ──> Manuscript ──typst──> pages: pixels, and the text that stands on each

Density is characters for each visual token of a full page: line ends count as characters, and
tokens are those that a mode cuts the page into. It is met by choosing the size of the type. Knows
nothing of models.
"""

import json
import math
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from PIL import Image

from lightseek.blocks import cut_page
from lightseek.data.corpus import clean
from lightseek.data.fonts import SHIPPED, Face, load_faces
from lightseek.data.kinds import BLOCK, LINE, Hand, Manuscript, Paper
from lightseek.data.layouts import POINTS_PER_INCH
from lightseek.data.typesetting import SetPage, Typesetter
from lightseek.errors import UsageError, require
from lightseek.tokenizer import LATIN
from lightseek.views import (
    BLOCKS,
    Mode,
    as_looked_at,
    choose_grid,
    find_mode,
    num_strip_tokens,
    num_visual_tokens,
)

PAPERS = {"a4": (210, 297), "a5": (148, 210), "letter": (216, 279), "square": (210, 210)}
"""Width and height in millimetres."""

_MM = POINTS_PER_INCH / 25.4
_SIZED_PAPER = re.compile(r"(\d{1,4}(?:\.\d+)?)x(\d{1,4}(?:\.\d+)?)")
_MARGIN = 0.08  # of the width
_SMALLEST, _LARGEST = 1.5, 72.0  # points
_SMALLEST_OF_STRIPS = 4.0  # smaller lines take long to cut and cannot be read
_TRIES = 10
_CLOSE, _NEAR = 0.02, 0.1
"""How far from the density that is asked for the search ends, and a page may be at most."""
_LETTER_AREA = 0.4  # em across times em down that a narrow face takes for a letter


@dataclass(frozen=True, slots=True)
class TextPage:
    """A page and the text on it."""

    sheet: SetPage
    scale: float
    """Pixels for a point."""

    @property
    def text(self) -> str:
        """Lines as printed, with blank lines between paragraphs."""
        return self.sheet.text

    @property
    def picture(self) -> Image.Image:
        """The page in pixels, drawn when asked for: a book of them would fill the memory."""
        return Image.fromarray(self.sheet.image(self.scale))


def find_paper(name: str) -> Paper:
    """A sheet by name, or by its size in millimetres, such as `120x80`.

    Raises:
        UsageError: If it is neither.
    """
    sized = _SIZED_PAPER.fullmatch(name)
    if name not in PAPERS and sized is None:
        raise UsageError(f"no paper {name!r}: choose {', '.join(PAPERS)} or millimetres as 120x80")
    width, height = PAPERS[name] if sized is None else map(float, sized.groups())
    if min(width, height) < 10:
        raise UsageError(f"a paper of {name} mm has no room for text: 10 mm is the least")
    margin = _MARGIN * width * _MM
    return Paper(width * _MM, height * _MM, margin, margin)


def find_cutting(name: str, sliding_window: int | None = None) -> Mode | None:
    """What cuts pages into visual tokens: one of `views.MODES`, or nothing for `blocks`.

    Args:
        name: Of the mode.
        sliding_window: Of the model that looks at the page, if it has one.

    Raises:
        UsageError: If there is no such mode.
    """
    return None if name == BLOCKS else as_looked_at(find_mode(name), sliding_window)


def visual_tokens(image: Image.Image, mode: Mode | None) -> int:
    """Places of visual tokens on a page, cut into views or, without a mode, into strips.

    A model has `lightseek.fusion.SCALES` tokens for each of them.
    """
    if mode is not None:
        return num_visual_tokens(mode, choose_grid(*image.size, mode))
    lines = (line for block in cut_page(image.convert("RGB")) for line in block.lines)
    return sum(num_strip_tokens(*strip.image.shape) for line in lines for strip in line.strips)


A4 = find_paper("a4")


class TextSetter:
    """Sets text in one face on one paper.

    Args:
        font: A font file, or a family in the folder of fonts; none is the folder's first face.
        fonts: Folder of .ttf and .otf files.
        paper: What is printed on.
        dpi: Pixels for an inch.

    Raises:
        UsageError: If there is no such font, or it cannot be used.
    """

    def __init__(
        self,
        *,
        font: str | None = None,
        fonts: Path = SHIPPED,
        paper: Paper = A4,
        dpi: int = 200,
    ) -> None:
        is_file = font is not None and Path(font).suffix.lower() in (".ttf", ".otf")
        folder = Path(font).parent if font is not None and is_file else fonts
        self._typesetter = Typesetter(folder)
        self._face = _find_face(load_faces(folder, LATIN), font, folder)
        self._hand = self._find_hand(self._face)
        self._drawable = _drawable(self._face)
        self._paper, self._scale = paper, dpi / POINTS_PER_INCH

    @property
    def face_name(self) -> str:
        """Family and style of the face."""
        return self._face.name

    def set_pages(self, text: str, size: float) -> list[TextPage]:
        """Set text in type of a size in points; a line of it stays a line, unless it is too long.

        Raises:
            UsageError: If there is no text, or it cannot be printed in this face and size.
        """
        pages = self._typesetter.set_all(self._manuscript(text, size), self._face)
        if pages is None:
            raise UsageError(
                f"{self._face.name} of {size:g} pt cannot print this text: a word is too long for "
                "the page, or the script needs more than letters side by side; try smaller type, "
                "larger paper or another font"
            )
        return [self._page(page) for page in pages]

    def pdf(self, text: str, size: float) -> bytes:
        """The same pages as a PDF, with text that can be selected."""
        return self._typesetter.pdf(self._manuscript(text, size).source)

    def size_for(self, text: str, *, density: float, mode: Mode | None) -> float:
        """The size of type at which a full page of this text has a density.

        Args:
            text: Repeated where it does not fill the page.
            density: Characters for each visual token.
            mode: What cuts the page into tokens: see `find_cutting`.

        Raises:
            UsageError: If the density cannot be had, and as for `set_pages`.
        """
        low, high = _SMALLEST_OF_STRIPS if mode is None else _SMALLEST, _LARGEST
        tried: list[tuple[float, float]] = []
        for _ in range(_TRIES):
            size = math.sqrt(low * high)
            found = self._density(text, size, mode)
            tried.append((abs(found / density - 1), size))
            if tried[-1][0] <= _CLOSE:
                return size
            low, high = (low, size) if found < density else (size, high)
        off, size = min(tried)
        if off > _NEAR:
            nearest = self._density(text, size, mode)
            if not nearest:
                self.set_pages(text, size)  # says why the text cannot be set in any size
            raise UsageError(
                f"no size of {self._face.name} gives {density:g} characters a visual token in mode "
                f"{mode.name if mode else BLOCKS}; the nearest is {nearest:.1f}, at {size:.1f} pt: "
                "ask for that, or give other paper or another mode"
            )
        return size

    def _density(self, text: str, size: float, mode: Mode | None) -> float:
        """Of a full page; nothing if the type is too large for it."""
        paper = self._paper
        room = paper.width * paper.height / (size * size * _LETTER_AREA)
        repeated = BLOCK.join([text] * math.ceil(room / max(1, len(text))))
        source = self._manuscript(repeated[: math.ceil(room)], size)
        page = self._typesetter.set(source, self._face)
        if page is None:
            return 0.0
        full = self._page(page)
        return len(full.text) / max(1, visual_tokens(full.picture, mode))

    def _page(self, page: SetPage) -> TextPage:
        return TextPage(page, self._scale)

    def _find_hand(self, face: Face) -> Hand:
        hand = self._typesetter.hand(face)
        if hand is None:
            raise UsageError(
                f"{face.name} cannot be told from another font in {face.path.parent}: put its file "
                "into a folder of its own"
            )
        return hand

    def _manuscript(self, text: str, size: float) -> Manuscript:
        """Typst source of a text."""
        blocks = [*self._blocks(text)]
        if not blocks:
            raise UsageError("there is no text to set: give some that is not all white space")
        paper = self._paper
        source = [
            "#{",
            "set document(date: none)",
            f"set page(width: {paper.width}pt, height: {paper.height}pt, "
            f"margin: (x: {paper.margin_x}pt, y: {paper.margin_y}pt))",
            f"set text({self._hand.typst}, size: {size}pt, fallback: false, hyphenate: false, "
            "ligatures: false, features: (calt: 0, rlig: 0))",
            # or lines would move to the next page in pairs, and no density between be had
            "set text(costs: (orphan: 0%, widow: 0%))",
            "set par(leading: 0.65em, spacing: 1.3em)",
        ]
        for lines in blocks:
            literals = (json.dumps(line, ensure_ascii=False) for line in lines)
            source.append(f"par({' + linebreak() + '.join(literals)})")
        return Manuscript(
            "\n".join([*source, "}"]), BLOCK.join(LINE.join(lines) for lines in blocks)
        )

    def _blocks(self, text: str) -> Iterator[list[str]]:
        """Lines of each paragraph, in characters that the face draws."""
        text = "".join(c for c in unicodedata.normalize("NFC", text) if _is_seen(c))
        lost = sorted(c for c in set(text) if not (c.isspace() or clean(c, self._drawable)))
        if lost:
            some = " ".join(lost[:10])
            more = f" and {len(lost) - 10} more" if len(lost) > 10 else ""
            raise UsageError(
                f"{self._face.name} has no {some}{more}: choose a font that draws them"
            )
        lines = (clean(line, self._drawable) for line in text.splitlines())
        for filled, group in groupby(lines, key=bool):
            if filled:
                yield list(group)


def _is_seen(character: str) -> bool:
    """Whether it leaves a trace: soft hyphens, joiners and control characters do not."""
    return character.isspace() or unicodedata.category(character) not in ("Cc", "Cf")


def _find_face(faces: list[Face], font: str | None, folder: Path) -> Face:
    """The upright, plain one of a family, or that of a file."""
    if font is None:
        wanted = faces
    elif Path(font).suffix.lower() in (".ttf", ".otf"):
        wanted = [face for face in faces if face.path.name == Path(font).name]
    else:
        names = (font.casefold(),)
        wanted = [f for f in faces if f.family.casefold() in names or f.name.casefold() in names]
    if not wanted:
        families = ", ".join(sorted({face.family for face in faces})[:10])
        raise UsageError(
            f"there is no font {font} in {folder} that draws Latin letters: there are {families}"
        )
    return min(wanted, key=lambda face: (face.bold, face.italic))


def _drawable(face: Face) -> frozenset[str]:
    """Every character that a face has."""
    tools = require("fontTools.ttLib", extra="synth")
    with tools.TTFont(face.path, lazy=True) as opened:
        return frozenset(map(chr, opened.getBestCmap())) | {" "}
