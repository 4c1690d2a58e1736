"""Small frames around words, as links of papers have them, taken off a sheet.

Axes: H W rows and columns of the sheet, h w of a part of it.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Int, UInt8

from lightseek.blocks.sheet import Sheet, components

_HEIGHT, _SIDE = (1.1, 4.0), 0.3
"""Height of a frame inside, and how thick its sides are at most, in heights of a letter."""
_WHOLE, _WRITTEN = 0.95, 0.05
"""Shares that are inked of a side of it, and amid what it encloses, at least."""
_DARKER = 0.7
"""Grey of what crosses its sides, at most, over theirs."""
_STEM = 0.5
"""Height of a bracket that touches a frame, at least, over that of the frame."""


class _Frame(NamedTuple):
    """Rows and columns of what a frame encloses, and those of its sides."""

    rows: slice
    columns: slice
    over: slice
    under: slice
    before: slice
    behind: slice


def without_frames(sheet: Sheet) -> Sheet:
    """The sheet with white paper where the sides of such frames were."""
    pieces, letter = sheet.pieces, sheet.letter
    least, most = _HEIGHT[0] * letter, (_HEIGHT[1] + 2 * _SIDE) * letter
    likely = (pieces.height > least) & (pieces.height < most) & (pieces.width > letter)
    likely &= 2 * pieces.area < pieces.width * pieces.height
    framed = np.zeros_like(sheet.ink)
    for i in np.flatnonzero(likely):
        left, top, right, bottom = pieces.boxes[i]
        window = slice(top, bottom), slice(left, right)
        own = (pieces.labels[window] == i + 1).astype(np.uint8)
        for frame in _find_frames(own, sheet.ink[window], letter):
            sides = _sides(own, frame)
            # letters that cross a coloured side are darker
            colour = np.median(sheet.grey[window][sides])
            framed[window] |= sides & (sheet.grey[window] > _DARKER * colour)
    if not framed.any():
        return sheet
    ink = sheet.ink & ~framed
    blurred = cv2.dilate(framed, np.ones((3, 3), np.uint8)) & ~ink
    grey = np.where(blurred > 0, np.uint8(255), sheet.grey)
    return replace(sheet, grey=grey, ink=ink, pieces=components(ink))


def _find_frames(
    own: UInt8[np.ndarray, "h w"], ink: UInt8[np.ndarray, "h w"], letter: float
) -> Iterator[_Frame]:
    """Frames that a piece of ink is made of.

    Args:
        own: Where the piece is, which may hang together with letters.
        ink: All ink there.
        letter: Height of a letter.
    """
    thickest = max(2.0, _SIDE * letter)
    _, _, boxes, _ = cv2.connectedComponentsWithStats(1 - own, connectivity=4)
    for left, top, width, height, _ in boxes[1:].tolist():
        if height < _HEIGHT[0] * letter or width < letter / 2:
            continue
        rows, columns = slice(top, top + height), slice(left, left + width)
        over, under = _whole_lines(own[:, columns], rows)
        before, behind = _whole_lines(own[rows].T, columns)
        thick = [side.stop - side.start for side in (over, under, before, behind)]
        down, across = height // 4, width // 4
        amid = ink[rows, columns][down : height - down, across : width - across]
        frame = _Frame(rows, columns, over, under, before, behind)
        is_frame = min(thick) > 0 and max(thick) <= thickest and amid.mean() > _WRITTEN
        if is_frame and _has_corners(own, frame) and not _hides_brackets(own, frame):
            yield frame


def _whole_lines(own: UInt8[np.ndarray, "h w"], between: slice) -> tuple[slice, slice]:
    """Rows that are ink from end to end just above, and just below some others."""
    whole = own.mean(axis=1) >= _WHOLE
    above = int(np.append(whole[: between.start][::-1], False).argmin())
    below = int(np.append(whole[between.stop :], False).argmin())
    return slice(between.start - above, between.start), slice(between.stop, between.stop + below)


def _has_corners(own: UInt8[np.ndarray, "h w"], frame: _Frame) -> bool:
    """Whether the sides meet, as those of round letters do not."""
    top, left = frame.rows.start - 1, frame.columns.start - 1
    low, right = frame.rows.stop, frame.columns.stop
    return bool(own[[top, top, low, low], [left, right, left, right]].all())


def _hides_brackets(own: UInt8[np.ndarray, "h w"], frame: _Frame) -> bool:
    """Whether brackets lie under a frame, of which nothing would be left without it."""
    outside = np.vstack([own[: frame.over.start][-1:], own[frame.under.stop :][:1]])
    return bool(outside[:, frame.before].any() and outside[:, frame.behind].any())


def _sides(own: UInt8[np.ndarray, "h w"], frame: _Frame) -> Bool[np.ndarray, "h w"]:
    """Where the sides of a frame are, but for the ends of brackets half under it.

    Without them a bracket would be a bar.
    """
    found = np.zeros(own.shape, bool)
    found[frame.over.start : frame.under.stop, frame.before.start : frame.behind.stop] = True
    found[frame.rows, frame.columns] = False
    level = own[frame.rows]
    for side, beside in (
        (frame.before, level[:, : frame.before.start][:, -1:]),
        (frame.behind, level[:, frame.behind.stop :][:, :1]),
    ):
        found[frame.rows.start + _ends_of_stem(beside), side] = False
    return found


def _ends_of_stem(beside: UInt8[np.ndarray, "h _"]) -> Int[np.ndarray, " n"]:
    """First and last row of a bracket's stem beside a frame, if one is there and shorter."""
    inked = np.flatnonzero(beside.any(axis=1))
    if len(inked) < _STEM * len(beside) or len(inked) < inked[-1] + 1 - inked[0]:
        return inked[:0]
    return inked[[0, -1]]
