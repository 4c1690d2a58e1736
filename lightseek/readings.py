"""What was read on a strip, how sure that is, and what to do where it cannot be right.

A reader that loses its place writes a word twice, leaves one out, or says the same again and
again: its places tell. Such a strip is cut in two and read once more; the surer reading is kept.
What is unclear is shown again in several views, narrower and wider, a little higher and lower,
which choose each character together. Where a strip shows no letters at all, no character is likely,
or all are one mark; what was read there is dropped. Knows nothing of models: what reads is handed
in.

Axes: H rows of a strip, W its columns, N characters.
"""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from lightseek.blocks.strips import MARGIN, STRIP_WIDTHS

BACK_PX = 19
"""Letters never stand this far left of the one before them: the reader went back."""
STILL_CHARACTERS, STILL_PX = 8, 6
"""So many characters in a row do not fit into so few pixels: the reader stands still."""
SKIPPED_PX = 16
"""Inked columns between two characters, what they cover aside: the reader went too far."""
_HALF_CHARACTER = 11
_RULE = re.compile(r"([^\w+*#])\1{7,}|_{8,}")
"""One mark again and again is drawn, unless it is one that only ever is typed."""
_LONG_WORD = re.compile(r"[^\W\d_]{40,}")
_FEW_LETTERS = 10
"""Of which a word so long is no word, but what a rule of worn signs looks like."""
_LOOP = re.compile(r"(.{2,40}?)\1{3,}")

LEGIBLE = 0.4
"""Mean probability of characters below which a strip shows no text."""
LEGIBLE_MARKS = 0.75
"""The same where mostly marks were read: rules look like dashes, a row of dots like points."""
LIKELY_MARKS, LIKELY_SIGNS = 0.5, 0.25
"""Confidence of a word without letter or digit below which it is a speck or a piece of a rule: at
an end of its line, and between words, where a minus may be as short as a speck."""

LIKELY_SPECKS = 0.9
"""The same of a point at the beginning of its line, where next to none is printed."""
_SPECKS = frozenset(".,·'")

UNSURE = 0.985
"""Mean probability of characters below which several views of a strip are read together."""
VIEWS = (1.0, 0), (0.85, 1), (1.2, -1), (1.35, 1)
"""What these are: their widths, in that of the strip, and how many pixels lower they are; places
are told on the first. What misleads the reader at one place of its grid does not at all others."""
USUAL_PITCH_PX = 12
"""From one letter to the next, in most print, on a strip."""
_MOST_UNUSUAL, _LEAST_UNUSUAL = 2.2, 1.3
"""How many times as wide a strip is made at most for letters far narrower than that, and at least:
letters of tills are printed twice as high, or so dense that they touch."""
_SMOOTH_PX = 7


@dataclass(frozen=True, slots=True)
class StripText:
    """What a strip says."""

    text: str
    confidences: Float[np.ndarray, " n"]
    """Probability of each character."""
    centres: Float[np.ndarray, "n 2"]
    """Where each character stands on the strip, in pixels from its top left corner."""
    finished: bool
    """Whether the reader came to the end."""

    @property
    def probability(self) -> float:
        """Geometric mean of the probabilities of the characters; 1 where there are none."""
        return float(np.exp(_log(self.confidences).mean())) if self.text else 1.0

    def word_confidences(self) -> list[float]:
        """Probability that each word is right, and begins and ends where it should.

        The product over its characters and the spaces around it.
        """
        logs = _log(self.confidences)
        spans = [match.span() for match in re.finditer(r"\S+", self.text)]
        return [float(np.exp(logs[max(0, start - 1) : end + 1].sum())) for start, end in spans]


Pixels = UInt8[np.ndarray, "H _"]
"""A strip, in grey."""


@runtime_checkable
class Read(Protocol):
    """What reads strips."""

    def __call__(self, strips: Sequence[Pixels], /, votes: int = 1) -> Sequence[StripText]:
        """One result a strip, or one for so many in a row that show one line."""
        ...


