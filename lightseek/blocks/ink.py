"""A page image to a flat, upright sheet: white paper, dark ink, lines level.

Uneven light is divided out, dark pages and dark bands are turned to dark on light, and a slant of
up to `MAX_SLANT` degrees is taken back. Knows nothing of lines or columns.

Axes: H W rows and columns of pixels, N components.
"""

from dataclasses import replace

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image

from lightseek.blocks.bands import with_bands_inverted
from lightseek.blocks.screens import without_screens
from lightseek.blocks.sheet import Components, Sheet, components, letter_height

MAX_SLANT = 15.0
"""Degrees of rotation that are looked for, either way."""
_MAX_PIXELS = 24_000_000
"""Larger pages are shrunk."""
_LARGE_LETTER, _GOOD_LETTER, _SMALL_LETTER = 24, 18, 7
"""Typical heights of a letter above which a page is shrunk, to which it is shrunk, and below which
it is enlarged."""
_WORN_LETTER = 14
"""Height of a letter from which one is smoothed, so that its worn strokes hang together."""
_INK_SHARE, _LEAST_INK = 0.4, 18.0
"""Darkness of ink, at least: as a share of the darkest around it, and in steps of 255."""
_CELLS = 100
"""Across the shorter side, to tell dark grounds from light ones."""
_EVEN_LIGHT_BELOW = 300
"""Sides shorter than this are taken to be evenly lit."""
_ALL_DARK = 0.9
"""Share of a page that is dark, from which no part of it is light ground: it is a poster."""


def flat_sheet(image: Image.Image) -> Sheet:
    """Turn a page image into dark ink on white paper with level lines."""
    grey = np.asarray(image.convert("L"))
    to_page = np.eye(2, 3)
    oversize = (grey.size / _MAX_PIXELS) ** 0.5
    if oversize > 1:
        grey, to_page = _scaled(grey, to_page, 1 / oversize)
    grey = flattened(grey)
    letter = _rough_letter_height(grey)
    if letter > _LARGE_LETTER:
        grey, to_page = _scaled(grey, to_page, _GOOD_LETTER / letter)
        letter = _GOOD_LETTER
    elif 0 < letter < _SMALL_LETTER and grey.size * 4 < _MAX_PIXELS:
        grey, to_page = _scaled(grey, to_page, 2.0)
        letter *= 2
    grey = without_screens(grey, letter)
    ink = _ink_of(grey, letter)
    pieces = components(ink)
    letter = letter_height(pieces, letter)
    sheet = Sheet(grey, ink, pieces, letter, to_page, page=image.size)
    return _levelled(with_bands_inverted(sheet))


def _rough_letter_height(grey: UInt8[np.ndarray, "H W"]) -> float:
    """Typical height of a letter, from a view of half the size where that shows enough.

    Grain and worn letters, which fall to pieces at full size, hang together in the smaller view.
    """
    half, _ = _scaled(grey, np.eye(2, 3), 0.5)
    letter = letter_height(components(_ink_of(half, _SMALL_LETTER)))
    if letter >= _SMALL_LETTER:
        return 2 * letter
    return letter_height(components(_ink_of(grey, _SMALL_LETTER)))


