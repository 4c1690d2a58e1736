"""OCR: a file in, a document out. The one path that everything takes that reads.

    open_all -> cut_all -> read_strips -> assemble_regions -> Page -> Document
    open_all -> cut_all -> make_views -> read_views -> parse_answer -> Page -> Document

Strips of many pages, and of many files, are read in batches of one shape. The official family
reads views, those of a few pages at a time.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from lightseek.assembly import assemble_regions
from lightseek.blocks import Block
from lightseek.cuts import (
    Cut,
    Opened,
    cut_all,
    cut_one,
    is_short_of_memory,
    open_all,
    too_large,
    windows,
)
from lightseek.document import Document, Page, Region, Status, unicode_name
from lightseek.errors import ModelError, UsageError
from lightseek.grounding import find_prompt
from lightseek.ngrams import find_ban
from lightseek.pages import DEFAULT_DPI, PageImage, Source, open_pages, page_ranges
from lightseek.reader import Answer, Look, find_look, read_strips, read_views
from lightseek.readings import StripText, read_carefully
from lightseek.turned import read_upright
from lightseek.views import BLOCKS, MODES, find_mode, make_views, with_most_tiles
from lightseek.weights import default_dtype, find_device, load_model

PAGES_AT_ONCE = 4
"""Pages that models of the official family read together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """How sources are opened, and what models of the official family are asked.

    Raises:
        UsageError: If a value makes no sense, whatever the model.
    """

    mode: str | None = None
    """How pages are cut into views, such as `gundam`; none is the model's own."""
    dpi: int = DEFAULT_DPI
    """Dots per inch at which PDF pages are rendered."""
    pages: str | None = None
    """Pages to read, such as `1-3,7`."""
    password: str | None = None
    """Opens encrypted PDFs."""
    prompt: str | None = None
    """A name of `lightseek.grounding.PROMPTS`, or text with `<image>`; none is the model's own."""
    max_tokens: int | None = None
    """Tokens after which a page is given up; none is as many as the model has positions."""
    max_tiles: int | None = None
    """Most tiles of a page; none is as many as the mode allows."""
    batch: int = PAGES_AT_ONCE
    """Pages that models of the official family read together; each takes memory of its own."""
    ngram: str | None = None
    """`SIZE/WINDOW` of tokens that may not repeat, or `off`; none is the model's own ban."""

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise UsageError(f"a batch of {self.batch} pages reads none: it starts at 1")
        # told before anything is opened or loaded
        if self.pages is not None:
            page_ranges(self.pages)
        if self.prompt is not None:
            find_prompt(self.prompt)
        if self.ngram is not None:
            find_ban(self.ngram, except_ids=frozenset())
        if self.mode not in (None, BLOCKS):
            mode = find_mode(self.mode)
            if self.max_tiles is not None:
                with_most_tiles(mode, self.max_tiles)


