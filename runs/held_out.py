#!/usr/bin/env python
"""How exactly a model reads strips in fonts and of text that its training never showed.

    python runs/held_out.py nano configs/nano.toml --set data.fonts="'build/fonts'"

The families and the text kept aside follow from the recipe. Text is running text as it was
written, or what training draws: a good part of that is random strings and odd symbols, some of
which nobody could tell apart (O and 0, l and I). Prints one line of JSON a text and difficulty.
"""

import json
import random
from pathlib import Path

import click
import torch

from lightseek.data.strips import StripSample
from lightseek.train.batch import StripBatches
from lightseek.train.exam import examine
from lightseek.train.recipe import Recipe, load_recipe
from lightseek.weights import default_dtype, load_model

DIFFICULTIES = (0.0, 0.5, 1.0)
SEED = 11


@click.command()
@click.argument("model")
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change the recipe.")
@click.option("--strips", default=256, show_default=True, help="Strips of each difficulty.")
def main(model: str, recipe: Path, overrides: tuple[str, ...], strips: int) -> None:
    """Read strips that are drawn on the spot, and print the character error rate."""
    device = torch.device("cpu")
    reader, tokenizer = load_model(model, device=device, dtype=default_dtype(device))
    plan = load_recipe(recipe, overrides)
    batches = StripBatches(plan, reader.config, tokenizer, held_out=True)
    for text in ("running", "training"):
        for difficulty in DIFFICULTIES:
            samples = draw(batches, plan, text, difficulty, strips)
            total = examine(reader, tokenizer, samples)
            click.echo(
                json.dumps(
                    {
                        "text": text,
                        "difficulty": difficulty,
                        "strips": strips,
                        "families": len({face.family for face in batches.faces}),
                        "characters": total.characters,
                        "cer": round(total.cer, 5),
                    }
                )
            )


def draw(
    batches: StripBatches, plan: Recipe, text: str, difficulty: float, count: int
) -> list[StripSample]:
    """Strips, the same at every call."""
    rng = random.Random(SEED)
    one = batches.draw if text == "training" else batches.draw_running
    return [one(rng, rng.choice(plan.stages[-1].widths), difficulty) for _ in range(count)]


if __name__ == "__main__":
    main()
