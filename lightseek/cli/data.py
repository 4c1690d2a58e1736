"""`lightseek data`: data sets of one's own."""

import json
import sys
from pathlib import Path

import click

from lightseek.cli.console import load_reader, progress_bar


@click.group()
def data() -> None:
    """Data sets of one's own: images with the text on them."""


@data.command()
@click.argument("source")
@click.option(
    "--downloads",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where remote shards are kept. [default: ~/.cache/lightseek/shards]",
)
@click.option("--json", "json_", is_flag=True, help="Print the number of rows and the bad ones.")
def check(source: str, downloads: Path | None, json_: bool) -> None:
    """Read every row of a data set and name the bad ones; exit code 1 if there are any.

    SOURCE is a folder of images with .txt beside them, a file of JSON lines, or tar shards of
    WebDataset, here or remote.

    \b
    lightseek data check scans/
    lightseek data check rows.jsonl --json | jq .bad
    lightseek data check 'https://example.org/pages-{000..019}.tar'
    """
    from lightseek.data.dataset import find_faults, load_pairs
    from lightseek.document import unicode_name

    pairs = load_pairs(source, downloads=downloads)
    bad = []
    with progress_bar() as bar:
        task = bar.add_task("checking", total=len(pairs))
        for fault in find_faults(pairs, lambda number: bar.update(task, completed=number)):
            bad.append(unicode_name(fault))
            if not json_:
                click.echo(bad[-1])
    if json_:
        click.echo(json.dumps({"rows": len(pairs), "bad": bad}, ensure_ascii=False, indent=1))
    else:
        click.echo(f"{len(pairs)} rows, {len(bad)} bad", err=True)
    sys.exit(int(bool(bad)))


@data.command()
@click.argument("source")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="Gets strips/ and lines.jsonl.",
)
@click.option(
    "--model",
    default="nano",
    show_default=True,
    help="Reads the lines, which tells where characters stand.",
)
@click.option("--device", default=None, help="cpu or cuda. [default: the GPU if there is one]")
def align(source: str, output: Path, model: str, device: str | None) -> None:
    """Make strips to train on from images of lines with their text.

    The model reads each line, which tells where every character stands; the text tells which one
    it is. Lines that it reads too badly for that are named and left out. SOURCE is as for check.

    \b
    lightseek data align scans/ -o build/lines
    lightseek train configs/finetune-lines.toml -o runs/lines --from nano
    """
    from lightseek.data.dataset import load_pairs
    from lightseek.train.align import align_lines

    pairs = load_pairs(source)
    reader = load_reader(model, device)
    with progress_bar() as bar:
        task = bar.add_task("aligning", total=len(pairs))
        found = align_lines(pairs, output, reader, lambda done: bar.update(task, completed=done))
    for reason in found.left_out:
        click.echo(reason)
    kept = found.rows - len(found.left_out)
    click.echo(f"{found.strips} strips of {kept} of {found.rows} rows", err=True)
    sys.exit(int(found.strips == 0))
