"""Several processes of a run on one CPU machine; those on GPUs are for `accelerate launch`."""

import os
import socket
import tempfile
from pathlib import Path
from typing import Any

import torch

from lightseek.errors import Interrupted, LightSeekError
from lightseek.train.pages.loop import train_pages
from lightseek.train.pages.recipe import PageRecipe
from lightseek.train.processes import run_processes

HERE = "127.0.0.1"


def train_in_processes(
    recipe: PageRecipe,
    out: Path,
    *,
    processes: int,
    save_minutes: float = 5.0,
    stop_after: int | None = None,
) -> None:
    """Run a recipe in some processes of one thread each; arguments and errors as `train_pages`.

    Args:
        recipe: What to do.
        out: Run folder.
        processes: How many.
        save_minutes: Time between checkpoints.
        stop_after: Steps after which to save and stop.
    """
    options = {"device": "cpu", "save_minutes": save_minutes, "stop_after": stop_after}
    with tempfile.TemporaryDirectory() as meeting:
        mistake = Path(meeting) / "mistake"
        meet_at = {"WORLD_SIZE": str(processes), "MASTER_ADDR": HERE, "MASTER_PORT": _free_port()}
        arguments = (recipe, out, options, meet_at, mistake)
        run_processes(work, arguments, count=processes, mistake=mistake)


def work(
    rank: int,
    recipe: PageRecipe,
    out: Path,
    options: dict[str, Any],
    meet_at: dict[str, str],
    mistake: Path,
) -> None:
    """One process of a run."""
    os.environ |= {**meet_at, "RANK": str(rank), "LOCAL_RANK": str(rank)}
    torch.set_num_threads(1)
    try:
        train_pages(recipe, out, **options)
    except Interrupted:
        return  # the one that started them says so
    except LightSeekError as fault:
        mistake.write_text(str(fault), encoding="utf-8")
        raise


def _free_port() -> str:
    with socket.socket() as free:
        free.bind((HERE, 0))
        return str(free.getsockname()[1])
