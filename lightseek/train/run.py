"""The training loop: one function a process, and the one that starts them all.

On a CPU two processes of one thread each are faster than one of two, and batches are drawn
inside each; on a GPU one process trains while worker processes draw.
"""

import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import FrameType

import torch
import torch.distributed as dist
from torch import nn
from torch.multiprocessing.spawn import spawn
from torch.utils.data import DataLoader

from lightseek.attention import Mlp
from lightseek.config import preset
from lightseek.data.corpus import Corpus
from lightseek.data.fonts import load_faces, split_families
from lightseek.data.strips import StripRenderer, StripSample
from lightseek.decoder import SelfAttention
from lightseek.encoder import Attention, Residual
from lightseek.eval.metrics import Score, score
from lightseek.model import LightSeekOCR
from lightseek.reader import read_strips
from lightseek.tokenizer import LATIN, Tokenizer, character_tokenizer
from lightseek.train.batch import Batch, StripBatches
from lightseek.train.checkpoint import Progress, RunFolder
from lightseek.train.loss import TrainedModel, weigh
from lightseek.train.measure import peak_flops, step_flops
from lightseek.train.optimiser import SharedOptimiser
from lightseek.train.progress import Means, make_reporter
from lightseek.train.recipe import UNIT_PX, Recipe
from lightseek.weights import WEIGHTS, find_model, load_weights, save_model

PATIENCE = timedelta(days=7)
"""A paused run waits this long in a collective."""
HELD_OUT_STRIPS = 64
HELD_OUT_SEED = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What every process is told."""

    recipe: Recipe
    folder: RunFolder
    device: str
    world: int
    start: Path | None
    """Model folder to start from."""
    save_minutes: float
    stop_after: int | None
    """Steps after which to save and stop, the recipe going on."""
    rendezvous: str


def train(
    recipe: Recipe,
    out: Path,
    *,
    device: str,
    processes: int | None = None,
    start: Path | None = None,
    save_minutes: float = 5.0,
    stop_after: int | None = None,
) -> None:
    """Run a recipe, from its last checkpoint if there is one.

    Args:
        recipe: What to do.
        out: Run folder.
        device: `cpu`, `cuda` or `mps`.
        processes: Number of processes; by default one a core, two at most, and one on a GPU.
        start: Model folder whose weights the run begins with.
        save_minutes: Time between checkpoints.
        stop_after: Steps after which to save and stop.

    Raises:
        UsageError: If the folder holds a run of another recipe.
    """
    folder = RunFolder(out)
    folder.claim(recipe)
    world = processes or (min(2, os.cpu_count() or 1) if device == "cpu" else 1)
    if device == "cpu":
        os.environ["OMP_NUM_THREADS"] = "1"  # read by the processes that are spawned below
    with tempfile.TemporaryDirectory() as meeting:
        job = Job(
            recipe=recipe,
            folder=folder,
            device=device,
            world=world,
            start=start,
            save_minutes=save_minutes,
            stop_after=stop_after,
            rendezvous=f"file://{meeting}/processes",
        )
        if world == 1:
            work(0, job)
        else:
            spawn(work, args=(job,), nprocs=world)


def work(rank: int, job: Job) -> None:
    """One process of a run."""
    if job.world > 1:
        torch.set_num_threads(1)
        dist.init_process_group(
            "gloo",
            init_method=job.rendezvous,
            rank=rank,
            world_size=job.world,
            timeout=PATIENCE,
        )
    torch.set_flush_denormal(True)
    try:
        Trainer(rank, job).run()
    finally:
        if job.world > 1:
            dist.destroy_process_group()


class Trainer:
    """The loop of one process."""

    def __init__(self, rank: int, job: Job) -> None:
        self.rank, self.job, self.recipe = rank, job, job.recipe
        self.device = torch.device(job.device)
        self.tokenizer = character_tokenizer()
        self.batches, self.held_out = make_data(job, rank, self.tokenizer)
        model = make_model(job)
        self.trained = TrainedModel(model, compile_encoder=job.recipe.compile)
        self.trained.to(device=self.device, dtype=torch.bfloat16).train()
        self.optimiser = SharedOptimiser(
            self.trained, job.recipe.optimiser, rank=rank, world=job.world
        )
        self.progress = Progress(step=0, strips=0, flops=0.0, seconds=0.0)
        saved = job.folder.load()
        if saved is not None:
            tensors, self.progress = saved
            self.optimiser.load_state(tensors)
        self.flops: dict[tuple[int, bool], float] = {}
        self.interrupted = False

    def run(self) -> None:
        """Train to the end of the recipe, or until asked to stop."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._interrupt)
        first, last = self.progress.step, self.recipe.steps
        if self.job.stop_after is not None:
            last = min(last, first + self.job.stop_after)
        peak = self.job.world * peak_flops(self.device, torch.bfloat16)
        saved_at = time.monotonic()
        with make_reporter(self.rank, self.job.folder, self.recipe, self.progress, peak) as report:
            for step, batch in zip(range(first, last), self._draw(first, last), strict=True):
                self._wait_while_paused()
                due = time.monotonic() - saved_at > self.job.save_minutes * 60
                started = time.monotonic()
                means, stop, save = self._step(step, batch.to(self.device), due=due)
                self._advance(batch, time.monotonic() - started, step)
                report.stepped(self.progress, means)
                if stop:
                    break
                if save:
                    self._save()
                    saved_at = time.monotonic()
                if self.progress.step % self.recipe.evaluate_every == 0 and self.rank == 0:
                    report.evaluated(self.progress, self._evaluate())
        self._save()

    def _draw(self, first: int, last: int) -> Iterator[Batch]:
        """Batches of these steps: drawn here on a CPU, by workers beside a GPU."""
        steps = range(first, last)
        if self.device.type == "cpu":
            return (self.batches[step] for step in steps)
        return iter(
            DataLoader(
                self.batches,
                batch_size=None,
                sampler=steps,
                num_workers=max(1, (os.cpu_count() or 2) - 1),
                prefetch_factor=4,
                multiprocessing_context="forkserver",
            )
        )

    def _step(self, step: int, batch: Batch, *, due: bool) -> tuple[Means, bool, bool]:
        """Forward, backward, update; says whether any process wants to stop or save."""
        stage = self.recipe.stage(step)
        self._count(batch, glyphs_only=stage.glyphs_only)
        losses = self.trained(batch, glyphs_only=stage.glyphs_only)
        wishes = [float(self.interrupted), float(due and self.rank == 0)]
        sums = torch.cat(
            [torch.stack([v.detach() for part in losses for v in part]).cpu(), torch.tensor(wishes)]
        )
        if self.job.world > 1:
            dist.all_reduce(sums)
        totals, hits, counts = sums[:-2].view(len(losses), 3).T
        weigh(losses, counts.to(self.device), self.recipe.loss).backward()
        norm = self.optimiser.step(self.recipe.rate(step))
        means = Means.of(totals, hits, counts, norm=norm, rate=self.recipe.rate(step))
        return means, bool(sums[-2] > 0), bool(sums[-1] > 0)

    def _count(self, batch: Batch, *, glyphs_only: bool) -> None:
        """Measure the operations a strip of this width takes, once."""
        key = (batch.width, glyphs_only)
        if key not in self.flops:
            total = step_flops(self.trained, batch, glyphs_only=glyphs_only)
            self.flops[key] = total / len(batch.ids)

    def _advance(self, batch: Batch, seconds: float, step: int) -> None:
        strips = self.recipe.units * UNIT_PX // batch.width
        each = self.flops[batch.width, self.recipe.stage(step).glyphs_only]
        self.progress = Progress(
            step=step + 1,
            strips=self.progress.strips + strips,
            flops=self.progress.flops + strips * each,
            seconds=self.progress.seconds + seconds,
        )

    def _evaluate(self) -> Score:
        """Read held-out strips in held-out fonts."""
        self.trained.eval()
        read = read_strips(self.trained.model, self.tokenizer, [s.image for s in self.held_out])
        self.trained.train()
        pairs = zip(read, self.held_out, strict=True)
        return sum((score(r.text, s.text) for r, s in pairs), start=Score())

    def _save(self) -> None:
        state = self.optimiser.state()
        self.job.folder.save(state, self.progress, rank=self.rank, world=self.job.world)
        if self.rank == 0:
            save_model(self.job.folder.model, self.trained.model, self.tokenizer)

    def _wait_while_paused(self) -> None:
        while self.job.folder.pause_file.exists() and not self.interrupted:
            time.sleep(1.0)

    def _interrupt(self, signal_number: int, frame: FrameType | None) -> None:
        self.interrupted = True


