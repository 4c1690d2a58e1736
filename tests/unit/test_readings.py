import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from lightseek.blocks import STRIP_WIDTHS
from lightseek.data.fonts import SHIPPED
from lightseek.readings import (
    USUAL_PITCH_PX,
    VIEWS,
    StripText,
    find_cut,
    halve,
    has_lost_place,
    is_legible,
    is_likely,
    join,
    read_carefully,
    stretch,
)

WORDS = "some words that stand on one line"
FONT = ImageFont.truetype(SHIPPED / "Inter-Regular.otf", 30)
LEFT = 10


def strip(text: str = WORDS, width: int = 512) -> np.ndarray:
    image = Image.new("L", (width, 64), 255)
    ImageDraw.Draw(image).text((LEFT, 14), text, font=FONT, fill=0)
    return np.asarray(image)


def middles(text: str) -> list[float]:
    ends = [LEFT + FONT.getlength(text[:i]) for i in range(len(text) + 1)]
    return [(a + b) / 2 for a, b in itertools.pairwise(ends)]


def said(text: str, across: Sequence[float], probability: float = 0.99) -> StripText:
    centres = np.stack([np.array(across), np.full(len(across), 32.0)], axis=1).astype(np.float32)
    return StripText(text, np.full(len(text), probability, np.float32), centres, finished=True)


def right(text: str = WORDS, probability: float = 0.99) -> StripText:
    return said(text, middles(text), probability)


def twice() -> StripText:
    """A word is written two times: the reader went back to where it began."""
    text = WORDS.replace("that", "that that")
    at = text.index("that") + len("that ")
    across = middles(WORDS)
    return said(text, across[:at] + across[at - len("that ") :], 0.8)


def left_out() -> StripText:
    """Two words are missing: the reader went on too far."""
    start, end = WORDS.index("that "), WORDS.index("on ")
    across = middles(WORDS)
    return said(WORDS[:start] + WORDS[end:], across[:start] + across[end:], 0.8)


def still() -> StripText:
    """The reader says one letter after the other of the same place."""
    across = middles(WORDS)
    return said("some " + "abcdefghijkl", [*across[:5], *[across[5] + 0.1 * i for i in range(12)]])


def again_and_again() -> StripText:
    text = "some " + "se " * 9
    return said(text, np.linspace(20, 480, len(text)).tolist())


@pytest.mark.parametrize("reading", [twice, left_out, still, again_and_again])
def test_a_lost_place_is_found(reading: object) -> None:
    assert callable(reading)
    assert has_lost_place(strip(), reading())


@pytest.mark.parametrize(
    "text", [WORDS, "W I D E  G A P", "a . . . . . . . . 12", "", "x", "iiillliii"]
)
def test_what_was_read_right_has_its_place(text: str) -> None:
    assert not has_lost_place(strip(text), right(text))


def test_a_wide_gap_without_ink_is_no_lost_place() -> None:
    both = np.concatenate([strip("left", 256), strip("right", 256)], axis=1)
    across = middles("left") + [120.0] + [256 + x for x in middles("right")]
    assert not has_lost_place(both, said("left right", across))


def test_a_strip_is_cut_between_two_words() -> None:
    image = strip()
    cut = find_cut(image)
    assert (image[:, cut - 2 : cut + 3] == 255).all()
    assert 100 < cut < 400
    for half, original in zip(halve(image, cut), (image[:, :cut], image[:, cut:]), strict=True):
        assert half.shape[1] in STRIP_WIDTHS
        np.testing.assert_array_equal(half[:, : original.shape[1]], original)
        assert (half[:, original.shape[1] :] == 255).all()


@pytest.mark.parametrize("value", [0, 255])
def test_a_strip_without_ink_is_cut_in_its_middle(value: int) -> None:
    assert find_cut(np.full((64, 256), value, np.uint8)) == 128


def test_halves_join_to_the_whole() -> None:
    cut = round(LEFT + FONT.getlength("some words"))
    before, after = "some words ", " that stand on one line"
    left = said(before, middles(WORDS)[: len(before)])
    across = [x - cut for x in middles(WORDS)[len("some words") :]]
    joined = join(left, said(after, across), cut)
    assert joined.text == WORDS
    np.testing.assert_allclose(joined.centres[:, 0], middles(WORDS), atol=8)
    assert len(joined.confidences) == len(WORDS)
    assert joined.finished


def test_halves_of_which_one_is_silent_join_without_a_space() -> None:
    nothing = said("", [])
    assert join(nothing, right(), 0).text == WORDS
    assert join(right(), nothing, 512).text == WORDS
    assert join(nothing, nothing, 9).text == ""


