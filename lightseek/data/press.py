"""How lines are printed and worn before they become a strip.

    draw_look -> (set lines) -> print_lines -> wear -> (bring to size) -> cut_out

Knows nothing of labels.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal, NamedTuple, get_args

import cv2
import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw

from lightseek.blocks.ink import flattened
from lightseek.blocks.strips import MARGIN, STRIP_HEIGHT
from lightseek.data import degrade
from lightseek.data.lettering import Line, PrintedLine

CUT_PX = (0.85 * STRIP_HEIGHT, STRIP_HEIGHT)
"""Height on a strip of what is cut out around a line."""
_BULLETS, _ROMAN = "•••–—-·*○●□■→✓", ("i", "ii", "iii", "iv", "v", "I", "II", "IV")
_NARROW = (".", ",", ":", ";", "'")
"""Marks that leave most of the room of a letter empty."""
_USUAL, _FINE = 1.3, 1.8
"""Pixels of the sheet for one of the strip, at 200 dpi and from 300 dpi on."""

Press = Literal["print", "typewriter", "receipt"]
PRESSES: tuple[Press, ...] = get_args(Press)


class Sheet(NamedTuple):
    """The size at which a strip is printed."""

    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What is drawn by lot before anything is placed."""

    press: Press
    line_px: float
    """Pitch of lines set solid, in pixels of the strip."""
    scale_x: float
    scale_y: float
    """Pixels of the sheet for one of the strip; where they differ, letters are wide or narrow."""
    paper: int
    ink: int
    bilevel: bool
    mixed: bool
    """Some words stand in another face of the family."""
    tracking_em: float
    space: float
    """Gap between words over that of the face."""
    air: float
    """Gap before colons and within quotes over that between words, as in old letterpress."""
    aside: float
    """How far points and colons of monospaced type stand to the right in their room, over its
    width: those of tills stand anywhere, which leaves a gap that is no space."""
    wide_gaps: bool
    item: tuple[str, ...]
    """The bullet or number of a list that the line begins with, apart from its text; or nothing."""
    far_word: int
    """The word that begins a far column; 0 for none."""
    ligatures: bool
    small_capitals: float
    """Height of the capitals that names are set in after their first letter, over that of others;
    0 where they are set as usual."""
    notes: float
    """Share of words that a small raised or lowered figure follows."""
    room: float
    """Share of the strip that may be written on."""


def draw_look(rng: random.Random, difficulty: float, press: Press | None = None) -> Look:
    """Draw a look, of any press or of a given one; at difficulty 0 only size and margins vary."""

    def chance(probability: float) -> bool:
        return rng.random() < probability * difficulty

    draw = rng.random() / max(difficulty, 1e-9)
    press = press or ("typewriter" if draw < 0.2 else "receipt" if draw < 0.38 else "print")
    fine, coarse = (_FINE, 2.6, 2.6), (0.8, 1.0)
    scale = rng.choice(fine if press == "receipt" else (*[_USUAL] * 4, *coarse, *fine, 2.6))
    stretch = 1.0
    if press == "receipt" and chance(0.5):
        stretch = rng.uniform(0.6, 1.9)
    elif chance(0.3):
        stretch = rng.uniform(0.8, 1.2) if rng.random() < 0.8 else rng.uniform(0.65, 1.6)
    tracking, space = 0.0, 1.0
    if chance(0.12):
        tracking = rng.uniform(-0.05, 0.14)
    if chance(0.3):
        space = rng.uniform(0.7, 1.8)
    if chance(0.02):  # headings whose letters stand as far apart as words do elsewhere
        tracking, space = rng.uniform(0.2, 0.7), rng.uniform(2.0, 3.5)
    bilevel = chance(0.5 if scale >= _FINE else 0.4 if scale in coarse else 0.08)
    paper = 255 - round(70 * rng.random() ** 1.5 * difficulty)
    ink = rng.randint(0, 110) if rng.random() < 0.85 else rng.randint(80, 150)
    return Look(
        press=press,
        line_px=rng.uniform(17, 38) if rng.random() < 0.5 else rng.uniform(27, 38),
        scale_x=scale * stretch,
        scale_y=scale,
        paper=255 if bilevel else paper,
        ink=0 if bilevel else min(round(ink * difficulty), paper - 45),
        bilevel=bilevel,
        mixed=chance(0.1),
        tracking_em=tracking,
        space=space,
        air=rng.uniform(0.2, 1.0) if chance(0.2) else 0.0,
        aside=rng.uniform(-0.35, 0.25) if press != "print" and chance(0.4) else 0.0,
        wide_gaps=chance(0.07),
        item=(_draw_item(rng),) if chance(0.05) else (),
        far_word=rng.randrange(1, 6) if chance(0.05) else 0,
        ligatures=chance(0.3),
        small_capitals=rng.uniform(0.68, 0.88) if press == "print" and chance(0.05) else 0.0,
        notes=rng.uniform(0.05, 0.4) if press == "print" and chance(0.2) else 0.0,
        room=rng.uniform(0.3, 1) if chance(0.12) else 1.0,
    )


