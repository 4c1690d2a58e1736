"""Measure training with and without a feature cache, and write the table of docs/data.md.

    python runs/feature_cache.py

For one epoch, a fresh decoder of one layer learns to read lines from what nano's encoder, which
is frozen, sees of them: with the encoder running, and from its features on disk. Every epoch is a
process of its own, of one thread; the larger data set is ten times the smaller.
"""

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from lightseek.config import DecoderConfig
from lightseek.data.dataset import Pairs, load_pairs
from lightseek.data.kinds import Paper
from lightseek.data.loader import BatchLoader, Rows
from lightseek.data.render import TextSetter
from lightseek.eval.report import Machine, put
from lightseek.model import LightSeekOCR
from lightseek.presets import preset
from lightseek.reader import to_views
from lightseek.tokenizer import character_tokenizer
from lightseek.train.batch import IGNORED
from lightseek.train.features import (
    CachedPairs,
    FeatureKey,
    Features,
    build_features,
    hash_saved_encoder,
)
from lightseek.weights import load_model

PAGE = Path(__file__).parents[1] / "docs" / "data.md"
ROWS = (100, 1000)
BATCH = 16
NAMES = ("local", "fused", "tokens")
PREPROCESSING = "lines of 512 x 64 px, grey, -1 to 1"
LINE = Paper(184.3, 23.0, 4.0, 5.0)
"""512 x 64 px at 200 dpi."""
WORDS = (
    "Exmoor",
    "and",
    "brown",
    "fox",
    "hounds",
    "miles",
    "near",
    "night",
    "quick",
    "seven",
    "the",
)

Seen = Callable[[list[Any]], Tensor]
"""Visual tokens of the rows of a batch."""


class LineViews:
    """The views of a data set of lines."""

    def __init__(self, pairs: Pairs) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        """Number of lines."""
        return len(self.pairs)

    def __getitem__(self, index: int) -> Tensor:
        """A line as the encoder takes it."""
        return view_of(self.pairs[index].image)


def view_of(image: Any) -> Tensor:
    """An image as the encoder takes it."""
    grey = image.convert("L")
    pixels = torch.frombuffer(bytearray(grey.tobytes()), dtype=torch.uint8)
    return to_views(pixels.view(1, grey.height, grey.width))[0]


def frozen_encoder() -> nn.Module:
    """That of nano."""
    model, _ = load_model("nano", device=torch.device("cpu"), dtype=torch.float32)
    return model.encoder.requires_grad_(False)


def key_of(pairs: Pairs) -> FeatureKey:
    """What the features of a data set depend on."""
    return FeatureKey(
        encoder=hash_saved_encoder("nano"),
        preprocessing=PREPROCESSING,
        data=pairs.fingerprint,
        names=NAMES,
        rows=len(pairs),
    )


def with_encoder(pairs: Pairs) -> tuple[Rows[Any], Seen]:
    """Rows with images, and an encoder that looks at them."""
    encoder = frozen_encoder()
    return pairs, lambda batch: encoder(torch.stack([view_of(row.image) for row in batch])).tokens


def with_cache(pairs: Pairs, cache: Path) -> tuple[Rows[Any], Seen]:
    """Rows with features; what is not needed of them is read too."""
    rows = CachedPairs(Features(cache, key_of(pairs)), pairs)
    return rows, lambda batch: torch.stack([row.features["tokens"] for row in batch]).float()


def fresh_decoder() -> LightSeekOCR:
    """A model without its encoder."""
    torch.manual_seed(0)
    config = preset("nano")
    assert isinstance(config.decoder, DecoderConfig)
    with torch.device("meta"):
        model = LightSeekOCR(replace(config, decoder=replace(config.decoder, depth=1, mlp_dim=384)))
        model.encoder = nn.Identity()  # type: ignore[assignment]
    model.to_empty(device="cpu")
    for name, parameter in model.named_parameters():
        is_norm = "norm" in name and name.endswith("weight")
        nn.init.ones_(parameter) if is_norm else nn.init.normal_(parameter, std=0.02)
    return model


