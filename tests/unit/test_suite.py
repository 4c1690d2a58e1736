import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from pydantic import ValidationError
from rich.console import Console

from lightseek.document import Box, Document, Line, Page, Region, Status, Word
from lightseek.errors import MissingExtraError, UsageError
from lightseek.eval.report import Report, compare, render_table, to_markdown
from lightseek.eval.suite import evaluate, find_items

SECONDS_PER_PAGE = 0.002


class Reader:
    """Reads what it is told; a stem it was not told is a page that fails half way."""

    def __init__(self, **texts: str) -> None:
        self.texts = texts
        self.sources: list[Path] = []

    def read_all(self, sources: Sequence[Path], /) -> Iterator[Document]:
        for source in sources:
            self.sources.append(source)
            time.sleep(SECONDS_PER_PAGE)
            yield Document(source=str(source), pages=(self._page(source.stem),))

    def _page(self, stem: str) -> Page:
        if stem in self.texts:
            regions = (region(self.texts[stem]),)
            return Page(number=1, width=9, height=9, status=Status.OK, regions=regions)
        left = (region("left over"),)
        return Page(
            number=1, width=9, height=9, status=Status.FAILED, reason="broken", regions=left
        )


def region(text: str) -> Region:
    box = Box(0, 0, 9, 9)
    lines = tuple(
        Line(
            words=tuple(Word(text=word, box=box, confidence=1) for word in line.split()),
            box=box,
            confidence=1,
        )
        for line in text.splitlines()
    )
    return Region(label="text", lines=lines, box=box)


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    def write(**files: str) -> Path:
        for name, text in files.items():
            path = tmp_path / "pages" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return tmp_path / "pages"

    return write


def names(root: Path) -> dict[str, list[str]]:
    return {name: [item.source.name for item in items] for name, items in find_items(root).items()}


def test_every_sub_folder_is_a_set(folder: Callable[..., Path]) -> None:
    root = folder(
        **{
            "b.png": "",
            "b.txt": "",
            "a.JPG": "",
            "a.txt": "",
            "lines/x.1.png": "",
            "lines/x.1.txt": "",
            "old/paras/p.pdf": "",
            "old/paras/p.txt": "",
            "spare/alone.png": "",
        }
    )
    assert list(names(root).items()) == [
        ("pages", ["a.JPG", "b.png"]),
        ("lines", ["x.1.png"]),
        ("old/paras", ["p.pdf"]),
    ]


def test_sets_of_one_name_stay_apart(folder: Callable[..., Path]) -> None:
    pairs = ("a/lines/1", "b/lines/1", "b/lines/2", "b/b/1", "b/1", "a/more/1")
    root = folder(**{f"{name}{end}": "" for name in pairs for end in (".png", ".txt")})
    found = find_items(root / "a", root / "b")
    assert {name: len(items) for name, items in found.items()} == {
        f"{root}/a/lines": 1,
        f"{root}/b/lines": 2,
        f"{root}/b/b": 1,
        f"{root}/b": 1,
        "more": 1,
    }


def test_sets_and_items_come_in_order_of_their_names(folder: Callable[..., Path]) -> None:
    files = [f"{s}/{stem}{end}" for s in "fbdace" for stem in "zxy" for end in (".png", ".txt")]
    found = names(folder(**dict.fromkeys(files, "")))
    assert list(found) == list("abcdef")
    assert set(map(tuple, found.values())) == {("x.png", "y.png", "z.png")}


def test_an_image_is_preferred_and_printed_lines_are_no_truth(
    folder: Callable[..., Path],
) -> None:
    root = folder(
        **{
            "p.pdf": "",
            "p.png": "",
            "p.txt": "",
            "p.lines.txt": "",
            "p.lines.png": "",
            "q.gif": "",
            "q.TXT": "",
            "note.txt": "",
            "manifest.json": "{}",
        }
    )
    assert names(root) == {"pages": ["p.png", "q.gif"]}


