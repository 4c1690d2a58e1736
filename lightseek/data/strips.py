"""Lines of text as a strip of paper, with the place and the extent of every character.

    text -> look -> set glyphs -> print -> wear -> bring to size -> StripSample

A strip has one line, or a few of one look. It is printed at 0.8 to 2.6 times its final size, worn
there, and brought to size, as scanners do. What is drawn and what is labelled may differ
(`corpus.to_label`). Knows nothing of models, nor of where text and faces come from.

Axes: H W pixels of the strip, n characters of its text.
"""

import random
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Float, Float32, Int16, UInt8

from lightseek.blocks.strips import STRIP_HEIGHT
from lightseek.data import degrade
from lightseek.data.corpus import PLAIN, to_label
from lightseek.data.fonts import Face
from lightseek.data.lettering import Extent, Glyph, Line, PrintedLine, Type
from lightseek.data.look import Look, Press, Sheet, draw_look
from lightseek.data.press import cut_out, print_lines, wear
from lightseek.data.variety import note_like

LINE_PX = STRIP_HEIGHT
"""Height of a strip for each of its lines."""
CELL_WIDTH, CELL_HEIGHT = 4, 8
"""Pixels of one cell of the glyph map."""

_LIGATURES = "ﬃﬄﬁﬂﬀ"
_OPENING, _CLOSING = "“«„", ";:?!”»"
"""Marks that old letterpress sets apart from the word."""
_CUT_SHARE = 0.6
"""Of single lines at full difficulty, those that look as if they came from the cutter."""
_AFTER_NOTES = '.,;:!?)”"'
"""Marks that a note may stand before."""
_LOWERED_NOTES = 0.25
"""Of figures beside words, those of formulas, below the line."""
_BITMAP_RECEIPTS, _MONOSPACED_RECEIPTS = 0.4, 0.35
"""Of receipts; the rest is in any face."""
_MIN_TYPE_PX, _MAX_CACHED_TYPES = 8, 512


@dataclass(frozen=True, slots=True)
class StripSample:
    """A strip and everything that is true of it; places are in pixels of the image."""

    image: UInt8[np.ndarray, "H W"]
    text: str
    """Lines are parted by line ends."""
    glyphs: Int16[np.ndarray, "H//8 W//4"]
    """Token id of the character that covers the cell, 0 where there is none."""
    boxes: Float32[np.ndarray, "n 4"]
    """Left, top, right and bottom of the ink of every character; of a space, its gap; of a line
    end, nothing."""
    places: Float32[np.ndarray, "n+1 2"]
    """x and y of the middle of every character, spaces included, and of the ends of lines."""


