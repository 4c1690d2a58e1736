"""Files written beside their place, which they then take: a killed run leaves no half of one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex


@contextmanager
def written_whole(*paths: Path) -> Iterator[tuple[Path, ...]]:
    """Say where to write some files, each of which then takes its place; in an error, none does.

    Their names are of no other process, should another write the same files.

    Raises:
        OSError: If a file was not written, or cannot be moved.
    """
    beside = tuple(path.with_name(f".{token_hex(8)}.unfinished") for path in paths)
    try:
        yield beside
        for file, path in zip(beside, paths, strict=True):
            file.replace(path)
    finally:
        for file in beside:
            file.unlink(missing_ok=True)
