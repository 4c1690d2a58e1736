"""What a person sees of a run on pages: a progress bar, lines in a log, curves in TensorBoard."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console

from lightseek.errors import require
from lightseek.eval.metrics import Score
from lightseek.train.checkpoint import RunFolder
from lightseek.train.pages.state import PageProgress
from lightseek.train.progress import CURVES, LOG_EVERY, SMOOTHING, make_bar

LINE_EVERY_S = 60.0
"""Between lines of what the encoder has seen, where there is no terminal."""


@contextmanager
def seeing(total: int, *, silent: bool) -> Iterator[Callable[[int], None]]:
    """A bar of the pages that a frozen encoder has seen; it is told how many they are."""
    console = Console(stderr=True, quiet=silent)
    bar = make_bar(console, "features", silent=silent)
    task = bar.add_task("", total=total, figures="of pages")
    said = time.monotonic()

    def tell(done: int) -> None:
        nonlocal said
        bar.update(task, completed=done)
        if bar.disable and time.monotonic() - said > LINE_EVERY_S:
            said = time.monotonic()
            console.print(f"features of {done}/{total} pages", soft_wrap=True)

    with bar:
        yield tell


@dataclass(frozen=True, kw_only=True, slots=True)
class PageMeans:
    """Figures of one step over all processes."""

    loss: float
    """Mean over the tokens of text."""
    hits: float
    """Share of tokens that would have been written right."""
    norm: float
    """Of the gradient."""
    rate: float
    """Share of the full learning rates."""


class PageReporter:
    """Shows and records the figures of a run, in the first process alone.

    Args:
        folder: Of the run.
        progress: Where it is.
        steps: Its length.
        silent: Whether another process reports.
    """

    def __init__(
        self, folder: RunFolder, progress: PageProgress, steps: int, *, silent: bool
    ) -> None:
        self._folder, self._steps, self._silent = folder, steps, silent
        self._console = Console(stderr=True, quiet=silent)
        self._bar = make_bar(self._console, silent=silent)
        self._task = self._bar.add_task(
            "", total=steps, completed=progress.step, figures="starting"
        )
        self._first = self._last = progress
        self._loss: float | None = None
        self._drawing = 0.0
        self._writer = None
        if not silent:
            tensorboard = require("torch.utils.tensorboard", extra="train")
            self._writer = tensorboard.SummaryWriter(
                str(folder.path / CURVES),
                purge_step=progress.step + 1,  # recorded after the last checkpoint, and killed
            )

    def stepped(self, progress: PageProgress, means: PageMeans, drawing: float) -> None:
        """A step is done, for whose pages training stood still for `drawing` seconds."""
        seconds = max(1e-9, progress.seconds - self._last.seconds)
        self._loss = means.loss + SMOOTHING * ((self._loss or means.loss) - means.loss)
        self._drawing += drawing
        curves = {name: getattr(means, name) for name in PageMeans.__slots__}
        curves["pages_per_second"] = (progress.pages - self._last.pages) / seconds
        curves["data"] = drawing / seconds
        self._draw(progress, curves)
        self._last = progress
        figures = self._figures(progress, means)
        self._bar.update(self._task, completed=progress.step, figures=figures)
        if self._bar.disable and progress.step % LOG_EVERY == 0:
            self._console.print(f"{progress.step}/{self._steps} {figures}", soft_wrap=True)

    def evaluated(
        self, progress: PageProgress, loss: float, score: Score | None, *, is_best: bool
    ) -> None:
        """Held-out pages have been read."""
        curves = {"held_out_loss": loss}
        line = f"step {progress.step}: held-out loss {loss:.4f}"
        if score is not None:
            curves["held_out_cer"] = score.cer
            line += f", CER {score.cer:.4f}"
        self._draw(progress, curves)
        self._console.print(line + (", the best so far" if is_best else ""))

    def paused(self) -> None:
        """The run waits until it is told to go on."""
        self._console.print(f"paused: lightseek resume {self._folder.path} lets it go on")

    def _draw(self, progress: PageProgress, curves: dict[str, float]) -> None:
        if self._writer is not None:
            for name, value in curves.items():
                self._writer.add_scalar(name, value, progress.step)

    def _figures(self, progress: PageProgress, means: PageMeans) -> str:
        seconds = max(1e-9, progress.seconds - self._first.seconds)
        steps = max(1, progress.step - self._first.step)
        pages = (progress.pages - self._first.pages) / seconds
        left = (self._steps - progress.step) * seconds / steps
        return (
            f"loss {self._loss:.3f} right {means.hits:.3f} {pages:.1f} pages/s "
            f"data {self._drawing / seconds:.0%}, {left / 60:.0f} min left"
        )

    def open(self) -> None:
        """Show the bar."""
        self._bar.start()

    def close(self) -> None:
        """Hide the bar and write what is left."""
        self._bar.stop()
        if self._writer is not None:
            self._writer.close()


@contextmanager
def reporting(
    folder: RunFolder, progress: PageProgress, steps: int, *, silent: bool
) -> Iterator[PageReporter]:
    """A reporter whose bar is shown."""
    reporter = PageReporter(folder, progress, steps, silent=silent)
    reporter.open()
    try:
        yield reporter
    finally:
        reporter.close()