def make_data(job: Job, rank: int, tokenizer: Tokenizer) -> tuple[StripBatches, list[StripSample]]:
    """Batches of a run, and strips of text and font families that no batch ever shows."""
    recipe = job.recipe
    texts = Path(recipe.data.text)
    faces = load_faces(Path(recipe.data.fonts), LATIN)
    seen, unseen = split_families(faces, held_out=recipe.data.held_out_families, seed=HELD_OUT_SEED)
    config = preset(recipe.model)
    batches = StripBatches(
        recipe,
        config,
        Corpus.load(texts, LATIN),
        StripRenderer(seen, tokenizer.ids),
        tokenizer,
        rank=rank,
        world=job.world,
    )
    if rank > 0:
        return batches, []
    held_out = StripBatches(
        recipe,
        config,
        Corpus.load(texts, LATIN, held_out=True),
        StripRenderer(unseen, tokenizer.ids),
        tokenizer,
    )
    rng = random.Random(HELD_OUT_SEED)
    width = max(recipe.stages[-1].widths)
    return batches, [held_out.draw(rng, width, 1.0) for _ in range(HELD_OUT_STRIPS)]


def make_model(job: Job) -> LightSeekOCR:
    """A model with fresh weights, or with those that the run starts from.

    Raises:
        ModelError: If the weights are of a model with other sizes.
    """
    torch.manual_seed(job.recipe.seed)
    model = LightSeekOCR(preset(job.recipe.model))
    if job.start is None:
        silence_residuals(model)
        return model
    folder = find_model(job.start)
    load_weights(model, folder / WEIGHTS, device=torch.device("cpu"), dtype=torch.float32)
    return model


def silence_residuals(model: LightSeekOCR) -> None:
    """Zero the last layer of every residual branch: a fresh model begins as its skip path."""
    for module in model.modules():
        last: nn.Module | None = None
        if isinstance(module, Attention | SelfAttention):
            last = module.out
        elif isinstance(module, Mlp):
            last = module.down
        elif isinstance(module, Residual):
            last = module.conv2
        if isinstance(last, nn.Linear | nn.Conv2d):
            nn.init.zeros_(last.weight)
            if last.bias is not None:
                nn.init.zeros_(last.bias)
    nn.init.normal_(model.embedding.weight, std=0.02)
