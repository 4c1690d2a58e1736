"""Pages that lie on their side or upside down: found by how little sense they make as they lie."""

from collections.abc import Callable

from PIL import Image

from lightseek.document import Box, Page

CLEAR = 0.75
"""Confidence of a page below which it may lie wrong; upright print of any kind has more."""
_LEAST_WORDS = 3
"""Of fewer words no page is told to lie wrong: a speck may look like a letter from any side."""
_TURNS = {
    180: Image.Transpose.ROTATE_180,
    90: Image.Transpose.ROTATE_270,
    270: Image.Transpose.ROTATE_90,
}
"""Degrees clockwise, likeliest first; Pillow counts the other way."""


def read_upright(page: Page, image: Image.Image, read: Callable[[Image.Image], Page]) -> Page:
    """A page as it was read, or as it is read when it is turned, if that is clear.

    Args:
        page: What was read of the image as it lies.
        image: The page.
        read: Reads an image.

    Returns:
        The page, its boxes on the image as it lies.
    """
    if (page.confidence or 0.0) >= CLEAR:
        return page
    seconds = page.seconds
    for degrees, transpose in _TURNS.items():
        turned = read(image.transpose(transpose))
        seconds += turned.seconds
        if (turned.confidence or 0.0) >= CLEAR and len(turned.words) >= _LEAST_WORDS:
            page = _laid_back(turned, degrees, *image.size, number=page.number)
            break
    return page.model_copy(update={"seconds": seconds})


def _laid_back(page: Page, degrees: int, width: int, height: int, *, number: int) -> Page:
    """A page that was read turned, as it lies: of so many pixels."""

    def lay(box: Box) -> Box:
        left, top, right, bottom = box
        if degrees == 180:
            return Box(width - right, height - bottom, width - left, height - top)
        if degrees == 90:
            return Box(top, height - right, bottom, height - left)
        return Box(width - bottom, left, width - top, right)

    regions = tuple(
        region.model_copy(
            update={
                "box": lay(region.box),
                "lines": tuple(
                    line.model_copy(
                        update={
                            "box": lay(line.box),
                            "words": tuple(
                                word.model_copy(update={"box": lay(word.box)})
                                for word in line.words
                            ),
                        }
                    )
                    for line in region.lines
                ),
            }
        )
        for region in page.regions
    )
    sizes = {"width": width, "height": height, "turned": degrees, "number": number}
    return page.model_copy(update={"regions": regions, **sizes})
