"""A training run as data: one TOML file under `configs/`, checked to the last key.

Budgets count units, a unit being a 256 x 64 px piece of strip, never hours: machines differ
six-fold in speed. The same recipe gives the same batches on any of them.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from lightseek.config import STRICT, validate
from lightseek.errors import ModelError, UsageError

UNIT_PX = 256
"""Width of one unit of work."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DataRecipe:
    """Where text and fonts come from."""

    __pydantic_config__: ClassVar = STRICT
    fonts: str
    """Folder that `lightseek synth fetch` filled."""
    text: str
    """Folder of `*.txt` and `*.txt.xz`."""
    held_out_families: int
    """Font families kept for evaluation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimiserRecipe:
    """Muon for matrices and convolutions, AdamW for the rest."""

    __pydantic_config__: ClassVar = STRICT
    muon_rate: float
    adamw_rate: float
    muon_decay: float
    adamw_decay: float
    clip_norm: float
    warmup_steps: int
    constant_until: float
    """Share of the run after which the rates fall linearly to zero."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LossRecipe:
    """Weights beside the next-token loss."""

    __pydantic_config__: ClassVar = STRICT
    glyphs: float
    places: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """What is read until a share of the run is over."""

    __pydantic_config__: ClassVar = STRICT
    until: float
    widths: tuple[int, ...]
    """Strip widths in pixels; one is drawn for every step, so repeat what is wanted often."""
    difficulty: float
    """0 clean to 1 fully degraded, at the end of the stage; it grows from the stage before."""
    glyphs_only: bool = False
    """Teach the encoder to see before the decoder learns to read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """A whole run."""

    __pydantic_config__: ClassVar = STRICT
    model: str
    """Preset."""
    seed: int
    steps: int
    units: int
    """Units in one step, over all processes."""
    compile: bool
    """Compile the encoder: a minute a width once, then faster steps."""
    evaluate_every: int
    """Steps between readings of held-out strips."""
    data: DataRecipe
    optimiser: OptimiserRecipe
    loss: LossRecipe
    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        ends = [stage.until for stage in self.stages]
        if not ends or ends != sorted(ends) or ends[-1] != 1.0:
            raise ValueError("stages must follow each other and the last must end at 1.0")

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
        warm = min(1.0, (step + 1) / max(1, self.optimiser.warmup_steps))
        left = (1 - step / self.steps) / (1 - self.optimiser.constant_until)
        return warm * min(1.0, left)


def load_recipe(path: Path, overrides: tuple[str, ...] = ()) -> Recipe:
    """Read a recipe.

    Args:
        path: TOML file.
        overrides: `key.key=value` pairs; values are TOML.

    Raises:
        UsageError: If the file or an override cannot be read.
        ModelError: If a key is unknown or of the wrong type.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"no recipe {path}: recipes lie under configs/") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML: {error}") from error
    for override in overrides:
        _set(data, override)
    return validate(Recipe, data, source=str(path))


def _set(data: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    *tables, last = key.strip().split(".")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    if not equals:
        raise UsageError(f"--set {override}: write key=value, such as optimiser.muon_rate=0.003")
    for table in tables:
        data = data.setdefault(table, {})
        if not isinstance(data, dict):
            raise ModelError(f"--set {override}: {table} is no table")
    data[last] = parsed
