"""An explanation as files: one HTML page that needs no other, pictures, an animation.

index.html      everything, with a slider over the words
sam.png ...     features of the encoder
words/0001.png  attention for every word
words.gif       the same, one after the other

Axes: N places of a map.
"""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from lightseek.errors import UsageError
from lightseek.explain import Explanation, Gaze
from lightseek.explain.pictures import (
    MAP_NAMES,
    PICTURE_PX,
    STAGES,
    WordPictures,
    paint_features,
)
from lightseek.explain.sight import Seen

_FRAME_MS = 220

Feature = tuple[str, str, Image.Image]
"""File name, what it shows, and the picture."""


def write_report(told: Explanation, folder: Path, *, gif: bool = False) -> list[Path]:
    """Write an explanation into a folder.

    Args:
        told: The explanation.
        folder: Is made if it is not there; files of the same names are replaced, and pictures of
            words of another page removed.
        gif: Whether to write the words as an animation too.

    Returns:
        The files, the report first; the pictures of words not among them.

    Raises:
        UsageError: If the folder cannot be written.
    """
    try:
        (folder / "words").mkdir(parents=True, exist_ok=True)
        features = paint_all_features(told)
        for file, _, picture in features:
            picture.save(folder / file, optimize=True)
        written = [folder / "index.html", *(folder / file for file, _, _ in features)]
        written[0].write_text(render_html(told, features), encoding="utf-8")
        pictures = _write_words(told, folder / "words")
        if gif and pictures:
            written.append(folder / "words.gif")
            _animate(pictures, written[-1])
    except OSError as error:
        raise UsageError(f"{error.filename or folder}: {error.strerror or error}") from error
    return written


def paint_all_features(told: Explanation) -> list[Feature]:
    """A picture a stage of strips or of the page view, and one more of tiles."""
    features = []
    for kind in sorted({seen.kind for seen in told.sight.views}):
        views = [seen for seen in told.sight.views if seen.kind == kind]
        for stage, title in STAGES.items():
            picture = paint_features(told.image, views, stage, told.config.clip.dim)
            suffix = "-tiles" if kind == "tile" else ""
            features.append((f"{stage}{suffix}.png", f"{title}, {_NAMES[kind]}", picture))
    return features


_NAMES = {"strip": "strip by strip", "tile": "tile by tile", "page": "page view"}


def _write_words(told: Explanation, folder: Path) -> list[Path]:
    """A picture a word, each drawn and saved before the next: a page has thousands."""
    pictures = WordPictures(told.image, told.sight.views)
    for old in folder.glob("[0-9][0-9][0-9][0-9].png"):  # of another page, with more words
        old.unlink()
    written = []
    for number, gaze in enumerate(told.gazes, start=1):
        written.append(folder / f"{number:04}.png")
        pictures.draw(gaze).save(written[-1])
    return written


def _animate(pictures: list[Path], target: Path) -> None:
    """The pictures one after the other."""
    first, *others = pictures
    with Image.open(first) as opened:
        frames = map(Image.open, others)
        opened.save(target, save_all=True, append_images=frames, duration=_FRAME_MS, loop=0)


def render_html(told: Explanation, features: list[Feature]) -> str:
    """The report: pictures, numbers and script are all inside it."""
    environment = Environment(
        loader=PackageLoader("lightseek", "explain"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shown = told.image.copy()
    shown.thumbnail((PICTURE_PX, PICTURE_PX))
    return environment.get_template("report.html").render(
        told=told,
        page_url=data_url(shown),
        map_names=MAP_NAMES,
        features=[(file, title, data_url(picture)) for file, title, picture in features],
        data=to_data(told),
    )


def data_url(picture: Image.Image) -> str:
    """A picture as an address that holds it."""
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "WEBP", quality=80)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def to_data(told: Explanation) -> dict[str, Any]:
    """What the slider needs: where visual tokens lie, and how much each word looked at them."""
    return {
        "width": told.image.width,
        "height": told.image.height,
        "views": [_view_data(seen) for seen in told.sight.views],
        "words": [_word_data(gaze) for gaze in told.gazes],
    }


def _view_data(seen: Seen) -> dict[str, Any]:
    (a, c, e), (b, d, f) = np.round(seen.to_page, 4).tolist()
    return {
        "toPage": [a, b, c, d, e, f],
        "box": [round(side, 1) for side in seen.box],
        "first": seen.first,
        "rows": seen.rows,
        "cols": seen.cols,
    }


def _word_data(gaze: Gaze) -> dict[str, Any]:
    """One entry a map in `share` and `weights`."""
    return {
        "text": gaze.text,
        "box": gaze.box and [round(side, 1) for side in gaze.box],
        "confidence": gaze.confidence and round(gaze.confidence, 3),
        "share": [round(float(weights.sum()), 3) for weights in gaze.weights.values()],
        "first": gaze.first,
        "weights": [_levels(weights) for weights in gaze.weights.values()],
    }


def _levels(weights: Float32[np.ndarray, " N"]) -> str:
    """Weights as bytes, so many parts of the largest."""
    strength = weights / max(float(weights.max()), 1e-12)
    return base64.b64encode(np.uint8(np.rint(strength * 255)).tobytes()).decode()
