"""Screens to plain tints: text on a ground of dots, as if the ground were evenly grey.

Fax machines and laser printers show grey as dots, which tie letters together and hide them. Where
ink and paper change far more often than in text, across and down, the dots are taken away,
and a light ground is made white. Knows nothing of lines.

Axes: H W rows and columns of pixels.
"""

import math
from collections.abc import Iterator

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

_CHANGES, _NEARLY = 4.4, 3.4
"""From ink to paper or back in the height of a letter, across and down: more than text has, and
as many as a few letters on a screen leave of them."""
_FAINTEST, _DARK = 10, 32
"""Steps of 255 by which a dot is darker than what is around it, and a dark one."""
_SMALLEST, _LETTERS = ((1, 5), (5, 1)), 7
"""Sides of the smallest screens, and of letters that may stand on one, in halves of a letter."""
_SLOWEST = 0.6
"""Of the frequency of the dots, what no part of them is below."""
_PEAK, _NEAR, _BESIDE = 0.7, ((15, 15), (9, 1), (1, 9)), 15
"""How far a frequency of the dots stands out, as a logarithm, of the mean of so many around it, and
how many in its row and column go with it."""
_WINDOW = 16
"""Dots across that are looked at together."""
_BLUR = 0.12
"""Of the distance of two dots: hides what is left of them around letters."""
_LIGHT, _AROUND = 110, 11
"""Grey from which a ground is light, in the middle of so many halves of a letter across."""
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
    likely = (often > _CHANGES).astype(np.uint8)
    sure = cv2.max(
        *(cv2.morphologyEx(likely, cv2.MORPH_OPEN, np.ones(s, np.uint8)) for s in _SMALLEST)
    )
    if not sure.any():
        return grey
    # and what hangs together with that and changes nearly as often
    _, labels = cv2.connectedComponents((often > _NEARLY).view(np.uint8))
    near = np.isin(labels, np.unique(labels[sure > 0])).astype(np.uint8)
    found = cv2.dilate(cv2.morphologyEx(near, cv2.MORPH_CLOSE, _square(_LETTERS)), _square(3))
    even = grey.copy()
    for window, inside, dots in _grounds(found, often, grey.shape):
        distance, ground = 2 * letter / dots, grey[window]
        # faint dots hide no letter, and low down are not told from what repeats in letters
        if min(ground.shape) >= _WINDOW * distance or _dots_are_dark(ground, inside, letter):
            even[window][inside] = _evened(ground, distance, letter)[inside]
    return even


def _dots_are_dark(
    grey: UInt8[np.ndarray, "H W"], inside: Bool[np.ndarray, "H W"], letter: float
) -> bool:
    """Whether nearly all ink of a ground is far darker than what is around it."""
    depths = _depths(grey, letter)[inside]
    dots = depths[depths > _FAINTEST]
    return len(dots) > 0 and bool(np.quantile(dots, 0.25) > _DARK)


