"""A page as the official DeepSeek-OCR family sees it: modes, views, and the one token count.

Paper: DeepSeek-OCR (arXiv 2510.18234), "Multiple resolution support". A page becomes a page view,
and in the gundam modes also a grid of tiles, cut from the page stretched over the grid. The encoder
turns a view into a square of visual tokens; the decoder reads `token_sheets` row by row.

Knows nothing of how strips are cut (`blocks`), of tensors or tokenizers.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import Image

from lightseek.config import COMPRESSION, PATCH_PX
from lightseek.document import Box
from lightseek.errors import UsageError

PAD_COLOUR = (127, 127, 127)
"""What surrounds a padded page: mid grey, next to zero once normalised."""


class Grid(NamedTuple):
    """Places across and down."""

    cols: int
    rows: int

    @property
    def num_places(self) -> int:
        """All of them."""
        return self.cols * self.rows


UNTILED = Grid(1, 1)
"""The grid of a page that has no tiles."""


def tile_grids(most: int) -> list[Grid]:
    """All grids of up to so many tiles, that of a single one too."""
    return [Grid(cols, rows) for cols in range(1, most + 1) for rows in range(1, most // cols + 1)]


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One image for the encoder, and where on the page it lies.

    Coordinates run along pixel edges: a page of width 100 spans 0 to 100.
    """

    image: Image.Image
    to_page: Float[np.ndarray, "2 3"]
    """Affine map from view pixels to page pixels."""
    page_size: tuple[int, int]
    """Width and height of the page in pixels, to which boxes are clipped."""

    def box_to_page(self, box: Box) -> Box:
        """The upright box on the page around a box of the view, kept inside the page."""
        around = _bounds(_corners(box) @ self.to_page[:, :2].T + self.to_page[:, 2])
        return Box(*np.clip(around, 0.0, self.page_size * 2).tolist())


def _corners(box: Box) -> Float[np.ndarray, "4 2"]:
    return np.array([(x, y) for x in (box.left, box.right) for y in (box.top, box.bottom)], float)


def _bounds(points: Float[np.ndarray, "4 2"]) -> Box:
    return Box(*points.min(axis=0).tolist(), *points.max(axis=0).tolist())


@dataclass(frozen=True, kw_only=True, slots=True)
class Mode:
    """How a page becomes views."""

    name: str
    page_px: int
    """Side of the page view."""
    tile_px: int | None
    """Side of a tile; none in a mode without tiles."""
    max_tiles: int
    """Most tiles of a page; the official vLLM recipe lowers 9 to 6."""
    fit: Literal["stretch", "pad"]
    """Whether the page view is stretched to the square, or keeps its shape and is padded."""
    untiled_px: int | None = None
    """Longest side of a page that has no tiles; none is that of a tile."""


MODES: Mapping[str, Mode] = {
    mode.name: mode
    for mode in (
        Mode(name="tiny", page_px=512, tile_px=None, max_tiles=0, fit="stretch"),
        Mode(name="small", page_px=640, tile_px=None, max_tiles=0, fit="stretch"),
        Mode(name="base", page_px=1024, tile_px=None, max_tiles=0, fit="pad"),
        Mode(name="large", page_px=1280, tile_px=None, max_tiles=0, fit="pad"),
        Mode(name="gundam", page_px=1024, tile_px=640, max_tiles=9, fit="pad"),
        Mode(name="gundam-m", page_px=1280, tile_px=1024, max_tiles=9, fit="pad", untiled_px=640),
    )
}
"""The modes of the official family, by name."""
BLOCKS = "blocks"
"""The mode of nano, which reads strips: `lightseek.blocks`."""


def find_mode(name: str) -> Mode:
    """The mode of that name.

    Raises:
        UsageError: If there is none.
    """
    if name not in MODES:
        known = ", ".join((BLOCKS, *MODES))
        raise UsageError(f"there is no mode {name!r}: choose one of {known}")
    return MODES[name]


def as_looked_at(mode: Mode, sliding_window: int | None) -> Mode:
    """The mode with as many tiles as a model looks at.

    With a window it is Unlimited-OCR, which looks at 32 (`max_patches` in transformers).
    """
    if sliding_window is None or mode.tile_px is None:
        return mode
    return replace(mode, max_tiles=32)


@dataclass(frozen=True, kw_only=True, slots=True)
class PageViews:
    """Everything that the encoder sees of a page."""

    tiles: tuple[View, ...]
    """In reading order; none when the grid is `UNTILED`."""
    grid: Grid
    page: View


def with_most_tiles(mode: Mode, most: int) -> Mode:
    """The mode with so many tiles of a page at most.

    Raises:
        UsageError: If it has no tiles, or there are fewer than two.
    """
    if mode.tile_px is None:
        raise UsageError(f"mode {mode.name} has no tiles to limit: choose gundam")
    if most < 2:  # one tile would only repeat the page view
        raise UsageError(f"max_tiles is {most}: allow 2 or more, or choose a mode without tiles")
    return replace(mode, max_tiles=most)


