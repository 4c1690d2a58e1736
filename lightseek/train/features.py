"""What a frozen encoder sees, computed once and kept on disk: training reads it in its place.

    FOLDER/features.json              whose features they are, and of what
    FOLDER/shard-00000.safetensors    of the first rows, in float16

A row is one view. A shard is written beside the others and then takes its place, so that a killed
run or a full disk leaves those before it whole, and the same call goes on. Rows are mapped into
memory one at a time. Knows nothing of what the features mean.

Axes: C Y X channels and pixels of a view.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, fields, is_dataclass
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from filelock import FileLock
from jaxtyping import Float, Float16, Int64
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from lightseek.config import ModelConfig
from lightseek.data.dataset import Pairs
from lightseek.errors import DataError, UsageError
from lightseek.names import names_in_file
from lightseek.shards import find_shards, open_shard, write_file
from lightseek.weights import (
    WEIGHTS,
    empty_model,
    find_model,
    read_config,
    read_headers_of,
)
from lightseek.whole import written_whole

ENCODER = "encoder."
SHARD_ROWS = 256
_META = "features.json"
_LOCK = "lock"


@runtime_checkable
class Views(Protocol):
    """Views by number, each made when it is asked for."""

    def __len__(self) -> int:
        """Number of views."""
        ...

    def __getitem__(self, index: int, /) -> Float[Tensor, "C Y X"]:
        """One of them, as the encoder takes it."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureKey:
    """What features depend on: those of another key are stale, and refused."""

    encoder: str
    """Of its weights and sizes: `hash_encoder`, or `hash_saved_encoder`."""
    preprocessing: str
    """How images become views, in words, such as `strips of 32 px, grey, -1 to 1`."""
    data: str
    """Of the rows: `Pairs.fingerprint`."""
    names: tuple[str, ...]
    """What is kept of all that the encoder returns, such as `tokens`."""
    rows: int


def hash_encoder(config: ModelConfig, tensors: Iterable[tuple[str, Tensor]]) -> str:
    """A hash of the weights and sizes of an encoder.

    Args:
        config: Of the model; what it says of the decoder does not count.
        tensors: Names, from within the encoder, and weights, in whatever precision they are held.
    """
    others = ("name", "decoder", "mode", "prompt", "int8")
    sizes = {key: value for key, value in asdict(config).items() if key not in others}
    digest = hashlib.sha256(json.dumps(sizes, sort_keys=True).encode())
    for name, tensor in sorted(tensors, key=lambda pair: pair[0]):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().float().contiguous().numpy().data)
    return digest.hexdigest()


def hash_saved_encoder(model: str | Path) -> str:
    """The same of a saved model, whose weights are mapped one by one and never loaded.

    Raises:
        ModelError: If there is no such model, or it is broken.
    """
    folder = find_model(model)
    config, official = read_config(folder)
    named = names_in_file(official=official is not None)
    headers = read_headers_of(empty_model(config), folder / WEIGHTS, name_in_file=named)
    ours = {named(name): name.removeprefix(ENCODER) for name in headers if name.startswith(ENCODER)}
    return hash_encoder(config, _mapped(folder / WEIGHTS, ours))


def _mapped(path: Path, ours: Mapping[str, str]) -> Iterator[tuple[str, Tensor]]:
    """Some tensors of a model, by the names that are given for those of the file."""
    for file in find_shards(path):
        with open_shard(file) as shard:
            for name in ours.keys() & set(shard.keys()):
                yield ours[name], shard.get_tensor(name)


