"""How a strip is to look: what is drawn by lot before anything is placed.

Knows nothing of images.
"""

import random
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

_BULLETS, _ROMAN = "•••–—-·*○●□■→✓", ("i", "ii", "iii", "iv", "v", "I", "II", "IV")
USUAL, FINE = 1.3, 1.8
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
    press = press or ("typewriter" if draw < 0.2 else "receipt" if draw < 0.42 else "print")
    fine, coarse = (FINE, 2.6, 2.6), (0.8, 1.0)
    scale = rng.choice(fine if press == "receipt" else (*[USUAL] * 4, *coarse, *fine, 2.6))
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
    bilevel = chance(0.5 if scale >= FINE else 0.4 if scale in coarse else 0.08)
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
