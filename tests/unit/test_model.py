from dataclasses import replace

import pytest
import torch

from lightseek.config import ModelConfig
from lightseek.model import LightSeekOCR, PlaceHeads, Places


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def heads(model: LightSeekOCR) -> PlaceHeads:
    assert model.place is not None
    return model.place


def test_optional_parts_follow_the_config(
    tiny_model: LightSeekOCR, tiny_official_model: LightSeekOCR
) -> None:
    assert tiny_model.head is None
    assert tiny_model.row_end is None
    assert tiny_model.place is not None
    assert tiny_official_model.head is not None
    assert tiny_official_model.row_end is not None
    assert tiny_official_model.view_separator is not None
    assert tiny_official_model.place is None


@torch.inference_mode()
def test_scores_of_tied_and_own_heads(
    tiny_model: LightSeekOCR, tiny_official_model: LightSeekOCR
) -> None:
    hidden = torch.randn(2, 3, 32)
    tied = tiny_model.predict(hidden)
    torch.testing.assert_close(tied.what, hidden @ tiny_model.embedding.weight.T)
    place = tiny_model.config.decoder.place
    assert place is not None
    assert tied.x is not None
    assert tied.y is not None
    assert (tied.x.shape, tied.y.shape) == ((2, 3, place.x_bins), (2, 3, place.y_bins))
    own = tiny_official_model.predict(hidden)
    assert tiny_official_model.head is not None
    torch.testing.assert_close(own.what, hidden @ tiny_official_model.head.weight.T)
    assert own.x is None
    assert own.y is None


@torch.inference_mode()
def test_visual_tokens_take_the_places_of_the_prompt(tiny_official_model: LightSeekOCR) -> None:
    image = 3
    ids = torch.tensor([[1, image, image, 7, 8], [image, 9, 7, 8, image]])
    visual = torch.randn(4, 32)
    spliced = tiny_official_model.splice(ids, visual, image)
    expected = tiny_official_model.embedding(ids).clone()
    expected[0, 1], expected[0, 2], expected[1, 0], expected[1, 4] = visual
    assert torch.equal(spliced, expected)


@torch.inference_mode()
def test_text_of_a_prompt_stands_nowhere(tiny_model: LightSeekOCR) -> None:
    ids, visual = torch.tensor([[3, 3, 1]]), torch.randn(2, 32)
    spliced = tiny_model.splice(ids, visual, 3)
    assert torch.equal(spliced[0, :2], visual)
    place = heads(tiny_model)
    nowhere = place.x_table[-1] + place.y_table[-1]
    torch.testing.assert_close(spliced[0, 2], tiny_model.embedding.weight[1] + nowhere)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_prompt_and_its_visual_tokens_must_agree(
    tiny_official_model: LightSeekOCR, count: int
) -> None:
    with pytest.raises(ValueError, match=f"2 places for {count} visual tokens"):
        tiny_official_model.splice(torch.tensor([[3, 3, 1]]), torch.zeros(count, 32), 3)


@torch.inference_mode()
def test_places_of_visual_tokens_are_means_of_their_bins(tiny_model: LightSeekOCR) -> None:
    place = heads(tiny_model)
    vectors = place.of_views(2, 3, first_col=4)
    for row in range(2):
        for col in range(3):
            x = place.x_table[(4 + col) * 8 : (5 + col) * 8].mean(0)
            y = place.y_table[row * 8 : (row + 1) * 8].mean(0)
            torch.testing.assert_close(vectors[row, col], x + y)


@torch.inference_mode()
def test_a_narrow_view_has_the_places_of_that_part_of_a_wide_one(tiny_model: LightSeekOCR) -> None:
    place = heads(tiny_model)
    wide = place.of_views(1, 16, first_col=0)
    for first in (0, 5, 12):
        assert torch.equal(place.of_views(1, 4, first), wide[:, first : first + 4])
    tokens = torch.zeros(1, 1, 4, 32)
    assert torch.equal(tiny_model.place_tokens(tokens, 5)[0], wide[0, 5:9])


def test_the_tables_cover_the_widest_view(tiny_config: ModelConfig) -> None:
    place = tiny_config.decoder.place
    assert place is not None
    assert place.x_bins * place.bin_px == tiny_config.clip.table.cols * 64
    assert place.y_bins * place.bin_px == tiny_config.clip.table.rows * 64


@torch.inference_mode()
def test_embedding_adds_places(tiny_model: LightSeekOCR) -> None:
    ids = torch.tensor([[5, 6]])
    place = heads(tiny_model)
    at = Places(torch.tensor([[9, 128]]), torch.tensor([[2, 16]]))
    added = tiny_model.embed(ids, at) - tiny_model.embed(ids, None)
    torch.testing.assert_close(added[0, 0], place.x_table[9] + place.y_table[2])
    nowhere = place.embed(place.nowhere(1, 1))[0, 0]
    torch.testing.assert_close(added[0, 1], nowhere)


@torch.inference_mode()
def test_text_sees_the_page_and_its_past_alone(
    tiny_model: LightSeekOCR, tiny_official_model: LightSeekOCR
) -> None:
    for model in (tiny_model, tiny_official_model):
        visual, ids = torch.randn(2, 4, 32), torch.randint(4, 200, (2, 5))
        places = heads(model).nowhere(2, 5) if model.place else None
        before = model(visual, ids, places)
        assert before.shape == (2, 5, 32)
        other = ids.clone()
        other[:, 3] += 1
        after = model(visual, other, places)
        torch.testing.assert_close(after[:, :3], before[:, :3])
        assert not torch.allclose(after[:, 3:], before[:, 3:])
        moved = visual.clone()
        moved[0, 1] += 1
        changed = model(moved, ids, places)
        assert not torch.allclose(changed[0], before[0])
        torch.testing.assert_close(changed[1], before[1])


@torch.inference_mode()
def test_pixels_become_tokens_with_places(tiny_model: LightSeekOCR) -> None:
    views = torch.randn(2, 1, 64, 256)
    tokens = tiny_model.encoder(views, 3).tokens
    expected = tokens + heads(tiny_model).of_views(1, 4, 3)
    torch.testing.assert_close(tiny_model.visual_tokens(views, 3), expected.flatten(1, 2))


def test_everything_learns(tiny_config: ModelConfig, tiny_official_config: ModelConfig) -> None:
    for config in (tiny_config, tiny_official_config):
        model = LightSeekOCR(config)
        visual = model.visual_tokens(torch.randn(1, config.sam.channels, 64, 128))
        ids = torch.randint(4, 200, (1, 9))
        places = model.place.nowhere(1, 9) if model.place else None
        scores = model.predict(model(visual, ids, places))
        sum(part.square().sum() for part in scores if part is not None).backward()
        unused = {name for name, p in model.named_parameters() if p.grad is None}
        marks = {"row_end", "view_separator"} if config.decoder.row_marks else set()
        assert unused == marks, "marks are laid between tokens by whoever makes the prompt"


def test_a_model_without_places_takes_none(tiny_config: ModelConfig) -> None:
    bare = replace(tiny_config, decoder=replace(tiny_config.decoder, place=None))
    model = LightSeekOCR(bare)
    tokens = torch.zeros(1, 1, 4, 32)
    assert torch.equal(model.place_tokens(tokens), tokens[:, 0])
