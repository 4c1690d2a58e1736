"""Write the tables of README.md and docs/results.md from what `lightseek eval DIR --json` found.

    python runs/results.py report.json more.json

The tables stand between two markers, in the order of the reports; all prose around them is kept.
The README compares engines, the results page has all figures besides. The same reports give the
same pages.
"""

from pathlib import Path

import click
from pydantic import ValidationError

from lightseek.eval.report import Report, compare, fill, to_markdown

ROOT = Path(__file__).parents[1]
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def read_report(path: Path) -> Report:
    """Load one report."""
    try:
        return Report.from_json(path.read_bytes())
    except ValidationError as error:
        raise click.ClickException(
            f"{path} is not a report: write one with lightseek eval DIR --json"
        ) from error


@click.command(help="Write the tables of the documentation from the JSON of lightseek eval.")
@click.argument("reports", nargs=-1, required=True, type=FILE)
@click.option("--readme", type=FILE, default=ROOT / "README.md", help="Gets the comparison.")
@click.option(
    "--page", type=FILE, default=ROOT / "docs" / "results.md", help="Gets all figures besides."
)
def main(reports: tuple[Path, ...], readme: Path, page: Path) -> None:
    """Replace the tables of both pages, or of none."""
    found = [read_report(path) for path in reports]
    short = [compare(report) for report in found]
    tables = {
        readme: short,
        page: [*short, *(to_markdown(report) for report in found)],
    }
    pages = {p: fill(p.read_text(encoding="utf-8"), "tables", t) for p, t in tables.items()}
    for path, text in pages.items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
