"""Fragments of letters: given back to their run, or put together where they stand alone.

Axes: N pieces of ink, K small ones, M those of a run.
"""

import numpy as np
from jaxtyping import Bool, Int

from lightseek.blocks.sheet import Components, in_line
from lightseek.blocks.sieve import BESIDE, Segment, levels, segment_of

_IN_PIECES, _MAX_PIECES = 0.7, 6
"""Between the pieces of broken letters, across, at most, in heights of a letter; how many these
are."""
_STAR, _BETWEEN_STARS, _MAX_STARS = (0.25, 0.7), 6, 7
"""Sizes of stars that stand alone between two lines, least and most, and their distance, in heights
of a letter; how many these are."""
_MAX_SPECKS = 2
"""Other pieces around them, at most."""


def with_fragments_returned(
    segments: list[Segment],
    letter: float,
    at_side: Bool[np.ndarray, " N"],
    at_edge: Bool[np.ndarray, " N"],
) -> list[Segment]:
    """Give commas, loops and accents that began a run of their own to the run beside them.

    Args:
        segments: Widest first.
        letter: Typical height of a letter on the page.
        at_side: Pieces that may be the edge of the paper.
        at_edge: Pieces that may be crumbs of a line that was cut off, which belong to no other.
    """
    whole: list[Segment] = []
    for segment in segments:
        host = None
        if segment.height < 1.2 * letter and not goes_on(segment, whole, letter):
            sign = 1.05 if segment.width < 0.6 * letter else 0.75
            small = max(segment.height, 0.4 * segment.width) < sign * letter
            loose = small and not at_edge[segment.pieces].any()
            least = -letter if loose else 0.2 * segment.height if small else 0.0
            reach = 0.8 if at_side[segment.pieces].any() else 2.0 if small else 1.0
            host = min(
                (
                    other
                    for other in whole
                    if 0.3 * letter < abs(segment.middle - other.middle) < 1.4 * letter
                    and other.width > 2 * max(letter, segment.width)
                    and min(segment.bottom, other.bottom) - max(segment.top, other.top) > least
                    and (small or _is_loop(segment, other, letter))
                    and max(segment.left - other.right, other.left - segment.right) < reach * letter
                ),
                key=lambda other: abs(segment.middle - other.middle),
                default=None,
            )
        if host is None:
            whole.append(segment)
        else:
            host.take(segment)
    return whole


def goes_on(segment: Segment, others: list[Segment], letter: float) -> bool:
    """Whether a run stands on the line of letters beside it, as a broken letter does.

    A figure alone may stand farther off, in a row of a table.
    """
    reach = BESIDE if segment.height >= 0.8 * letter else 2.0
    return any(
        abs(segment.middle - other.middle) <= 0.3 * letter
        and other.tall >= 0.8 * letter
        and max(segment.left - other.right, other.left - segment.right) < reach * letter
        for other in others
    )


def _is_loop(segment: Segment, other: Segment, letter: float) -> bool:
    """Whether a run lies half in another, or hangs from it like the torn-off foot of a g."""
    shared = min(segment.bottom, other.bottom) - max(segment.top, other.top)
    within = other.left < (segment.left + segment.right) / 2 < other.right
    near = abs(segment.middle - other.middle) < 0.9 * letter
    return shared > 0.5 * segment.height or (within and near and segment.width < 1.2 * letter)


def broken_letters(
    segments: list[Segment], pieces: Components, small: Int[np.ndarray, " K"], letter: float
) -> list[Segment]:
    """Runs of a letter or two that fell to pieces, far from others on their line.

    So do the figures of faint tables. No more dots are near them, as they are in pictures.
    """
    found = []
    small = small[np.argsort(pieces.boxes[small, 0], kind="stable")]
    left, top, right, bottom = pieces.boxes[small].T
    taken = np.zeros(len(small), bool)
    for line in levels(segments):
        within = 0.65 * letter
        free = (top > line[0].middle - within) & (bottom < line[0].middle + within) & ~taken
        for run in line:
            free &= (left > run.right + letter) | (right < run.left - letter)
        row = np.flatnonzero(free)
        starts = np.flatnonzero(left[row][1:] - right[row][:-1] > _IN_PIECES * letter) + 1
        for group in np.split(row, starts):
            whole = _in_pieces(pieces, small[group], letter)
            if whole and goes_on(whole, line, letter) and _is_alone(whole, pieces, letter):
                taken[group] = True
                found.append(whole)
    return found


def _in_pieces(pieces: Components, members: Int[np.ndarray, " M"], letter: float) -> Segment | None:
    """Pieces as one run as high as a letter, if together they are."""
    if not 1 < len(members) <= _MAX_PIECES:
        return None
    run = segment_of(pieces, members)
    run.letter = run.small = run.tall = run.height
    run.middle, run.base = (run.top + run.bottom) / 2, run.bottom
    high = 0.8 * letter <= run.height <= 1.2 * letter
    return run if high and 0.3 * letter < run.width < 2.2 * letter else None


def rows_of_stars(
    segments: list[Segment], pieces: Components, small: Int[np.ndarray, " K"], letter: float
) -> list[Segment]:
    """Runs of a few stars or points, alike and as far from each other, alone between two lines."""
    least, most = (size * letter for size in _STAR)
    size = pieces.boxes[small][:, 2:] - pieces.boxes[small][:, :2]
    small = small[((size > least) & (size < most)).all(axis=1)]
    left, top, right, bottom = pieces.boxes[small].T
    middle = (top + bottom) / 2
    found = []
    for group in in_line(pieces.boxes[small], _BETWEEN_STARS * letter, letter):
        row = group[np.argsort(left[group])]
        gaps = left[row][1:] - right[row][:-1]
        if not 2 < len(row) <= _MAX_STARS or np.ptp(gaps) > 0.3 * letter or gaps.min() < 0:
            continue
        run = segment_of(pieces, small[row])
        beside = any(abs(s.middle - run.middle) < 0.8 * max(letter, s.letter) for s in segments)
        if np.ptp(middle[row]) < 0.2 * letter and not beside and _is_alone(run, pieces, letter):
            run.letter = run.small = run.tall = letter
            found.append(run)
    return found


def _is_alone(run: Segment, pieces: Components, letter: float) -> bool:
    """Whether hardly any ink is around a run, a letter's width beside it and half as far above."""
    left, top, right, bottom = pieces.boxes.T
    near = (right > run.left - letter) & (left < run.right + letter)
    near &= (bottom > run.top - letter / 2) & (top < run.bottom + letter / 2)
    return int(near.sum()) <= len(run.pieces) + _MAX_SPECKS