class StripRenderer:
    """Draws lines of text in many faces, sizes, layouts and states of wear.

    Args:
        faces: Families are equally likely, and so are the faces of a family.
        ids: Token id of every character that a label may hold.
    """

    def __init__(self, faces: Sequence[Face], ids: Mapping[str, int]) -> None:
        self._families = by_family(faces)
        self._monospaced = by_family([f for f in faces if f.monospaced]) or self._families
        typewriters = [f for f in faces if f.typewriter and not f.italic]
        self._typewriters = by_family(typewriters) or self._monospaced
        self._bitmaps = by_family([f for f in faces if f.bitmap]) or self._monospaced
        self._ids = ids
        extents: dict[Face, dict[str, Extent]] = {face: {} for face in faces}
        self._open = lru_cache(_MAX_CACHED_TYPES)(lambda face, px: Type(face, px, extents[face]))
        # a strip is too small to share among threads, and training has none to spare
        cv2.setNumThreads(0)

    def render(
        self,
        rng: random.Random,
        text: str,
        *,
        width: int,
        lines: int = 1,
        difficulty: float = 1.0,
        press: Press | None = None,
    ) -> StripSample:
        """Draw as many words as fit.

        Args:
            rng: Source of every decision: its state and the other arguments make the sample.
            text: What to write; white space of any kind counts as one space, and characters that
                the face or `ids` lacks are replaced by plainer ones or left out.
            width: Of the strip in pixels, a multiple of 4.
            lines: Most that may be written; the strip is as high as so many need.
            difficulty: From 0, clean black print, to 1, every kind of layout and wear.
            press: How it is printed; by default as it comes.
        """
        look = draw_look(rng, difficulty, press)
        height = lines * LINE_PX
        sheet = Sheet(round(width * look.scale_x), round(height * look.scale_y))
        room = LINE_PX * look.scale_y
        types = self._choose_types(rng, look, room)
        words = [*look.item, *unicodedata.normalize("NFC", text).split()]
        left, right = _margins(rng, width, look)
        rows = self._set_rows(rng, words, types, look, (left, right), lines)
        excess = max(sum(_reach(row)) for row in rows) / room
        if excess > 1:  # accents on capitals, tall brackets
            types = self._smaller(types[0], excess), self._smaller(types[1], excess)
            rows = self._set_rows(rng, words, types, look, (left, right), lines)
        if rows[0] and rng.random() < 0.06 * difficulty:
            shift = rng.uniform(0, max(0.0, right - max(row[-1].right for row in rows)))
            rows = [[glyph._replace(x=glyph.x + shift) for glyph in row] for row in rows]
        baselines = _baselines(rng, rows, types[0], sheet.height)
        printed_lines = [
            Line(row, types[0], baseline, left, row[-1].right if row else left)
            for row, baseline in zip(rows, baselines, strict=True)
        ]

        printed = print_lines(rng, printed_lines, look, sheet, words, difficulty)
        image, matrix = wear(rng, printed, look, difficulty)
        image = degrade.resize(image, rng, width=width, height=height)
        to_strip = np.diag([width / sheet.width, height / sheet.height]) @ matrix
        image = degrade.finish(image, rng, difficulty)
        lines_on_it = [line.printed() for line in printed_lines]
        if len(rows) == 1 and rows[0] and rng.random() < _CUT_SHARE * difficulty:
            image, place = cut_out(image, rng, lines_on_it[0], to_strip)
            to_strip = place @ np.vstack([to_strip, [0, 0, 1]])
        return label_strip(image, lines_on_it, to_strip, self._ids)

    def _choose_types(self, rng: random.Random, look: Look, room: float) -> tuple[Type, Type]:
        """The face of lines in so high a room, and another of its family for some of the words."""
        receipts = self._bitmaps, self._monospaced, self._families
        shares = _BITMAP_RECEIPTS, _MONOSPACED_RECEIPTS, 1 - _BITMAP_RECEIPTS - _MONOSPACED_RECEIPTS
        families = {
            "print": self._families,
            "typewriter": self._typewriters,
            "receipt": rng.choices(receipts, shares)[0],
        }[look.press]
        family = rng.choice(families)
        px = max(_MIN_TYPE_PX, int(look.line_px * look.scale_y / rng.uniform(1.15, 1.3)))
        face, other = rng.choice(family), rng.choice(family)
        first = self._open(face, px)
        if first.letter_height > room:
            first = self._smaller(first, first.letter_height / room)
        return first, self._open(other, first.px) if look.mixed else first

    def _smaller(self, type_: Type, times: float) -> Type:
        """The face at a size that is so many times smaller."""
        return self._open(type_.face, max(_MIN_TYPE_PX, int(type_.px / times)))

    def _set_rows(
        self,
        rng: random.Random,
        words: Sequence[str],
        types: tuple[Type, Type],
        look: Look,
        sides: tuple[float, float],
        most: int,
    ) -> list[list[Glyph]]:
        """Lines of glyphs, one at least, as long as there are words."""
        rows: list[list[Glyph]] = []
        done = 0
        while len(rows) < most:
            glyphs, used = self._set(rng, words[done:], types, look, *sides)
            done += used
            if glyphs or not rows:
                rows.append(glyphs)
            if not glyphs:
                break
        return rows

    def _set(
        self,
        rng: random.Random,
        words: Sequence[str],
        types: tuple[Type, Type],
        look: Look,
        left: float,
        right: float,
    ) -> tuple[list[Glyph], int]:
        """Glyphs from left to right, gaps between words as spaces, none beyond the right.

        Also says how many words are done with.
        """
        glyphs: list[Glyph] = []
        first_other, last_other = sorted((rng.randrange(8), rng.randrange(16)))
        x = left
        num_words = 0
        for index, word in enumerate(words):
            type_ = types[first_other <= index < last_other]
            drawn = self._drawable(word, type_.face.covers, ligatures=look.ligatures)
            if not drawn:
                continue
            gap = _gap(rng, types[0], look, num_words, right - left) if num_words else 0.0
            small = None
            if look.small_capitals and drawn[0].isupper():
                small = self._smaller(type_, 1 / look.small_capitals)
            noted = look.notes > 0 and rng.random() < look.notes
            set_one = self._set_noted if noted else _set_word
            set_word = set_one(rng, drawn, type_, small, look, x + gap)
            while set_word and set_word[-1].right > right and not num_words:
                set_word.pop()
            if not set_word or set_word[-1].right > right:
                return glyphs, index
            if num_words:
                glyphs.append(Glyph(" ", types[0], x, gap, 0.0))
            glyphs += set_word
            x = set_word[-1].right
            num_words += 1
        return glyphs, len(words)

    def _set_noted(
        self, rng: random.Random, drawn: str, type_: Type, small: Type | None, look: Look, x: float
    ) -> list[Glyph]:
        """The glyphs of a word and of a figure after it, or before the marks at its end."""
        stem = (drawn.rstrip(_AFTER_NOTES) if rng.random() < 0.5 else "") or drawn
        note = self._drawable(note_like(rng), type_.face.covers, ligatures=False)
        figures = self._smaller(type_, 1 / rng.uniform(0.55, 0.72))
        drop = rng.uniform(0.1, 0.3) * type_.body_height
        if rng.random() >= _LOWERED_NOTES:
            drop = figures.body_height - rng.uniform(0.95, 1.2) * type_.body_height
        glyphs: list[Glyph] = []
        for part, own in ((stem, type_), (note, figures), (drawn[len(stem) :], type_)):
            set_part = _set_word(rng, part, own, small if own is type_ else None, look, x)
            if own is not type_:
                set_part = [glyph._replace(drop=drop) for glyph in set_part]
            glyphs += set_part
            x = glyphs[-1].right
        return glyphs

    def _drawable(self, word: str, covers: frozenset[str], *, ligatures: bool) -> str:
        """The word in characters that the face draws and a label can hold."""
        if ligatures:
            for ligature in _LIGATURES:
                if ligature in covers:
                    word = word.replace(to_label(ligature), ligature)
        if all(c in covers and c in self._ids for c in word):
            return word
        return "".join(self._substitute(c, covers) for c in word)

    def _substitute(self, character: str, covers: frozenset[str]) -> str:
        plainer = (to_label(character), PLAIN.get(character, ""))
        base = unicodedata.normalize("NFKD", character)[0]
        for candidate in (character, *plainer, base):
            written = to_label(candidate).strip()
            writable = written and all(c in self._ids for c in written)
            if writable and all(c in covers for c in candidate):
                return candidate
        return ""


