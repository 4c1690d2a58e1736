"""How lines are printed and worn before they become a strip.

    draw_look -> (set lines) -> print_lines -> wear -> (bring to size) -> cut_out

Knows nothing of labels.
"""

import random
from collections.abc import Sequence
from itertools import groupby

import cv2
import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw

from lightseek.blocks.ink import flattened
from lightseek.blocks.strips import MARGIN, STRIP_HEIGHT
from lightseek.data import degrade
from lightseek.data.lettering import Line, PrintedLine
from lightseek.data.look import FINE, USUAL, Look, Sheet
from lightseek.data.struck import clog, strike_unevenly

CUT_PX = (0.85 * STRIP_HEIGHT, STRIP_HEIGHT)
"""Height on a strip of what is cut out around a line."""
_NARROW = (".", ",", ":", ";", "'")
"""Marks that leave most of the room of a letter empty."""
_SIDE = 0.3
"""White on either side of a line, over the height of what nearly all characters fill."""
_TORN_SHARE = 0.03
"""Of what is cut out, lines that go on beyond the edge of the paper."""


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
    printed = np.asarray(image)
    if look.press != "print" and chance(0.3 if look.press == "typewriter" else 0.15):
        printed = strike_unevenly(rng, printed, lines)
    if look.press == "typewriter" and chance(0.25):
        printed = clog(rng, printed, lines, scale=look.scale_y)
    if not look.bilevel and lines[0].glyphs and chance(0.1 if look.press == "typewriter" else 0.03):
        printed = np.minimum(printed, _print_back(rng, lines[0], look, sheet, words))
    return printed


def _print_back(
    rng: random.Random, line: Line, look: Look, sheet: Sheet, words: Sequence[str]
) -> degrade.Grey:
    """The other side of the paper, as far as it shows through."""
    back = Image.new("L", sheet, look.paper)
    draw = ImageDraw.Draw(back)
    tone = round(look.paper - (look.paper - look.ink) * rng.uniform(0.05, 0.3))
    text = "".join(c for c in " ".join(words) if c == " " or c in line.type.face.covers)
    y = rng.uniform(0, line.type.line_height)
    while text and y < sheet.height + line.type.ascent:
        draw.text((rng.uniform(-40, 0), y), text, font=line.type.font, fill=tone, anchor="ls")
        y += line.type.line_height * rng.uniform(1, 1.8)
    turned = back.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return degrade.blur(np.asarray(turned), rng, scale=look.scale_y)


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
        image = degrade.specks(image, rng, scale=scale / USUAL)
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
        image = degrade.blur(image, rng, scale=scale / USUAL * strength)
    if chance(0.07):
        share = rng.uniform(0.52, 0.84) / scale
        image = degrade.low_resolution(image, rng, scale=min(1.0, share))
    return image, matrix


def _inked(rng: random.Random, image: degrade.Grey, look: Look, difficulty: float) -> degrade.Grey:
    """Too much ink or too little, in dots, or where it did not take."""

    def chance(probability: float) -> bool:
        return rng.random() < probability * difficulty

    scale = look.scale_y
    if scale >= FINE and chance(0.35 if look.press == "typewriter" else 0.2):
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
    if look.scale_y < USUAL or rng.random() < 0.6:
        return degrade.bilevel(image, rng, enlarged=look.scale_y > USUAL)
    # a scan in which capitals are 8 to 16 pixels high
    share = rng.uniform(14, 28) / (look.line_px * look.scale_y)
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
    if rng.random() < _TORN_SHARE:
        right -= _torn(rng, line, to_strip)
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


def _torn(rng: random.Random, line: PrintedLine, to_strip: Float[np.ndarray, "2 3"]) -> float:
    """How much nearer the right side is where the paper ends within the last letter.

    Its left half stays, and points, which have no part that says what they are, stay whole.
    """
    left, _, right, _ = line.boxes[-1]
    ink = float(right - left)
    if ink < 0.4 * line.body_height:
        return 0.0
    side = _SIDE * line.body_height
    return (side + ink * rng.uniform(0.05, 0.4)) * float(np.hypot(to_strip[0, 0], to_strip[1, 0]))


def _extent(
    line: PrintedLine, to_strip: Float[np.ndarray, "2 3"]
) -> tuple[float, float, float, float]:
    """Around the ink of a line, and what it would take with all letters."""
    middle, reach, side = (line.body_height * share for share in (0.5, 0.8, _SIDE))
    box = line.box
    left, right = box.left - side, box.right + side
    top = min(box.top, line.baseline - middle - reach)
    bottom = max(box.bottom, line.baseline - middle + reach)
    corners = np.array([[left, right, left, right], [top, top, bottom, bottom]])
    x, y = to_strip[:, :2] @ corners + to_strip[:, 2:]
    return float(x.min()), float(y.min()), float(x.max()), float(y.max())
