"""Letters set in a line: what is drawn where, and what is written for it.

All places are in pixels of the sheet that is printed. Knows nothing of images.

Axes: n characters of a line.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import ImageFont

from lightseek.data.corpus import to_label
from lightseek.data.fonts import Face
from lightseek.document import Box

Extent = tuple[float, float, float, float]
"""Left, top, right and bottom of ink."""

_MAX_ASCENT_EM, _MAX_DESCENT_EM = 1.1, 0.4
_MEASURED_PX = 64  # a fixed size, so that what is known never depends on what was drawn before


class Type:
    """A face at a size.

    Args:
        face: What to draw with.
        px: Size of the em.
        extents: Ink of its characters from their point on the baseline, in em; filled here and
            shared by all sizes of the face.
    """

    def __init__(self, face: Face, px: int, extents: dict[str, Extent]) -> None:
        self.face = face
        self.px = px
        self.font = ImageFont.truetype(face.path, px, layout_engine=ImageFont.Layout.BASIC)
        ascent, descent = self.font.getmetrics()
        # faces of many scripts declare room for stacked marks: Latin letters would come out tiny
        self.ascent = min(ascent, round(_MAX_ASCENT_EM * px))
        self.descent = min(descent, round(_MAX_DESCENT_EM * px))
        self.line_height = self.ascent + self.descent
        self._extents = extents
        self._advances: dict[str, float] = {}
        # capitals of script faces may be far higher than the body of a line
        cap_height, x_height = (-self.ink(c)[1] for c in "Hx")
        self.body_height = max(1.0, min(cap_height, 1.6 * x_height))
        """From the baseline to the top of what nearly all characters fill."""
        self.letter_height = -min(self.ink(c)[1] for c in "Hd") + max(self.ink(c)[3] for c in "gp")
        """From the top of the highest plain letters to the foot of the lowest."""

    def advance(self, character: str) -> float:
        """Pixels to the next character."""
        if character not in self._advances:
            self._advances[character] = self.font.getlength(character)
        return self._advances[character]

    def ink(self, character: str) -> Extent:
        """What it covers, in pixels from its point on the baseline."""
        if character not in self._extents:
            self._extents[character] = _measure(self.face, character)
        left, top, right, bottom = self._extents[character]
        return left * self.px, top * self.px, right * self.px, bottom * self.px


@lru_cache(maxsize=8)
def _ruler(path: Path) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, _MEASURED_PX, layout_engine=ImageFont.Layout.BASIC)


def _measure(face: Face, character: str) -> Extent:
    mask, (x, y) = _ruler(face.path).getmask2(character, "L", anchor="ls")
    left, top, right, bottom = mask.getbbox() or (0, 0, 0, 0)
    return (
        (x + left) / _MEASURED_PX,
        (y + top) / _MEASURED_PX,
        (x + right) / _MEASURED_PX,
        (y + bottom) / _MEASURED_PX,
    )


class Mark(NamedTuple):
    """One character of the label."""

    text: str
    span: tuple[float, float]
    """From where it begins to where the next one does."""
    ink: Extent


class Glyph(NamedTuple):
    """One drawn character, or a gap between words."""

    drawn: str
    type: Type
    x: float
    advance: float
    drop: float
    """How far it stands below the baseline."""
    is_small_capital: bool = False
    """Written in lower case, as a name in small capitals is."""

    @property
    def right(self) -> float:
        """Where the next one may begin."""
        return self.x + self.advance

    def marks(self, baseline: float) -> list[Mark]:
        """What is written for it, one mark for each character of a ligature."""
        if self.drawn == " ":
            ink = (self.x, baseline - self.type.body_height, self.right, baseline)
            return [Mark(" ", (self.x, self.right), ink)]
        left, top, right, bottom = self.type.ink(self.drawn)
        top, bottom = (baseline + self.drop + y for y in (top, bottom))
        text = self.drawn.lower() if self.is_small_capital else to_label(self.drawn)
        step, ink_step = self.advance / len(text), (right - left) / len(text)
        marks = []
        for i, written in enumerate(text):
            start, ink_start = self.x + step * i, self.x + left + ink_step * i
            ink = (ink_start, top, ink_start + ink_step, bottom)
            marks.append(Mark(written, (start, start + step), ink))
        return marks


class Line(NamedTuple):
    """A line of glyphs from left to right."""

    glyphs: list[Glyph]
    type: Type
    """That of most of its words."""
    baseline: float
    left: float
    end: float

    def printed(self) -> "PrintedLine":
        """What is written for it, and where."""
        marks = [mark for glyph in self.glyphs for mark in glyph.marks(self.baseline)]
        return PrintedLine(
            text="".join(mark.text for mark in marks),
            spans=np.array([mark.span for mark in marks]).reshape(-1, 2),
            boxes=np.array([mark.ink for mark in marks]).reshape(-1, 4),
            baseline=self.baseline,
            body_height=self.type.body_height,
            end=self.end,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintedLine:
    """The characters of a line, however it was set."""

    text: str
    spans: Float[np.ndarray, "n 2"]
    """From where each character begins to where the next one does."""
    boxes: Float[np.ndarray, "n 4"]
    """Left, top, right and bottom of the ink of each; of a space, its gap."""
    baseline: float
    body_height: float
    """From the baseline to the top of what nearly all characters fill."""
    end: float
    """Where another character would begin."""

    @property
    def box(self) -> Box:
        """Around all ink of a line that is not empty."""
        return _around(self.boxes)

    @property
    def words(self) -> tuple[tuple[str, Box], ...]:
        """What stands between spaces, with boxes around the ink."""
        return tuple(
            (match[0], _around(self.boxes[match.start() : match.end()]))
            for match in re.finditer(r"[^ ]+", self.text)
        )


def _around(boxes: Float[np.ndarray, "n 4"]) -> Box:
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    return Box(*low.tolist(), *high.tolist())
