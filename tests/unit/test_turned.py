from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from lightseek.document import Box, Line, Page, Region, Status, Word
from lightseek.turned import DOUBTFUL, read_upright

MARK = Box(30, 50, 130, 90)
"""Where the ink of an upright page of 400 x 600 pixels is."""


def upright() -> Image.Image:
    image = Image.new("RGB", (400, 600), "white")
    image.paste("black", tuple(map(int, MARK)))
    return image


def page_of(
    image: Image.Image, *, confidence: float | None, words: int = 8, text: str = "word"
) -> Page:
    ink = np.asarray(image.convert("L")) < 128
    rows, cols = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    box = Box(float(cols[0]), float(rows[0]), float(cols[-1] + 1), float(rows[-1] + 1))
    word = Word(text=text, box=box, confidence=confidence or 0.0)
    line = Line(words=(word,) * words, box=box, confidence=confidence or 0.0)
    region = Region(label="text", lines=(line,), box=box)
    return Page(
        number=1,
        width=image.width,
        height=image.height,
        status=Status.OK,
        regions=(region,),
        seconds=1.0,
        confidence=confidence,
    )


class Reader:
    """Is sure of a page with its ink where an upright one has it."""

    def __init__(self, *, words: int = 8) -> None:
        self.words = words
        self.read = 0

    def __call__(self, image: Image.Image, /, most: int | None = None) -> Page:
        self.read += 1
        found = page_of(image, confidence=0.2, words=self.words)
        is_upright = found.regions[0].box == MARK
        return found.model_copy(update={"confidence": 0.95}) if is_upright else found


def boxes(page: Page) -> Iterator[Box]:
    for region in page.regions:
        yield region.box
        for line in region.lines:
            yield line.box
            yield from (word.box for word in line.words)


@pytest.mark.parametrize("lies", [90, 180, 270])
def test_a_page_that_lies_wrong_is_read_turned_with_boxes_as_it_lies(lies: int) -> None:
    image = upright().rotate(-lies, expand=True)  # Pillow turns the other way
    reader = Reader()
    first = reader(image).model_copy(update={"number": 7})
    page = read_upright(first, image, reader)
    assert (page.turned, page.confidence, page.number) == (360 - lies, 0.95, 7)
    assert (page.width, page.height) == image.size
    assert set(boxes(page)) == {first.regions[0].box}
    assert page.seconds == reader.read


def test_a_clear_page_is_read_once() -> None:
    reader = Reader()
    page = page_of(upright(), confidence=DOUBTFUL)
    assert read_upright(page, upright(), reader) == page
    assert reader.read == 0


@pytest.mark.parametrize("confidence", [0.3, None])
def test_a_page_of_few_words_stays_as_it_lies(confidence: float | None) -> None:
    """Some figures look like others from any side."""
    image = upright().rotate(180)
    reader = Reader(words=2)
    page = page_of(image, confidence=confidence, words=2)
    kept = read_upright(page, image, reader)
    assert kept == page.model_copy(update={"seconds": 5.0})
    assert (kept.turned, reader.read) == (0, 4), "all turns are tried, one of them is read whole"


@pytest.mark.parametrize("confidence", [0.7, 0.85])
def test_a_page_of_single_letters_is_tried_turned(confidence: float) -> None:
    image = upright().rotate(-90, expand=True)
    reader = Reader()
    page = read_upright(page_of(image, confidence=confidence, text="o"), image, reader)
    assert (page.turned, page.confidence) == (270, 0.95)


def test_figures_that_look_alike_from_any_side_stay_as_they_lie() -> None:
    def read(image: Image.Image, /, most: int | None = None) -> Page:
        return page_of(image, confidence=0.9, text="8")

    page = read_upright(page_of(upright(), confidence=0.7, text="6"), upright(), read)
    assert page.turned == 0
    assert page.words[0].text == "6"


def test_a_page_of_figures_that_makes_no_sense_as_it_lies_is_turned() -> None:
    def read(image: Image.Image, /, most: int | None = None) -> Page:
        return page_of(image, confidence=0.9, text="8")

    assert read_upright(page_of(upright(), confidence=0.4), upright(), read).turned == 180


def test_a_sure_page_of_figures_is_read_once() -> None:
    reader = Reader()
    page = page_of(upright(), confidence=0.9, text="6")
    assert read_upright(page, upright(), reader) == page
    assert reader.read == 0


def test_a_crop_is_read_once() -> None:
    image = upright().rotate(180).crop((0, 400, 400, 590))
    reader = Reader()
    page = page_of(image, confidence=0.3)
    assert read_upright(page, image, reader) == page
    assert reader.read == 0
