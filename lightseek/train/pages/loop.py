"""The training loop on pages: one process of as many as `accelerate launch` started.

    batches -> PageModel -> gradients of `accumulate` batches -> clip -> AdamW

Every figure is summed over all processes and divided by the tokens of all, so that a step is the
same whatever their number. Nothing random is remembered: the seed of a step is its number.
"""

import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lightseek.data.dataset import load_pairs
from lightseek.data.loader import BatchLoader, faults_of_workers
from lightseek.errors import Interrupted, LightSeekError, UsageError
from lightseek.eval.metrics import Score, score_all
from lightseek.shards import write_file
from lightseek.train.batch import IGNORED
from lightseek.train.checkpoint import RunFolder
from lightseek.train.pages.batch import (
    PageBatch,
    PageCollate,
    PageModel,
    PageRow,
    PageRows,
    make_prompt,
)
from lightseek.train.pages.outcome import Origin, keep_bad_batch, save_copy, save_learnt
from lightseek.train.pages.recipe import PageRecipe
from lightseek.train.pages.report import PageMeans, PageReporter, reporting
from lightseek.train.pages.seen import features_of
from lightseek.train.pages.sharing import make_accelerator, sum_all_gradients
from lightseek.train.pages.start import begin_model, check_longest, hash_start
from lightseek.train.pages.state import PageProgress, SharedState, make_optimiser
from lightseek.train.processes import interrupts_to
from lightseek.views import Mode, as_looked_at, find_mode


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """When a run saves and stops, beside its recipe."""

    save_minutes: float
    stop_after: int | None


def train_pages(
    recipe: PageRecipe,
    out: Path,
    *,
    device: str,
    save_minutes: float = 5.0,
    stop_after: int | None = None,
) -> None:
    """Run a recipe, from its last checkpoint if there is one.

    Args:
        recipe: What to do.
        out: Run folder.
        device: `cpu`, or whatever `accelerate` finds.
        save_minutes: Time between checkpoints.
        stop_after: Steps after which to save and stop.

    Raises:
        Interrupted: If it was asked to end; what is done is saved.
        LightSeekError: If the folder holds a run of another recipe; if the recipe names what is
            not there or does not fit; if a loss is no number; if the disk is full.
    """
    accelerator = make_accelerator(recipe, device)
    folder = RunFolder(out)
    limits = Limits(save_minutes=save_minutes, stop_after=stop_after)
    with folder.held() if accelerator.is_main_process else nullcontext():
        with accelerator.main_process_first():
            folder.claim(recipe, hash_start(recipe))
        PageTrainer(recipe, folder, accelerator, limits).run()


def _stop_seeing(signal_number: int, frame: FrameType | None) -> None:
    raise Interrupted("features so far are kept")


