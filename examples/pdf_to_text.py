"""A PDF to one text file a page; pages that could not be read are named, never left out.

python examples/pdf_to_text.py examples/two-columns.pdf texts
"""

import sys
from pathlib import Path

from lightseek import OCR, Status


def main(source: str, folder: str) -> None:
    """Write `page-001.txt` and so on."""
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    for page in OCR().read(source).pages:
        (out / f"page-{page.number:03}.txt").write_text(f"{page.text}\n", encoding="utf-8")
        if page.status is not Status.OK:
            print(f"page {page.number}: {page.status}, {page.reason}", file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
