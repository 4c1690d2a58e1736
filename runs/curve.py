#!/usr/bin/env python
"""What training runs brought: loss and held-out errors against the strips seen.

    python runs/curve.py build/run... --page docs/train.md

A row for every reading of held-out strips. The runs are those that the record of a model tells of;
strips and operations count from the first that knows of its own.
"""

from pathlib import Path
from typing import Any

import click

from lightseek.eval.report import put
from lightseek.train.card import read_record
from lightseek.train.progress import read_curve
from lightseek.weights import find_model

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command(help=__doc__)
@click.argument("folders", nargs=-1, required=True, type=FOLDER)
@click.option("--model", default="nano", show_default=True, help="What came of the runs.")
@click.option("--page", type=click.Path(exists=True, path_type=Path), help="Gets the table.")
def main(folders: tuple[Path, ...], model: str, page: Path | None) -> None:
    """Read the curves, and write the table."""
    record = read_record(find_model(model))
    rows = [
        "| run | strips seen | operations | loss | cells right % | held-out CER % |",
        "| --: |" + " --: |" * 5,
    ]
    for folder in folders:
        rows += rows_of(folder, record)
    put(page, "curve", ["\n".join(rows)])


def rows_of(folder: Path, record: list[dict[str, Any]]) -> list[str]:
    """The rows of a run, which is one of the record."""
    own = read_record(folder / "model")[-1]
    known = [run.get("flops") for run in record]
    if own["flops"] not in known:
        raise click.ClickException(f"the record of the model does not tell of {folder}")
    number = known.index(own["flops"])
    strips_before, flops_before = (
        sum(run.get(name, 0) for run in record[:number]) for name in ("strips", "flops")
    )
    losses, cells, flops, errors = (
        read_curve(folder, name) for name in ("text_loss", "token_hits", "flops", "held_out_cer")
    )
    done = dict(flops)
    rows, start = [], 0
    for end, cer in errors:
        rows.append(
            f"| {number + 1} | {strips_before + end:,} | {flops_before + done[end]:.2e} "
            f"| {mean(losses, start, end):.3f} | {100 * mean(cells, start, end):.1f} "
            f"| {100 * cer:.1f} |"
        )
        start = end
    return rows


def mean(curve: list[tuple[int, float]], start: int, end: int) -> float:
    """Of a curve, over what was seen between two counts of strips."""
    values = [value for strips, value in curve if start < strips <= end]
    return sum(values) / len(values)


if __name__ == "__main__":
    main()
