"""Measure the cutter by itself: which printed lines come out whole, in order, in one piece.

    python runs/cutter.py scans
    python runs/cutter.py scans --sample 8 --worst 5

What the reader says of every line that was cut is matched with the lines of the truth, so that
plain text is all that is needed: `page.txt` beside `page.png`, with printed line breaks (or
`page.lines.txt` with them). Errors of the reader blur the figures a little; compare runs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from time import process_time

import click
import numpy as np
import torch
from jaxtyping import Bool, Int, UInt8
from rapidfuzz.distance import Levenshtein
from rapidfuzz.fuzz import partial_ratio
from rapidfuzz.process import cdist
from rich.console import Console
from rich.table import Table

from lightseek.blocks import cut_page
from lightseek.eval.metrics import Score, fold, score
from lightseek.eval.suite import Item, find_items
from lightseek.pages import PageImage, open_pages
from lightseek.reader import read_strips
from lightseek.weights import load_model

Read = Callable[[Sequence[UInt8[np.ndarray, "Y _"]]], list[str]]
"""Strips to their texts."""

_SAME = 0.85
"""Likeness from which a line that was read is a line of the truth."""
_LONGEST = 200
"""Characters of a printed line, at most: a truth with a longer one holds paragraphs."""


@dataclass(frozen=True, slots=True)
class Cutting:
    """What became of some pages; `a + b` pools them."""

    score: Score = field(default_factory=Score)
    true: int = 0
    """Lines of the truth, where it keeps them."""
    whole: int = 0
    """Of these, found as one line, or as one piece of a line."""
    ordered: int = 0
    """Of these, in the order of the truth."""
    found: int = 0
    """Lines that were cut."""
    stray: int = 0
    """Of these, like no line of the truth nor a piece of one."""
    seconds: float = 0.0
    """Of the processor, for cutting."""
    slowest: float = 0.0

    def __add__(self, other: "Cutting") -> "Cutting":
        names = [field.name for field in fields(self)][:-1]
        sums = {name: getattr(self, name) + getattr(other, name) for name in names}
        return Cutting(**sums, slowest=max(self.slowest, other.slowest))


def measure(item: Item, read: Read) -> Cutting:
    """Cut and read one file, and compare its lines with those of its truth."""
    lines: list[list[str]] = []
    paragraphs: list[str] = []
    slowest = total = 0.0
    for page in open_pages(item.source, dpi=150):
        if not isinstance(page, PageImage):
            continue
        began = process_time()
        blocks = cut_page(page.image)
        took = process_time() - began
        slowest, total = max(slowest, took), total + took
        texts = iter(read([s.image for block in blocks for s in block.strips]))
        for block in blocks:
            cut = [[next(texts) for _ in line.strips] for line in block.lines]
            lines += cut
            paragraphs.append("\n".join(" ".join(filter(None, line)) for line in cut))
    truth = item.truth.read_text(encoding="utf-8-sig")
    printed = item.truth.with_suffix(".lines.txt")
    if printed.exists():
        truth = printed.read_text(encoding="utf-8-sig")
    counts = _compare(lines, truth)
    return Cutting(score("\n\n".join(paragraphs), truth), *counts, total, slowest)


def _compare(lines: list[list[str]], truth: str) -> tuple[int, int, int, int, int]:
    """Lines of the truth, whole ones, ordered ones; lines that were cut, stray ones."""
    true = [text for line in truth.splitlines() if (text := _plain(line))]
    found = [_plain(" ".join(line)) for line in lines]
    found = [text for text in found if text]
    if max(map(len, true), default=0) > _LONGEST:
        return 0, 0, 0, 0, 0
    pieces = [(i, _plain(piece)) for i, line in enumerate(lines) for piece in line]
    choices = found + [piece for _, piece in pieces]
    if not true or not choices:
        return len(true), 0, 0, len(found), len(found)
    numbers = np.array([*range(len(found)), *(i for i, _ in pieces)])
    like = cdist(true, choices, scorer=Levenshtein.normalized_similarity) >= _SAME
    whole = int(like.any(axis=1).sum())
    everything = " ".join(true)
    stray = sum(_is_stray(text, everything) for text in found)
    return len(true), whole, _ordered(like, numbers), len(found), stray


def _plain(line: str) -> str:
    """A line without what its cut does not decide: case and spaces."""
    return "".join(fold(line).casefold().split())


def _ordered(like: Bool[np.ndarray, "T C"], numbers: Int[np.ndarray, " C"]) -> int:
    """Most lines of the truth that are found one after the other: a longest common sequence."""
    by_line = np.zeros((len(like), int(numbers.max()) + 1), bool)
    for column, number in enumerate(numbers.tolist()):
        by_line[:, number] |= like[:, column]
    best = np.zeros(by_line.shape[1] + 1, int)
    for row in by_line:
        step = np.where(row, best[:-1] + 1, 0)
        best[1:] = np.maximum.accumulate(np.maximum(best[1:], step))
    return int(best[-1])


def _is_stray(text: str, everything: str) -> bool:
    return text not in everything and partial_ratio(text, everything) < 100 * (_SAME - 0.15)


def reader(model: str) -> Read:
    """What a model says of strips."""
    loaded, tokenizer = load_model(model, device=torch.device("cpu"), dtype=torch.float32)
    return lambda strips: [read.text for read in read_strips(loaded, tokenizer, strips)]


def table(sets: dict[str, dict[str, Cutting]]) -> Table:
    """One row a set."""
    headings = ("set", "items", "lines", "whole %", "in order %", "stray %", "CER %", "caseless %")
    drawn = Table()
    for heading in (*headings, "word F1 %", "cut s", "slowest s"):
        drawn.add_column(heading, justify="left" if heading == "set" else "right", no_wrap=True)
    for name, items in sets.items():
        pool = sum(items.values(), Cutting())
        shares = (
            f"{100 * part / whole:.1f}" if whole else "-"
            for part, whole in (
                (pool.whole, pool.true),
                (pool.ordered, pool.true),
                (pool.stray, pool.found),
            )
        )
        rates = pool.score.cer, pool.score.caseless_cer, pool.score.word_f1
        times = pool.seconds / max(1, len(items)), pool.slowest
        drawn.add_row(
            *(name, str(len(items)), str(pool.true), *shares),
            *(f"{100 * rate:.2f}" for rate in rates),
            *(f"{seconds:.3f}" for seconds in times),
        )
    return drawn


def sample(items: list[Item], count: int | None) -> list[Item]:
    """Some of the items, evenly spread."""
    if count is None or len(items) <= count:
        return items
    return [items[i * len(items) // count] for i in range(count)]


def report(folder: Path, read: Read, *, count: int | None, worst: int) -> None:
    """Measure and print."""
    console = Console(width=140)
    measured: dict[str, dict[str, Cutting]] = {}
    for name, items in find_items(folder).items():
        measured[name] = {i.source.name: measure(i, read) for i in sample(items, count)}
    console.print(table(measured))
    for name, cuttings in measured.items():
        ranked = sorted(cuttings.items(), key=lambda pair: -pair[1].score.caseless_edits)[:worst]
        for source, cutting in ranked:
            found = cutting.score
            rates = f"caseless {100 * found.caseless_cer:5.1f} %  F1 {100 * found.word_f1:5.1f} %"
            lines = f"{cutting.true - cutting.ordered:3d} of {cutting.true:3d} lines lost"
            console.print(f"{name}  {rates}  {lines}  {source}", highlight=False)


@click.command(help="Measure how the cutter cuts the pages of DIR, set by set.")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--model", default="nano", show_default=True, help="What reads the lines.")
@click.option("--sample", "count", type=int, help="Items a set, evenly spread; all by default.")
@click.option("--worst", default=0, help="Also name the items a set that cost most.")
def main(folder: Path, model: str, count: int | None, worst: int) -> None:
    """Measure a folder."""
    report(folder, reader(model), count=count, worst=worst)


if __name__ == "__main__":
    main()
