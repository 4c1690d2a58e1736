"""What a measurement found: figures of each set and engine, and every text behind them.

There is no row for the mean of all sets: a mean over pages and lines, easy and hard, says nothing.
Knows nothing of engines or metrics; a report comes from `suite.evaluate` or from its JSON.
"""

import datetime
import platform
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from rich.table import Table
from rich.text import Text

from lightseek.errors import UsageError


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Machine(_Frozen):
    """Where the times were taken."""

    cpu: str
    threads: int
    """Threads of one matrix product, not cores."""

    @classmethod
    def here(cls) -> "Machine":
        """This machine, as it is set now."""
        import torch

        return cls(cpu=_cpu_name(), threads=torch.get_num_threads())

    @property
    def described(self) -> str:
        """In words."""
        return f"{self.cpu}, {self.threads} thread{'' if self.threads == 1 else 's'}"


class Figures(_Frozen):
    """What one engine made of one set, pooled."""

    engine: str
    pages: int
    failed: int
    """Pages that could not be read; all their characters count as errors."""
    cer: float
    caseless_cer: float
    word_f1: float
    repeat_rate: float
    seconds_per_page: float
    """Wall time of the whole set over its pages; pages read together share it."""


class SetReport(_Frozen):
    """One folder, read by every engine."""

    name: str
    items: int
    """Images or PDFs."""
    characters: int
    """Of the truth, folded."""
    figures: tuple[Figures, ...]
    """One an engine, in the order in which they were asked for."""
    keeps_case: bool = True
    """Whether any truth has a lower-case letter; if none has, all is compared in capitals."""

    @property
    def title(self) -> str:
        """What the set is called in tables."""
        return self.name if self.keeps_case else f"{self.name} (caseless)"


class EngineReading(_Frozen):
    """What one engine read."""

    engine: str
    cer: float
    text: str
    failures: tuple[str, ...] = ()
    """Why pages could not be read."""


class ItemReport(_Frozen):
    """One image or PDF: what stands there and what was read."""

    path: str
    """Its set and its name."""
    truth: str
    readings: tuple[EngineReading, ...]


class Report(_Frozen):
    """All sets and engines of one run."""

    version: str
    """Of this package."""
    date: datetime.date
    machine: Machine
    sets: tuple[SetReport, ...]
    items: tuple[ItemReport, ...]

    @property
    def failed(self) -> int:
        """Pages that an engine could not read, over all sets and engines."""
        return sum(figures.failed for found in self.sets for figures in found.figures)

    def worst(self, count: int) -> tuple[ItemReport, ...]:
        """The items of the highest CER of the first engine, worst first."""
        ordered = sorted(self.items, key=lambda item: (-item.readings[0].cer, item.path))
        return tuple(ordered[:count])

    def to_json(self, *, indent: int | None = 2) -> str:
        """Everything, as JSON; `Report.from_json` reads it back."""
        return self.model_dump_json(indent=indent)

    @classmethod
    def from_json(cls, text: str | bytes) -> "Report":
        """Read what `to_json` wrote.

        Raises:
            pydantic.ValidationError: If the text is not such a report.
        """
        return cls.model_validate_json(text)


def render_table(report: Report) -> Table:
    """Sets and engines as a table for the terminal."""
    table = Table(title=_caption(report))
    for column, heading in enumerate(_HEADINGS):
        table.add_column(heading, justify="right" if column > 1 else "left", no_wrap=True)
    for found in report.sets:
        for row in _rows(found):
            table.add_row(*map(Text, row))  # a set may be called [b]
        table.add_section()
    return table


def to_markdown(report: Report) -> str:
    """All figures as a Markdown table under a line that says where they were taken."""
    rows = [row for found in report.sets for row in _rows(found)]
    return f"{_caption(report)}\n\n{_markdown(_HEADINGS, rows, names=2)}"


def compare(report: Report) -> str:
    """Errors, words and time of all engines side by side as a Markdown table, a row a set.

    The best figure of each kind is bold.
    """
    engines = [figures.engine for figures in report.sets[0].figures]
    headings = ["set", *(f"{kind}, {engine}" for kind in _COMPARED for engine in engines)]
    rows = [[found.title, *_side_by_side(found.figures)] for found in report.sets]
    return f"{_caption(report)}\n\n{_markdown(headings, rows, names=1)}"


def fill(page: str, name: str, tables: Sequence[str]) -> str:
    """The text of a page with new tables between its marks; all around them is kept.

    Args:
        page: Markdown with `<!-- NAME: begin -->` and `<!-- NAME: end -->`, in which more words may
            stand.
        name: Of the marks.
        tables: Follow each other there.

    Raises:
        UsageError: If the page has no such marks.
    """
    begin, end = (rf"<!-- {re.escape(name)}: {place}\b[^>]*-->" for place in ("begin", "end"))
    place = re.search(f"({begin}).*?({end})", page, re.DOTALL)
    if place is None:
        raise UsageError(
            f"the page has no place for {name}: it needs <!-- {name}: begin --> and end"
        )
    filled = "\n\n".join([place[1], *(table.strip() for table in tables), place[2]])
    return page[: place.start()] + filled + page[place.end() :]


def put(page: Path | None, name: str, tables: Sequence[str]) -> None:
    """Put tables between the marks of a page, as `fill` does, or print them where there is none."""
    if page is None:
        sys.stdout.write("\n\n".join(tables) + "\n")
    else:
        page.write_text(fill(page.read_text(encoding="utf-8"), name, tables), encoding="utf-8")


_HEADINGS = (
    "set",
    "engine",
    "pages",
    "failed",
    "characters",
    "CER %",
    "caseless %",
    "word F1 %",
    "repeat %",
    "s/page",
)
_COMPARED = ("CER %", "word F1 %", "s/page")
_HIGH_IS_GOOD = ("word F1 %",)


def _rows(found: SetReport) -> Iterator[list[str]]:
    for figures in found.figures:
        measured = {
            "set": found.title,
            "engine": figures.engine,
            "pages": str(figures.pages),
            "failed": str(figures.failed),
            "characters": str(found.characters),
            **_figures(figures),
        }
        yield [measured[heading] for heading in _HEADINGS]


def _figures(figures: Figures) -> dict[str, str]:
    return {
        "CER %": f"{100 * figures.cer:.2f}",
        "caseless %": f"{100 * figures.caseless_cer:.2f}",
        "word F1 %": f"{100 * figures.word_f1:.1f}",
        "repeat %": f"{100 * figures.repeat_rate:.1f}",
        "s/page": f"{figures.seconds_per_page:.3f}",
    }


def _side_by_side(engines: Sequence[Figures]) -> Iterator[str]:
    for kind in _COMPARED:
        shown = [_figures(figures)[kind] for figures in engines]
        choose: Callable[..., str] = max if kind in _HIGH_IS_GOOD else min
        best = choose(shown, key=float)
        yield from (f"**{s}**" if s == best and len(shown) > 1 else s for s in shown)


def _markdown(headings: Sequence[str], rows: Iterable[Sequence[str]], *, names: int) -> str:
    """A table whose first columns are names and whose others are numbers."""
    ruler = [":--" if column < names else "--:" for column in range(len(headings))]
    return "".join(f"| {' | '.join(row)} |\n" for row in (headings, ruler, *rows))


def _caption(report: Report) -> str:
    version, date = report.version, report.date.isoformat()
    return f"lightseek-ocr {version}, {report.machine.described}, {date}"


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8") if info.exists() else ""
    named = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return named[1] if named else platform.processor() or platform.machine()
