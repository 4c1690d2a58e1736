import datetime
import runpy
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lightseek.eval.report import Machine, Report, SetReport, to_markdown

ROOT = Path(__file__).parents[2]
SCRIPT = runpy.run_path(str(ROOT / "runs" / "results.py"))


def report(model: str) -> Report:
    found = SetReport(
        name="letters",
        items=1,
        pages=1,
        failed=0,
        characters=100,
        cer=0.0123,
        caseless_cer=0.01,
        word_f1=0.987,
        repeat_rate=0,
        seconds_per_page=0.25,
    )
    return Report(
        model=model,
        version="1.2.3",
        date=datetime.date(2030, 1, 2),
        machine=Machine(cpu="A CPU", threads=1),
        sets=(found,),
        items=(),
    )


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "results.md"
    path.write_text(f"# Before\n\n{SCRIPT['BEGIN']}\nold\n{SCRIPT['END']}\n\nafter\n")
    return path


def write(page: Path, *models: str) -> Result:
    files = []
    for model in models:
        files.append(page.with_name(f"{model}.json"))
        files[-1].write_text(report(model).to_json())
    return CliRunner().invoke(SCRIPT["main"], [*map(str, files), "--page", str(page)])


def test_tables_stand_between_the_markers_and_prose_stays(page: Path) -> None:
    assert write(page, "small", "big").exit_code == 0
    text = page.read_text()
    assert text.startswith(f"# Before\n\n{SCRIPT['BEGIN']}\n\nsmall, lightseek-ocr 1.2.3, A CPU")
    assert text.endswith(f"{SCRIPT['END']}\n\nafter\n")
    assert text.index(to_markdown(report("small"))) < text.index(to_markdown(report("big")))
    assert "old" not in text


def test_writing_twice_changes_nothing(page: Path) -> None:
    write(page, "small")
    once = page.read_text()
    write(page, "small")
    assert page.read_text() == once


def test_a_file_that_is_no_report_leaves_the_page_alone(page: Path) -> None:
    before = page.read_text()
    other = page.with_name("other.json")
    other.write_text("{}")
    result = CliRunner().invoke(SCRIPT["main"], [str(other), "--page", str(page)])
    assert result.exit_code == 1
    assert "other.json is not a report" in result.output
    assert page.read_text() == before


def test_a_page_without_markers_is_left_alone(page: Path) -> None:
    page.write_text("# Mine\n")
    result = write(page, "small")
    assert result.exit_code == 1
    assert "has no place for tables" in result.output
    assert page.read_text() == "# Mine\n"


def test_the_page_of_the_documentation_has_both_markers() -> None:
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert text.count(SCRIPT["BEGIN"]) == text.count(SCRIPT["END"]) == 1
