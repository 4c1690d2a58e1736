"""Drop capitals: the first letter of a paragraph, as high as some of its lines.

Knows nothing of columns or strips.

Axes: N pieces of ink.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool

from lightseek.blocks.sheet import Components
from lightseek.blocks.sieve import Segment

_HEIGHT = 1.6, 7.0
"""Of a drop capital, at least over the capitals beside it and at most, in heights of a letter."""
_SHAPE = 0.25, 1.4
"""Its width over its height, likewise."""
_FILLED = 0.12, 0.75
"""Share of its box that is inked, likewise."""
_LONG, _NEAR = 4.0, 1.5
"""Width of the lines beside it, at least, and the gap before them, at most, in heights of a
letter."""
_OFF = 0.5
"""How far it may end from the top of its first line and the foot of its last, likewise; and from
the one line that it stands on."""


def with_initials(segments: list[Segment], pieces: Components, letter: float) -> list[Segment]:
    """The runs, of which those that a drop capital stands before know its piece.

    It reaches from the top of a line to the foot of another, both of which begin at its right; or
    it stands on the line that goes on from it, and is higher.

    Args:
        segments: All runs of text; a drop capital may be a run, or part of one.
        pieces: Their ink, and that of pictures.
        letter: Typical height of a letter.
    """
    lines = np.array([[s.left, s.middle] for s in segments if s.width > _LONG * letter])
    for i in np.flatnonzero(_like_initials(pieces, letter)).tolist():
        left, top, right, bottom = pieces.boxes[i].tolist()
        starts, middles = lines.reshape(-1, 2).T
        near = (starts == left) | ((starts >= right) & (starts < right + _NEAR * letter))
        if not (near & (middles > top) & (middles < bottom)).any():
            continue  # as nearly always: the rest looks at every run
        others = [line for s in segments if (line := _without(i, s, pieces)) is not None]
        beside = [
            s
            for s in others
            if s.width > _LONG * letter
            and bottom - top > _HEIGHT[0] * s.tall
            and 0 <= s.left - right < _NEAR * letter
            and top < s.middle < bottom
        ]
        if not beside:
            continue
        first, last = (how(beside, key=lambda s: s.middle) for how in (min, max))
        off = max(abs(first.base - first.tall - top), abs(last.base - bottom))
        is_raised = first is last and first.left - right < _OFF * letter
        if is_raised:
            off = abs(first.base - bottom)
        if off < _OFF * letter and (is_raised or first is not last):
            first.initial = i
            segments = others
    return segments


def _like_initials(pieces: Components, letter: float) -> Bool[np.ndarray, " N"]:
    size, shape = pieces.height / letter, pieces.width / pieces.height
    filled = pieces.area / (pieces.width * pieces.height)
    measured = (size, _HEIGHT), (shape, _SHAPE), (filled, _FILLED)
    return np.all([(low < of) & (of < high) for of, (low, high) in measured], axis=0)


def _without(piece: int, segment: Segment, pieces: Components) -> Segment | None:
    """A run without one of its pieces; none where it has no other."""
    if piece not in segment.pieces:
        return segment
    rest = [i for i in segment.pieces if i != piece]
    if not rest:
        return None
    boxes = pieces.boxes[rest]
    left, top = boxes[:, :2].min(axis=0).tolist()
    right, bottom = boxes[:, 2:].max(axis=0).tolist()
    return replace(segment, left=left, top=top, right=right, bottom=bottom, pieces=rest)
