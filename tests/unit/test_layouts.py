import random
from pathlib import Path

import numpy as np
import pytest

from lightseek.data.corpus import Corpus
from lightseek.data.fonts import SHIPPED, load_faces
from lightseek.data.kinds import KINDS
from lightseek.data.layouts import PageSample, PageSetter
from lightseek.errors import UsageError
from lightseek.tokenizer import LATIN

HOSTILE = (
    '\\ # $ * _ ` < > @ [ ] ~ = // /* */ -- --- ... "q" \'q\' \\u{41} #let #{ } ( ; , " \\" '
    "漢字 \u200b e\u0301 \U0001f600 ⁂ ﬁ ﬃ № \x07 \u00ad 1/2 + - 1. https://a.b @label <label> "
)


class HostileCorpus(Corpus):
    def __init__(self) -> None:
        pass

    def sample(self, rng: random.Random, num_chars: int) -> str:
        words = HOSTILE.split(" ")
        return " ".join(rng.choices(words, k=num_chars // 3 + 1)) + "x" * (num_chars // 4)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("text")
    lines = [
        f"“Well,” said hound no. {n}, a first-class fox’s façade — for €{n}.50; that’s {n * 7} [m]."
        for n in range(300)
    ]
    (folder / "en.txt").write_text("\n".join(lines), encoding="utf-8")
    return Corpus.load(folder, LATIN)


@pytest.fixture(scope="module")
def setter(corpus: Corpus) -> PageSetter:
    return PageSetter(SHIPPED, load_faces(SHIPPED, LATIN), corpus)


@pytest.fixture(scope="module")
def clean_pages(setter: PageSetter) -> list[PageSample]:
    return [
        setter.set_page(random.Random(f"{kind} {seed}"), kind=kind, difficulty=0.0)
        for kind in KINDS
        for seed in "12"
    ]


def same(a: PageSample, b: PageSample) -> bool:
    boxes = zip(a.lines, b.lines, strict=True)
    return a.text == b.text and all(np.array_equal(x.boxes, y.boxes) for x, y in boxes)


def test_the_same_state_gives_the_same_page(setter: PageSetter, corpus: Corpus) -> None:
    other = PageSetter(SHIPPED, list(reversed(load_faces(SHIPPED, LATIN))), corpus)
    other.set_page(random.Random(99))
    texts = set()
    for seed in range(3):
        a, b = (s.set_page(random.Random(seed)) for s in (setter, other))
        assert same(a, b)
        assert np.array_equal(a.image, b.image)
        texts.add(a.text)
    assert len(texts) == 3


def test_the_text_is_that_of_the_lines(clean_pages: list[PageSample]) -> None:
    for page in clean_pages:
        assert [line.text for line in page.lines] == [t for t in page.text.split("\n") if t]
        assert [text for text, _ in page.words] == page.text.split()
        assert len(page.lines) > 3
        assert {*page.text} <= {*LATIN, " ", "\n"}
        assert "\n\n\n" not in page.text


def test_lines_have_a_box_for_every_character(clean_pages: list[PageSample]) -> None:
    for page in clean_pages:
        height, width = page.image.shape
        for line in page.lines:
            assert len(line.boxes) == len(line.spans) == len(line.text)
            assert line.text == line.text.strip()
            assert (np.diff(line.spans.mean(axis=1)) > 0).all()
            assert 0 <= line.box.left < line.box.right <= width
            assert 0 <= line.box.top < line.box.bottom <= height
            assert line.box.top < line.baseline < line.box.bottom + 2 * line.body_height


def test_every_character_has_its_ink_and_nothing_else_has(clean_pages: list[PageSample]) -> None:
    for page, kind in zip(clean_pages, [kind for kind in KINDS for _ in "12"], strict=True):
        ink = page.image < 128
        outside = ink.copy()
        for line in page.lines:
            boxes = np.floor(line.boxes).astype(int)
            for character, (left, top, right, bottom) in zip(line.text, boxes, strict=True):
                window = np.s_[max(0, top - 1) : bottom + 2, max(0, left - 1) : right + 2]
                assert (page.image[window] < 200).any() or character == " "
                outside[window] = False
        if kind in ("prose", "two_columns", "letter", "list"):  # they have no rules
            assert outside.sum() < 0.02 * ink.sum()


def test_words_stand_in_reading_order(clean_pages: list[PageSample]) -> None:
    for page in clean_pages:
        for line in page.lines:
            lefts = [box.left for _, box in line.words]
            assert lefts == sorted(lefts)


def test_columns_are_read_one_after_the_other(setter: PageSetter) -> None:
    turned = 0
    for seed in range(4):
        page = setter.set_page(random.Random(seed), kind="two_columns", difficulty=0.0)
        middle = page.image.shape[1] / 2
        sides = [
            line.box.left >= middle
            for line in page.lines
            if not line.box.left < middle < line.box.right
        ]
        assert sides == sorted(sides)
        turned += len({*sides}) == 2
    assert turned > 1


def test_rows_of_tables_are_lines(setter: PageSetter) -> None:
    page = setter.set_page(random.Random(3), kind="invoice", difficulty=0.0)
    lines = page.text.split("\n")
    start = lines.index("Item Qty Price Amount")
    amounts = []
    for line in lines[start + 1 :]:
        if not line:
            break
        *_, count, price, amount = line.replace(",", "").split()
        assert int(count) * float(price) == pytest.approx(float(amount))
        amounts.append(float(amount))
    subtotal = next(line for line in lines if line.startswith("Subtotal"))
    assert float(subtotal.split()[1].replace(",", "")) == pytest.approx(sum(amounts))


def test_wear_moves_nothing(setter: PageSetter) -> None:
    changed = 0
    for seed in range(3):
        rngs = random.Random(seed), random.Random(seed)
        clean, worn = (
            setter.set_page(rng, kind="letter", difficulty=difficulty)
            for rng, difficulty in zip(rngs, (0.0, 1.0), strict=True)
        )
        assert same(clean, worn)
        assert clean.image.shape == worn.image.shape
        assert np.bincount(clean.image.ravel()).argmax() == 255
        changed += not np.array_equal(clean.image, worn.image)
    assert changed == 3


def test_boxes_grow_with_the_resolution(setter: PageSetter) -> None:
    low, high = (setter.set_page(random.Random(1), dpi=dpi, difficulty=0.0) for dpi in (75, 150))
    assert low.text == high.text
    for a, b in zip(low.lines, high.lines, strict=True):
        assert np.allclose(a.boxes * 2, b.boxes, rtol=0.005, atol=0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_no_text_breaks_typst(kind: str) -> None:
    setter = PageSetter(SHIPPED, load_faces(SHIPPED, LATIN), HostileCorpus())
    page = setter.set_page(random.Random(0), kind=kind, difficulty=0.0)
    assert {*page.text} <= {*LATIN, " ", "\n"}


def test_an_unknown_kind_is_named(setter: PageSetter) -> None:
    with pytest.raises(UsageError, match="poster"):
        setter.set_page(random.Random(0), kind="poster")


def test_a_folder_without_the_faces_is_named(tmp_path: Path, corpus: Corpus) -> None:
    with pytest.raises(UsageError, match=tmp_path.name):
        PageSetter(tmp_path, load_faces(SHIPPED, LATIN), corpus)