class PageTrainer:
    """The loop of one process."""

    def __init__(
        self, recipe: PageRecipe, folder: RunFolder, accelerator: Any, limits: Limits
    ) -> None:
        self.recipe, self.folder, self.limits = recipe, folder, limits
        self.accelerator = accelerator
        self.origin = Origin.of(recipe, accelerator.num_processes)
        model, self.tokenizer = begin_model(recipe)
        mode = as_looked_at(find_mode(recipe.pages.mode), model.config.decoder.sliding_window)
        prompt = make_prompt(model, self.tokenizer, recipe.pages.prompt)
        check_longest(model.config, mode, len(prompt.before + prompt.after), recipe.pages.longest)
        self.collate = PageCollate(
            tokenizer=self.tokenizer, mode=mode, prompt=prompt, longest=recipe.pages.longest
        )
        self.model = PageModel(model, prompt)
        rows, self.held_out = self._rows(mode)
        self.loader = self._batches_of(rows, workers=recipe.pages.workers)
        self._batches_of(self.held_out)  # too few pages to share are told now, not in an hour
        self.steps = recipe.num_steps(len(self.loader))
        optimiser = make_optimiser(self.model, recipe.optimiser)
        self.state = SharedState(self.model, recipe, self._let_encoder_go())
        # the same modules, shared out over processes where there are several
        self.shared, self.optimiser = accelerator.prepare(self.model, optimiser)
        sum_all_gradients(self.shared)
        self.progress = PageProgress(
            step=0,
            pages=0,
            tokens=0,
            seconds=0.0,
            evaluated=0,
            best_loss=None,
            loader=self.loader.state_dict(),
        )
        self._restore()
        self.interrupted = False

    def run(self) -> None:
        """Train to the end of the recipe, or until asked to stop."""
        if self.progress.evaluated == self.steps and self.folder.is_finished(self.steps):
            return  # its record says how it was made
        silent = not self.accelerator.is_main_process
        with interrupts_to(self._interrupt), self.folder.told_if_full():
            with reporting(self.folder, self.progress, self.steps, silent=silent) as report:
                self._train(report)
            self._save()
        if self.interrupted:
            raise Interrupted

    def _rows(self, mode: Mode) -> tuple[PageRows, PageRows]:
        """Pages to train on and held-out ones: images, or what the encoder has seen of them."""
        pages = self.recipe.pages
        train, held_out = load_pairs(pages.train), load_pairs(pages.held_out)
        if pages.train != pages.held_out and (shared := train.shared_with(held_out)):
            told = f"{len(shared)} held-out rows would be learnt, such as {shared[0]}"
            raise UsageError(f"{told}: keep them out of the folder that is trained on")
        if pages.features is None:
            return PageRows(train, None), PageRows(held_out, None)
        folder, model = Path(pages.features), self.model.model
        model.encoder.to(self.accelerator.device)
        silent = not self.accelerator.is_main_process
        first, narrow = self.accelerator.main_process_first(), self.accelerator.autocast()
        with interrupts_to(_stop_seeing), first, narrow:
            seen, seen_held_out = (
                features_of(folder / name, model, pairs, mode, silent=silent)
                for name, pairs in (("train", train), ("held-out", held_out))
            )
        return PageRows(train, seen), PageRows(held_out, seen_held_out)

    def _let_encoder_go(self) -> Path | None:
        """With features, all but its projector leaves memory; the file where it waits, if it does.

        Models that the run leaves have it; adapters do not need it.
        """
        if self.recipe.pages.features is None:
            return None
        encoder, file = self.model.model.encoder, None
        if not self.recipe.adapts_model:
            file = self.folder.path / "encoder.safetensors"
            if self.accelerator.is_main_process:
                frozen = encoder.state_dict(prefix="encoder.").items()
                write_file(file, {n: t.cpu() for n, t in frozen if ".projector." not in n})
        encoder.keep_projector()
        return file

    def _batches_of(self, rows: PageRows, *, workers: int = 0) -> BatchLoader[PageRow, PageBatch]:
        return BatchLoader(
            rows,
            batch_size=self.recipe.batch,
            collate=self.collate,
            seed=self.recipe.seed,
            rank=self.accelerator.process_index,
            world=self.accelerator.num_processes,
            workers=workers,
        )

    def _restore(self) -> None:
        saved = self.folder.load_as(PageProgress)
        if saved is None:
            return
        tensors, self.progress = saved
        self.state.restore(
            self.shared, self.optimiser.optimizer, tensors, source=str(self.folder.path)
        )
        self.loader.load_state_dict(self.progress.loader)

    def _train(self, report: PageReporter) -> None:
        last = self.steps
        if self.limits.stop_after is not None:
            last = min(last, self.progress.step + self.limits.stop_after)
        batches, saved_at = self._batches(), time.monotonic()
        while self.progress.step < last:
            self._wait_while_paused(report)
            if self.progress.step % self.recipe.evaluate_every == 0 and not self._evaluate(report):
                return
            started = time.monotonic()
            due = started - saved_at > self.limits.save_minutes * 60
            stop, save = self._step(batches, report, due=due)
            if stop:
                return
            if save:
                self._save()
                saved_at = time.monotonic()
        if last == self.steps:
            self._evaluate(report)

    def _batches(self) -> Iterator[PageBatch]:
        """Epoch after epoch."""
        while True:
            with faults_of_workers():
                yield from self.loader

    def _step(
        self, batches: Iterator[PageBatch], report: PageReporter, *, due: bool
    ) -> tuple[bool, bool]:
        """Forward and backward over some batches, one update; whether to stop, whether to save."""
        started = time.monotonic()
        share = self.recipe.share(self.progress.step, self.steps)
        self.shared.train()
        own, suspect, rows, drawing = self._accumulate(batches)
        wishes = torch.tensor(
            [float(self.interrupted), float(due and self.accelerator.is_main_process)]
        )
        total, hits, asked, pages, stop, save = self._sum(torch.cat([own, wishes]))
        norm = self._average_gradients(asked)
        if not (math.isfinite(total) and math.isfinite(norm)):
            self._give_up(suspect, rows, own_loss=float(own[0]), loss=total / asked, norm=norm)
        for group in self.optimiser.param_groups:
            group["lr"] = group["full_rate"] * share
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.progress = replace(
            self.progress,
            step=self.progress.step + 1,
            pages=self.progress.pages + int(pages),
            tokens=self.progress.tokens + int(asked),
            seconds=self.progress.seconds + time.monotonic() - started,
            loader=self.loader.state_dict(),
        )
        means = PageMeans(loss=total / asked, hits=hits / asked, norm=norm, rate=share)
        report.stepped(self.progress, means, drawing)
        return stop > 0, save > 0

    def _accumulate(
        self, batches: Iterator[PageBatch]
    ) -> tuple[Float[Tensor, "4"], PageBatch, list[str], float]:
        """Add the gradients of the batches of a step.

        Returns:
            Loss, right answers, tokens and pages of this process; the first batch whose loss is
            no number, or else the last; the rows of all; seconds spent waiting for pages.
        """
        sums, drawing = torch.zeros(4), 0.0
        rows: list[str] = []
        suspect: PageBatch | None = None
        for left in reversed(range(self.recipe.accumulate)):
            drawn_at = time.monotonic()
            batch = next(batches)
            drawing += time.monotonic() - drawn_at
            if suspect is None or bool(sums[0].isfinite()):
                suspect = batch
            rows += batch.names
            self._seed(left)  # after pages were drawn, which takes random numbers now and then
            with self.accelerator.no_sync(self.shared) if left else nullcontext():
                part = self.shared(batch.to(self.accelerator.device))
                self.accelerator.backward(part.total)
            found = torch.stack([value.detach().float() for value in part]).cpu()
            sums += torch.cat([found, torch.tensor([float(len(batch.names))])])
        assert suspect is not None
        return sums, suspect, rows, drawing

    def _seed(self, left: int) -> None:
        """What is random in a batch depends on its number alone."""
        batch = (self.progress.step + 1) * self.recipe.accumulate - left
        own = batch * self.accelerator.num_processes + self.accelerator.process_index
        torch.manual_seed((self.recipe.seed << 32) + own)

    def _sum(self, values: Float[Tensor, " n"]) -> list[float]:
        """Sums over all processes."""
        found: Tensor = self.accelerator.reduce(values.to(self.accelerator.device), "sum")
        return found.tolist()

    def _average_gradients(self, asked: float) -> float:
        """Make of summed gradients those of the mean over all tokens, clipped; their norm."""
        # every process was given the mean over processes of what each had summed
        scale = self.accelerator.num_processes / asked
        parameters = [p for p in self.shared.parameters() if p.requires_grad]
        for parameter in parameters:
            if parameter.grad is None:  # an expert that no token was sent to: it has a state too
                parameter.grad = torch.zeros_like(parameter)
            parameter.grad.mul_(scale)
        clip = self.recipe.optimiser.clip_norm
        return float(self.accelerator.clip_grad_norm_(self.shared.parameters(), clip))

    def _give_up(
        self, suspect: PageBatch, rows: list[str], *, own_loss: float, loss: float, norm: float
    ) -> None:
        """Keep the batch that made a number of no use, and end.

        Raises:
            LightSeekError: Always.
        """
        if math.isfinite(loss) or not math.isfinite(own_loss):
            keep_bad_batch(self.folder, suspect, rows, rank=self.accelerator.process_index)
        raise LightSeekError(
            f"loss {loss:.4g}, gradient {norm:.4g} at step {self.progress.step}: the batch is in "
            f"{self.folder.bad_batch}, the last checkpoint is of step {self.folder.last_step()}; "
            "look at its rows, or lower optimiser.rate"
        )

    def _evaluate(self, report: PageReporter) -> bool:
        """Read held-out pages, once a step; keep the best model. False if it was interrupted."""
        if self.progress.evaluated == self.progress.step:
            return True
        if (read := self._read_held_out()) is None:
            return False
        loss, found = read
        best = self.progress.best_loss
        is_best = best is None or loss < best
        self.progress = replace(
            self.progress, evaluated=self.progress.step, best_loss=loss if is_best else best
        )
        report.evaluated(self.progress, loss, found, is_best=is_best)
        if is_best:
            self._save_copy(self.folder.path / "best")
        return True

    def _read_held_out(self) -> tuple[float, Score | None] | None:
        """Mean loss of held-out tokens, and what is read but by FSDP; nothing when interrupted."""
        self.shared.eval()
        sums = torch.zeros(2)
        found = Score()
        whole = self.accelerator.distributed_type.value != "FSDP"
        for drawn in self._batches_of(self.held_out):
            if self._sum(torch.tensor([float(self.interrupted)]))[0]:
                return None
            batch = drawn.to(self.accelerator.device)
            with torch.no_grad():
                part = self.shared(batch)
            sums += torch.stack([part.total, part.asked]).float().cpu()
            if whole:
                found += self._read(batch)
        total, asked, *counts = self._sum(torch.cat([sums, torch.tensor(astuple(found))]))
        return total / asked, Score(*map(int, counts)) if whole else None

    def _read(self, batch: PageBatch) -> Score:
        """What is read of a batch, against what is taught of it."""
        kept = (t[(t != IGNORED) & (t != self.tokenizer.eos_id)] for t in batch.targets)
        truths = [self.tokenizer.decode(ids.tolist()) for ids in kept]
        # no text has more tokens than bytes
        most = min(self.recipe.pages.longest, int(self.held_out.lengths.max()))
        with self.accelerator.autocast():
            texts = self.model.read(batch, self.tokenizer, most)
        return score_all(texts, truths)

    def _save(self) -> None:
        """Replace the checkpoint and the model beside it."""
        state = self.state.gather(self.shared, self.optimiser.optimizer)
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        self.folder.save(state, self.progress, rank=rank, world=world)
        self._save_copy(self.folder.model)

    def _save_copy(self, folder: Path) -> None:
        if self.recipe.adapts_model:
            learnt, model = self.state.learnt(self.shared), None
        else:
            learnt, model = None, self.state.copy(self.shared)
        if self.accelerator.is_main_process:
            if learnt is not None:
                save_learnt(folder, learnt, self.origin, self.progress)
            elif model is not None:
                save_copy(folder, model, self.tokenizer, self.origin, self.progress)
        self.accelerator.wait_for_everyone()

    def _wait_while_paused(self, report: PageReporter) -> None:
        if self.folder.pause_file.exists():
            report.paused()
        while self.folder.pause_file.exists() and not self.interrupted:
            time.sleep(1.0)

    def _interrupt(self, signal_number: int, frame: FrameType | None) -> None:
        self.interrupted = True