def test_nothing_to_measure_is_said(folder: Callable[..., Path]) -> None:
    root = folder(**{"a.png": "", "b.txt": ""})
    with pytest.raises(UsageError, match=r"page\.txt beside page\.png"):
        find_items(root)
    with pytest.raises(UsageError, match="not a folder"):
        find_items(root / "a.png")
    with pytest.raises(UsageError, match="not a folder"):
        find_items(root / "missing")


def test_figures_are_pooled_by_set(folder: Callable[..., Path]) -> None:
    root = folder(
        **{
            "one/a.png": "",
            "one/a.txt": "abcd",
            "one/b.png": "",
            "one/b.txt": "twelve chars",
            "two/c.png": "",
            "two/c.txt": "Case",
        }
    )
    report = evaluate({"fake": Reader(a="abXd", b="twelve\nchars", c="CASE")}, [root])
    one, two = report.sets
    assert (one.name, one.items, one.figures[0].pages, one.characters) == ("one", 2, 2, 16)
    [first], [second] = one.figures, two.figures
    assert first.cer == pytest.approx(1 / 16)
    assert first.word_f1 == pytest.approx(2 / 3)
    assert (second.cer, second.caseless_cer) == (pytest.approx(3 / 4), 0)
    assert first.seconds_per_page >= SECONDS_PER_PAGE
    assert first.engine == "fake"
    assert report.machine.cpu
    assert report.machine.threads >= 1


def test_a_failed_page_costs_all_its_characters(folder: Callable[..., Path]) -> None:
    root = folder(**{"a.png": "", "a.txt": "ten letter", "b.png": "", "b.txt": "ten letter"})
    report = evaluate({"fake": Reader(a="ten letter")}, [root])
    [figures] = report.sets[0].figures
    assert (figures.pages, figures.failed, figures.cer) == (2, 1, 0.5)
    assert report.failed == 1
    assert [item.readings[0].failures for item in report.items] == [(), ("broken",)]


def test_every_engine_reads_every_item_and_none_pays_for_another(
    folder: Callable[..., Path],
) -> None:
    root = folder(**{f"{s}/a{end}": "true" for s in ("one", "two") for end in (".png", ".txt")})
    report = evaluate({"good": Reader(a="true"), "poor": Reader(a="tree")}, [root])
    for found in report.sets:
        assert [(f.engine, f.cer, f.pages) for f in found.figures] == [
            ("good", 0, 1),
            ("poor", 0.25, 1),
        ]
        assert found.characters == 4
    assert [reading.text for reading in report.items[0].readings] == ["true", "tree"]


def test_folders_are_measured_one_after_the_other(folder: Callable[..., Path]) -> None:
    root = folder(**{f"{s}/a{end}": "x" for s in ("one", "two") for end in (".png", ".txt")})
    report = evaluate({"fake": Reader(a="x")}, [root / "two", root / "one"])
    assert [found.name for found in report.sets] == ["two", "one"]
    assert [item.path for item in report.items] == ["two/a.png", "one/a.png"]


def test_limit_and_progress_count_items(folder: Callable[..., Path]) -> None:
    root = folder(
        **{f"{s}/{stem}{end}": "x" for s in "st" for stem in "abc" for end in (".png", ".txt")}
    )
    reader, ticks = Reader(a="x", b="x"), []
    report = evaluate({"fake": reader}, [root], limit=2, on_item=lambda *tick: ticks.append(tick))
    assert ticks == [("fake: s", 1, 4), ("fake: s", 2, 4), ("fake: t", 3, 4), ("fake: t", 4, 4)]
    assert [found.items for found in report.sets] == [2, 2]
    assert [source.name for source in reader.sources] == ["a.png", "b.png"] * 2


def test_a_truth_that_is_not_utf8_shows_before_anything_is_read(
    folder: Callable[..., Path],
) -> None:
    root = folder(**{"a.png": "", "a.txt": "x", "b.png": ""})
    (root / "b.txt").write_bytes("é".encode("latin-1"))
    reader = Reader(a="x")
    with pytest.raises(UsageError, match=r"b\.txt is not UTF-8"):
        evaluate({"fake": reader}, [root])
    assert reader.sources == []


