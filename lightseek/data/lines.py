"""Real lines to train on: strips that a reader's cutter left, with text and places.

    FOLDER/lines.jsonl   {"image": "strips/000001.png", "text": "...", "places": [[x, y], ...]}

`lightseek.train.align` writes such a folder. Where a character stands is known from how the line
was read, how far it reaches is not: its box is a point, its glyph cells are empty. Knows nothing of
models.
"""

import json
import random
from bisect import bisect_left, bisect_right
from collections.abc import Container, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
from jaxtyping import UInt8

from lightseek.blocks.strips import STRIP_HEIGHT
from lightseek.config import STRICT, validate
from lightseek.data import degrade
from lightseek.data.strips import CELL_HEIGHT, CELL_WIDTH, StripSample
from lightseek.errors import DataError

INDEX = "lines.jsonl"
_LEAST_FILLED = 0.5
"""A strip takes at least this share of the width that it is laid on."""
_STRETCH = 0.9, 1.1
"""Least and most times as wide as it is: letters of every book are of other widths."""
_WORN = 0.5
"""Share of the wear of a drawn strip: a real one is worn already."""


@dataclass(frozen=True, slots=True)
class RealLine:
    """A row of the index."""

    __pydantic_config__: ClassVar = STRICT
    image: str
    """File, from the folder of the index."""
    width: int
    """Of the image, in pixels."""
    text: str
    places: list[tuple[float, float]]
    """x and y of the middle of every character and of the end, in pixels."""


@dataclass(frozen=True, slots=True)
class _Index:
    lines: list[RealLine]


def write_lines(folder: Path, lines: Iterable[RealLine]) -> None:
    """Write the index of images that are there.

    Args:
        folder: Holds the images.
        lines: In any order.
    """
    rows = (json.dumps(asdict(line), ensure_ascii=False) for line in lines)
    (folder / INDEX).write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")


class RealLines:
    """Lines of a folder, drawn by the width of a strip.

    Args:
        folder: What `lightseek data align` wrote.
        symbols: What a reader can write.

    Raises:
        DataError: If it holds no lines, or one that cannot be learnt.
        ModelError: If a row of its index is none.
    """

    def __init__(self, folder: Path, symbols: Container[str]) -> None:
        self._folder = folder
        index = folder / INDEX
        try:
            rows = [json.loads(row) for row in index.read_text(encoding="utf-8").splitlines()]
        except OSError as error:
            raise DataError(
                f"{index} cannot be read: {error.strerror}; make it by lightseek data align"
            ) from error
        except ValueError as error:
            raise DataError(f"{index} is not JSON lines: {error}") from error
        lines = validate(_Index, {"lines": rows}, source=str(index)).lines
        if not lines:
            raise DataError(f"{index} has no lines: align a larger data set")
        for number, line in enumerate(lines, start=1):
            if len(line.places) != len(line.text) + 1:
                raise DataError(
                    f"{index}, line {number}: {len(line.text)} characters and {len(line.places)} "
                    "places: give each character a place, and one more to the end"
                )
            if foreign := [c for c in line.text if c not in symbols]:
                raise DataError(
                    f"{index}, line {number}: {foreign[0]!r} is no symbol of the model: leave the "
                    "line out"
                )
        self._lines = sorted(lines, key=lambda line: (line.width, line.image))
        self._widths = [line.width for line in self._lines]

    def draw(self, rng: random.Random, width: int, difficulty: float = 1.0) -> StripSample | None:
        """A line that fills a good part of a strip, if there is one.

        Args:
            rng: Source of every decision.
            width: Of the strip in pixels, a multiple of 4.
            difficulty: From 0, as it is, to 1, worn some more.

        Raises:
            DataError: If its image cannot be read.
        """
        first = bisect_left(self._widths, _LEAST_FILLED * width)
        last = bisect_right(self._widths, width)
        if first >= last:
            return None
        line = self._lines[rng.randrange(first, last)]
        image = self._read(line)
        across = min(width, max(1, round(image.shape[1] * rng.uniform(*_STRETCH))))
        image = degrade.resize(image, rng, width=across, height=STRIP_HEIGHT)
        strip = np.full((STRIP_HEIGHT, width), 255, np.uint8)
        strip[:, :across] = degrade.finish(image, rng, _WORN * difficulty)
        places = np.array(line.places, np.float32) * (across / line.width, 1)
        return StripSample(
            image=strip,
            text=line.text,
            glyphs=np.zeros((STRIP_HEIGHT // CELL_HEIGHT, width // CELL_WIDTH), np.int16),
            boxes=np.tile(places[:-1], 2).astype(np.float32),
            places=places.clip(0, (width, STRIP_HEIGHT)).astype(np.float32),
        )

    def _read(self, line: RealLine) -> UInt8[np.ndarray, "H W"]:
        path = self._folder / line.image
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if image is None or image.shape != (STRIP_HEIGHT, line.width):
            raise DataError(f"{path} is not the strip that {INDEX} tells of: align the lines again")
        return np.asarray(image, np.uint8)
