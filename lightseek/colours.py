"""Images and arrays of any kind to colours as they look on paper: upright, RGB, 8 bits.

ICC profiles are ignored. Knows nothing of files or pages.
"""

from contextlib import suppress

import numpy as np
from jaxtyping import Shaped
from PIL import Image, ImageOps

from lightseek.errors import PageError

MAX_PIXELS = 150_000_000
"""Of one page: an A0 sheet at 300 dpi has 139 million."""
_STROKES, _LIGHT = 100, 200
"""Mean of alpha of light strokes on nothing, at most, and their tone, at least."""


def upright_rgb(image: Image.Image) -> Image.Image:
    """A new image with nothing but the colours, the way up that its EXIF data says."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        limit = f"the limit of {MAX_PIXELS // 10**6} million pixels"
        raise PageError(f"{width} x {height} is above {limit}: scale it down or cut it up")
    image.load()
    rgb = _rgb(image)
    rgb.info = dict(image.info)
    with suppress(Exception):  # damaged EXIF data is no reason to lose the page
        ImageOps.exif_transpose(rgb, in_place=True)
    rgb.info = {}
    return rgb


def _rgb(image: Image.Image) -> Image.Image:
    """The colours as they look on paper."""
    if image.mode.startswith(("I", "F")):
        samples = np.asarray(image)
        return Image.fromarray(_to_bytes(samples, white=_white_of(samples))).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    paper = Image.new("RGB", image.size, _paper_under(layer := image.convert("RGBA")))
    paper.paste(layer, mask=layer)
    return paper


def _paper_under(layer: Image.Image) -> str:
    """White, but black under light strokes, which were drawn to be seen on something dark."""
    tones, ink = np.asarray(layer.convert("L")), np.asarray(layer.getchannel("A"), np.float32)
    is_light = 0 < ink.mean() < _STROKES and np.average(tones, weights=ink) > _LIGHT
    return "black" if is_light else "white"


def _white_of(samples: Shaped[np.ndarray, "H W"]) -> float:
    """The largest value of the scale: 65,535 for 16 bits; else it is told by what is there."""
    if samples.dtype.itemsize == 2:
        return 65535
    peak = float(np.nan_to_num(samples).max())
    return next((white for white in (1, 255, 65535) if peak <= white), peak)


def _to_bytes(samples: Shaped[np.ndarray, "..."], *, white: float) -> Shaped[np.ndarray, "..."]:
    """The same picture on a scale from 0 to 255."""
    scaled = np.nan_to_num(samples.astype(np.float32)) * (255 / white)
    grey: np.ndarray = np.rint(scaled).clip(0, 255).astype(np.uint8)
    return grey


def image_of(pixels: Shaped[np.ndarray, "..."]) -> Image.Image:
    """An array as an image.

    Raises:
        PageError: If its shape or its numbers are not those of an image.
    """
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if not pixels.size or pixels.shape[2:] not in ((), (3,), (4,)) or pixels.ndim < 2:
        raise PageError(f"an array of shape {pixels.shape} is no image: give height x width (x 3)")
    kind = pixels.dtype.newbyteorder("=")
    if kind == np.uint8:
        return Image.fromarray(pixels)
    if kind == np.uint16:
        return Image.fromarray(_to_bytes(pixels, white=65535))
    if kind == np.bool_ or np.issubdtype(kind, np.floating):
        if not (pixels.min() >= 0 and pixels.max() <= 1):
            raise PageError("floats are read on a scale from 0 to 1: divide by the largest, 255")
        return Image.fromarray(_to_bytes(pixels, white=1))
    raise PageError(f"an array of {kind} is no image: convert it to uint8, 0 black, 255 white")
