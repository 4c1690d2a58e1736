"""What printing, ageing and scanning do to an image: small functions on grey images.

Each takes a grey image with dark ink on light paper and returns one; what is random is drawn from
the generator it is given. They never move ink, except `resize`, and `rotate`, which also returns
how. Knows nothing of text.
"""

import random

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

Grey = UInt8[np.ndarray, "H W"]
"""A grey image, 0 is black."""
_LEAST_INK = 0.45
"""Share of it that a thinner print keeps."""


def degrade(
    image: Grey, rng: random.Random, difficulty: float = 1.0, *, enlarged: bool = True
) -> Grey:
    """Let the image pass through a random printer, years and scanner.

    Args:
        image: Clean dark-on-light image of any size.
        rng: Source of every decision; the same state gives the same image.
        difficulty: 0 leaves the image as it is, 1 is the full mixture.
        enlarged: Whether letters are as large as at 300 dpi; small ones bear less.
    """

    def chance(probability: float) -> bool:
        return rng.random() < probability * difficulty

    if chance(0.15) and enlarged:
        image = ink_spread(image, rng)
    if chance(0.08):
        image = fade(image, rng)
    if chance(0.1):
        image = specks(image, rng)
    if chance(0.25):
        image = bilevel(image, rng, enlarged=enlarged)
    elif chance(0.3):
        image = blur(image, rng)
    if chance(0.07):
        image = low_resolution(image, rng, scale=None if enlarged else rng.uniform(0.65, 0.9))
    return finish(image, rng, difficulty)


def finish(image: Grey, rng: random.Random, difficulty: float) -> Grey:
    """The last part of `degrade`: what a camera and a file format add to a finished print."""

    def chance(probability: float) -> bool:
        return rng.random() < probability * difficulty

    if chance(0.06):
        image = invert(image)
    if chance(0.12):
        image = jpeg(image, rng)
    if chance(0.3):
        image = noise(image, rng)
    if chance(0.06):
        image = salt(image, rng)
    if chance(0.12):
        image = texture(image, rng)
    if chance(0.12):
        image = uneven_light(image, rng)
    return image


def blur(image: Grey, rng: random.Random, *, scale: float = 1.0) -> Grey:
    """Out of focus.

    Args:
        image: Any grey image.
        rng: Draws the strength.
        scale: Pixels of this image for one pixel of the final one.
    """
    return _grey(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.0) * max(1.0, scale)))


def noise(image: Grey, rng: random.Random) -> Grey:
    """Grain of a sensor."""
    return _clip(image + _grain(rng, image.shape) * np.float32(rng.uniform(0, 16)))


def jpeg(image: Grey, rng: random.Random) -> Grey:
    """Blocks and ringing of a strongly compressed file."""
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, rng.randint(15, 75)])
    return _grey(np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)))


def low_resolution(
    image: Grey, rng: random.Random, *, scale: float | None = None, black_and_white: bool = False
) -> Grey:
    """Scanned with too few pixels and enlarged again.

    Args:
        image: Any grey image.
        rng: Draws what is not given.
        scale: Share of the pixels along one side that remains.
        black_and_white: Whether the small image had only black and white pixels.
    """
    height, width = image.shape
    share = rng.uniform(0.4, 0.65) if scale is None else scale
    small = _grey(_resized(image, max(1, round(width * share)), max(1, round(height * share))))
    if black_and_white:
        small = bilevel(small, rng, enlarged=False)
    how = rng.choice((cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_NEAREST))
    return _grey(cv2.resize(small, (width, height), interpolation=how))


def bilevel(image: Grey, rng: random.Random, *, enlarged: bool = True) -> Grey:
    """Black and white only, with the ragged edges of an office scan.

    Args:
        image: Any grey image.
        rng: Draws threshold, softness and noise.
        enlarged: Whether letters are as large as at 300 dpi; small ones bear less noise.
    """
    if enlarged and rng.random() < 0.6:
        image = _grey(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.2)))
    dark, light = int(image.min()), int(image.max())
    contrast = light - dark
    if contrast < 16:
        return _threshold(image, 127)
    sigma = (rng.uniform(5, 50) if enlarged else rng.uniform(0, 25)) * contrast / 255
    level = dark + contrast * (rng.uniform(0.24, 0.76) if enlarged else rng.uniform(0.35, 0.75))
    noisy = image + _grain(rng, image.shape) * np.float32(sigma)
    scanned = _threshold(noisy, level)
    # a scanner that loses thin strokes is set darker
    ink = np.float64(light * image.size - image.sum(dtype=np.int64)) / contrast
    if np.count_nonzero(scanned == 0) < 0.6 * ink:
        scanned = _threshold(noisy, dark + 0.75 * contrast)
    return scanned


