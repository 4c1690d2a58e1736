from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch

from lightseek import reader
from lightseek.config import ModelConfig
from lightseek.model import LightSeekOCR
from lightseek.reader import read_strips, to_views
from lightseek.readings import StripText
from lightseek.tokenizer import Tokenizer


@pytest.fixture(autouse=True)
def short_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "PX_PER_CHARACTER", 32 * 64)
    monkeypatch.setattr(reader, "SPARE_TOKENS", 4)


@pytest.fixture
def strips() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    cells = [rng.integers(0, 2, (4, width // 16)) for width in (512, 256, 384, 256, 512, 256)]
    return [np.kron(c, np.full((16, 16), 255)).astype(np.uint8) for c in cells]


@pytest.fixture
def talker(tiny_model: LightSeekOCR, tiny_tokenizer: Tokenizer) -> LightSeekOCR:
    """A model that writes characters alone and never ends."""
    model = deepcopy(tiny_model)
    with torch.no_grad():
        model.embedding.weight[list(tiny_tokenizer.special_ids)] = 0
    return model


def swapped(model: LightSeekOCR, one: int, other: int) -> LightSeekOCR:
    """A copy that writes each of two tokens where the model writes the other."""
    model = deepcopy(model)
    with torch.no_grad():
        model.embedding.weight[[one, other]] = model.embedding.weight[[other, one]]
    return model


def parting(texts: list[str]) -> str:
    """The character that stands first at the most different places."""
    characters = set("".join(texts))
    best = max(sorted(characters), key=lambda c: len({text.find(c) for text in texts}))
    assert len({text.find(best) for text in texts}) >= 3
    return best


def assert_same(found: StripText, expected: StripText) -> None:
    assert found.text == expected.text
    assert found.finished == expected.finished
    np.testing.assert_allclose(found.confidences, expected.confidences, atol=1e-4)
    np.testing.assert_allclose(found.centres, expected.centres, atol=0.1)


def test_strips_of_mixed_widths_come_back_in_order(
    tiny_model: LightSeekOCR, tiny_tokenizer: Tokenizer, strips: list[np.ndarray]
) -> None:
    together = read_strips(tiny_model, tiny_tokenizer, strips)
    assert len({result.text for result in together}) == len(strips), "every strip has its own text"
    for strip, result in zip(strips, together, strict=True):
        [alone] = read_strips(tiny_model, tiny_tokenizer, [strip])
        assert_same(result, alone)


def test_strips_that_fill_several_batches_come_back_in_order(
    tiny_model: LightSeekOCR,
    tiny_tokenizer: Tokenizer,
    strips: list[np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = read_strips(tiny_model, tiny_tokenizer, strips)
    for encoded_px, decoded in ((1, 128), (64 * 600, 2), (64 * 512 * 64, 1)):
        monkeypatch.setattr(reader, "ENCODED_PX", encoded_px)
        monkeypatch.setattr(reader, "DECODED_AT_ONCE", decoded)
        found = read_strips(tiny_model, tiny_tokenizer, strips)
        for result, other in zip(found, expected, strict=True):
            assert_same(result, other)


def test_strips_that_vote_are_read_as_one_with_places_on_the_first(
    tiny_model: LightSeekOCR,
    tiny_tokenizer: Tokenizer,
    strips: list[np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    apart = read_strips(tiny_model, tiny_tokenizer, strips)
    thrice = [strip for strip in strips for _ in range(3)]
    for decoded in (128, 5):
        monkeypatch.setattr(reader, "DECODED_AT_ONCE", decoded)
        for found, expected in zip(
            read_strips(tiny_model, tiny_tokenizer, thrice, votes=3), apart, strict=True
        ):
            assert_same(found, expected)
    pair = [strips[0], strips[0][:, ::-1].copy()]
    [one] = read_strips(tiny_model, tiny_tokenizer, pair, votes=2)
    [other] = read_strips(tiny_model, tiny_tokenizer, pair[::-1], votes=2)
    assert one.text == other.text
    assert not np.allclose(one.centres, other.centres)


def test_strips_that_end_early_leave_the_others_alone(
    talker: LightSeekOCR, tiny_tokenizer: Tokenizer, strips: list[np.ndarray]
) -> None:
    whole = read_strips(talker, tiny_tokenizer, strips)
    last = parting([result.text for result in whole])
    model = swapped(talker, tiny_tokenizer.ids[last], tiny_tokenizer.eos_id)
    for found, expected in zip(read_strips(model, tiny_tokenizer, strips), whole, strict=True):
        text, end, _ = expected.text.partition(last)
        assert found.text == text
        assert found.finished == bool(end)
        np.testing.assert_allclose(found.centres, expected.centres[: len(text)], atol=0.1)


def test_a_model_without_place_heads_reads_and_says_no_places(
    tiny_config: ModelConfig, tiny_tokenizer: Tokenizer
) -> None:
    decoder = replace(tiny_config.decoder, place=None)
    torch.manual_seed(0)
    model = LightSeekOCR(replace(tiny_config, decoder=decoder)).eval()
    with torch.no_grad():
        model.embedding.weight[list(tiny_tokenizer.special_ids)] = 0
    strips = [np.full((64 * lines, 256), 255, np.uint8) for lines in (2, 1, 2)]
    for found in read_strips(model, tiny_tokenizer, strips):
        assert len(found.centres) == len(found.text) > 0
        assert np.isnan(found.centres).all()


def test_no_strips_give_no_text(tiny_model: LightSeekOCR, tiny_tokenizer: Tokenizer) -> None:
    assert read_strips(tiny_model, tiny_tokenizer, []) == []


def test_every_character_has_a_confidence_and_a_place_on_the_strip(
    tiny_model: LightSeekOCR, tiny_tokenizer: Tokenizer, strips: list[np.ndarray]
) -> None:
    for result in read_strips(tiny_model, tiny_tokenizer, strips):
        count = len(result.text)
        assert count > 0
        assert result.confidences.shape == (count,)
        assert result.centres.shape == (count, 2)
        assert bool(((result.confidences > 0) & (result.confidences <= 1)).all())
        assert bool((result.centres >= 0).all())


@pytest.mark.parametrize("special", ["pad_id", "image_id"])
def test_a_special_token_in_the_middle_shifts_no_place(
    talker: LightSeekOCR, tiny_tokenizer: Tokenizer, strips: list[np.ndarray], special: str
) -> None:
    whole = read_strips(talker, tiny_tokenizer, strips)
    lost = parting([result.text for result in whole])
    model = swapped(talker, tiny_tokenizer.ids[lost], getattr(tiny_tokenizer, special))
    for found, expected in zip(read_strips(model, tiny_tokenizer, strips), whole, strict=True):
        kept = [i for i, character in enumerate(expected.text) if character != lost]
        assert found.text == expected.text.replace(lost, "")
        np.testing.assert_allclose(found.confidences, expected.confidences[kept], atol=1e-4)
        np.testing.assert_allclose(found.centres, expected.centres[kept], atol=0.1)


def test_a_strip_that_never_ends_is_cut_and_says_so(
    tiny_model: LightSeekOCR, tiny_tokenizer: Tokenizer
) -> None:
    endless = deepcopy(tiny_model)
    with torch.no_grad():
        endless.decoder.norm.weight.zero_()
        endless.decoder.norm.bias.copy_(endless.embedding.weight[tiny_tokenizer.ids["x"]] * 100)
    [result] = read_strips(endless, tiny_tokenizer, [np.zeros((64, 256), np.uint8)])
    assert result.text == "x" * (256 // 32 + 4)
    assert not result.finished


def test_an_empty_strip_may_say_nothing(
    tiny_model: LightSeekOCR, tiny_tokenizer: Tokenizer
) -> None:
    silent = deepcopy(tiny_model)
    with torch.no_grad():
        silent.decoder.norm.weight.zero_()
        silent.decoder.norm.bias.copy_(silent.embedding.weight[tiny_tokenizer.eos_id] * 100)
    [result] = read_strips(silent, tiny_tokenizer, [np.full((64, 256), 255, np.uint8)])
    assert (result.text, result.finished) == ("", True)
    assert result.confidences.shape == (0,)
    assert result.centres.shape == (0, 2)


def test_grey_becomes_minus_one_to_one() -> None:
    pixels = torch.tensor([[[0, 255], [51, 204]]], dtype=torch.uint8)
    views = to_views(pixels)
    torch.testing.assert_close(views, torch.tensor([[[[-1.0, 1.0], [-0.6, 0.6]]]]))


def test_reading_leaves_no_graph_and_no_mode_behind(
    tiny_model: LightSeekOCR, tiny_tokenizer: Tokenizer, strips: list[np.ndarray]
) -> None:
    read_strips(tiny_model, tiny_tokenizer, strips[:1])
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()
    assert all(p.grad is None for p in tiny_model.parameters())
