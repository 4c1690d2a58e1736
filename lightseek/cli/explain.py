"""`lightseek explain`: what the reader saw, as a report to look at."""

from pathlib import Path

import click
from rich.console import Console

from lightseek.cli import console as stderr


@click.command()
@click.argument("file")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Gets the report and its pictures. [default: <stem>-explained]",
)
@click.option("--page", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--mode", help="How the page is cut into views. [default: the model's own]")
@click.option(
    "--prompt",
    metavar="NAME|TEXT",
    callback=stderr.whole_prompt,
    help="What to ask. [default: the text alone]",
)
@click.option(
    "--max-tokens", type=click.IntRange(min=1), metavar="N", help="Give the page up after N tokens."
)
@click.option(
    "--layer",
    type=click.IntRange(min=0),
    help="Decoder layer to show. [default: the one that tells words apart best]",
)
@click.option("--gif", is_flag=True, help="Write words.gif too.")
@click.option(
    "--model", default="nano", show_default=True, help="A name, a model folder or a hub id."
)
@click.option("--device", help="cpu, cuda or mps. [default: the GPU if there is one]")
def explain(
    file: str,
    output: Path | None,
    page: int,
    mode: str | None,
    prompt: str | None,
    max_tokens: int | None,
    layer: int | None,
    gif: bool,
    model: str,
    device: str | None,
) -> None:
    """Show how a page is read: features of the encoder, and for every word where the decoder looks.

    \b
    lightseek explain letter.png
    lightseek explain book.pdf --page 7 -o page-7 --gif
    """
    folder = output or Path(f"{Path(file).stem if file != '-' else 'page'}-explained")
    ocr = stderr.load_reader(model, device)
    from lightseek.explain import explain as run
    from lightseek.explain.report import write_report

    with Console(stderr=True).status("reading and looking"):
        told = run(
            ocr, file, page=page, mode=mode, prompt=prompt, max_tokens=max_tokens, layer=layer
        )
        written = write_report(told, folder, gif=gif)
    click.echo(written[0])