def ink_spread(image: Grey, rng: random.Random) -> Grey:
    """Too much ink, or too little."""
    shape = rng.choice((cv2.MORPH_RECT, cv2.MORPH_CROSS))
    kernel = cv2.getStructuringElement(shape, (3, 3))
    change = cv2.erode if rng.random() < 0.6 else cv2.dilate
    changed = _grey(change(image, kernel))
    if _ink(changed) > _LEAST_INK * _ink(image):
        return changed
    return _grey(cv2.addWeighted(image, 0.5, changed, 0.5, 0))  # thin strokes would be gone


def _ink(image: Grey) -> float:
    """How much darker than the lightest all pixels are."""
    return float(image.max()) * image.size - float(image.sum(dtype=np.int64))


def fade(image: Grey, rng: random.Random) -> Grey:
    """Ink that did not take everywhere, as from a dry ribbon or a worn thermal head."""
    height, width = image.shape
    patch = rng.uniform(4, 24)
    field = 1 + rng.uniform(0.1, 0.4) * _blotches(rng, height, width, patch, patch) - 0.15
    paper = np.float32(paper_level(image))
    return _clip(paper + (image - paper) * field.clip(0.12, 1.1))


def streaks(image: Grey, rng: random.Random, *, scale: float) -> Grey:
    """Stripes in which a worn thermal head prints little, down the paper or across it.

    Args:
        image: Any grey image.
        rng: Draws how wide they are and what they leave.
        scale: Pixels of this image for one pixel of the final one.
    """
    height, width = image.shape
    pitch = scale * rng.uniform(2, 8)
    if rng.random() < 0.7:
        lost, most = _blotches(rng, height, width, pitch, height), 0.9
    else:
        lost, most = _blotches(rng, height, width, width, pitch), 0.6
    paper = np.float32(paper_level(image))
    return _clip(paper + (image - paper) * (1 - rng.uniform(0.3, most) * lost.clip(0, 1)))


def pen(image: Grey, rng: random.Random, *, scale: float) -> Grey:
    """Strokes of a pen, or the rim of a stamp, across what is printed.

    Args:
        image: Any grey image.
        rng: Draws how many, and where.
        scale: Pixels of this image for one pixel of the final one.
    """
    height, width = image.shape
    image = image.copy()
    tone = rng.randint(int(image.min()), (int(image.min()) + paper_level(image)) // 2)
    for _ in range(rng.randint(1, 2)):
        centre = int(rng.uniform(0, width)), int(rng.uniform(-0.5, 1.5) * height)
        axes = int(rng.uniform(0.4, 4) * height), int(rng.uniform(0.3, 1.2) * height)
        start = rng.uniform(0, 360)
        end = start + rng.uniform(40, 360)
        thickness = max(1, round(scale * rng.uniform(0.5, 1.8)))
        angle = rng.uniform(0, 180)
        cv2.ellipse(image, centre, axes, angle, start, end, tone, thickness, cv2.LINE_AA)
    return image


def ribbon(image: Grey, rng: random.Random, *, scale: float) -> Grey:
    """Type struck through cloth: strokes swell until they fill small counters, and are grainy.

    Args:
        image: Any grey image.
        rng: Draws how hard, and through what.
        scale: Pixels of this image for one pixel of the final one.
    """
    height, width = image.shape
    thick = 1 + 2 * round(scale * rng.uniform(0, 0.9))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (thick, thick))
    swollen = cv2.GaussianBlur(cv2.erode(image, kernel), (0, 0), scale * rng.uniform(0.3, 1.0))
    paper = np.float32(paper_level(image))
    weave = scale * rng.uniform(0.8, 2.5)
    grain = _blotches(rng, height, width, weave, weave)
    field = rng.uniform(0.55, 1.0) + rng.uniform(0.05, 0.3) * grain
    return _clip(paper + (swollen - paper) * field.clip(0.15, 1.1))


def dot_matrix(image: Grey, rng: random.Random, *, pitch: float) -> Grey:
    """Ink set in round dots, as by the needles of a receipt printer.

    Args:
        image: Any grey image.
        rng: Draws the size of the dots.
        pitch: Pixels from one dot to the next.
    """
    height, width = image.shape
    cols, rows = max(1, round(width / pitch)), max(1, round(height / pitch))
    paper, ink = paper_level(image), int(image.min())
    inked = _resized(image, cols, rows) < paper - (paper - ink) * rng.uniform(0.3, 0.45)
    x = (np.arange(width) * (cols / width)) % 1 - 0.5
    y = (np.arange(height) * (rows / height)) % 1 - 0.5
    radius = rng.uniform(0.42, 0.65)
    edge = (radius - np.sqrt(x[None] ** 2 + y[:, None] ** 2)) * pitch + 0.5
    where = cv2.resize(inked.astype(np.float32), (width, height), interpolation=cv2.INTER_NEAREST)
    return _clip(paper - (paper - ink) * where * edge.clip(0, 1))


