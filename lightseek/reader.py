"""Strips to characters, views to answers: through encoder and decoder.

Strips are encoded in batches of one width and decoded in batches of any; pages go in batches too,
the views of each behind a prompt. Knows nothing of how a page is cut: a strip is a grey image of
one line from `lightseek.blocks`; `lightseek.views` makes views.

Axes: Y X pixels of an image, V images of one batch, h w visual tokens down and across, B P L
prompts side by side and their tokens, D width.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from torch import Tensor

from lightseek.blocks import STRIP_HEIGHT
from lightseek.document import Region
from lightseek.errors import UsageError
from lightseek.generate import Decoding, Generated, generate
from lightseek.grounding import IMAGE, find_prompt, is_labelled, parse_answer
from lightseek.model import LightSeekOCR
from lightseek.ngrams import find_ban
from lightseek.readings import StripText
from lightseek.tokenizer import Tokenizer
from lightseek.views import Mode, PageViews, as_looked_at, find_mode, with_most_tiles

PX_PER_CHARACTER = 4 * STRIP_HEIGHT
"""No printed character of a strip of one line is narrower on average than 4 px: bounds the
tokens of a strip."""
SPARE_TOKENS = 20
ENCODED_PX, ENCODED_VIEW_PX = 64 * 512 * STRIP_HEIGHT, 4 * 1024 * 1024
"""Pixels of all strips, or views, that are encoded at once: more gain nothing and cost memory."""
DECODED_AT_ONCE = 256
"""Strips whose next characters are found together, whatever their width."""


@torch.inference_mode()
def read_strips(
    model: LightSeekOCR,
    tokenizer: Tokenizer,
    strips: Sequence[UInt8[np.ndarray, "_ _"]],
    votes: int = 1,
) -> list[StripText]:
    """Read strips of any widths.

    Args:
        model: A model that reads strips, in evaluation mode.
        tokenizer: Its tokenizer.
        strips: Grey images, a few sizes among them.
        votes: So many in a row show one line, and are read as one.

    Returns:
        One result a line, in order, with places on the first of its strips.
    """
    prompts = _prompts(model, tokenizer, strips)
    # lines of like size hold texts of like length: few wait for the longest of their batch
    order = sorted(range(0, len(strips), votes), key=lambda i: strips[i].size)
    results: dict[int, StripText] = {}
    for start in range(0, len(order), DECODED_AT_ONCE // votes):
        part = order[start : start + DECODED_AT_ONCE // votes]
        rows = [i for i in part for _ in range(votes)]
        limits = tuple(strips[i].size // PX_PER_CHARACTER + SPARE_TOKENS for i in rows)
        prompt, padding = pad_left([prompts[i + j] for i in part for j in range(votes)])
        decoding = Decoding(max_tokens=limits, votes=votes)
        read = generate(model, prompt, tokenizer.eos_id, decoding, padding)[::votes]
        for i, result in zip(part, read, strict=True):
            results[i] = _strip_text(tokenizer, result)
    return [results[i] for i in range(0, len(strips), votes)]


def _prompts(
    model: LightSeekOCR, tokenizer: Tokenizer, strips: Sequence[UInt8[np.ndarray, "_ _"]]
) -> list[Float[Tensor, "_ D"]]:
    """What the decoder is given of each strip: its visual tokens and begin."""
    prompts: dict[int, Tensor] = {}
    for part in _alike([strip.shape for strip in strips], ENCODED_PX):
        prompt = _encode(model, tokenizer, np.stack([strips[i] for i in part]))
        prompts.update(zip(part, prompt, strict=True))
    return [prompts[i] for i in range(len(strips))]


def _alike(sizes: Sequence[tuple[int, ...]], most_px: int) -> Iterator[list[int]]:
    """Which images have one size, as many together as have so many pixels, one at least."""
    for size in dict.fromkeys(sizes):
        rows = [i for i, other in enumerate(sizes) if other == size]
        count = max(1, most_px // math.prod(size))
        for start in range(0, len(rows), count):
            yield rows[start : start + count]


def _encode(
    model: LightSeekOCR, tokenizer: Tokenizer, pixels: UInt8[np.ndarray, "V Y X"]
) -> Float[Tensor, "V L D"]:
    weight = model.embedding.weight
    visual = model.visual_tokens(to_views(torch.from_numpy(pixels)).to(weight))
    count, tokens = visual.shape[:2]
    ids = torch.tensor([[tokenizer.image_id] * tokens + [tokenizer.bos_id]] * count)
    return model.splice(ids.to(weight.device), visual.flatten(0, 1), tokenizer.image_id)


def to_views(pixels: UInt8[Tensor, "V Y X"]) -> Float[Tensor, "V 1 Y X"]:
    """Grey values to -1 .. 1, in the memory order that convolutions like."""
    views = pixels[:, None].float() / 127.5 - 1
    return views.contiguous(memory_format=torch.channels_last)


def _strip_text(tokenizer: Tokenizer, result: Generated) -> StripText:
    # a special token that a poor model writes is no character
    kept = [i for i, token in enumerate(result.ids) if token not in tokenizer.special_ids]
    nowhere = (math.nan, math.nan)
    places = [nowhere] * len(result.ids) if result.places is None else result.places
    return StripText(
        tokenizer.decode(result.ids),
        np.exp(np.array(result.logprobs, dtype=np.float32)[kept]),
        np.array(places, dtype=np.float32).reshape(-1, 2)[kept],
        result.finished,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """How a model looks at a whole page, and what it is asked."""

    mode: Mode
    prompt: str
    decoding: Decoding


def find_look(
    model: LightSeekOCR,
    tokenizer: Tokenizer,
    *,
    mode: str | None = None,
    max_tiles: int | None = None,
    prompt: str | None = None,
    max_tokens: int | None = None,
    ngram: str | None = None,
) -> Look:
    """What is asked for, and where nothing is, what was published with the model.

    Raises:
        UsageError: If there is no such mode, the prompt has no place for the page, a number is too
            small, `ngram` bans nothing, or the model takes no prompt and no tiles.
    """
    config = model.config
    slides = config.decoder.sliding_window is not None
    # vLLM recipes: DeepSeek-OCR's for images, whose tables may repeat; Unlimited-OCR's for pages
    own, free = ("35/128", ()) if slides else ("30/90", ("<td>", "</td>"))
    own_prompt = config.prompt or ("parse" if slides else "markdown")
    cells = frozenset(tokenizer.ids[cell] for cell in free if cell in tokenizer.ids)
    chosen = as_looked_at(find_mode(mode or config.mode), config.decoder.sliding_window)
    if not config.decoder.row_marks and (prompt is not None or chosen.tile_px is not None):
        raise UsageError(f"{config.name} takes no prompt and no tiles: leave out prompt and mode")
    return Look(
        mode=chosen if max_tiles is None else with_most_tiles(chosen, max_tiles),
        prompt=find_prompt(own_prompt if prompt is None else prompt),
        decoding=Decoding(
            max_tokens=config.decoder.max_positions if max_tokens is None else max_tokens,
            ban=find_ban(ngram or own, except_ids=cells),
        ),
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model says of a page."""

    text: str
    """With its marks."""
    finished: bool
    """Whether it came to the end."""
    ends: list[int] = field(default_factory=list)
    """Where the text of each token ends."""
    probabilities: list[float] = field(default_factory=list)
    """That each token was right."""
    reason: str | None = None
    """Why the page could not be read at all."""
    labelled: bool = True
    """Whether references in it can be labels."""

    def regions(self, width: int, height: int) -> tuple[Region, ...]:
        """The parts of a page of so many pixels, in the order in which they were written."""
        return parse_answer(
            self.text, width=width, height=height, labelled=self.labelled, sure=self.confidence
        )

    def confidence(self, start: int, stop: int) -> float | None:
        """Share of the tokens between two characters that are likely to be right."""
        own = slice(bisect_right(self.ends, start), bisect_left(self.ends, stop) + 1)
        return fmean(self.probabilities[own]) if self.probabilities[own] else None


