"""DeepEncoder: SAM -> 16x convolutional compressor -> CLIP, in series.

Paper: DeepSeek-OCR (arXiv 2510.18234), "DeepEncoder". SAM looks at many patches through small
windows, the compressor leaves a sixteenth of them, CLIP looks at all of those at once; both
results are projected to the decoder's width.

The same classes carry the official sizes and nano's; what differs is `ModelConfig`.

Axes: V views, C channels, H W rows and columns of patches, h w of visual tokens (a quarter of
them), R rows of visual tokens, N tokens of a view, D width, A heads, K head width.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from lightseek.attention import MapNorm, Mlp, attend
from lightseek.config import (
    COMPRESSION,
    PATCH_PX,
    ClipConfig,
    CompressorConfig,
    ModelConfig,
    Rows,
    SamConfig,
)
from lightseek.fusion import make_projector
from lightseek.relative import attend_map

Column = int | Int[Tensor, ""]
"""A column of a position table; as a tensor, one compiled graph serves every column."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """What the encoder makes of a batch of views."""

    local: Float[Tensor, "V H W D1"]
    """SAM features, one a patch, before the neck."""
    fused: Float[Tensor, "V h w D2"]
    """CLIP and compressor features side by side, one vector a visual token."""
    tokens: Float[Tensor, "V R w D3"]
    """Visual tokens as the decoder takes them, row by row; `R` is `h`, or twice that where each of
    the two features is a token (`lightseek.fusion`)."""


class Attention(nn.Module):
    """Multi-head self-attention with one matrix for query, key and value.

    Args:
        dim: Width of the tokens.
        heads: Number of heads.
        extent: Rows and columns that relative positions tell apart; none is no such term.
    """

    def __init__(self, dim: int, heads: int, extent: Rows | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.relative_rows: nn.Parameter | None = None
        self.relative_cols: nn.Parameter | None = None
        if extent is not None:
            self.relative_rows = nn.Parameter(torch.zeros(2 * extent.rows - 1, dim // heads))
            self.relative_cols = nn.Parameter(torch.zeros(2 * extent.cols - 1, dim // heads))

    def forward(
        self, x: Float[Tensor, "B N D"], size: Rows | None = None
    ) -> Float[Tensor, "B N D"]:
        """Mix the tokens of each sequence.

        Args:
            x: Tokens; row by row where they form a map.
            size: Rows and columns of the map, needed with relative positions.
        """
        # laid out once: products would do so for each of their sides, and again for each band
        query, key, value = rearrange(
            self.qkv(x), "b n (three a k) -> three b a n k", three=3, a=self.heads
        ).contiguous()
        if size is None or self.relative_rows is None or self.relative_cols is None:
            mixed = attend(query, key, value)
        else:
            mixed = attend_map(query, key, value, self.relative_rows, self.relative_cols, size)
        return self.out(rearrange(mixed, "b a n k -> b n (a k)"))


class PositionTable(nn.Module):
    """A learned vector for every cell of a map.

    The official models stretch the table to the view; nano cuts the view's size out of it, at a
    random column in training, so that narrow views teach the columns of wide ones too.

    Args:
        dim: Width of the vectors.
        size: Rows and columns of the table.
        resize: Whether it is stretched.
        class_token: Whether it begins with a vector for a class token; it is a flat list then.
    """

    def __init__(self, dim: int, size: Rows, *, resize: bool, class_token: bool = False) -> None:
        super().__init__()
        self.resize, self.size = resize, size
        flat = (1 + size.rows * size.cols, dim)
        shape = flat if class_token else (1, size.rows, size.cols, dim)
        self.cells = nn.Parameter(nn.init.normal_(torch.empty(shape), std=0.02))

    def of_class(self) -> Float[Tensor, " D"]:
        """The vector for the class token."""
        return self.cells[0]

    def forward(self, rows: int, cols: int, first_col: Column = 0) -> Float[Tensor, "1 H W D"]:
        """The vectors for a map of this size.

        Raises:
            ValueError: If a table that is not stretched is smaller than the map.
        """
        height, width = self.size.rows, self.size.cols
        cells: Tensor = self.cells
        if cells.ndim == 2:
            cells = rearrange(cells[1:], "(h w) d -> 1 h w d", h=height)
        if not self.resize:
            # what a tensor holds cannot be checked in a compiled graph: `index_select` does
            last = first_col + cols if isinstance(first_col, int) else cols
            if rows > height or last > width:
                raise ValueError(f"a {rows} x {cols} map does not fit a {height} x {width} table")
            across = first_col + torch.arange(cols, device=cells.device)
            return cells[:, :rows].index_select(2, across)
        if (rows, cols) == (height, width):
            return cells
        table = rearrange(cells, "1 h w d -> 1 d h w").float()
        table = F.interpolate(
            table, size=(rows, cols), mode="bicubic", antialias=True, align_corners=False
        )
        return rearrange(table, "1 d h w -> 1 h w d").to(cells.dtype)


class Residual(nn.Module):
    """Norm, two 3x3 convolutions, and the way around them."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.norm = MapNorm(dim, eps=eps)
        self.conv1 = nn.Conv2d(dim, dim, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x: Float[Tensor, "V D H W"]) -> Float[Tensor, "V D H W"]:
        """Add what the convolutions see."""
        return x + self.conv2(F.relu(self.conv1(self.norm(x))))


