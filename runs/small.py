#!/usr/bin/env python
"""What the architecture of lightseek-base learns from nothing, beside the next token alone.

    python runs/small.py build/small build/small-text --page docs/small.md

Reads strips of one to four lines, in the font families and of the text that training kept aside,
with the weights of each run, and writes tables of what was trained and how exactly it reads.
"""

import random
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

import click
import torch

from lightseek.config import validate
from lightseek.data.strips import StripRenderer, StripSample, by_family
from lightseek.eval.metrics import Score
from lightseek.eval.report import put
from lightseek.model import LightSeekOCR
from lightseek.tokenizer import Tokenizer
from lightseek.train.batch import StripBatches
from lightseek.train.card import read_record
from lightseek.train.exam import examine
from lightseek.train.progress import read_curve
from lightseek.train.recipe import Recipe
from lightseek.weights import default_dtype, load_model

LINES = (1, 2, 3, 4)
SEED = 11
POINTS = 8
"""Rows of the table of the curve."""


@dataclass(frozen=True)
class Run:
    """A training run, and the weights that it left."""

    folder: Path
    model: LightSeekOCR
    tokenizer: Tokenizer
    recipe: Recipe
    batches: StripBatches
    """Draw strips that training kept aside."""

    @property
    def taught(self) -> str:
        """The parts of its loss."""
        loss = self.recipe.loss
        parts = ["next token", "glyph maps" if loss.glyphs else "", "places" if loss.places else ""]
        return ", ".join(part for part in parts if part)


FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command(help=__doc__)
@click.argument("folders", nargs=-1, required=True, type=FOLDER)
@click.option("--page", type=click.Path(exists=True, path_type=Path), help="Gets the tables.")
@click.option("--strips", default=96, show_default=True, help="Strips of each number of lines.")
def main(folders: tuple[Path, ...], page: Path | None, strips: int) -> None:
    """Measure, and write tables."""
    runs = [open_run(folder) for folder in folders]
    tables = [training_table(runs), reading_table(runs, strips), family_table(runs, strips // 4)]
    put(page, "tables", [*tables, curve_table(runs)])


def open_run(folder: Path) -> Run:
    """Load what a run left."""
    device = torch.device("cpu")
    path = folder / "model"
    model, tokenizer = load_model(str(path), device=device, dtype=default_dtype(device))
    recipe = validate(Recipe, read_record(path)[-1]["recipe"], source=str(path))
    batches = StripBatches(recipe, model.config, tokenizer, held_out=True)
    return Run(folder, model, tokenizer, recipe, batches)


def training_table(runs: list[Run]) -> str:
    """What each run was given."""
    rows = [
        "| learns | parameters | steps | strips | operations | minutes | processor |",
        "| :-- | --: | --: | --: | --: | --: | :-- |",
    ]
    for run in runs:
        record = read_record(run.folder / "model")
        parameters = sum(parameter.numel() for parameter in run.model.parameters())
        steps, strips = (sum(entry[name] for entry in record) for name in ("step", "strips"))
        flops, seconds = (sum(entry[name] for entry in record) for name in ("flops", "seconds"))
        rows.append(
            f"| {run.taught} | {parameters / 1e6:.1f} M | {steps} | {strips:,} | {flops:.1e} "
            f"| {seconds / 60:.0f} | {record[-1]['cpu']} |"
        )
    return "\n".join(rows)


def reading_table(runs: list[Run], strips: int) -> str:
    """Character errors by lines a strip."""
    heads = " | ".join(f"{lines} line{'s' * (lines > 1)}" for lines in LINES)
    rows = [f"| learns | text | {heads} | all |", "| :-- | :-- |" + " --: |" * (len(LINES) + 1)]
    for run in runs:
        for text in ("running", "mixture"):
            found = [measure(run, text, lines, strips) for lines in LINES]
            cells = [f"{100 * one.cer:.1f}" for one in (*found, sum(found, start=Score()))]
            rows.append(f"| {run.taught} | {text} | {' | '.join(cells)} |")
    return "\n".join(rows)


def measure(run: Run, text: str, lines: int, count: int) -> Score:
    """Errors in strips of so many lines, the same for every run."""
    recipe = run.recipe
    rng = random.Random(f"{SEED} {text} {lines}")
    width, difficulty = recipe.widest, recipe.stages[-1].difficulty
    one = run.batches.draw if text == "mixture" else run.batches.draw_running
    samples = [one(rng, width, difficulty, lines) for _ in range(count)]
    return examine(run.model, run.tokenizer, samples)


def family_table(runs: list[Run], strips: int) -> str:
    """Character errors by font family, on the same text, the hardest last."""
    found: dict[str, list[float]] = {}
    for run in runs:
        for faces in by_family(run.batches.faces):
            samples = draw_in(StripRenderer(faces, run.tokenizer.ids), run, strips)
            cer = examine(run.model, run.tokenizer, samples).cer
            found.setdefault(faces[0].family, []).append(cer)
    rows = [
        "| family | " + " | ".join(run.taught for run in runs) + " |",
        "| :-- |" + " --: |" * len(runs),
    ]
    found = dict(sorted(found.items(), key=lambda item: item[1]))
    for family, cers in found.items():
        rows.append(f"| {family} | " + " | ".join(f"{100 * cer:.1f}" for cer in cers) + " |")
    middle = (median(cers) for cers in zip(*found.values(), strict=True))
    rows.append("| half of them at most | " + " | ".join(f"{100 * m:.1f}" for m in middle) + " |")
    return "\n".join(rows)


def draw_in(renderer: StripRenderer, run: Run, count: int) -> list[StripSample]:
    """Running text in some faces, in strips of one to four lines by turns."""
    rng = random.Random(f"{SEED} families")
    width, difficulty = run.recipe.widest, run.recipe.stages[-1].difficulty
    return [
        run.batches.draw_running(rng, width, difficulty, LINES[i % len(LINES)], renderer)
        for i in range(count)
    ]


def curve_table(runs: list[Run]) -> str:
    """Next-token loss against strips seen."""
    curves = [read_curve(run.folder, "text_loss") for run in runs]
    last = max(curve[-1][0] for curve in curves)
    rows = [
        "| strips | " + " | ".join(f"loss, {run.taught}" for run in runs) + " |",
        "| --: |" + " --: |" * len(runs),
    ]
    ends = [round(last * point / POINTS) for point in range(POINTS + 1)]
    for start, end in pairwise(ends):
        cells = []
        for curve in curves:
            part = [loss for strips, loss in curve if start < strips <= end]
            whole = curve[-1][0] >= end and part
            cells.append(f"{sum(part) / len(part):.2f}" if whole else "")
        rows.append(f"| {end:,} | {' | '.join(cells)} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
