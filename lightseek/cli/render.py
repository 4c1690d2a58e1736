"""`lightseek render` and `lightseek roundtrip`: text to pages, and back."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click
from rich.console import Console

from lightseek.cli import console as stderr
from lightseek.cli.read import report_failures
from lightseek.errors import UsageError

if TYPE_CHECKING:
    from lightseek.data.render import TextPage, TextSetter
    from lightseek.views import Mode

F = TypeVar("F", bound=Callable[..., Any])
DEFAULT_PT = 11.0


class Job(NamedTuple):
    """A text, and how it is to be set."""

    text: str
    setter: "TextSetter"
    size: float

    def pages(self) -> "list[TextPage]":
        """Set it."""
        with Console(stderr=True).status("setting"):
            return self.setter.set_pages(self.text, self.size)


def setting_options(command: F) -> F:
    """The options by which pages are set."""
    for option in reversed(
        (
            click.option("--font", metavar="FILE|FAMILY", help="[default: the first of --fonts]"),
            click.option(
                "--fonts",
                type=click.Path(path_type=Path),
                metavar="DIR",
                help="Folder of fonts. [default: those that ship]",
            ),
            click.option(
                "--size",
                type=click.FloatRange(min=1, max=200),
                metavar="PT",
                help=f"Size of the type. [default: {DEFAULT_PT:g}]",
            ),
            click.option(
                "--density",
                type=click.FloatRange(min=0, min_open=True),
                metavar="N",
                help="Choose the size that gives a full page N characters a visual token.",
            ),
            click.option(
                "--paper",
                default="a4",
                show_default=True,
                metavar="NAME|WxH",
                help="a4, a5, letter, square, or millimetres.",
            ),
            click.option(
                "--dpi",
                type=click.IntRange(20, 1200),
                default=200,
                show_default=True,
                help="Dots per inch at which pages are drawn.",
            ),
        )
    ):
        command = option(command)
    return command


def prepare(
    text: str,
    mode: "Mode | None",
    *,
    font: str | None,
    fonts: Path | None,
    size: float | None,
    density: float | None,
    paper: str,
    dpi: int,
) -> Job:
    """Find out how a text is to be set.

    Raises:
        UsageError: If options do not go together.
    """
    from lightseek.data.fonts import SHIPPED
    from lightseek.data.render import TextSetter, find_paper

    if size is not None and density is not None:
        raise UsageError("the density is met by choosing the size: give one of --size, --density")
    setter = TextSetter(font=font, fonts=fonts or SHIPPED, paper=find_paper(paper), dpi=dpi)
    if density is not None:
        with Console(stderr=True).status("looking for the size of type"):
            size = setter.size_for(text, density=density, mode=mode)
    return Job(text, setter, size or DEFAULT_PT)


def read_text(source: str) -> str:
    """The text of a file, or of standard input.

    Raises:
        UsageError: If there is no such file, or it is not text.
    """
    try:
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{source} is not UTF-8 text: save it as UTF-8") from error
    except OSError as error:
        cure = "name a file with text in it, or - for standard input"
        raise UsageError(f"{source} cannot be read ({error.strerror}): {cure}") from error


@click.command()
@click.argument("text")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, metavar="DIR")
@setting_options
@click.option(
    "--mode", default="base", show_default=True, help="Whose visual tokens count: base, blocks, ..."
)
@click.option(
    "-f", "--format", "format_", type=click.Choice(["png", "pdf"]), default="png", show_default=True
)
def render(text: str, output: Path, mode: str, format_: str, **setting: Any) -> None:
    """Set the text of a file into pages; - for stdin.

    Writes page-001.png and page-001.txt, what stands on it, and so on; or pages.pdf and pages.txt.
    A line of the text stays a line, unless it is too long for the page.

    \b
    lightseek render notes.txt -o pages/
    lightseek render notes.txt -o pages/ --font "Courier Prime" --size 9 --paper letter
    lightseek render notes.txt -o pages/ --density 10 --mode base
    """
    from lightseek.data.render import find_cutting, visual_tokens

    cutting = find_cutting(mode)
    job = prepare(read_text(text), cutting, **setting)
    pages = job.pages()
    for page, name in zip(pages, page_names(output, len(pages)), strict=True):
        picture = page.picture
        tokens = visual_tokens(picture, cutting)
        output.mkdir(parents=True, exist_ok=True)
        told = f"{len(page.text):,} characters, {tokens:,} visual tokens in {mode}"
        click.echo(f"{name}: {told}, {len(page.text) / max(tokens, 1):.1f} a token", err=True)
        if format_ == "png":
            picture.save(output / f"{name}.png")
            (output / f"{name}.txt").write_text(f"{page.text}\n", encoding="utf-8")
            click.echo(output / f"{name}.png")
    if format_ == "pdf":
        (output / "pages.pdf").write_bytes(job.setter.pdf(job.text, job.size))
        texts = "\f".join(f"{page.text}\n" for page in pages)
        (output / "pages.txt").write_text(texts, encoding="utf-8")
        click.echo(output / "pages.pdf")


def page_names(folder: Path, count: int) -> list[str]:
    """What pages are called.

    Raises:
        UsageError: If the folder holds more of them, which would be taken for pages of this text.
    """
    names = [f"page-{number:03}" for number in range(1, count + 1)]
    older = sorted(path.name for path in folder.glob("page-*.png") if path.stem not in names)
    if older:
        raise UsageError(f"{folder} holds {older[0]} of a longer text: empty it or name another")
    return names


@click.command()
@click.argument("text")
@setting_options
@click.option("--mode", help="How pages are cut into views. [default: the model's own]")
@click.option(
    "--prompt",
    metavar="NAME|TEXT",
    callback=stderr.whole_prompt,
    help="What to ask. [default: the model's own]",
)
@click.option(
    "--model", default="nano", show_default=True, help="A name, a model folder or a hub id."
)
@click.option(
    "--max-tokens", type=click.IntRange(min=1), metavar="N", help="Give a page up after N tokens."
)
@click.option("--device", help="cpu, cuda or mps. [default: the GPU if there is one]")
@click.option("--json", "json_", is_flag=True, help="Print the result as JSON.")
def roundtrip(
    text: str,
    mode: str | None,
    prompt: str | None,
    model: str,
    max_tokens: int | None,
    device: str | None,
    json_: bool,
    **setting: Any,
) -> None:
    """Set the text of a file into pages, read them, and say what came through; - for stdin.

    \b
    lightseek roundtrip notes.txt
    lightseek roundtrip notes.txt --size 6 --json | jq .cer
    lightseek roundtrip notes.txt --model deepseek-ai/DeepSeek-OCR --mode base --density 10
    """
    from lightseek.data.render import find_cutting, visual_tokens
    from lightseek.errors import require
    from lightseek.eval.roundtrip import compare
    from lightseek.fusion import SCALES

    # what is missing is said before the model is loaded, not after
    require("rapidfuzz", extra="eval")
    written = read_text(text)
    ocr = stderr.load_reader(model, device)
    config = ocr.model.config
    chosen = mode or config.mode
    cutting = find_cutting(chosen, config.decoder.sliding_window)
    scales = SCALES[config.fusion]
    if setting["density"] is not None:
        setting["density"] *= scales  # for each of the places, which have so many tokens
    pages = prepare(written, cutting, **setting).pages()
    documents, tokens = [], 0
    for page in pages:
        picture = page.picture
        documents.append(ocr.read(picture, mode=mode, prompt=prompt, max_tokens=max_tokens))
        tokens += visual_tokens(picture, cutting) * scales
    result = compare(
        documents,
        [page.text for page in pages],
        model=model,
        mode=chosen,
        visual_tokens=tokens,
        text_tokens=sum(len(ocr.tokenizer.encode(page.text)) for page in pages),
    )
    click.echo(result.to_json() if json_ else f"{result.text}\n{result.to_text()}")
    failed = [report_failures(document, Console(stderr=True)) for document in documents]
    sys.exit(int(any(failed)))