class Forgetful:
    """Reads what it is shown, but writes a word of long lines twice."""

    def __init__(self, half_probability: float = 0.99) -> None:
        self.calls: list[int] = []
        self.half_probability = half_probability

    def __call__(self, strips: Sequence[np.ndarray], /, votes: int = 1) -> list[StripText]:
        self.calls.append(len(strips))
        return [self._read(image) for image in strips[::votes]]

    def _read(self, image: np.ndarray) -> StripText:
        if np.array_equal(image, strip()):
            return twice()
        if np.array_equal(image, strip("some words")):
            return right("some words")
        inked = np.flatnonzero(image.min(axis=0) < 255)
        is_left = inked[0] in range(LEFT, LEFT + 5)
        size = len([x for x in middles(WORDS) if x < find_cut(strip())])
        text = WORDS[:size] if is_left else WORDS[size:]
        shift = 0 if is_left else find_cut(strip())
        across = middles(WORDS)[:size] if is_left else middles(WORDS)[size:]
        return said(text, [x - shift for x in across], self.half_probability)


def test_a_strip_that_lost_its_place_is_read_again_in_two() -> None:
    reader = Forgetful()
    short = strip("some words")
    results = read_carefully([short, strip(), short], reader)
    assert [result.text for result in results] == ["some words", WORDS, "some words"]
    assert reader.calls == [3, 2]


def test_a_reading_that_came_to_its_end_is_kept() -> None:
    forgetful = Forgetful(half_probability=0.6)

    def read(strips: Sequence[np.ndarray], /, votes: int = 1) -> list[StripText]:
        found = forgetful(strips, votes)
        return [replace(one, finished=one.text != twice().text) for one in found]

    [result] = read_carefully([strip()], read)
    assert result.finished
    assert result.text == WORDS


def test_the_surer_reading_is_kept() -> None:
    [result] = read_carefully([strip()], Forgetful(half_probability=0.5))
    assert result.text == twice().text


@pytest.mark.parametrize("silent", [(0,), (1,), (0, 1)])
def test_a_half_that_says_nothing_does_not_win(silent: tuple[int, ...]) -> None:
    """No text has nothing to doubt: it would always be the surest."""
    forgetful = Forgetful()

    def read(strips: Sequence[np.ndarray], /, votes: int = 1) -> list[StripText]:
        found = forgetful(strips, votes)
        if len(found) > 1:  # two halves
            found = [said("", []) if i in silent else half for i, half in enumerate(found)]
        return found

    [result] = read_carefully([strip()], read)
    assert result.text == twice().text


def dense() -> np.ndarray:
    """The strip with its letters at half their distance."""
    half = np.asarray(Image.fromarray(strip()).resize((256, 64)))
    return np.hstack([half, np.full((64, 256), 255, np.uint8)])


def test_letters_that_stand_close_are_read_as_far_apart_as_most() -> None:
    agreed = right(probability=0.9)
    reader = Undecided(agreed, times=0.5)
    [result] = read_carefully([dense()], reader)
    assert result.text == WORDS
    pitch = (middles(WORDS)[-1] - middles(WORDS)[0]) / 2 / (len(WORDS) - 1)
    share = USUAL_PITCH_PX / pitch
    end = np.flatnonzero(dense().min(axis=0) < 200)[-1]
    assert reader.rights[0] / end == pytest.approx(share, abs=0.02)
    # from the wider strip back to this one
    np.testing.assert_allclose(result.centres[:, 0], agreed.centres[:, 0] / share, rtol=0.02)


@pytest.mark.parametrize("probability", [0.3, 0.99])
def test_what_is_clear_or_no_text_is_read_once(probability: float) -> None:
    reader = Undecided(right(), probability=probability)
    read_carefully([strip()], reader)
    assert reader.rights == []


