"""Attention over a map with relative positions: how far above and to the left a key lies, scored.

The scores of a whole view of 1024 px with their bias take 400 MB. They are made in pieces, some
heads and some rows of each, that stay in the caches of a CPU.

Axes: B maps or windows, A heads, G of all maps, N tokens row by row, K head width, H W rows and
columns, R distances.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from lightseek.config import Rows

SCORES_ON_CPU, SCORES_ON_GPU = 2 << 20, 256 << 20
"""How many scores are made at once."""


def attend_map(
    query: Float[Tensor, "B A N K"],
    key: Float[Tensor, "B A N K"],
    value: Float[Tensor, "B A N K"],
    row_table: Float[Tensor, "R K"],
    col_table: Float[Tensor, "_ K"],
    size: Rows,
) -> Float[Tensor, "B A N K"]:
    """Mix the tokens of each map.

    Args:
        query: Of tokens, row by row; so are the next two.
        key: What they are compared with.
        value: What is mixed.
        row_table: A vector for each distance in rows.
        col_table: A vector for each distance in columns.
        size: Of the map.
    """
    heads = query.shape[1]
    query, key, value = (rearrange(x, "b a n k -> (b a) n k") for x in (query, key, value))
    on_map = rearrange(query, "g (h w) k -> g h w k", w=size.cols)
    by_row = torch.einsum("ghwk,hik->ghwi", on_map, relative_table(row_table, size.rows))
    by_col = torch.einsum("ghwk,wjk->ghwj", on_map, relative_table(col_table, size.cols))
    room = SCORES_ON_CPU if query.device.type == "cpu" else SCORES_ON_GPU
    row_scores = size.cols * query.shape[1]
    high = max(1, min(size.rows, room // row_scores))
    few = max(1, room // (high * row_scores))
    parts = [slice(start, start + few) for start in range(0, len(query), few)]
    mixed = [
        _attend_bands(query[part], key[part], value[part], by_row[part], by_col[part], high)
        for part in parts
    ]
    return rearrange(torch.cat(mixed), "(b a) n k -> b a n k", a=heads)


def _attend_bands(
    query: Float[Tensor, "G N K"],
    key: Float[Tensor, "G N K"],
    value: Float[Tensor, "G N K"],
    by_row: Float[Tensor, "G H W H"],
    by_col: Float[Tensor, "G H W W"],
    high: int,
) -> Float[Tensor, "G N K"]:
    """Mix the tokens of some heads, so many rows of the map at a time.

    Args:
        query: Of tokens, row by row; so are the next two.
        key: What they are compared with.
        value: What is mixed.
        by_row: Score of each query for how far above each row of keys lies.
        by_col: The same for columns, to the left.
        high: How many rows.
    """
    bands = (
        torch.split(query, high * by_col.shape[2], dim=1),
        torch.split(by_row, high, dim=1),
        torch.split(by_col, high, dim=1),
    )
    mixed, scale = [], query.shape[-1] ** -0.5
    for band, its_rows, its_cols in zip(*bands, strict=True):
        bias = its_rows[..., :, None] + its_cols[..., None, :]
        bias = rearrange(bias, "g h w i j -> g (h w) (i j)")
        # one pass: a product and a sum of their own would write the scores twice, and round twice
        scores = torch.baddbmm(bias, band, key.transpose(1, 2), alpha=scale)
        mixed.append(scores.softmax(-1) @ value)
    return torch.cat(mixed, dim=1)


def relative_table(table: Float[Tensor, "R K"], length: int) -> Float[Tensor, "L L K"]:
    """Spread a table of distances over all pairs of positions.

    A table made for another length is interpolated linearly (segment-anything,
    `get_rel_pos`).
    """
    wanted = 2 * length - 1
    if table.shape[0] != wanted:
        resized = F.interpolate(table.T[None].float(), size=wanted, mode="linear")
        table = resized[0].T.to(table.dtype)
    steps = torch.arange(length, device=table.device)
    return table[steps[:, None] - steps[None, :] + length - 1]