def _draw_item(rng: random.Random) -> str:
    """What an item of a list begins with."""
    if rng.random() < 0.6:
        return rng.choice(_BULLETS)
    name = rng.choice((str(rng.randint(1, 20)), rng.choice("abcdefgABCDE"), rng.choice(_ROMAN)))
    return rng.choice(("{}.", "{})", "({})")).format(name)


def print_lines(
    rng: random.Random,
    lines: Sequence[Line],
    look: Look,
    sheet: Sheet,
    words: Sequence[str],
    difficulty: float,
) -> degrade.Grey:
    """A sheet with the lines on it, and what a cutter leaves of what stands around a single one."""

    def chance(probability: float) -> bool:
        return rng.random() < probability * difficulty

    image = Image.new("L", sheet, look.paper)
    draw = ImageDraw.Draw(image)
    if len(lines) == 1 and chance(0.3):
        _print_neighbours(rng, draw, lines[0], look, sheet, words)
    for line in lines:
        _print_glyphs(rng, draw, line, look)
        _print_rules(rng, draw, line, look, sheet, difficulty)
    return np.asarray(image)


def _print_glyphs(rng: random.Random, draw: ImageDraw.ImageDraw, line: Line, look: Look) -> None:
    for (is_gap, _), word in groupby(line.glyphs, key=lambda g: (g.drawn == " ", g.type)):
        glyphs = list(word)
        if is_gap:
            continue
        uneven = 0.4 if look.press == "typewriter" else 0.0
        aside = look.aside if glyphs[0].type.face.monospaced else 0.0
        if not (uneven or look.tracking_em or look.air or aside):
            # one call for a word is faster than one for each of its characters
            glyphs = [glyphs[0]._replace(drawn="".join(glyph.drawn for glyph in glyphs))]
        for glyph in glyphs:
            tone = round(look.ink + (look.paper - look.ink) * rng.uniform(0, uneven))
            x = glyph.x + aside * glyph.advance * (glyph.drawn in _NARROW)
            at = (x, line.baseline + glyph.drop)
            draw.text(at, glyph.drawn, font=glyph.type.font, fill=tone, anchor="ls")


def _print_neighbours(
    rng: random.Random,
    draw: ImageDraw.ImageDraw,
    line: Line,
    look: Look,
    sheet: Sheet,
    words: Sequence[str],
) -> None:
    """Feet of the line above and heads of the line below, within where the line was cut out."""
    type_ = line.type
    pitch = type_.line_height * rng.uniform(0.85, 1.1)
    num_characters = int(sheet.width / max(1.0, type_.advance("n")))
    for y in (line.baseline - pitch, line.baseline + pitch):
        if rng.random() < 0.7 and words:
            start = rng.randrange(len(words))
            text = " ".join(words[start : start + 40])[:num_characters]
            text = "".join(c for c in text if c == " " or c in type_.face.covers)
            x = line.left - rng.uniform(0, 40) * look.scale_x
            draw.text((x, y), text, font=type_.font, fill=look.ink, anchor="ls")
    top = line.baseline - type_.ascent * rng.uniform(0.88, 1.12)
    bottom = line.baseline + type_.descent * rng.uniform(0.75, 1.3)
    if top > 0:
        draw.rectangle((0, 0, sheet.width, top), fill=look.paper)
    if bottom < sheet.height:
        draw.rectangle((0, bottom, sheet.width, sheet.height), fill=look.paper)


