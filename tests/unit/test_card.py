import shutil
import subprocess
from pathlib import Path

import pytest

from lightseek.train import card

GIT = ("git", "-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false")


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_commit_is_that_of_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not of a checkout of something else, below which the package is installed."""
    code = tmp_path / "venv" / "card.py"
    code.parent.mkdir()
    code.touch()
    monkeypatch.setattr(card, "__file__", str(code))
    assert card.current_commit() is None
    subprocess.run([*GIT, "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run([*GIT, "commit", "-qm", "other", "--allow-empty"], cwd=tmp_path, check=True)
    assert card.current_commit() is None
    subprocess.run([*GIT, "add", "."], cwd=tmp_path, check=True)
    subprocess.run([*GIT, "commit", "-qm", "code"], cwd=tmp_path, check=True)
    found = card.current_commit()
    assert found is not None
    assert len(found) == 40
