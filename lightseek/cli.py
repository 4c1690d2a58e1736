"""The command line: one thin command a verb. Results on stdout, everything else on stderr.

Exit codes: 0 all is well, 1 something could not be read, 2 wrong use.
"""

import errno
import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from lightseek import __version__
from lightseek.document import Document, Status
from lightseek.errors import LightSeekError, UsageError

if TYPE_CHECKING:
    from lightseek.ocr import OCR

SUFFIXES = {"markdown": ".md", "text": ".txt", "json": ".json"}
RENDER: dict[str, Callable[[Document], str]] = {
    "markdown": lambda document: document.markdown,
    "text": lambda document: document.text,
    "json": lambda document: document.to_json() + "\n",
}


class WrongUse(click.ClickException):
    """A mistake that the user can cure."""

    exit_code = 2


class OneLineErrors(click.Group):
    """Shows what the user can cure as one line: exit code 2, or 1 where the disk is to blame."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except LightSeekError as error:
            raise WrongUse(str(error)) from error
        except OSError as error:
            if error.errno == errno.EPIPE:  # whoever takes the result has enough of it
                raise
            message = f"{error.filename or 'output'}: {error.strerror or error}"
            raise click.ClickException(message) from error


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lightseek")
def main() -> None:
    """DeepSeek-OCR that people can read, run, train and check."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # what is read has letters of many languages
        sys.stdout.reconfigure(encoding="utf-8")


@main.command()
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
    "--prompt", metavar="NAME|TEXT", help="What to ask: markdown, free, ..., or text with <image>."
)
@click.option(
    "--max-tokens", type=click.IntRange(min=1), metavar="N", help="Give a page up after N tokens."
)
@click.option(
    "--max-tiles", type=click.IntRange(min=2), metavar="N", help="Most tiles of a page, in gundam."
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
    figures: Path | None,
    model: str,
    device: str | None,
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
    ocr = load_reader(model, device)
    from lightseek.ocr import Reading

    failed = False
    with progress_bar() as bar:
        task = bar.add_task("reading", total=len(files))
        reading = Reading(dpi, pages, password, prompt, max_tokens, max_tiles)
        read_all = ocr.read_all(
            files,
            mode=mode,
            reading=reading,
            on_page=lambda source, page: bar.update(
                task, description=f"{Path(source).name} page {page.number}"
            ),
        )
        for i, document in enumerate(read_all):
            bar.update(task, completed=i + 1)
            failed |= report_failures(document, bar.console)
            if crops is not None:
                from lightseek.figures import crop_figures

                document = crop_figures(
                    document,
                    files[i],
                    crops[i],
                    beside=output or Path(),
                    dpi=dpi,
                    password=password,
                )
            if targets is None:
                bar.stop()  # on a terminal, the bar and the result would share a line
                click.echo(render(document), nl=False)
                bar.start()
            elif document.ok or document.text.strip():
                failed |= not save(targets[i], render(document), bar.console)
    sys.exit(int(failed))


@main.command()
@click.argument("model")
@click.option("--json", "json_", is_flag=True, help="Print the card as JSON.")
def info(model: str, json_: bool) -> None:
    r"""Say what a model is: sizes, memory, what a page costs; nothing is loaded.

    \b
    lightseek info nano
    lightseek info deepseek-ocr --json | jq .parameters
    lightseek info deepseek-ai/DeepSeek-OCR
    """
    from lightseek.info import describe

    card = describe(model)
    click.echo(card.to_json() if json_ else card.to_text())


@main.command("eval")
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

    ocr = load_reader(model, device)
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


@main.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="Run folder; a run that is there goes on from its last checkpoint.",
)
@click.option("--from", "start", metavar="MODEL", help="Start from the weights of this model.")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change the recipe, such as optimiser.muon_rate=0.003.",
)
@click.option("--device", default=None, help="cpu or cuda. [default: the GPU if there is one]")
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    help="Training processes. [default: one a core, two at most; one on a GPU]",
)
@click.option(
    "--save-minutes", type=float, default=5.0, show_default=True, help="Time between checkpoints."
)
@click.option(
    "--stop-after",
    type=click.IntRange(min=1),
    metavar="STEPS",
    help="Save and stop after so many steps; the same command goes on.",
)
def train(
    recipe: Path,
    output: Path,
    start: str | None,
    overrides: tuple[str, ...],
    device: str | None,
    processes: int | None,
    save_minutes: float,
    stop_after: int | None,
) -> None:
    """Train a model by a recipe; interrupt and repeat the command to go on.

    \b
    lightseek train configs/nano.toml -o runs/nano
    lightseek train configs/nano.toml -o runs/more --from nano --set steps=2000
    lightseek pause runs/nano; make test; lightseek resume runs/nano
    lightseek read page.png --model runs/nano/model
    """
    from lightseek.train.recipe import load_recipe
    from lightseek.train.run import train as run
    from lightseek.weights import default_device, find_model

    run(
        load_recipe(recipe, overrides),
        output,
        device=device or default_device().type,
        processes=processes,
        start=find_model(start) if start else None,
        save_minutes=save_minutes,
        stop_after=stop_after,
    )


