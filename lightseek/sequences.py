"""What generation asks of a decoder: sequences that are being written.

Every kind of decoder has its own, with its own cache; `lightseek.generate` is the same for all.

Axes: B R sequences before and after some have left, D width.
"""

from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor


@runtime_checkable
class Sequences(Protocol):
    """A batch of sequences, each a prompt and what has been written behind it."""

    def prefill(self) -> Float[Tensor, "B D"]:
        """Run the prompt and return the hidden state that predicts the first token."""

    def next(self, x: Float[Tensor, "R 1 D"]) -> Float[Tensor, "R D"]:
        """Write one token a sequence, given by its embedding; return what predicts the next."""

    def select(self, rows: Int[Tensor, " R"]) -> None:
        """Keep these sequences, in this order: finished ones leave, beams are copied."""
