"""The state of a run by the names of parameters, however many processes share them, and back.

What learns is in a checkpoint, with the state of the optimiser; what is frozen is read again from
where the run began. Only safetensors, whatever wraps the model: plain, DDP or FSDP.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from lightseek.config import ModelConfig
from lightseek.errors import UsageError
from lightseek.model import LightSeekOCR
from lightseek.shards import check_shapes
from lightseek.train.optimiser import NOTHING_LEARNS
from lightseek.train.pages.batch import PageModel
from lightseek.train.pages.recipe import AdamWRecipe, PageRecipe
from lightseek.train.pages.start import prepare_parts
from lightseek.weights import empty_model

WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)
LEARNING = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
LEARNT_ONLY = StateDictOptions(full_state_dict=True, strict=False)
INSIDE = "model."
"""What `PageModel` puts before the names of `LightSeekOCR`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PageProgress:
    """How far a run is, and which pages come next."""

    step: int
    """Steps done."""
    pages: int
    """Pages read."""
    tokens: int
    """Tokens of text learnt from."""
    seconds: float
    """Time spent reading pages and training, pauses and evaluation left out."""
    evaluated: int
    """The last step at which held-out pages were read."""
    best_loss: float | None
    """The lowest on held-out pages so far."""
    loader: dict[str, int]
    """Of `BatchLoader`."""


def make_optimiser(trained: PageModel, recipe: AdamWRecipe) -> torch.optim.AdamW:
    """AdamW over what learns; every group keeps its full rate under `full_rate`.

    Args:
        trained: Its frozen parameters are left out.
        recipe: Rates and decay.

    Raises:
        UsageError: If a rate is that of no part, or all are frozen.
    """
    for part in recipe.rates:
        if not any(f"{n}.".startswith(f"{part}.") for n, _ in trained.model.named_parameters()):
            raise UsageError(f"the model has no part {part} for a rate, but {trained.model.parts}")
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in trained.model.named_parameters():
        if parameter.requires_grad:
            decay = recipe.decay if parameter.ndim > 1 else 0.0
            groups.setdefault((recipe.rate_of(name), decay), []).append(parameter)
    if not groups:
        raise UsageError(NOTHING_LEARNS)
    return torch.optim.AdamW(
        {"params": found, "lr": rate, "full_rate": rate, "weight_decay": decay}
        for (rate, decay), found in groups.items()
    )


class SharedState:
    """A model and its optimiser as one process holds them, perhaps in part.

    Args:
        trained: Before it is shared out.
        recipe: Of the run.
        encoder: File with what the run lets go of its encoder, if it does.
    """

    def __init__(self, trained: PageModel, recipe: PageRecipe, encoder: Path | None) -> None:
        self._recipe, self._config, self._encoder = recipe, trained.model.config, encoder
        self._shapes = {
            name: tuple(parameter.shape)
            for name, parameter in trained.named_parameters()
            if parameter.requires_grad
        }

    def gather(
        self, shared: torch.nn.Module, optimiser: torch.optim.Optimizer
    ) -> dict[str, Tensor]:
        """What a checkpoint holds, in the first process; all call this, the others get nothing."""
        weights: dict[str, Any] = get_model_state_dict(shared, options=LEARNING)
        states: Any = get_optimizer_state_dict(shared, optimiser, options=WHOLE)
        tensors = {name: weights[name] for name in self._shapes if name in weights}
        for name, state in states.get("state", {}).items():
            tensors |= {f"{name}/{key}": torch.as_tensor(value) for key, value in state.items()}
        return {name: tensor.contiguous() for name, tensor in tensors.items()}

    def restore(
        self,
        shared: torch.nn.Module,
        optimiser: torch.optim.Optimizer,
        tensors: dict[str, Tensor],
        *,
        source: str,
    ) -> None:
        """Go on with what `gather` found.

        Raises:
            ModelError: If it was found in a model of another shape.
        """
        weights: dict[str, Any] = {name: t for name, t in tensors.items() if "/" not in name}
        check_shapes(self._shapes, {n: tuple(t.shape) for n, t in weights.items()}, source=source)
        states: dict[str, Any] = {}
        for name, tensor in tensors.items():
            parameter, slash, key = name.partition("/")
            if slash:
                states.setdefault(parameter, {})[key] = tensor
        now: Any = get_optimizer_state_dict(shared, optimiser)
        set_model_state_dict(shared, weights, options=LEARNT_ONLY)
        set_optimizer_state_dict(
            shared,
            optimiser,
            {"state": states, "param_groups": now["param_groups"]},
            options=StateDictOptions(full_state_dict=True),
        )

    def learnt(self, shared: torch.nn.Module) -> dict[str, Tensor]:
        """All that is not frozen, in the first process; all call this, the others get nothing."""
        weights: dict[str, Any] = get_model_state_dict(shared, options=LEARNING)
        return {n.removeprefix(INSIDE): weights[n] for n in self._shapes if n in weights}

    def copy(self, shared: torch.nn.Module) -> LightSeekOCR | None:
        """The whole model with its adapters, in the first process; all call this.

        What adapters are added to is a copy: merging does not reach the model that is trained.
        """
        weights: dict[str, Any] = get_model_state_dict(shared, options=WHOLE)
        if not weights:
            return None
        inside = {name.removeprefix(INSIDE): tensor for name, tensor in weights.items()}
        if self._encoder is not None:
            inside |= load_file(self._encoder)
        model = empty_twin(self._config, self._recipe)
        copied = {n: t.clone() if ".base_layer." in n else t for n, t in inside.items()}
        model.load_state_dict(copied, assign=True)
        return model.eval()


def empty_twin(config: ModelConfig, recipe: PageRecipe) -> LightSeekOCR:
    """A model like that of a run, adapters included, whose tensors have no memory."""
    model = empty_model(config)
    with torch.device("meta"):
        prepare_parts(model, recipe)
    return model