class Undecided:
    """Is sure of nothing that it sees alone; what it says of several views is given."""

    def __init__(self, agreed: StripText, times: float = 1, probability: float = 0.8) -> None:
        self.agreed = agreed
        across = [x * times for x in middles(WORDS)]
        self.alone = said(WORDS.replace("m", "n"), across, probability)
        self.rights: list[int] = []
        self.tops: list[int] = []

    def __call__(self, strips: Sequence[np.ndarray], /, votes: int = 1) -> list[StripText]:
        if votes == 1:
            return [self.alone] * len(strips)
        self.rights = [int(np.flatnonzero(s.min(axis=0) < 200)[-1]) for s in strips]
        self.tops = [int(np.flatnonzero(s.min(axis=1) < 200)[0]) for s in strips]
        return [self.agreed] * (len(strips) // votes)


def test_what_is_unclear_is_read_in_several_views_together() -> None:
    reader = Undecided(right(probability=0.7))
    results = read_carefully([strip(), strip()], reader)
    assert [result.text for result in results] == [WORDS, WORDS]
    widths, lower = zip(*VIEWS, strict=True)
    rights, tops = np.array(reader.rights).reshape(2, -1), np.array(reader.tops).reshape(2, -1)
    for across, down in zip(rights, tops, strict=True):
        assert across / across[0] == pytest.approx(widths, abs=0.02)
        assert list(down - down[0]) == list(lower)
    assert VIEWS[0] == (1, 0)  # places are told on the first


@pytest.mark.parametrize(
    "agreed", [said("", []), replace(right(), finished=False), twice(), still()]
)
def test_what_is_agreed_on_must_be_text_with_an_end_and_its_place(agreed: StripText) -> None:
    [result] = read_carefully([strip()], Undecided(agreed))
    assert result.text == WORDS.replace("m", "n")


def test_what_several_views_do_not_agree_on_is_no_text() -> None:
    [result] = read_carefully([strip()], Undecided(right(probability=0.3)))
    assert result.text == ""


def test_nonsense_is_not_cut_in_two_until_it_looks_like_text() -> None:
    nonsense = replace(twice(), confidences=np.full(len(twice().text), 0.3, np.float32))
    calls = []

    def read(strips: Sequence[np.ndarray], /, votes: int = 1) -> list[StripText]:
        calls.append(len(strips))
        return [nonsense] * (len(strips) // votes)

    assert has_lost_place(strip(), nonsense)
    [result] = read_carefully([strip()], read)
    assert result.text == ""
    assert calls == [1]


def test_no_strip_becomes_wider_than_strips_are() -> None:
    full = np.tile(strip(), 2)
    image, share = stretch(full, 1.2)
    assert image.shape[1] == STRIP_WIDTHS[-1]
    assert 1 <= share < 1.1
    blank, _ = stretch(np.full((32, 128), 255, np.uint8), 0.85)
    assert blank.shape == (32, 192)


@pytest.mark.filterwarnings("error")
def test_places_beyond_the_strip_are_borne() -> None:
    beyond = said("far away", [600 + 60 * i for i in range(8)])
    assert not has_lost_place(strip(width=512), beyond)


def test_no_view_of_a_full_strip_is_wider_than_strips_are() -> None:
    full = np.tile(strip(), 2)
    full = np.where(np.arange(full.shape[1]) == full.shape[1] - 2, 0, full).astype(np.uint8)
    widths: list[int] = []

    def read(strips: Sequence[np.ndarray], /, votes: int = 1) -> list[StripText]:
        widths.extend(image.shape[1] for image in strips)
        return [right(probability=0.8)] * (len(strips) // votes)

    read_carefully([full], read)
    assert widths == [1024, 1024, 896, 1024, 1024]


def test_strips_that_kept_their_place_are_read_once() -> None:
    reader = Forgetful()
    read_carefully([strip("some words")], reader)
    assert reader.calls == [1]
    assert read_carefully([], reader) == []


@pytest.mark.parametrize(
    ("text", "probability", "legible"),
    [
        ("word", 0.5, True),
        ("word", 0.3, False),
        ("4/1/13", 0.5, True),
        ("so......", 0.6, False),
        ("----", 0.7, False),
        ("- -", 0.9, True),
        ("* * *", 0.9, True),
        ("————————", 0.97, False),
        ("__ ____ ____", 0.97, False),
        ("++++++++++++", 0.97, True),
        ("++++++++++++", 0.6, False),
        ("semennemensennemmannemmannemennemensennemenses..", 0.97, False),
        ("Rindfleischetikettierungsueberwachungsaufgaben", 0.97, True),
    ],
)
def test_what_is_no_text_is_dropped(text: str, probability: float, legible: bool) -> None:
    result = right(text, probability)
    assert is_legible(result) is legible

    def read(strips: Sequence[np.ndarray], /, votes: int = 1) -> list[StripText]:
        return [result] * (len(strips) // votes)

    [kept] = read_carefully([strip(text)], read)
    assert kept.text == (text if legible else "")
    assert kept.finished


def test_a_word_is_as_sure_as_all_its_characters_and_its_ends() -> None:
    sure = np.array([0.9, 0.5, 0.8, 1.0, 0.6], np.float32)
    result = StripText("ab cd", sure, np.zeros((5, 2), np.float32), finished=True)
    assert result.word_confidences() == pytest.approx([0.9 * 0.5 * 0.8, 0.8 * 0.6])
    assert result.probability == pytest.approx((0.9 * 0.5 * 0.8 * 0.6) ** 0.2)
    assert said("", []).word_confidences() == []


@pytest.mark.parametrize(
    ("word", "confidence", "before", "behind", "likely"),
    [
        ("·", 0.3, True, False, False),
        ("|", 0.49, False, True, False),
        ("—", 0.9, False, True, True),
        ("a", 0.1, False, True, True),
        ("(3)", 0.2, True, False, True),
        ("–", 0.3, True, True, True),
        ("·", 0.2, True, True, False),
        ("·", 0.8, False, True, False),
        ("·", 0.95, False, True, True),
        (".", 0.8, True, False, True),
    ],
)
def test_a_speck_read_as_a_mark_is_no_word(
    word: str, confidence: float, before: bool, behind: bool, likely: bool
) -> None:
    assert is_likely(word, confidence, before=before, behind=behind) is likely
