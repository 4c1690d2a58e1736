"""The state of a run on disk: everything that exact resume needs, and a model folder to read with.

    RUN/recipe.json             the recipe as it ran
    RUN/start.sha256            of weights, fonts, held-out pages and whatever else it only names
    RUN/checkpoint/step.json    the next step
    RUN/checkpoint/state-*      masters and optimiser state, one file a process
    RUN/model/                  config, tokenizer, weights: `--model RUN/model`
    RUN/pause                   while this file exists, the run waits
    RUN/lock                    locked while a run is at work

A checkpoint is written beside the last one and then takes its place: a killed run or a full disk
leaves the last one whole.
"""

import errno
import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch.distributed as dist
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lightseek.config import validate
from lightseek.errors import LightSeekError, ModelError, UsageError
from lightseek.presets import preset_data
from lightseek.shards import write_file
from lightseek.train.card import read_record

P = TypeVar("P")
_NOT_WRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO, errno.EFBIG)


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a run is."""

    step: int
    """Steps done."""
    strips: int
    """Strips read."""
    flops: float
    """Floating-point operations of forward and backward passes."""
    seconds: float
    """Time spent drawing and training, pauses and evaluation left out."""


_DATA = (".ttf", ".otf", ".txt", ".xz", ".jsonl")
"""What training draws from; beside it, folders have licences and an index."""


def hash_sizes(model: str) -> str | None:
    """A hash of sizes of one's own, for a file of them may change; none of a preset that ships.

    Raises:
        UsageError: If there is no such file, or it is no TOML.
    """
    if Path(model).suffix != ".toml":
        return None
    data = json.dumps(preset_data(model), sort_keys=True)
    return hashlib.sha256(data.encode()).hexdigest()


def hash_listing(folders: Iterable[str]) -> str:
    """A hash of the names and sizes of fonts, text and lists of lines in some folders."""
    found = (path for folder in folders for path in sorted(Path(folder).glob("*")))
    stamp = [(p.name, p.stat().st_size) for p in found if p.suffix.lower() in _DATA]
    return hashlib.sha256(json.dumps(stamp).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where a run keeps its files."""

    path: Path

    @property
    def model(self) -> Path:
        """The model folder of the last checkpoint."""
        return self.path / "model"

    @property
    def pause_file(self) -> Path:
        """The run waits while this exists."""
        return self.path / "pause"

    @property
    def _checkpoints(self) -> tuple[Path, Path]:
        """The last, and the one before it that a killed run may have left."""
        return self.path / "checkpoint", self.path / "checkpoint.old"

    @property
    def _unfinished(self) -> Path:
        """What is not whole yet."""
        return self.path / "checkpoint.unfinished"

    @property
    def bad_batch(self) -> Path:
        """Folder of the batch that made a number of no use."""
        return self.path / "bad-batch"

    def keep_batch(self, tensors: Mapping[str, Tensor], *, rank: int) -> Path:
        """Write the share of a process in such a batch; gives the file."""
        self.bad_batch.mkdir(parents=True, exist_ok=True)
        file = self.bad_batch / f"batch-{rank}.safetensors"
        write_file(file, {name: tensor.cpu().contiguous() for name, tensor in tensors.items()})
        return file

    def is_finished(self, steps: int) -> bool:
        """Whether the model is there as it was after so many steps, and nothing is to be done.

        The checkpoint is written before it: a run that ends between both is not at its end.
        """
        record = read_record(self.model)
        return bool(record) and record[-1].get("step") == steps

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other runs out of the folder, which is made; the system lets go of dead processes.

        Raises:
            UsageError: If another run is in it, or it cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / "lock").acquire(blocking=False)
        except Timeout as error:
            raise UsageError(
                f"another run is at work in {self.path}: wait until it has ended, or name another "
                "folder"
            ) from error
        except OSError as error:
            raise UsageError(f"{self.path} cannot be made: {error.strerror}") from error
        with lock:
            yield

    def claim(self, recipe: Any, start: str) -> None:
        """Write recipe and start, or check that the run that is there has the same.

        A run that has not saved yet is lost anyway: another takes its place, so that a recipe with
        a mistake can be corrected.

        Args:
            recipe: A dataclass.
            start: Hash of what the run begins with and its recipe only names.

        Raises:
            UsageError: If the folder holds a run of another recipe or beginning, or cannot be
                written.
        """
        file, origin = self.path / "recipe.json", self.path / "start.sha256"
        if not any(folder.exists() for folder in self._checkpoints):
            try:
                file.write_text(json.dumps(asdict(recipe), indent=1) + "\n", encoding="utf-8")
                origin.write_text(start, encoding="utf-8")
            except OSError as error:
                raise UsageError(f"{self.path} cannot be written: {error.strerror}") from error
            return
        if _read_recipe(type(recipe), file) != recipe:
            raise UsageError(
                f"{self.path} holds a run of another recipe: give another folder, or remove it"
            )
        # what is frozen is in no checkpoint, but read again from there
        if not origin.exists() or origin.read_text(encoding="utf-8") != start:
            raise UsageError(
                f"{self.path} holds a run that began from other weights, sizes, parts, fonts, text "
                "or held-out pages: name the same, or another folder"
            )

    def save(self, state: dict[str, Tensor], progress: Any, *, rank: int, world: int) -> None:
        """Replace the checkpoint; every process calls this with its share.

        Args:
            state: Of this process.
            progress: A dataclass of what JSON can hold.
            rank: This process.
            world: Number of processes.
        """
        unfinished = self._unfinished
        if rank == 0:
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
        _wait(world)
        save_file(state, unfinished / f"state-{rank}.safetensors")
        _wait(world)
        if rank == 0:
            (unfinished / "step.json").write_text(json.dumps(asdict(progress)) + "\n")
            last, old = self._checkpoints
            if last.exists():
                shutil.rmtree(old, ignore_errors=True)  # of a run killed before it could
                last.rename(old)
            unfinished.rename(last)
            shutil.rmtree(old, ignore_errors=True)

    @contextmanager
    def told_if_full(self) -> Iterator[None]:
        """Say in a line that a checkpoint, a model or a curve could not be written.

        Raises:
            LightSeekError: If so; what was written before is whole.
        """
        try:
            yield
        except (OSError, SafetensorError) as error:
            if isinstance(error, OSError) and error.errno not in _NOT_WRITTEN:
                raise
            shutil.rmtree(self._unfinished, ignore_errors=True)
            raise LightSeekError(
                f"{self.path} cannot be written ({error}); its last checkpoint, of step "
                f"{self.last_step()}, is whole: make room, and the same command goes on"
            ) from error

    def last_step(self) -> int:
        """The step of the last whole checkpoint, 0 if there is none."""
        last, old = self._checkpoints
        for folder in (last, old, last):  # a run at work moves them: one is always there
            with suppress(FileNotFoundError):
                return int(json.loads((folder / "step.json").read_text())["step"])
        return 0

    def load(self) -> tuple[dict[str, Tensor], Progress] | None:
        """As `load_as`, of a run that draws its strips."""
        return self.load_as(Progress)

    def load_as(self, kind: type[P]) -> tuple[dict[str, Tensor], P] | None:
        """The last whole checkpoint, or none if the run has not saved yet.

        Args:
            kind: Dataclass that was saved as its progress.

        Raises:
            ModelError: If its files are broken.
        """
        for folder in self._checkpoints:
            if not (folder / "step.json").exists():
                continue
            try:
                progress = kind(**json.loads((folder / "step.json").read_text()))
                tensors: dict[str, Tensor] = {}
                for file in sorted(folder.glob("state-*.safetensors")):
                    tensors |= load_file(file)
            except (SafetensorError, ValueError, TypeError) as error:
                raise ModelError(f"{folder} is broken: {error}") from error
            return tensors, progress
        return None


def _read_recipe(kind: type[P], file: Path) -> P | None:
    try:
        return validate(kind, json.loads(file.read_bytes()), source=str(file))
    except (OSError, ValueError, ModelError):
        return None


def _wait(world: int) -> None:
    if world > 1:
        dist.barrier()