def read_carefully(strips: Sequence[Pixels], read: Read) -> list[StripText]:
    """Read strips, those again that are unclear or lost their place, and keep what can be text.

    Args:
        strips: Grey images of one height.
        read: Reads strips.

    Returns:
        One result a strip, in order; no text for a strip that shows none.
    """
    results = list(read(strips))
    _read_halves(strips, results, read)
    _vote(strips, results, read)
    return [result if is_legible(result) else NOTHING for result in results]


def _read_halves(strips: Sequence[Pixels], results: list[StripText], read: Read) -> None:
    """Put what both halves say in place of a reading that lost its place, if it is surer."""
    lost = [
        (i, find_cut(strip))
        for i, (strip, result) in enumerate(zip(strips, results, strict=True))
        if is_legible(result) and has_lost_place(strip, result)
    ]
    images = [half for i, cut in lost for half in halve(strips[i], cut)]
    again = iter(read(images) if images else ())
    for i, cut in lost:
        left, right = next(again), next(again)
        # nothing to doubt in nothing: what has no text would always be the surest
        if left.text.strip() and right.text.strip():
            results[i] = max(results[i], join(left, right, cut), key=_worth)


def _worth(result: StripText) -> tuple[bool, float]:
    """A reader that goes round in circles is sure of what it repeats, and comes to no end."""
    return result.finished, result.probability


def _vote(strips: Sequence[Pixels], results: list[StripText], read: Read) -> None:
    """Put what several views say together in place of what is unclear.

    Where they agree on nothing, there is no text: `is_legible` is asked after this.
    """
    unclear = [i for i, r in enumerate(results) if is_legible(r) and r.probability < UNSURE]
    views = [
        [_view(strips[i], width * _fitting_share(results[i]), down) for width, down in VIEWS]
        for i in unclear
    ]
    images = [image for line in views for image, _ in line]
    voted = read(images, votes=len(VIEWS)) if images else ()
    for i, line, result in zip(unclear, views, voted, strict=True):
        image, times = line[0]
        if result.finished and result.text.strip() and not has_lost_place(image, result):
            places = result.centres / np.array([times, 1], np.float32)
            results[i] = replace(result, centres=places)


def _view(strip: Pixels, share: float, down: int) -> tuple[Pixels, float]:
    """A strip so many times as wide, and so many pixels lower.

    Also says how many times as wide it became.
    """
    image, times = stretch(strip, share)
    moved = np.full_like(image, np.median(image))
    height = len(image)
    moved[max(0, down) : height + down] = image[max(0, -down) : height - down]
    return moved, times


def has_lost_place(strip: Pixels, result: StripText) -> bool:
    """Whether the places of the characters cannot be those of what stands there."""
    across = result.centres[:, 0]
    steps = np.diff(across)
    if len(steps) == 0:
        return False
    stands = across[STILL_CHARACTERS:] - across[:-STILL_CHARACTERS] < STILL_PX
    return bool(
        steps.min() < -BACK_PX
        or stands.any()
        or _skipped_px(strip, across) > SKIPPED_PX
        or any(any(map(str.isalnum, loop[1])) for loop in _LOOP.finditer(result.text))
    )


def _skipped_px(strip: Pixels, across: Float[np.ndarray, " N"]) -> int:
    """Inked columns in the widest hole of what was read."""
    if np.diff(across).max() < 2 * _HALF_CHARACTER + SKIPPED_PX:
        return 0
    ink = _column_ink(strip)
    first, last = np.clip((across.min(), across.max()), 0, len(ink) - 1).astype(int)
    inked = ink > 0.5 * np.median(ink[first : last + 1])
    holes = (
        inked[max(0, int(left) + _HALF_CHARACTER) : max(0, int(right) - _HALF_CHARACTER)].sum()
        for left, right in itertools.pairwise(across)
    )
    return int(max(holes))