def make_views(image: Image.Image, mode: Mode) -> PageViews:
    """Look at a page, RGB, as the mode says."""
    assert image.mode == "RGB", f"a page is RGB, not {image.mode}"
    grid = choose_grid(image.width, image.height, mode)
    tiles = _tiles(image, grid, mode.tile_px)
    return PageViews(tiles=tiles, grid=grid, page=_page_view(image, mode))


def choose_grid(width: int, height: int, mode: Mode) -> Grid:
    """The tile grid whose shape is nearest to that of a page of so many pixels.

    Among equally near grids a larger one is taken only if the page has more than half its pixels.
    `UNTILED` if the mode has no tiles, or the page is too small.
    """
    if mode.tile_px is None or max(width, height) <= (mode.untiled_px or mode.tile_px):
        return UNTILED

    def gap(grid: Grid) -> float:
        return abs(width / height - grid.cols / grid.rows)

    grids = [grid for grid in tile_grids(mode.max_tiles) if grid != UNTILED]
    nearest, *others = sorted(grids, key=lambda grid: (gap(grid), grid.num_places))
    equal = (grid for grid in others if gap(grid) == gap(nearest))
    larger = [g for g in equal if 2 * width * height > g.num_places * mode.tile_px**2]
    return (larger or [nearest])[-1]


def _page_view(page: Image.Image, mode: Mode) -> View:
    side, longer = mode.page_px, max(page.size)
    width, height = side, side
    if mode.fit == "pad":
        # at least a pixel, or nothing would be seen of a page 3000 times as high as wide
        width, height = (max(1, round(length / longer * side)) for length in page.size)
    drawn = page.resize((width, height), Image.Resampling.BICUBIC)
    left, top = round((side - width) / 2), round((side - height) / 2)
    return _window(page, drawn, side=side, left=left, top=top)


def _tiles(page: Image.Image, grid: Grid, tile_px: int | None) -> tuple[View, ...]:
    if tile_px is None or grid == UNTILED:
        return ()
    size = (tile_px * grid.cols, tile_px * grid.rows)
    drawn = page.resize(size, Image.Resampling.BICUBIC)
    return tuple(
        _window(page, drawn, side=tile_px, left=-col * tile_px, top=-row * tile_px)
        for row in range(grid.rows)
        for col in range(grid.cols)
    )


def _window(page: Image.Image, drawn: Image.Image, *, side: int, left: int, top: int) -> View:
    """A square on which the resized page is laid with its corner at `left`, `top`."""
    image = Image.new("RGB", (side, side), PAD_COLOUR)
    image.paste(drawn, (left, top))
    across, down = page.width / drawn.width, page.height / drawn.height
    to_page = np.array([[across, 0.0, -left * across], [0.0, down, -top * down]])
    return View(image=image, to_page=to_page, page_size=page.size)


def tokens_across(side_px: int) -> int:
    """Visual tokens along a side of a view."""
    return math.ceil(side_px // PATCH_PX / COMPRESSION)


def token_sheets(mode: Mode, grid: Grid) -> tuple[Grid, ...]:
    """The visual tokens as the decoder reads them.

    The tiles make one sheet, which comes first; the page view is the last. Each row of a sheet is
    followed by a row end, and the last sheet by a separator.
    """
    page = tokens_across(mode.page_px)
    if grid == UNTILED:
        return (Grid(page, page),)
    assert mode.tile_px is not None, f"mode {mode.name} has no tiles to fill {grid}"
    tile = tokens_across(mode.tile_px)
    return Grid(tile * grid.cols, tile * grid.rows), Grid(page, page)


def num_visual_tokens(mode: Mode, grid: Grid) -> int:
    """Visual tokens of a page, as the paper counts them."""
    return sum(sheet.num_places for sheet in token_sheets(mode, grid))


def num_strip_tokens(height: int, width: int) -> int:
    """Visual tokens of a strip of so many pixels, for models that read strips."""
    return tokens_across(height) * tokens_across(width)


def num_positions(mode: Mode, grid: Grid) -> int:
    """Decoder positions of a page: its visual tokens, row ends and separator."""
    return sum((sheet.cols + 1) * sheet.rows for sheet in token_sheets(mode, grid)) + 1


def num_valid_tokens(mode: Mode, grid: Grid, *, width: int, height: int) -> int:
    """Visual tokens less those of the padding, for a page of so many pixels (equation 1)."""
    if mode.fit == "stretch":
        return num_visual_tokens(mode, grid)
    *tiles, page = token_sheets(mode, grid)
    # in whole numbers: a float could fall just above one and be rounded up
    shown = -(-page.num_places * min(width, height) // max(width, height))
    return shown + sum(sheet.num_places for sheet in tiles)
