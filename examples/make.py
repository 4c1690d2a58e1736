"""Make the example pages; the same script makes the same files.

python examples/make.py
"""

import json
import random
from pathlib import Path

import numpy as np
from PIL import Image

from lightseek.data import degrade
from lightseek.data.fonts import SHIPPED, load_faces
from lightseek.data.kinds import Manuscript
from lightseek.data.layouts import POINTS_PER_INCH, toned
from lightseek.data.typesetting import SetPage, Typesetter
from lightseek.tokenizer import LATIN

HERE = Path(__file__).parent
DPI = 150
GREYS = 16

Block = tuple[str, list[tuple[str, ...]]]
"""Typst with CELLS where its text goes, and the rows of its text."""

A4 = 'set page(paper: "a4", margin: (x: 25mm, y: 22mm))'
SERIF = 'set text(font: "Caladea", size: 11.5pt, hyphenate: false, ligatures: false)'
SANS = (
    'set text(font: "Inter", size: 10pt, hyphenate: false, ligatures: false, features: (calt: 0))'
)
SPACED = "set par(leading: 0.8em, spacing: 1.5em)"


def paragraph(text: str) -> Block:
    """Running text."""
    return "par(CELLS)", [(text,)]


def lines(*texts: str, form: str = "block(CELLS)") -> Block:
    """Texts under each other."""
    return form, [(text,) for text in texts]


LETTER: list[Block] = [
    lines("Marlowe & Finch", form='text(size: 20pt, weight: "bold", CELLS)'),
    lines(
        "Bookbinders and Archivists since 1974",
        "14 Lantern Street, Bristol BS1 4QA",
        "Telephone +44 117 496 0153",
    ),
    lines("17 March 2025", form="align(right, CELLS)"),
    lines("Ms Amélie Dupré", "The Reading Room", "27 Rue des Tilleuls", "69003 Lyon, France"),
    lines("Your order no. 4821-B: the first 312 pages", form='block(text(weight: "bold", CELLS))'),
    lines("Dear Ms Dupré,"),
    paragraph(
        "Your box of family papers reached us on Monday, 3 March, dry and in good order. Thank "
        "you for packing it so well. Over the past two weeks we have cleaned, flattened and "
        "scanned every sheet, and we are happy to report that nothing is lost."
    ),
    paragraph(
        "You asked how the letters could become text that you can search. We now use a small "
        "reader for this. It runs on the old laptop in our workshop, with no network and no "
        "special hardware: a page goes in, and its text comes out a moment later. It cuts the "
        "page into lines, keeps two columns apart, follows English, French, German, Spanish, "
        "Italian and Portuguese, and says for every word where it stands and how sure it is. "
        "A page that it cannot read is never dropped; it is marked, and we look at it ourselves."
    ),
    paragraph("The work so far comes to the following:"),
    (
        "grid(columns: (1fr, auto), align: (left, right), row-gutter: 0.7em, CELLS)",
        [
            ("Scanning, 312 pages at £0.18", "£56.16"),
            ("Binding in grey linen, 2 volumes", "£48.50"),
            ("Postage and insurance to Lyon", "£7.95"),
            ("Total", "£112.61"),
        ],
    ),
    paragraph(
        "Payment is due within 30 days, by 16 April 2025. If you would rather see the volumes "
        "first, our door is open from 9:30 to 17:00, Tuesday to Saturday, and the kettle is "
        "always on."
    ),
    lines("With kind regards,"),
    lines("Rosalind Finch", "rosalind@marlowe-finch.example", form="block(above: 3.2em, CELLS)"),
]

INVOICE: list[Block] = [
    lines("FJORD & FELL OUTFITTERS", form="text(size: 17pt, CELLS)"),
    lines("Kirkegata 9, 5003 Bergen, Norway", "VAT no. NO 914 778 201"),
    (
        "grid(columns: (9em, auto), row-gutter: 0.7em, CELLS)",
        [
            ("Invoice", "2025-0367"),
            ("Date", "08.05.2025"),
            ("Due", "22.05.2025"),
            ("Customer", "Søren Åkesson, Göteborg"),
        ],
    ),
    (
        "table(columns: (1fr, auto, auto, auto), align: (left, right, right, right), "
        "inset: 7pt, stroke: (x, y) => (bottom: if y == 0 { 1pt } else { 0.3pt }), CELLS)",
        [
            ("Item", "Quantity", "Price", "Amount"),
            ("Wool blanket, grey", "2", "64.00", "128.00"),
            ("Enamel mug, 0.35 l", "6", "9.50", "57.00"),
            ("Storm lantern", "1", "42.90", "42.90"),
            ("Beeswax candles (box of 12)", "3", "18.25", "54.75"),
            ("Map of Hardangervidda 1:50 000", "1", "23.40", "23.40"),
        ],
    ),
    (
        "align(right, grid(columns: 2, column-gutter: 2.5em, row-gutter: 0.8em, CELLS))",
        [("Subtotal", "306.05"), ("VAT 25%", "76.51"), ("Total", "€ 382.56")],
    ),
    paragraph("Please pay to IBAN NO93 8601 1117 947 and quote the number of the invoice."),
]

