"""Draw a box around every word of a page: green where it is sure, red where a person should look.

python examples/words_and_boxes.py examples/invoice.png boxes.png
"""

import sys

from PIL import Image, ImageDraw, ImageOps

from lightseek import OCR

SURE = 0.95
"""Words of less are right nineteen times in twenty or less (docs/confidence.md)."""


def main(source: str, target: str) -> None:
    """Write the page with its boxes, and print the words that are not sure."""
    [page] = OCR().read(source).pages
    # boxes are of the page as it stands upright
    picture = ImageOps.exif_transpose(Image.open(source)).convert("RGB")
    draw = ImageDraw.Draw(picture)
    for word in page.words:
        is_sure = word.confidence >= SURE
        draw.rectangle(tuple(word.box), outline="green" if is_sure else "red", width=2)
        if not is_sure:
            print(f"{word.confidence:.2f}  {word.text}")
    picture.save(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
