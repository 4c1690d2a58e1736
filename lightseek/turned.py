"""Pages that lie on their side or upside down: found by how little sense they make as they lie."""

from typing import Protocol, runtime_checkable

from PIL import Image

from lightseek.document import Box, Line, Page, Region

DOUBTFUL, CLEAR = 0.65, 0.75
"""Confidence of a page below which it may lie wrong, for nearly all upright print has more; and
from which it lies right."""
_SURE = 0.9
"""From which no page is read turned, however short its words."""
_SHORT_WORDS = 2.0
"""Letters of a word, on average, below which no language is read: of a page on its side, letters of
many lines stand side by side."""
_LEAST_WORDS = 8
"""Of fewer words no page is told to lie wrong: some figures look like others from any side."""
_LEAST_PX = 200
"""Shorter side of a page; what has less is a crop, which nobody cuts out upside down."""
_TRIED = 24
"""Lines of a turned page that are read to see whether the rest is worth it."""
_TURNS = {
    180: Image.Transpose.ROTATE_180,
    90: Image.Transpose.ROTATE_270,
    270: Image.Transpose.ROTATE_90,
}
"""Degrees clockwise, likeliest first; Pillow counts the other way."""


@runtime_checkable
class ReadImage(Protocol):
    """What reads an image."""

    def __call__(self, image: Image.Image, /, most: int | None = None) -> Page:
        """All of it, or about so many of its lines."""
        ...


def turn(image: Image.Image, degrees: int) -> Image.Image:
    """A page turned clockwise by 90, 180 or 270 degrees."""
    return image.transpose(_TURNS[degrees])


def read_upright(page: Page, image: Image.Image, read: ReadImage) -> Page:
    """A page as it was read, or as it is read when it is turned, if that is clear.

    Args:
        page: What was read of the image as it lies.
        image: The page.
        read: Reads an image.

    Returns:
        The page, its boxes on the image as it lies.
    """
    confidence = page.confidence or 0.0
    doubtful = confidence < DOUBTFUL
    suspect = doubtful or (confidence < _SURE and _has_short_words(page))
    if not suspect or min(image.size) < _LEAST_PX:
        return page
    seconds = page.seconds
    for degrees in _TURNS:
        turned = turn(image, degrees)
        found = read(turned, most=_TRIED)
        seconds += found.seconds
        if _is_clear(found, short=doubtful):
            found = read(turned)
            seconds += found.seconds
            if _is_clear(found, short=doubtful) and len(found.words) >= _LEAST_WORDS:
                page = _laid_back(found, degrees, *image.size, number=page.number)
                break
    return page.model_copy(update={"seconds": seconds})


def _has_short_words(page: Page) -> bool:
    return sum(len(word.text) for word in page.words) < _SHORT_WORDS * len(page.words)


def _is_clear(page: Page, *, short: bool) -> bool:
    """Whether it makes sense, of single letters too or not."""
    return (page.confidence or 0.0) >= CLEAR and (short or not _has_short_words(page))


def _laid_back(page: Page, degrees: int, width: int, height: int, *, number: int) -> Page:
    """A page that was read turned, as it lies: of so many pixels."""

    def lay(box: Box) -> Box:
        left, top, right, bottom = box
        if degrees == 180:
            return Box(width - right, height - bottom, width - left, height - top)
        if degrees == 90:
            return Box(top, height - right, bottom, height - left)
        return Box(width - bottom, left, width - top, right)

    def lay_line(line: Line) -> Line:
        words = tuple(word.model_copy(update={"box": lay(word.box)}) for word in line.words)
        return line.model_copy(update={"box": lay(line.box), "words": words})

    def lay_region(region: Region) -> Region:
        lines = tuple(map(lay_line, region.lines))
        return region.model_copy(update={"box": lay(region.box), "lines": lines})

    regions = tuple(map(lay_region, page.regions))
    sizes = {"width": width, "height": height, "turned": degrees, "number": number}
    return page.model_copy(update={"regions": regions, **sizes})