COLUMNS: list[Block] = [
    lines("How a page is read", form='align(center, text(size: 22pt, weight: "bold", CELLS))'),
    lines("From white space to words, in five steps", form="align(center, CELLS)"),
    ("v(1em)", []),
    ("columns(2, gutter: 8mm, {", []),
    paragraph(
        "First the page is made flat. Light that falls from one side is divided out, a dark page "
        "is turned to dark on light, and a sheet that lay askew is set straight, so that every "
        "line runs level."
    ),
    paragraph(
        "Then the ink is gathered. Letters that stand side by side become a run; a run that "
        "stands far from its neighbour stays alone. Frames, rules and pictures are set aside, "
        "and the dot finds its way back to the i."
    ),
    paragraph(
        "Third comes the order. A gutter of white from top to bottom parts two columns: all of "
        "the left one is read before the right one begins. A heading across both comes first, "
        "and a table goes row by row."
    ),
    ("colbreak()", []),
    paragraph(
        "Fourth, every line is cut out as a strip and brought to one height. However large or "
        "small it was printed, the reader sees letters of about the same size, and never a line "
        "that is sliced in two."
    ),
    paragraph(
        "Last, the strips are read. An encoder looks at each as a whole and leaves sixteen "
        "tokens for a thousand pixels; a decoder writes the characters, one after the other, and "
        "points to where it found them. That is how each word gets its box."
    ),
    paragraph(
        "What was read goes out as plain text, as Markdown or as data, with a status for every "
        "page. If something could not be read, it says so, and nothing else is lost."
    ),
    ("})", []),
]


def manuscript(setup: str, blocks: list[Block]) -> Manuscript:
    """The blocks as typst source, and the text that they print."""
    source, texts = ["#{", "set document(date: none)", A4, setup, SPACED], []
    for form, rows in blocks:
        cells = [json.dumps(cell, ensure_ascii=False) for row in rows for cell in row]
        joint = ", " if "columns:" in form else " + linebreak() + "
        source.append(form.replace("CELLS", joint.join(cells)))
        if rows:
            texts.append("\n".join(" ".join(row) for row in rows))
    return Manuscript("\n".join([*source, "}"]), "\n\n".join(texts))


def scan(name: str, written: Manuscript, setter: Typesetter, *, seed: int) -> None:
    """A page as an office scanner gives it, and its true text beside it."""
    page = set_page(written, setter)
    rng = random.Random(seed)
    image = toned(page.image(DPI / POINTS_PER_INCH), ink=45, paper=248)
    image, _ = degrade.rotate(image, rng, max_degrees=0.4)
    image = degrade.blur(degrade.specks(image, rng), rng)
    # few greys, of which the lightest is white: the file stays small
    levels = np.rint(np.minimum(image / 244, 1) * (GREYS - 1))
    picture = Image.fromarray(np.uint8(levels * (255 // (GREYS - 1))))
    picture.save(HERE / f"{name}.png", optimize=True)
    (HERE / f"{name}.txt").write_text(f"{page.text}\n", encoding="utf-8")


def set_page(written: Manuscript, setter: Typesetter) -> SetPage:
    """A page that shows what is written."""
    pages = setter.set_all(written, load_faces(SHIPPED, LATIN)[0])
    assert pages is not None, f"this is not printed as it is written: {written.text}"
    [page] = pages
    return page


def main() -> None:
    """Write them all."""
    setter = Typesetter(SHIPPED)
    scan("letter", manuscript(SERIF, LETTER), setter, seed=86)
    scan("invoice", manuscript(SANS, INVOICE), setter, seed=98)
    columns = manuscript(SERIF, COLUMNS)
    (HERE / "two-columns.pdf").write_bytes(setter.pdf(columns.source))
    text = set_page(columns, setter).text
    (HERE / "two-columns.txt").write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
