"""Safetensors files: one, or shards with an index, in and out.

Knows names, shapes and files; nothing of models.
"""

import errno
import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lightseek.errors import ModelError

SHARD_BYTES = 256 * 2**20
"""Size at which a file is full: what is written is in memory for so long."""
_SAMPLE = 65_536
"""Bytes of a file that are looked at."""
INDEX = ".index.json"


class Header(NamedTuple):
    """What a file says of a tensor before it is read."""

    shape: tuple[int, ...]
    dtype: str


@contextmanager
def open_shard(path: Path) -> Iterator[Any]:
    """Map a file into memory.

    Raises:
        ModelError: If it is broken.
    """
    try:
        shard = safe_open(path, framework="pt")
    except SafetensorError as error:
        raise ModelError(f"{path} is broken or cut off, get it again: {error}") from error
    with shard:
        yield shard


def read_headers(path: Path) -> dict[str, Header]:
    """Shape and type of every tensor in a file.

    Raises:
        ModelError: If it is broken.
    """
    with open_shard(path) as shard:
        slices = {name: shard.get_slice(name) for name in shard.keys()}  # noqa: SIM118 - not a dict
        return {n: Header(tuple(s.get_shape()), s.get_dtype()) for n, s in slices.items()}


def write_file(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors to one file.

    Raises:
        OSError: If the disk is full, or may not be written to.
    """
    try:
        path.touch()
        mode = path.stat().st_mode
        save_file(tensors, path, metadata={"format": "pt"})
        path.chmod(mode)  # as any file: safetensors makes some that nobody else may read
    except SafetensorError as error:
        path.unlink(missing_ok=True)
        needed = sum(tensor.nbytes for tensor in tensors.values()) / 1e9
        reason = f"cannot be written: is there room for {needed:.2f} GB? ({error})"
        raise OSError(errno.ENOSPC, reason, str(path)) from error


def write_shards(path: Path, tensors: Iterable[tuple[str, Tensor]]) -> None:
    """Write tensors as they come, one shard of them in memory at a time.

    Args:
        path: What a single file would be called; the shards and their index lie beside it.
        tensors: Names and tensors; those that follow each other stand together.
    """
    unfinished: list[Path] = []
    placed: list[tuple[str, int]] = []
    total = size = 0
    shard: dict[str, Tensor] = {}

    def close() -> None:
        unfinished.append(path.with_name(f"{path.stem}-{len(unfinished) + 1:05}.unfinished"))
        write_file(unfinished[-1], shard)
        shard.clear()

    try:
        for name, tensor in tensors:
            if shard and size + tensor.nbytes > SHARD_BYTES:
                close()
                size = 0
            shard[name] = tensor.contiguous()
            placed.append((name, len(unfinished)))
            size += tensor.nbytes
            total += tensor.nbytes
        close()
    except BaseException:
        for file in unfinished:
            file.unlink(missing_ok=True)
        raise
    last = len(unfinished)
    names = [f"{path.stem}-{i + 1:05}-of-{last:05}{path.suffix}" for i in range(last)]
    for file, final in zip(unfinished, names, strict=True):
        file.replace(path.with_name(final))
    index = {
        "metadata": {"total_size": total},
        "weight_map": {name: names[number] for name, number in placed},
    }
    path.with_name(path.name + INDEX).write_text(json.dumps(index, indent=1), encoding="utf-8")


def find_shards(path: Path) -> list[Path]:
    """A file of weights, or the shards that are there in its place.

    Raises:
        ModelError: If there is neither, or a shard is missing.
    """
    if path.is_file():
        return [path]
    index = path.with_name(path.name + INDEX)
    if not index.is_file():
        shards = sorted(path.parent.glob(f"{path.stem}-*-of-*{path.suffix}"))
        if not shards:
            raise ModelError(f"{path.parent} has no weights: {path.name} is missing")
        return shards
    try:
        placed = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        shards = [path.with_name(name) for name in sorted(set(placed.values()))]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{index} is no index of shards: get it again") from error
    missing = [shard.name for shard in shards if not shard.is_file()]
    if missing:
        raise ModelError(f"{path.parent} is half there, get it again: no {_shorten(missing)}")
    return shards


def hash_files(files: Iterable[Path], base: str = "") -> str:
    """A hash of what is in files, and of a hash that they build on."""
    digest = hashlib.sha256(base.encode())
    for file in files:
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()


def sample_files(files: Iterable[Path]) -> str:
    """A hash of how large files are and of what is in the middle of each."""
    digest = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        with file.open("rb") as opened:
            opened.seek(size // 2)
            digest.update(b"%d " % size + opened.read(_SAMPLE))
    return digest.hexdigest()


def has_shards(path: Path) -> bool:
    """Whether a file of weights is there, or every shard in its place."""
    try:
        return bool(find_shards(path))
    except ModelError:
        return False


def check_shapes(
    wanted: dict[str, tuple[int, ...]], found: dict[str, tuple[int, ...]], *, source: str
) -> None:
    """Compare names and shapes.

    Raises:
        ModelError: With how many are missing, unexpected or of another shape, and the first names.
    """
    missing = [name for name in wanted if name not in found]
    unexpected = [name for name in found if name not in wanted]
    misshapen = [
        f"{name} is {list(found[name])}, wanted {list(shape)}"
        for name, shape in wanted.items()
        if name in found and found[name] != shape
    ]
    kinds = {"missing": missing, "unexpected": unexpected, "misshapen": misshapen}
    faults = [f"{kind}: {_shorten(names)}" for kind, names in kinds.items() if names]
    if faults:
        raise ModelError(f"{source} does not fit its config: {'; '.join(faults)}")


def _shorten(names: list[str], limit: int = 5) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
