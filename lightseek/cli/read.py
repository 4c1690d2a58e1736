"""`lightseek read`: files to text on stdout, or into a folder."""

import errno
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from rich.console import Console
from rich.progress import Progress

from lightseek.cli import console as stderr
from lightseek.cli.console import complain, progress_bar, whole_prompt
from lightseek.cli.files import (
    as_shard,
    figure_paths,
    find_files,
    is_of_shard,
    output_paths,
    write_whole,
)
from lightseek.document import Document, Page, Status
from lightseek.errors import PageError, UsageError

if TYPE_CHECKING:
    from lightseek.ocr import Reading

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Errors of a disk on which nothing else could be written."""
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
    "--skip-existing", is_flag=True, help="Pass over files whose result is in the folder of -o."
)
@click.option(
    "--shard",
    metavar="K/N",
    callback=as_shard,
    help="Read the K-th of N parts of the files: one for each process.",
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
    "--max-tokens", type=click.IntRange(min=1), metavar="N", help="End a page after N tokens."
)
@click.option(
    "--max-tiles",
    type=click.IntRange(min=2),
    metavar="N",
    help="Most tiles of a page, in gundam.",
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
    skip_existing: bool,
    shard: tuple[int, int] | None,
    format_: str,
    figures: Path | None,
    model: str,
    device: str | None,
    dtype: str | None,
    **asked: Any,
) -> None:
    """Read pages: images and PDFs, folders of them, - for stdin.

    \b
    lightseek read letter.png
    lightseek read *.pdf -o texts/
    lightseek read scans/ -o texts/ --skip-existing  # goes on where it was stopped
    lightseek read book.pdf --pages 1-3,7 --format json | jq '.pages[0].status'
    lightseek read scans/ --format json > scans.jsonl  # a line for each file
    curl -s https://example.org/scan.png | lightseek read -
    """
    found = find_jobs(files, shard, output, SUFFIXES[format_], figures)
    jobs = unread(found) if skip_existing else found
    render = RENDER[format_]
    if format_ == "json" and output is None and (len(files) > 1 or Path(files[0]).is_dir()):
        render = json_line
    if not jobs:
        return
    from lightseek.ocr import Reading

    reading = Reading(**asked)
    ocr = stderr.load_reader(model, device, dtype)
    if figures and not ocr.reads_views:
        raise UsageError(f"{model} finds no figures: leave --figures out, or name another model")
    failed = False
    with progress_bar() as bar:
        task = bar.add_task("reading", total=len(jobs))

        def on_page(source: str, page: Page) -> None:
            bar.update(task, description=f"{Path(source).name} page {page.number}")

        sources = (job.file for job in jobs)
        read_all = ocr.read_all(sources, reading=reading, on_page=on_page)
        for job, document in zip(jobs, read_all, strict=True):
            bar.update(task, advance=1)
            failed |= report_failures(document, bar.console)
            document, saved = with_figures(document, job, reading, bar.console)
            failed |= not saved
            if job.target is None:
                show(render(document), bar)
            elif document.ok or document.text.strip():
                failed |= not save(job.target, render(document), bar.console)
    sys.exit(int(failed))


class Job(NamedTuple):
    """A file to read, where its text goes if not to stdout, and where its figures go if at all."""

    file: str
    target: Path | None
    figures: Path | None


def find_jobs(
    given: Sequence[str],
    shard: tuple[int, int] | None,
    output: Path | None,
    suffix: str,
    figures: Path | None,
) -> list[Job]:
    """What is to be read.

    Raises:
        UsageError: As for `find_files`, `output_paths` and `figure_paths`.
    """
    for folder in given if figures else ():
        if figures and figures.resolve().is_relative_to(Path(folder).resolve()):
            raise UsageError(f"figures in {folder} would be read as pages: name another folder")
    files = find_files(given)
    nowhere: list[None] = [None] * len(files)
    targets = output_paths(files, output, suffix) if output else nowhere
    crops = figure_paths(files, figures) if figures else nowhere
    return [
        Job(named.file, target, crop)
        for named, target, crop in zip(files, targets, crops, strict=True)
        if shard is None or is_of_shard(named, shard)
    ]


def unread(jobs: list[Job]) -> list[Job]:
    """Those that have no result yet; how many have one is said on stderr.

    Raises:
        UsageError: If results go to stdout.
    """
    if any(job.target is None for job in jobs):
        raise UsageError("results on stdout cannot be passed over: name a folder by -o")
    left = [job for job in jobs if job.target is not None and not job.target.is_file()]
    done = len(jobs) - len(left)
    click.echo(f"{done:,} of {len(jobs):,} files have a result, {len(left):,} are read", err=True)
    return left


def with_figures(
    document: Document, job: Job, reading: "Reading", console: Console
) -> tuple[Document, bool]:
    """Cut out figures that are asked for, and name them in the document; or say what failed."""
    if job.figures is None:
        return document, True
    from lightseek.figures import crop_figures

    beside = job.target.parent if job.target else Path()
    try:
        shown = crop_figures(
            document,
            job.file,
            job.figures,
            beside=beside,
            dpi=reading.dpi,
            password=reading.password,
        )
    except (OSError, PageError) as error:
        if isinstance(error, OSError):
            end_where_full(error, job.figures)
        complain(console, f"figures of {job.file} cannot be saved: {error}", "red")
        return document, False
    return shown, True


def show(text: str, bar: Progress) -> None:
    """Print a result; on a terminal, it and the bar would share a line."""
    bar.stop()
    click.echo(text, nl=False)
    bar.start()


def report_failures(document: Document, console: Console) -> bool:
    """Say on stderr which pages could not be read, or not to their end, and which are doubtful."""
    for page in document.pages:
        if doubt := find_doubt(page):
            complain(console, f"{document.source} page {page.number}: {doubt}", "yellow")
        if page.reason is not None:
            # why a whole file cannot be read has its name already
            named = f" {document.source} " in f" {page.reason} "
            where = "" if named else f"{document.source} page {page.number}: {page.status}: "
            colour = "red" if page.status is Status.FAILED else "yellow"
            complain(console, f"{where}{page.reason}", colour)
    return not document.ok


def find_doubt(page: Page) -> str | None:
    """Why a person should look at a page that was read."""
    from lightseek.turned import DOUBTFUL

    if page.turned:
        return f"read turned by {page.turned} degrees clockwise"
    if page.confidence is not None and page.confidence < DOUBTFUL:
        return f"confidence {page.confidence:.2f}: no print that the model knows, or a poor copy"
    return None


def save(path: Path, text: str, console: Console) -> bool:
    """Write a result; where that fails, say so on stderr, for others may still be written.

    Raises:
        OSError: If the disk is full: what else were read would be lost as well.
    """
    try:
        write_whole(path, text)
    except OSError as error:
        end_where_full(error, path)
        complain(console, f"{path} cannot be written: {error.strerror}", "red")
        return False
    return True


def end_where_full(error: OSError, path: Path) -> None:
    """End the run where the disk takes nothing more: what else were read would be lost as well."""
    if error.errno in _FULL:
        cure = "make room or write elsewhere, and --skip-existing goes on"
        raise OSError(error.errno, f"{error.strerror}; {cure}", str(path)) from error


def json_line(document: Document) -> str:
    """A document as JSON on one line."""
    return document.to_json(indent=None) + "\n"
