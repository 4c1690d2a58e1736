"""A run on pages with text as data: a TOML file with a table `[pages]`, checked to the last key.

A recipe without that table is one of strips that are drawn as it trains (`lightseek.train.recipe`).
The rates of a run are a function of its steps alone, so that a run that goes on needs no memory
of them.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from lightseek.config import STRICT, validate
from lightseek.lora import LoraConfig
from lightseek.presets import names_preset
from lightseek.train.recipe import Recipe, Seed, Share, read_recipe
from lightseek.views import find_mode

PAGES = "pages"
"""The table that only recipes of this kind have."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PartsRecipe:
    """What a model begins with in the place of its own, or of nothing: hub ids or folders.

    All but `encoder` are for presets.
    """

    __pydantic_config__: ClassVar = STRICT
    sam: str | None = None
    """A SAM as published for `transformers`."""
    clip: str | None = None
    """A CLIP as published for `transformers`."""
    language: str | None = None
    """A causal language model of `transformers`, which becomes the decoder."""
    tokenizer: str | None = None
    """Folder with a `tokenizer.json`, for a decoder from nothing; a language model has its own."""
    encoder: str | None = None
    """A model of ours whose SAM, compressor and CLIP are taken, such as that of stage 1."""

    def __post_init__(self) -> None:
        if self.language is not None and self.tokenizer is not None:
            raise ValueError("a language model has its own tokenizer: leave one of both out")


@dataclass(frozen=True, kw_only=True, slots=True)
class PagesRecipe:
    """Images and the text on them, and how they are looked at."""

    __pydantic_config__: ClassVar = STRICT
    train: str
    """A data set as for `lightseek data check`: folder, JSON lines or shards."""
    held_out: str
    """Another, which is only ever read: what is best is decided on it."""
    mode: str
    """How a page is cut into views: tiny, small, base, large, gundam or gundam-m."""
    longest: PositiveInt
    """Tokens of text; what a page says beyond them is not learnt."""
    prompt: str | None = None
    """What models of the official family are asked: its name, or text with `<image>`."""
    workers: NonNegativeInt = 0
    """Processes that read pages ahead, beside each that trains."""
    features: str | None = None
    """Folder for what a frozen encoder sees, computed once; none is to encode in every step."""

    def __post_init__(self) -> None:
        find_mode(self.mode)


@dataclass(frozen=True, kw_only=True, slots=True)
class AdamWRecipe:
    """AdamW, with a rate for each part that needs its own."""

    __pydantic_config__: ClassVar = STRICT
    rate: PositiveFloat
    """Learning rate."""
    decay: NonNegativeFloat
    """Of matrices; vectors have none."""
    clip_norm: PositiveFloat
    """Longest gradient; a longer one is shortened to it."""
    rates: dict[str, NonNegativeFloat] = field(default_factory=dict)
    """Rates of parts in place of `rate`, by name, such as `encoder.clip`."""

    def rate_of(self, name: str) -> float:
        """The rate of a parameter: that of the longest part which it belongs to."""
        parts = [part for part in self.rates if f"{name}.".startswith(f"{part}.")]
        return self.rates[max(parts, key=len)] if parts else self.rate


@dataclass(frozen=True, kw_only=True, slots=True)
class CosineSchedule:
    """Up in a line, down as half a cosine."""

    __pydantic_config__: ClassVar = STRICT
    kind: Literal["cosine"]
    """`cosine`, or `step`."""
    warmup_steps: NonNegativeInt
    """Steps in which the rates rise from zero."""
    end: Share
    """Share of the rates that is left at the end."""

    def fall(self, share: float) -> float:
        """What is left of the rates when a share of the run is over."""
        return self.end + (1 - self.end) * (1 + math.cos(math.pi * share)) / 2


@dataclass(frozen=True, kw_only=True, slots=True)
class StepSchedule:
    """Up in a line, down in steps."""

    __pydantic_config__: ClassVar = STRICT
    kind: Literal["step"]
    """`step`, or `cosine`."""
    warmup_steps: NonNegativeInt
    """Steps in which the rates rise from zero."""
    drops: tuple[tuple[Share, Share], ...]
    """From which share of the run on which share of the rates: `[[0.8, 0.3], [0.9, 0.1]]`."""

    def __post_init__(self) -> None:
        if list(self.drops) != sorted(self.drops):
            raise ValueError("drops must follow each other")

    def fall(self, share: float) -> float:
        """What is left of the rates when a share of the run is over."""
        return [1.0, *(to for at, to in self.drops if at <= share)][-1]


@dataclass(frozen=True, kw_only=True, slots=True)
class PageRecipe:
    """A whole run."""

    __pydantic_config__: ClassVar = STRICT
    model: str
    """A preset or a file of sizes, to begin from nothing; or a model folder or hub id, to go on
    with its weights."""
    seed: Seed
    """Another seed draws other pages first, and other first weights."""
    steps: PositiveInt | None = None
    """Length of the run in steps; or else give `epochs`."""
    epochs: PositiveInt | None = None
    """Length of the run in readings of all pages."""
    batch: PositiveInt
    """Pages that are read at once, over all processes."""
    accumulate: PositiveInt
    """Batches in one step."""
    precision: Literal["no", "bf16"]
    """What matrices are multiplied in: float32, or bfloat16. Weights that learn are in float32
    either way, those that are frozen in what they are multiplied in, or in 8 bits as they came."""
    evaluate_every: PositiveInt
    """Steps between readings of held-out pages."""
    freeze: tuple[str, ...] = ()
    """Parts that stay as they are, such as `encoder.sam`."""
    parts: PartsRecipe = PartsRecipe()
    pages: PagesRecipe
    optimiser: AdamWRecipe
    schedule: Annotated[CosineSchedule | StepSchedule, Field(discriminator="kind")]
    lora: LoraConfig | None = None
    """Adapters, which learn in the place of the parts that they are in."""

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give either steps or epochs")

    @property
    def adapts_model(self) -> bool:
        """Whether adapters are learnt for a model as it is: they alone are saved then."""
        as_it_is = not names_preset(self.model) and self.parts.encoder is None
        return self.lora is not None and as_it_is

    def num_steps(self, batches: int) -> int:
        """Steps of the run, an epoch being so many batches."""
        return self.steps or -(-(self.epochs or 0) * batches // self.accumulate)

    def share(self, step: int, steps: int) -> float:
        """Share of the full learning rates at a step of so many."""
        warm = min(1.0, (step + 1) / max(1, self.schedule.warmup_steps))
        return warm * self.schedule.fall(step / steps)


def load_any(path: Path, overrides: tuple[str, ...] = ()) -> Recipe | PageRecipe:
    """Read a recipe of either kind; arguments and errors as for `read_recipe`.

    Raises:
        ModelError: If a key is unknown or of the wrong type.
    """
    data = read_recipe(path, overrides)
    if PAGES in data:
        return validate(PageRecipe, data, source=str(path))
    return validate(Recipe, data, source=str(path))
