"""`lightseek synth`: fonts, text and synthetic pages to train on."""

from pathlib import Path

import click
from rich.console import Console


@click.group()
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
@click.option(
    "--font",
    "packages",
    multiple=True,
    metavar="PACKAGE",
    help="Only fonts of this npm (@scope/name) or Debian package; may be repeated.",
)
def fetch(output: Path, fonts: bool, text: bool, packages: tuple[str, ...]) -> None:
    """Fetch open fonts and text through apt and npm; nothing is installed.

    \b
    lightseek synth fetch -o build
    lightseek synth fetch -o build/mine --no-text --font @expo-google-fonts/unifrakturmaguntia
    """
    from lightseek.data.corpus import fetch_text
    from lightseek.data.fonts import fetch_fonts

    console = Console(stderr=True)
    if fonts:
        fetch_fonts(output / "fonts", console.print, packages=packages)
    if text:
        fetch_text(output / "text", console.print)


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
@click.option("--each", default=9, show_default=True, help="Strips of each sort.")
@click.option("--seed", default=0, show_default=True, help="Another seed draws other samples.")
def sheet(image: Path, fonts: Path, text: Path, each: int, seed: int) -> None:
    """Draw a sheet of samples to look at: what training sees, with its labels.

    \b
    lightseek synth sheet build/sheet.png
    """
    from lightseek.data.sheet import draw_sheet

    with Console(stderr=True).status("drawing"):
        draw_sheet(image, fonts=fonts, text=text, each=each, seed=seed)


@synth.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, metavar="DIR")
@click.option("--from", "start", metavar="MODEL", help="Take its weights along, to start from.")
@click.option(
    "--max-mb",
    type=click.FloatRange(min=1),
    default=60,
    show_default=True,
    help="Size of the folder.",
)
def pack(recipe: Path, output: Path, start: str | None, max_mb: float) -> None:
    """Gather fonts, text, recipe and package for training on a machine without a network.

    \b
    lightseek synth pack configs/nano.toml -o build/pack
    lightseek synth pack configs/finetune.toml -o build/pack --from nano --max-mb 90
    """
    from lightseek.train.pack import make_pack

    say = Console(stderr=True).print
    make_pack(recipe, output, start=start, max_mb=max_mb, on_progress=say)
