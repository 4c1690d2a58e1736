"""Load a model, encode, prefill and decode, each timed, in this process alone.

Peak memory is that of a process: measure one model in each.

Axes: V views, Y X pixels, B sequences, P prompt tokens, D width.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import TypeAdapter
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from lightseek.bench.machine import best_seconds, matrix_rate, peak_memory, processor, read_rate
from lightseek.blocks import STRIP_HEIGHT
from lightseek.config import ModelConfig
from lightseek.fusion import SCALES
from lightseek.generate import Decoding, generate_steps
from lightseek.info import active
from lightseek.model import LightSeekOCR
from lightseek.views import (
    MODES,
    UNTILED,
    Grid,
    num_positions,
    num_strip_tokens,
    num_visual_tokens,
)
from lightseek.weights import empty_model, load_model, num_bytes, read_config, tensor_bytes

NO_END = -1
"""An end token that no model writes."""
QUESTION = 11
"""Tokens of a prompt beside those of the page."""
TILES = Grid(cols=2, rows=3)
"""Of a page in portrait, in the mode gundam."""
STRIPS = (64, STRIP_HEIGHT, 512)
"""Views that are read together, their height and width, of models that read strips."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """What was measured of a model, and the limits of the machine in the same run."""

    engine: str
    model: str
    dtype: str
    processor: str
    threads: int
    matrix_flops: float
    """Operations a second in a product of large matrices of the dtype."""
    read_bytes: float
    """Bytes a second that come out of memory."""
    weight_bytes: int
    token_bytes: int
    """Of the weights, read for every token when one sequence is written."""
    load_s: float
    """Until the model is ready to read."""
    first_token_s: float
    """From nothing to the first token of the first page."""
    peak_bytes: int | None
    """Most memory of the process, from its start to the end of the measurement; none where the
    system does not say."""
    encode_s: dict[str, float]
    """By mode, of one page; or of a batch of strips."""
    encode_flops: dict[str, int]
    """Operations that the same takes."""
    prompt_tokens: int
    prefill_tps: float
    """Tokens a second, of a prompt as a page in mode base makes one."""
    decode_tps: dict[int, float]
    """Tokens a second, of all sequences together, by their number."""

    def to_json(self) -> str:
        """Everything, as JSON; `from_json` reads it back."""
        return TypeAdapter(Speed).dump_json(self, indent=1).decode()

    @classmethod
    def from_json(cls, text: str) -> "Speed":
        """What `to_json` wrote."""
        return TypeAdapter(cls).validate_json(text)

    def of_bandwidth(self) -> float:
        """Share of what memory allows that decoding one sequence comes to."""
        return self.decode_tps.get(1, 0.0) * self.token_bytes / self.read_bytes

    def of_matrix_rate(self, mode: str) -> float:
        """Share of what matrix products allow that encoding comes to."""
        return self.encode_flops[mode] / self.encode_s[mode] / self.matrix_flops


def measure(
    folder: Path,
    *,
    device: torch.device,
    dtype: torch.dtype,
    batches: tuple[int, ...],
    steps: int,
) -> Speed:
    """Measure a model folder.

    Args:
        folder: Holds the model.
        device: Where to compute.
        dtype: What to compute in.
        batches: Numbers of sequences to decode together.
        steps: Tokens to decode in each.
    """
    config, _ = read_config(folder)
    pages = sample_pages(config, device, dtype)
    started = time.perf_counter()
    model, _ = load_model(folder, device=device, dtype=dtype)
    load_s = time.perf_counter() - started
    first, prompt_tokens = next(iter(pages)), prompt_length(model.config)
    with torch.inference_mode():
        _encode(model, pages[first])
    _prefill(model, prompt_tokens)
    first_token_s = time.perf_counter() - started
    shapes = empty_model(model.config)
    return Speed(
        engine="lightseek",
        model=model.config.name,
        dtype="int8" if model.config.int8 else str(dtype).removeprefix("torch."),
        processor=processor(device),
        threads=torch.get_num_threads(),
        weight_bytes=num_bytes(shapes, dtype),
        token_bytes=active(model.config, tensor_bytes(shapes, dtype)),
        load_s=load_s,
        first_token_s=first_token_s,
        encode_s=_encode_seconds(model, pages),
        prompt_tokens=prompt_tokens,
        prefill_tps=prompt_tokens / best_seconds(lambda: _prefill(model, prompt_tokens), times=2),
        decode_tps={batch: decode_rate(model, prompt_tokens, batch, steps) for batch in batches},
        peak_bytes=peak_memory(device),
        # after the peak was taken: these need memory too
        encode_flops={mode: count_flops(model.config, views) for mode, views in pages.items()},
        matrix_flops=matrix_rate(dtype, device),
        read_bytes=read_rate(device),
    )


def sample_pages(
    config: ModelConfig, device: torch.device, dtype: torch.dtype
) -> dict[str, list[Tensor]]:
    """The views of a page in each mode that is measured: those of one size in one batch."""

    def noise(count: int, height: int, width: int) -> Tensor:
        return torch.randn(count, config.sam.channels, height, width).to(device, dtype)

    if config.mode not in MODES:
        return {"strips": [noise(*STRIPS)]}
    if not config.decoder.row_marks:
        side = MODES[config.mode].page_px
        return {config.mode: [noise(1, side, side)]}
    base, tile = MODES["base"].page_px, MODES["gundam"].tile_px
    assert tile is not None
    page = noise(1, base, base)
    return {"base": [page], "gundam": [noise(TILES.num_places, tile, tile), page]}


def prompt_length(config: ModelConfig) -> int:
    """Tokens that the decoder reads before it writes."""
    if not config.decoder.row_marks:
        places = num_strip_tokens(*STRIPS[1:])
        if config.mode in MODES:
            places = num_visual_tokens(MODES[config.mode], UNTILED)
        return places * SCALES[config.fusion] + 1
    return num_positions(MODES["base"], UNTILED) + QUESTION


def count_flops(config: ModelConfig, views: list[Tensor]) -> int:
    """Operations that encoding takes, as the shapes tell."""
    encoder = empty_model(config).encoder.requires_grad_(False)
    counter = FlopCounterMode(display=False)
    with counter, torch.inference_mode():
        for batch in views:
            encoder(batch.to("meta", torch.float32))
    return counter.get_total_flops()


def _encode_seconds(model: LightSeekOCR, pages: dict[str, list[Tensor]]) -> dict[str, float]:
    with torch.inference_mode():
        return {
            mode: best_seconds(lambda views=views: _encode(model, views), times=2)  # type: ignore[misc]
            for mode, views in pages.items()
        }


def _encode(model: LightSeekOCR, views: list[Tensor]) -> float:
    # the last number is asked for, because a GPU works on after the call
    return [model.encoder(batch).tokens.flatten()[-1].item() for batch in views][-1]


def _prefill(model: LightSeekOCR, length: int) -> None:
    prompt = _prompt(model, 1, length)
    for step in generate_steps(model, prompt, NO_END, Decoding(max_tokens=1)):
        step.ids.tolist()


def _prompt(model: LightSeekOCR, batch: int, length: int) -> Tensor:
    like = model.embedding.weight
    return torch.randn(batch, length, like.shape[1], device=like.device).to(like.dtype) * 0.02


def decode_rate(model: LightSeekOCR, prompt_tokens: int, batch: int, steps: int) -> float:
    """Tokens a second after the prompt, of all sequences of a batch."""
    prompt = _prompt(model, batch, prompt_tokens)
    times = []
    for step in generate_steps(model, prompt, NO_END, Decoding(max_tokens=steps + 1)):
        step.ids.tolist()
        times.append(time.perf_counter())
    return batch * steps / (times[-1] - times[0])
