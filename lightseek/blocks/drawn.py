"""Ink that is drawn rather than written: rules, frames, pictures, boxes to tick, screens.

Knows nothing of lines of text.

Axes: H W rows and columns of pixels, N pieces of ink.
"""

from dataclasses import replace

import cv2
import numpy as np
from jaxtyping import Bool, Int, UInt8

from lightseek.blocks.sheet import (
    CANVAS_LETTER,
    Components,
    Sheet,
    components,
    in_line,
    median,
    quantile,
)

_TITLE = 2.5, 18
"""Height of the smallest and the largest letters of a title, in heights of a letter."""
_WORN_RULE = 0.9
"""Share of a long rule that is inked, at least."""
_RULE_HIGH, _RULE_WIDE, _RULE_THIN = 2.2, 3.5, 0.35
"""Height and width of a short rule, at least, and its thickness, in heights of a letter."""
_RULE_GAP, _DASH = 0.2, 1.3
"""Between the pieces of a worn one, at most, and the longest of them, at least, likewise: a minus
stands farther from a bar of fractions, and hyphens in a row are shorter."""
_CROP = 6
"""Height of a crop of a line or two, at most, in heights of a letter."""
_MANY_DOTS = 16
"""So close to each other, more than text has."""
_MANY_DASHES = 8
"""One after the other, at least, in a dashed rule."""


def without_rules(sheet: Sheet) -> Components:
    """Pieces of ink without thin straight lines, level or upright: rules, frames, underlines."""
    letter = max(sheet.letter, 4.0)
    ink, thick = sheet.ink.copy(), max(4, int(0.45 * letter) + 1)
    for axis, long in (
        (1, _whole_runs(sheet.ink, (1, int(6 * letter)))),
        (0, _whole_runs(sheet.ink, (int(5 * letter), 1))),
        (1, _worn_runs(sheet.ink, int(14 * letter))),
    ):
        if axis == 1 and len(sheet.ink) < _CROP * letter:
            long = _not_amid_letters(sheet.ink, long, letter)
        if long.any():
            kernel = np.ones((thick, 1) if axis == 1 else (1, thick), np.uint8)
            ink[(long > 0) & (cv2.morphologyEx(long, cv2.MORPH_OPEN, kernel) == 0)] = 0
    if np.array_equal(ink, sheet.ink):
        return sheet.pieces
    pieces = components(ink)
    beside = cv2.dilate(sheet.ink - ink, np.ones((3, 3), np.uint8)) & ink
    touched = np.zeros(len(pieces.area) + 1, bool)
    touched[pieces.labels[beside > 0]] = True
    crumbs = touched[1:] & (np.minimum(pieces.width, pieces.height) <= 0.12 * letter)
    return replace(unlabelled(pieces, crumbs), area=np.where(crumbs, 0, pieces.area))


def _whole_runs(ink: UInt8[np.ndarray, "H W"], size: tuple[int, int]) -> UInt8[np.ndarray, "H W"]:
    """Keep ink that fills a line of so many rows and columns, one of which is 1."""
    line = np.ones([side | 1 for side in size], np.uint8)
    border = cv2.BORDER_CONSTANT
    return cv2.morphologyEx(ink, cv2.MORPH_OPEN, line, borderType=border, borderValue=0)


def _worn_runs(ink: UInt8[np.ndarray, "H W"], length: int) -> UInt8[np.ndarray, "H W"]:
    """Keep ink that lies in a level run of at least some length, nearly all of it inked."""
    shape, border = (length, 1), cv2.BORDER_CONSTANT
    sums = cv2.boxFilter(ink, cv2.CV_32F, shape, normalize=False, borderType=border)
    full = (sums >= _WORN_RULE * length - 0.5).view(np.uint8)
    if not full.any():
        return full
    return cv2.dilate(full, np.ones((1, length | 1), np.uint8)) & ink


def _not_amid_letters(
    ink: UInt8[np.ndarray, "H W"], runs: UInt8[np.ndarray, "H W"], letter: float
) -> UInt8[np.ndarray, "H W"]:
    """Level runs but for those amid blurred letters, which leave little paper above and below.

    On a page there are bands and pictures of which the same is true.
    """
    kept, off = runs.copy(), max(2, round(0.15 * letter))
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(runs)
    for i, (left, top, width, height, _) in enumerate(boxes.tolist()[1:], start=1):
        rows = [row for row in (top - off, top + height - 1 + off) if 0 <= row < len(ink)]
        if ink[rows, left : left + width].mean(axis=1).sum() > 1:
            window = slice(top, top + height), slice(left, left + width)
            kept[window][labels[window] == i] = 0
    return kept


