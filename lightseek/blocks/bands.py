"""Light text on dark bands and boxes, turned into dark text on light.

Axes: H W rows and columns of pixels.
"""

from dataclasses import replace

import cv2
import numpy as np
from jaxtyping import UInt8

from lightseek.blocks.sheet import Components, Sheet, components

_STROKE = 0.3
"""Width of the thickest strokes of most letters, in heights of one."""


def with_bands_inverted(sheet: Sheet) -> Sheet:
    """Turn light text on dark bands and boxes into dark text on light.

    A band is a solid piece whose holes are letters. What is as thin as a stroke is no part of one:
    neither the rules of a table below it, nor round letters that touch each other.
    """
    letter = sheet.letter
    stroke = max(3, round(_STROKE * letter))
    solid = cv2.morphologyEx(sheet.ink, cv2.MORPH_OPEN, np.ones((stroke, stroke), np.uint8))
    if not solid[::2, ::2].any():  # as on most pages, in no time
        return sheet
    pieces = components(solid)
    large = (pieces.height > 1.3 * letter) & (pieces.width > 1.5 * letter)
    large &= pieces.area > 0.4 * pieces.width * pieces.height
    grey, ink, found = sheet.grey.copy(), sheet.ink.copy(), False
    for i in np.flatnonzero(large):
        left, top, right, bottom = pieces.boxes[i]
        window = np.s_[top:bottom, left:right]
        own = (pieces.labels[window] == i + 1).astype(np.uint8)
        filled = _filled(own)
        piece = sheet.pieces.labels[window]
        whole = piece == piece[own > 0][0]  # what is thin between letters, too
        if filled.mean() < 0.8 or not _like_letters(components(filled & ~whole), letter):
            continue
        dark = int(np.median(grey[window][own > 0]))
        span = max(255 - dark, 1)
        turned = np.clip(255 - (grey[window].astype(np.int32) - dark) * 255 // span, 0, 255)
        inside = filled > 0
        grey[window][inside] = turned.astype(np.uint8)[inside]
        ink[window][inside] = (turned < 128)[inside]
        found = True
    if not found:
        return sheet
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
