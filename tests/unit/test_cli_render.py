import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from lightseek.cli import main
from lightseek.data.dataset import load_pairs

TEXT = "A note for Exmoor.\n\nTwo lines of it\nare enough to read.\n"
SMALL = ("--paper", "90x60", "--dpi", "150")


@pytest.fixture(autouse=True)
def note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "note.txt").write_text(TEXT, encoding="utf-8")
    monkeypatch.chdir(tmp_path)


def run(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, arguments, input=stdin)


def assert_refused(result: Result, words: str) -> None:
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert words in result.stderr


class TestRender:
    def test_pages_are_a_data_set(self) -> None:
        result = run("render", "note.txt", "-o", "pages", *SMALL)
        assert (result.exit_code, result.stdout) == (0, "pages/page-001.png\n")
        [tokens] = result.stderr.splitlines()
        assert tokens == "page-001: 55 characters, 256 visual tokens in base, 0.2 a token"
        assert load_pairs("pages")[0].text == TEXT
        with Image.open("pages/page-001.png") as image:
            assert image.size == (532, 355)

    def test_a_long_text_takes_several_pages(self) -> None:
        result = run("render", "-", "-o", "pages", *SMALL, stdin="A line.\n\n" * 20)
        assert result.stdout.splitlines() == [f"pages/page-{i:03}.png" for i in (1, 2, 3, 4)]
        assert_refused(run("render", "note.txt", "-o", "pages", *SMALL), "holds page-002.png")

    def test_pdf(self) -> None:
        result = run("render", "note.txt", "-o", "pages", "-f", "pdf", *SMALL)
        assert (result.exit_code, result.stdout) == (0, "pages/pages.pdf\n")
        assert Path("pages/pages.pdf").read_bytes().startswith(b"%PDF")
        assert Path("pages/pages.txt").read_text() == TEXT

    def test_density(self) -> None:
        asked = ("--density", "3", "--mode", "tiny")
        result = run("render", "note.txt", "-o", "pages", *asked, *SMALL)
        assert result.exit_code == 0
        assert " 64 visual tokens in tiny" in result.stderr

    def test_wrong_use(self) -> None:
        Path("binary").write_bytes(b"\xff\x00")
        Path("empty").touch()
        for source, words in [
            ("none", "No such file"),
            (".", "Is a directory"),
            ("binary", "is not UTF-8"),
            ("empty", "there is no text"),
        ]:
            assert_refused(run("render", source, "-o", "pages"), words)
        both = ("--size", "9", "--density", "5")
        assert_refused(run("render", "note.txt", "-o", "pages", *both), "one of --size, --density")
        assert_refused(run("render", "note.txt", "-o", "pages", "--mode", "huge"), "no mode 'huge'")
        assert not Path("pages").exists()


class TestRoundtrip:
    def test_nano_reads_what_was_set(self) -> None:
        told = json.loads(run("roundtrip", "note.txt", "--json", *SMALL).stdout)
        assert (told["model"], told["mode"], told["pages"]) == ("nano", "blocks", 1)
        assert "Two lines of it" in told["text"]
        assert told["cer"] <= 0.05
        assert told["text_tokens"] == len(TEXT) - 1
        assert told["compression"] == told["text_tokens"] / told["visual_tokens"]

    def test_a_model_of_the_official_family(self, official_folder: Path) -> None:
        words = ("--model", str(official_folder), "--mode", "tiny", "--max-tokens", "5")
        result = run("roundtrip", "note.txt", *words, *SMALL)
        assert "mode tiny\n" in result.stdout
        assert "visual tokens  64\n" in result.stdout
        assert f"by the tokenizer of {official_folder}\n" in result.stdout

    def test_a_missing_text_is_told_before_a_model_is_loaded(self) -> None:
        assert_refused(run("roundtrip", "none", "--model", "nowhere"), "No such file")

    def test_a_mode_that_the_model_has_not(self) -> None:
        assert_refused(run("roundtrip", "note.txt", "--mode", "base"), "leave the mode out")
