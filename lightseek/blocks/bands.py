"""Light text on dark bands and boxes, turned into dark text on light.

Axes: H W rows and columns of pixels of the sheet, h w of a band.
"""

from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from lightseek.blocks.sheet import Components, Sheet, components

_STROKE = 0.3
"""Width of the thickest strokes of most letters, in heights of one."""
_EDGE, _LONG = 0.12, 3
"""Height and width of a level edge that is no stroke, at least, likewise."""
_WHOLE_EDGE = 0.9
"""How much of the width it goes along, at least."""
_LOW = 4
"""Height of a band that is as low as its letters, at most, likewise."""

_Band = tuple[tuple[slice, slice], Bool[np.ndarray, "h w"]]
"""Where it is, and what of it is turned round."""


def with_bands_inverted(sheet: Sheet) -> Sheet:
    """Turn light text on dark bands and boxes into dark text on light."""
    stroke = max(3, round(_STROKE * sheet.letter))
    solid = _opened(sheet.ink, stroke, stroke)
    if not solid[::2, ::2].any():  # as on most pages, in no time
        return sheet
    sheet = _with_inverted(sheet, list(_boxes(sheet, solid)))
    return _with_inverted(sheet, list(_tight_bands(sheet, sheet.ink & solid)))


def _opened(ink: UInt8[np.ndarray, "H W"], height: int, width: int) -> UInt8[np.ndarray, "H W"]:
    """What fills a rectangle of some size."""
    return np.asarray(cv2.morphologyEx(ink, cv2.MORPH_OPEN, np.ones((height, width), np.uint8)))


def _boxes(sheet: Sheet, solid: UInt8[np.ndarray, "H W"]) -> Iterator[_Band]:
    """Solid pieces whose holes are letters.

    What is as thin as a stroke is no part of one: neither the rules of a table below it, nor round
    letters that touch each other.
    """
    pieces = components(solid)
    for i in _large(pieces, sheet.letter):
        window = _window(pieces, i)
        own = pieces.labels[window] == i + 1
        inside = _filled(own.view(np.uint8))
        if _shows_letters(inside, _around(sheet, window, own), sheet.letter):
            yield window, inside > 0


def _tight_bands(sheet: Sheet, solid: UInt8[np.ndarray, "H W"]) -> Iterator[_Band]:
    """Low bands whose letters reach one edge, and leave but a thin one at the other.

    At the edge that they reach, there is but a letter's width between dark and dark.
    """
    letter = sheet.letter
    edge, long, between = (max(2, round(size * letter)) for size in (_EDGE, _LONG, 1.0))
    edges = _opened(sheet.ink, edge, long)
    for rows in _rows_around(edges, int(_LOW * letter) + 2):
        pieces = components((solid | edges)[rows])
        for i in _large(pieces, letter):
            down, across = _window(pieces, i)
            window = slice(rows.start + down.start, rows.start + down.stop), across
            deep = pieces.height[i] // 4
            sides = edges[window][:deep], edges[window][-deep:]
            if (
                pieces.height[i] > _LOW * letter
                or max(s.any(0).mean() for s in sides) < _WHOLE_EDGE
            ):
                continue
            whole = _around(sheet, window, pieces.labels[down, across] == i + 1)
            closed = cv2.morphologyEx(whole, cv2.MORPH_CLOSE, np.ones((1, between), np.uint8))
            inside = _filled(closed)
            if _shows_letters(inside, whole, letter):
                yield window, inside > 0


def _rows_around(edges: UInt8[np.ndarray, "H W"], reach: int) -> list[slice]:
    """Where bands with such edges may be, reaching so far up and down: most of a page is free."""
    near = cv2.dilate(edges.max(axis=1, keepdims=True), np.ones((2 * reach + 1, 1), np.uint8))
    steps = np.diff(near[:, 0].astype(np.int8), prepend=0, append=0)
    starts, stops = np.flatnonzero(steps > 0).tolist(), np.flatnonzero(steps < 0).tolist()
    return [slice(start, stop) for start, stop in zip(starts, stops, strict=True)]


def _large(pieces: Components, letter: float) -> list[int]:
    """Those that have room for letters, and are dark enough for a ground."""
    large = (pieces.height > 1.3 * letter) & (pieces.width > 1.5 * letter)
    large &= pieces.area > 0.4 * pieces.width * pieces.height
    return np.flatnonzero(large).tolist()


def _window(pieces: Components, number: int) -> tuple[slice, slice]:
    left, top, right, bottom = pieces.boxes[number].tolist()
    return slice(top, bottom), slice(left, right)


def _around(
    sheet: Sheet, window: tuple[slice, slice], own: Bool[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "h w"]:
    """The piece of ink that a solid one is of, with what is thin between letters."""
    piece = sheet.pieces.labels[window]
    return (piece == piece[own][0]).view(np.uint8)


def _shows_letters(
    inside: UInt8[np.ndarray, "h w"], dark: UInt8[np.ndarray, "h w"], letter: float
) -> bool:
    """Whether a piece fills its box but for letters."""
    return bool(inside.mean() >= 0.8) and _like_letters(components(inside & (1 - dark)), letter)


def _with_inverted(sheet: Sheet, bands: list[_Band]) -> Sheet:
    if not bands:
        return sheet
    grey, ink = sheet.grey.copy(), sheet.ink.copy()
    for window, inside in bands:
        dark = int(np.median(grey[window][inside & (ink[window] > 0)]))
        span = max(255 - dark, 1)
        turned = np.clip(255 - (grey[window].astype(np.int32) - dark) * 255 // span, 0, 255)
        grey[window][inside] = turned.astype(np.uint8)[inside]
        ink[window][inside] = (turned < 128)[inside]
    return replace(sheet, grey=grey, ink=ink, pieces=components(ink))


def _like_letters(holes: Components, letter: float) -> bool:
    """Whether the light spots in a dark piece are text rather than the lights of a photograph.

    Letters are about as high as each other, and most stand beside another on one line.
    """
    heights = holes.height[holes.area > 2]
    large = (holes.area > 2) & (holes.height > 0.4 * letter)
    if large.sum() < 3 or len(heights) > 4 * large.sum():
        return False
    usual = float(np.median(holes.height[large]))
    even = large & (holes.height > 0.5 * usual) & (holes.height < 2 * usual)
    boxes = holes.boxes[even][:400]
    x, foot = (boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 3]
    beside = np.abs(x[:, None] - x) < 3 * usual
    beside &= np.abs(foot[:, None] - foot) <= max(1.0, 0.12 * usual)
    in_line = float(np.mean(beside.sum(axis=1) > 1))
    return bool(even.sum() > 0.7 * large.sum() and in_line > 0.7)


def _filled(piece: UInt8[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W"]:
    outlines, _ = cv2.findContours(piece, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    canvas = np.zeros_like(piece)
    cv2.drawContours(canvas, outlines, -1, 1, thickness=cv2.FILLED)
    return canvas
