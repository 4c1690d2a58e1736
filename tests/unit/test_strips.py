import random
from dataclasses import replace

import cv2
import numpy as np
import pytest

from lightseek.data import look, strips
from lightseek.data.corpus import to_label
from lightseek.data.fonts import SHIPPED, load_faces
from lightseek.data.lettering import Type
from lightseek.data.look import draw_look
from lightseek.data.strips import LINE_PX, StripRenderer
from lightseek.tokenizer import LATIN, character_tokenizer

TEXT = "The quick brown fox, 12.50 of them: “jumps” over a lazy dog’s façade, again and again."
IDS = character_tokenizer().ids


@pytest.fixture(scope="module")
def faces():
    return load_faces(SHIPPED, LATIN)


@pytest.fixture(scope="module")
def renderer(faces):
    return StripRenderer(faces, IDS)


def samples(renderer, count, *, text=TEXT, width=512, difficulty=1.0):
    rng = random.Random(7)
    return [renderer.render(rng, text, width=width, difficulty=difficulty) for _ in range(count)]


def test_same_state_same_sample(renderer, faces):
    other = StripRenderer(list(reversed(faces)), IDS)
    for a, b in zip(samples(renderer, 12), samples(other, 12), strict=True):
        assert a.text == b.text
        for name in ("image", "glyphs", "places", "boxes"):
            assert np.array_equal(getattr(a, name), getattr(b, name))


