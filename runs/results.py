"""Write the tables of docs/results.md from what `lightseek eval DIR --json` found.

    python runs/results.py nano.json more.json

The tables stand between two markers, in the order of the files; all prose around them is kept.
The same reports give the same page.
"""

from pathlib import Path

import click
from pydantic import ValidationError

from lightseek.eval.report import Report, to_markdown

BEGIN, END = "<!-- tables: begin (written by runs/results.py) -->", "<!-- tables: end -->"
PAGE = Path(__file__).parents[1] / "docs" / "results.md"
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def fill(page: str, tables: list[str], begin: str = BEGIN, end: str = END) -> str:
    """The page with new tables between its markers."""
    before, found_begin, rest = page.partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found_begin and found_end):
        raise click.ClickException(f"the page has no place for tables: it needs {begin} and {end}")
    return "\n\n".join([before + begin, *(table.strip() for table in tables), end + after])


def read_report(path: Path) -> Report:
    """Load one report."""
    try:
        return Report.from_json(path.read_bytes())
    except ValidationError as error:
        raise click.ClickException(
            f"{path} is not a report: write one with lightseek eval DIR --json"
        ) from error


@click.command(help="Write the tables of docs/results.md from the JSON of lightseek eval.")
@click.argument("reports", nargs=-1, required=True, type=FILE)
@click.option("--page", type=FILE, default=PAGE, help="Page to write into.")
def main(reports: tuple[Path, ...], page: Path) -> None:
    """Replace the tables of the page."""
    tables = [to_markdown(read_report(path)) for path in reports]
    page.write_text(fill(page.read_text(encoding="utf-8"), tables), encoding="utf-8")


if __name__ == "__main__":
    main()
