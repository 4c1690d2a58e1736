#!/usr/bin/env python
"""What kinds of errors a model makes on each set, from what `lightseek eval DIR --json` found.

    python runs/failures.py report.json --page docs/failures.md

Every edit between the text that was read and the truth is of one kind: a passage that is missing,
invented or elsewhere, or single characters that differ in case, spaces, marks, digits or letters.
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import click
from rapidfuzz.distance import Levenshtein

from lightseek.eval.metrics import fold
from lightseek.eval.report import ItemReport, Report, put

KINDS = ("passages", "case", "spaces", "marks", "digits", "letters")
PASSAGE = 20
"""Characters in a row that are wrong, from which they are a passage."""
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(help=__doc__)
@click.argument("report", type=FILE)
@click.option("--page", type=FILE, help="Gets the table.")
def main(report: Path, page: Path | None) -> None:
    """Count, and write the table."""
    found = Report.from_json(report.read_bytes())
    rows = [
        f"| set | edits | {' | '.join(f'{kind} %' for kind in KINDS)} |",
        "| :-- |" + " --: |" * (1 + len(KINDS)),
    ]
    for one in found.sets:
        own = [item for item in found.items if item.path.rpartition("/")[0] == one.name]
        rows.append(row(one.title, count(own, keeps_case=one.keeps_case)))
    put(page, "tables", ["\n".join(rows)])


def row(name: str, edits: Counter[str]) -> str:
    """A set's edits, and the share of each kind."""
    total = edits.total()
    shares = (f"{100 * edits[kind] / max(1, total):.0f}" for kind in KINDS)
    return f"| {name} | {total} | {' | '.join(shares)} |"


def count(items: Iterable[ItemReport], *, keeps_case: bool) -> Counter[str]:
    """The edits of all items, by kind, of the first engine."""
    edits: Counter[str] = Counter()
    for item in items:
        read = item.readings[0].text
        edits += kinds_of_edits(fold(read if keeps_case else read.upper()), fold(item.truth))
    return edits


def kinds_of_edits(read: str, truth: str) -> Counter[str]:
    """The edits that lead from one text to another, by kind."""
    edits: Counter[str] = Counter()
    for block in Levenshtein.opcodes(read, truth):
        wrong, right = (
            read[block.src_start : block.src_end],
            truth[block.dest_start : block.dest_end],
        )
        length = max(len(wrong), len(right))
        if block.tag == "equal":
            continue
        if length >= PASSAGE:
            edits["passages"] += length
        else:
            pairs = zip(wrong.ljust(length, "\0"), right.ljust(length, "\0"), strict=True)
            edits.update(kind_of(*pair) for pair in pairs)
    return edits


def kind_of(wrong: str, right: str) -> str:
    """What differs between two characters; a missing one is NUL."""
    if wrong.casefold() == right.casefold():
        return "case"
    if " " in (wrong, right):
        return "spaces"
    shown = right if right != "\0" else wrong
    if shown.isdigit():
        return "digits"
    return "letters" if shown.isalpha() else "marks"


if __name__ == "__main__":
    main()
