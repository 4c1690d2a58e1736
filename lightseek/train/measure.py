"""How much work a step is: for MFU and the expected end."""

from dataclasses import replace
from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from lightseek.train.batch import IGNORED, Batch
from lightseek.train.loss import TrainedModel


class Work(NamedTuple):
    """Operations of forward and backward that a run needs; those of padding are not among them."""

    strip: float
    """Of a strip, whatever it says."""
    token: float
    """Of each token of its text, the end included."""


def useful_work(trained: TrainedModel, batch: Batch, *, glyphs_only: bool) -> Work:
    """What strips of the size of this batch take: a strip is measured with a long and a short text.

    Between them attention is taken for as dear as the number of tokens.
    """
    length = batch.ids.shape[1]
    half = length // 2
    long, short = (
        step_flops(trained, _one_full(batch, tokens), glyphs_only=glyphs_only)
        for tokens in (length, half)
    )
    token = (long - short) / (length - half)
    return Work(long - length * token, token)


def _one_full(batch: Batch, length: int) -> Batch:
    """One strip, all of whose tokens count."""
    rows = slice(1)
    tokens = {
        name: getattr(batch, name)[rows, :length]
        for name in ("ids", "targets", "at_x", "at_y", "to_x", "to_y")
    }
    tokens["targets"] = tokens["targets"].masked_fill(tokens["targets"] == IGNORED, 0)
    return replace(batch, views=batch.views[rows], glyphs=batch.glyphs[rows], **tokens)


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
