"""What the reader saw: features of the encoder and attention of the decoder, over the page.

    OCR.read -> Page -> find_sight -> paint_features
                                   -> find_gazes -> write_report

The page is read as always. What is shown here is computed afterwards from the text that was read,
so that reading carries nothing of it.
"""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from lightseek.config import ModelConfig
from lightseek.document import Page, unicode_name
from lightseek.errors import PageError
from lightseek.explain.attention import Gaze, find_gazes
from lightseek.explain.sight import Sight, find_sight
from lightseek.ocr import OCR, Reading
from lightseek.pages import UnreadablePage, open_pages
from lightseek.turned import turn

__all__ = ["Explanation", "Gaze", "Sight", "explain"]


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """A page, what was read on it, and how."""

    source: str
    config: ModelConfig
    """Of the model that read it."""
    image: Image.Image
    """The page, upright."""
    page: Page
    sight: Sight
    layers: dict[str, int]
    """Decoder layer of the attention to each map, from 0; maps are those of `sight.MAPS`."""
    gazes: tuple[Gaze, ...]
    """One a word, in reading order."""


def explain(
    ocr: OCR,
    source: str | Path | Image.Image,
    *,
    page: int = 1,
    mode: str | None = None,
    prompt: str | None = None,
    max_tokens: int | None = None,
    layer: int | None = None,
) -> Explanation:
    """Read one page and look at how it was read.

    Args:
        ocr: The reader.
        source: A file or an image.
        page: Number of the page in a file of many.
        mode: How the page is cut into views; by default the model's own.
        prompt: What to ask a model of the official family; by default its text alone.
        max_tokens: Tokens after which a model that reads whole pages gives up.
        layer: Decoder layer whose attention is shown; by default, for each map, the one that tells
            words apart best.

    Raises:
        PageError: If the page cannot be opened.
        UsageError: If an argument makes no sense.
    """
    opened = open_pages(source, pages=str(page))
    shown = next(iter(opened))
    if isinstance(shown, UnreadablePage):
        raise PageError(f"{opened.source} page {page}: {shown.reason}")
    if prompt is None and ocr.model.config.decoder.row_marks:
        prompt = "free"  # without marks the text that is followed is all that the model wrote
    reading = Reading(mode=mode, prompt=prompt, max_tokens=max_tokens)

    def read_page(image: Image.Image) -> Page:
        [document] = ocr.read_all([image], reading=reading)
        [read] = document.pages
        return read

    image, read = shown.image, read_page(shown.image)
    if read.turned:  # what was seen of it, and is shown, is the page upright
        image = turn(image, read.turned)
        read = read_page(image)
    sight = find_sight(ocr.model, ocr.tokenizer, image, read, reading)
    layers, gazes = find_gazes(ocr.model, ocr.tokenizer, sight, layer=layer)
    read = read.model_copy(update={"number": page})
    config = ocr.model.config
    source = unicode_name(opened.source)
    return Explanation(source, config, image, read, sight, layers, gazes)
