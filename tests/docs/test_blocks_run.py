"""Code on the pages of the documentation does what stands there.

`python` blocks are run, `pycon` blocks are run and compared, and of `console` blocks the commands
of lightseek. What cannot be run here says why, in a comment above it: `<!-- not run: why -->`.
"""

import doctest
import re
import shlex
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner

from lightseek.cli import main
from lightseek.eval.metrics import cer

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(
    r"^(?:<!-- not run: (?P<excuse>[^\n]+) -->\n)?"
    r"```(?P<kind>python|pycon|console)\n(?P<code>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class Block(NamedTuple):
    kind: str
    code: str
    line: int


def blocks_to_run(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(found["kind"], found["code"], text.count("\n", 0, found.start("code")))
        for found in FENCE.finditer(text)
        if found["excuse"] is None
    ]


@pytest.fixture(autouse=True)
def copy_of_the_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)


def run_python(block: Block, page: Path, names: dict[str, Any]) -> None:
    exec(compile("\n" * block.line + block.code, page, "exec"), names)


def run_session(block: Block, page: Path, names: dict[str, Any]) -> None:
    session = doctest.DocTestParser().get_doctest(
        block.code, names, page.stem, str(page), block.line
    )
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=FLAGS, verbose=False)
    results = runner.run(session, out=report.append, clear_globs=False)
    names.update(session.globs)
    assert results.failed == 0, "".join(report)


def run_commands(block: Block, page: Path, names: dict[str, Any]) -> None:
    for line in block.code.splitlines():
        program, *arguments = shlex.split(line.removeprefix("$ "), comments=True)
        assert line.startswith("$ "), f"{page.name}:{block.line}: {line} is no command"
        assert program == "lightseek", f"{page.name}:{block.line}: say why {line} is not run"
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, f"{line}\n{result.output}"


RUN = {"python": run_python, "pycon": run_session, "console": run_commands}


@pytest.mark.parametrize("page", [*filter(blocks_to_run, PAGES)], ids=lambda page: page.name)
def test_blocks_of_a_page(page: Path) -> None:
    names: dict[str, Any] = {}
    for block in blocks_to_run(page):
        RUN[block.kind](block, page, names)


def test_both_guides_to_reading_show_the_same_code() -> None:
    texts = [
        (ROOT / "docs" / page).read_text(encoding="utf-8") for page in ("read.md", "fr/lire.md")
    ]
    english, french = ([found["code"] for found in FENCE.finditer(text)] for text in texts)
    assert english == french


def test_the_example_is_read() -> None:
    result = CliRunner().invoke(main, ["read", "examples/letter.png", "--format", "text"])
    assert cer(result.stdout, Path("examples/letter.txt").read_text(encoding="utf-8")) <= 0.03