def unlabelled(pieces: Components, drawn: Bool[np.ndarray, " N"]) -> Components:
    """The same pieces on a map that does not show what is drawn."""
    labels = pieces.labels.copy()
    for i in np.flatnonzero(drawn):
        left, top, right, bottom = pieces.boxes[i]
        window = labels[top:bottom, left:right]
        window[window == i + 1] = 0
    return replace(pieces, labels=labels)


def find_pictures(pieces: Components, letter: float) -> Bool[np.ndarray, " N"]:
    """Pieces too large for letters, or large and with too little ink for one."""
    width, height = pieces.width, pieces.height
    thin = pieces.area < 0.12 * width * height
    huge = (height > 6 * letter) | ((width > 12 * letter) & (height > 3 * letter))
    found: Bool[np.ndarray, " N"] = huge | (thin & ((height > 2.5 * letter) | (width > 6 * letter)))
    return found & ~_large_letters(pieces, np.flatnonzero(huge), letter)


def _large_letters(
    pieces: Components, huge: Int[np.ndarray, " K"], letter: float
) -> Bool[np.ndarray, " N"]:
    """Huge pieces that stand on a line with others and hold none, as the letters of a title do."""
    found = np.zeros(len(pieces.area), bool)
    width, height = pieces.width, pieces.height
    filled = pieces.area / (width * height)
    smallest, largest = _TITLE
    likely = (height > smallest * letter) & (height < largest * letter) & (width < 2 * height)
    narrow = width < 0.3 * height  # as I and l are, but so are pieces of frames
    likely &= (filled > 0.12) & ((filled < 0.75) | narrow)
    left, top, right, bottom = pieces.boxes.T
    x, y = (left + right) / 2, (top + bottom) / 2
    for i in huge[likely[huge]].tolist():
        apart = np.maximum(left - right[i], left[i] - right)
        high = np.maximum(height, height[i])
        others, reach = (likely & ~narrow, 1.2) if narrow[i] else (likely, 0.5)
        beside = others & (apart > -0.2 * height[i]) & (apart < reach * height[i])
        off = np.minimum(np.abs(bottom - bottom[i]), np.abs(top - top[i]))
        beside &= (off < 0.08 * high) & (np.minimum(height, height[i]) > 0.6 * high)
        inside = (x > left[i]) & (x < right[i]) & (y > top[i]) & (y < bottom[i])
        found[i] = beside.any() and inside.sum() <= 1  # itself
    return found


def find_drawn(pieces: Components, letter: float) -> Bool[np.ndarray, " N"]:
    """Smaller pieces that are no letters, nor parts of one."""
    return np.asarray(
        _rule_ends(pieces, letter)
        | _cut_rules(pieces, letter)
        | _tick_boxes(pieces, letter)
        | _broken_rules(pieces, letter)
        | _screens(pieces, letter)
    )


