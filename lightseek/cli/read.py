"""`lightseek read`: files to text on stdout, or into a folder."""

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import Progress

from lightseek.cli import console as stderr
from lightseek.cli.console import complain, progress_bar, whole_prompt
from lightseek.document import Document, Page, Status
from lightseek.errors import UsageError

if TYPE_CHECKING:
    from lightseek.ocr import Reading

SUFFIXES = {"markdown": ".md", "text": ".txt", "json": ".json"}
RENDER: dict[str, Callable[[Document], str]] = {
    "markdown": lambda document: document.markdown,
    "text": lambda document: document.text,
    "json": lambda document: document.to_json() + "\n",
}


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write <stem>.md, .txt or .json for each file, instead of to stdout.",
)
@click.option(
    "-f",
    "--format",
    "format_",
    type=click.Choice(list(SUFFIXES)),
    default="markdown",
    show_default=True,
)
@click.option("--pages", metavar="RANGE", help="Pages to read, such as 1-3,7.")
@click.option("--password", help="Opens encrypted PDFs.")
@click.option(
    "--dpi",
    type=click.IntRange(min=1),
    default=200,
    show_default=True,
    help="At which PDF pages are rendered.",
)
@click.option("--mode", help="How pages are cut into views. [default: the model's own]")
@click.option(
    "--prompt",
    metavar="NAME|TEXT",
    callback=whole_prompt,
    help="What to ask: markdown, free, ..., or text with <image>.",
)
@click.option(
    "--max-tokens", type=click.IntRange(min=1), metavar="N", help="Give a page up after N tokens."
)
@click.option(
    "--max-tiles", type=click.IntRange(min=2), metavar="N", help="Most tiles of a page, in gundam."
)
@click.option(
    "--ngram",
    metavar="SIZE/WINDOW",
    help="Never write SIZE tokens twice within WINDOW, or off. [default: the model's own]",
)
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    default=4,
    show_default=True,
    help="Pages to read together, by models of the official family.",
)
@click.option(
    "--figures",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Save figures as images, for models that find them.",
)
@click.option(
    "--model", default="nano", show_default=True, help="A name, a model folder or a hub id."
)
@click.option("--device", help="cpu, cuda or mps. [default: the GPU if there is one]")
@click.option(
    "--dtype",
    type=click.Choice(["bfloat16", "float32"]),
    help="What to compute in. [default: bfloat16 where the device has it]",
)
def read(
    files: tuple[str, ...],
    output: Path | None,
    format_: str,
    pages: str | None,
    password: str | None,
    dpi: int,
    mode: str | None,
    prompt: str | None,
    max_tokens: int | None,
    max_tiles: int | None,
    ngram: str | None,
    batch: int,
    figures: Path | None,
    model: str,
    device: str | None,
    dtype: str | None,
) -> None:
    """Read pages: images and PDFs, - for stdin.

    \b
    lightseek read letter.png
    lightseek read *.pdf -o texts/
    lightseek read book.pdf --pages 1-3,7 --format json | jq .pages[0].status
    lightseek read *.pdf --format json > books.jsonl  # a line for each file
    curl -s https://example.org/scan.png | lightseek read -
    """
    targets = output_paths(files, output, SUFFIXES[format_]) if output else None
    crops = figure_paths(files, figures) if figures else None
    render = RENDER[format_]
    if format_ == "json" and targets is None and len(files) > 1:
        render = json_line
    from lightseek.ocr import Reading

    reading = Reading(dpi, pages, password, prompt, max_tokens, max_tiles, batch, ngram)
    ocr = stderr.load_reader(model, device, dtype)
    failed = False
    with progress_bar() as bar:
        task = bar.add_task("reading", total=len(files))

        def on_page(source: str, page: Page) -> None:
            bar.update(task, description=f"{Path(source).name} page {page.number}")

        read_all = ocr.read_all(files, mode=mode, reading=reading, on_page=on_page)
        for i, document in enumerate(read_all):
            bar.update(task, completed=i + 1)
            failed |= report_failures(document, bar.console)
            if crops is not None:
                document = with_figures(document, files[i], crops[i], output or Path(), reading)
            if targets is None:
                show(render(document), bar)
            elif document.ok or document.text.strip():
                failed |= not save(targets[i], render(document), bar.console)
    sys.exit(int(failed))


def with_figures(
    document: Document, file: str, target: Path, beside: Path, reading: "Reading"
) -> Document:
    """Cut the figures out of a file and name them in its document."""
    from lightseek.figures import crop_figures

    return crop_figures(
        document, file, target, beside=beside, dpi=reading.dpi, password=reading.password
    )


def show(text: str, bar: Progress) -> None:
    """Print a result; on a terminal, it and the bar would share a line."""
    bar.stop()
    click.echo(text, nl=False)
    bar.start()


def report_failures(document: Document, console: Console) -> bool:
    """Say on stderr which pages could not be read, or not to their end."""
    for page in document.pages:
        if page.reason is not None:
            # why a whole file cannot be read has its name already
            named = f" {document.source} " in f" {page.reason} "
            where = "" if named else f"{document.source} page {page.number}: {page.status}: "
            colour = "red" if page.status is Status.FAILED else "yellow"
            complain(console, f"{where}{page.reason}", colour)
    return not document.ok


def save(path: Path, text: str, console: Console) -> bool:
    """Write a result; where that fails, say so on stderr, for others may still be written."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        complain(console, f"{path} cannot be written: {error.strerror}", "red")
        return False
    return True


def json_line(document: Document) -> str:
    """A document as JSON on one line."""
    return document.to_json(indent=None) + "\n"


def output_paths(files: tuple[str, ...], folder: Path, suffix: str) -> list[Path]:
    """Where each file's text goes.

    Files of one stem keep their suffix (`a.png.md`, `a.pdf.md`), so that none is overwritten.

    Raises:
        UsageError: If two files have the same name, or the folder cannot be made.
    """
    names = [Path("stdin" if file == "-" else file) for file in files]
    stems = Counter(name.stem for name in names)
    chosen = [name.stem if stems[name.stem] == 1 else name.name for name in names]
    if twice := sorted(name for name, count in Counter(chosen).items() if count > 1):
        raise UsageError(f"{twice[0]} is given twice: read files of one name into folders apart")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be made: {error.strerror}") from error
    return [folder / f"{name}{suffix}" for name in chosen]


def figure_paths(files: tuple[str, ...], folder: Path) -> list[Path]:
    """Where each file's figures go, without page, number and suffix.

    Raises:
        UsageError: If standard input is read, which flows only once, and as for `output_paths`.
    """
    if "-" in files:
        raise UsageError("figures are cut out of files: save what comes from standard input first")
    return output_paths(files, folder, "")
