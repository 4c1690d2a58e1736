"""How much work a step is, and how much of it this machine could do: for MFU and expected end."""

import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from lightseek.train.batch import Batch
from lightseek.train.loss import TrainedModel

MATRIX_SIDE = {"cpu": 1024, "cuda": 8192}


def peak_flops(device: torch.device, dtype: torch.dtype, seconds: float = 1.0) -> float:
    """Operations per second of a large matrix product on one process of this machine."""
    side = MATRIX_SIDE.get(device.type, 2048)
    a = torch.randn(side, side, device=device).to(dtype)
    b = a @ a  # the first product prepares the kernel
    _wait(device)
    start, products = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        b = a @ a
        products += 1
        _wait(device)
    assert b.shape == a.shape
    return products * 2 * side**3 / (time.perf_counter() - start)


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


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
