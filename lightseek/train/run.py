"""The training loop: one function a process, and the one that starts them all.

On a CPU two processes of one thread each are faster than one of two, and batches are drawn
inside each; on a GPU one process trains while worker processes draw.
"""

import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from types import FrameType

import torch
import torch.distributed as dist
from torch import nn

from lightseek.attention import Mlp
from lightseek.bench.machine import matrix_rate
from lightseek.config import LanguageConfig, ModelConfig
from lightseek.cross import CrossAttention
from lightseek.data.strips import LINE_PX
from lightseek.decoder import SelfAttention, SwiGlu
from lightseek.encoder import Attention, Residual
from lightseek.errors import Interrupted, LightSeekError, UsageError
from lightseek.eval.metrics import Score
from lightseek.fusion import EMBEDDING_STD
from lightseek.lora import Settings, add_adapters, learnt_of, save_adapters
from lightseek.model import LightSeekOCR
from lightseek.presets import preset
from lightseek.tokenizer import character_tokenizer
from lightseek.train.batch import Batch, StripBatches, draw_ahead
from lightseek.train.card import current_commit, write_record
from lightseek.train.checkpoint import Progress, RunFolder, hash_listing, hash_sizes
from lightseek.train.exam import examine, held_out_strips
from lightseek.train.loss import TrainedModel, weigh
from lightseek.train.measure import Work, useful_work
from lightseek.train.optimiser import SharedOptimiser
from lightseek.train.processes import interrupts_to, run_processes
from lightseek.train.progress import Means, Reporter, Silence, make_reporter
from lightseek.train.recipe import Recipe
from lightseek.views import MODES
from lightseek.weights import (
    WEIGHTS,
    find_model,
    hash_model,
    lasting_name,
    load_weights,
    read_config,
    sample_model,
    save_model,
)

PATIENCE = timedelta(days=7)
"""A paused run waits this long in a collective."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What every process is told."""

    recipe: Recipe
    folder: RunFolder
    device: str
    world: int
    start: str | Path | None
    """Model to start from."""
    save_minutes: float
    stop_after: int | None
    """Steps after which to save and stop, the recipe going on."""
    meeting: Path
    """Folder in which the processes find each other."""

    @property
    def mistake(self) -> Path:
        """What a process says that met a mistake of the user."""
        return self.meeting / "mistake"


def train(
    recipe: Recipe,
    out: Path,
    *,
    device: str,
    processes: int | None = None,
    start: str | Path | None = None,
    save_minutes: float = 5.0,
    stop_after: int | None = None,
) -> None:
    """Run a recipe, from its last checkpoint if there is one.

    Args:
        recipe: What to do.
        out: Run folder.
        device: `cpu`, `cuda` or `mps`.
        processes: Number of processes; by default one a core, two at most, and one on a GPU.
        start: Model whose weights the run begins with.
        save_minutes: Time between checkpoints.
        stop_after: Steps after which to save and stop.

    Raises:
        Interrupted: If it was asked to end; what is done is saved.
        LightSeekError: If the folder holds a run of another recipe, or the recipe names a model,
            fonts or text that are not there or do not fit.
    """
    if recipe.lora is not None and start is None:
        raise UsageError("adapters are made for a model: name it, such as --from nano")
    world = processes or (min(2, os.cpu_count() or 1) if device == "cpu" else 1)
    width, lines = recipe.largest
    if recipe.strips(width, lines) < world:
        raise UsageError(
            f"{recipe.units} units are too few strips of {width} px and {lines} lines for {world} "
            "processes: raise units or lower --processes"
        )
    folder = RunFolder(out)
    with folder.held(), tempfile.TemporaryDirectory() as meeting:
        folder.claim(recipe, _hash_start(recipe, start))
        job = Job(
            recipe=recipe,
            folder=folder,
            device=device,
            world=world,
            start=start,
            save_minutes=save_minutes,
            stop_after=stop_after,
            meeting=Path(meeting),
        )
        if world == 1:
            work(0, job)
        else:
            run_processes(work, (job,), count=world, mistake=job.mistake)


