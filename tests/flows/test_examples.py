"""Every script of `examples/` does what its first line says, as a program on its own."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

EXAMPLES = Path(__file__).parents[2] / "examples"
MADE_BY_HAND = {"make"}
"""Makes the pages of the folder, with typst."""


@pytest.fixture(autouse=True)
def a_line_of_the_letter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Image.open(EXAMPLES / "letter.png") as letter:
        line = letter.crop((120, 805, 1120, 838))
    line.save("line.png")
    line.save("line.pdf", resolution=150)


def run(monkeypatch: pytest.MonkeyPatch, name: str, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", [name, *arguments])
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")


def test_read_page(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run(monkeypatch, "read_page", "line.png")
    assert "old laptop" in capsys.readouterr().out


def test_words_and_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, "words_and_boxes", "line.png", "boxes.png")
    with Image.open("boxes.png") as drawn:
        pixels = np.asarray(drawn).reshape(-1, 3)
    assert (pixels == (0, 128, 0)).all(axis=1).any()


def test_pdf_to_text(monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, "pdf_to_text", "line.pdf", "texts")
    assert "old laptop" in Path("texts/page-001.txt").read_text(encoding="utf-8")


def test_find_in_scans(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run(monkeypatch, "find_in_scans", "laptops", ".")
    found = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in found] == ["line.pdf", "line.png"]


def test_visual_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, "visual_tokens", "line.png", "tokens.npz")
    with np.load("tokens.npz") as saved:
        tokens, places = saved["tokens"], saved["places"]
    assert tokens.shape == (len(places), 384)
    # a strip may end a little beside the page where it has no margin
    assert (places > -70).all()
    assert (places < (1070, 105)).all()


def test_own_model(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run(monkeypatch, "own_model", "6")
    losses = [float(line.split()[-1]) for line in capsys.readouterr().out.splitlines()[1:]]
    assert losses[-1] < losses[0]


def test_no_example_is_left_out() -> None:
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert {path.stem for path in EXAMPLES.glob("*.py")} - MADE_BY_HAND <= tested
