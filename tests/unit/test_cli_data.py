import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from lightseek.cli import main


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("good", "bad"):
        Image.new("L", (9, 9)).save(tmp_path / f"{name}.png")
    (tmp_path / "good.txt").write_text("good")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["data", "check", *arguments])


def test_bad_rows_are_named(folder: Path) -> None:
    result = check(".")
    assert result.exit_code == 1
    assert result.stdout == "bad.png: it has no text: put bad.txt beside it\n"
    assert result.stderr == "2 rows, 1 bad\n"


def test_a_good_set(folder: Path) -> None:
    (folder / "bad.txt").write_text("not any more")
    result = check(".")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "2 rows, 0 bad\n")


def test_json(folder: Path) -> None:
    result = check(".", "--json")
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert (told["rows"], len(told["bad"])) == (2, 1)


def test_an_empty_set_is_wrong_use(folder: Path) -> None:
    (folder / "empty").mkdir()
    result = check("empty")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "empty is empty" in result.stderr
