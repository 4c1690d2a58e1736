"""Strips to tensors: what is read, what should come out, and where.

Batch k of a run is a function of the recipe and k alone, whatever the machine and however the
batch is split over processes: that is what makes a resumed run equal to an uninterrupted one.

Axes: B b strips, Y X pixels, L l tokens, y x glyph cells (8 x 4 px).
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lightseek.config import TOKEN_PX, ModelConfig, PlaceConfig
from lightseek.data.corpus import Corpus
from lightseek.data.cuttings import TypesetStrips
from lightseek.data.fonts import Face, load_faces, split_families, unseen_faces
from lightseek.data.layouts import PageSetter
from lightseek.data.lines import RealLines
from lightseek.data.loader import faults_of_workers, start_worker_server
from lightseek.data.strips import LINE_PX, StripRenderer, StripSample
from lightseek.errors import UsageError
from lightseek.model import Places
from lightseek.reader import PX_PER_CHARACTER, to_views
from lightseek.tokenizer import LATIN, Tokenizer
from lightseek.train.recipe import Recipe

IGNORED = -100
"""Target that no loss looks at."""
LENGTH_STEP = 16
"""Text lengths are padded to a multiple of this, so that few shapes occur."""
PARTS = 3
"""Texts of a batch are read in so many parts, the short ones without the padding of the long."""
HELD_OUT_SEED = 5


class Texts(NamedTuple):
    """Texts of like length, of some rows of a batch."""

    rows: slice
    ids: Int[Tensor, "b l"]
    targets: Int[Tensor, "b l"]
    places: Places
    """Where each token of `ids` stands."""


AnyTensors = TypeVar("AnyTensors", bound="Tensors")


@dataclass(frozen=True, slots=True)
class Tensors:
    """A batch: tensors, and what is said of them."""

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}

    def to(self: AnyTensors, device: torch.device) -> AnyTensors:
        """The batch on a device."""
        moved: dict[str, Any] = {name: value.to(device) for name, value in self.tensors().items()}
        return replace(self, **moved)


@dataclass(frozen=True, slots=True)
class Batch(Tensors):
    """Strips of one size, those with shorter texts first."""

    views: Float[Tensor, "B 1 Y X"]
    ids: Int[Tensor, "B L"]
    targets: Int[Tensor, "B L"]
    at_x: Int[Tensor, "B L"]
    """Bin of the last token, as it is fed to the decoder."""
    at_y: Int[Tensor, "B L"]
    to_x: Int[Tensor, "B L"]
    """Bin of the next token, as the place heads should say."""
    to_y: Int[Tensor, "B L"]
    glyphs: Int[Tensor, "B y x"]
    """Token id of the character over each cell, `IGNORED` where the loss does not look."""
    first_col: int
    """Column of the position tables under the left edge, in visual tokens."""

    @property
    def size(self) -> tuple[int, int]:
        """Pixels down and across each strip."""
        return self.views.shape[-2], self.views.shape[-1]

    def texts(self) -> Iterator["Texts"]:
        """What is to be written, the short texts apart from the long ones."""
        lengths = (self.targets != IGNORED).sum(1).tolist()
        for part in range(PARTS):
            rows = slice(part * len(lengths) // PARTS, (part + 1) * len(lengths) // PARTS)
            if rows.start < rows.stop:
                upto = slice(_whole_steps(max(1, *lengths[rows])))
                places = Places(self.at_x[rows, upto], self.at_y[rows, upto])
                yield Texts(rows, self.ids[rows, upto], self.targets[rows, upto], places)


class StripBatches(Dataset[Batch]):
    """The share of one process in every batch of a run, drawn when it is asked for.

    Args:
        recipe: What to draw.
        model: Whose tables and place bins the strips must fit.
        tokenizer: Gives the ids of text.
        held_out: Draw text and font families that are never drawn otherwise.
        rank: This process.
        world: Number of processes.

    Raises:
        UsageError: If the model does not read such strips.
    """

    def __init__(
        self,
        recipe: Recipe,
        model: ModelConfig,
        tokenizer: Tokenizer,
        *,
        held_out: bool = False,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if model.sam.channels != 1:
            raise UsageError(
                f"{model.name} reads pages in colour, not strips: train it by a recipe of pages, "
                "such as configs/stage1.toml"
            )
        if model.decoder.vocab_size != len(tokenizer):
            raise UsageError(
                f"{model.name} writes {model.decoder.vocab_size} symbols, strips show "
                f"{len(tokenizer)}: set decoder.vocab_size"
            )
        table = model.clip.table
        width, height = recipe.widest, recipe.most_lines * LINE_PX
        most = table.cols * TOKEN_PX, table.rows * TOKEN_PX
        if width > most[0] or height > most[1]:
            raise UsageError(
                f"strips of {width} x {height} px are larger than {model.name} reads: "
                f"{most[0]} x {most[1]} px"
            )
        self.recipe, self.model = recipe, model
        # without place heads bins are made all the same, and not looked at
        self.place = model.decoder.place or PlaceConfig(x_bins=1, y_bins=1, bin_px=TOKEN_PX)
        self.tokenizer, self.held_out = tokenizer, held_out
        self.rank, self.world = rank, world

    # what cannot be sent to a worker process is made in it, when it is first needed

    @cached_property
    def corpus(self) -> Corpus:
        """Text to draw.

        Raises:
            UsageError: If there is none.
        """
        return Corpus.load(Path(self.recipe.data.text), LATIN, held_out=self.held_out)

    @cached_property
    def renderer(self) -> StripRenderer:
        """What draws it."""
        return StripRenderer(self.faces, self.tokenizer.ids)

    @cached_property
    def new(self) -> tuple[Corpus, StripRenderer] | None:
        """What the model is to learn besides: text, and what draws it.

        Raises:
            UsageError: If a folder has no text or no fonts.
        """
        if (new := self.recipe.data.new) is None:
            return None
        corpus = Corpus.load(Path(new.text), LATIN, held_out=self.held_out)
        return corpus, StripRenderer(load_faces(Path(new.fonts), LATIN), self.tokenizer.ids)

    @cached_property
    def real_lines(self) -> RealLines | None:
        """Lines of real pages; none to evaluate on, for all of them are trained on.

        Raises:
            DataError: If the folder has none.
        """
        lines = self.recipe.data.lines
        if lines is None or self.held_out:
            return None
        return RealLines(Path(lines.folder), self.tokenizer.ids)

    @cached_property
    def typeset(self) -> TypesetStrips:
        """What cuts strips from typeset pages."""
        setter = PageSetter(Path(self.recipe.data.fonts), self.faces, self.corpus)
        return TypesetStrips(setter, self.tokenizer.ids)

    @cached_property
    def faces(self) -> list[Face]:
        """Faces of the families that training sees, or of those kept for evaluation.

        Of these, families that training sees under another name are left out.

        Raises:
            UsageError: If there are too few font families to keep some aside.
        """
        data = self.recipe.data
        faces, aside = load_faces(Path(data.fonts), LATIN), data.held_out_families
        if self.held_out:
            return unseen_faces(faces, held_out=aside, seed=HELD_OUT_SEED)
        return split_families(faces, held_out=aside, seed=HELD_OUT_SEED)[0]

    def __len__(self) -> int:
        """Steps of the run."""
        return self.recipe.steps

    def __getitem__(self, step: int) -> Batch:
        """Draw this process' strips of a step."""
        rng = random.Random(f"{self.recipe.seed} step {step}")
        stage = self.recipe.stage(step)
        width, lines = rng.choice(stage.widths), rng.choice(stage.lines)
        first_col = rng.randint(0, self.model.clip.table.cols - width // TOKEN_PX)
        difficulty = self.recipe.difficulty(step)
        slots = range(self.rank, self.recipe.strips(width, lines), self.world)
        rngs = [random.Random(f"{self.recipe.seed} step {step} strip {slot}") for slot in slots]
        samples = [self.draw(r, width, difficulty, lines) for r in rngs]
        return collate(samples, rngs, self.tokenizer, self.place, first_col)

    def draw(
        self, rng: random.Random, width: int, difficulty: float, lines: int = 1
    ) -> StripSample:
        """One strip with text that a strip of this size can hold."""
        data = self.recipe.data
        if lines == 1 and (real := self._draw_real(rng, width, difficulty)) is not None:
            return real
        share = data.typeset_share if lines == 1 else 0.0
        if share and rng.random() < share:
            sample = self.typeset.draw(rng, width, difficulty)
        else:
            new = self.new if data.new and rng.random() < data.new.share else None
            corpus, renderer = new or (self.corpus, self.renderer)
            text = corpus.sample(rng, lines * width // 5)
            if rng.random() < 0.22:  # headings, labels, ends of paragraphs
                text = " ".join(text.split(" ")[: rng.randint(1, 5)])
            sample = renderer.render(rng, text, width=width, lines=lines, difficulty=difficulty)
        # more than the reader waits for
        if len(sample.text) >= sample.image.size // PX_PER_CHARACTER:
            return self.draw(rng, width, difficulty, lines)
        return sample

    def _draw_real(self, rng: random.Random, width: int, difficulty: float) -> StripSample | None:
        """A real line as often as the recipe wants one, if one suits the strip."""
        lines = self.recipe.data.lines
        if lines is None or self.real_lines is None or rng.random() >= lines.share:
            return None
        return self.real_lines.draw(rng, width, difficulty)

    def draw_running(
        self,
        rng: random.Random,
        width: int,
        difficulty: float,
        lines: int = 1,
        renderer: StripRenderer | None = None,
    ) -> StripSample:
        """One strip with text as it was written: no changes, numbers or odd symbols."""
        text = self.corpus.as_written(rng, lines * width // 5)
        draw = (renderer or self.renderer).render
        return draw(rng, text, width=width, lines=lines, difficulty=difficulty)


def draw_ahead(batches: StripBatches, steps: range, *, workers: int) -> Iterator[Batch]:
    """Batches of these steps, in order, drawn by worker processes before they are asked for."""
    start_worker_server()
    loader = DataLoader(
        batches,
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        multiprocessing_context="forkserver",
    )
    with faults_of_workers():
        yield from loader


def collate(
    samples: Sequence[StripSample],
    rngs: Sequence[random.Random],
    tokenizer: Tokenizer,
    place: PlaceConfig,
    first_col: int,
) -> Batch:
    """Lay samples of one size side by side.

    Args:
        samples: Strips.
        rngs: The source of chance of each strip, for cells and shifts.
        tokenizer: Gives the ids of the text.
        place: Size and number of the place bins.
        first_col: Column under the left edge, in visual tokens; moves the bins across.
    """
    order = sorted(range(len(samples)), key=lambda index: len(samples[index].text))
    samples, rngs = [samples[i] for i in order], [rngs[i] for i in order]
    shape = (len(samples), _whole_steps(len(samples[-1].text) + 1))
    ids = np.full(shape, tokenizer.pad_id)
    targets = np.full(shape, IGNORED)
    at_x, at_y = np.full(shape, place.x_bins), np.full(shape, place.y_bins)
    to_x, to_y = np.zeros(shape, int), np.zeros(shape, int)
    shift = first_col * TOKEN_PX // place.bin_px
    for row, (sample, rng) in enumerate(zip(samples, rngs, strict=True)):
        count = len(sample.text)
        tokens = [tokenizer.ids[c] for c in sample.text]
        ids[row, : count + 1] = [tokenizer.bos_id, *tokens]
        targets[row, : count + 1] = [*tokens, tokenizer.eos_id]
        bins = (sample.places / place.bin_px).astype(int)
        to_x[row, : count + 1] = (bins[:, 0] + shift).clip(0, place.x_bins - 1)
        to_y[row, : count + 1] = bins[:, 1].clip(0, place.y_bins - 1)
        # the place fed back is one bin off three times in ten: reading must survive its own errors
        slips = [rng.choice((-1, 0, 1)) if rng.random() < 0.3 else 0 for _ in range(count)]
        at_x[row, 1 : count + 1] = (to_x[row, :count] + slips).clip(0, place.x_bins - 1)
        at_y[row, 1 : count + 1] = to_y[row, :count]
    pixels = np.stack([sample.image for sample in samples])
    glyphs = np.stack([choose_cells(s.glyphs, r) for s, r in zip(samples, rngs, strict=True)])
    return Batch(
        views=to_views(torch.from_numpy(pixels)),
        ids=torch.from_numpy(ids),
        targets=torch.from_numpy(targets),
        at_x=torch.from_numpy(at_x),
        at_y=torch.from_numpy(at_y),
        to_x=torch.from_numpy(to_x),
        to_y=torch.from_numpy(to_y),
        glyphs=torch.from_numpy(glyphs),
        first_col=first_col,
    )


def _whole_steps(length: int) -> int:
    return -(-length // LENGTH_STEP) * LENGTH_STEP


def choose_cells(glyphs: Int[np.ndarray, "y x"], rng: random.Random) -> Int[np.ndarray, "y x"]:
    """Half of the inked cells and a quarter as many empty ones; the rest is ignored."""
    chance = np.random.default_rng(rng.getrandbits(64)).random(glyphs.shape)
    inked = glyphs > 0
    share = 0.25 * inked.sum() / max(1, (~inked).sum())
    chosen = np.where(inked, chance < 0.5, chance < share)
    return np.where(chosen, glyphs, IGNORED).astype(np.int64)
