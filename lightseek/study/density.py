"""Text set ever denser: wide and narrow type, fine and coarse, and as much as a page holds.

Words stand in random order, so that none can be guessed from those before it. Knows nothing of
models.

Axes: H W pixels of a page.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from lightseek.data.fonts import SHIPPED, Face, load_faces
from lightseek.data.kinds import Manuscript
from lightseek.data.layouts import POINTS_PER_INCH
from lightseek.data.typesetting import Typesetter
from lightseek.errors import UsageError, require
from lightseek.tokenizer import LATIN

FONT = "Caladea"
FINE_DPI = 200
_SIZE = 11.0
"""Points of the type in columns."""
_COLUMN = 420.0
"""Points across a column: its line fills one strip of nano."""
_LEADING = 0.8
_A4 = 595.0, 842.0
_MARGIN = 40.0
_SIZES = (14.0, 12.0, 11.0, 10.0, 9.0, 8.0, 7.0, 6.0, 5.0)
_SENTENCE_WORDS = 12
_LONGEST = 40
"""Characters of a word: a rule of dashes, or a web address, fits in no column."""


@dataclass(frozen=True, slots=True, eq=False)
class Proof:
    """A page, and what is printed on it."""

    image: Image.Image
    text: str


class Words:
    """Words without end, in random order.

    Args:
        text: Whose words to draw, each as often as it occurs; None draws those of Faker.
        seed: The same seed gives the same words.
    """

    def __init__(self, text: str | None, seed: int) -> None:
        self._words = _fake_words(seed) if text is None else _drawn(text, seed)

    def take_characters(self, count: int) -> str:
        """Words of about so many characters, spaces between them."""
        words: list[str] = []
        length = 0
        while length < count:
            words.append(next(self._words))
            length += len(words[-1]) + 1
        return " ".join(words)

    def take(self, count: int) -> list[str]:
        """So many words."""
        return [next(self._words) for _ in range(count)]


def _fake_words(seed: int) -> Iterator[str]:
    fake = require("faker", extra="synth").Faker("en_US")
    fake.seed_instance(seed)
    while True:
        yield from fake.sentence(_SENTENCE_WORDS).split()


def _drawn(text: str, seed: int) -> Iterator[str]:
    printed = set(LATIN)
    words = [w for w in text.split() if printed.issuperset(w) and len(w) <= _LONGEST]
    if not words:
        raise UsageError("the text has no words to draw: give plain text in a Latin alphabet")
    random.Random(seed).shuffle(words)
    return cycle(words)


def load_words(path: Path | None, seed: int) -> Words:
    """Words of a file, or of Faker.

    Raises:
        UsageError: If the file cannot be read, or has no words.
    """
    if path is None:
        return Words(None, seed)
    try:
        return Words(path.read_text(encoding="utf-8"), seed)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no text that can be read: {error}") from error


class Press:
    """Sets text with a face that ships."""

    def __init__(self) -> None:
        self._setter = Typesetter(SHIPPED)
        [self._face] = [face for face in load_faces(SHIPPED, LATIN) if _is_plain(face)]

    def column(self, text: str, *, width: float = 1.0, dpi: int = FINE_DPI) -> Proof:
        """A column of lines, each as long as one strip of nano.

        Args:
            text: What to set.
            width: Of the letters, as a share of their own: narrower letters make longer lines.
            dpi: Resolution.
        """
        size = _COLUMN / width + 2 * _MARGIN
        found = self._set(text, (size, None), _SIZE, dpi)
        assert found is not None, f"typst does not print {text!r} as it is written"
        pixels, printed = found
        across = max(1, round(pixels.shape[1] * width))
        if across != pixels.shape[1]:
            size_px = across, pixels.shape[0]
            pixels = cv2.resize(pixels, size_px, interpolation=cv2.INTER_AREA).astype(np.uint8)
        return Proof(Image.fromarray(pixels).convert("RGB"), printed)

    def page(self, text: str, *, dpi: int = FINE_DPI) -> Proof:
        """An A4 page in the largest type that puts all of the text on it.

        Raises:
            UsageError: If it does not fit in the smallest.
        """
        for size in _SIZES:
            found = self._set(text, _A4, size, dpi)
            if found is not None:
                return Proof(Image.fromarray(found[0]).convert("RGB"), found[1])
        raise UsageError(f"{len(text)} characters do not fit on a page: ask for fewer text tokens")

    def _set(
        self, text: str, paper: tuple[float, float | None], size: float, dpi: int
    ) -> tuple[UInt8[np.ndarray, "H W"], str] | None:
        """Pixels and text, or None if not all of it is printed as it is written on one page."""
        width, height = paper
        tall = "auto" if height is None else f"{height}pt"
        source = "\n".join(
            (
                "#{",
                f"set page(width: {width}pt, height: {tall}, margin: {_MARGIN}pt)",
                f'set text(font: "{FONT}", size: {size}pt, hyphenate: false, ligatures: false)',
                f"set par(justify: true, leading: {_LEADING}em)",
                f"par({json.dumps(text, ensure_ascii=False)})",
                "}",
            )
        )
        pages = self._setter.set_all(Manuscript(source, text), self._face)
        if pages is None or len(pages) > 1:
            return None
        return pages[0].image(dpi / POINTS_PER_INCH), pages[0].text


def _is_plain(face: Face) -> bool:
    return face.path.stem == f"{FONT}-Regular"