def _scaled(
    grey: UInt8[np.ndarray, "H W"], to_page: Float[np.ndarray, "2 3"], scale: float
) -> tuple[UInt8[np.ndarray, "h w"], Float[np.ndarray, "2 3"]]:
    height, width = grey.shape
    size = max(1, round(width * scale)), max(1, round(height * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    stretch = np.diag([width / size[0], height / size[1]])
    return cv2.resize(grey, size, interpolation=how), np.hstack(
        [to_page[:, :2] @ stretch, to_page[:, 2:]]
    )


def flattened(grey: UInt8[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W"]:
    """Dark ink on paper that is white everywhere."""
    return _evenly_lit(_dark_on_light(grey))


def _dark_on_light(grey: UInt8[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W"]:
    """Invert the dark grounds of a page whose darker half is the larger one."""
    split, _ = cv2.threshold(grey, 0, 255, cv2.THRESH_OTSU)
    dark = (grey <= split).view(np.uint8)
    if dark.mean() <= 0.55 or np.median(grey) >= 128:
        return grey
    if min(grey.shape) < _EVEN_LIGHT_BELOW or dark.mean() > _ALL_DARK:
        return 255 - grey
    return np.where(_dark_grounds(dark), 255 - grey, grey)


def _dark_grounds(dark: UInt8[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """Where most is dark around a pixel, and at the end of such a ground what is no letter."""
    cell = min(dark.shape) // _CELLS
    rows, cols = (round(side / cell) for side in dark.shape)
    share = cv2.resize(dark.astype(np.float32), (cols, rows), interpolation=cv2.INTER_AREA)
    ground = (cv2.blur(share, (3, 3)) > 0.5).astype(np.uint8)
    core, reach = (how(ground, np.ones((3, 3), np.uint8)) for how in (cv2.erode, cv2.dilate))
    near, far = (
        cv2.resize(cells, dark.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
        for cells in (core, reach)
    )
    closed = cv2.morphologyEx(dark, cv2.MORPH_CLOSE, np.ones((cell, cell), np.uint8))
    solid = cv2.morphologyEx(closed, cv2.MORPH_OPEN, np.ones((2 * cell, 2 * cell), np.uint8)) > 0
    return np.asarray(near | (far & solid))


def _evenly_lit(grey: UInt8[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W"]:
    """Divide by the paper's brightness, so that paper is 255 everywhere.

    Large dark areas are no paper in shadow: the estimate never falls below half of the brightest
    paper. A small image is a crop of a line, where a local estimate would follow the ink.
    """
    paper = max(_shade(_counts(grey), 0.8), 60.0)
    if min(grey.shape) < _EVEN_LIGHT_BELOW:
        flat = grey.astype(np.float32) * (255 / paper)
        return np.asarray(np.clip(flat, 0, 255), np.uint8)
    cell = max(16, min(grey.shape) // 50)
    bright = cv2.dilate(grey, np.ones((7, 7), np.uint8))
    rows, cols = (max(1, round(side / cell)) for side in grey.shape)
    small = cv2.resize(bright, (cols, rows), interpolation=cv2.INTER_AREA)
    small = cv2.medianBlur(cv2.dilate(small, np.ones((3, 3), np.uint8)), 5)
    small = np.maximum(small, np.uint8(min(255.0, 0.5 * paper)))
    light = cv2.resize(small, grey.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.divide(grey, light, scale=255))


def _ink_of(grey: UInt8[np.ndarray, "H W"], reach: float) -> UInt8[np.ndarray, "H W"]:
    """Mark the ink of a flat page: what is nearly as dark as the darkest around it.

    So the thin strokes of faint print hang together as well as those of black letters, whose
    blurred edges do not tie them to their neighbours. Light areas larger than a stroke are tints.

    Args:
        grey: Paper is 255.
        reach: How far around a pixel is looked, in pixels: about the height of a letter.
    """
    if reach >= _WORN_LETTER:
        grey = np.asarray(cv2.GaussianBlur(grey, (0, 0), reach / 20))
    elif cv2.countNonZero(cv2.absdiff(grey, cv2.medianBlur(grey, 3))) > grey.size / 2:
        grey = np.asarray(cv2.GaussianBlur(grey, (3, 3), 0))
    split, _ = cv2.threshold(grey, 0, 255, cv2.THRESH_OTSU)
    counts = _counts(grey)
    is_light = np.arange(256) > split
    light, dark = counts * is_light, counts * ~is_light
    if not light.any() or not dark.any():
        return np.zeros_like(grey)
    paper, shade = _shade(light, 0.5), _shade(light, 0.25)
    least = max(_LEAST_INK, 3.5 * (paper - shade), 0.18 * (paper - _shade(dark, 0.5)))
    rows, cols = ((side + 1) // 2 for side in grey.shape)
    cells = cv2.resize(255 - grey, (cols, rows), interpolation=cv2.INTER_AREA)
    cells = cv2.dilate(cells, np.ones((2, 2), np.uint8), anchor=(0, 0))[::2, ::2]
    side = 1 + 2 * max(1, round(reach / 4))
    darkest = cv2.dilate(cells, np.ones((side, side), np.uint8))
    depth = np.maximum((darkest.astype(np.float32) - (255 - paper)) * _INK_SHARE, least)
    limit = np.ceil(paper - depth).clip(0).astype(np.uint8)
    ink = grey < cv2.resize(limit, grey.shape[::-1], interpolation=cv2.INTER_LINEAR)
    kernel = np.ones((max(3, round(reach)),) * 2, np.uint8)
    tint = cv2.morphologyEx((ink & (grey > split)).view(np.uint8), cv2.MORPH_OPEN, kernel)
    tint = cv2.dilate(tint, np.ones((3, 3), np.uint8))
    return ink.view(np.uint8) & (1 - tint)


def _counts(grey: UInt8[np.ndarray, "H W"]) -> Int[np.ndarray, " 256"]:
    """Pixels of each shade, of every fourth pixel."""
    return np.bincount(grey[::2, ::2].ravel(), minlength=256)


def _shade(counts: Int[np.ndarray, " 256"], share: float) -> float:
    """The shade that so large a share of some pixels is no lighter than."""
    upto = np.cumsum(counts)
    return float(np.searchsorted(upto, share * (upto[-1] - 1), side="right"))


def _slant(pieces: Components, letter: float) -> float:
    """Degrees by which the lines fall to the right.

    Under the right angle the feet of the letters share the fewest heights: the sum of squares of
    their histogram is largest. The fewer letters, the more must be gained: descenders at the ends
    of a single line are no slant.
    """
    height, width = pieces.height, pieces.width
    like_letters = (height > 0.6 * letter) & (height < 2.5 * letter) & (width < 12 * letter)
    boxes = pieces.boxes[like_letters]
    if len(boxes) < 12:
        return 0.0
    x, y = (boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 3].astype(float)
    bin_px = max(1.0, 0.15 * letter)

    def sharpness(degrees: float) -> float:
        feet = (y - x * np.tan(np.radians(degrees))) / bin_px
        counts = np.bincount((feet - feet.min()).astype(int) + 1, minlength=2)
        return float(np.sum(np.convolve(counts, (1.0, 1.0)) ** 2))

    angles = np.arange(-MAX_SLANT, MAX_SLANT + 0.01, 0.1)
    scores = np.array([sharpness(angle) for angle in angles])
    best = int(np.argmax(scores))
    near = scores >= 0.98 * scores[best]
    near &= np.abs(angles - angles[best]) < 0.35
    angle = float(np.mean(angles[near]))
    drop = abs(np.tan(np.radians(angle))) * float(np.ptp(x))
    gain = scores[best] / max(sharpness(0.0), 1.0)
    worthwhile = drop > 0.25 * letter and gain > 1.1 + 6 / len(boxes)
    return angle if worthwhile else 0.0


def _levelled(sheet: Sheet) -> Sheet:
    """Turn the sheet so that its lines are level; nothing is cut off."""
    degrees = _slant(sheet.pieces, sheet.letter)
    if degrees == 0:
        return sheet
    height, width = sheet.grey.shape
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    cos, sin = abs(turn[0, 0]), abs(turn[0, 1])
    size = round(width * cos + height * sin), round(width * sin + height * cos)
    turn[:, 2] += ((size[0] - width) / 2, (size[1] - height) / 2)
    grey = cv2.warpAffine(sheet.grey, turn, size, flags=cv2.INTER_LINEAR, borderValue=255)
    ink = cv2.warpAffine(sheet.ink * 255, turn, size, flags=cv2.INTER_LINEAR)
    ink = (ink > 127).astype(np.uint8)
    back = np.vstack([cv2.invertAffineTransform(turn), [0, 0, 1]])
    return replace(sheet, grey=grey, ink=ink, pieces=components(ink), to_page=sheet.to_page @ back)
