"""Files written beside their place, which they then take: a killed run leaves no half of one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex


@contextmanager
def written_whole(*paths: Path, shared: bool = False) -> Iterator[tuple[Path, ...]]:
    """Say where to write some files, each of which then takes its place; in an error, none does.

    Args:
        paths: Their places.
        shared: Whether another process may write the same files: what one leaves that is killed
            stays, where else the next takes its place.

    Raises:
        OSError: If a file was not written, or cannot be moved.
    """
    beside = tuple(
        path.with_name(f".{token_hex(8)}.unfinished" if shared else f"{path.name}.unfinished")
        for path in paths
    )
    try:
        yield beside
        for file, path in zip(beside, paths, strict=True):
            file.replace(path)
    finally:
        for file in beside:
            file.unlink(missing_ok=True)
