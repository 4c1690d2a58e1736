"""Words that are read right have a box around their ink."""

import random
from collections.abc import Iterable

import numpy as np
import pytest
from PIL import Image

from lightseek.data.corpus import Corpus
from lightseek.data.fonts import SHIPPED, load_faces
from lightseek.data.kinds import KINDS, Paper
from lightseek.data.layouts import PageSetter, first_set, scaled
from lightseek.document import Box, Document
from lightseek.ocr import OCR
from lightseek.tokenizer import LATIN

TEXT = """\
The river froze early that year, and nobody in the village could remember a colder winter.
When the carts could no longer cross the ford, the miller lent out his horses for salt.
A letter from the town took eleven days instead of two; the paper was damp and hard to read.
In March the ice broke with a noise like thunder, and children ran down to watch it go.
"""
SCALE = 150 / 72
NOTE = Paper(300, 330, 24, 24)
"""A sheet for some sixty words."""


@pytest.fixture(scope="module")
def setter(tmp_path_factory: pytest.TempPathFactory) -> PageSetter:
    folder = tmp_path_factory.mktemp("text")
    (folder / "en-tale.txt").write_text(TEXT * 40)
    return PageSetter(SHIPPED, load_faces(SHIPPED, LATIN), Corpus.load(folder, LATIN))


def overlaps(document: Document, truth: Iterable[tuple[str, Box]]) -> list[float]:
    """How well the box of each word that was read right matches a true one, 0 to 1."""
    left = list(truth)
    found = []
    for word in document.pages[0].words:
        same = [entry for entry in left if entry[0] == word.text]
        if same:
            best = max(same, key=lambda entry: word.box.iou(entry[1]))
            left.remove(best)
            found.append(word.box.iou(best[1]))
    return found


@pytest.mark.parametrize("kind", ["prose", "two_columns", "table"])
def test_words_of_clean_print(nano: OCR, setter: PageSetter, kind: str) -> None:
    rng = random.Random(1)
    page = first_set(lambda: setter.try_kind(rng, kind, NOTE, 10.0))
    lines = [scaled(page.line(i), page.factors(SCALE)) for i in range(len(page))]
    truth = [word for line in lines for word in line.words]
    ious = overlaps(nano.read(page.image(SCALE)), truth)
    assert len(ious) > 0.7 * len(truth) > 14
    assert np.mean(np.array(ious) >= 0.5) >= 0.95


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_page_that_lies_wrong_is_read_the_right_way_up(
    nano: OCR, setter: PageSetter, degrees: int
) -> None:
    rng = random.Random(1)
    page = first_set(lambda: setter.try_kind(rng, "prose", NOTE, 10.0))
    image = Image.fromarray(np.asarray(page.image(SCALE)))
    upright = nano.read(image)
    turned = nano.read(image.rotate(degrees, expand=True))
    assert turned.pages[0].turned == degrees
    assert upright.pages[0].turned == 0
    assert turned.text == upright.text
    word, same = turned.pages[0].words[0], upright.pages[0].words[0]
    left, top, right, bottom = same.box
    wide, high = image.size
    expected = {
        90: Box(top, wide - right, bottom, wide - left),
        180: Box(wide - right, high - bottom, wide - left, high - top),
        270: Box(high - bottom, left, high - top, right),
    }
    assert word.box.iou(expected[degrees]) > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_words_of_worn_pages(nano: OCR, setter: PageSetter, kind: str) -> None:
    sample = setter.set_page(random.Random(2), kind=kind, difficulty=0.5)
    ious = overlaps(nano.read(sample.image), sample.words)
    assert len(ious) > 0.5 * len(sample.words)
    assert np.mean(np.array(ious) >= 0.5) >= 0.95
