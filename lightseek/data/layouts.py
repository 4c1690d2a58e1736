"""Whole pages, set by typst, worn, with the place of every character.

    Writer ──Manuscript──> Typesetter ──SetPage──> tone and wear ──> PageSample

Knows nothing of models.

Axes: H W pixels of the page.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from lightseek.data import degrade
from lightseek.data.corpus import Corpus
from lightseek.data.fonts import Face
from lightseek.data.kinds import KINDS, Hand, Paper, Writer
from lightseek.data.lettering import PrintedLine
from lightseek.data.strips import by_family
from lightseek.data.typesetting import SetPage, Typesetter
from lightseek.document import Box
from lightseek.errors import UsageError

POINTS_PER_INCH = 72
_PAPERS = ((595, 842), (595, 842), (595, 842), (612, 792), (420, 595), (499, 709), (842, 595))
"""A4, letter, A5, B5, and A4 on its side."""
_ENLARGED_DPI = 220
_TRIES = 20


@dataclass(frozen=True, slots=True)
class PageSample:
    """A page and everything that is true of it; places are in pixels of the image."""

    image: UInt8[np.ndarray, "H W"]
    text: str
    """In reading order: lines as printed, cells of a row parted by a space, blocks by a blank
    line."""
    lines: tuple[PrintedLine, ...]
    """In the order of the text."""

    @property
    def words(self) -> tuple[tuple[str, Box], ...]:
        """Every word and the box around its ink, in the order of the text."""
        return tuple(word for line in self.lines for word in line.words)


class PageSetter:
    """Sets pages of many kinds in the families of a folder.

    Args:
        fonts: Folder of the faces.
        faces: Those that may be used: families are equally likely.
        corpus: Source of the words.

    Raises:
        UsageError: If typst knows none of the faces.
    """

    def __init__(self, fonts: Path, faces: Sequence[Face], corpus: Corpus) -> None:
        self._typesetter = Typesetter(fonts)
        self._corpus = corpus
        hands = {face: hand for face in faces if (hand := self._typesetter.hand(face))}
        if not hands:
            raise UsageError(f"typst finds no face in {fonts} that it can tell from the others")
        self._families = [[hands[face] for face in family] for family in by_family(list(hands))]
        fixed = [[h for h in family if h.face.monospaced] for family in self._families]
        self._monospaced = [family for family in fixed if family] or self._families

    def set_page(
        self,
        rng: random.Random,
        *,
        kind: str | None = None,
        dpi: int = 150,
        difficulty: float = 1.0,
    ) -> PageSample:
        """Set a page.

        Args:
            rng: Source of every decision: its state and the other arguments make the page.
            kind: One of `KINDS`, None for any.
            dpi: Pixels per inch.
            difficulty: From 0, clean black print, to 1, every kind of wear.

        Raises:
            UsageError: If there is no such kind.
        """
        if kind is not None and kind not in KINDS:
            raise UsageError(f"no kind of page {kind}: there are {', '.join(KINDS)}")
        page = first_set(partial(self._try_page, rng, kind))
        scale = dpi / POINTS_PER_INCH
        image = _toned(page.image(scale), rng, difficulty)
        image = degrade.degrade(image, rng, difficulty, enlarged=dpi >= _ENLARGED_DPI)
        lines = (scaled(page.line(i), page.factors(scale)) for i in range(len(page)))
        return PageSample(image=image, text=page.text, lines=tuple(lines))

    def try_kind(self, rng: random.Random, kind: str, paper: Paper, size: float) -> SetPage | None:
        """Set a kind on a paper, in type of a size in points, without wear.

        Returns:
            The page, or None if a word was too long, a face odd or nothing there to print.
        """
        plain, strong = self._choose_hands(rng, kind)
        writer = Writer(rng, self._corpus, plain, strong, paper, size)
        page = self._typesetter.set(writer.manuscript(KINDS[kind]), plain.face)
        return page if page is not None and len(page) > 0 else None

    def _try_page(self, rng: random.Random, kind: str | None) -> SetPage | None:
        name = kind or rng.choice(list(KINDS))
        return self.try_kind(rng, name, _draw_paper(rng, name), rng.uniform(8, 14))

    def _choose_hands(self, rng: random.Random, kind: str) -> tuple[Hand, Hand]:
        """A face for the text, mostly an upright one, and another of its family."""
        family = rng.choice(self._monospaced if kind == "receipt" else self._families)
        upright = [hand for hand in family if not (hand.face.bold or hand.face.italic)]
        plain = rng.choice(upright if upright and rng.random() < 0.8 else family)
        return plain, rng.choice([hand for hand in family if hand.face.bold] or family)


def first_set(attempt: Callable[[], SetPage | None]) -> SetPage:
    """The first page that an attempt gives.

    Raises:
        UsageError: If none of many does.
    """
    for _ in range(_TRIES):
        page = attempt()
        if page is not None:
            return page
    raise UsageError(
        f"no page could be set in {_TRIES} attempts: the fonts draw other characters than they "
        "say, or the text has none that they draw"
    )


def scaled(line: PrintedLine, factors: tuple[float, float]) -> PrintedLine:
    """A line in other units: so many of them across and down for one of its own."""
    across, down = factors
    return replace(
        line,
        spans=line.spans * across,
        boxes=line.boxes * np.array([across, down, across, down]),
        baseline=line.baseline * down,
        body_height=line.body_height * down,
        end=line.end * across,
    )


def toned(image: UInt8[np.ndarray, "H W"], *, ink: int, paper: int) -> UInt8[np.ndarray, "H W"]:
    """Black on white in other tones."""
    tones = ink + (paper - ink) * np.arange(256) / 255
    return np.rint(tones).astype(np.uint8)[image]


def _toned(
    image: UInt8[np.ndarray, "H W"], rng: random.Random, difficulty: float
) -> UInt8[np.ndarray, "H W"]:
    ink, paper = rng.uniform(0, 90) * difficulty, 255 - 60 * rng.random() ** 1.5 * difficulty
    return toned(image, ink=round(ink), paper=round(paper))


def _draw_paper(rng: random.Random, kind: str) -> Paper:
    if kind == "receipt":
        return Paper(rng.uniform(160, 230), rng.uniform(300, 700), 10, 12)
    width, height = rng.choice(_PAPERS)
    return Paper(width, height, rng.uniform(0.06, 0.16) * width, rng.uniform(0.05, 0.12) * height)
