"""Find a word in a folder of scans, also where it was read with a slip.

python examples/find_in_scans.py Hardangervidda examples
"""

import sys
from difflib import SequenceMatcher
from pathlib import Path

from lightseek import OCR

LIKE = 0.8
"""Share of the letters that must agree."""


def main(wanted: str, folder: str) -> None:
    """Print file, page, box and word of every place."""
    files = [path for path in sorted(Path(folder).iterdir()) if path.suffix in {".png", ".pdf"}]
    # together: lines of all files share batches
    for document in OCR().read_all(files):
        for page in document.pages:
            for word in page.words:
                if SequenceMatcher(None, word.text.lower(), wanted.lower()).ratio() >= LIKE:
                    left, top, right, bottom = (round(side) for side in word.box)
                    box = f"{left},{top},{right},{bottom}"
                    print(f"{document.source}  page {page.number}  {box}  {word.text}")


if __name__ == "__main__":
    main(*sys.argv[1:])
