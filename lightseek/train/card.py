"""How weights were made: a record beside them, one entry a run, oldest first."""

import json
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lightseek.eval.report import Machine
from lightseek.whole import written_whole

RECORD = "training.json"


def write_record(
    folder: Path,
    recipe: Any,
    progress: Any,
    *,
    commit: str | None,
    processes: int,
    start: Path | None,
) -> None:
    """Write the record of a model folder.

    Args:
        folder: Where the weights are.
        recipe: Of this run, a dataclass.
        progress: Of this run, a dataclass.
        commit: Of the code that trained, which may have moved on since.
        processes: That trained.
        start: Model folder that the run began with; its record comes first.
    """
    runs = read_record(start) if start is not None else []
    run = {
        "commit": commit,
        "cpu": Machine.here().cpu,
        "processes": processes,
        **asdict(progress),
        "recipe": asdict(recipe),
    }
    text = json.dumps([*runs, run], indent=1, ensure_ascii=False)
    with written_whole(folder / RECORD) as (file,):
        file.write_text(text + "\n", encoding="utf-8")


def read_record(folder: Path) -> list[dict[str, Any]]:
    """The runs behind the weights of a folder; none if nothing is known."""
    file = folder / RECORD
    if not file.exists():
        return []
    runs: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
    return runs


def current_commit() -> str | None:
    """The commit of the code, if it is asked before that changes; none outside a checkout."""
    try:
        # installed somewhere below a checkout of something else, it is not part of that
        _git("ls-files", "--error-unmatch", Path(__file__).name)
        return _git("rev-parse", "HEAD")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*command: str) -> str:
    here = Path(__file__).parent
    done = subprocess.run(["git", *command], cwd=here, capture_output=True, text=True, check=True)
    return done.stdout.strip()