def make_stem(config: SamConfig) -> nn.Module:
    """Pixels to patch vectors: one 16x16 convolution, or a pyramid of strided 3x3 ones."""
    if not config.stem:
        return nn.Conv2d(config.channels, config.dim, PATCH_PX, stride=PATCH_PX)
    layers: list[nn.Module] = []
    dim = config.channels
    for stage in config.stem:
        layers += _strided(dim, stage.dim, config.norm_eps)
        layers += [Residual(stage.dim, config.norm_eps) for _ in range(stage.residuals)]
        dim = stage.dim
    return nn.Sequential(*layers, *_strided(dim, config.dim, config.norm_eps))


def _strided(dim: int, out_dim: int, eps: float) -> list[nn.Module]:
    conv = nn.Conv2d(dim, out_dim, 3, stride=2, padding=1)
    return [conv, MapNorm(out_dim, eps=eps), nn.ReLU()]


class SamBlock(nn.Module):
    """A transformer block whose attention stays within windows, or spans the view."""

    def __init__(self, config: SamConfig, *, spans_view: bool) -> None:
        super().__init__()
        self.window = None if spans_view else config.window
        extent = (
            (config.table if spans_view else config.window) if config.relative_position else None
        )
        self.norm1 = nn.LayerNorm(config.dim, eps=config.norm_eps)
        self.attention = Attention(config.dim, config.heads, extent)
        self.norm2 = nn.LayerNorm(config.dim, eps=config.norm_eps)
        self.mlp = Mlp(config.dim, config.mlp_dim, config.activation)

    def forward(self, x: Float[Tensor, "V H W D"]) -> Float[Tensor, "V H W D"]:
        """Attend, then feed forward."""
        x = x + self._attend(self.norm1(x))
        return x + self.mlp(self.norm2(x))

    def _attend(self, x: Float[Tensor, "V H W D"]) -> Float[Tensor, "V H W D"]:
        rows, cols = x.shape[1:3]
        if self.window is None:
            flat = self.attention(rearrange(x, "v h w d -> v (h w) d"), Rows(rows=rows, cols=cols))
            return rearrange(flat, "v (h w) d -> v h w d", h=rows)
        down, across = self.window.rows, self.window.cols
        # zeros fill the last windows, as in segment-anything; nano's views need none
        x = F.pad(x, (0, 0, 0, -cols % across, 0, -rows % down))
        high = x.shape[1] // down
        windows = rearrange(x, "v (h i) (w j) d -> (v h w) (i j) d", i=down, j=across)
        x = rearrange(
            self.attention(windows, self.window),
            "(v h w) (i j) d -> v (h i) (w j) d",
            v=x.shape[0],
            h=high,
            i=down,
        )
        return x[:, :rows, :cols]


class SamEncoder(nn.Module):
    """Local features: what is printed in and around every 16 px patch."""

    def __init__(self, config: SamConfig) -> None:
        super().__init__()
        self.stem = make_stem(config)
        self.positions = PositionTable(config.dim, config.table, resize=config.resize_table)
        self.blocks = nn.ModuleList(
            SamBlock(config, spans_view=i in config.global_blocks) for i in range(config.depth)
        )
        self.neck: nn.Module = nn.Identity()
        if config.neck_dim is not None:
            self.neck = nn.Sequential(
                nn.Conv2d(config.dim, config.neck_dim, 1, bias=False),
                MapNorm(config.neck_dim, eps=config.norm_eps),
                nn.Conv2d(config.neck_dim, config.neck_dim, 3, padding=1, bias=False),
                MapNorm(config.neck_dim, eps=config.norm_eps),
            )
        self.out_dim = config.neck_dim or config.dim

    def forward(
        self, views: Float[Tensor, "V C Y X"], first_col: Column = 0
    ) -> tuple[Float[Tensor, "V H W D"], Float[Tensor, "V E H W"]]:
        """Encode views.

        Args:
            views: Pixels from -1 to 1, sides multiples of `PATCH_PX`.
            first_col: Column of the position table under the view's left edge, in patches.

        Returns:
            Features of the last block, and the same after the neck.
        """
        x = rearrange(self.stem(views), "v d h w -> v h w d")
        x = x + self.positions(x.shape[1], x.shape[2], first_col)
        for block in self.blocks:
            x = block(x)
        return x, self.neck(rearrange(x, "v h w d -> v d h w"))


