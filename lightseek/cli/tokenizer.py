"""`lightseek tokenizer`: a tokenizer of one's own text."""

import lzma
from collections.abc import Iterator
from pathlib import Path

import click
from rich.console import Console


@click.command()
@click.argument("text", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, metavar="DIR")
@click.option(
    "--size",
    type=int,
    default=8192,
    show_default=True,
    help="Tokens, the special ones and the 256 bytes included.",
)
def tokenizer(text: tuple[Path, ...], output: Path, size: int) -> None:
    """Train a byte-level BPE tokenizer on text files, or on all of a folder (*.txt, *.txt.xz).

    Every text can be written with it and read back. Its special tokens are those for begin, end,
    padding, images and boxes.

    \b
    lightseek tokenizer build/text -o build/tokenizer
    lightseek tokenizer novel.txt letters.txt -o build/tokenizer --size 4096
    """
    from lightseek.tokenizer import train_tokenizer

    files = [file for path in text for file in _files(path)]
    with Console(stderr=True).status("training"):
        made = train_tokenizer(_lines(files), size)
    output.mkdir(parents=True, exist_ok=True)
    made.save(output / "tokenizer.json")
    click.echo(f"{len(made)} tokens in {output / 'tokenizer.json'}")


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted([*path.rglob("*.txt"), *path.rglob("*.txt.xz")])
    # lightseek synth fetch keeps them beside the text
    files = [file for file in found if "licences" not in file.relative_to(path).parts]
    if not files:
        raise click.UsageError(f"{path} holds no *.txt: give text files, or a folder of them")
    return files


def _lines(files: list[Path]) -> Iterator[str]:
    """Lines with their ends, which are text too; a byte that is no UTF-8 stops nothing."""
    for file in files:
        read = lzma.open if file.suffix == ".xz" else open
        try:
            with read(file, "rt", encoding="utf-8", errors="replace", newline="") as opened:
                yield from opened
        except (lzma.LZMAError, EOFError) as error:
            raise click.UsageError(f"{file} is cut off or damaged: fetch it again") from error