def _print_rules(
    rng: random.Random,
    draw: ImageDraw.ImageDraw,
    line: Line,
    look: Look,
    sheet: Sheet,
    difficulty: float,
) -> None:
    """Rules under, over and beside the line, and underlined words."""

    def chance(probability: float) -> bool:
        return rng.random() < probability * difficulty

    thickness = max(1, int(look.scale_y * rng.uniform(0.8, 2)))
    # a typewriter's underline may touch the letters
    nearest = 0.15 if look.press == "typewriter" else 0.3
    below = line.baseline + line.type.descent * rng.uniform(nearest, 0.9)
    above = line.baseline - line.type.ascent * rng.uniform(1.0, 1.15)
    for y, probability in ((below, 0.05), (above, 0.02)):
        if chance(probability):
            left = line.left if rng.random() < 0.5 else 0
            right = line.end if rng.random() < 0.5 else sheet.width
            _draw_rule(rng, draw, (left, y, right, y), look, thickness)
    if line.glyphs and chance(0.1 if look.press == "typewriter" else 0.03):
        first, last = sorted(rng.choices(line.glyphs, k=2), key=lambda glyph: glyph.x)
        _draw_rule(rng, draw, (first.x, below, last.right, below), look, thickness)
    beside = (line.left - 3 * look.scale_x, line.end + 3 * look.scale_x)
    gaps = [g for g in line.glyphs if g.drawn == " " and g.advance > g.type.px]
    within = [gap.x + gap.advance * rng.uniform(0.3, 0.7) for gap in gaps]
    for x, probability in (*((x, 0.02) for x in beside), *((x, 0.15) for x in within)):
        if chance(probability):
            # rules of a table may end where letters do
            ends = (above, below) if rng.random() < 0.5 else (0.0, sheet.height)
            _draw_rule(rng, draw, (x, ends[0], x, ends[1]), look, thickness)


def _draw_rule(
    rng: random.Random,
    draw: ImageDraw.ImageDraw,
    ends: tuple[float, float, float, float],
    look: Look,
    thickness: int,
) -> None:
    """Draw a rule across or down, one in four of dots or dashes."""
    left, top, right, bottom = ends
    length = (right - left) + (bottom - top)  # one of them is 0
    dash = gap = length
    if rng.random() < 0.25:
        dash, gap = thickness * rng.uniform(0.8, 4), thickness * rng.uniform(1, 4)
    for start in np.arange(0, length, max(1.0, dash + gap)).tolist():
        first, last = start / length, min(1.0, (start + dash) / length)
        at = [left + first * (right - left), top + first * (bottom - top)]
        at += [left + last * (right - left), top + last * (bottom - top)]
        draw.line(at, fill=look.ink, width=thickness)


def wear(
    rng: random.Random, image: degrade.Grey, look: Look, difficulty: float
) -> tuple[degrade.Grey, Float[np.ndarray, "2 3"]]:
    """What happens at the size of the sheet; the matrix says where points went."""

    def chance(probability: float) -> bool:
        return rng.random() < probability * difficulty

    scale, typed = look.scale_y, look.press == "typewriter"
    if chance(0.08):
        image = degrade.specks(image, rng, scale=scale / _USUAL)
    if chance(0.02 if look.press == "print" else 0.05):
        image = degrade.pen(image, rng, scale=scale)
    struck = typed and chance(0.5)
    if struck:
        image = degrade.ribbon(image, rng, scale=scale)
    image = _inked(rng, image, look, difficulty)
    smeared = typed and not struck
    matrix = np.eye(2, 3)
    if chance(0.15):
        limit = min(1.0, 256 * scale / image.shape[1])
        image, matrix = degrade.rotate(image, rng, max_degrees=limit)
    if look.bilevel:
        image = _to_bilevel(rng, image, look)
    elif chance(0.7 if smeared else 0.25):
        strength = rng.uniform(0.6, 2.2) if smeared else 0.8
        image = degrade.blur(image, rng, scale=scale / _USUAL * strength)
    if chance(0.07):
        share = rng.uniform(0.52, 0.84) / scale
        image = degrade.low_resolution(image, rng, scale=min(1.0, share))
    return image, matrix


