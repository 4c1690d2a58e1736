"""Pages that wait to be read: opened, cut into strips or left whole, in groups that fit memory.

    Source -> Pages -> cut_all -> Cut -> windows

Nothing that is wrong with a page or a file stops the others. Knows nothing of models.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import cv2
import torch
from PIL import Image

from lightseek.blocks import Block, Strip, cut_page
from lightseek.document import unicode_name
from lightseek.errors import PageError
from lightseek.pages import PageImage, Pages, Source, UnreadablePage, source_name

STRIPS_AT_ONCE = 256
"""Strips gathered from pages before they are read: some five dense pages."""
PIXELS_AT_ONCE = 64_000_000
"""The same of pixels, those of some fifteen pages: pages of few strips wait in memory too."""
_SIGNS = (
    *("not enough memory", "allocate memory", "insufficient memory", "create a primitive"),
    *("out of memory", "alloc_failed", "bad_alloc"),
)
"""What PyTorch, oneDNN, OpenCV and the libraries of GPUs say."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A page on its way: cut into strips, or whole, and not read yet."""

    source: str
    number: int
    width: int
    height: int
    blocks: tuple[Block, ...]
    seconds: float
    reason: str | None
    """Why it cannot be read."""
    image: Image.Image | None = None
    """Of a page that could be opened."""
    last: bool = False
    """Whether no more pages of its source follow."""

    @property
    def strips(self) -> list[Strip]:
        """Those of all blocks, in reading order."""
        return [strip for block in self.blocks for strip in block.strips]


def cut_source(source: Source, opened: Callable[[Source], Pages], *, whole: bool) -> Iterator[Cut]:
    """Every page of a source, the last one told; one failed page where it cannot be opened.

    Args:
        source: What to open.
        opened: Opens it.
        whole: Whether pages are left whole.
    """
    held: Cut | None = None
    for cut in _pages_of(source, opened, whole):
        if held is not None:
            yield held
        held = cut
    if held is not None:
        yield replace(held, last=True)


def _pages_of(source: Source, opened: Callable[[Source], Pages], whole: bool) -> Iterator[Cut]:
    name, number = source_name(source), 1
    try:
        for cut in cut_all(opened(source), whole=whole):
            number = cut.number + 1
            yield cut
    except PageError as error:
        yield _failed(name, number, str(error))
    except MemoryError:
        yield _failed(name, number, "memory does not suffice to open it: read it alone")


def cut_all(pages: Pages, *, whole: bool) -> Iterator[Cut]:
    """Each page, cut into strips or left whole; of one that cannot be opened or cut, why."""
    for page in pages:
        if isinstance(page, UnreadablePage):
            yield _failed(page.source, page.number, page.reason)
        elif whole:
            size = page.image.size
            yield Cut(unicode_name(page.source), page.number, *size, (), 0, None, page.image)
        else:
            yield _cut_or_failed(page)


def _cut_or_failed(page: PageImage) -> Cut:
    try:
        return cut_one(page)
    except Exception as error:
        if not is_short_of_memory(error):
            raise
        return _failed(page.source, page.number, too_large(*page.image.size))


def cut_one(page: PageImage) -> Cut:
    """Cut a page into strips."""
    started = time.perf_counter()
    blocks = tuple(cut_page(page.image))
    seconds = time.perf_counter() - started
    source = unicode_name(page.source)
    return Cut(source, page.number, *page.image.size, blocks, seconds, None, page.image)


def _failed(source: str, number: int, reason: str) -> Cut:
    return Cut(unicode_name(source), number, 0, 0, (), 0.0, unicode_name(reason))


def is_short_of_memory(error: Exception) -> bool:
    """Whether an error says that memory could not be had."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    said = str(error).lower()
    return isinstance(error, RuntimeError | cv2.error) and any(sign in said for sign in _SIGNS)


def too_large(width: int, height: int) -> str:
    """Why a page of so many pixels is not read where memory ran out."""
    room = "memory does not suffice"
    return f"{room} for {width} x {height} pixels: read it alone, scale it down, or cut it up"


def windows(cuts: Iterable[Cut]) -> Iterator[list[Cut]]:
    """Pages in groups of about `STRIPS_AT_ONCE` strips, or `PIXELS_AT_ONCE` pixels."""
    group: list[Cut] = []
    strips = pixels = 0
    for cut in cuts:
        group.append(cut)
        strips += len(cut.strips)
        pixels += cut.width * cut.height
        if strips >= STRIPS_AT_ONCE or pixels >= PIXELS_AT_ONCE:
            yield group
            group, strips, pixels = [], 0, 0
    if group:
        yield group
