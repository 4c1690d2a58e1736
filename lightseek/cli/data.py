"""`lightseek data`: data sets of one's own."""

import json
import sys
from pathlib import Path

import click

from lightseek.cli.console import progress_bar


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

    pairs = load_pairs(source, downloads=downloads)
    bad = []
    with progress_bar() as bar:
        task = bar.add_task("checking", total=len(pairs))
        for fault in find_faults(pairs, lambda number: bar.update(task, completed=number)):
            bad.append(fault)
            if not json_:
                click.echo(fault)
    if json_:
        click.echo(json.dumps({"rows": len(pairs), "bad": bad}, ensure_ascii=False, indent=1))
    else:
        click.echo(f"{len(pairs)} rows, {len(bad)} bad", err=True)
    sys.exit(int(bool(bad)))
