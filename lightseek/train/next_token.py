"""The one loss that every decoder can learn from: the next token of the text.

Axes: B texts, N visual tokens, L text tokens, D width.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lightseek.model import LightSeekOCR
from lightseek.tokenizer import Tokenizer
from lightseek.train.batch import IGNORED
from lightseek.train.loss import Part, score


def side_by_side(
    texts: Sequence[Sequence[int]], tokenizer: Tokenizer
) -> tuple[Int[Tensor, "B L"], Int[Tensor, "B L"]]:
    """Texts of any lengths as the decoder is given them, and what should follow each token.

    Args:
        texts: Token ids, without begin and end.
        tokenizer: Knows begin, end and padding.

    Returns:
        Tokens from begin on, filled up on their right; the next tokens up to the end, `IGNORED`
        after it.
    """
    shape = len(texts), 1 + max(map(len, texts), default=0)
    ids, targets = torch.full(shape, tokenizer.pad_id), torch.full(shape, IGNORED)
    for row, text in enumerate(texts):
        ids[row, : len(text) + 1] = torch.tensor([tokenizer.bos_id, *text])
        targets[row, : len(text) + 1] = torch.tensor([*text, tokenizer.eos_id])
    return ids, targets


def next_token_loss(
    model: LightSeekOCR,
    visual: Float[Tensor, "B N D"],
    ids: Int[Tensor, "B L"],
    targets: Int[Tensor, "B L"],
) -> Part:
    """Cross-entropy of what follows each token of the text; visual tokens and padding have none.

    Args:
        model: With any decoder.
        visual: Visual tokens of each text.
        ids: Text from begin on.
        targets: The token after each, `IGNORED` where there is none.
    """
    kept = targets != IGNORED
    hidden = model(visual, ids)
    return score(model.predict(hidden[kept]).what, targets[kept])
