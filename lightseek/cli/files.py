"""Which files a command reads, and where what it makes of them goes."""

import os
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import click

from lightseek.errors import UsageError
from lightseek.whole import written_whole

_UNREAD = frozenset((".avif", ".djvu", ".heic", ".heif", ".jxl", ".svg"))
"""What may show a page and is not read."""


class Named(NamedTuple):
    """A file, and what its result is called: its path within the folder that was given."""

    file: str
    name: Path


def as_shard(context: object, option: object, value: str | None) -> tuple[int, int] | None:
    """Of what is written as `2/8`, the number of the part, from 1, and of all parts."""
    if value is None:
        return None
    number, slash, total = value.partition("/")
    if slash and number.isdecimal() and total.isdecimal() and 1 <= int(number) <= int(total):
        return int(number), int(total)
    raise UsageError(f"the shard is {value!r}: write K/N, such as 2/8 for the second of eight")


def find_files(given: Sequence[str]) -> list[Named]:
    """The files of a call; of a folder, the images and PDFs in it and in all of its sub-folders.

    Args:
        given: Files and folders, `-` for standard input.

    Raises:
        UsageError: If a folder holds nothing that can be read.
    """
    return [named for name in given for named in _files_of(name)]


def _files_of(name: str) -> Iterator[Named]:
    path = Path(name)
    if not name:
        raise UsageError("a file without a name: is a variable of the shell empty?")
    if name == "-":
        yield Named(name, Path("stdin"))
    elif path.is_dir():
        for file in _pages_in(path):
            yield Named(str(file), file.relative_to(path))
    else:
        yield Named(name, Path(path.name))


def _pages_in(folder: Path) -> list[Path]:
    from lightseek.pages import SUFFIX

    found = list(_walk(folder))
    files = sorted(path for path in found if SUFFIX.fullmatch(path.suffix))
    if others := [path.name for path in found if path.suffix.lower() in _UNREAD]:
        told = f"{len(others):,} passed over, such as {min(others)}: save as PNG, JPEG or PDF"
        click.echo(f"{folder}: {told}", err=True)
    if not files:
        raise UsageError(f"{folder} holds no images and no PDFs: name files, or another folder")
    return files


def _walk(folder: Path) -> Iterator[Path]:
    """Files of a folder and of all in it, links followed, but for what is hidden."""

    def tell(error: OSError) -> None:
        click.echo(f"{error.filename} is passed over: {error.strerror}", err=True)

    seen: set[Path] = set()
    for parent, inner, names in os.walk(folder, onerror=tell, followlinks=True):
        real = Path(parent).resolve()
        if real in seen:  # a link led back
            inner.clear()
            continue
        seen.add(real)
        # a file is called by its own folder rather than by a link to that
        inner[:] = sorted(
            (name for name in inner if name[0] != "."),
            key=lambda name: (Path(parent, name).is_symlink(), name),
        )
        # ._scan.png is what a Mac puts beside scan.png
        found = (Path(parent, name) for name in names if name[0] != ".")
        # a link that leads nowhere is told of when it is read; pipes are no pages
        yield from (path for path in found if path.is_symlink() or path.is_file())


def is_of_shard(named: Named, shard: tuple[int, int]) -> bool:
    """Whether a file belongs to a part: by its name, for no two machines list files alike."""
    number, total = shard
    return zlib.crc32(named.name.as_posix().encode(errors="surrogateescape")) % total == number - 1


def output_paths(files: Sequence[Named], folder: Path, suffix: str) -> list[Path]:
    """Where the result of each file goes.

    Files of one stem keep their suffix (`a.png.md`, `a.pdf.md`), so that none is overwritten.

    Raises:
        UsageError: If two files have the same name, or the folder cannot be made.
    """
    names = [name for _, name in files]
    times = Counter(path for name in names for path in {name, name.with_suffix("")})
    chosen = [stem if times[stem := name.with_suffix("")] == 1 else name for name in names]
    if twice := sorted(str(name) for name, count in Counter(chosen).items() if count > 1):
        raise UsageError(f"{twice[0]} is given twice: read files of one name into folders apart")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be made: {error.strerror}") from error
    return [folder / f"{name}{suffix}" for name in chosen]


def figure_paths(files: Sequence[Named], folder: Path) -> list[Path]:
    """Where each file's figures go, without page, number and suffix.

    Raises:
        UsageError: If standard input is read, which flows only once, and as for `output_paths`.
    """
    if any(file == "-" for file, _ in files):
        raise UsageError("figures are cut out of files: save what comes from standard input first")
    return output_paths(files, folder, "")


def write_whole(path: Path, text: str) -> None:
    """Write a file whole, or not at all.

    Raises:
        OSError: If it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path, shared=True) as (file,):
        file.write_text(text, encoding="utf-8")
