"""What the reader saw of a page: its views, where they lie, and the prompts made of them.

A strip is a view and a prompt of its own; the views of the official family stand together behind
one prompt. Either way places are numbered through the whole page, view after view, row by row. A
place has one visual token, or with sequence fusion one on each of two maps. Knows nothing of
attention or colours.

Axes: P prompt tokens, D width, S maps, N places of a prompt, h w of a view.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor

from lightseek.blocks import Strip, cut_page
from lightseek.config import TOKEN_PX
from lightseek.document import Box, Line, Page, Word
from lightseek.encoder import Encoded
from lightseek.fusion import SCALES
from lightseek.grounding import IMAGE
from lightseek.model import LightSeekOCR
from lightseek.ocr import Reading
from lightseek.reader import encode_pages, find_look, make_prompt, to_views
from lightseek.tokenizer import Tokenizer
from lightseek.views import MODES, PageViews, View, make_views

MAPS = {"channels": ("page",), "sequence": ("local", "global")}
"""What visual tokens lie on; with sequence fusion, a map of the compressor's and one of CLIP's."""
_AROUND_INK = 0.15
"""Of the height of a strip's ink: what is shown around it."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Seen:
    """A view as the encoder saw it."""

    kind: str
    """`strip`, `tile` or `page`."""
    to_page: Float[np.ndarray, "2 3"]
    """From pixels of the view to those of the page."""
    box: Box
    """What it shows of the page: margins and neighbours aside."""
    first: int
    """Number of its first place on the page."""
    encoded: Encoded
    """Of this view alone."""

    @property
    def rows(self) -> int:
        """Places down."""
        return self.encoded.fused.shape[1]

    @property
    def cols(self) -> int:
        """Places across."""
        return self.encoded.fused.shape[2]

    @property
    def size(self) -> int:
        """Places of the view."""
        return self.rows * self.cols


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Passage:
    """A prompt and what was written behind it."""

    prompt: Float[Tensor, "1 P D"]
    spots: Int[Tensor, "S N"]
    """Where in the prompt the visual tokens of each map stand, in the order of their places."""
    first: int
    """Number of the first place on the page."""
    text: str
    words: tuple[Word, ...] = ()
    """Those of the text with their boxes, where these are known."""
    strip: Strip | None = None
    """What was read, by models that read strips."""


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """All views of a page, and all that was read."""

    views: tuple[Seen, ...]
    passages: tuple[Passage, ...]


@torch.inference_mode()
def find_sight(
    model: LightSeekOCR, tokenizer: Tokenizer, image: Image.Image, page: Page, reading: Reading
) -> Sight:
    """See a page again as it was seen when it was read.

    Args:
        model: What read it.
        tokenizer: Its tokenizer.
        image: The page.
        page: What was read.
        reading: How it was read.
    """
    if model.config.mode in MODES:
        return _see_views(model, tokenizer, image, page, reading)
    views: list[Seen] = []
    passages: list[Passage] = []
    for strip, words in strips_with_words(image, page):
        first = views[-1].first + views[-1].size if views else 0
        views.append(_see_strip(model, strip, first))
        if words:
            passages.append(_read_strip(model, tokenizer, views[-1], strip, words))
    return Sight(tuple(views), tuple(passages))


def strips_with_words(image: Image.Image, page: Page) -> Iterator[tuple[Strip, tuple[Word, ...]]]:
    """The strips of a page, and the words that were read on each."""
    lines = {line.box: line for region in page.regions for line in region.lines}
    for block in cut_page(image):
        for cut in block.lines:
            read = lines.get(cut.box)
            yield from _split(read, cut.strips) if read else ((s, ()) for s in cut.strips)


def _split(line: Line, strips: tuple[Strip, ...]) -> Iterator[tuple[Strip, tuple[Word, ...]]]:
    """Words stand in the order of their strips, and inside them."""
    waiting = list(line.words)
    for strip in strips:
        own = []
        while waiting and _contains(strip.box, waiting[0].box):
            own.append(waiting.pop(0))
        yield strip, tuple(own)


def _contains(outer: Box, inner: Box) -> bool:
    return outer.left <= inner.left and inner.right <= outer.right


