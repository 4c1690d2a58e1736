"""What a model is: its sizes, what it needs, and what a page costs it, without loading it."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import torch

from lightseek.config import ModelConfig
from lightseek.fusion import SCALES
from lightseek.hub import fetch_headers
from lightseek.model import LightSeekOCR
from lightseek.names import official_name
from lightseek.presets import preset
from lightseek.shards import has_shards
from lightseek.views import (
    MODES,
    UNTILED,
    Mode,
    as_looked_at,
    num_positions,
    num_visual_tokens,
    tile_grids,
)
from lightseek.weights import (
    HUB_CARD,
    WEIGHTS,
    empty_model,
    find_model,
    is_empty_preset,
    is_hub_id,
    match_headers,
    num_bytes,
    read_config,
    read_headers_of,
)

DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}
ENCODER = "encoder."
ONCE_A_PAGE = tuple(
    f"{part}.{kind}"
    for part in ("visual_norm", "cross.key", "cross.value")
    for kind in ("weight", "bias")
)
"""Of cross-attention: what visual tokens go through before the text begins."""
CASTS = (torch.bfloat16, torch.float32)


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a model."""

    parameters: int
    tensors: int


@dataclass(frozen=True, slots=True)
class PageCost:
    """What a page takes in a mode, at least and at most."""

    visual_tokens: tuple[int, int]
    positions: tuple[int, int]
    """Of the decoder's sequence: visual tokens, row ends and separator."""


@dataclass(frozen=True, slots=True)
class Card:
    """A model in numbers."""

    name: str
    parameters: int
    tensors: int
    parts: Mapping[str, Part]
    active_parameters: int
    """Read from memory for every token that is written."""
    dtype: str
    """Of the file."""
    memory: Mapping[str, int]
    """Bytes that the weights take, by what they are cast to."""
    modes: Mapping[str, PageCost | None]
    """The first is the model's own; strips cost what is printed on the page."""

    def to_json(self) -> str:
        """Everything, as JSON."""
        return json.dumps(asdict(self), indent=2)

    def to_text(self) -> str:
        """A line for each fact."""
        rows = [
            ("model", self.name),
            ("parameters", f"{self.parameters:,}"),
            ("active", f"{self.active_parameters:,} for every token written"),
            ("tensors", f"{self.tensors:,} ({self.dtype})"),
        ]
        rows += [
            (f"  {name}", f"{part.parameters:,} in {part.tensors:,}")
            for name, part in self.parts.items()
        ]
        rows += [("memory", f"{size / 1e9:.2f} GB in {name}") for name, size in self.memory.items()]
        for name, cost in self.modes.items():
            told = "strips of lines"
            if cost is not None:
                visual, positions = (_span(*ends) for ends in (cost.visual_tokens, cost.positions))
                told = f"{visual} visual tokens, {positions} positions a page"
            rows.append((f"mode {name}", told))
        width = max(len(name) for name, _ in rows) + 2
        return "\n".join(f"{name:<{width}}{value}" for name, value in rows)


def describe(name: str) -> Card:
    """The card of a preset, a shipped model, a folder or a hub id, whose weights stay on the hub.

    Raises:
        ModelError: If there is no such model, or its files do not fit each other.
    """
    if is_empty_preset(name):
        return _card(empty_model(preset(name)), dtype="bfloat16")
    folder = find_model(name, hub_files=HUB_CARD)
    config, official = read_config(folder)
    model = empty_model(config)
    names = official_name if official else str
    if is_hub_id(name) and not has_shards(folder / WEIGHTS):
        headers = match_headers(model, fetch_headers(name), source=name, name_in_file=names)
    else:
        headers = read_headers_of(model, folder / WEIGHTS, name_in_file=names)
    kinds = Counter(header.dtype for header in headers.values())
    [(kind, _)] = kinds.most_common(1)
    return _card(model, dtype="int8" if config.int8 else DTYPES.get(kind, kind))


def _card(model: LightSeekOCR, *, dtype: str) -> Card:
    # scales of weights in 8 bits are no parameters
    whole = empty_model(replace(model.config, int8=False))
    sizes = {name: tensor.numel() for name, tensor in whole.state_dict().items()}
    parts: dict[str, Part] = {}
    for name, size in sizes.items():
        part = name.removeprefix(ENCODER).partition(".")[0]
        before = parts.get(part, Part(0, 0))
        parts[part] = Part(before.parameters + size, before.tensors + 1)
    return Card(
        name=model.config.name,
        parameters=sum(sizes.values()),
        tensors=len(sizes),
        parts=parts,
        active_parameters=active(model.config, sizes),
        dtype=dtype,
        memory={str(d).removeprefix("torch."): num_bytes(model, d) for d in CASTS},
        modes=_modes(model.config),
    )


def active(config: ModelConfig, sizes: Mapping[str, int]) -> int:
    """The sizes that are read for every token that is written: parameters, or their bytes.

    Args:
        config: Says how many experts answer.
        sizes: Of every tensor.
    """
    head = "embedding." if config.decoder.tied_head else "head."
    active = sum(
        size
        for name, size in sizes.items()
        if name.startswith(("decoder.", head)) and not name.endswith(ONCE_A_PAGE)
    )
    moe = config.decoder.moe
    if moe is not None:
        experts = sum(size for name, size in sizes.items() if ".experts." in name)
        active -= experts * (moe.experts - moe.active) // moe.experts
    return active


def _modes(config: ModelConfig) -> dict[str, PageCost | None]:
    if config.mode not in MODES:
        return {config.mode: None}
    own_first = sorted(MODES.values(), key=lambda mode: mode.name != config.mode)
    if config.decoder.row_marks:
        window = config.decoder.sliding_window
        return {mode.name: _cost(as_looked_at(mode, window)) for mode in own_first}
    return {mode.name: _plain_cost(mode, config) for mode in own_first if mode.tile_px is None}


def _plain_cost(mode: Mode, config: ModelConfig) -> PageCost:
    """Of models whose pages are one view, with nothing between its visual tokens."""
    visual = num_visual_tokens(mode, UNTILED) * SCALES[config.fusion]
    positions = 0 if config.decoder.cross_attention else visual
    return PageCost((visual, visual), (positions, positions))


def _cost(mode: Mode) -> PageCost:
    grids = (UNTILED, *tile_grids(mode.max_tiles))
    visual = [num_visual_tokens(mode, grid) for grid in grids]
    positions = [num_positions(mode, grid) for grid in grids]
    return PageCost((min(visual), max(visual)), (min(positions), max(positions)))


def _span(least: int, most: int) -> str:
    return f"{least}" if least == most else f"{least} to {most}"
