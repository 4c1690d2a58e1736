"""How the processes of a run share gradients and weights: Accelerate, with what it must be told."""

import os
from typing import Any

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy

from lightseek.errors import UsageError, require
from lightseek.train.pages.recipe import PageRecipe
from lightseek.train.run import PATIENCE


def make_accelerator(recipe: PageRecipe, device: str) -> Any:
    """What this process shares with the others, if there are any.

    Args:
        recipe: Says in what it is multiplied.
        device: `cpu`, or whatever `accelerate` finds.

    Raises:
        MissingExtraError: If accelerate is not installed.
        UsageError: If the run was launched with the first version of FSDP.
    """
    accelerate = require("accelerate", extra="train")
    settings = [
        # tokens of a batch need not reach every expert of a decoder
        accelerate.DistributedDataParallelKwargs(find_unused_parameters=True),
        accelerate.InitProcessGroupKwargs(timeout=PATIENCE),
    ]
    accelerator = accelerate.Accelerator(
        cpu=device == "cpu", mixed_precision=recipe.precision, kwargs_handlers=settings
    )
    if (plugin := getattr(accelerator.state, "fsdp_plugin", None)) is not None:
        _settle(accelerator, plugin)
    return accelerator


def _settle(accelerator: Any, plugin: Any) -> None:
    """Correct the settings of FSDP that the run was launched with."""
    if not accelerator.is_fsdp2:
        raise UsageError("weights are shared out by the second version of FSDP: fsdp_version: 2")
    # every process loads the weights: the first alone could not share tables that never learn
    plugin.cpu_ram_efficient_loading = False
    os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"  # transformers looks there
    # sums of losses and of gradients have more digits than bfloat16
    plugin.mixed_precision_policy = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if accelerator.mixed_precision == "bf16" else None,
        reduce_dtype=torch.float32,
        output_dtype=torch.float32,
    )


def sum_all_gradients(model: nn.Module) -> None:
    """Let processes sum the gradients of experts to which some of them sent no token.

    By default each leaves out those that it did not use, and adds what is left to the others'.

    Raises:
        UsageError: If torch is too old to do so.
    """
    if not isinstance(model, FSDPModule):
        return
    if not hasattr(model, "set_reduce_scatter_unused_params"):
        raise UsageError(
            f"FSDP of torch {torch.__version__} adds up wrong gradients: upgrade torch"
        )
    model.set_reduce_scatter_unused_params(True)
