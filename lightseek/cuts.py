"""Pages that wait to be read: opened, cut into strips or left whole, in groups that fit memory.

    Source -> open_all -> Opened -> cut_all -> Cut -> windows

Nothing that is wrong with a page or a file stops the others. Knows nothing of models.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import cv2
import torch
from PIL import Image

from lightseek.blocks import Block, Strip, cut_page
from lightseek.document import unicode_name
from lightseek.errors import PageError
from lightseek.pages import PageImage, Pages, Source, UnreadablePage, source_name

CUT_TOGETHER = 4
"""Most pages that are cut side by side: each takes some hundred megabytes."""
LARGE_PX = 150_000
"""Pixels of a page from which on cutting it in a thread of its own pays."""
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


class Opened(NamedTuple):
    """A page that was opened, or why it was not."""

    page: PageImage | UnreadablePage
    last: bool = False
    """Whether no more pages of its source follow."""


def open_all(sources: Iterable[Source], opened: Callable[[Source], Pages]) -> Iterator[Opened]:
    """Every page of every source; one failed page where a source cannot be opened.

    Args:
        sources: What to open.
        opened: Opens one.
    """
    for source in sources:
        held: PageImage | UnreadablePage | None = None
        for page in _pages_of(source, opened):
            if held is not None:
                yield Opened(held)
            held = page
        if held is not None:
            yield Opened(held, last=True)


def _pages_of(
    source: Source, opened: Callable[[Source], Pages]
) -> Iterator[PageImage | UnreadablePage]:
    name, number = source_name(source), 1
    try:
        for page in opened(source):
            number = page.number + 1
            yield page
    except PageError as error:
        yield UnreadablePage(name, number, str(error))
    except MemoryError:
        yield UnreadablePage(name, number, "memory does not suffice to open it: read it alone")


def cut_all(pages: Iterable[Opened], *, whole: bool) -> Iterator[Cut]:
    """Each page, cut into strips or left whole; of one that cannot be opened or cut, why.

    As many large ones are cut side by side as there are threads to read them, a few at most. Of
    small ones more is done in Python, where threads only stand in each other's way.
    """
    together = 1 if whole else min(CUT_TOGETHER, torch.get_num_threads())
    with ThreadPoolExecutor(together) as pool:
        waiting: deque[Callable[[], Cut]] = deque()
        for page in pages:
            cut = partial(_cut_or_failed, page, whole=whole)
            apart = together > 1 and _is_large(page)
            waiting.append(pool.submit(cut).result if apart else cut)
            if len(waiting) == together:
                yield waiting.popleft()()
        while waiting:
            yield waiting.popleft()()


def _is_large(opened: Opened) -> bool:
    page = opened.page
    return isinstance(page, PageImage) and page.image.width * page.image.height >= LARGE_PX


def _cut_or_failed(opened: Opened, *, whole: bool) -> Cut:
    page, last = opened
    if isinstance(page, UnreadablePage):
        reason = unicode_name(page.reason)
        return Cut(unicode_name(page.source), page.number, 0, 0, (), 0.0, reason, last=last)
    try:
        cut = _uncut(page) if whole else cut_one(page)
    except Exception as error:
        if not is_short_of_memory(error):
            raise
        cut = replace(_uncut(page), reason=too_large(*page.image.size), image=None)
    return replace(cut, last=last)


def _uncut(page: PageImage) -> Cut:
    size = page.image.size
    return Cut(unicode_name(page.source), page.number, *size, (), 0.0, None, page.image)


def cut_one(page: PageImage) -> Cut:
    """Cut a page into strips."""
    started = time.perf_counter()
    blocks = tuple(cut_page(page.image))
    return replace(_uncut(page), blocks=blocks, seconds=time.perf_counter() - started)


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
