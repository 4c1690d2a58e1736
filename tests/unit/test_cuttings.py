import random
import re

import numpy as np
import pytest

from lightseek.data import cuttings
from lightseek.data.corpus import Corpus
from lightseek.data.cuttings import TypesetStrips
from lightseek.data.fonts import SHIPPED, load_faces
from lightseek.data.layouts import PageSetter
from lightseek.data.strips import LINE_PX, StripSample
from lightseek.tokenizer import LATIN, character_tokenizer

IDS = character_tokenizer().ids


@pytest.fixture(scope="module")
def setter(tmp_path_factory: pytest.TempPathFactory) -> PageSetter:
    folder = tmp_path_factory.mktemp("text")
    lines = [
        f"“Well,” said hound no. {n}, jumping a fox’s façade for €{n}.50; that’s {n * 7} [mg]."
        for n in range(300)
    ]
    (folder / "en.txt").write_text("\n".join(lines), encoding="utf-8")
    return PageSetter(SHIPPED, load_faces(SHIPPED, LATIN), Corpus.load(folder, LATIN))


@pytest.fixture(scope="module")
def typeset(setter: PageSetter) -> TypesetStrips:
    return TypesetStrips(setter, IDS)


def check(sample: StripSample, width: int) -> None:
    assert sample.image.shape == (LINE_PX, width)
    assert sample.glyphs.shape == (LINE_PX // 8, width // 4)
    assert len(sample.places) == len(sample.text) + 1
    assert len(sample.boxes) == len(sample.text) > 0
    assert sample.text == " ".join(sample.text.split())
    assert {*np.unique(sample.glyphs)} <= {0, *(IDS[c] for c in sample.text)}
    x, y = sample.places.T
    assert (np.diff(x) > 0).all()
    assert x[0] >= 0
    assert x[-1] <= width
    assert (y > 0).all()
    assert (y < LINE_PX).all()


def check_ink(sample: StripSample) -> None:
    for character, (left, top, right, bottom) in zip(sample.text, sample.boxes, strict=True):
        window = sample.image[int(top) : int(bottom) + 1, int(left) : int(right) + 1]
        assert (window < 225).any() or character == " "


@pytest.mark.parametrize("width", [256, 512, 1024])
@pytest.mark.parametrize("difficulty", [0.0, 1.0])
def test_strips_fit_together_and_repeat_themselves(
    typeset: TypesetStrips, width: int, difficulty: float
) -> None:
    for seed in range(6):
        a, b = (typeset.draw(random.Random(seed), width, difficulty) for _ in "ab")
        check(a, width)
        assert a.text == b.text
        for name in ("image", "glyphs", "boxes", "places"):
            assert np.array_equal(getattr(a, name), getattr(b, name))


def test_clean_strips_have_ink_where_the_labels_say(typeset: TypesetStrips) -> None:
    for seed in range(12):
        sample = typeset.draw(random.Random(seed), 512, 0.0)
        check_ink(sample)
        columns = np.flatnonzero((sample.image < 128).any(axis=0))
        # a rule may stand beside the text
        assert -2 <= sample.boxes[:, 0].min() - columns[0] < 8
        assert -8 < sample.boxes[:, 2].max() - columns[-1] <= 3


def test_lines_fill_the_strip(typeset: TypesetStrips) -> None:
    samples = [typeset.draw(random.Random(seed), 1024, 0.0) for seed in range(60)]
    heights = [np.ptp(sample.boxes[:, [1, 3]]) for sample in samples]
    assert 20 < np.median(heights) < 42
    assert max(heights) <= LINE_PX
    assert np.median([sample.places[-1, 0] for sample in samples]) > 500


def test_parts_of_neighbours_are_seen(typeset: TypesetStrips) -> None:
    seen = 0
    for seed in range(100):
        sample = typeset.draw(random.Random(seed), 512, 0.0)
        outside = sample.image < 128
        top, bottom = sample.boxes[:, 1].min(), sample.boxes[:, 3].max()
        outside[max(0, int(top) - 1) : int(bottom) + 2] = False
        seen += bool(outside.any())
    assert 5 < seen < 75


def test_forms_are_cut_to_their_ends(typeset: TypesetStrips, monkeypatch) -> None:
    monkeypatch.setattr(cuttings, "_NARROW_KINDS", ("invoice", "receipt"))
    texts = [typeset.draw(random.Random(seed), 512, 0.0).text for seed in range(60)]
    sums = [text for text in texts if re.search(r"\d[.,]\d\d", text)]
    assert len(sums) > 12