class OCR:
    """A model, ready to read.

    Args:
        model: `nano`, a model folder, or a hub id such as `deepseek-ai/DeepSeek-OCR`.
        device: Where to compute; by default the GPU if there is one.
        dtype: What to compute in; by default bfloat16 where the device has it.

    Raises:
        ModelError: If the model cannot be loaded, or cannot read pages.
        UsageError: If there is no such device.
    """

    def __init__(
        self,
        model: str | Path = "nano",
        *,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        where = find_device(device)
        what = dtype or default_dtype(where)
        self.model, self.tokenizer = load_model(model, device=where, dtype=what)
        config = self.model.config
        self.reads_views = config.mode in MODES
        """Whether pages are read whole, as by the official family, rather than cut into strips."""
        if config.decoder.place is None and not self.reads_views:
            raise ModelError(
                f"{model} has no place heads, without which strips cannot be read: "
                "give nano, or a model trained by a recipe of nano"
            )

    def read(
        self,
        source: Source,
        *,
        mode: str | None = None,
        dpi: int = DEFAULT_DPI,
        pages: str | None = None,
        password: str | None = None,
        prompt: str | None = None,
        max_tokens: int | None = None,
        max_tiles: int | None = None,
        batch: int = PAGES_AT_ONCE,
        ngram: str | None = None,
    ) -> Document:
        """Read one file, image or array.

        Args:
            source: A path (`-` is standard input), bytes of a file, a PIL image, or an array.
            mode: How pages are cut into views; by default the model's own.
            dpi: Dots per inch at which PDF pages are rendered.
            pages: Pages to read, such as `1-3,7`; by default all.
            password: Opens an encrypted PDF.
            prompt: What to ask a model of the official family: a name of `grounding.PROMPTS`, or
                text with `<image>`; by default what the model was made for.
            max_tokens: Tokens after which such a model gives a page up.
            max_tiles: Most tiles of a page in the gundam modes.
            batch: Pages that such a model reads together.
            ngram: What such a model may not repeat, as `SIZE/WINDOW`, or `off`.

        Returns:
            Every page asked for, in order; one that cannot be read says why.

        Raises:
            PageError: If the source as a whole cannot be opened.
            UsageError: If an argument makes no sense.
        """
        reading = Reading(
            mode=mode,
            dpi=dpi,
            pages=pages,
            password=password,
            prompt=prompt,
            max_tokens=max_tokens,
            max_tiles=max_tiles,
            batch=batch,
            ngram=ngram,
        )
        look = self._find_look(reading)
        opened = open_pages(source, dpi=dpi, pages=pages, password=password)
        cuts = cut_all(map(Opened, opened), whole=self.reads_views)
        read = tuple(page for _, page in self._read_cuts(cuts, look, batch))
        return Document(source=unicode_name(opened.source), pages=read)

    def read_all(
        self,
        sources: Iterable[Source],
        *,
        reading: Reading = Reading(),
        on_page: Callable[[str, Page], None] = lambda source, page: None,
    ) -> Iterator[Document]:
        """Read many files, their strips batched together.

        A source that cannot be opened becomes a document of one failed page: it does not stop
        the others.

        Args:
            sources: As for `read`.
            reading: How all of them are opened and what is asked of them.
            on_page: Called with the source's name for every page that is done.

        Yields:
            One document a source, in order, as soon as its last page is read.

        Raises:
            UsageError: If what is asked makes no sense for the model.
        """
        look = self._find_look(reading)
        opened = partial(
            open_pages, dpi=reading.dpi, pages=reading.pages, password=reading.password
        )
        cuts = cut_all(open_all(sources, opened), whole=self.reads_views)
        pages: list[Page] = []
        for cut, page in self._read_cuts(cuts, look, reading.batch):
            on_page(cut.source, page)
            pages.append(page)
            if cut.last:
                yield Document(source=cut.source, pages=tuple(pages))
                pages = []

    def read_strips(self, strips: Sequence[UInt8[np.ndarray, "H _"]]) -> list[StripText]:
        """Read strips that `cut_page` left, one result each, empty where nothing can be text."""
        return read_carefully(strips, partial(read_strips, self.model, self.tokenizer))

    def _find_look(self, reading: Reading) -> Look | None:
        """How pages are looked at; none by models that read strips."""
        mode = reading.mode
        if self.reads_views:
            return find_look(
                self.model,
                self.tokenizer,
                mode=mode,
                max_tiles=reading.max_tiles,
                prompt=reading.prompt,
                max_tokens=reading.max_tokens,
                ngram=reading.ngram,
            )
        name, own = self.model.config.name, self.model.config.mode
        if mode is not None and mode != own:
            raise UsageError(f"{name} reads in mode {own}, not {mode}: leave the mode out")
        if (reading.prompt, reading.max_tokens, reading.max_tiles, reading.ngram) != (None,) * 4:
            raise UsageError(f"{name} takes no prompt, tokens, tiles or ngram: leave them out")
        return None

    def _read_cuts(
        self, cuts: Iterable[Cut], look: Look | None, batch: int
    ) -> Iterator[tuple[Cut, Page]]:
        return self._read_cut(cuts) if look is None else self._read_whole(cuts, look, batch)

    def _read_cut(self, cuts: Iterable[Cut]) -> Iterator[tuple[Cut, Page]]:
        """Read cut pages, some hundred strips at a time."""
        for group in windows(cuts):
            yield from _read_sparingly(self._read_group, group, _too_large)

    def _read_group(self, group: list[Cut]) -> list[tuple[Cut, Page]]:
        started = time.perf_counter()
        images = [strip.image for cut in group for strip in cut.strips]
        texts = iter(self.read_strips(images))
        seconds = (time.perf_counter() - started) / max(1, len(images))
        read = []
        for cut in group:
            own = [next(texts) for _ in cut.strips]
            page = _assembled(cut, own, cut.seconds + seconds * len(own))
            if cut.image is not None:
                page = read_upright(page, cut.image, self._read_image)
            read.append((cut, page))
        return read

    def _read_image(self, image: Image.Image, /, most: int | None = None) -> Page:
        """Read one image by itself, or about so many of its lines."""
        started = time.perf_counter()
        cut = cut_one(PageImage(image, source="", number=1))
        if most is not None:
            lines = [line for block in cut.blocks for line in block.lines]
            some = lines[:: max(1, len(lines) // most)]
            cut = replace(cut, blocks=tuple(Block("text", (line,), line.box) for line in some))
        texts = self.read_strips([strip.image for strip in cut.strips])
        return _assembled(cut, texts, time.perf_counter() - started)

    def _read_whole(
        self, cuts: Iterable[Cut], look: Look, batch: int
    ) -> Iterator[tuple[Cut, Page]]:
        """Read pages, some at a time."""
        read = partial(self._read_images, look)
        waiting: list[Cut] = []
        for cut in cuts:
            waiting.append(cut)
            if sum(c.image is not None for c in waiting) == batch:
                yield from _read_sparingly(read, waiting, _sees_too_much)
                waiting = []
        yield from _read_sparingly(read, waiting, _sees_too_much)

    def _read_images(self, look: Look, cuts: list[Cut]) -> list[tuple[Cut, Page]]:
        started = time.perf_counter()
        images = [cut.image for cut in cuts if cut.image is not None]
        views = [make_views(image, look.mode) for image in images]
        answers = iter(read_views(self.model, self.tokenizer, views, look) if views else [])
        seconds = (time.perf_counter() - started) / max(1, len(images))
        return [
            (cut, _page(cut) if cut.image is None else _answered(cut, next(answers), seconds))
            for cut in cuts
        ]


def _read_sparingly(
    read: Callable[[list[Cut]], list[tuple[Cut, Page]]],
    group: list[Cut],
    why: Callable[[Cut], str],
) -> Iterator[tuple[Cut, Page]]:
    """Read pages together; where memory does not suffice, each by itself, and fail those left."""
    done: list[tuple[Cut, Page]] | None = None
    try:
        done = read(group)
    except Exception as error:
        if not is_short_of_memory(error):
            raise
    # not before here is what the failed attempt held let go of
    if done is not None:
        yield from done
    elif len(group) > 1:
        for cut in group:
            yield from _read_sparingly(read, [cut], why)
    else:
        [cut] = group
        yield cut, _page(replace(cut, blocks=(), reason=why(cut)))


def _too_large(cut: Cut) -> str:
    return too_large(cut.width, cut.height)


def _sees_too_much(cut: Cut) -> str:
    """Whatever the size of a page, a mode makes views of one size."""
    return "memory does not suffice: choose a smaller mode, fewer tiles, or fewer tokens"


def _assembled(cut: Cut, texts: list[StripText], seconds: float) -> Page:
    """Put what was read in place of strips."""
    unfinished = sum(not text.finished for text in texts)
    reason = f"the reader did not reach the end of {unfinished} of {len(texts)} strips"
    regions = assemble_regions(cut.blocks, texts)
    return _page(cut, regions, seconds, truncated=reason if unfinished else None)


def _answered(cut: Cut, answer: Answer, seconds: float) -> Page:
    """What a model says of a whole page."""
    if answer.reason is not None:
        return _page(replace(cut, reason=answer.reason), (), seconds)
    reason = "the reader did not reach the end of the page within its limit of tokens"
    regions = answer.regions(cut.width, cut.height)
    return _page(cut, regions, seconds, truncated=None if answer.finished else reason)


def _page(
    cut: Cut,
    regions: tuple[Region, ...] = (),
    seconds: float = 0.0,
    *,
    truncated: str | None = None,
) -> Page:
    status = Status.TRUNCATED if truncated else Status.OK
    return Page(
        number=cut.number,
        width=cut.width,
        height=cut.height,
        status=status if cut.reason is None else Status.FAILED,
        reason=cut.reason or truncated,
        regions=regions,
        seconds=seconds,
        confidence=_confidence(regions),
    )


def _confidence(regions: Sequence[Region]) -> float | None:
    """The mean over regions of which it is known, by their words."""
    known = [(r.confidence, len(r.text.split())) for r in regions if r.confidence is not None]
    return fmean(*zip(*known, strict=True)) if known else None