@torch.inference_mode()
def read_views(
    model: LightSeekOCR, tokenizer: Tokenizer, pages: Sequence[PageViews], look: Look
) -> list[Answer]:
    """Read pages of the official family, all at once: weights are read once for all their tokens.

    Args:
        model: A model that reads views, in evaluation mode.
        tokenizer: Its tokenizer.
        pages: What it sees of each page.
        look: What it is asked.

    Returns:
        One answer a page, in float32 the same as if it were read alone: where numbers have fewer
        digits, another sum of them may tip the balance between two tokens. Without text where
        page and prompt leave no room for any.
    """
    seen = encode_pages(model, pages)
    prompts = [make_prompt(model, tokenizer, visual, look.prompt)[0] for visual in seen]
    most = model.config.decoder.max_positions
    taken = [model.config.positions(len(prompt)) for prompt in prompts]
    fitting = [prompt for prompt, length in zip(prompts, taken, strict=True) if length < most]
    answers = iter(_answers(model, tokenizer, fitting, look) if fitting else [])
    return [next(answers) if length < most else _no_answer(length, most) for length in taken]


def _answers(
    model: LightSeekOCR, tokenizer: Tokenizer, prompts: Sequence[Float[Tensor, "_ D"]], look: Look
) -> list[Answer]:
    most = model.config.decoder.max_positions
    rooms = (most - model.config.positions(len(prompt)) for prompt in prompts)
    limits = zip(rooms, look.decoding.limits(len(prompts)), strict=True)
    together, padding = pad_left(prompts)
    decoding = replace(look.decoding, max_tokens=tuple(map(min, limits)))
    results = generate(model, together, tokenizer.eos_id, decoding, padding)
    labelled = is_labelled(look.prompt)
    return [_answer(tokenizer, found, labelled=labelled) for found in results]


