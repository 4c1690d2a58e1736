"""A page to Markdown: the shortest program there is.

python examples/read_page.py examples/letter.png
"""

import sys

from lightseek import OCR


def main(source: str) -> None:
    """Print what stands on an image, or on every page of a PDF."""
    document = OCR().read(source)
    print(document.markdown)


if __name__ == "__main__":
    main(*sys.argv[1:])
