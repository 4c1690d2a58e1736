"""Attention over a map with relative positions: how far above and to the left a key lies, scored.

The scores of a whole view of 1024 px with their bias take 400 MB. They are made in pieces, some
maps and some rows of each, that stay in the caches of a CPU.

Axes: B maps or windows, A heads, N tokens row by row, K head width, H W rows and columns, h rows
of a band, R distances.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from lightseek.attention import FEW_WITH_BIAS, attend
from lightseek.config import Rows

SCORES_ON_CPU, SCORES_ON_GPU = 4 << 20, 256 << 20
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
    rows, cols = relative_table(row_table, size.rows), relative_table(col_table, size.cols)
    row_scores = query.shape[1] * size.cols * query.shape[2]
    room, most = SCORES_ON_GPU, size.rows
    if query.device.type == "cpu":
        room, most = SCORES_ON_CPU, min(size.rows, FEW_WITH_BIAS // size.cols)
    high = max(1, min(most, room // row_scores))
    few = max(1, room // (high * row_scores))
    queries, keys, values = (torch.split(tensor, few) for tensor in (query, key, value))
    pieces = zip(queries, keys, values, strict=True)
    return torch.cat([_attend_bands(q, k, v, rows, cols, high) for q, k, v in pieces])


def _attend_bands(
    query: Float[Tensor, "B A N K"],
    key: Float[Tensor, "B A N K"],
    value: Float[Tensor, "B A N K"],
    rows: Float[Tensor, "H H K"],
    cols: Float[Tensor, "W W K"],
    high: int,
) -> Float[Tensor, "B A N K"]:
    """The same, so many rows of the map at a time."""
    bands = torch.split(query, high * len(cols), dim=2)
    mixed = [
        attend(band, key, value, relative_bias(band, its_rows, cols))
        for band, its_rows in zip(bands, torch.split(rows, high), strict=True)
    ]
    return torch.cat(mixed, dim=2)


def relative_bias(
    query: Float[Tensor, "B A L K"], rows: Float[Tensor, "h H K"], cols: Float[Tensor, "W W K"]
) -> Float[Tensor, "B A L N"]:
    """Score of the queries of some rows for how far above and to the left each key lies."""
    band = rearrange(query, "b a (h w) k -> b a h w k", w=len(cols))
    by_row = torch.einsum("bahwk,hik->bahwi", band, rows)
    by_col = torch.einsum("bahwk,wjk->bahwj", band, cols)
    bias = by_row[..., :, None] + by_col[..., None, :]
    return rearrange(bias, "b a h w i j -> b a (h w) (i j)")


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