def work(rank: int, job: Job) -> None:
    """One process of a run."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    if job.world > 1:
        dist.init_process_group(
            "gloo",
            init_method=f"file://{job.meeting}/processes",
            rank=rank,
            world_size=job.world,
            timeout=PATIENCE,
        )
    torch.set_flush_denormal(True)
    try:
        Trainer(rank, job).run()
    except LightSeekError as mistake:
        job.mistake.write_text(str(mistake), encoding="utf-8")
        raise
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)
        if job.world > 1:
            dist.destroy_process_group()


class Trainer:
    """The loop of one process."""

    def __init__(self, rank: int, job: Job) -> None:
        self.rank, self.job, self.recipe = rank, job, job.recipe
        self.commit = current_commit()
        self.start = None if job.start is None else find_model(job.start)
        # adapters are for the weights as they are now, whatever lies there later
        self.base_sample = sample_model(job.start) if job.recipe.lora and job.start else None
        self.device = torch.device(job.device)
        self.tokenizer = character_tokenizer()
        config = trained_config(job.recipe)
        self.batches = StripBatches(job.recipe, config, self.tokenizer, rank=rank, world=job.world)
        self.held_out = [] if rank else held_out_strips(job.recipe, config, self.tokenizer)
        model = make_model(job, config)
        self.trained = TrainedModel(
            model, glyph_maps=job.recipe.loss.glyphs > 0, compile_encoder=job.recipe.compile
        )
        self.trained.to(device=self.device, dtype=torch.bfloat16).train()
        self.optimiser = SharedOptimiser(
            self.trained, job.recipe.optimiser, rank=rank, world=job.world
        )
        self.progress = Progress(step=0, strips=0, flops=0.0, seconds=0.0)
        saved = job.folder.load()
        if saved is not None:
            tensors, self.progress = saved
            self.optimiser.load_state(tensors)
        self.work: dict[tuple[tuple[int, int], bool], Work] = {}
        self.interrupted = False

    def run(self) -> None:
        """Train to the end of the recipe, or until asked to stop."""
        steps = self.recipe.steps
        if self.progress.step >= steps and self.job.folder.is_finished(steps):
            return  # its record says how it was made
        peak = self.job.world * matrix_rate(torch.bfloat16, self.device)
        with interrupts_to(self._interrupt), self.job.folder.told_if_full():
            with make_reporter(
                self.rank, self.job.folder, self.recipe, self.progress, peak
            ) as report:
                self._train(report)
            self._save()
        if self.interrupted and self.job.world == 1:  # else the one that started them says so
            raise Interrupted

    def _train(self, report: Reporter | Silence) -> None:
        first, last = self.progress.step, self.recipe.steps
        if self.job.stop_after is not None:
            last = min(last, first + self.job.stop_after)
        batches = self._draw(range(first, last))
        saved_at = time.monotonic()
        for step in range(first, last):
            self._wait_while_paused(report)
            started = time.monotonic()
            batch = next(batches)
            drawing = time.monotonic() - started
            due = started - saved_at > self.job.save_minutes * 60
            means, stop, save = self._step(step, batch.to(self.device), due=due)
            self._advance(batch, means.tokens, time.monotonic() - started, step)
            report.stepped(self.progress, means, drawing)
            if self.progress.step % self.recipe.evaluate_every == 0 and self.rank == 0:
                report.evaluated(self.progress, self._evaluate())
            if stop:
                return
            if save:
                self._save()
                saved_at = time.monotonic()

    def _draw(self, steps: range) -> Iterator[Batch]:
        """Batches of these steps: drawn here on a CPU, by workers beside a GPU."""
        if self.device.type == "cpu":
            return (self.batches[step] for step in steps)
        return draw_ahead(self.batches, steps, workers=max(1, (os.cpu_count() or 2) - 1))

    def _step(self, step: int, batch: Batch, *, due: bool) -> tuple[Means, bool, bool]:
        """Forward, backward, update; says whether any process wants to stop or save."""
        stage = self.recipe.stage(step)
        self._measure(batch, glyphs_only=stage.glyphs_only)
        # what adapters drop is a function of step and process alone, so that a run resumes exactly
        torch.manual_seed((self.recipe.seed << 32) + step * self.job.world + self.rank)
        losses = self.trained(batch, glyphs_only=stage.glyphs_only)
        wishes = [float(self.interrupted), float(due and self.rank == 0)]
        sums = torch.cat(
            [torch.stack([v.detach() for part in losses for v in part]).cpu(), torch.tensor(wishes)]
        )
        if self.job.world > 1:
            dist.all_reduce(sums)
        totals, hits, counts = sums[:-2].view(len(losses), 3).T
        loss = weigh(losses, counts.to(self.device), self.recipe.loss)
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types for it
        try:
            norm = self.optimiser.step(self.recipe.rate(step))
        except LightSeekError as fault:
            file = self.job.folder.keep_batch(batch.tensors(), rank=self.rank)
            raise LightSeekError(f"step {step}: {fault}; its strips: {file}") from fault
        means = Means.of(totals, hits, counts, norm=norm, rate=self.recipe.rate(step))
        return means, bool(sums[-2] > 0), bool(sums[-1] > 0)

    def _measure(self, batch: Batch, *, glyphs_only: bool) -> None:
        """Count the operations that strips of this size take, once."""
        key = (batch.size, glyphs_only)
        if key not in self.work:
            self.work[key] = useful_work(self.trained, batch, glyphs_only=glyphs_only)

    def _advance(self, batch: Batch, tokens: int, seconds: float, step: int) -> None:
        height, width = batch.size
        strips = self.recipe.strips(width, height // LINE_PX)
        work = self.work[batch.size, self.recipe.stage(step).glyphs_only]
        self.progress = Progress(
            step=step + 1,
            strips=self.progress.strips + strips,
            flops=self.progress.flops + strips * work.strip + tokens * work.token,
            seconds=self.progress.seconds + seconds,
        )

    def _evaluate(self) -> Score:
        """Read held-out strips in held-out fonts."""
        self.trained.eval()
        found = examine(self.trained.model, self.tokenizer, self.held_out)
        self.trained.train()
        return found

    def _save(self) -> None:
        state = self.optimiser.state()
        self.job.folder.save(state, self.progress, rank=self.rank, world=self.job.world)
        if self.rank == 0:
            self._save_model(self.job.folder.model)

    def _save_model(self, folder: Path) -> None:
        start, model = self.job.start, self.trained.model
        if self.recipe.lora is not None and start is not None:
            settings = Settings(
                base=lasting_name(start),
                mode=model.config.mode,
                lora=self.recipe.lora,
                base_sample=self.base_sample,
            )
            save_adapters(folder, learnt_of(model), settings)
        else:
            save_model(folder, model, self.tokenizer)
        write_record(
            folder,
            self.recipe,
            self.progress,
            commit=self.commit,
            processes=self.job.world,
            start=self.start,
        )

    def _wait_while_paused(self, report: Reporter | Silence) -> None:
        if self.job.folder.pause_file.exists():
            report.paused(self.job.folder)
        while self.job.folder.pause_file.exists() and not self.interrupted:
            time.sleep(1.0)

    def _interrupt(self, signal_number: int, frame: FrameType | None) -> None:
        self.interrupted = True


def trained_config(recipe: Recipe) -> ModelConfig:
    """The preset, without heads that nothing teaches."""
    config = preset(recipe.model)
    if recipe.loss.places or isinstance(config.decoder, LanguageConfig):
        return config
    return replace(config, decoder=replace(config.decoder, place=None))


def make_model(job: Job, config: ModelConfig) -> LightSeekOCR:
    """A model with fresh weights, or with those that the run starts from.

    Raises:
        ModelError: If the weights are of a model with other sizes.
        UsageError: If it has no part or layer that the recipe freezes or adapts.
    """
    model = fresh_model(config, job.recipe.seed)
    if job.start is not None:
        folder = find_model(job.start)
        if read_config(folder)[0].mode in MODES:
            raise UsageError(
                f"{job.start} reads whole pages, not strips: train it by a recipe of pages, "
                "such as configs/finetune-pages.toml"
            )
        weights = folder / WEIGHTS
        load_weights(model, weights, device=torch.device("cpu"), dtype=torch.float32)
    model.freeze(job.recipe.freeze)
    if job.recipe.lora is not None:
        add_adapters(model, job.recipe.lora)
    return model


def fresh_model(config: ModelConfig, seed: int) -> LightSeekOCR:
    """A model that knows nothing."""
    torch.manual_seed(seed)
    model = LightSeekOCR(config)
    silence_residuals(model)
    nn.init.normal_(model.embedding.weight, std=EMBEDDING_STD)
    return model


def _hash_start(recipe: Recipe, start: str | Path | None) -> str:
    """A hash of what a run begins with and its recipe only names."""
    hashes = (hash_sizes(recipe.model), None if start is None else hash_model(start))
    return " ".join([*filter(None, hashes), hash_listing(recipe.data.folders)])


def silence_residuals(part: nn.Module) -> None:
    """Zero the last layer of every residual branch: a fresh part begins as its skip path."""
    for module in part.modules():
        last: nn.Module | None = None
        if isinstance(module, Attention | SelfAttention | CrossAttention):
            last = module.out
        elif isinstance(module, Mlp | SwiGlu):
            last = module.down
        elif isinstance(module, Residual):
            last = module.conv2
        if isinstance(last, nn.Linear | nn.Conv2d):
            nn.init.zeros_(last.weight)
            if last.bias is not None:
                nn.init.zeros_(last.bias)
