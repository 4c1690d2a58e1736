"""Pages with their text as tensors, and the model that learns to write one behind the other.

Pages of a batch are encoded together. Where their tiles differ in number, so do their visual
tokens; what is filled up then lies behind the text, where causal attention never looks.

Axes: B pages, P Q prompt tokens before and behind the page, L text tokens, T tiles of all pages,
Y X y x pixels, h w visual tokens down and across, F width of fused features, D decoder width.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float16, Int, Int64, UInt8
from PIL import Image
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from lightseek.data.dataset import Pairs
from lightseek.decoder import DeepDecoder, attention_bias
from lightseek.errors import UsageError
from lightseek.generate import Decoding, generate
from lightseek.grounding import IMAGE, find_prompt
from lightseek.model import LightSeekOCR
from lightseek.reader import scale_colours, stack_colours
from lightseek.tokenizer import Tokenizer
from lightseek.train.batch import IGNORED, Tensors
from lightseek.train.features import Features
from lightseek.train.loss import Part, score
from lightseek.train.next_token import side_by_side
from lightseek.views import UNTILED, Grid, Mode, make_views

FUSED = "fused"
"""What is cached of a frozen encoder: the projector behind it may learn."""


class PageRow(NamedTuple):
    """A page as it is read from disk: its image, or what the encoder has seen of it."""

    name: str
    text: str
    image: Image.Image | None
    fused: Float16[Tensor, "h w F"] | None


class PageRows:
    """A data set for a `BatchLoader`.

    Args:
        pairs: Images and their text.
        features: Of the pairs, to be read in the place of images.
    """

    def __init__(self, pairs: Pairs, features: Features | None) -> None:
        self._pairs, self._features = pairs, features

    @property
    def lengths(self) -> Int64[np.ndarray, " n"]:
        """Of the text of each row."""
        return self._pairs.lengths

    def __getitem__(self, index: int) -> PageRow:
        """Read a row."""
        if self._features is None:
            pair = self._pairs[index]
            return PageRow(pair.name, pair.text, pair.image, None)
        fused = self._features[index][FUSED]
        return PageRow(self._pairs.name(index), self._pairs.text(index), None, fused)


class Prompt(NamedTuple):
    """Tokens around the place of a page."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    """Ends with the token that the first of the text follows."""


def make_prompt(model: LightSeekOCR, tokenizer: Tokenizer, wanted: str | None) -> Prompt:
    """The prompt of the official family; begin alone for models that take none.

    Raises:
        UsageError: If a prompt is given to a model that takes none, or the other way round.
    """
    if not model.config.decoder.row_marks:
        if wanted is not None:
            raise UsageError(f"{model.config.name} takes no prompt: leave pages.prompt out")
        return Prompt((), (tokenizer.bos_id,))
    if wanted is None:
        raise UsageError(f"{model.config.name} is asked for something: give pages.prompt")
    before, after = (tokenizer.encode_prompt(s) for s in find_prompt(wanted).split(IMAGE))
    if not after:
        raise UsageError(f"nothing follows {IMAGE} in the prompt: put the question behind it")
    return Prompt((tokenizer.bos_id, *before), tuple(after))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PageBatch(Tensors):
    """Pages of one mode."""

    names: tuple[str, ...]
    pages: UInt8[Tensor, "B Y X 3"] | None
    """Page views; none where there are features."""
    tiles: UInt8[Tensor, "T y x 3"] | None
    """Of all pages, one after the other; none in modes without tiles."""
    grids: tuple[Grid, ...]
    """How the tiles of each page lie."""
    fused: Float16[Tensor, "B h w F"] | None
    ids: Int[Tensor, "B L"]
    """The last token of the prompt, then the text, filled up on its right."""
    targets: Int[Tensor, "B L"]
    """What follows each, `IGNORED` where nothing does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PageCollate:
    """Makes batches of rows."""

    tokenizer: Tokenizer
    mode: Mode
    prompt: Prompt
    longest: int
    """Tokens of text; the end of a longer one is not taught."""

    def __call__(self, rows: list[PageRow]) -> PageBatch:
        """A batch of rows."""
        texts = [self.tokenizer.encode(row.text) for row in rows]
        ids, targets = side_by_side([text[: self.longest] for text in texts], self.tokenizer)
        ids[:, 0] = self.prompt.after[-1]
        for row, text in enumerate(texts):
            if len(text) > self.longest:
                targets[row, self.longest] = IGNORED  # it goes on there, and does not end
        views = [make_views(row.image, self.mode) for row in rows if row.image is not None]
        fused = [row.fused for row in rows if row.fused is not None]
        tiles = None
        if self.mode.tile_px is not None:
            # one blank tile where there is none: all processes encode as often as each other
            blank = Image.new("RGB", (self.mode.tile_px, self.mode.tile_px))
            tiles = stack_colours([tile.image for view in views for tile in view.tiles] or [blank])
        return PageBatch(
            names=tuple(row.name for row in rows),
            pages=stack_colours([view.page.image for view in views]) if views else None,
            tiles=tiles,
            grids=tuple(view.grid for view in views),
            fused=torch.stack(fused) if fused else None,
            ids=ids,
            targets=targets,
        )


