"""A training run as data: one TOML file under `configs/`, checked to the last key.

Budgets count units, a unit being 256 px of a strip of one line, never hours: machines differ
six-fold in speed. The same recipe gives the same batches on any of them.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from lightseek.config import STRICT, TOKEN_PX, validate
from lightseek.errors import ModelError, UsageError
from lightseek.lora import LoraConfig

UNIT_PX = 256
"""Width of one unit of work."""

Share = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Width = Annotated[int, Field(gt=0, multiple_of=TOKEN_PX)]


@dataclass(frozen=True, kw_only=True, slots=True)
class NewRecipe:
    """Fonts and text that a model is to learn besides those which it can read."""

    __pydantic_config__: ClassVar = STRICT
    fonts: str
    """Folder of `.ttf` and `.otf` files; all are trained on."""
    text: str
    """Folder of `*.txt` and `*.txt.xz`."""
    share: Share
    """Share of the strips that they make up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LinesRecipe:
    """Lines of real pages."""

    __pydantic_config__: ClassVar = STRICT
    folder: str
    """What `lightseek data align` wrote."""
    share: Share
    """Share of the strips of one line, where there are real ones of their width."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DataRecipe:
    """Where text and fonts come from."""

    __pydantic_config__: ClassVar = STRICT
    fonts: str
    """Folder that `lightseek synth fetch` filled."""
    text: str
    """Folder of `*.txt` and `*.txt.xz`."""
    held_out_families: PositiveInt
    """Font families kept for evaluation."""
    typeset_share: Share = 0.0
    """Share of the strips that are cut from typeset pages; the others are drawn one by one."""
    new: NewRecipe | None = None
    """What to learn besides, for fine-tuning."""
    lines: LinesRecipe | None = None
    """Real lines beside those that are drawn."""

    @property
    def folders(self) -> list[str]:
        """All that strips are made of."""
        new = [] if self.new is None else [self.new.fonts, self.new.text]
        return [self.fonts, self.text, *new, *([self.lines.folder] if self.lines else [])]


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimiserRecipe:
    """Muon for matrices and convolutions, AdamW for the rest."""

    __pydantic_config__: ClassVar = STRICT
    muon_rate: PositiveFloat
    """Learning rate of matrices and convolutions."""
    adamw_rate: PositiveFloat
    """Of all else: embeddings, norms, biases, heads."""
    muon_decay: NonNegativeFloat
    """Weight decay, times the rate."""
    adamw_decay: NonNegativeFloat
    """Weight decay, times the rate."""
    clip_norm: PositiveFloat
    """Longest gradient; a longer one is shortened to it."""
    warmup_steps: NonNegativeInt
    """Steps in which the rates rise from zero."""
    constant_until: Share
    """Share of the run after which the rates fall linearly to zero."""

    def share(self, step: int, steps: int) -> float:
        """Share of the full learning rates at a step of so many."""
        warm = min(1.0, (step + 1) / max(1, self.warmup_steps))
        left = (1 - step / steps) / max(1e-9, 1 - self.constant_until)
        return warm * min(1.0, left)


@dataclass(frozen=True, kw_only=True, slots=True)
class LossRecipe:
    """Weights beside the next-token loss."""

    __pydantic_config__: ClassVar = STRICT
    glyphs: NonNegativeFloat
    """Which character covers each cell; zero trains without them."""
    places: NonNegativeFloat
    """Where the next character stands; zero trains a model without place heads."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """What is read until a share of the run is over."""

    __pydantic_config__: ClassVar = STRICT
    until: Share
    """Share of the run at which the stage ends."""
    widths: Annotated[tuple[Width, ...], Field(min_length=1)]
    """Strip widths in pixels; one is drawn for every step, so repeat what is wanted often."""
    difficulty: Share
    """0 clean to 1 fully degraded, at the end of the stage; it grows from the stage before."""
    lines: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (1,)
    """Most lines of a strip, and so its height; one is drawn for every step."""
    glyphs_only: bool = False
    """Teach the encoder to see before the decoder learns to read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """A whole run."""

    __pydantic_config__: ClassVar = STRICT
    model: str
    """A preset, or a file of sizes like those of the presets."""
    seed: Seed
    """Another seed draws other strips and other first weights."""
    steps: PositiveInt
    """Length of the run."""
    units: PositiveInt
    """Units in one step, over all processes."""
    compile: bool
    """Compile the encoder: a minute a width once, then faster steps."""
    evaluate_every: PositiveInt
    """Steps between readings of held-out strips."""
    data: DataRecipe
    optimiser: OptimiserRecipe
    loss: LossRecipe
    stages: tuple[Stage, ...]
    lora: LoraConfig | None = None
    """Adapters, which learn in the place of the parts that they are in."""
    freeze: tuple[str, ...] = ()
    """Parts that stay as they are, such as `embedding`."""

    def __post_init__(self) -> None:
        ends = [0.0, *(stage.until for stage in self.stages)]
        if ends != sorted(set(ends)) or ends[-1] != 1.0:
            raise ValueError("stages must follow each other and the last must end at 1.0")
        if not self.loss.glyphs and any(stage.glyphs_only for stage in self.stages):
            raise ValueError("a stage with glyphs_only has nothing to learn: loss.glyphs is 0")

    @property
    def widest(self) -> int:
        """Width of the widest strips."""
        return max(width for stage in self.stages for width in stage.widths)

    @property
    def most_lines(self) -> int:
        """Lines of the highest strips."""
        return max(lines for stage in self.stages for lines in stage.lines)

    @property
    def largest(self) -> tuple[int, int]:
        """Width and lines of the strips of which there are fewest in a step."""
        sizes = ((max(stage.widths), max(stage.lines)) for stage in self.stages)
        return max(sizes, key=lambda size: size[0] * size[1])

    def strips(self, width: int, lines: int = 1) -> int:
        """Strips of a width, with so many lines, in one step, over all processes."""
        return self.units * UNIT_PX // (width * lines)

    def stage(self, step: int) -> Stage:
        """The stage that a step belongs to."""
        return next(stage for stage in self.stages if step < stage.until * self.steps)

    def difficulty(self, step: int) -> float:
        """Degradation at a step: it grows linearly within each stage."""
        share = step / self.steps
        start, low = 0.0, 0.0
        for stage in self.stages:
            if share < stage.until:
                return low + (stage.difficulty - low) * (share - start) / (stage.until - start)
            start, low = stage.until, stage.difficulty
        return low

    def rate(self, step: int) -> float:
        """Share of the full learning rates at a step."""
        return self.optimiser.share(step, self.steps)