class Features:
    """Features on disk, by row.

    Args:
        folder: Where `build_features` put them.
        key: What they must be of.

    Raises:
        DataError: If they are not all there, or are of another key.
    """

    def __init__(self, folder: Path, key: FeatureKey) -> None:
        self._folder, self._key = folder, key
        self._shard_rows = _check_key(folder, key)
        missing = sum(not path.is_file() for path, _ in _shards(folder, key.rows, self._shard_rows))
        if missing:
            raise DataError(f"{folder} lacks {missing} shards: build the features to their end")

    def __len__(self) -> int:
        """Number of rows."""
        return self._key.rows

    def __getitem__(self, index: int) -> dict[str, Float16[Tensor, "..."]]:
        """What is kept of a row, by name.

        Raises:
            DataError: If its shard is broken.
        """
        if not 0 <= index < len(self):
            raise IndexError(index)
        path = _shard(self._folder, index // self._shard_rows)
        with _open_shard(path) as shard:
            return {name: _row(shard, name, index % self._shard_rows) for name in self._key.names}


class CachedPair(NamedTuple):
    """A row to train on without its image."""

    features: dict[str, Tensor]
    text: str


class CachedPairs:
    """A data set with features in place of images; goes to a `BatchLoader` like any other.

    Args:
        features: Of the views of the pairs, one a pair.
        pairs: Have the text.
    """

    def __init__(self, features: Features, pairs: Pairs) -> None:
        assert len(features) == len(pairs), f"{len(features)} features for {len(pairs)} pairs"
        self._features, self._pairs = features, pairs

    @property
    def lengths(self) -> Int64[np.ndarray, " n"]:
        """Of the text of each row."""
        return self._pairs.lengths

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._pairs)

    def __getitem__(self, index: int) -> CachedPair:
        """Read a row."""
        return CachedPair(self._features[index], self._pairs.text(index))


def build_features(
    folder: Path,
    encoder: nn.Module,
    views: Views,
    key: FeatureKey,
    *,
    batch_size: int = 8,
    shard_rows: int = SHARD_ROWS,
    on_row: Callable[[int], object] = lambda number: None,
) -> Features:
    """Compute features, or the rest of them if there are some; the encoder is not changed.

    Args:
        folder: Gets them.
        encoder: Returns a named tuple or dataclass of tensors, the first axis of each the views.
        views: What it is shown.
        key: What the features are of.
        batch_size: Views that are encoded together, where neighbours have one size.
        shard_rows: Rows of a shard, for a new cache.
        on_row: Called with the number of rows done, batch by batch.

    Raises:
        DataError: If the folder holds features of another key, cannot be written, or is full.
        UsageError: If the encoder returns nothing of a name in the key.
    """
    assert key.rows == len(views), f"the key has {key.rows} rows, there are {len(views)} views"
    if (folder / _META).is_file():
        shard_rows = _check_key(folder, key)
    else:
        _write(folder, _META, lambda path: _save_meta(path, key, shard_rows), done=0, rows=key.rows)
    shards = list(_shards(folder, key.rows, shard_rows))
    # one that is whole may lie where nothing can be written; another run that wants it waits
    whole = all(_is_whole(path, len(rows)) for path, rows in shards)
    with nullcontext() if whole else FileLock(folder / _LOCK):
        for path, rows in shards:
            if not _is_whole(path, len(rows)):
                tensors = _encode(encoder, views, rows, key.names, batch_size, on_row)
                save = partial(write_file, tensors=tensors)
                _write(folder, path.name, save, done=rows.start, rows=key.rows)
            on_row(rows.stop)
    return Features(folder, key)


@torch.inference_mode()
def _encode(
    encoder: nn.Module,
    views: Views,
    rows: range,
    names: tuple[str, ...],
    batch_size: int,
    on_row: Callable[[int], object],
) -> dict[str, Tensor]:
    """The tensors of a shard: all values of a name in one row, and the shape of each."""
    like = next(encoder.parameters())
    found: dict[str, list[Tensor]] = {name: [] for name in names}
    done = rows.start
    for _, same in groupby((views[row] for row in rows), key=lambda view: view.shape):
        # no more than a batch of views is in memory: those of a shard are gigabytes
        while batch := list(islice(same, batch_size)):
            returned = _named(encoder(torch.stack(batch).to(like)))
            for name in names:
                if name not in returned:
                    there = ", ".join(returned)
                    raise UsageError(f"the encoder returns no {name}: choose of {there}")
                found[name] += returned[name].half().cpu()
            done += len(batch)
            on_row(done)
    tensors = {}
    for name, values in found.items():
        with torch.autocast("cpu", enabled=False):  # which has no way to join float16
            tensors[name] = torch.cat([value.flatten() for value in values])
        tensors[f"{name}.shape"] = torch.tensor([value.shape for value in values])
        if not bool(tensors[name].isfinite().all()):
            raise DataError(f"{name} of rows {rows.start} to {rows.stop} overflows float16")
    return tensors