def _tick_boxes(pieces: Components, letter: float) -> Bool[np.ndarray, " N"]:
    """Hollow squares, as forms have them to be ticked."""
    width, height = pieces.width, pieces.height
    found = (np.minimum(width, height) > 1.1 * letter) & (np.maximum(width, height) < 4 * letter)
    found &= (width < 1.4 * height) & (height < 1.4 * width)
    found &= pieces.area < 0.5 * width * height
    for i in np.flatnonzero(found):
        left, top, right, bottom = pieces.boxes[i]
        own = pieces.labels[top:bottom, left:right] == i + 1
        deep = max(1, (bottom - top) // 8)
        sides = own[:deep].any(0), own[-deep:].any(0), own[:, :deep].any(1), own[:, -deep:].any(1)
        found[i] = all(side.mean() > 0.95 for side in sides)
    return np.asarray(found)


def _rule_ends(pieces: Components, letter: float) -> Bool[np.ndarray, " N"]:
    """Pieces longer and thinner than any sign, alone or together: what broken rules leave."""
    width, height = pieces.width, pieces.height
    found = (height > _RULE_HIGH * letter) & (width < _RULE_THIN * letter)
    level = np.flatnonzero((height < _RULE_THIN * letter) & (width > 0.2 * letter))
    if not (width[level] > _DASH * letter).any():  # as on most pages, which have many points
        return np.asarray(found)
    for chain in in_line(pieces.boxes[level], _RULE_GAP * letter, letter):
        row = level[chain]
        long = np.ptp(pieces.boxes[row, ::2]) > _RULE_WIDE * letter
        found[row] |= long and width[row].max() > _DASH * letter
    return np.asarray(found)


def _cut_rules(pieces: Components, letter: float) -> Bool[np.ndarray, " N"]:
    """Strokes from edge to edge of a crop, higher and deeper than its letters.

    So may be a bar in a text, which has letters near it on both sides.
    """
    left, top, right, bottom = pieces.boxes.T
    near = max(1.0, 0.15 * letter)
    found = (top <= near) & (bottom >= len(pieces.labels) - near)
    found &= (pieces.width < 0.35 * letter) & (pieces.height > letter)
    letters = np.flatnonzero(~found & (pieces.height >= 0.55 * letter))
    if not found.any() or len(letters) == 0:
        return np.zeros(len(found), bool)
    found &= top < quantile(top[letters], 0.1) - 0.05 * letter
    found &= bottom > quantile(bottom[letters], 0.9) + 0.05 * letter
    for i in np.flatnonzero(found):
        sides = left[i] - right[letters], left[letters] - right[i]
        gaps = [side[side >= 0] for side in sides]
        found[i] = any(len(gap) > 0 and gap.min() > 1.5 * letter for gap in gaps)
    return np.asarray(found)


def _broken_rules(pieces: Components, letter: float) -> Bool[np.ndarray, " N"]:
    """Dashes and dots that follow each other, level or downwards, where no letters stand."""
    width, height = pieces.width, pieces.height
    dashes = (height < 0.35 * letter) & (width < 3.5 * letter) & (width > 0.2 * letter)
    dots = (width < 0.35 * letter) & (height < 0.5 * letter) & (pieces.area > 0.01 * letter**2)
    level, downwards = pieces.boxes, pieces.boxes[:, [1, 0, 3, 2]]
    return np.asarray(
        _chained(pieces, level, dashes, gap=1.6 * letter, clear=2 * letter, letter=letter)
        # the points of an entry of the contents stand on the line of its letters
        | _chained(pieces, level, dots, gap=0.7 * letter, clear=8 * letter, letter=letter)
        # closer below each other than a colon and the next, or whatever begins lines
        | _chained(pieces, downwards, dots, gap=0.7 * letter, clear=2 * letter, letter=letter)
    )


def _chained(
    pieces: Components,
    boxes: Int[np.ndarray, "N 4"],
    marks: Bool[np.ndarray, " N"],
    *,
    gap: float,
    clear: float,
    letter: float,
) -> Bool[np.ndarray, " N"]:
    """Marks in rows of many in which no letters stand.

    Args:
        pieces: All of them.
        boxes: Theirs, start, top, end, bottom as seen along the rows.
        marks: What rows may be made of.
        gap: Between one and the next, at most.
        clear: How far before and behind a row no letters stand.
        letter: Height of a letter.
    """
    start, top, end, bottom = boxes.T
    numbers = np.flatnonzero(marks)
    # narrower are crossings with other rules
    letters = (pieces.height >= 0.55 * letter) & (pieces.width >= 0.2 * letter)
    found = np.zeros(len(boxes), bool)
    for chain in in_line(boxes[numbers], gap, letter):
        if len(chain) < _MANY_DASHES:
            continue
        rule = numbers[chain]
        level = median(top[rule] + bottom[rule]) / 2
        first, last = start[rule].min(), end[rule].max()
        across = (top < level) & (bottom > level)
        near = (start < last + clear) & (end > first - clear)
        if np.sum(letters & across & near) < 2:
            found[rule] = True
            found |= across & ~letters & (start > first) & (end < last)  # crossings of rules
    return found


def _screens(pieces: Components, letter: float) -> Bool[np.ndarray, " N"]:
    """Dots that stand closer than those of text ever do: of a screened tint, a dotted rule."""
    dots = np.flatnonzero((pieces.width < 0.3 * letter) & (pieces.height < 0.3 * letter))
    at = (pieces.boxes[dots, :2] * (CANVAS_LETTER / letter)).astype(int)
    canvas = np.zeros(at.max(axis=0, initial=0) + 2, np.uint8)
    canvas[tuple(at.T)] = 1
    reach = np.ones((4, 4), np.uint8)  # the dots of leaders stand a little farther off
    _, labels = cv2.connectedComponents(cv2.dilate(canvas, reach))
    clusters = labels[tuple(at.T)]
    found = np.zeros(len(pieces.area), bool)
    found[dots] = np.bincount(clusters, minlength=1)[clusters] >= _MANY_DOTS
    return found
