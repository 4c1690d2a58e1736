"""What was read of strips, in place of them: words, lines and regions of a page."""

import re
from collections.abc import Iterator, Sequence
from statistics import fmean

from lightseek.blocks import Block, Strip, TextLine, word_boxes
from lightseek.document import Line, Region, Word
from lightseek.readings import StripText, is_likely

_LETTERS = re.compile(r"[^\W\d_]{2}")
_TITLE_WORDS = 6
"""Most words of a heading that ends like a sentence."""


def assemble_regions(blocks: Sequence[Block], texts: Sequence[StripText]) -> tuple[Region, ...]:
    """The regions of a page, those without any word left out.

    Args:
        blocks: What was cut.
        texts: What was read of all its strips, in order.
    """
    of_strip = iter(texts)
    regions = []
    for block in blocks:
        lines = [_line(line, [next(of_strip) for _ in line.strips]) for line in block.lines]
        read = tuple(line for line in lines if line is not None)
        if read:
            sure = fmean(word.confidence for line in read for word in line.words)
            label = block.kind if _can_be_title(read) else "text"
            regions.append(Region(label=label, lines=read, box=block.box, confidence=sure))
    return tuple(regions)


def _can_be_title(lines: Sequence[Line]) -> bool:
    """Whether large type is a heading: words on every line, and none that is a sentence.

    Text is large beside a table in small type, too; titles of old books end in a point.
    """
    text = " ".join(line.text for line in lines)
    goes_on = text[0].islower() or len(text.split()) > _TITLE_WORDS
    is_sentence = text[-1] in ".,:;" and goes_on and not text.isupper()
    return not is_sentence and all(_LETTERS.search(line.text) for line in lines)


def _line(line: TextLine, texts: Sequence[StripText]) -> Line | None:
    """Words of all strips of a line; nothing if none has any."""
    words = [w for strip, text in zip(line.strips, texts, strict=True) for w in _words(strip, text)]
    if not words:
        return None
    confidence = fmean(word.confidence for word in words)
    return Line(words=tuple(words), box=line.box, confidence=confidence)


def _words(strip: Strip, text: StripText) -> Iterator[Word]:
    """The words of a strip, each with its box; specks that were read as marks are none."""
    if text.text.strip():
        boxes = word_boxes(strip, text.centres[:, 0], text.text)
        found = zip(text.text.split(), boxes, text.word_confidences(), strict=True)
        for i, (word, box, sure) in enumerate(found):
            if is_likely(word, sure, before=i > 0, behind=i < len(boxes) - 1):
                yield Word(text=word, box=box, confidence=sure)