def _inked(rng: random.Random, image: degrade.Grey, look: Look, difficulty: float) -> degrade.Grey:
    """Too much ink or too little, in dots, or where it did not take."""

    def chance(probability: float) -> bool:
        return rng.random() < probability * difficulty

    scale = look.scale_y
    if scale >= _FINE and chance(0.35 if look.press == "typewriter" else 0.2):
        image = degrade.ink_spread(image, rng)
    if look.press == "receipt" and not look.bilevel and rng.random() < 0.35:
        image = degrade.dot_matrix(image, rng, pitch=look.line_px * scale / rng.uniform(18, 28))
    if look.press == "receipt" and not look.bilevel and chance(0.2):
        image = degrade.streaks(image, rng, scale=scale)
    # faded ink does not survive a threshold
    if chance(0.03 if look.press == "print" else 0.15 if look.bilevel else 0.6):
        image = degrade.fade(image, rng)
    return image


def _to_bilevel(rng: random.Random, image: degrade.Grey, look: Look) -> degrade.Grey:
    if look.scale_y < _USUAL or rng.random() < 0.6:
        return degrade.bilevel(image, rng, enlarged=look.scale_y > _USUAL)
    # a scan in which capitals are 12 to 16 pixels high
    share = rng.uniform(18, 28) / (look.line_px * look.scale_y)
    return degrade.low_resolution(image, rng, scale=min(1.0, share), black_and_white=True)


def cut_out(
    image: degrade.Grey,
    rng: random.Random,
    line: PrintedLine,
    to_strip: Float[np.ndarray, "2 3"],
) -> tuple[degrade.Grey, Float[np.ndarray, "2 3"]]:
    """A line as the cutter of pages leaves it: on white, closely cut, as high as any other.

    Returns:
        The strip, and the matrix that says where its points went.
    """
    left, top, right, bottom = _extent(line, to_strip)
    height, width = image.shape
    scale = rng.uniform(*CUT_PX) / (bottom - top)
    scale = min(scale, (width - 2 * MARGIN) / (right - left))
    place = np.array(
        [
            [scale, 0, MARGIN - scale * left],
            [0, scale, (height - scale * (top + bottom)) / 2],
        ]
    )
    how = rng.choice((cv2.INTER_LINEAR, cv2.INTER_CUBIC))
    moved = cv2.warpAffine(flattened(image), place, (width, height), flags=how, borderValue=255)
    first, last = (round(scale * x + place[0, 2]) for x in (left, right))
    high, low = (max(0, round(scale * y + place[1, 2])) for y in (top, bottom))
    strip = np.full_like(image, 255)
    strip[high:low, first:last] = moved[high:low, first:last]
    return strip, place


def _extent(
    line: PrintedLine, to_strip: Float[np.ndarray, "2 3"]
) -> tuple[float, float, float, float]:
    """Around the ink of a line, and what it would take with all letters."""
    middle, reach, side = (line.body_height * share for share in (0.5, 0.8, 0.3))
    box = line.box
    left, right = box.left - side, box.right + side
    top = min(box.top, line.baseline - middle - reach)
    bottom = max(box.bottom, line.baseline - middle + reach)
    corners = np.array([[left, right, left, right], [top, top, bottom, bottom]])
    x, y = to_strip[:, :2] @ corners + to_strip[:, 2:]
    return float(x.min()), float(y.min()), float(x.max()), float(y.max())