def _grounds(
    found: UInt8[np.ndarray, "h w"], often: Float[np.ndarray, "h w"], shape: tuple[int, int]
) -> Iterator[tuple[tuple[slice, slice], Bool[np.ndarray, "_ _"], float]]:
    """Each ground: its window, which pixels of that are part of it, and how often it changes."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(found, connectivity=8)
    whole = cv2.resize(labels, shape[::-1], interpolation=cv2.INTER_NEAREST)
    down, across = (side / cells for side, cells in zip(shape, found.shape, strict=True))
    for i in range(1, count):
        left, top, width, height, _ = stats[i].tolist()
        rows = slice(math.floor(top * down), math.ceil((top + height) * down))
        cols = slice(math.floor(left * across), math.ceil((left + width) * across))
        changes = often[labels == i]
        yield (rows, cols), whole[rows, cols] == i, float(np.median(changes[changes > _CHANGES]))


def _evened(
    grey: UInt8[np.ndarray, "H W"], distance: float, letter: float
) -> UInt8[np.ndarray, "H W"]:
    """A ground without its dots, which are so far apart, and white where it is light."""
    smooth = cv2.GaussianBlur(_without_dots(grey, distance), (0, 0), _BLUR * distance)
    ground = cv2.morphologyEx(smooth, cv2.MORPH_CLOSE, _square(round(1.5 * letter)))
    ground = cv2.blur(ground, (round(1.5 * letter),) * 2)
    ink = 255 - cv2.divide(smooth, ground, scale=255).astype(np.float32)
    plain = 255 - np.clip(_GAIN * (ink - _FAINT), 0, 255)
    small = cv2.resize(smooth, None, fx=2 / letter, fy=2 / letter, interpolation=cv2.INTER_AREA)
    usual = cv2.resize(cv2.medianBlur(small, _AROUND), smooth.shape[::-1])
    return np.where(np.minimum(usual, ground) > _LIGHT, plain, smooth).astype(np.uint8)


def _without_dots(grey: UInt8[np.ndarray, "H W"], distance: float) -> UInt8[np.ndarray, "H W"]:
    """Take away what repeats: dots are few frequencies, letters a little of each.

    So strokes stay sharp that are no wider than the dots. Looks through windows that overlap by
    half and fade at their edges, where an abrupt end would be many frequencies.
    """
    side = 2 * math.ceil(_WINDOW / 2 * distance)
    half = side // 2
    fade = np.hanning(side + 1)[:-1].astype(np.float32)
    fade = fade[:, None] * fade
    wide = np.pad(grey, [(half, half + -size % half) for size in grey.shape], mode="reflect")
    tiles = np.lib.stride_tricks.sliding_window_view(wide, (side, side))[::half, ::half]
    some = tiles[:: len(tiles) // 8 + 1, :: tiles.shape[1] // 8 + 1]
    passed = ~_frequencies(some * fade, distance)
    even = np.zeros(wide.shape, np.float32)
    for i, row in enumerate(tiles):
        plain = np.fft.irfft2(np.fft.rfft2(row * fade) * passed, (side, side))
        for j, tile in enumerate(plain):
            even[i * half : i * half + side, j * half : j * half + side] += tile
    inner = even[half : half + grey.shape[0], half : half + grey.shape[1]]
    return np.clip(inner, 0, 255).astype(np.uint8)


def _frequencies(tiles: Float[np.ndarray, "M N S S"], distance: float) -> Bool[np.ndarray, "S F"]:
    """Those of the dots: they stand out in all windows together.

    Those beside them, in their row and column, are of the edges at which a ground of dots ends.
    """
    side = tiles.shape[-1]
    heights = np.log1p(np.abs(np.fft.rfft2(tiles)).mean((0, 1))).astype(np.float32)
    heights = np.fft.fftshift(heights, axes=0)
    # the edges of rules are many frequencies in one row or column
    usual = np.max([cv2.blur(heights, near) for near in _NEAR], axis=0)
    peaks = cv2.dilate((heights > usual + _PEAK).astype(np.uint8), _square(3))
    peaks = cv2.dilate(peaks, cv2.getStructuringElement(cv2.MORPH_CROSS, (_BESIDE, _BESIDE)))
    down, across = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]
    fast = np.hypot(down, across) > _SLOWEST / distance
    return np.asarray((np.fft.ifftshift(peaks, axes=0) > 0) & fast)


def _changes(grey: UInt8[np.ndarray, "H W"], letter: float) -> Float[np.ndarray, "h w"]:
    """Changes in the height of a letter, across or down, whichever are fewer.

    Returns:
        A map with cells of half a letter.
    """
    dark = (_depths(grey, letter) > _FAINTEST).astype(np.uint8)
    rows, cols = (max(1, round(2 * side / letter)) for side in grey.shape)
    across, down = (
        cv2.blur(
            cv2.resize(step.astype(np.float32), (cols, rows), interpolation=cv2.INTER_AREA), (3, 3)
        )
        for step in (cv2.absdiff(dark[:, 1:], dark[:, :-1]), cv2.absdiff(dark[1:], dark[:-1]))
    )
    return np.asarray(np.minimum(across, down) * letter)


def _depths(grey: UInt8[np.ndarray, "H W"], letter: float) -> UInt8[np.ndarray, "H W"]:
    """By how much pixels are darker than the mean of those around them."""
    around = round(letter / 2) | 1
    return np.asarray(cv2.subtract(cv2.blur(grey, (around, around)), grey))


def _square(side: int) -> UInt8[np.ndarray, "S S"]:
    return np.ones((side, side), np.uint8)
