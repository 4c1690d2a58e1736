#!/usr/bin/env python
"""What each part of a recipe is worth: variants, each trained from nothing with equal operations.

    python runs/ablation.py runs/ablation.toml -o build/ablation --page docs/ablations.md

A variant changes keys of the recipe (as `--set` does) or sizes of the model. The number of its
steps follows from the operations that one of its steps takes, so that a larger model sees fewer
strips. Each is a run folder: what was interrupted goes on, what is finished is read only. The same
held-out strips, of unseen text in unseen fonts, are read by all.
"""

import json
import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import click
import torch
from pydantic import PositiveFloat

from lightseek.config import STRICT, validate
from lightseek.eval.metrics import Score
from lightseek.eval.report import put
from lightseek.model import LightSeekOCR
from lightseek.tokenizer import character_tokenizer
from lightseek.train.batch import StripBatches, collate
from lightseek.train.card import read_record
from lightseek.train.exam import examine, held_out_strips
from lightseek.train.loss import TrainedModel
from lightseek.train.measure import step_flops
from lightseek.train.progress import read_curve
from lightseek.train.recipe import Recipe, load_recipe, read_recipe
from lightseek.train.run import train, trained_config
from lightseek.weights import default_dtype, load_model

STRIPS = 256
"""Held-out strips that every variant reads."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """What differs from the recipe."""

    __pydantic_config__: ClassVar = STRICT
    name: str
    changes: tuple[str, ...] = ()
    """`key=value` of the recipe."""
    sizes: dict[str, dict[str, Any]] | None = None
    """Of the model, by part."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A table to make."""

    __pydantic_config__: ClassVar = STRICT
    recipe: str
    operations: PositiveFloat
    """Useful floating-point operations of each run."""
    changes: tuple[str, ...]
    """Of the recipe, for all variants."""
    variants: tuple[Variant, ...]


FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(help=__doc__)
@click.argument("plan", type=FILE)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True)
@click.option("--page", type=FILE, help="Gets the table.")
@click.option("--operations", type=float, help="Of each run. [default: those of the plan]")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change all recipes.")
def main(
    plan: Path,
    output: Path,
    page: Path | None,
    operations: float | None,
    overrides: tuple[str, ...],
) -> None:
    """Train what is not trained yet, read, and write the table."""
    wanted = validate(Plan, read_recipe(plan), source=str(plan))
    budget = operations or wanted.operations
    rows = ["| variant | strips | operations | minutes | loss | glyphs % | CER % |"]
    rows.append("| :-- |" + " --: |" * 6)
    asked = load_recipe(Path(wanted.recipe), (*wanted.changes, *overrides))
    for variant in wanted.variants:
        folder = output / variant.name.replace(" ", "-")
        recipe = make_recipe(wanted, variant, folder, overrides)
        recipe = replace(recipe, steps=max(1, round(budget / flops_of_a_step(recipe))))
        recipe = replace(recipe, evaluate_every=recipe.steps)
        train(recipe, folder, device="cpu")
        [record] = read_record(folder / "model")
        if record["step"] < recipe.steps:
            raise click.ClickException(f"{variant.name} was stopped: the same command goes on")
        rows.append(row(variant, record, folder, asked))
        if page or variant is wanted.variants[-1]:  # what is there, should the run end here
            put(page, "tables", ["\n".join(rows)])


def make_recipe(plan: Plan, variant: Variant, folder: Path, overrides: tuple[str, ...]) -> Recipe:
    """The recipe of a variant; sizes of its own are a file beside its run."""
    changes = (*plan.changes, *variant.changes, *overrides)
    recipe = load_recipe(Path(plan.recipe), changes)
    if variant.sizes is None:
        return recipe
    lines = [f'like = "{recipe.model}"']
    for part, sizes in variant.sizes.items():
        lines += [f"[{part}]", *(f"{key} = {json.dumps(value)}" for key, value in sizes.items())]
    file = folder.with_suffix(".toml")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return replace(recipe, model=str(file))


def flops_of_a_step(recipe: Recipe) -> float:
    """Operations of a step, the mean over the run."""
    tokenizer = character_tokenizer()
    config = trained_config(recipe)
    trained = TrainedModel(LightSeekOCR(config), glyph_maps=recipe.loss.glyphs > 0)
    batches = StripBatches(recipe, config, tokenizer)
    total, start = 0.0, 0.0
    for stage in recipe.stages:
        sizes = [(width, lines) for width in stage.widths for lines in stage.lines]
        for width, lines in sizes:
            rng = random.Random(0)
            sample = batches.draw(rng, width, 0.0, lines)
            batch = collate([sample], [rng], tokenizer, batches.place, 0)
            each = step_flops(trained, batch, glyphs_only=stage.glyphs_only)
            share = (stage.until - start) / len(sizes)
            total += share * each * recipe.strips(width, lines)
        start = stage.until
    return total


def row(variant: Variant, record: dict[str, Any], folder: Path, asked: Recipe) -> str:
    """What came of a run, by strips of the recipe that all variants are changes of."""
    with_glyphs = record["recipe"]["loss"]["glyphs"] > 0
    glyphs = f"{100 * last_tenth(folder, 'token_hits'):.0f}" if with_glyphs else ""
    cells = [
        f"{record['strips']:,}",
        f"{record['flops']:.1e}",
        f"{record['seconds'] / 60:.0f}",
        f"{last_tenth(folder, 'text_loss'):.2f}",
        glyphs,
        f"{100 * read_held_out(asked, folder / 'model').cer:.1f}",
    ]
    return f"| {variant.name} | {' | '.join(cells)} |"


def last_tenth(folder: Path, name: str) -> float:
    """The mean of a curve over the last tenth of a run."""
    values = [value for _, value in read_curve(folder, name)]
    last = values[-max(1, len(values) // 10) :]
    return sum(last) / len(last)


def read_held_out(recipe: Recipe, model: Path) -> Score:
    """Errors in strips as the recipe ends with them."""
    device = torch.device("cpu")
    reader, tokenizer = load_model(str(model), device=device, dtype=default_dtype(device))
    return examine(reader, tokenizer, held_out_strips(recipe, reader.config, tokenizer, STRIPS))


if __name__ == "__main__":
    main()
