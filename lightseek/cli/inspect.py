"""`lightseek info` and `lightseek eval`: what a model is, and how well it reads."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from lightseek.cli import console as stderr
from lightseek.cli.console import complain, progress_bar, whole_prompt
from lightseek.document import Document

if TYPE_CHECKING:
    from lightseek.eval.report import Report
    from lightseek.eval.suite import Engine
    from lightseek.ocr import OCR


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
@click.argument(
    "folders", nargs=-1, required=True, metavar="DIR...", type=click.Path(path_type=Path)
)
@click.option(
    "--engine",
    "--model",
    "names",
    multiple=True,
    default=("nano",),
    metavar="NAME",
    help="A model, a model folder, a hub id, tesseract, tesseract-by-page or rapidocr; give it "
    "again to compare. [default: nano]",
)
@click.option("--device", help="Of models: cpu, cuda or mps. [default: the GPU if there is one]")
@click.option(
    "--prompt",
    metavar="NAME|TEXT",
    callback=whole_prompt,
    help="What to ask models of the official family. [default: each one's own]",
)
@click.option("--limit", type=click.IntRange(min=1), help="Files of each set to read.")
@click.option(
    "--worst",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Show the N files with the highest CER of the first engine.",
)
@click.option("--json", "json_", is_flag=True, help="Print the report as JSON.")
def evaluate(
    folders: tuple[Path, ...],
    names: tuple[str, ...],
    device: str | None,
    prompt: str | None,
    limit: int | None,
    worst: int,
    json_: bool,
) -> None:
    """Read folders of images with true text beside them (page.png, page.txt), and score it.

    Every sub-folder is a set of its own. Exits with 1 if a page could not be read.

    \b
    lightseek eval scans/
    lightseek eval scans/ --worst 20
    lightseek eval scans/ --engine nano --engine tesseract --engine rapidocr
    lightseek eval scans/ --json > report.json
    """
    from lightseek.errors import require
    from lightseek.eval.suite import evaluate as run
    from lightseek.eval.suite import find_items

    # what is missing is said before models are loaded, not after
    require("rapidfuzz", extra="eval")
    find_items(*folders)
    engines = load_engines(names, device, prompt)
    with progress_bar() as bar:
        task = bar.add_task("reading", total=None)

        def on_item(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        report = run(engines, folders, limit=limit, on_item=on_item)
    click.echo(report.to_json()) if json_ else show(report, worst)
    report_failures(report)
    sys.exit(int(report.failed > 0))


@dataclass(frozen=True, slots=True)
class Asked:
    """A model that is asked something of one's own."""

    ocr: "OCR"
    prompt: str

    def read_all(self, sources: Sequence[Path], /) -> Iterator[Document]:
        """As an `Engine` reads."""
        from lightseek.ocr import Reading

        return self.ocr.read_all(sources, reading=Reading(prompt=self.prompt))


def load_engines(
    names: tuple[str, ...], device: str | None, prompt: str | None
) -> dict[str, "Engine"]:
    """Peers and models, by the names of the report."""
    from lightseek.eval.peers import PEERS
    from lightseek.eval.report import Machine

    engines: dict[str, Engine] = {}
    for name in names:
        if name in PEERS:
            peer = PEERS[name](Machine.here().threads)
            engines[peer.name] = peer
        else:
            ocr = stderr.load_reader(name, device)
            takes_prompt = ocr.model.config.decoder.row_marks
            engines[name] = ocr if prompt is None or not takes_prompt else Asked(ocr, prompt)
    return engines


def show(report: "Report", worst: int) -> None:
    """Print the table and the worst files."""
    from lightseek.eval.report import render_table

    # wider than most terminals: a line may be wrapped there, but no figure is cut
    Console(width=200).print(render_table(report))
    for item in report.worst(worst):
        click.echo(f"\n{item.path}\n  truth {item.truth!r}")
        for reading in item.readings:
            click.echo(f"  {reading.engine}: CER {reading.cer:.3f}\n  read  {reading.text!r}")


def report_failures(report: "Report") -> None:
    """Say on stderr which pages could not be read."""
    console = Console(stderr=True)
    for item in report.items:
        for reading in item.readings:
            for reason in reading.failures:
                complain(console, f"{item.path}: {reading.engine}: {reason}", "red")
