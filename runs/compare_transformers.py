"""Measure LightSeek and transformers on one checkpoint of Unlimited-OCR, true size, random weights.

    python runs/compare_transformers.py measure build/speed -o speed.json
    python runs/compare_transformers.py table speed.json

Each engine runs in a process of its own, one after the other, in several rounds; the figures are
the medians over rounds. `transformers` takes 13 GB of memory. The checkpoint takes 6.7 GB of disk
and the one in 8 bits 3.9 GB; both stay in the folder. `table` writes docs/results.md.
"""

import os
import subprocess
import sys
import time
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from math import nan
from pathlib import Path
from statistics import median_low
from typing import Any

import click
import torch
from pydantic import TypeAdapter
from torch import Tensor

from lightseek.bench.checkpoint import write_random
from lightseek.bench.machine import best_seconds, matrix_rate, peak_memory, processor, read_rate
from lightseek.bench.measure import TILES, Speed, count_flops, prompt_length, sample_pages
from lightseek.errors import require
from lightseek.eval.report import put
from lightseek.info import active
from lightseek.names import official_name
from lightseek.quantize import quantize
from lightseek.tokenizer import character_tokenizer
from lightseek.weights import CONFIG, empty_model, num_bytes, read_config, tensor_bytes

CPU, DTYPE = torch.device("cpu"), torch.bfloat16
RUNS = Path(__file__).parent
PAGE = RUNS.parent / "docs" / "results.md"
TINY = {
    "vision_config": {
        "sam_config": {
            "hidden_size": 24,
            "output_channels": 8,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "global_attn_indexes": [1],
            "mlp_dim": 24,
            "downsample_channels": [12, 24],
        },
        "encoder_config": {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2},
    },
    "text_config": {
        "vocab_size": 512,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "n_routed_experts": 8,
        "moe_intermediate_size": 16,
        "head_dim": 16,
    },
}
"""Sizes that show in seconds whether all of this works."""


@click.group(help=__doc__)
def main() -> None:
    """Measure, and write the table."""


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True)
@click.option("--steps", default=32, show_default=True, help="Tokens to decode.")
@click.option("--rounds", default=3, show_default=True, help="Four quiet minutes each.")
@click.option("--tiny", is_flag=True, help="A model of a few dims, to try the script.")
def measure(folder: Path, output: Path, steps: int, rounds: int, tiny: bool) -> None:
    """Make what is missing in the folder, measure all engines, write one JSON file.

    It is written anew after every round: what has been measured is not lost.
    """
    whole, small = folder / "bfloat16", folder / "int8"
    if not (whole / CONFIG).is_file():
        make_checkpoint(whole, TINY if tiny else {})
    if not (small / CONFIG).is_file():
        quantize(str(whole), small)
    ours = [sys.executable, "-m", "lightseek", "bench", "--json", "--device", "cpu"]
    ours += ["--dtype", "bfloat16", "--steps", str(steps), "--model"]
    theirs = [sys.executable, __file__, "worker", "--steps", str(steps)]
    commands = ([*ours, str(whole)], [*ours, str(small)], [*theirs, str(whole)])
    found: list[list[Speed]] = [[] for _ in commands]
    for number in range(rounds):
        for command, speeds in zip(commands, found, strict=True):
            warm(Path(command[-1]))
            # the same for all: threads that wait spin for a while, as `lightseek` has it
            env = {**os.environ, "GOMP_SPINCOUNT": "10000"}
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=env)
            speeds.append(Speed.from_json(done.stdout))
            rate = f"{speeds[-1].decode_tps[1]:.1f} tokens/s"
            click.echo(
                f"round {number + 1}: {speeds[-1].engine}, {speeds[-1].dtype}: {rate}", err=True
            )
        middle = TypeAdapter(list[Speed]).dump_json([median_of(s) for s in found], indent=1)
        output.write_bytes(middle)


def median_of(speeds: list[Speed]) -> Speed:
    """The median of every figure by itself."""

    def middle(values: list[Any]) -> Any:
        if isinstance(values[0], dict):
            return {key: middle([value[key] for value in values]) for key in values[0]}
        return median_low(values)

    rows = [asdict(speed) for speed in speeds]
    return Speed(**{name: middle([row[name] for row in rows]) for name in rows[0]})


def warm(folder: Path) -> None:
    """Read all weights once, so that no engine waits for the disk."""
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb", buffering=0) as opened:
            while opened.read(2**24):
                pass


def make_checkpoint(folder: Path, sizes: dict[str, Any]) -> None:
    """Write what `save_pretrained` would write, with random weights."""
    models = require("transformers.models.unlimited_ocr", extra="dev")
    tokenizer = character_tokenizer()
    ids = {"bos_token_id": tokenizer.bos_id, "eos_token_id": tokenizer.eos_id}
    text = {**sizes.get("text_config", {}), **ids}
    config = models.UnlimitedOcrConfig(
        **{**sizes, "text_config": text}, image_token_id=tokenizer.image_id
    )
    config.architectures = ["UnlimitedOcrForConditionalGeneration"]
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(folder)
    ours, _ = read_config(folder)
    written = (folder / CONFIG).read_text(encoding="utf-8")
    write_random(folder, ours, config_text=written, name_in_file=official_name)


