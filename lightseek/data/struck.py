"""Letters as types and print heads leave them: clogged with dirt, or pale on one side.

Works on a printed sheet; nothing moves. Knows nothing of labels.
"""

import random
from collections.abc import Collection, Iterator, Sequence

import cv2
import numpy as np

from lightseek.data.degrade import Grey, paper_level
from lightseek.data.lettering import Line

_WITH_COUNTERS = "abdegopqsABDOPQR04689éèêëàâô"
"""Letters whose counters dirt can fill."""


def clog(rng: random.Random, image: Grey, lines: Sequence[Line], *, scale: float) -> Grey:
    """Fill the counters of some letters, the same on all lines, as types that were not cleaned.

    Args:
        rng: Draws which letters, and how full they are.
        image: The sheet.
        lines: What stands on it.
        scale: Pixels of the sheet for one of the strip.
    """
    dirty = {letter for letter in _WITH_COUNTERS if rng.random() < 0.4}
    size = 1 + 2 * round(scale * rng.uniform(0.8, 1.8))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    filled = cv2.GaussianBlur(cv2.morphologyEx(image, cv2.MORPH_OPEN, kernel), (0, 0), 0.4 * scale)
    image, share = image.copy(), rng.uniform(0.4, 1.0)
    for window in _windows(image, lines, dirty):
        image[window] = cv2.addWeighted(image[window], 1 - share, filled[window], share, 0)
    return image


def strike_unevenly(rng: random.Random, image: Grey, lines: Sequence[Line]) -> Grey:
    """Leave some letters pale above, below, left or right, as types that do not strike flat.

    Args:
        rng: Draws which letters, and how pale they are.
        image: The sheet.
        lines: What stands on it.
    """
    image, often = image.copy(), rng.uniform(0.05, 0.35)
    paper = paper_level(image)
    for window in _windows(image, lines):
        if rng.random() >= often:
            continue
        letter = image[window].astype(np.float32)
        across = rng.random() < 0.3
        ramp = np.linspace(rng.uniform(-0.2, 0.5), rng.uniform(1, 1.8), letter.shape[across])
        ramp = ramp.clip(0.05, 1)[:: rng.choice((1, -1))]
        image[window] = paper + (letter - paper) * (ramp if across else ramp[:, None])
    return image


def _windows(
    image: Grey, lines: Sequence[Line], letters: Collection[str] | None = None
) -> Iterator[tuple[slice, slice]]:
    """Where the ink of letters is on the sheet: of some, or of all."""
    height, width = image.shape
    for line in lines:
        for glyph in line.glyphs:
            if glyph.drawn == " " or (letters is not None and glyph.drawn not in letters):
                continue
            left, top, right, bottom = glyph.type.ink(glyph.drawn)
            first, last = (round(glyph.x + x) for x in (left - 1, right + 1))
            high, low = (round(line.baseline + glyph.drop + y) for y in (top - 1, bottom + 1))
            window = slice(max(0, high), min(height, low)), slice(max(0, first), min(width, last))
            if all(part.stop > part.start for part in window):
                yield window