def uneven_light(image: Grey, rng: random.Random) -> Grey:
    """A side or a corner that the light does not reach."""
    height, width = image.shape
    across = np.linspace(-1, 1, width, dtype=np.float32) * np.float32(rng.uniform(-30, 30))
    down = np.linspace(-1, 1, height, dtype=np.float32) * np.float32(rng.uniform(-8, 8))
    return _clip(image + across[None] + (down + np.float32(rng.uniform(-10, 10)))[:, None])


def texture(image: Grey, rng: random.Random) -> Grey:
    """Paper that is blotched in large spots and small fibres."""
    height, width = image.shape
    spots = _blotches(rng, height, width, rng.uniform(16, 96), rng.uniform(12, 48)) * np.float32(
        rng.uniform(2, 8)
    )
    fibres = _blotches(rng, height, width, rng.uniform(2, 6), 2) * np.float32(rng.uniform(0, 5))
    return _clip(image + spots + fibres)


def specks(image: Grey, rng: random.Random, *, scale: float = 1.0) -> Grey:
    """Dust: small dots of ink, and small holes in the ink.

    Args:
        image: Any grey image.
        rng: Draws where.
        scale: Pixels of this image for one pixel of the final one.
    """
    height, width = image.shape
    image = image.copy()
    tones = (int(image.min()), paper_level(image))
    for _ in range(rng.randint(1, max(1, round(12 * height * width / (65536 * scale**2))))):
        # positions and radii in sixteenths of a pixel
        centre = (int(rng.uniform(0, width) * 16), int(rng.uniform(0, height) * 16))
        radius = int(rng.uniform(0.3, 1.3) * scale * 16)
        cv2.circle(image, centre, radius, rng.choice(tones), -1, cv2.LINE_AA, 4)
    return image


def salt(image: Grey, rng: random.Random) -> Grey:
    """Single pixels that lost most of their ink."""
    paper = np.float32(paper_level(image))
    draws = _generator(rng).integers(0, 256, image.shape, dtype=np.uint8)
    lost = draws < int(rng.uniform(0, 64))
    return np.where(lost, _clip(image + (paper - image) * np.float32(0.8)), image)


def invert(image: Grey) -> Grey:
    """Light text on a dark ground."""
    return _grey(cv2.bitwise_not(image))


def rotate(
    image: Grey, rng: random.Random, *, max_degrees: float
) -> tuple[Grey, Float[np.ndarray, "2 3"]]:
    """A page that lay slightly askew.

    Returns:
        The image, and the matrix that takes (x, y, 1) of a point to where it is now.
    """
    height, width = image.shape
    degrees = rng.uniform(-max_degrees, max_degrees)
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    turned = cv2.warpAffine(
        image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderValue=paper_level(image)
    )
    return _grey(turned), matrix


def resize(
    image: Grey, rng: random.Random, *, width: int, height: int
) -> UInt8[np.ndarray, "height width"]:
    """The image at another size, by one of the ways that programs do it."""
    if image.shape == (height, width):
        return image
    if image.shape[1] > width and rng.random() < 0.6:
        return _grey(_resized(image, width, height))
    how = rng.choice((cv2.INTER_LINEAR, cv2.INTER_CUBIC))
    return _grey(cv2.resize(image, (width, height), interpolation=how))


def _generator(rng: random.Random) -> np.random.Generator:
    return np.random.Generator(np.random.SFC64(rng.getrandbits(64)))


def _grain(rng: random.Random, shape: tuple[int, ...]) -> Float32[np.ndarray, "H W"]:
    # the sum of two random bytes is near enough to a normal variable, and ten times as fast
    draws = _generator(rng).integers(0, 256, (2, *shape), dtype=np.uint8)
    both: np.ndarray = cv2.add(draws[0], draws[1], dtype=cv2.CV_32F)
    return (both - np.float32(255)) * np.float32(1 / 104.5)


def _blotches(
    rng: random.Random, height: int, width: int, across: float, down: float
) -> Float32[np.ndarray, "H W"]:
    size = (int(height / down) + 2, int(width / across) + 2)
    coarse = _generator(rng).standard_normal(size, dtype=np.float32)
    fine: np.ndarray = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return fine


def _resized(image: np.ndarray, width: int, height: int) -> np.ndarray:
    resized: np.ndarray = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return resized


def paper_level(image: Grey) -> int:
    """The shade of most pixels."""
    return int(np.bincount(image.ravel(), minlength=256).argmax())


def _threshold(image: np.ndarray, level: float) -> Grey:
    return (image > np.float32(level)).astype(np.uint8) * np.uint8(255)


def _clip(image: np.ndarray) -> Grey:
    return image.clip(0, 255).astype(np.uint8)


def _grey(image: np.ndarray) -> Grey:
    return np.ascontiguousarray(image, dtype=np.uint8)