def train_epoch(rows: Rows[Any], seen: Seen) -> float:
    """The mean loss of an epoch."""
    model, tokenizer = fresh_decoder(), character_tokenizer()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for batch in BatchLoader(rows, batch_size=BATCH, collate=list):
        texts = [torch.tensor([*tokenizer.encode(row.text), tokenizer.eos_id]) for row in batch]
        targets = nn.utils.rnn.pad_sequence(texts, batch_first=True, padding_value=IGNORED)
        begun = F.pad(targets[:, :-1], (1, 0), value=tokenizer.bos_id)
        ids = begun.masked_fill(begun == IGNORED, tokenizer.pad_id)
        with torch.no_grad():
            tokens = seen(batch)
        scores = model.predict(model(model.place_tokens(tokens), ids)).what
        loss = F.cross_entropy(rearrange(scores, "b l s -> b s l"), targets, ignore_index=IGNORED)
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types for it
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
    return sum(losses) / len(losses)


def make_lines(folder: Path, count: int) -> None:
    """Lines of words as images with their text beside them."""
    folder.mkdir(parents=True)
    rng = random.Random(0)
    text = "\n".join(" ".join(rng.sample(WORDS, 5)) for _ in range(count))
    pages = TextSetter(paper=LINE).set_pages(text, 10)
    assert len(pages) == count, "a line does not fit its page"
    for number, page in enumerate(pages):
        page.picture.save(folder / f"{number:05}.png")
        (folder / f"{number:05}.txt").write_text(page.text, encoding="utf-8")


@click.group(invoke_without_command=True)
@click.pass_context
def main(context: click.Context) -> None:
    """Measure training with and without a feature cache, and write the table of docs/data.md."""
    torch.set_num_threads(1)
    if context.invoked_subcommand is None:
        put(PAGE, "table", [measure_all()])


@main.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.argument("cache", type=click.Path(path_type=Path))
def build(data: Path, cache: Path) -> None:
    """Compute the features of a data set."""
    pairs = load_pairs(data)
    build_features(cache, frozen_encoder(), LineViews(pairs), key_of(pairs), batch_size=BATCH)


@main.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.argument("cache", type=click.Path(path_type=Path), required=False)
def measure(data: Path, cache: Path | None) -> None:
    """Train for an epoch, from features if there are any, and print what it took."""
    pairs = load_pairs(data)
    rows, seen = with_encoder(pairs) if cache is None else with_cache(pairs, cache)
    started = time.process_time()
    loss = train_epoch(rows, seen)
    seconds = time.process_time() - started
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    click.echo(json.dumps({"seconds": seconds, "peak_mb": peak_mb, "loss": loss}))


def measure_all() -> str:
    """The table."""
    head = "| rows | features on disk, MB | encoder | epoch, CPU s | peak memory, MB | mean loss |"
    lines = [head, "| --: | --: | :-- | --: | --: | --: |"]
    with tempfile.TemporaryDirectory() as work:
        for count in ROWS:
            data, cache = Path(work) / f"lines-{count}", Path(work) / f"cache-{count}"
            make_lines(data, count)
            run("build", data, cache)
            size = sum(file.stat().st_size for file in cache.iterdir()) / 1e6
            for name, found in (
                ("runs", run("measure", data)),
                ("cached", run("measure", data, cache)),
            ):
                told = json.loads(found)
                lines.append(
                    f"| {count} | {size:.0f} | {name} | {told['seconds']:.1f} "
                    f"| {told['peak_mb']:.0f} | {told['loss']:.3f} |"
                )
    return "\n".join([f"{Machine.here().cpu}, 1 thread", "", *lines])


def run(*arguments: str | Path) -> str:
    """What a command of this script prints, in a process of its own."""
    command = [sys.executable, __file__, *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    main()
