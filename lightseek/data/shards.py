"""Tar shards: where they are, and where in them each file lies, so that any can be read at once.

Remote shards are fetched once, by the webdataset library. Knows nothing of images and text.
"""

import hashlib
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from lightseek.errors import DataError, require

_SCHEMES = ("http://", "https://", "pipe:")
_CUT = "the shard is cut off or damaged after {} files: get it again"


class Member(NamedTuple):
    """A file in a shard."""

    key: str
    """Its path up to the first dot: what files of one row share."""
    suffix: str
    """The rest, in lower case."""
    start: int
    """Where its bytes begin in the shard."""
    size: int


class Members(NamedTuple):
    """What a shard holds, as far as it can be read."""

    files: Sequence[Member]
    fault: str | None
    """Why that is not all of it, and how to cure it."""


def is_remote(name: str) -> bool:
    """Whether shards of this name must be fetched."""
    return name.startswith(_SCHEMES)


def name_shards(name: str, downloads: Path | None = None) -> list[Path]:
    """The shards of a name such as `pages-{000..019}.tar`, on this machine.

    Args:
        name: A path or a URL; braces stand for several.
        downloads: Where what is remote is kept; what is there is not fetched again.

    Raises:
        DataError: If one is missing or cannot be fetched.
        MissingExtraError: If webdataset is needed and not installed.
    """
    names = [name]
    if "{" in name and not name.startswith("pipe:"):
        names = require("webdataset.shardlists", extra="train").expand_urls(name)
    if is_remote(name):
        return [_fetch(url, downloads or _default_downloads()) for url in names]
    missing = [path for path in names if not Path(path).is_file()]
    if missing:
        raise DataError(f"there is no shard {missing[0]}: correct the name")
    return [Path(path) for path in names]


def read_members(shard: Path) -> Members:
    """Find the files of a shard by its headers.

    Raises:
        DataError: If it cannot be opened.
    """
    files: list[Member] = []
    try:
        size = shard.stat().st_size
        with tarfile.open(shard, "r:") as tar:
            try:
                files += (_member(info) for info in tar if info.isfile())
                is_whole = _ends(tar)
            except tarfile.ReadError:
                is_whole = False
    except tarfile.ReadError:
        return Members([], "it is no tar file, or a compressed one: unpack it, or get it again")
    except OSError as error:
        raise DataError(f"{shard} cannot be read: {error.strerror}") from error
    files = [member for member in files if member.start + member.size <= size]
    return Members(files, None if is_whole else _CUT.format(len(files)))


def _ends(tar: tarfile.TarFile) -> bool:
    """Whether what comes after the last header is the end, and not a header of no sense."""
    assert tar.fileobj is not None
    tar.fileobj.seek(tar.offset)
    return tar.fileobj.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE)


def _member(info: tarfile.TarInfo) -> Member:
    path = PurePosixPath(info.name)
    stem, dot, rest = path.name.partition(".")
    key = str(path.with_name(stem or path.name))
    return Member(key, f"{dot}{rest}".lower(), info.offset_data, info.size)


def _default_downloads() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "lightseek" / "shards"


def _fetch(url: str, downloads: Path) -> Path:
    """A remote shard on disk, whole or not at all."""
    cache = require("webdataset.cache", extra="train")
    name = _name_of_url(url)
    try:
        kept = cache.FileCache(str(downloads), url_to_name=lambda _: name).get_file(url)
    except Exception as error:  # whatever the library or the command that fetches it says
        (downloads / f"{name}.temp{os.getpid()}").unlink(missing_ok=True)  # of the library
        raise DataError(
            f"{url} cannot be fetched: check that it is there, a tar file, and within reach"
        ) from error
    return Path(kept)


def _name_of_url(url: str) -> str:
    """Shards of one name on two servers are two files."""
    return f"{hashlib.sha256(url.encode()).hexdigest()[:16]}.tar"