def _named(returned: Any) -> Mapping[str, Tensor]:
    """The tensors of a named tuple or dataclass."""
    if is_dataclass(returned):
        values = {field.name: getattr(returned, field.name) for field in fields(returned)}
    else:
        values = returned._asdict()
    return {name: value for name, value in values.items() if isinstance(value, Tensor)}


def _row(shard: Any, name: str, row: int) -> Float16[Tensor, "..."]:
    shapes = shard.get_tensor(f"{name}.shape")
    start = int(shapes[:row].prod(1).sum())
    stop = start + int(shapes[row].prod())
    # a copy: what is mapped is let go with the file
    return shard.get_slice(name)[start:stop].clone().view(*shapes[row].tolist())


def _shards(folder: Path, rows: int, shard_rows: int) -> Iterator[tuple[Path, range]]:
    """Each shard and its rows."""
    for number, start in enumerate(range(0, rows, shard_rows)):
        yield _shard(folder, number), range(start, min(start + shard_rows, rows))


def _shard(folder: Path, number: int) -> Path:
    return folder / f"shard-{number:05}.safetensors"


@contextmanager
def _open_shard(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as shard:
            yield shard
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path} is broken: build the features again, it is made anew") from error


def _is_whole(path: Path, rows: int) -> bool:
    """Whether a shard is there with all its rows."""
    if not path.is_file():
        return False
    try:
        with _open_shard(path) as shard:
            # the library compares the size of the file with what its header says
            return all(
                shard.get_slice(name).get_shape()[0] == rows
                for name in shard.keys()  # noqa: SIM118 - not a dict
                if name.endswith(".shape")
            )
    except DataError:
        return False


def _save_meta(path: Path, key: FeatureKey, shard_rows: int) -> None:
    path.write_text(json.dumps({"key": asdict(key), "shard_rows": shard_rows}, indent=1) + "\n")


def _write(folder: Path, name: str, save: Callable[[Path], None], *, done: int, rows: int) -> None:
    """Write a file whole, or not at all."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # shards have the lock that lies in the folder, which the key makes
        with written_whole(folder / name, shared=name == _META) as (file,):
            save(file)
    except OSError as error:
        raise DataError(
            f"{folder} cannot be written, {done} of {rows} rows are kept: make room and start "
            f"again to go on ({error})"
        ) from error


def _check_key(folder: Path, key: FeatureKey) -> int:
    """Compare the key of a cache, and give the rows of its shards.

    Raises:
        DataError: If there is no cache, or one of another key.
    """
    try:
        meta = json.loads((folder / _META).read_text(encoding="utf-8"))
        kept = FeatureKey(**{**meta["key"], "names": tuple(meta["key"]["names"])})
        shard_rows = int(meta["shard_rows"])
    except FileNotFoundError as error:
        raise DataError(f"{folder} holds no features: build them first") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder / _META} is broken: delete the folder") from error
    for name, wanted in asdict(key).items():
        found = getattr(kept, name)
        if found != wanted:
            raise DataError(
                f"{folder} holds features of other {name}: {_short(found)}, not {_short(wanted)}; "
                "delete it or give another folder"
            )
    return shard_rows


def _short(value: object) -> str:
    text = ", ".join(value) if isinstance(value, tuple) else str(value)
    return f"{text[:12]}..." if len(text) == 64 else text
