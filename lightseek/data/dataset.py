"""Data sets of one's own: images and the text on them, from a folder, JSON lines or tar shards.

    load_pairs ──> Pairs: rows by number, nothing read but where they lie
    Pairs[i]   ──> Pair: the image upright in RGB, and its text

Rows are found at once and read when asked for, so that a data set may be far larger than memory.
A row that cannot be used is still a row: `find_faults` names it, and reading it raises. Knows
nothing of models, batches or tokens.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64
from PIL import Image

from lightseek.data.shards import is_remote, name_shards, read_members
from lightseek.errors import DataError, PageError
from lightseek.pages import UnreadablePage, open_pages

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
TEXT_SUFFIX = ".txt"
_HALF = re.compile("[\ud800-\udfff]")
_STRETCHES, _STRETCH_BYTES = 32, 512
"""What tells images of one size apart: a line of print crosses some of them."""
MAX_TEXT_BYTES = 1_000_000
"""Of one row: no page holds as much."""


class Span(NamedTuple):
    """Bytes of a file."""

    path: Path
    start: int
    size: int

    @property
    def place(self) -> tuple[Path, int]:
        """Where they begin, whatever the file was called."""
        return self.path.resolve(), self.start

    def read(self) -> bytes:
        """The bytes; fewer if the file was cut since it was measured."""
        with self.path.open("rb") as file:
            file.seek(self.start)
            return file.read(self.size)

    def sample(self) -> bytes:
        """How many bytes they are, and these, or stretches from the first to the last."""
        parts = [self]
        if self.size > _STRETCHES * _STRETCH_BYTES:
            last = self.size - _STRETCH_BYTES
            starts = (self.start + last * i // (_STRETCHES - 1) for i in range(_STRETCHES))
            parts = [Span(self.path, start, _STRETCH_BYTES) for start in starts]
        return b"%d " % self.size + b"".join(part.read() for part in parts)


class Row(NamedTuple):
    """Where a row lies."""

    name: str
    """What messages call it."""
    image: Span | None
    text: Span | None
    fault: str | None = None
    """Why it is known to be of no use before it is read, and how to cure it."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One row."""

    name: str
    image: Image.Image
    """Upright, mode RGB."""
    text: str


class Pairs:
    """The rows of a data set; made by `load_pairs`.

    Args:
        rows: Where they lie.
        decode: The text of the bytes that hold it.
    """

    def __init__(self, rows: Sequence[Row], decode: Callable[[bytes], str]) -> None:
        self._rows, self._decode = rows, decode

    def __len__(self) -> int:
        """Number of rows, those of no use included."""
        return len(self._rows)

    def __getitem__(self, index: int) -> Pair:
        """Read a row.

        Raises:
            DataError: If it cannot be used, with its name, the cause and the cure.
        """
        row = self._rows[index]
        return Pair(row.name, _image(row), self.text(index))

    def name(self, index: int) -> str:
        """What messages call a row."""
        return self._rows[index].name

    def shared_with(self, other: "Pairs") -> list[str]:
        """Names of the rows whose image is one of another data set too."""
        theirs = {row.image.place for row in other._rows if row.image is not None}
        return [row.name for row in self._rows if row.image and row.image.place in theirs]

    def text(self, index: int) -> str:
        """The text of a row, without its image.

        Raises:
            DataError: If there is none.
        """
        row = self._rows[index]
        if row.fault is not None or row.text is None:
            raise DataError(f"{row.name}: {row.fault}")
        if row.text.size > MAX_TEXT_BYTES:
            most = f"the limit of {MAX_TEXT_BYTES:,}"
            raise DataError(f"{row.name}: {row.text.size:,} bytes of text are above {most}: cut it")
        try:
            text = self._decode(_bytes(row.name, row.text))
        except UnicodeDecodeError as error:
            raise DataError(f"{row.name}: its text is not UTF-8: save it as UTF-8") from error
        if half := _HALF.search(text):
            raise DataError(
                f"{row.name}: its text holds half a character ({half[0]!a}), as of JSON that was "
                "cut: write the whole one, or remove it"
            )
        if not text.strip():
            raise DataError(f"{row.name}: its text is empty: write what stands on it, or remove it")
        return text

    @cached_property
    def lengths(self) -> Int64[np.ndarray, " n"]:
        """Bytes that hold the text of each row: known without reading any."""
        return np.array([row.text.size if row.text else 0 for row in self._rows], np.int64)

    @cached_property
    def fingerprint(self) -> str:
        """Changes with names, order, sizes and contents of rows; not with the folder.

        Of large files stretches count: all of a million images are not read.
        """
        digest = hashlib.sha256()
        for row in self._rows:
            digest.update(f"{Path(row.name).name}\0".encode(errors="replace"))
            for span in (row.image, row.text):
                digest.update(b"none" if span is None else span.sample())
        return digest.hexdigest()


