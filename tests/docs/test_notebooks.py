"""Notebooks are scripts: each begins well, and, with `-m slow`, runs to its end."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))
CELL = re.compile(r"^# %%(?: \[markdown\])?\n", re.MULTILINE)


def cells(path: Path) -> list[str]:
    before, *found = CELL.split(path.read_text(encoding="utf-8"))
    assert before == "", "a notebook begins with a cell"
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_begins(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    title, imports, aim, first, *rest = [compile(cell, path, "exec") for cell in cells(path)]
    assert cells(path)[0].startswith("# # ")
    assert rest
    names: dict[str, Any] = {}
    for cell in (title, imports, aim, first):
        exec(cell, names)


def test_every_notebook_is_a_page() -> None:
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert set(re.findall(r"notebooks/(\w+)\.md", nav)) == {path.stem for path in NOTEBOOKS}


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_to_its_end(path: Path, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    environment = os.environ | {"MPLBACKEND": "agg", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, path], cwd=tmp_path, env=environment, check=True)
