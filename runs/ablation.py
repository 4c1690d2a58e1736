#!/usr/bin/env python
"""What each part of a recipe is worth: variants of it, each trained with equal operations.

    python runs/ablation.py runs/ablation.toml -o build/ablation --page docs/ablations.md

A study is a table. Its variants change keys of its recipe (as `--set` does) or sizes of the model.
The number of their steps follows from the operations that one of them takes, so that a larger model
sees fewer strips. Each is a run folder: what was interrupted goes on, what is finished is read
only. The same held-out strips, of unseen text in unseen fonts, are read by all of a study.
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
from lightseek.train.run import fresh_model, train, trained_config
from lightseek.weights import default_dtype, load_model, save_model

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
class Study:
    """A table to make."""

    __pydantic_config__: ClassVar = STRICT
    name: str
    recipe: str
    operations: PositiveFloat
    """Useful floating-point operations of each run."""
    encoder: str | None = None
    """Model whose encoder all variants begin with; without one they begin from nothing."""
    changes: tuple[str, ...]
    """Of the recipe, for all variants."""
    variants: tuple[Variant, ...]

    @property
    def reads(self) -> bool:
        """Whether its models learn to read, and not only to see."""
        return not self.load().stages[-1].glyphs_only

    def load(self, *more: str) -> Recipe:
        """The recipe, with more changes."""
        return load_recipe(Path(self.recipe), (*self.changes, *more))


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The tables of a page."""

    __pydantic_config__: ClassVar = STRICT
    studies: tuple[Study, ...]


FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(help=__doc__)
@click.argument("plan", type=FILE)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True)
@click.option("--page", type=FILE, help="Gets the tables.")
@click.option("--operations", type=float, help="Of each run. [default: those of the plan]")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change all recipes.")
def main(
    plan: Path,
    output: Path,
    page: Path | None,
    operations: float | None,
    overrides: tuple[str, ...],
) -> None:
    """Train what is not trained yet, read, and write the tables."""
    studies = validate(Plan, read_recipe(plan), source=str(plan)).studies
    tables = []
    for study in studies:
        tables.append(head(study))
        for variant in study.variants:
            folder = output / study.name / variant.name.replace(" ", "-")
            recipe = make_recipe(study, variant, folder, overrides)
            steps = round((operations or study.operations) / flops_of_a_step(recipe))
            recipe = replace(recipe, steps=max(1, steps), evaluate_every=max(1, steps))
            train(recipe, folder, device="cpu", start=make_start(study, recipe, folder))
            [record] = read_record(folder / "model")
            if record["step"] < recipe.steps:
                raise click.ClickException(f"{variant.name} was stopped: the same command goes on")
            tables[-1] += f"\n{row(study, variant, record, folder, overrides)}"
            if page:  # what is there, should the run end here
                put(page, "tables", tables)
    if page is None:
        put(None, "tables", tables)


def make_recipe(study: Study, variant: Variant, folder: Path, overrides: tuple[str, ...]) -> Recipe:
    """The recipe of a variant; sizes of its own are a file beside its run."""
    recipe = study.load(*variant.changes, *overrides)
    if variant.sizes is None:
        return recipe
    lines = [f'like = "{recipe.model}"']
    for part, sizes in variant.sizes.items():
        lines += [f"[{part}]", *(f"{key} = {json.dumps(value)}" for key, value in sizes.items())]
    file = folder.with_suffix(".toml")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return replace(recipe, model=str(file))


def make_start(study: Study, recipe: Recipe, folder: Path) -> Path | None:
    """A model beside the run that sees as another does, and knows nothing else."""
    if study.encoder is None:
        return None
    device = torch.device("cpu")
    seeing, tokenizer = load_model(study.encoder, device=device, dtype=torch.float32)
    model = fresh_model(trained_config(recipe), recipe.seed)
    model.encoder.load_state_dict(seeing.encoder.state_dict())
    start = folder.with_suffix(".start")
    save_model(start, model, tokenizer)
    return start


def flops_of_a_step(recipe: Recipe) -> float:
    """Operations of a step, the mean over the run."""
    tokenizer = character_tokenizer()
    config = trained_config(recipe)
    model = LightSeekOCR(config)
    model.freeze(recipe.freeze)
    trained = TrainedModel(model, glyph_maps=recipe.loss.glyphs > 0)
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


def head(study: Study) -> str:
    """The first lines of a table."""
    columns = ["strips", "operations", "minutes"]
    columns += ["loss", "CER %"] if study.reads else ["patches %", "tokens %"]
    return f"| {study.name} | {' | '.join(columns)} |\n| :-- |{' --: |' * len(columns)}"


def row(
    study: Study,
    variant: Variant,
    record: dict[str, Any],
    folder: Path,
    overrides: tuple[str, ...],
) -> str:
    """What came of a run, by strips of the recipe that all variants are changes of."""
    cells = [f"{record['strips']:,}", f"{record['flops']:.1e}", f"{record['seconds'] / 60:.0f}"]
    if study.reads:
        cer = read_held_out(study.load(*overrides), folder / "model").cer
        cells += [f"{last_tenth(folder, 'text_loss'):.2f}", f"{100 * cer:.1f}"]
    else:
        cells += [f"{100 * last_tenth(folder, name):.1f}" for name in ("patch_hits", "token_hits")]
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
