"""Images with their text to strips that a reader learns from, cut as it cuts them.

    image + text -> cut_page -> strips -> read -> aligned with the text -> strip, text, places

What was read tells where a character stands; the text tells which one it is. A row is left out
where the two differ so much that one says nothing of the other.

Axes: H W pixels of a strip.
"""

import unicodedata
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from lightseek.blocks import cut_page
from lightseek.data.corpus import to_label
from lightseek.data.dataset import Pairs
from lightseek.data.lines import RealLine, write_lines
from lightseek.errors import DataError, UsageError, require
from lightseek.eval.metrics import fold
from lightseek.ocr import OCR
from lightseek.readings import StripText

MOST_WRONG = 0.25
"""Share of the characters of a strip that may be read wrongly for the others to tell the places."""
ROWS_AT_ONCE = 64
_HALF_SPACE_PX = 6.0
"""From the middle of the last character to the end of the text."""


class Placed(NamedTuple):
    """What stands on a strip, and where."""

    text: str
    places: Float[np.ndarray, "_ 2"]
    """Middle of every character and of the end, in pixels of the strip."""


@dataclass(frozen=True, slots=True)
class Alignment:
    """What became of a data set."""

    rows: int
    strips: int
    left_out: list[str]
    """The rows that gave no strip, each with the reason."""


def align_lines(
    pairs: Pairs, out: Path, ocr: OCR, on_rows: Callable[[int], object] = lambda number: None
) -> Alignment:
    """Write a folder of strips with text and places, for `RealLines`.

    Args:
        pairs: Images of a line or a few, with their text.
        out: Folder to make.
        ocr: A model that reads strips.
        on_rows: Called with the number of rows done so far.

    Raises:
        UsageError: If the folder is there already, or the model reads no strips.
        DataError: If a row cannot be read, or the folder not be written.
        MissingExtraError: If rapidfuzz is not installed.
    """
    if ocr.reads_views:
        name = ocr.model.config.name
        raise UsageError(f"{name} reads whole pages, not lines: name a model such as nano")
    require("rapidfuzz", extra="eval")
    # an interrupted run leaves strips without an index
    if out.exists() and not (out.is_dir() and {p.name for p in out.iterdir()} <= {"strips"}):
        raise UsageError(f"{out} is there already: name a folder that is not")
    (out / "strips").mkdir(parents=True, exist_ok=True)
    lines: list[RealLine] = []
    left_out: list[str] = []
    for start in range(0, len(pairs), ROWS_AT_ONCE):
        numbers = range(start, min(start + ROWS_AT_ONCE, len(pairs)))
        for row in _read_rows(pairs, numbers, ocr, left_out):
            try:
                placed = align(row.results, row.text, ocr.tokenizer.ids)
            except DataError as fault:
                left_out.append(f"{row.name}: {fault}")
                continue
            for strip, found in zip(row.strips, placed, strict=True):
                lines.append(_save(out, f"strips/{len(lines):06}.png", strip, found))
        on_rows(numbers.stop)
    write_lines(out, lines)
    return Alignment(len(pairs), len(lines), left_out)


class _Row(NamedTuple):
    """A row that was cut and read."""

    name: str
    text: str
    strips: list[UInt8[np.ndarray, "H _"]]
    results: list[StripText]


def _read_rows(pairs: Pairs, numbers: range, ocr: OCR, left_out: list[str]) -> Iterator[_Row]:
    """Cut some rows and read all their strips together."""
    cut = []
    for number in numbers:
        try:
            pair = pairs[number]
        except DataError as fault:
            left_out.append(str(fault))
            continue
        cut.append((pair, [s.image for block in cut_page(pair.image) for s in block.strips]))
    results = iter(ocr.read_strips([strip for _, strips in cut for strip in strips]))
    for pair, strips in cut:
        own = [(strip, result) for strip in strips if (result := next(results)).text]
        yield _Row(pair.name, pair.text, [s for s, _ in own], [r for _, r in own])


def align(results: Sequence[StripText], text: str, symbols: Container[str]) -> list[Placed]:
    """Part a text over the strips that it stands on, and say where its characters stand.

    Where text and reading differ only in the form of a quote or a dash, the form that was read
    is kept: texts seldom tell which one is printed.

    Args:
        results: What was read of each strip, in order.
        text: What stands on all of them.
        symbols: What a reader can write.

    Returns:
        One a strip.

    Raises:
        DataError: If that cannot be said, with the reason.
    """
    truth = " ".join(to_label(unicodedata.normalize("NFC", text)).split())
    strange = sorted({character for character in truth if character not in symbols})
    if strange:
        raise DataError(f"the model has no symbol for {' '.join(strange)}")
    if not results:
        raise DataError("nothing was read on it")
    read = " ".join(result.text for result in results)
    partners = _partners(read, truth)
    written = "".join(
        read[i] if i is not None and _plain(read[i]) == _plain(true) else true
        for true, i in zip(truth, partners, strict=True)
    )
    placed, start, first = [], 0, 0
    for result in results:
        last = first + len(result.text)
        end = len(truth) if last == len(read) else _border(partners, last, truth)
        own = [None if i is None else i - first for i in partners[start:end]]
        if _distance(result.text, truth[start:end]) > MOST_WRONG * max(1, end - start):
            raise DataError(f"{result.text!r} was read, too far from {truth[start:end]!r}")
        placed.append(Placed(written[start:end], _places(own, result)))
        start, first = end + 1, last + 1
    return placed


def _partners(read: str, truth: str) -> list[int | None]:
    """For every character of the truth, which of those read stands for it."""
    partners: list[int | None] = [None] * len(truth)
    for step in _levenshtein().opcodes(_plain(read), _plain(truth)):
        if step.tag in ("equal", "replace"):
            partners[step.dest_start : step.dest_end] = range(step.src_start, step.src_end)
    return partners


def _border(partners: Sequence[int | None], space: int, truth: str) -> int:
    """The space of the truth at which one strip ends and the next begins."""
    if space not in partners or truth[partners.index(space)] != " ":
        raise DataError(f"a strip ends within a word of {truth!r}")
    return partners.index(space)


def _places(partners: Sequence[int | None], result: StripText) -> Float[np.ndarray, "_ 2"]:
    """Where characters stand of which some were not read: these evenly between their neighbours."""
    known = [k for k, i in enumerate(partners) if i is not None]
    at = result.centres[[i for i in partners if i is not None]]
    every = np.arange(len(partners))
    places = np.stack([np.interp(every, known, at[:, axis]) for axis in (0, 1)], axis=1)
    end = places[-1:] + np.array([_HALF_SPACE_PX, 0])
    return np.concatenate([places, end])


def _plain(text: str) -> str:
    """The text with straight quotes and plain dashes, character for character."""
    return "".join(character if character == " " else fold(character) for character in text)


def _distance(read: str, truth: str) -> int:
    """Characters in which both differ, the form of quotes and dashes aside."""
    distance: int = _levenshtein().distance(_plain(read), _plain(truth))
    return distance


def _levenshtein() -> ModuleType:
    return require("rapidfuzz.distance.Levenshtein", extra="eval")


def _save(out: Path, name: str, strip: UInt8[np.ndarray, "H W"], placed: Placed) -> RealLine:
    if not cv2.imwrite(str(out / name), strip):
        raise DataError(f"{out / name} cannot be written: is the disk full?")
    places = [(round(float(x), 1), round(float(y), 1)) for x, y in placed.places]
    return RealLine(name, strip.shape[1], placed.text, places)