def label_strip(
    image: degrade.Grey,
    lines: Sequence[PrintedLine],
    to_strip: Float[np.ndarray, "2 3"],
    ids: Mapping[str, int],
) -> StripSample:
    """Where everything is after the sheet became the strip.

    Args:
        image: The strip.
        lines: What it shows, in pixels of the sheet, one at least.
        to_strip: From pixels of the sheet to pixels of the strip.
        ids: Token id of every character of the lines.
    """
    height, width = image.shape
    limits = np.array([width, height], np.float32)
    glyphs = np.zeros((height // CELL_HEIGHT, width // CELL_WIDTH), np.int16)
    all_places, all_boxes = [], []
    for line in lines:
        places, boxes = _place_line(glyphs, line, to_strip, ids)
        all_places.append(places)
        all_boxes += [boxes, np.tile(places[-1], 2)[None]]
    return StripSample(
        image=image,
        text="\n".join(line.text for line in lines),
        glyphs=glyphs,
        places=np.concatenate(all_places).clip(0, limits).astype(np.float32),
        boxes=np.concatenate(all_boxes[:-1]).clip(0, np.tile(limits, 2)).astype(np.float32),
    )


def _place_line(
    glyphs: Int16[np.ndarray, "rows cols"],
    line: PrintedLine,
    to_strip: Float[np.ndarray, "2 3"],
    ids: Mapping[str, int],
) -> tuple[Float[np.ndarray, "m 2"], Float[np.ndarray, "n 4"]]:
    """Write a line on the map of glyphs; say where its characters and its end are, and the ink."""
    scale = np.hypot(to_strip[:, 0], to_strip[:, 1])
    count = len(line.text)
    centres = np.full((count + 1, 2), (line.end, line.baseline - line.body_height / 2))
    centres[:-1, 0] = line.spans.mean(axis=1)
    places = centres @ to_strip[:, :2].T + to_strip[:, 2]
    at = (line.boxes[:, :2] + line.boxes[:, 2:]) / 2 @ to_strip[:, :2].T + to_strip[:, 2]
    half_ink = (line.boxes[:, 2:] - line.boxes[:, :2]) / 2 * scale
    half = np.stack([np.ptp(line.spans, axis=1), np.full(count, line.body_height)], axis=1)
    half *= scale / 2
    _map_glyphs(glyphs, line.text, places[:-1] - half, places[:-1] + half, ids)
    return places, np.concatenate([at - half_ink, at + half_ink], axis=1)


def _map_glyphs(
    glyphs: Int16[np.ndarray, "rows cols"],
    text: str,
    low: Float[np.ndarray, "n 2"],
    high: Float[np.ndarray, "n 2"],
    ids: Mapping[str, int],
) -> None:
    """Fill cells that a character covers by half, one at least, from its corners on the strip."""
    cell = np.array([CELL_WIDTH, CELL_HEIGHT])
    first = np.rint(low / cell).astype(int).clip(0, np.array(glyphs.shape[::-1]) - 1)
    last = np.maximum(first + 1, np.rint(high / cell).astype(int))
    for character, (left, top), (right, bottom) in zip(
        text, first.tolist(), last.tolist(), strict=True
    ):
        if character != " ":
            glyphs[top:bottom, left:right] = ids[character]


def _margins(rng: random.Random, width: int, look: Look) -> tuple[float, float]:
    """Where writing may begin and must end, in pixels of the sheet."""
    left = rng.choice((1, 2, 4, rng.uniform(2, 12), rng.uniform(2, max(3, width * 0.06))))
    right = width - rng.uniform(1, max(3, width * 0.04))
    right = left + (right - left) * look.room
    return left * look.scale_x, right * look.scale_x


def _reach(row: Sequence[Glyph]) -> tuple[float, float]:
    """How far the ink of a line reaches above and below its baseline."""
    inks = [(glyph.type.ink(glyph.drawn), glyph.drop) for glyph in row if glyph.drawn != " "]
    above = max((-ink[1] - drop for ink, drop in inks), default=0.0)
    return above, max((ink[3] + drop for ink, drop in inks), default=0.0)


def _baselines(
    rng: random.Random, rows: Sequence[Sequence[Glyph]], type_: Type, sheet_height: int
) -> list[float]:
    """Where lines stand, at even distances, anywhere on the sheet that holds their ink."""
    above, below = _reach(rows[0])[0], _reach(rows[-1])[1]
    free, pitch = sheet_height - above - below, 0.0
    if len(rows) > 1:
        pitch = min(free / (len(rows) - 1), type_.line_height * rng.uniform(1.0, 1.6))
        free -= (len(rows) - 1) * pitch
    top = rng.uniform(0, free) if free > 0 else free / 2
    return [top + above + i * pitch for i in range(len(rows))]


def _gap(rng: random.Random, type_: Type, look: Look, num_words: int, room: float) -> float:
    """Pixels between two words."""
    if look.item and num_words == 1:
        return rng.uniform(0.3, 3.0) * type_.px
    if num_words == look.far_word:
        return rng.uniform(0.05, 0.45) * room
    gap = type_.advance(" ") * look.space + look.tracking_em * type_.px
    if look.wide_gaps and rng.random() < 0.3:
        gap *= rng.uniform(3, 9)
    return max(1.0, gap)


def _set_word(
    rng: random.Random, drawn: str, type_: Type, small: Type | None, look: Look, x: float
) -> list[Glyph]:
    """The glyphs of a word, those of a typewriter not quite in line.

    With a small type, lower-case letters are capitals of it.
    """
    uneven = 0.06 * type_.px if look.press == "typewriter" else 0.0
    glyphs = []
    body = drawn.lstrip(_OPENING)
    opening, closing = len(drawn) - len(body), len(drawn) - len(body) + len(body.rstrip(_CLOSING))
    for index, character in enumerate(drawn):
        if index and index in (opening, closing):
            x += look.air * look.space * type_.advance(" ")
        capital, own = character.upper(), type_
        is_small = small is not None and character.islower() and capital in type_.face.covers
        if small is not None and is_small:
            character, own = capital, small
        advance = max(0.5, own.advance(character) + look.tracking_em * own.px)
        drop = rng.uniform(-uneven, uneven)
        glyphs.append(Glyph(character, own, x, advance, drop, is_small_capital=is_small))
        x += advance
    return glyphs


def by_family(faces: Sequence[Face]) -> list[list[Face]]:
    """The faces of each family together, whatever order they come in."""
    families: dict[str, list[Face]] = {}
    for face in sorted(faces, key=lambda face: face.path):
        families.setdefault(face.family, []).append(face)
    return list(families.values())
