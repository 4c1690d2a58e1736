"""`lightseek info` and `lightseek eval`: what a model is, and how well it reads."""

from pathlib import Path

import click
from rich.console import Console

from lightseek.cli import console as stderr
from lightseek.cli.console import progress_bar


@click.command()
@click.argument("model")
@click.option("--json", "json_", is_flag=True, help="Print the card as JSON.")
def info(model: str, json_: bool) -> None:
    """Say what a model is: sizes, memory, what a page costs; nothing is loaded.

    \b
    lightseek info nano
    lightseek info deepseek-ocr --json | jq .parameters
    lightseek info deepseek-ai/DeepSeek-OCR
    """
    from lightseek.info import describe

    card = describe(model)
    click.echo(card.to_json() if json_ else card.to_text())


@click.command("eval")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--model", default="nano", show_default=True, help="A name or a model folder.")
@click.option("--device", help="cpu, cuda or mps. [default: the GPU if there is one]")
@click.option("--limit", type=click.IntRange(min=1), help="Files of each set to read.")
@click.option(
    "--worst",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Show the N files with most errors.",
)
@click.option("--json", "json_", is_flag=True, help="Print the report as JSON.")
def evaluate(
    folder: Path, model: str, device: str | None, limit: int | None, worst: int, json_: bool
) -> None:
    """Read a folder of images with true text beside them (page.png, page.txt), and score it.

    Every sub-folder is a set of its own.

    \b
    lightseek eval scans/
    lightseek eval scans/ --worst 20
    lightseek eval scans/ --json > nano.json
    """
    from lightseek.eval.report import render_table
    from lightseek.eval.suite import evaluate as run

    ocr = stderr.load_reader(model, device)
    with progress_bar() as bar:
        task = bar.add_task("reading", total=None)
        report = run(
            ocr,
            folder,
            model=model,
            limit=limit,
            on_item=lambda done, total: bar.update(task, completed=done, total=total),
        )
    if json_:
        click.echo(report.to_json())
        return
    # wider than most terminals: a line may be wrapped there, but no figure is cut
    Console(width=200).print(render_table(report))
    for item in report.worst(worst):
        click.echo(
            f"\n{item.path}: CER {item.cer:.3f}\n  read  {item.read!r}\n  truth {item.truth!r}"
        )
