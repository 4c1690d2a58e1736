"""`lightseek study`: questions to a model, answered with numbers and a plot."""

from pathlib import Path

import click

from lightseek.cli import console as stderr
from lightseek.cli.console import progress_bar


@click.group()
def study() -> None:
    """Questions to a model, answered with numbers and a plot."""


@study.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("compression"),
    show_default=True,
    metavar="DIR",
    help="Gets compression.json, .csv and .png.",
)
@click.option(
    "--model", default="nano", show_default=True, help="A name, a model folder or a hub id."
)
@click.option("--device", help="cpu, cuda or mps. [default: the GPU if there is one]")
@click.option(
    "--text",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Draw words from this text. [default: made-up English]",
)
@click.option(
    "--pages",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="Of every row of the table.",
)
@click.option("--seed", default=0, show_default=True, help="Another seed draws other words.")
def compression(
    output: Path, model: str, device: str | None, text: Path | None, pages: int, seed: int
) -> None:
    """Find how many text tokens fit in a visual token: print text ever denser, and read it.

    \b
    lightseek study compression -o compression
    lightseek study compression --text novel.txt --pages 10
    """
    from lightseek.errors import require
    from lightseek.study.chart import draw_chart
    from lightseek.study.compression import Plan, study_compression
    from lightseek.study.density import load_words
    from lightseek.study.table import published_markdown

    # what is missing is said before the pages are read, not after
    require("matplotlib", extra="study")
    words = load_words(text, seed)
    output.mkdir(parents=True, exist_ok=True)
    ocr = stderr.load_reader(model, device)
    with progress_bar() as bar:
        task = bar.add_task("reading", total=None)
        found = study_compression(
            ocr,
            words,
            Plan(pages=pages),
            on_row=lambda done, total: bar.update(task, completed=done, total=total),
        )
    (output / "compression.json").write_text(found.to_json(), encoding="utf-8")
    (output / "compression.csv").write_text(found.to_csv(), encoding="utf-8")
    draw_chart(found, output / "compression.png")
    click.echo(f"{found.to_markdown()}\n\nPublished, DeepSeek-OCR:\n\n{published_markdown()}")
