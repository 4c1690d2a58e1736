import datetime
import runpy
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lightseek.eval.report import (
    Figures,
    Machine,
    Report,
    SetReport,
    compare,
    fill,
    put,
    to_markdown,
)

ROOT = Path(__file__).parents[2]
SCRIPT = runpy.run_path(str(ROOT / "runs" / "results.py"))
BEGIN, END = "<!-- tables: begin (written by a script) -->", "<!-- tables: end -->"


def report(engine: str) -> Report:
    figures = Figures(
        engine=engine,
        pages=1,
        failed=0,
        cer=0.0123,
        caseless_cer=0.01,
        word_f1=0.987,
        repeat_rate=0,
        seconds_per_page=0.25,
    )
    return Report(
        version="1.2.3",
        date=datetime.date(2030, 1, 2),
        machine=Machine(cpu="A CPU", threads=1),
        sets=(SetReport(name="letters", items=1, characters=100, figures=(figures,)),),
        items=(),
    )


@pytest.fixture
def page(tmp_path: Path) -> Path:
    for name in ("README.md", "results.md"):
        text = f"# Before\n\n{BEGIN}\nold\n{END}\n\nafter\n"
        (tmp_path / name).write_text(text)
    return tmp_path / "results.md"


def write(page: Path, *reports: str) -> Result:
    files = [page.with_name(f"report-{number}.json") for number in range(len(reports))]
    for file, report in zip(files, reports, strict=True):
        file.write_text(report)
    readme = page.with_name("README.md")
    words = [*map(str, files), "--page", str(page), "--readme", str(readme)]
    return CliRunner().invoke(SCRIPT["main"], words)


def test_tables_are_put_on_a_page_or_printed(
    page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(page, "tables", ["| one |", "| two |"])
    assert page.read_text() == f"# Before\n\n{BEGIN}\n\n| one |\n\n| two |\n\n{END}\n\nafter\n"
    put(None, "tables", ["| one |", "| two |"])
    assert capsys.readouterr().out == "| one |\n\n| two |\n"


def test_several_reports_follow_each_other(page: Path) -> None:
    assert write(page, report("small").to_json(), report("large").to_json()).exit_code == 0
    text, readme = page.read_text(), page.with_name("README.md").read_text()
    assert readme.index("small") < readme.index("large")
    both = [to_markdown(report(name)).strip() for name in ("small", "large")]
    assert text.index(both[0]) < text.index(both[1])


def test_tables_stand_between_the_markers_and_prose_stays(page: Path) -> None:
    assert write(page, report("small").to_json()).exit_code == 0
    text, readme = page.read_text(), page.with_name("README.md").read_text()
    for written in (text, readme):
        assert written.startswith(f"# Before\n\n{BEGIN}\n\nlightseek-ocr 1.2.3, A CPU")
        assert written.endswith(f"{END}\n\nafter\n")
        assert "old" not in written
    assert text.index(compare(report("small"))) < text.index(to_markdown(report("small")))
    assert to_markdown(report("small")) not in readme


def test_writing_twice_changes_nothing(page: Path) -> None:
    write(page, report("small").to_json())
    once = page.read_text()
    write(page, report("small").to_json())
    assert page.read_text() == once


def test_a_file_that_is_no_report_leaves_the_pages_alone(page: Path) -> None:
    before = page.read_text()
    result = write(page, "{}")
    assert result.exit_code == 1
    assert "report-0.json is not a report" in result.output
    assert page.read_text() == before


def test_a_page_without_markers_leaves_both_alone(page: Path) -> None:
    page.write_text("# Mine\n")
    before = page.with_name("README.md").read_text()
    result = write(page, report("small").to_json())
    assert result.exit_code == 1
    assert "has no place for tables" in str(result.exception)
    assert (page.read_text(), page.with_name("README.md").read_text()) == ("# Mine\n", before)


@pytest.mark.parametrize(
    ("page", "name"),
    [
        ("README.md", "tables"),
        ("docs/results.md", "tables"),
        ("docs/results.md", "speed"),
        ("docs/data.md", "table"),
        ("docs/compression.md", "ours"),
        ("docs/compression.md", "paper"),
    ],
)
def test_pages_of_the_documentation_have_their_marks(page: str, name: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    filled = fill(text, name, ["one", "two"])
    assert "\n\none\n\ntwo\n\n<!--" in filled
    assert fill(filled, name, ["one", "two"]) == filled