def load_pairs(source: str | Path, *, downloads: Path | None = None) -> Pairs:
    """Find the rows of a data set.

    Args:
        source: One of

            - a folder: images with their text beside them, `page.png` and `page.txt`, in it and in
              all its sub-folders; or tar shards;
            - a file of JSON lines, `{"image": "scans/1.png", "text": "..."}`, with paths from its
              folder;
            - tar shards in WebDataset's form, `1.png` and `1.txt` one after the other: a path or
              URL such as `https://example.org/pages-{000..019}.tar`, or `pipe:` and a command.
        downloads: Where remote shards are kept, `~/.cache/lightseek/shards` if not said.

    Raises:
        DataError: If there is no such source, or it holds no rows.
    """
    path = Path(source)
    name = str(source)
    if path.is_dir():
        shards = sorted(path.glob("*.tar"))
        if shards and (image := next(_rows_of_folder(path), None)):
            raise DataError(
                f"{name} holds images, such as {Path(image.name).name}, and shards, such as "
                f"{shards[0].name}: part them, or name the shards"
            )
        rows = _rows_of_shards(shards) if shards else _rows_of_folder(path)
    elif name.endswith((".tar", ".tgz", ".tar.gz")) or is_remote(name):
        rows = _rows_of_shards(name_shards(name, downloads))
    elif path.suffix in (".jsonl", ".ndjson"):
        rows = _rows_of_lines(path)
    else:
        what = "holds no data set" if path.exists() else "does not exist"
        raise DataError(f"{name} {what}: give a folder, a file .jsonl or shards .tar")
    found = list(rows)
    if not found:
        raise DataError(f"{name} is empty: it has no image, line or shard member to make rows of")
    return Pairs(found, _text_of_line if path.suffix in (".jsonl", ".ndjson") else _plain)


def find_faults(
    pairs: Pairs, on_row: Callable[[int], object] = lambda number: None
) -> Iterator[str]:
    """Read all rows, and say in a line what is wrong with each that cannot be used.

    Args:
        pairs: The data set.
        on_row: Called with the number of rows read so far.
    """
    for index in range(len(pairs)):
        try:
            pairs[index]
        except DataError as fault:
            yield str(fault)
        on_row(index + 1)


def _rows_of_folder(folder: Path) -> Iterator[Row]:
    """A row for every image; texts without one are passed over."""
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in IMAGE_SUFFIXES or not path.is_file():
            continue
        text = path.with_suffix(TEXT_SUFFIX)
        fault = None if text.is_file() else f"it has no text: put {text.name} beside it"
        yield Row(str(path), _whole(path), _whole(text), fault)


def _rows_of_lines(path: Path) -> Iterator[Row]:
    start = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    span = Span(path, start, len(line))
                    yield _row_of_line(f"{path}:{number}", line, span)
                start += len(line)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def _row_of_line(name: str, line: bytes, span: Span) -> Row:
    try:
        said: Any = json.loads(line)
    except (ValueError, RecursionError):
        return Row(name, None, None, "the line is not JSON: end every row with one line break")
    image, text = (said.get(key) for key in ("image", "text")) if isinstance(said, dict) else (0, 0)
    if not isinstance(image, str):
        return Row(name, None, None, 'it names no image: write {"image": "1.png", "text": "..."}')
    if not isinstance(text, str):
        return Row(name, None, None, 'it has no text: write {"image": "1.png", "text": "..."}')
    file = span.path.parent / image
    try:
        whole = _whole(file)
    except OSError as error:  # such as the bytes of an image in place of its name
        return Row(name, None, span, f"{image[:40]} is no path: {error.strerror}")
    fault = None if whole else f"{image} does not exist: correct its path"
    return Row(name, whole, span, fault)


def _rows_of_shards(shards: Sequence[Path]) -> Iterator[Row]:
    """A row for every image of each shard, and one for a shard that is broken."""
    for shard in shards:
        images: dict[str, Span] = {}
        texts: dict[str, Span] = {}
        members = read_members(shard)
        for member in members.files:
            span = Span(shard, member.start, member.size)
            if member.suffix == TEXT_SUFFIX:
                if member.key in texts:
                    twice = "a text of this key was there before: give each its own"
                    yield Row(f"{shard}: {member.key}", None, None, twice)
                texts[member.key] = span
            elif member.suffix in IMAGE_SUFFIXES:
                if member.key in images:
                    twice = "an image of this key was there before: give each its own"
                    yield Row(f"{shard}: {member.key}", None, None, twice)
                images[member.key] = span
            elif member.suffix.endswith(IMAGE_SUFFIXES):
                dots = "its key ends at the first dot of its name: leave all but the last out"
                yield Row(f"{shard}: {member.key}{member.suffix}", None, None, dots)
        for key, image in images.items():
            fault = None if key in texts else f"it has no text: put {key}{TEXT_SUFFIX} behind it"
            yield Row(f"{shard}: {key}", image, texts.get(key), fault)
        if members.fault is not None:
            yield Row(str(shard), None, None, members.fault)


def _whole(path: Path) -> Span | None:
    return Span(path, 0, path.stat().st_size) if path.is_file() else None


def _plain(data: bytes) -> str:
    return _printed(data.decode("utf-8-sig"))


def _text_of_line(line: bytes) -> str:
    return _printed(json.loads(line)["text"])


def _printed(text: str) -> str:
    """With the line ends that a model writes, whatever system the text is of."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _bytes(name: str, span: Span) -> bytes:
    try:
        data = span.read()
    except OSError as error:
        raise DataError(f"{name}: {span.path} cannot be read: {error.strerror}") from error
    if len(data) != span.size:
        raise DataError(f"{name}: {span.path} has changed since it was opened: start again")
    return data


def _image(row: Row) -> Image.Image:
    if row.fault is not None or row.image is None:
        raise DataError(f"{row.name}: {row.fault}")
    try:
        pages = open_pages(_bytes(row.name, row.image))
        [page] = pages if len(pages) == 1 else [None]
    except PageError as error:
        raise DataError(f"{row.name}: its image {_without_source(error)}") from error
    if page is None:
        raise DataError(f"{row.name}: its image has {len(pages)} pages: make a row of each")
    if isinstance(page, UnreadablePage):
        raise DataError(f"{row.name}: {page.reason}")
    return page.image


def _without_source(error: PageError) -> str:
    return str(error).removeprefix("<bytes> ")
