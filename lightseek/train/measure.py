"""How much work a step is: for MFU and the expected end."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from lightseek.train.batch import Batch
from lightseek.train.loss import TrainedModel


def step_flops(trained: TrainedModel, batch: Batch, *, glyphs_only: bool) -> float:
    """Operations of forward and backward over a batch; on the way back, what is frozen has none."""
    learns = [parameter for parameter in trained.parameters() if parameter.requires_grad]
    with FlopCounterMode(display=False) as counter:
        encode, trained.encode = trained.encode, trained.model.encoder.forward
        losses = trained(batch, glyphs_only=glyphs_only)
        trained.encode = encode
        # gradients that are held are left alone
        torch.autograd.grad(sum(part.total for part in losses), learns, allow_unused=True)
    return float(counter.get_total_flops())