class ConvCompressor(nn.Module):
    """Sixteen patches to one token, by two convolutions of stride 2."""

    def __init__(self, in_dim: int, config: CompressorConfig, eps: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_dim, config.hidden_dim, 3, 2, 1, bias=config.norm)
        self.between: nn.Module = nn.Identity()
        if config.norm:
            self.between = nn.Sequential(MapNorm(config.hidden_dim, eps=eps), nn.ReLU())
        self.conv2 = nn.Conv2d(config.hidden_dim, config.dim, 3, 2, 1, bias=config.norm)

    def forward(self, x: Float[Tensor, "V D H W"]) -> Float[Tensor, "V h w E"]:
        """Compress a map."""
        return rearrange(self.conv2(self.between(self.conv1(x))), "v e h w -> v h w e")


class ClipBlock(nn.Module):
    """A transformer block over all tokens of a view."""

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.dim, eps=config.norm_eps)
        self.attention = Attention(config.dim, config.heads)
        self.norm2 = nn.LayerNorm(config.dim, eps=config.norm_eps)
        self.mlp = Mlp(config.dim, config.mlp_dim, config.activation)

    def forward(self, x: Float[Tensor, "V N D"]) -> Float[Tensor, "V N D"]:
        """Attend, then feed forward."""
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ClipEncoder(nn.Module):
    """Global features: how the compressed tokens of a view relate.

    Its own patch embedding is bypassed: compressed tokens take the place of patches.
    """

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.positions = PositionTable(
            config.dim,
            config.table,
            resize=config.resize_table,
            class_token=config.class_token,
        )
        self.class_token: nn.Parameter | None = None
        if config.class_token:
            self.class_token = nn.Parameter(torch.zeros(config.dim))
        if config.patch_px is not None:
            # what is bypassed is not trained, but a checkpoint is written as whole as it was read
            shape = (config.dim, 3, config.patch_px, config.patch_px)
            self.register_buffer("patch_embedding", torch.zeros(shape))
        self.pre_norm: nn.Module = nn.Identity()
        if config.pre_norm:
            self.pre_norm = nn.LayerNorm(config.dim, eps=config.norm_eps)
        self.blocks = nn.ModuleList(ClipBlock(config) for _ in range(config.depth))

    def forward(
        self, tokens: Float[Tensor, "V h w D"], first_col: Column = 0
    ) -> Float[Tensor, "V h w D"]:
        """Encode compressed tokens; the class token attends but is not returned."""
        rows, cols = tokens.shape[1:3]
        x = rearrange(tokens + self.positions(rows, cols, first_col), "v h w d -> v (h w) d")
        if self.class_token is not None:
            first = (self.class_token + self.positions.of_class()).expand(len(x), 1, -1)
            x = torch.cat([first, x], dim=1)
        x = self.pre_norm(x)
        for block in self.blocks:
            x = block(x)
        return rearrange(x[:, -rows * cols :], "v (h w) d -> v h w d", h=rows)


class DeepEncoder(nn.Module):
    """Views to visual tokens: one or two for every 64 x 64 px that a view begins."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.sam = SamEncoder(config.sam)
        self.compressor = ConvCompressor(self.sam.out_dim, config.compressor, config.sam.norm_eps)
        self.clip = ClipEncoder(config.clip)
        self.projector = make_projector(config)

    def keep_projector(self) -> None:
        """Let go of all that is before the projector, where its features are known already."""
        del self.sam, self.compressor, self.clip

    def forward(self, views: Float[Tensor, "V C Y X"], first_col: Column = 0) -> Encoded:
        """Encode views of one size.

        Args:
            views: Pixels from -1 to 1, sides multiples of `PATCH_PX`.
            first_col: Column of the position tables under the left edge, in visual tokens.
        """
        local, necked = self.sam(views, first_col * COMPRESSION)
        compressed = self.compressor(necked)
        # CLIP first, as the official checkpoint concatenates
        fused = torch.cat([self.clip(compressed, first_col), compressed], dim=-1)
        return Encoded(local=local, fused=fused, tokens=self.projector(fused))