@pytest.mark.parametrize("width", [256, 1024])
def test_labels_fit_together(renderer, width, monkeypatch):
    monkeypatch.setattr(strips, "note_like", lambda _: "")
    monkeypatch.setattr(look, "_draw_item", lambda _: "")
    for sample in samples(renderer, 25, width=width):
        assert sample.image.shape == (LINE_PX, width)
        assert sample.glyphs.shape == (LINE_PX // 8, width // 4)
        assert len(sample.places) == len(sample.text) + 1
        assert len(sample.boxes) == len(sample.text)
        assert all(c in IDS for c in sample.text)
        assert to_label(TEXT).startswith(sample.text)
        assert set(np.unique(sample.glyphs)) <= {0, *(IDS[c] for c in sample.text if c != " ")}


def test_old_letterpress_sets_colons_and_quotes_apart_but_not_as_words(renderer, monkeypatch):
    plain = replace(draw_look(random.Random(0), 0.0), line_px=30)
    drawn = []
    for air in (0.0, 0.5):
        look = replace(plain, air=air)
        monkeypatch.setattr(strips, "draw_look", lambda *_, look=look: look)
        drawn.append(samples(renderer, 1, text='"Ja: „nein” a:b', difficulty=0.0)[0])
    close, airy = drawn
    assert close.text == airy.text == '"Ja: „nein” a:b'
    wider = np.diff(airy.places[:-1, 0]) - np.diff(close.places[:-1, 0]) > 1
    assert [close.text[i : i + 2] for i in np.flatnonzero(wider)] == ["a:", "„n", "n”"]
    for left, top, right, bottom in airy.boxes[[c != " " for c in airy.text]].astype(int):
        assert (airy.image[top : bottom + 1, left : right + 1] < 200).any(), (
            "drawn where it is told"
        )


def test_receipts_are_often_printed_in_faces_of_dots(faces, monkeypatch):
    one, other = (next(f for f in faces if f.family == name) for name in ("Caladea", "Inter"))
    pair = [replace(one, bitmap=True), replace(other, bitmap=False)]
    opened = []
    monkeypatch.setattr(strips, "Type", lambda *args: opened.append(args[0]) or Type(*args))
    shares = {}
    for name in ("receipt", "print"):
        firsts = []
        for seed in range(100):
            opened.clear()
            rng = random.Random(seed)
            StripRenderer(pair, IDS).render(rng, "a", width=256, press=name)
            firsts.append(opened[0].bitmap)
        shares[name] = np.mean(firsts)
    assert 0.55 < shares["receipt"] < 0.85
    assert 0.35 < shares["print"] < 0.65


def test_spaced_letters_are_written_as_words(renderer, monkeypatch):
    looks = (draw_look(random.Random(seed), 1.0) for seed in range(400))
    spaced = next(look for look in looks if look.tracking_em > 0.2)
    plain = replace(draw_look(random.Random(0), 0.0), line_px=30)
    look = replace(plain, tracking_em=spaced.tracking_em, space=spaced.space)
    monkeypatch.setattr(strips, "draw_look", lambda *_: look)
    [sample] = samples(renderer, 1, text="NO TE", difficulty=0.0)
    assert sample.text == "NO TE"
    gaps = sample.boxes[1:, 0] - sample.boxes[:-1, 2]
    within, between = (gaps[0], gaps[3]), sample.boxes[3, 0] - sample.boxes[1, 2]
    assert between > 2 * max(within)


def test_names_in_small_capitals_are_written_in_lower_case(renderer, monkeypatch):
    plain = replace(draw_look(random.Random(0), 0.0), line_px=30)
    drawn = []
    for share in (0.0, 0.75):
        look = replace(plain, small_capitals=share)
        monkeypatch.setattr(strips, "draw_look", lambda *_, look=look: look)
        drawn.append(samples(renderer, 1, text="of Lion and Été", difficulty=0.0)[0])
    usual, small = drawn
    assert usual.text == small.text == "of Lion and Été"
    highs = small.boxes[:, 3] - small.boxes[:, 1]
    first, *others = highs[3:7]
    assert first > 1.15 * max(others)
    assert others == pytest.approx([others[0]] * 3, rel=0.15)
    # an i in lower case would have a dot, an o in lower case would be lower
    assert small.boxes[4:7, 1] == pytest.approx(small.boxes[4, 1], abs=2)
    # words without a capital stay as they are
    assert np.allclose(small.boxes[:2], usual.boxes[:2])


def test_raised_and_lowered_figures_are_written_after_their_word(renderer, monkeypatch):
    plain = replace(draw_look(random.Random(0), 0.0), line_px=30)
    look = replace(plain, notes=1.0)
    monkeypatch.setattr(strips, "draw_look", lambda *_: look)
    monkeypatch.setattr(strips, "note_like", lambda _: "38")
    found = samples(renderer, 60, text="Head, line.", difficulty=0.0)
    assert {sample.text for sample in found} >= {"Head38, line38.", "Head,38 line.38"}
    lowered = 0
    for sample in found:
        at = sample.text.index("38")
        high = np.ptp(sample.boxes[[0, at]][:, 1::2], axis=1)
        assert 0.45 < high[1] / high[0] < 0.85
        (_, top, _, base), (_, _, _, foot) = sample.boxes[[0, at]]
        below = foot > base
        lowered += below
        assert below or foot < base - 0.12 * (base - top)
        left, top, right, bottom = sample.boxes[at].astype(int)
        assert (sample.image[top : bottom + 1, left : right + 1] < 200).any()
    assert 0 < lowered < 40


def test_several_lines_lie_below_each_other(renderer, monkeypatch):
    monkeypatch.setattr(strips, "note_like", lambda _: "")
    monkeypatch.setattr(look, "_draw_item", lambda _: "")
    rng = random.Random(3)
    for _ in range(20):
        sample = renderer.render(rng, TEXT * 3, width=512, lines=3, difficulty=0.5)
        assert sample.image.shape == (3 * LINE_PX, 512)
        assert sample.glyphs.shape == (3 * LINE_PX // 8, 128)
        assert len(sample.places) == len(sample.text) + 1
        assert len(sample.boxes) == len(sample.text)
        lines = sample.text.split("\n")
        assert len(lines) == 3
        assert to_label(TEXT * 3).startswith(" ".join(lines))
        ends = np.cumsum([len(line) + 1 for line in lines])
        rows = np.split(sample.places, ends[:-1])
        assert all((np.diff(row[:, 0]) > 0).all() for row in rows)
        heights = [row[:, 1].mean() for row in rows]
        assert heights[0] < heights[1] < heights[2]
        middles = (sample.boxes[:, 1] + sample.boxes[:, 3]) / 2
        assert (
            abs(
                np.delete(middles, ends[:-1] - 1)
                - sample.places[:-1][np.delete(np.arange(len(sample.text)), ends[:-1] - 1)][:, 1]
            ).max()
            < 32
        )


def test_a_short_text_leaves_lines_empty(renderer):
    sample = renderer.render(random.Random(0), "short", width=256, lines=4, difficulty=0.0)
    assert sample.text == "short"
    assert sample.image.shape == (4 * LINE_PX, 256)


def test_places_go_from_left_to_right_within_the_strip(renderer):
    for sample in samples(renderer, 30):
        x, y = sample.places.T
        assert (np.diff(x) > 0).all()
        assert x[0] >= 0
        assert x[-1] <= 512
        assert (y > 0).all()
        assert (y < LINE_PX).all()


def test_accents_and_brackets_are_not_cut_off(faces):
    fullest = 0.0
    for face in faces:
        inks = [Type(face, 100, {}).ink(c) for c in "É(g"]
        whole = np.array([bottom - top for _, top, _, bottom in inks])
        for sample in samples(StripRenderer([face], IDS), 8, text="É(g", difficulty=0.0):
            heights = sample.boxes[:, 3] - sample.boxes[:, 1]
            assert heights / heights[0] == pytest.approx(whole / whole[0], rel=0.02)
            fullest = max(fullest, np.ptp(sample.boxes[:, [1, 3]]))
    assert 0.9 * LINE_PX < fullest <= LINE_PX


def test_strip_is_filled_with_words_that_fit(renderer):
    for sample in samples(renderer, 20, text="word " * 200, difficulty=0.0):
        assert set(sample.text.split()) == {"word"}
        assert sample.places[-1, 0] > 512 * 0.6


def test_clean_print_has_ink_where_the_labels_say(renderer):
    for sample in samples(renderer, 20, difficulty=0.0):
        ink = sample.image < 160
        columns = np.flatnonzero(ink.any(axis=0))
        assert abs(sample.boxes[:, 0].min() - columns[0]) <= 2
        assert abs(sample.boxes[:, 2].max() - columns[-1]) <= 3
        for character, (left, top, right, bottom) in zip(sample.text, sample.boxes, strict=True):
            if character != " ":
                box = ink[int(top) : int(bottom) + 1, int(left) : int(right) + 1]
                assert box.any()
        inside = np.zeros_like(ink)
        for left, top, right, bottom in sample.boxes:
            rows = slice(max(0, int(top) - 2), int(bottom) + 3)
            inside[rows, max(0, int(left) - 2) : int(right) + 3] = True
        assert not (ink & ~inside).any()


def turned(rng, image, *_):
    """Half a degree, about the corner."""
    matrix = np.array([[1, -0.009, 6.0], [0.009, 1, 2.0]])
    shape = image.shape[::-1]
    return cv2.warpAffine(image, matrix, shape, borderMode=cv2.BORDER_REPLICATE), matrix


@pytest.mark.parametrize("is_cut", [False, True])
def test_labels_follow_the_wear(renderer, monkeypatch, is_cut):
    monkeypatch.setattr(strips, "wear", turned)
    # so little of all else that there is none
    monkeypatch.setattr(strips, "_CUT_SHARE", 1e12 if is_cut else 0.0)
    for sample in samples(renderer, 12, text="HAMBURG bonus mensa Bild und mehr", difficulty=1e-9):
        ink = sample.image < 150
        inside = np.zeros_like(ink)
        for character, box in zip(sample.text, sample.boxes, strict=True):
            left, top, right, bottom = box.astype(int)
            assert ink[top : bottom + 1, left : right + 1].any() or character == " "
            inside[max(0, top - 2) : bottom + 3, max(0, left - 2) : right + 3] = True
        assert (ink & ~inside).sum() < 0.02 * ink.sum()


def test_glyph_map_of_clean_print_covers_the_line(renderer):
    for sample in samples(renderer, 30, text="HAMBURG bonus mensa", difficulty=0.0):
        rows, cols = np.nonzero(sample.glyphs)
        assert {*sample.glyphs[rows, cols].tolist()} == {IDS[c] for c in sample.text if c != " "}
        ink = np.flatnonzero((sample.image < 160).any(axis=0))
        assert ink[0] - 8 < cols.min() * 4 < ink[0] + 8
        assert ink[-1] - 8 < cols.max() * 4 + 4 < ink[-1] + 8
        for character, (x, y) in zip(sample.text, sample.places, strict=False):
            if character == "M":
                assert sample.glyphs[int(y) // 8, int(x) // 4] == IDS["M"]


def test_every_symbol_of_every_face_is_drawn(faces):
    for face in faces:
        renderer = StripRenderer([face], IDS)
        symbols = sorted(face.covers)
        for start in range(0, len(symbols), 20):
            text = " ".join(symbols[start : start + 20])
            sample = renderer.render(random.Random(1), text, width=2048, difficulty=0.0)
            assert sample.text == to_label(text)
            for character, box in zip(sample.text, sample.boxes.astype(int), strict=True):
                left, top, right, bottom = box
                inked = (sample.image[top : bottom + 1, left : right + 1] < 220).any()
                assert inked or character == " "


def test_what_a_face_lacks_is_replaced_or_left_out(faces):
    poor = replace(faces[0], covers=frozenset("abcdeE'\"-"))
    sample = StripRenderer([poor], IDS).render(
        random.Random(0), "bé “ac” É–d’ xyz ⁂ de", width=1024, difficulty=0.0
    )
    assert sample.text == 'be "ac" E-d\' de'


def test_ligatures_are_drawn_and_written_as_letters(faces):
    renderer = StripRenderer([f for f in faces if "ﬁ" in f.covers][:1], IDS)
    sample = renderer.render(random.Random(0), "ﬁ", width=256, difficulty=0.0)
    assert sample.text == "fi"
    assert (sample.image < 200).any()
    assert sample.boxes[0, 2] == pytest.approx(sample.boxes[1, 0])


@pytest.mark.parametrize(
    "text", ["", "    \n\t ", "漢字かな", "W" * 500, "\u200b\u0301", "i" * 900, "a\x00b", "é" * 9]
)
@pytest.mark.parametrize("width", [32, 256])
def test_any_text_returns(renderer, text, width):
    for sample in samples(renderer, 8, text=text, width=width):
        assert len(sample.places) == len(sample.text) + 1
        assert sample.text == sample.text.strip()


def test_long_word_is_cut_until_it_fits(renderer):
    for sample in samples(renderer, 10, text="n" * 500, difficulty=0.0):
        assert 5 < len(sample.text) < 200
        assert set(sample.text) == {"n"}


def test_difficulty_zero_is_black_on_white(renderer):
    for sample in samples(renderer, 20, difficulty=0.0):
        assert np.bincount(sample.image.ravel()).argmax() == 255


def test_mixture_holds_dark_mode_and_bilevel(renderer):
    mixture = samples(renderer, 600, width=256)
    dark = sum(np.median(sample.image) < 90 for sample in mixture)
    two_levels = sum(np.isin(sample.image, (0, 255)).mean() > 0.9 for sample in mixture)
    assert 3 <= dark <= 90
    assert two_levels >= 12


def test_items_of_lists_begin_with_a_mark_apart_from_their_text(renderer, monkeypatch):
    plain = replace(draw_look(random.Random(0), 0.0), line_px=30, item=("•",))
    monkeypatch.setattr(strips, "draw_look", lambda *_: plain)
    gaps = []
    for seed in range(20):
        sample = renderer.render(random.Random(seed), "all the text", width=512, difficulty=0.0)
        assert sample.text == "• all the text"
        bullet, first = sample.boxes[0], sample.boxes[2]
        gaps.append(first[0] - bullet[2])
    assert min(gaps) < 20
    assert max(gaps) > 40
