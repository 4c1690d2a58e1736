"""Features and attention as pictures over the page.

Vectors become colours by their first three principal components over the whole page: alike
colours are alike vectors, and no colour has a meaning of its own.

Axes: H W cells of a map or pixels of a picture, N vectors, D width.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32
from PIL import Image, ImageDraw, ImageFont

from lightseek.config import PATCH_PX, TOKEN_PX
from lightseek.data.fonts import SHIPPED
from lightseek.document import Box
from lightseek.explain.attention import Gaze
from lightseek.explain.sight import Seen

PICTURE_PX = 1400
"""Most pixels of a side of a picture of features."""
WORD_PX = 700
"""Most pixels of a side of a picture of one word."""

STAGES = {
    "sam": "SAM, local features: a vector for every 16 x 16 px",
    "compressed": "Compressor: a vector for every visual token",
    "clip": "CLIP, global features: a vector for every visual token",
}
MAP_NAMES = {"page": "page", "local": "local map", "global": "global map"}
_HEAT = np.array([232, 92, 12]) / 255
_FRAME = (20, 90, 200)
_PAGE_SHADE = 0.55
"""How much of the page shows through its colours."""
_DARKEST = 0.25
"""The print on a cell stays legible."""
_CAPTION_PX = 34
_GAP_PX = 12


class Canvas:
    """A page on which views are painted where they lie.

    Args:
        page: The page, RGB.
        most_px: Longest side of the picture.
    """

    def __init__(self, page: Image.Image, most_px: int) -> None:
        self.scale = min(1.0, most_px / max(page.size))
        width, height = (max(1, round(side * self.scale)) for side in page.size)
        small = page.convert("L").resize((width, height), Image.Resampling.LANCZOS)
        self.grey = np.asarray(small, np.float32)[..., None] / 255
        self.paint = np.ones((height, width, 3), np.float32)
        self.is_painted = np.zeros((height, width, 1), bool)

    def wipe(self) -> None:
        """Take the paint away."""
        self.paint[:] = 1
        self.is_painted[:] = False

    def lay(self, seen: Seen, cells: Float32[np.ndarray, "H W 3"], cell_px: int) -> None:
        """Paint the cells of a view, squares of so many of its pixels, over what lies there."""
        area, colours = self._moved(seen, cells, cell_px)
        self.paint[area] = colours
        self.is_painted[area] = True

    def stain(self, seen: Seen, cells: Float32[np.ndarray, "H W 3"], cell_px: int) -> None:
        """Paint the cells of a view as on glass: what lies there shines through."""
        area, colours = self._moved(seen, cells, cell_px)
        self.paint[area] *= colours

    def _moved(
        self, seen: Seen, cells: Float32[np.ndarray, "H W 3"], cell_px: int
    ) -> tuple[tuple[slice, slice], Float32[np.ndarray, "h w 3"]]:
        """The part of the picture that a view shows, and its colours there."""
        height, width = self.paint.shape[:2]
        sides = np.round(np.array(seen.box) * self.scale).astype(int)
        left, right = np.clip(sides[::2], 0, width).tolist()
        top, bottom = np.clip(sides[1::2], 0, height).tolist()
        right, bottom = max(left + 1, right), max(top + 1, bottom)
        turn = seen.to_page[:, :2] * self.scale * cell_px
        # OpenCV counts from the middle of the first cell, and of the first pixel
        shift = turn.sum(1) / 2 + seen.to_page[:, 2] * self.scale - 0.5 - (left, top)
        matrix = np.concatenate([turn, shift[:, None]], axis=1)
        size = right - left, bottom - top
        how = cv2.INTER_NEAREST
        moved = cv2.warpAffine(cells, matrix, size, flags=how, borderValue=(1, 1, 1))
        area = slice(top, bottom), slice(left, right)
        return area, moved[: height - top, : width - left]

    def picture(self) -> Image.Image:
        """The page in its colours, pale where no view lies."""
        over = self.paint * (1 - _PAGE_SHADE + _PAGE_SHADE * self.grey)
        return _image(np.where(self.is_painted, over, 0.7 + 0.3 * self.grey))

    def heat(self) -> Image.Image:
        """The page in the colours that lie on it."""
        return _image(self.paint * self.grey)


def _image(values: Float[np.ndarray, "H W 3"]) -> Image.Image:
    return Image.fromarray(np.uint8(np.rint(np.clip(values, 0, 1) * 255)))


def paint_features(
    page: Image.Image, views: Sequence[Seen], stage: str, clip_dim: int
) -> Image.Image:
    """The features of a stage, over the page.

    Args:
        page: The page.
        views: Views that lie side by side.
        stage: One of `STAGES`.
        clip_dim: Width of CLIP features: the others follow them.
    """
    maps = [_features(seen, stage, clip_dim) for seen in views]
    cell_px = PATCH_PX if stage == "sam" else TOKEN_PX
    shown = [m[_inside(seen, m.shape[:2], cell_px)] for seen, m in zip(views, maps, strict=True)]
    palette = Palette(np.concatenate(shown))
    canvas = Canvas(page, PICTURE_PX)
    for seen, features in zip(views, maps, strict=True):
        canvas.lay(seen, palette.colours(features), cell_px)
    return canvas.picture()


def _features(seen: Seen, stage: str, clip_dim: int) -> Float32[np.ndarray, "H W D"]:
    encoded = seen.encoded
    of_stage = {
        "sam": encoded.local,
        "compressed": encoded.fused[..., clip_dim:],
        "clip": encoded.fused[..., :clip_dim],
    }
    return of_stage[stage][0].float().cpu().numpy()


def _inside(seen: Seen, size: tuple[int, ...], cell_px: int) -> Bool[np.ndarray, "H W"]:
    """Cells whose middle the view shows of the page; all of them if it shows none."""
    patches = seen.encoded.local.shape[1:3]
    rows, cols = (_middles(n, cell_px, m * PATCH_PX) for n, m in zip(size, patches, strict=True))
    at = np.stack(np.meshgrid(cols, rows), axis=-1)
    x, y = np.moveaxis(at @ seen.to_page[:, :2].T, -1, 0)
    x, y = x + seen.to_page[0, 2], y + seen.to_page[1, 2]
    left, top, right, bottom = seen.box
    inside = (x >= left) & (x <= right) & (y >= top) & (y <= bottom)
    return inside if inside.any() else np.ones_like(inside)


def _middles(cells: int, cell_px: int, extent: int) -> Float[np.ndarray, " n"]:
    """Of cells in a row, the last of which may reach beyond the view."""
    edges = np.minimum(np.arange(cells + 1) * cell_px, extent)
    return (edges[:-1] + edges[1:]) / 2


class Palette:
    """Vectors to colours by their first three principal components.

    Args:
        vectors: Those that the colours are chosen for.
    """

    def __init__(self, vectors: Float32[np.ndarray, "N D"]) -> None:
        self.mean = vectors.mean(0)
        around = vectors - self.mean
        _, directions = np.linalg.eigh(around.T @ around)
        axes = directions[:, :-4:-1]
        # which end of an axis is bright is chance: the same page gets the same colours
        strongest = np.abs(axes).argmax(0)
        self.axes = axes * np.sign(axes[strongest, range(axes.shape[1])])
        along = around @ self.axes
        self.low, high = np.percentile(along, [2, 98], axis=0)
        self.extent = np.maximum(high - self.low, 1e-6)

    def colours(self, vectors: Float32[np.ndarray, "H W D"]) -> Float32[np.ndarray, "H W 3"]:
        """A colour a cell."""
        along = (vectors - self.mean) @ self.axes
        shares = np.clip((along - self.low) / self.extent, 0, 1)
        return (_DARKEST + (1 - _DARKEST) * shares).astype(np.float32)


class WordPictures:
    """Pictures of the page, one a word, with the attention and the word beneath.

    Args:
        page: The page.
        views: All of its views.
    """

    def __init__(self, page: Image.Image, views: Sequence[Seen]) -> None:
        self._canvas = Canvas(page, WORD_PX)
        self._views = views
        self._palette = _heat_palette()
        path = str(SHIPPED / "Inter-Regular.otf")
        self._font = ImageFont.truetype(path, size=round(_CAPTION_PX * 0.6))

    def draw(self, gaze: Gaze) -> Image.Image:
        """The picture of a word: of two maps side by side, where there are two."""
        maps = [self._draw_map(gaze, name) for name in gaze.weights]
        width, height = maps[0].size
        sheet = Image.new("RGB", (width * len(maps) + _GAP_PX * (len(maps) - 1), height), "white")
        for i, picture in enumerate(maps):
            sheet.paste(picture, (i * (width + _GAP_PX), 0))
        return sheet.quantize(palette=self._palette, dither=Image.Dither.NONE)

    def _draw_map(self, gaze: Gaze, name: str) -> Image.Image:
        canvas, weights = self._canvas, gaze.weights[name]
        canvas.wipe()
        strength = weights / max(float(weights.max()), 1e-12)
        for seen in self._views:
            start = seen.first - gaze.first
            if 0 <= start < len(strength):
                own = strength[start : start + seen.size].reshape(seen.rows, seen.cols, 1)
                canvas.stain(seen, (1 - own * (1 - _HEAT)).astype(np.float32), TOKEN_PX)
        picture = canvas.heat()
        framed = Image.new("RGB", (picture.width, picture.height + _CAPTION_PX), "white")
        framed.paste(picture)
        draw = ImageDraw.Draw(framed)
        if gaze.box is not None:
            draw.rectangle(_grown(gaze.box, canvas.scale), outline=_FRAME, width=2)
        text = f"{gaze.text}   {weights.sum():.0%} of its attention on the {MAP_NAMES[name]}"
        draw.text((8, picture.height + 7), text, fill="black", font=self._font)
        return framed


def _heat_palette() -> Image.Image:
    """Every colour that a picture of a word needs: greys as the heat stains them, and the frame."""
    heat, grey = np.meshgrid(np.linspace(0, 1, 8), np.linspace(0, 1, 31), indexing="ij")
    stained = grey[..., None] * (1 - heat[..., None] * (1 - _HEAT))
    colours = np.rint(stained.reshape(-1, 3) * 255).astype(int)
    palette = Image.new("P", (1, 1))
    palette.putpalette([*colours.flatten().tolist(), *_FRAME])
    return palette


def _grown(box: Box, scale: float) -> tuple[float, float, float, float]:
    left, top, right, bottom = (side * scale for side in box)
    return left - 3, top - 3, right + 3, bottom + 3