class PageModel(nn.Module):
    """A model with its prompt: all that one process trains."""

    def __init__(self, model: LightSeekOCR, prompt: Prompt) -> None:
        super().__init__()
        self.model, self.prompt = model, prompt

    def forward(self, batch: PageBatch) -> Part:
        """The next-token loss of the text; visual tokens, prompt and padding have none."""
        hidden = read_behind(self.model, [*self._prefixes(batch)], batch.ids)
        kept = batch.targets != IGNORED
        return score(self.model.predict(hidden[kept]).what, batch.targets[kept])

    @torch.inference_mode()
    def read(self, batch: PageBatch, tokenizer: Tokenizer, max_tokens: int) -> list[str]:
        """What the model reads on the pages of a batch."""
        first = self.model.embed(batch.ids[:1, :1], None)[0]
        prompts = [torch.cat([prefix, first]) for prefix in self._prefixes(batch)]
        read: dict[int, str] = {}
        for length in sorted({len(prompt) for prompt in prompts}):
            rows = [i for i, prompt in enumerate(prompts) if len(prompt) == length]
            config = self.model.config
            room = min(max_tokens, config.decoder.max_positions - config.positions(length))
            part = torch.stack([prompts[i] for i in rows])
            found = generate(self.model, part, tokenizer.eos_id, Decoding(max_tokens=room))
            read.update(zip(rows, (tokenizer.decode(g.ids) for g in found), strict=True))
        return [read[i] for i in range(len(prompts))]

    def _prefixes(self, batch: PageBatch) -> Iterator[Float[Tensor, "_ D"]]:
        """What is before the text of each page: prompt and visual tokens."""
        before, after = (
            self.model.embed(batch.ids.new_tensor([part], dtype=torch.long), None)[0]
            for part in (self.prompt.before, self.prompt.after[:-1])
        )
        for visual in self._encode(batch):
            yield torch.cat([before, visual, after])

    def _encode(self, batch: PageBatch) -> Iterator[Float[Tensor, "_ D"]]:
        """Visual tokens of each page, laid out as the decoder reads them."""
        model = self.model
        pages = self._page_tokens(batch)
        if not model.config.decoder.row_marks:
            yield from model.place_tokens(pages)
            return
        tiles = None
        if batch.tiles is not None:
            tiles = model.encoder(scale_colours(batch.tiles).to(model.embedding.weight)).tokens
            # a blank tile that nobody looks at takes part too: gradients meet in every process
            pages = pages + 0.0 * tiles.sum()
        grids = batch.grids or [UNTILED] * len(pages)
        start = 0
        for page, grid in zip(pages, grids, strict=True):
            stop = start + (grid.num_places if grid != UNTILED else 0)
            its_tiles = tiles[start:stop] if tiles is not None and stop > start else None
            yield model.lay_out(its_tiles, grid, page)
            start = stop

    def _page_tokens(self, batch: PageBatch) -> Float[Tensor, "B h w D"]:
        like = self.model.embedding.weight
        if batch.pages is None:
            assert batch.fused is not None, "a page is an image, or what was seen of it"
            return self.model.encoder.projector(batch.fused.to(like.dtype))
        return self.model.encoder(scale_colours(batch.pages).to(like)).tokens


def read_behind(
    model: LightSeekOCR, prefixes: Sequence[Float[Tensor, "_ D"]], ids: Int[Tensor, "B L"]
) -> Float[Tensor, "B L D"]:
    """Hidden states of texts, each behind its own prefix, of whatever length.

    Args:
        model: Any model; where lengths differ, one whose decoder is `DeepDecoder`.
        prefixes: Embeddings before each text.
        ids: The texts.
    """
    lengths = [len(prefix) for prefix in prefixes]
    if len(set(lengths)) == 1:
        return model(torch.stack([*prefixes]), ids)
    decoder = model.decoder
    assert isinstance(decoder, DeepDecoder), "only models that lay out tiles have such pages"
    texts = model.embed(ids, None)
    rows = [torch.cat([p, text]) for p, text in zip(prefixes, texts, strict=True)]
    x = pad_sequence(rows, batch_first=True)
    size = x.shape[1]
    # the first token of a text is the last of its prompt
    bias = torch.stack([attention_bias(decoder.config, size, n + 1, like=x) for n in lengths])
    positions = torch.arange(size, device=x.device)[None]
    hidden = decoder(x, decoder.rotary(positions, x), bias[:, None])
    pairs = zip(hidden, lengths, strict=True)
    return torch.stack([row[n : n + ids.shape[1]] for row, n in pairs])
