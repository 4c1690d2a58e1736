"""What a run leaves behind beside its checkpoint: models, adapters, the batch that it failed on.

RUN/model/       the last weights: `--model RUN/model`
RUN/best/        those with the lowest loss on held-out pages
RUN/bad-batch/   tensors and names of the rows whose loss was no number
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from lightseek.lora import Settings, merge_adapters, save_adapters
from lightseek.model import LightSeekOCR
from lightseek.presets import names_preset
from lightseek.tokenizer import Tokenizer
from lightseek.train.card import current_commit, write_record
from lightseek.train.checkpoint import RunFolder
from lightseek.train.pages.batch import PageBatch
from lightseek.train.pages.recipe import PageRecipe
from lightseek.train.pages.state import PageProgress
from lightseek.weights import find_model, lasting_name, sample_model, save_model


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """What makes the models of a run, for their record."""

    recipe: PageRecipe
    commit: str | None
    """Of the code, as the run began."""
    processes: int
    start: Path | None
    """Model folder that the run began with; none from nothing."""
    base_sample: str | None
    """Of that, as it was then: adapters are for these weights, whatever lies there later."""

    @classmethod
    def of(cls, recipe: PageRecipe, processes: int) -> "Origin":
        """Of a run that begins now."""
        start = None if names_preset(recipe.model) else find_model(recipe.model)
        sample = sample_model(start) if start and recipe.adapts_model else None
        return cls(
            recipe=recipe,
            commit=current_commit(),
            processes=processes,
            start=start,
            base_sample=sample,
        )


def save_learnt(
    folder: Path, learnt: dict[str, Tensor], origin: Origin, progress: PageProgress
) -> None:
    """Write what a model with adapters has learnt, which is enough to read with them.

    Args:
        folder: Gets it.
        learnt: All that is not frozen, by name.
        origin: Of it.
        progress: Of the run.
    """
    recipe = origin.recipe
    assert recipe.lora is not None, "there are no adapters to save"
    pages = recipe.pages
    settings = Settings(
        base=lasting_name(recipe.model),
        mode=pages.mode,
        lora=recipe.lora,
        prompt=pages.prompt,
        base_sample=origin.base_sample,
    )
    save_adapters(folder, learnt, settings)
    _write_record(folder, origin, progress)


def save_copy(
    folder: Path,
    model: LightSeekOCR,
    tokenizer: Tokenizer,
    origin: Origin,
    progress: PageProgress,
) -> None:
    """Write a whole model.

    Args:
        folder: Gets the model.
        model: A copy: its adapters are merged for good.
        tokenizer: Of the model.
        origin: Of the model.
        progress: Of the run.
    """
    if origin.recipe.lora is not None:
        merge_adapters(model)
    save_model(folder, model, tokenizer)
    _write_record(folder, origin, progress)


def _write_record(folder: Path, origin: Origin, progress: PageProgress) -> None:
    write_record(
        folder,
        origin.recipe,
        progress,
        commit=origin.commit,
        processes=origin.processes,
        start=origin.start,
    )


def keep_bad_batch(run: RunFolder, batch: PageBatch, rows: Sequence[str], *, rank: int) -> None:
    """Write the tensors of a batch and the names of its rows.

    Args:
        run: Gets them.
        batch: The one whose loss is no number, or the last of the step if none is.
        rows: Of the whole step: a gradient does not tell which of them made it so.
        rank: This process.
    """
    file = run.keep_batch(batch.tensors(), rank=rank)
    told = {"rows": batch.names, "grids": batch.grids, "rows_of_step": rows}
    # names of files may be in another encoding, which JSON escapes
    file.with_suffix(".json").write_text(f"{json.dumps(told, indent=1)}\n", encoding="utf-8")
