"""Write docs/compression.md and its plot from what `lightseek study compression` found.

    lightseek study compression -o compression --pages 4
    python runs/compression.py compression/compression.json

The tables stand between markers; all prose around them is kept.
"""

from pathlib import Path

import click
from pydantic import ValidationError

from lightseek.eval.report import put
from lightseek.study.chart import draw_chart
from lightseek.study.table import Study, published_markdown

DOCS = Path(__file__).parents[1] / "docs"
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(help="Write docs/compression.md from the JSON of lightseek study compression.")
@click.argument("found", type=FILE)
@click.option("--docs", type=click.Path(path_type=Path), default=DOCS, help="Folder of the pages.")
def main(found: Path, docs: Path) -> None:
    """Replace the tables of the page, and its plot."""
    try:
        study = Study.model_validate_json(found.read_bytes())
    except ValidationError as error:
        cure = "write one with lightseek study compression"
        raise click.ClickException(f"{found} is no such study: {cure}") from error
    page = docs / "compression.md"
    put(page, "ours", [study.to_markdown()])
    put(page, "paper", [published_markdown()])
    draw_chart(study, docs / "figures" / "compression.png")


if __name__ == "__main__":
    main()
