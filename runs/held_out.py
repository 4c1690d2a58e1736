#!/usr/bin/env python
"""How exactly a model reads strips in fonts and of text that its training never showed.

    python runs/held_out.py nano configs/nano.toml --strips 384 --page docs/results.md

The families and the text kept aside follow from the recipe. Text is running text as it was
written, or what training draws: a good part of that is random strings and odd symbols, some of
which nobody could tell apart (O and 0, l and I).
"""

import random
from pathlib import Path

import click
import torch

from lightseek.data.strips import StripSample
from lightseek.eval.metrics import Score
from lightseek.eval.report import put
from lightseek.train.batch import StripBatches
from lightseek.train.exam import examine
from lightseek.train.recipe import Recipe, load_recipe
from lightseek.weights import default_dtype, load_model

WEAR = (0.0, 0.5, 1.0)
SEED = 11


@click.command(help=__doc__)
@click.argument("model")
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change the recipe.")
@click.option("--strips", default=256, show_default=True, help="Strips of each text and wear.")
@click.option("--page", type=click.Path(exists=True, path_type=Path), help="Gets the table.")
def main(
    model: str, recipe: Path, overrides: tuple[str, ...], strips: int, page: Path | None
) -> None:
    """Read strips that are drawn on the spot, and write a table."""
    device = torch.device("cpu")
    reader, tokenizer = load_model(model, device=device, dtype=default_dtype(device))
    plan = load_recipe(recipe, overrides)
    batches = StripBatches(plan, reader.config, tokenizer, held_out=True)
    families = len({face.family for face in batches.faces})
    rows = ["| text | wear | characters | CER % |", "| :-- | --: | --: | --: |"]
    whole = Score()
    for text in ("running", "mixture"):
        for wear in WEAR:
            found = examine(reader, tokenizer, draw(batches, plan, text, wear, strips))
            rows.append(f"| {text} | {wear:g} | {found.characters:,} | {100 * found.cer:.1f} |")
            whole += found
    told = f"{families} font families, {strips} strips of each kind"
    whole_told = f"All together: {100 * whole.cer:.1f} % of {whole.characters:,} characters."
    put(page, "held out", [f"{told}. {whole_told}", "\n".join(rows)])


def draw(
    batches: StripBatches, plan: Recipe, text: str, wear: float, count: int
) -> list[StripSample]:
    """Strips, the same at every call."""
    rng = random.Random(SEED)
    one = batches.draw if text == "mixture" else batches.draw_running
    return [one(rng, rng.choice(plan.stages[-1].widths), wear) for _ in range(count)]


if __name__ == "__main__":
    main()
