"""What the study of compression found, as data and as tables in the form of the paper's.

Knows nothing of how it was measured.
"""

import csv
import datetime
import io
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict, computed_field

from lightseek.eval.report import Machine
from lightseek.study.published import FOX


class Row(BaseModel):
    """Pages of one density; counts are sums over them, shares are means."""

    # ratios are written for those who read the file, and found again from the counts
    model_config = ConfigDict(frozen=True, extra="ignore")

    series: str
    """`narrower`, `coarser`, or a mode."""
    setting: str
    """What makes the density."""
    pages: int
    characters: int
    text_tokens: int
    visual_tokens: int
    precision: float
    """Share of the different words that were read which the page has, as in the Fox study."""
    cer: float
    """Character error rate."""
    pooled_precision: float
    """The same of text embeddings pooled to as many vectors."""
    pooled_cer: float

    @computed_field  # type: ignore[prop-decorator]
    @property
    def compression(self) -> float:
        """Text tokens a visual token."""
        return self.text_tokens / max(1, self.visual_tokens)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def characters_per_visual_token(self) -> float:
        """The same in characters, whatever the tokenizer."""
        return self.characters / max(1, self.visual_tokens)


class Study(BaseModel):
    """All rows, and what they were measured with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    version: str
    """Of this package."""
    date: datetime.date
    machine: Machine
    text_tokens_are: str
    """How text tokens were counted."""
    rows: tuple[Row, ...]
    published: tuple[dict[str, Any], ...] = tuple(
        {**row._asdict(), "text_tokens": list(row.text_tokens)} for row in FOX
    )
    """The table of the paper."""

    def of(self, series: str) -> tuple[Row, ...]:
        """The rows of one series."""
        return tuple(row for row in self.rows if row.series == series)

    @property
    def series(self) -> tuple[str, ...]:
        """Names of all series, in order."""
        return tuple(dict.fromkeys(row.series for row in self.rows))

    def to_json(self) -> str:
        """Everything, as JSON."""
        return self.model_dump_json(indent=2) + "\n"

    def to_csv(self) -> str:
        """A line a row, ratios included."""
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, list(self.rows[0].model_dump()), lineterminator="\n")
        writer.writeheader()
        writer.writerows(row.model_dump() for row in self.rows)
        return buffer.getvalue()

    def to_markdown(self) -> str:
        """What was measured, one table."""
        cells = [
            (
                row.setting,
                str(row.pages),
                f"{row.characters_per_visual_token:.1f}",
                f"{row.compression:.1f}x",
                _percent(row.precision),
                _percent(row.cer),
                _percent(row.pooled_precision),
                _percent(row.pooled_cer),
            )
            for row in self.rows
        ]
        head = ("print", "pages", "characters / visual token", "text / visual tokens")
        figures = ("precision %", "CER %", "pooled: precision %", "pooled: CER %")
        title = f"{self.model}, lightseek-ocr {self.version}, {self.machine.described}, {self.date}"
        return f"{title}\n\n{_table((*head, *figures), cells)}"


def published_markdown() -> str:
    """The table of the paper."""
    of_tiny = ("64: precision %", "64: text / visual")
    of_small = ("100: precision %", "100: text / visual")
    head = ("text tokens", *of_tiny, *of_small, "pages")
    cells = [
        (
            f"{row.text_tokens[0]}-{row.text_tokens[1]}",
            _percent(row.tiny_precision),
            f"{row.tiny_compression}x",
            _percent(row.small_precision),
            f"{row.small_compression}x",
            str(row.pages),
        )
        for row in FOX
    ]
    return _table(head, cells)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    marks = (":--", *["--:"] * (len(head) - 1))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, marks, *rows))