@main.command(hidden=True)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--steps", type=int, required=True)
def worker(folder: Path, steps: int) -> None:
    """Measure transformers in this process, and print JSON."""
    models = require("transformers.models.unlimited_ocr", extra="dev")
    started = time.perf_counter()
    model = models.UnlimitedOcrForConditionalGeneration.from_pretrained(folder, dtype=DTYPE).eval()
    load_s = time.perf_counter() - started
    config, _ = read_config(folder)
    pages, length = sample_pages(config, CPU, DTYPE), prompt_length(config)
    with torch.inference_mode():
        encode(model, pages["base"])
        write(model, 1, length, 1)
        first_token_s = time.perf_counter() - started
        encode_s = {
            mode: best_seconds(partial(encode, model, views), times=2)
            for mode, views in pages.items()
        }
        prefill_s = best_seconds(lambda: write(model, 1, length, 1), times=2)
        decode_tps = {batch: decode_rate(model, batch, length, steps) for batch in (1, 4)}
    shapes = empty_model(config)
    speed = Speed(
        engine=f"transformers {version('transformers')}",
        model=config.name,
        dtype="bfloat16",
        processor=processor(CPU),
        threads=torch.get_num_threads(),
        weight_bytes=num_bytes(shapes, DTYPE),
        token_bytes=active(config, tensor_bytes(shapes, DTYPE)),
        load_s=load_s,
        first_token_s=first_token_s,
        encode_s=encode_s,
        prompt_tokens=length,
        prefill_tps=length / prefill_s,
        decode_tps=decode_tps,
        peak_bytes=peak_memory(CPU),
        encode_flops={mode: count_flops(config, views) for mode, views in pages.items()},
        matrix_flops=matrix_rate(DTYPE, CPU),
        read_bytes=read_rate(CPU),
    )
    click.echo(speed.to_json())


def encode(model: Any, views: list[Tensor]) -> None:
    """Visual tokens of a page, with its tiles if there are any."""
    *tiles, page = views
    local: dict[str, Any] = {}
    if tiles:
        local = {
            "pixel_values_local": tiles[0],
            "num_local_patches": [len(tiles[0])],
            "patches_grid": [list(TILES)],
        }
    model.model.get_image_features(pixel_values=page, **local)


def write(model: Any, batch: int, length: int, tokens: int) -> list[float]:
    """The likeliest tokens after a prompt, and when each was there."""
    times: list[float] = []

    def note(ids: Tensor, scores: Tensor, **_: Any) -> Tensor:
        times.append(time.perf_counter())
        return torch.zeros(len(ids), dtype=torch.bool)

    ids = torch.randint(10, 100, (batch, length))
    model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=tokens,
        min_new_tokens=tokens,
        do_sample=False,
        stopping_criteria=[note],
    )
    return times


def decode_rate(model: Any, batch: int, length: int, steps: int) -> float:
    """Tokens a second after the prompt, of all sequences of a batch."""
    times = write(model, batch, length, steps + 1)
    return batch * steps / (times[-1] - times[0])


@main.command()
@click.argument("figures", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--page", type=click.Path(exists=True, dir_okay=False, path_type=Path), default=PAGE)
def table(figures: Path, page: Path) -> None:
    """Write the table of docs/results.md."""
    speeds = TypeAdapter(list[Speed]).validate_json(figures.read_bytes())
    put(page, "speed", [to_markdown(speeds)])


def to_markdown(speeds: list[Speed]) -> str:
    """A column for each engine, under a line that says where it ran."""
    first = speeds[0]
    rows = {
        "weights, GB": [f"{s.weight_bytes / 1e9:.2f}" for s in speeds],
        "load, s": [f"{s.load_s:.2f}" for s in speeds],
        "load to first token, s": [f"{s.first_token_s:.1f}" for s in speeds],
        "peak memory, GB": [f"{(s.peak_bytes or nan) / 1e9:.2f}" for s in speeds],
        "peak memory / weights": [f"{(s.peak_bytes or nan) / s.weight_bytes:.2f}" for s in speeds],
    }
    for mode in first.encode_s:
        rows[f"encode {mode}, s"] = [f"{s.encode_s[mode]:.2f}" for s in speeds]
        rows[f"encode {mode}, % of matrix rate"] = [f"{s.of_matrix_rate(mode):.0%}" for s in speeds]
    rows[f"prefill of {first.prompt_tokens}, tokens/s"] = [f"{s.prefill_tps:.0f}" for s in speeds]
    for batch in first.decode_tps:
        rows[f"decode x{batch}, tokens/s"] = [f"{s.decode_tps[batch]:.1f}" for s in speeds]
    rows["decode x1, % of bandwidth"] = [f"{s.of_bandwidth():.0%}" for s in speeds]
    rows["matrix rate in its run, GFLOP/s"] = [f"{s.matrix_flops / 1e9:.0f}" for s in speeds]
    rows["memory in its run, GB/s"] = [f"{s.read_bytes / 1e9:.1f}" for s in speeds]
    lines = [
        f"{first.model}, {first.processor}, {first.threads} threads",
        "",
        f"| | {' | '.join(f'{s.engine}, {s.dtype}' for s in speeds)} |",
        f"| :-- | {' | '.join('--:' for _ in speeds)} |",
    ]
    return "\n".join([*lines, *(f"| {name} | {' | '.join(r)} |" for name, r in rows.items())])


if __name__ == "__main__":
    main()
