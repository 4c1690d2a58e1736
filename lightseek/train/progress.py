"""What a person sees of a run: a progress bar, lines in a log, curves in TensorBoard."""

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import (
    Progress as Bar,
)
from torch import Tensor

from lightseek.errors import require
from lightseek.eval.metrics import Score
from lightseek.train.checkpoint import Progress, RunFolder
from lightseek.train.recipe import Recipe

CURVES = "tensorboard"
"""Folder in that of a run."""
LOG_EVERY = 20
"""Steps between lines where there is no terminal."""
SMOOTHING = 0.95
"""Share of the past in the figures of the bar."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Means:
    """Figures of one step over all processes; no number of what the step did not teach."""

    tokens: int
    """Of the text that was taught."""
    text_loss: float
    text_hits: float
    place_loss: float
    patch_hits: float
    """Share of glyph cells right from SAM features."""
    token_hits: float
    """The same from fused tokens."""
    norm: float
    """Of the gradient."""
    rate: float
    """Share of the full learning rates."""

    @classmethod
    def of(
        cls,
        totals: Float[Tensor, " P"],
        hits: Float[Tensor, " P"],
        counts: Float[Tensor, " P"],
        *,
        norm: float,
        rate: float,
    ) -> "Means":
        """Average sums over text, places, patch glyphs and token glyphs, in this order."""
        losses, shares = (totals / counts).tolist(), (hits / counts).tolist()
        return cls(
            tokens=int(counts[0]),
            text_loss=losses[0],
            text_hits=shares[0],
            place_loss=losses[1],
            patch_hits=shares[2],
            token_hits=shares[3],
            norm=norm,
            rate=rate,
        )


def make_bar(console: Console, title: str = "training", *, silent: bool = False) -> Bar:
    """A bar of what a run does, hidden where nobody looks."""
    return Bar(
        TextColumn(title),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}"),
        TimeElapsedColumn(),
        console=console,
        disable=silent or not sys.stderr.isatty(),
    )


class Reporter:
    """Shows and records the figures of a run."""

    def __init__(self, folder: RunFolder, recipe: Recipe, progress: Progress, peak: float) -> None:
        tensorboard = require("torch.utils.tensorboard", extra="train")
        self._writer = tensorboard.SummaryWriter(
            str(folder.path / CURVES),
            purge_step=progress.strips + 1,  # what a killed run recorded after its last checkpoint
        )
        self._console = Console(stderr=True)
        self._bar = make_bar(self._console)
        self._task = self._bar.add_task(
            "", total=recipe.steps, completed=progress.step, figures="starting"
        )
        self._recipe, self._peak = recipe, peak
        self._first, self._last = progress, progress
        self._loss: float | None = None
        self._drawing = 0.0

    def stepped(self, progress: Progress, means: Means, drawing: float) -> None:
        """A step is done, for whose strips training stood still for `drawing` seconds."""
        seconds = max(1e-9, progress.seconds - self._last.seconds)
        mfu = (progress.flops - self._last.flops) / seconds / self._peak
        if not math.isnan(means.text_loss):
            past = means.text_loss if self._loss is None else self._loss
            self._loss = SMOOTHING * past + (1 - SMOOTHING) * means.text_loss
        for name in Means.__slots__:
            if not math.isnan(value := getattr(means, name)):
                self._writer.add_scalar(name, value, progress.strips)
        self._writer.add_scalar("mfu", mfu, progress.strips)
        self._writer.add_scalar("data", drawing / seconds, progress.strips)
        self._writer.add_scalar("flops", progress.flops, progress.strips)
        self._last = progress
        self._drawing += drawing
        figures = self._figures(progress, means)
        self._bar.update(self._task, completed=progress.step, figures=figures)
        if self._bar.disable and progress.step % LOG_EVERY == 0:
            self._console.print(f"{progress.step}/{self._recipe.steps} {figures}", soft_wrap=True)

    def evaluated(self, progress: Progress, score: Score) -> None:
        """Held-out strips have been read."""
        self._writer.add_scalar("held_out_cer", score.cer, progress.strips)
        self._console.print(f"step {progress.step}: held-out CER {score.cer:.4f}")

    def paused(self, folder: RunFolder) -> None:
        """The run waits until it is told to go on."""
        self._console.print(f"paused: lightseek resume {folder.path} lets it go on")

    def _figures(self, progress: Progress, means: Means) -> str:
        seconds = max(1e-9, progress.seconds - self._first.seconds)
        steps = max(1, progress.step - self._first.step)
        strips = (progress.strips - self._first.strips) / seconds
        mfu = (progress.flops - self._first.flops) / seconds / self._peak
        left = (self._recipe.steps - progress.step) * seconds / steps
        taught = []
        if self._loss is not None:
            taught.append(f"loss {self._loss:.3f} right {means.text_hits:.3f}")
        if not math.isnan(means.patch_hits):
            taught.append(f"glyphs {means.patch_hits:.2f}/{means.token_hits:.2f}")
        return (
            f"{' '.join(taught)} "
            f"{strips:.1f} strips/s data {self._drawing / seconds:.0%} MFU {mfu:.0%} "
            f"{progress.flops:.2e} op, {left / 60:.0f} min left"
        )

    def open(self) -> None:
        """Show the bar."""
        self._bar.start()

    def close(self) -> None:
        """Hide the bar and write what is left."""
        self._bar.stop()
        self._writer.close()


def read_curve(folder: Path, name: str) -> list[tuple[int, float]]:
    """What a run recorded: after how many strips, or steps of a run on pages, and the figure.

    Args:
        folder: Of the run.
        name: Of the curve, such as `text_loss`.

    Raises:
        MissingExtraError: If tensorboard is not installed.
    """
    reader = require("tensorboard.backend.event_processing.event_accumulator", extra="train")
    events = reader.EventAccumulator(str(folder / CURVES), size_guidance={"scalars": 0})
    events.Reload()
    # of what was evaluated twice, the last
    return list({event.step: event.value for event in events.Scalars(name)}.items())


class Silence:
    """What the other processes report: nothing."""

    def stepped(self, progress: Progress, means: Means, drawing: float) -> None:
        """A step is done."""

    def evaluated(self, progress: Progress, score: Score) -> None:
        """Held-out strips have been read."""

    def paused(self, folder: RunFolder) -> None:
        """The run waits until it is told to go on."""


@contextmanager
def make_reporter(
    rank: int, folder: RunFolder, recipe: Recipe, progress: Progress, peak: float
) -> Iterator[Reporter | Silence]:
    """A reporter for the first process, silence for the others."""
    if rank > 0:
        yield Silence()
        return
    reporter = Reporter(folder, recipe, progress, peak)
    reporter.open()
    try:
        yield reporter
    finally:
        reporter.close()