def _no_answer(length: int, most: int) -> Answer:
    reason = (
        f"page and prompt take {length} positions and the model has {most}: "
        "choose a smaller mode or fewer tiles, or cut the prompt"
    )
    return Answer("", finished=False, reason=reason)


def _answer(tokenizer: Tokenizer, found: Generated, *, labelled: bool) -> Answer:
    return Answer(
        text=tokenizer.decode_marked(found.ids),
        finished=found.finished,
        ends=tokenizer.ends_marked(found.ids),
        probabilities=[math.exp(logprob) for logprob in found.logprobs],
        labelled=labelled,
    )


def pad_left(
    prompts: Sequence[Float[Tensor, "_ D"]],
) -> tuple[Float[Tensor, "B P D"], Bool[Tensor, "B P"] | None]:
    """Prompts of any lengths as one batch, and where it is filled up, if it is."""
    lengths = [len(prompt) for prompt in prompts]
    longest = max(lengths)
    if min(lengths) == longest:
        return torch.stack(list(prompts)), None
    filled = [F.pad(p, (0, 0, longest - len(p), 0)) for p in prompts]
    at = torch.arange(longest, device=prompts[0].device)
    starts = torch.tensor([longest - length for length in lengths], device=at.device)
    return torch.stack(filled), at[None] < starts[:, None]


def encode_pages(model: LightSeekOCR, pages: Sequence[PageViews]) -> list[Float[Tensor, "_ D"]]:
    """The tokens of each page; views of one size, of whatever page, are encoded together."""
    images = [view.image for page in pages for view in (*page.tiles, page.page)]
    tokens = iter(_encode_views(model, images))
    laid = []
    for page in pages:
        tiles = [next(tokens) for _ in page.tiles]
        seen = next(tokens)
        if model.config.decoder.row_marks:
            laid.append(model.lay_out(torch.stack(tiles) if tiles else None, page.grid, seen))
        else:
            laid.append(model.place_tokens(seen[None])[0])
    return laid


def _encode_views(
    model: LightSeekOCR, images: Sequence[Image.Image]
) -> list[Float[Tensor, "_ _ D"]]:
    found: dict[int, Tensor] = {}
    for part in _alike([image.size for image in images], ENCODED_VIEW_PX):
        views = to_colour_views([images[i] for i in part]).to(model.embedding.weight)
        found.update(zip(part, model.encoder(views).tokens, strict=True))
    return [found[i] for i in range(len(images))]


def make_prompt(
    model: LightSeekOCR, tokenizer: Tokenizer, visual: Float[Tensor, "N D"], prompt: str
) -> Float[Tensor, "1 L D"]:
    """Embeddings of begin, prompt and page; of page and begin for models that take no prompt."""
    page = [tokenizer.image_id] * len(visual)
    ids = [*page, tokenizer.bos_id]
    if model.config.decoder.row_marks:
        before, after = (tokenizer.encode_prompt(part) for part in prompt.split(IMAGE))
        ids = [tokenizer.bos_id, *before, *page, *after]
    return model.splice(torch.tensor([ids], device=visual.device), visual, tokenizer.image_id)


def to_colour_views(images: Sequence[Image.Image]) -> Float[Tensor, "V 3 Y X"]:
    """Images of one size as the encoder takes them."""
    return scale_colours(stack_colours(images))


def stack_colours(images: Sequence[Image.Image]) -> UInt8[Tensor, "V Y X 3"]:
    """Images of one size as they are."""
    return torch.from_numpy(np.stack([np.asarray(image) for image in images]))


def scale_colours(pixels: UInt8[Tensor, "V Y X 3"]) -> Float[Tensor, "V 3 Y X"]:
    """Colours to -1 .. 1."""
    return rearrange(pixels, "v y x c -> v c y x").float() / 127.5 - 1