@main.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True, file_okay=False))
def pause(run: Path) -> None:
    """Let a training run wait after its current step, so that others get the cores.

    \b
    lightseek pause runs/nano
    """
    from lightseek.train.checkpoint import RunFolder

    RunFolder(run).pause_file.touch()


@main.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True, file_okay=False))
def resume(run: Path) -> None:
    """Let a paused training run go on.

    \b
    lightseek resume runs/nano
    """
    from lightseek.train.checkpoint import RunFolder

    RunFolder(run).pause_file.unlink(missing_ok=True)


@main.group()
def synth() -> None:
    """Fonts, text and synthetic pages to train on."""


@synth.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("build"),
    show_default=True,
    metavar="DIR",
    help="Gets the folders fonts/ and text/.",
)
@click.option("--fonts/--no-fonts", default=True, show_default=True)
@click.option("--text/--no-text", default=True, show_default=True)
def fetch(output: Path, fonts: bool, text: bool) -> None:
    """Fetch open fonts and text through apt, npm and pip; nothing is installed.

    \b
    lightseek synth fetch -o build
    """
    from lightseek.data.corpus import fetch_text
    from lightseek.data.fonts import fetch_fonts

    console = Console(stderr=True)
    if fonts:
        families = fetch_fonts(output / "fonts", console.print)
        console.print(f"{families} font families in {output / 'fonts'}")
    if text:
        characters = fetch_text(output / "text", console.print)
        console.print(f"{characters} characters of text in {output / 'text'}")


@synth.command()
@click.argument("image", type=click.Path(path_type=Path))
@click.option(
    "--fonts",
    type=click.Path(path_type=Path),
    default=Path("build/fonts"),
    show_default=True,
    help="Folder of fonts.",
)
@click.option(
    "--text",
    type=click.Path(path_type=Path),
    default=Path("build/text"),
    show_default=True,
    help="Folder of text.",
)
@click.option("--seed", default=0, show_default=True, help="Another seed draws other samples.")
def sheet(image: Path, fonts: Path, text: Path, seed: int) -> None:
    """Draw a sheet of samples to look at: what training sees, with its labels.

    \b
    lightseek synth sheet build/sheet.png
    """
    from lightseek.data.sheet import draw_sheet

    with Console(stderr=True).status("drawing"):
        draw_sheet(image, fonts=fonts, text=text, seed=seed)


@synth.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, metavar="DIR")
@click.option(
    "--max-mb",
    type=click.FloatRange(min=1),
    default=60,
    show_default=True,
    help="Size of the folder.",
)
def pack(recipe: Path, output: Path, max_mb: float) -> None:
    """Gather fonts, text, recipe and package for training on a machine without a network.

    \b
    lightseek synth pack configs/nano.toml -o build/pack
    """
    from lightseek.train.pack import make_pack

    make_pack(recipe, output, max_mb=max_mb, on_progress=Console(stderr=True).print)


def load_reader(model: str, device: str | None) -> "OCR":
    """Load a model, with a note that it takes a moment."""
    console = Console(stderr=True)
    with console.status(Text(f"loading {model}")):
        from lightseek.ocr import OCR

        return OCR(model, device=device)


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A bar on stderr, none where nobody looks."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    bar = Progress(
        *columns,
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with bar:
        yield bar


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


def complain(console: Console, message: str, colour: str) -> None:
    """One line, as it is."""
    console.print(message, style=colour, highlight=False, markup=False, soft_wrap=True)


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
    stems = [name.stem for name in names]
    chosen = [n.stem if stems.count(n.stem) == 1 else n.name for n in names]
    twice = sorted({name for name in chosen if chosen.count(name) > 1})
    if twice:
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