def _column_ink(strip: Pixels) -> Float[np.ndarray, " W"]:
    """How far each column, with its neighbours, is from the colour of the paper."""
    ink = np.abs(strip - np.median(strip)).mean(axis=0)
    padded = np.pad(ink, _SMOOTH_PX // 2, mode="edge")
    return np.convolve(padded, np.full(_SMOOTH_PX, 1 / _SMOOTH_PX), "valid")


def find_cut(strip: Pixels) -> int:
    """The column with the least ink in the middle of the line, which is a gap if there is one."""
    ink = _column_ink(strip)
    inked = np.flatnonzero(ink > 0.25 * ink.max())
    if len(inked) == 0:
        return strip.shape[1] // 2
    left, right = inked[0], inked[-1] + 1
    start, end = left + int(0.3 * (right - left)), left + int(0.7 * (right - left)) + 1
    # of several columns of a gap, the one in its middle
    least = np.flatnonzero(ink[start:end] <= ink[start:end].min() + 1)
    return int(start + least[len(least) // 2])


def halve(strip: Pixels, cut: int) -> tuple[Pixels, Pixels]:
    """Both sides of a column, each filled up on its right with the colour of the paper."""
    return _fill_up(strip[:, :cut], strip), _fill_up(strip[:, cut:], strip)


def _fill_up(piece: Pixels, whole: Pixels) -> Pixels:
    height, width = piece.shape
    across = next(w for w in STRIP_WIDTHS if w >= width)
    filled = np.full((height, across), np.median(whole), np.uint8)
    filled[:, :width] = piece
    return filled


def stretch(strip: Pixels, share: float) -> tuple[Pixels, float]:
    """A strip, what fills it up aside, so many times as wide, or as wide as a strip may be.

    Also says how many times as wide it became.
    """
    inked = np.flatnonzero(_column_ink(strip) > 0)
    piece = strip[:, : min(strip.shape[1], inked[-1] + MARGIN)] if len(inked) else strip
    height, width = piece.shape
    across = min(max(1, round(width * share)), STRIP_WIDTHS[-1])
    how = cv2.INTER_AREA if across < width else cv2.INTER_CUBIC
    resized = cv2.resize(piece, (across, height), interpolation=how)
    return _fill_up(resized, strip), across / width


def _fitting_share(result: StripText) -> float:
    """How many times as wide letters must be that stand far closer than most; 1 for others."""
    across = result.centres[:, 0]
    if len(across) < _FEW_LETTERS:
        return 1.0
    pitch = max(1.0, float(across[-1] - across[0]) / (len(across) - 1))
    share = min(USUAL_PITCH_PX / pitch, _MOST_UNUSUAL)
    return share if share > _LEAST_UNUSUAL else 1.0


def join(left: StripText, right: StripText, cut: int) -> StripText:
    """What both halves say, a space between them, at its places on the whole strip."""
    left, right = _trim(left), _trim(right)
    space = " " if left.text and right.text else ""
    middle = np.array([[cut, left.centres[-1, 1]]] if space else np.empty((0, 2)), np.float32)
    moved = right.centres + np.array([cut, 0], np.float32)
    return StripText(
        left.text + space + right.text,
        np.concatenate([left.confidences, np.ones(len(space), np.float32), right.confidences]),
        np.concatenate([left.centres, middle, moved]),
        left.finished and right.finished,
    )


def _trim(result: StripText) -> StripText:
    """Without white space at both ends."""
    text = result.text.strip()
    start = result.text.find(text)
    kept = slice(start, start + len(text))
    return StripText(text, result.confidences[kept], result.centres[kept], result.finished)


def is_legible(result: StripText) -> bool:
    """Whether a strip shows text at all, and no rule, halftone or dirt."""
    text = "".join(result.text.split())
    letters = sum(map(str.isalnum, text))
    least = LEGIBLE if letters >= len(text) - letters else LEGIBLE_MARKS
    endless = any(len(set(word)) <= _FEW_LETTERS for word in _LONG_WORD.findall(result.text))
    return result.probability >= least and not endless and not _RULE.fullmatch(text)


def is_likely(word: str, confidence: float, *, before: bool, behind: bool) -> bool:
    """Whether a word is one, and no speck or piece of a rule that was read as a mark.

    Args:
        word: Without spaces.
        confidence: That it is right.
        before: Whether a word stands before it.
        behind: Whether one stands behind it.
    """
    least = LIKELY_SIGNS if before and behind else LIKELY_MARKS
    if not before and word in _SPECKS:
        least = LIKELY_SPECKS
    return confidence >= least or any(map(str.isalnum, word))


def _log(probabilities: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    return np.log(np.maximum(probabilities, 1e-9))


NOTHING = StripText("", np.empty(0, np.float32), np.empty((0, 2), np.float32), finished=True)
