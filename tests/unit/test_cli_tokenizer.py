import lzma
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lightseek.cli import main
from lightseek.tokenizer import Tokenizer


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["tokenizer", *map(str, arguments)])


@pytest.fixture
def text(tmp_path: Path) -> Path:
    folder = tmp_path / "text"
    (folder / "more").mkdir(parents=True)
    (folder / "one.txt").write_text("the quick fox\r\n" * 30, encoding="utf-8", newline="")
    (folder / "more" / "two.txt").write_bytes("größer \xff als".encode("latin-1") * 30)
    return folder


def test_a_tokenizer_is_trained_on_all_files_of_a_folder(text: Path, tmp_path: Path) -> None:
    result = run(text, "-o", tmp_path / "made", "--size", "290")
    assert result.exit_code == 0, result.output
    tokenizer = Tokenizer.from_folder(tmp_path / "made")
    assert result.stdout.startswith(f"{len(tokenizer)} tokens in ")
    assert len(tokenizer.encode("quick")) <= 3
    assert tokenizer.decode(tokenizer.encode("fox\r\nquick")) == "fox\r\nquick"


def test_of_what_synth_fetch_leaves(text: Path, tmp_path: Path) -> None:
    """Text is packed there, and licences are no text."""
    for name in ("one.txt", "more/two.txt"):
        (text / name).unlink()
    (text / "licences").mkdir()
    (text / "licences" / "a.txt").write_text("licence " * 90, encoding="utf-8")
    with lzma.open(text / "en-a.txt.xz", "wt", encoding="utf-8") as packed:
        packed.write("the quick fox\n" * 30)
    assert run(text, "-o", tmp_path / "made", "--size", "290").exit_code == 0
    tokenizer = Tokenizer.from_folder(tmp_path / "made")
    assert len(tokenizer.encode("quick")) < len(tokenizer.encode("licence"))
    packed_bytes = (text / "en-a.txt.xz").read_bytes()
    for damaged in (packed_bytes[:-20], b"no archive"):
        (text / "en-a.txt.xz").write_bytes(damaged)
        result = run(text, "-o", tmp_path / "other")
        assert (result.exit_code, "en-a.txt.xz is cut off or damaged" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere.txt",), "nowhere.txt: No such file"),
        ((".",), "holds no *.txt"),
        ((), "Missing argument"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_line(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*arguments, "-o", "made")
    assert result.exit_code != 0
    assert message in result.stderr
    assert not (tmp_path / "made").exists()


def test_a_size_that_is_too_small_is_told(text: Path, tmp_path: Path) -> None:
    result = run(text, "-o", tmp_path / "made", "--size", "9")
    assert result.exit_code == 2
    assert "at least 266 tokens" in result.stderr
