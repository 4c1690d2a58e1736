"""Text embeddings pooled to the budget of visual tokens: what a vector could hold without optics.

The question of "Optical Context Compression Is Just (Bad) Autoencoding" (arXiv 2512.03643). The
budget is what the decoder is given of an image: so many vectors of its width. Here text is put into
as many by the plainest means. k tokens in a row become one vector: the mean of their embeddings in
the model's own table, each at unit length and its signs flipped by a random pattern of its place
among the k, or order would be lost. A token is read back as the one whose embedding, flipped
likewise, is nearest to the vector.

Nothing is trained, and nothing is read: no image, no noise, no language model that repairs errors.

Axes: V vectors, K tokens of one, D width, S vocabulary.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

_SEED = 0


@torch.inference_mode()
def pool_and_read(ids: list[int], table: Float[Tensor, "S D"], num_vectors: int) -> list[int]:
    """Put tokens into a number of vectors, and take them out again.

    Args:
        ids: Tokens of a text.
        table: Their embeddings.
        num_vectors: Most vectors to use.

    Returns:
        As many tokens.
    """
    size = -(-len(ids) // num_vectors)
    unit = F.normalize(table.float(), dim=-1)
    signs = _signs(size, table)
    # the last vector is filled up with its last token
    whole = ids + [ids[-1]] * (-len(ids) % size)
    groups = torch.tensor(whole, device=table.device).view(-1, size)
    return _read(_pool(groups, unit, signs), unit, signs)[: len(ids)]


def _signs(size: int, like: Tensor) -> Float[Tensor, "K D"]:
    draw = torch.Generator().manual_seed(_SEED)
    return (torch.randint(0, 2, (size, like.shape[1]), generator=draw) * 2.0 - 1).to(like.device)


def _pool(
    groups: Int[Tensor, "V K"], unit: Float[Tensor, "S D"], signs: Float[Tensor, "K D"]
) -> Float[Tensor, "V D"]:
    return (unit[groups] * signs).mean(1)


def _read(
    vectors: Float[Tensor, "V D"], unit: Float[Tensor, "S D"], signs: Float[Tensor, "K D"]
) -> list[int]:
    ids: list[int] = []
    for vector in vectors:
        ids += ((vector * signs) @ unit.T).argmax(-1).tolist()
    return ids