def _see_strip(model: LightSeekOCR, strip: Strip, first: int) -> Seen:
    pixels = to_views(torch.from_numpy(strip.image)[None])
    encoded = model.encoder(pixels.to(model.embedding.weight))
    around = _AROUND_INK * strip.box.height
    left, top, right, bottom = strip.box
    box = Box(left - around, top - around, right + around, bottom + around)
    return Seen(kind="strip", to_page=strip.to_page, box=box, first=first, encoded=encoded)


def _read_strip(
    model: LightSeekOCR, tokenizer: Tokenizer, seen: Seen, strip: Strip, words: tuple[Word, ...]
) -> Passage:
    visual = model.place_tokens(seen.encoded.tokens)[0]
    return Passage(
        prompt=make_prompt(model, tokenizer, visual, ""),
        spots=torch.arange(len(visual)).view(SCALES[model.config.fusion], -1),
        first=seen.first,
        text=" ".join(word.text for word in words),
        words=words,
        strip=strip,
    )


def _see_views(
    model: LightSeekOCR, tokenizer: Tokenizer, image: Image.Image, page: Page, reading: Reading
) -> Sight:
    look = find_look(model, tokenizer, mode=reading.mode, prompt=reading.prompt)
    views = make_views(image, look.mode)
    encoded: list[Encoded] = []
    with model.encoder.register_forward_hook(lambda module, given, made: encoded.append(made)):
        [visual] = encode_pages(model, [views])
    prompt = make_prompt(model, tokenizer, visual, look.prompt)
    seen = _seen_views(views, encoded)
    if model.config.decoder.row_marks:
        before = tokenizer.encode_prompt(look.prompt.split(IMAGE)[0])
        spots = 1 + len(before) + _spots(model, views, seen)[None]
    else:
        spots = torch.arange(prompt.shape[1] - 1).view(SCALES[model.config.fusion], -1)
    passage = Passage(prompt=prompt, spots=spots, first=0, text=page.text)
    return Sight(seen, (passage,) if page.text else ())


def _seen_views(views: PageViews, encoded: list[Encoded]) -> tuple[Seen, ...]:
    """Tiles in reading order, then the page view."""
    kinds = [*(("tile", tile) for tile in views.tiles), ("page", views.page)]
    alone = [_one(batch, i) for batch in encoded for i in range(len(batch.tokens))]
    seen: list[Seen] = []
    for (kind, view), own in zip(kinds, alone, strict=True):
        first = seen[-1].first + seen[-1].size if seen else 0
        box = _shown(view, own)
        seen.append(Seen(kind=kind, to_page=view.to_page, box=box, first=first, encoded=own))
    return tuple(seen)


def _one(batch: Encoded, index: int) -> Encoded:
    own = slice(index, index + 1)
    return Encoded(local=batch.local[own], fused=batch.fused[own], tokens=batch.tokens[own])


def _shown(view: View, encoded: Encoded) -> Box:
    rows, cols = encoded.fused.shape[1:3]
    return view.box_to_page(Box(0, 0, cols * TOKEN_PX, rows * TOKEN_PX))


def _spots(model: LightSeekOCR, views: PageViews, seen: tuple[Seen, ...]) -> Int[Tensor, " N"]:
    """Where `lay_out` puts each visual token, found by laying out their numbers."""
    numbers = [torch.arange(1.0, s.size + 1).add(s.first).view(s.rows, s.cols, 1) for s in seen]
    wide = [
        n.expand(-1, -1, model.config.decoder.dim).to(model.embedding.weight.device)
        for n in numbers
    ]
    *tiles, page = wide
    stacked = torch.stack(tiles) if tiles else None
    blank = None if stacked is None else torch.zeros_like(stacked)
    # what marks rows and views is the same in both, and leaves nothing
    laid = model.lay_out(stacked, views.grid, page)[:, 0]
    marks = model.lay_out(blank, views.grid, torch.zeros_like(page))[:, 0]
    found = (laid - marks).round().long()
    spots = found.nonzero()[:, 0]
    return spots[found[spots].argsort()]
