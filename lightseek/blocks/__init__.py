"""Mode `blocks`: cut a page along its white space into strips of one line, in reading order.

    flat_sheet -> without_frames -> find_segments (text_alone) -> straightened -> reading_order
    -> paragraphs -> cut_strips -> Block

Knows nothing of models: the strips are read elsewhere.
"""

from collections.abc import Iterable
from functools import reduce

from PIL import Image

from lightseek.blocks.bend import bent, straightened
from lightseek.blocks.frames import without_frames
from lightseek.blocks.ink import flat_sheet
from lightseek.blocks.order import reading_order
from lightseek.blocks.paragraphs import paragraphs
from lightseek.blocks.segments import find_segments
from lightseek.blocks.sieve import body_size
from lightseek.blocks.strips import (
    STRIP_HEIGHT,
    STRIP_WIDTHS,
    Block,
    Strip,
    TextLine,
    cut_strips,
    word_boxes,
)
from lightseek.document import Box

_PIXELS = ("1", "L", "RGB")
"""Modes of Pillow in which a page is seen as it is."""

__all__ = [
    "STRIP_HEIGHT",
    "STRIP_WIDTHS",
    "Block",
    "Strip",
    "TextLine",
    "cut_page",
    "word_boxes",
]


def cut_page(image: Image.Image) -> list[Block]:
    """Cut a page into blocks of lines, in reading order; a blank page has none.

    Args:
        image: Grey or in colours, as `lightseek.pages.open_pages` makes every image.

    Raises:
        ValueError: If it is of another mode, such as with transparency: black may be nowhere seen.
    """
    if image.mode not in _PIXELS:
        raise ValueError(
            f"a page in mode {image.mode}: convert it to one of {', '.join(_PIXELS)}, or take what "
            "open_pages gives"
        )
    sheet = without_frames(flat_sheet(image))
    found = find_segments(sheet)
    page = Box(0, 0, image.width, image.height)
    body = body_size(found.segments)
    blocks = []
    for column in reading_order(straightened(found.segments, found.pieces.boxes)):
        for paragraph in paragraphs(column, body):
            cuts = (
                [s for segment in row for s in cut_strips(sheet, found, bent(segment), page)]
                for row in paragraph.rows
            )
            lines = tuple(
                TextLine(strips=tuple(strips), box=_around(s.box for s in strips))
                for strips in cuts
                if strips
            )
            if lines:
                box = _around(line.box for line in lines)
                blocks.append(Block(kind=paragraph.kind, lines=lines, box=box))
    return blocks


def _around(boxes: Iterable[Box]) -> Box:
    return reduce(Box.union, boxes)
