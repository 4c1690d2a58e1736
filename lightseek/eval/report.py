"""What a measurement found: figures of each set, on which machine, and every text behind them.

There is no row for the mean of all sets: a mean over pages and lines, easy and hard, says nothing.
Knows nothing of readers or metrics; a report comes from `suite.evaluate` or from its JSON.
"""

import datetime
import platform
import re
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from rich.table import Table


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


class SetReport(_Frozen):
    """Pooled figures of one folder."""

    name: str
    items: int
    """Images or PDFs."""
    pages: int
    failed: int
    """Pages that could not be read; all their characters count as errors."""
    characters: int
    """Of the truth, folded."""
    cer: float
    caseless_cer: float
    word_f1: float
    repeat_rate: float
    seconds_per_page: float
    """Wall time of the whole set over its pages; pages read together share it."""


class ItemReport(_Frozen):
    """One image or PDF: what was read and what stands there."""

    path: str
    """From the folder that was measured."""
    cer: float
    read: str
    truth: str


class Report(_Frozen):
    """All sets of one run."""

    model: str
    version: str
    """Of this package."""
    date: datetime.date
    machine: Machine
    sets: tuple[SetReport, ...]
    items: tuple[ItemReport, ...]

    def worst(self, count: int) -> tuple[ItemReport, ...]:
        """The items with the highest character error rates, worst first."""
        return tuple(sorted(self.items, key=lambda item: (-item.cer, item.path))[:count])

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
    """The sets as a table for the terminal."""
    table = Table(title=_caption(report))
    for column, heading in enumerate(_HEADINGS):
        table.add_column(heading, justify="right" if column else "left", no_wrap=True)
    for measured in report.sets:
        table.add_row(*_cells(measured))
    return table


def to_markdown(report: Report) -> str:
    """The sets as a Markdown table under a line that says what was measured where."""
    rows = [_HEADINGS, (":--",) + ("--:",) * (len(_HEADINGS) - 1), *map(_cells, report.sets)]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"{_caption(report)}\n\n{table}\n"


_HEADINGS = (
    "set",
    "pages",
    "failed",
    "characters",
    "CER %",
    "caseless %",
    "word F1 %",
    "repeat %",
    "s/page",
)


def _cells(measured: SetReport) -> tuple[str, ...]:
    return (
        measured.name,
        str(measured.pages),
        str(measured.failed),
        str(measured.characters),
        f"{100 * measured.cer:.2f}",
        f"{100 * measured.caseless_cer:.2f}",
        f"{100 * measured.word_f1:.1f}",
        f"{100 * measured.repeat_rate:.1f}",
        f"{measured.seconds_per_page:.3f}",
    )


def _caption(report: Report) -> str:
    machine = report.machine
    threads = "1 thread" if machine.threads == 1 else f"{machine.threads} threads"
    return (
        f"{report.model}, lightseek-ocr {report.version}, "
        f"{machine.cpu}, {threads}, {report.date.isoformat()}"
    )


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8") if info.exists() else ""
    named = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return named[1] if named else platform.processor() or platform.machine()
