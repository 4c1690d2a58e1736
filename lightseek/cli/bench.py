"""`lightseek bench` and `lightseek quantize`: how fast a model is, and how to make it faster."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from lightseek.bench.measure import Speed


@click.command()
@click.option(
    "--model", default="nano", show_default=True, help="A name, a preset, a folder or a hub id."
)
@click.option("--device", help="cpu, cuda or mps. [default: the GPU if there is one]")
@click.option(
    "--dtype",
    type=click.Choice(["bfloat16", "float32"]),
    help="What to compute in. [default: bfloat16 where the device has it]",
)
@click.option(
    "--batch",
    "batches",
    type=click.IntRange(min=1),
    multiple=True,
    default=(1, 4),
    show_default=True,
    help="Sequences to decode together; may be repeated.",
)
@click.option(
    "--steps", type=click.IntRange(min=1), default=64, show_default=True, help="Tokens to decode."
)
@click.option("--json", "json_", is_flag=True, help="Print the figures as JSON.")
def bench(
    model: str,
    device: str | None,
    dtype: str | None,
    batches: tuple[int, ...],
    steps: int,
    json_: bool,
) -> None:
    """Time loading, encoding, prefill and decoding, beside the limits of the machine.

    Of a preset without weights, a model folder of its size with random weights is made and removed.

    \b
    lightseek bench --model nano
    lightseek bench --model deepseek-ocr --steps 32  # takes 6.7 GB of disk for a while
    lightseek bench --model DeepSeek-OCR-int8/ --batch 1 --batch 8 --json
    """
    import torch

    from lightseek.bench.measure import measure
    from lightseek.presets import preset
    from lightseek.weights import default_dtype, find_device, find_model, is_empty_preset

    console = Console(stderr=True)
    where = find_device(device)
    what = getattr(torch, dtype) if dtype else default_dtype(where)
    with TemporaryDirectory(prefix="lightseek-bench-") as made, console.status("measuring"):
        if is_empty_preset(model):
            from lightseek.bench.checkpoint import write_random

            folder = Path(made)
            write_random(folder, preset(model))
        else:
            folder = find_model(model)
        speed = measure(folder, device=where, dtype=what, batches=batches, steps=steps)
    click.echo(speed.to_json() if json_ else speed_text(speed))


def speed_text(speed: "Speed") -> str:
    """A line for each figure."""
    rows = [
        ("model", f"{speed.model}, {speed.dtype}, {speed.weight_bytes / 1e9:.2f} GB"),
        ("machine", f"{speed.processor}, {speed.threads} threads"),
        ("matrix rate", f"{speed.matrix_flops / 1e9:.0f} GFLOP/s"),
        ("memory", f"{speed.read_bytes / 1e9:.1f} GB/s"),
        ("load", f"{speed.load_s:.2f} s; the first token after {speed.first_token_s:.1f} s"),
    ]
    if speed.peak_bytes is not None:
        rows.append(("peak memory", f"{speed.peak_bytes / 1e9:.2f} GB"))
    rows += [
        (f"encode {mode}", f"{seconds:.2f} s, {speed.of_matrix_rate(mode):.0%} of the matrix rate")
        for mode, seconds in speed.encode_s.items()
    ]
    rows.append(("prefill", f"{speed.prefill_tps:.0f} tokens/s of {speed.prompt_tokens}"))
    for batch, rate in speed.decode_tps.items():
        share = f", {speed.of_bandwidth():.0%} of what memory allows" if batch == 1 else ""
        rows.append((f"decode x{batch}", f"{rate:.1f} tokens/s{share}"))
    return "\n".join(f"{name:<15}{value}" for name, value in rows)


@click.command()
@click.argument("model")
@click.argument("output", type=click.Path(path_type=Path), metavar="OUTPUT")
@click.option(
    "--int8",
    is_flag=True,
    default=True,
    expose_value=False,
    help="Hold the decoder in 8 bits, the only way so far.",
)
def quantize(model: str, output: Path) -> None:
    """Write a model with its decoder in 8 bits: a folder that loads like any other.

    \b
    lightseek quantize deepseek-ai/DeepSeek-OCR DeepSeek-OCR-int8 --int8
    lightseek read page.pdf --model ./DeepSeek-OCR-int8
    """
    from lightseek.quantize import quantize as run

    with Console(stderr=True).status(Text(f"writing {output}")):
        run(model, output)