def test_a_byte_order_mark_is_no_text(folder: Callable[..., Path]) -> None:
    root = folder(**{"a.png": "", "a.txt": "\ufefftext"})
    assert evaluate({"fake": Reader(a="text")}, [root]).items[0].truth == "text"


def test_a_name_that_is_not_utf8_is_in_the_report(folder: Callable[..., Path]) -> None:
    root = folder(**{"a.png": "", "a.txt": "word"})
    try:
        for path in root.iterdir():
            path.rename(path.with_stem("a\udcff"))
    except OSError as error:
        pytest.skip(f"names are Unicode on this file system: {error}")
    report = evaluate({"one": Reader(**{"a\udcff": "word"})}, [root])
    assert [item.path for item in Report.from_json(report.to_json()).items] == ["pages/a?.png"]


def test_a_missing_extra_shows_before_anything_is_read(
    folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rapidfuzz", None)
    reader = Reader(a="x")
    with pytest.raises(MissingExtraError, match=r"pip install '\.\[eval\]'"):
        evaluate({"fake": reader}, [folder(**{"a.png": "", "a.txt": "x"})])
    assert reader.sources == []


@pytest.fixture
def report(folder: Callable[..., Path]) -> Report:
    root = folder(
        **{f"{stem}{end}": "true text" for stem in ("a", "b", "c") for end in (".png", ".txt")}
    )
    return evaluate({"fake": Reader(a="true text", b="true taxt")}, [root])


def test_worst_items_come_first(report: Report) -> None:
    assert [item.path for item in report.worst(2)] == ["pages/c.png", "pages/b.png"]
    worst = report.worst(1)[0]
    [reading] = worst.readings
    assert (reading.cer, reading.text, worst.truth) == (1, "", "true text")
    assert len(report.worst(99)) == 3


def test_json_comes_back_as_it_went(report: Report) -> None:
    assert Report.from_json(report.to_json()) == report
    strange = json.loads(report.to_json()) | {"speed": 1}
    with pytest.raises(ValidationError):
        Report.from_json(json.dumps(strange))


def test_both_tables_show_every_set(report: Report) -> None:
    console = Console(width=200)
    with console.capture() as shown:
        console.print(render_table(report))
    for text in (shown.get(), to_markdown(report)):
        (row,) = (line for line in text.splitlines() if "pages" in line and "37.04" in line)
        cells = [cell.strip() for cell in row.replace("│", "|").strip("|┃ ").split("|")]
        assert cells[:6] == ["pages", "fake", "3", "1", "27", "37.04"]
        assert cells[6:9] == ["37.04", "60.0", "0.0"]


def test_markdown_rows_have_one_width(report: Report) -> None:
    for text in (to_markdown(report), compare(report)):
        rows = [line for line in text.splitlines() if line.startswith("|")]
        assert len(rows) == 3
        assert len({row.count("|") for row in rows}) == 1


def test_a_set_typed_in_capitals_is_compared_caseless(folder: Callable[..., Path]) -> None:
    root = folder(**{"a.png": "", "a.txt": "TOTAL 9.50", "b.png": "", "b.txt": "THANK YOU"})
    report = evaluate({"fake": Reader(a="Total 9.50", b="Thank y0u")}, [root])
    [found] = report.sets
    [figures] = found.figures
    assert (figures.cer, figures.word_f1) == (pytest.approx(1 / 19), pytest.approx(3 / 4))
    assert report.items[0].readings[0].text == "Total 9.50"
    for text in (to_markdown(report), compare(report)):
        assert "| pages (caseless) |" in text


def test_the_best_of_each_kind_stands_out(folder: Callable[..., Path]) -> None:
    root = folder(**{"a.png": "", "a.txt": "true text"})
    report = evaluate({"good": Reader(a="true text"), "poor": Reader(a="true taxt")}, [root])
    cells = [cell.strip() for cell in compare(report).splitlines()[-1].strip("|").split("|")]
    assert cells[:5] == ["pages", "**0.00**", "11.11", "**100.0**", "50.0"]
    assert compare(report).splitlines()[2].startswith("| set | CER %, good | CER %, poor | word F1")
