"""Batches of a data set: rows of like length together, in an order that can be taken up anywhere.

The batches of an epoch are a function of the lengths, the seed and the number of the epoch, so
what is needed to go on exactly is two numbers, however far ahead worker processes have read. Knows
nothing of what a row is.
"""

import multiprocessing.forkserver
import signal
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Int64

from lightseek.errors import DataError, LightSeekError

BATCHES_A_CHUNK = 50
"""Rows are shuffled, then sorted by length within chunks of so many batches."""

RowT = TypeVar("RowT", covariant=True)
BatchT = TypeVar("BatchT")


@runtime_checkable
class Rows(Protocol[RowT]):
    """Rows by number, such as `Pairs`."""

    @property
    def lengths(self) -> Int64[np.ndarray, " n"]:
        """Of each row, in any unit."""
        ...

    def __getitem__(self, index: int, /) -> RowT:
        """One of them."""
        ...


def epoch_batches(
    lengths: Int64[np.ndarray, " n"], *, batch_size: int, seed: int, epoch: int
) -> list[Int64[np.ndarray, " _"]]:
    """The batches of an epoch: every row once, rows of like length together, in a random order.

    Args:
        lengths: Of each row, in any unit.
        batch_size: Most rows of a batch; all have as many, or one less.
        seed: Another seed gives another order.
        epoch: So does another epoch.
    """
    num_rows = len(lengths)
    num_batches = -(-num_rows // batch_size)
    cuts = np.linspace(0, num_rows, num_batches + 1).astype(int)
    rng = np.random.default_rng([seed, epoch])
    rows = rng.permutation(num_rows)
    for first in range(0, num_batches, BATCHES_A_CHUNK):
        last = min(first + BATCHES_A_CHUNK, num_batches)
        chunk = rows[cuts[first] : cuts[last]]
        chunk[:] = chunk[np.argsort(lengths[chunk], kind="stable")]
    batches = np.split(rows, cuts[1:-1])
    return [batches[i] for i in rng.permutation(num_batches)]


@dataclass(frozen=True, slots=True)
class _State:
    """Where a loader is, and what it must be to go on from there."""

    epoch: int
    done: int
    """Batches of it that were given out."""
    rows: int
    lengths: int
    """Checksum of the lengths of all rows, which their order follows."""
    batch_size: int
    seed: int


class BatchLoader(Generic[RowT, BatchT]):
    """Batches of rows, epoch after epoch; each iteration is what is left of one epoch.

    Args:
        rows: The data set.
        batch_size: Most rows of a batch, over all processes together.
        collate: Makes a batch of rows.
        seed: Another seed gives another order.
        rank: This process, which gets every `world`-th row of each batch.
        world: Number of processes; all get as many batches, and every row is in one of them.
        workers: Processes that read ahead; none reads here.

    Raises:
        DataError: If there are no rows, or a batch has fewer than there are processes.
    """

    def __init__(
        self,
        rows: Rows[RowT],
        *,
        batch_size: int,
        collate: Callable[[list[RowT]], BatchT],
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        workers: int = 0,
    ) -> None:
        self.rows, self.lengths, self.collate = rows, rows.lengths, collate
        self.rank, self.world, self.workers = rank, world, workers
        lengths = zlib.crc32(np.asarray(self.lengths, np.int64).tobytes())
        self._state = _State(0, 0, len(self.lengths), lengths, batch_size, seed)
        batches = self._batches()
        self._num_batches = len(batches)
        if min(map(len, batches), default=0) < world:
            raise DataError(
                f"{len(self.lengths)} rows in batches of {batch_size} cannot be shared by {world} "
                f"process{'es' * (world > 1)}: give more rows, larger batches or fewer processes"
            )

    @property
    def epoch(self) -> int:
        """The epoch that is under way, from 0."""
        return self._state.epoch

    def __len__(self) -> int:
        """Batches of an epoch."""
        return self._num_batches

    def __iter__(self) -> Iterator[BatchT]:
        """The batches of this epoch that were not given out yet; then the next epoch begins."""
        # torch takes seconds to import, and a command that only checks a data set needs none
        import torch
        from torch.utils.data import DataLoader

        ahead: dict[str, Any] = {}
        if self.workers:
            ahead = {
                "num_workers": self.workers,
                "multiprocessing_context": "forkserver",
            }
            start_worker_server()
        start = self._state
        share = [batch[self.rank :: self.world].tolist() for batch in self._batches()]
        loader: DataLoader[Any] = DataLoader(
            self.rows,  # type: ignore[arg-type]  # whatever has rows by number will do
            batch_sampler=share[start.done :],
            collate_fn=self.collate,
            # else it would draw from torch's own, and a resumed run would differ in what is dropped
            generator=torch.Generator(),
            **ahead,
        )
        for number, batch in enumerate(loader, start.done + 1):
            self._move(start.epoch, number)
            yield batch
        self._move(start.epoch + 1, 0)

    def state_dict(self) -> dict[str, int]:
        """What `load_state_dict` needs to go on with the next batch."""
        return asdict(self._state)

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on where another loader was; the number of processes may differ.

        Raises:
            DataError: If it was one of other rows, batch size or seed, so that its order is not
                this one's.
        """
        own = asdict(self._state)
        for key in ("rows", "batch_size", "seed", "lengths"):
            if state.get(key) != own[key]:
                raise DataError(
                    f"the saved state has {key} {state.get(key)}, this run {own[key]}: give what "
                    "it was saved with, or start anew"
                )
        self._state = _State(**state)

    def _batches(self) -> list[Int64[np.ndarray, " _"]]:
        return epoch_batches(
            self.lengths,
            batch_size=self._state.batch_size,
            seed=self._state.seed,
            epoch=self._state.epoch,
        )

    def _move(self, epoch: int, done: int) -> None:
        self._state = replace(self._state, epoch=epoch, done=done)


@contextmanager
def faults_of_workers() -> Iterator[None]:
    """Say what is wrong with a row as if it had been read here.

    A worker process tells where it happened too.
    """
    try:
        yield
    except LightSeekError as fault:
        kind, message = type(fault), str(fault).strip().splitlines()[-1]
        raise kind(message.removeprefix(f"{kind.__module__}.{kind.__name__}: ")) from None


def start_worker_server() -> None:
    """Start the server that starts workers, so that all leave signals to the process they serve.

    A terminal sends Ctrl-C to all of them, and a scheduler SIGTERM: whoever ends by it takes the
    batches along that the last step waits for.
    """
    if threading.current_thread() is not threading.main_thread():
        return  # no other may say what becomes of signals
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, signal.SIG_IGN) for number in signals]
    try:
        multiprocessing.forkserver.ensure_running()
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