def load_recipe(path: Path, overrides: tuple[str, ...] = ()) -> Recipe:
    """Read a recipe; arguments and errors as for `read_recipe`.

    Raises:
        ModelError: If a key is unknown or of the wrong type.
    """
    return validate(Recipe, read_recipe(path, overrides), source=str(path))


def read_recipe(path: Path, overrides: tuple[str, ...] = ()) -> dict[str, Any]:
    """What a recipe file of any kind says, unchecked.

    Args:
        path: TOML file.
        overrides: `key.key=value` pairs; values are TOML.

    Raises:
        UsageError: If the file or an override cannot be read.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"no recipe {path}: {error.strerror}; recipes lie under configs/"
        ) from error
    except ValueError as error:
        raise UsageError(f"{path} is not TOML: {error}") from error
    for override in overrides:
        _set(data, override)
    return data


def _set(data: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    *tables, last = (int(k) if k.isdecimal() else k for k in key.strip().split("."))
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    if not equals:
        raise UsageError(f"--set {override}: write key=value, such as optimiser.muon_rate=0.003")
    at: Any = data
    for table in tables:
        at = at.setdefault(table, {}) if isinstance(at, dict) else _item(at, table, override)
    if isinstance(at, dict) and not value.strip():
        at.pop(last, None)  # TOML has no word for nothing
    elif isinstance(at, dict):
        at[last] = parsed
    else:
        _item(at, last, override)
        at[last] = parsed


def _item(items: Any, at: int | str, override: str) -> Any:
    """One of the tables of a list, such as `stages.0`."""
    if not isinstance(items, list) or not isinstance(at, int) or at >= len(items):
        raise ModelError(f"--set {override}: no table or list has {at!r} there")
    return items[at]
