"""Screens to plain tints: text on a ground of dots, as if the ground were evenly grey.

Fax machines and laser printers show grey as dots, which tie letters together and hide them. Where
ink and paper change far more often than in text, across and down, the dots are blurred away, and
a light ground is made white. Knows nothing of lines.

Axes: H W rows and columns of pixels.
"""

import cv2
import numpy as np
from jaxtyping import Float, UInt8

_CHANGES = 4.4
"""From ink to paper or back in the height of a letter, across and down: more than text has."""
_SMALLEST, _LETTERS = 2, 7
"""Side of the smallest screen, and of the letters that may stand on one, in halves of a letter."""
_BLUR = 0.32
"""Of the distance of two dots: hides them."""
_LIGHT = 110
"""Grey from which a ground is light."""
_FAINT, _GAIN = 32.0, 1.5
"""What the dots leave of unevenness, in steps of 255, and what the blur takes from strokes."""
_LEAST_LETTER = 8
"""Pixels of a letter that leave room for dots beside its strokes."""


def without_screens(grey: UInt8[np.ndarray, "H W"], letter: float) -> UInt8[np.ndarray, "H W"]:
    """Make grounds of dots even.

    Args:
        grey: Paper is 255.
        letter: Typical height of a letter in pixels.
    """
    if letter < _LEAST_LETTER or min(grey.shape) < 2 * letter:
        return grey
    often = _changes(grey, letter)
    found = cv2.morphologyEx(
        (often > _CHANGES).astype(np.uint8), cv2.MORPH_OPEN, _square(_SMALLEST)
    )
    if not found.any():
        return grey
    distance = 2 * letter / float(np.median(often[found > 0]))
    found = cv2.dilate(cv2.morphologyEx(found, cv2.MORPH_CLOSE, _square(_LETTERS)), _square(3))
    inside = cv2.resize(found, grey.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
    smooth = np.asarray(cv2.GaussianBlur(grey, (0, 0), _BLUR * distance))
    ground = cv2.morphologyEx(smooth, cv2.MORPH_CLOSE, _square(round(1.5 * letter)))
    ground = cv2.blur(ground, (round(1.5 * letter),) * 2)
    ink = 255 - cv2.divide(smooth, ground, scale=255).astype(np.float32)
    plain = 255 - np.clip(_GAIN * (ink - _FAINT), 0, 255)
    even = np.where(ground > _LIGHT, plain, smooth)
    return np.where(inside, even, grey).astype(np.uint8)


def _changes(grey: UInt8[np.ndarray, "H W"], letter: float) -> Float[np.ndarray, "h w"]:
    """Changes in the height of a letter, across or down, whichever are fewer.

    Returns:
        A map with cells of half a letter.
    """
    around = round(letter / 2) | 1
    dark = (cv2.subtract(cv2.blur(grey, (around, around)), grey) > 10).astype(np.uint8)
    rows, cols = (max(1, round(2 * side / letter)) for side in grey.shape)
    across, down = (
        cv2.blur(cv2.resize(np.float32(step), (cols, rows), interpolation=cv2.INTER_AREA), (3, 3))
        for step in (cv2.absdiff(dark[:, 1:], dark[:, :-1]), cv2.absdiff(dark[1:], dark[:-1]))
    )
    return np.asarray(np.minimum(across, down) * letter)


def _square(side: int) -> UInt8[np.ndarray, "S S"]:
    return np.ones((side, side), np.uint8)
