"""Several processes of a run on one machine: started, asked to end, waited for."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from torch.multiprocessing.spawn import (
    ProcessContext,
    ProcessExitedException,
    ProcessRaisedException,
    spawn,
)

from lightseek.errors import Interrupted, LightSeekError

ASKED_EVERY_S = 1.0
"""A process that is still starting does not hear that it should end: it is asked again."""
ENDING_S = 5.0
"""When one process fails, the others have this long to end by themselves."""


def run_processes(
    work: Callable[..., None], arguments: tuple[Any, ...], *, count: int, mistake: Path
) -> None:
    """Call a function in processes of one thread each, with their number before its arguments.

    An interrupt is theirs to obey, as soon as they can.

    Args:
        work: The function; it handles interrupts by `interrupts_to`.
        arguments: Of it.
        count: Number of processes.
        mistake: Where one that meets a mistake of the user says which, and raises.

    Raises:
        Interrupted: If they were asked to end, and did.
        LightSeekError: If one has met a mistake, or was killed.
    """
    os.environ["OMP_NUM_THREADS"] = "1"  # read when a spawned process imports torch
    with interrupts_to(signal.SIG_IGN):  # which they inherit
        # torch has no types for it
        spawned = spawn(work, args=arguments, nprocs=count, join=False)  # type: ignore[no-untyped-call]
    try:
        asked = _wait_for(spawned)
    except ProcessRaisedException:
        if mistake.exists():
            raise LightSeekError(mistake.read_text(encoding="utf-8")) from None
        raise
    except ProcessExitedException as error:
        raise LightSeekError(
            f"a process of the run was killed ({error}): its last checkpoint is whole, and the "
            "same command goes on"
        ) from None
    if asked:
        raise Interrupted


def _wait_for(spawned: ProcessContext) -> bool:
    """Until all have ended; whether they were asked to."""
    asked = False

    def ask_to_end(signal_number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True

    with interrupts_to(ask_to_end):
        while not spawned.join(timeout=ASKED_EVERY_S, grace_period=ENDING_S):
            for process in spawned.processes if asked else ():
                if process.is_alive():
                    os.kill(process.pid, signal.SIGINT)
    return asked


@contextmanager
def interrupts_to(
    handle: Callable[[int, FrameType | None], None] | signal.Handlers,
) -> Iterator[None]:
    """Call a function when the process is asked to end, instead of ending it."""
    before = {n: signal.signal(n, handle) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
