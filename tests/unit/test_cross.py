from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lightseek.config import DecoderConfig, ModelConfig, PlaceConfig
from lightseek.cross import CrossDecoder
from lightseek.generate import Decoding, generate
from lightseek.model import LightSeekOCR

NEVER = -1
"""An end token that no model writes."""


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def make(config: ModelConfig, depth: int) -> CrossDecoder:
    assert isinstance(config.decoder, DecoderConfig)
    return CrossDecoder(replace(config.decoder, depth=depth)).eval()


def prompt_of(model: LightSeekOCR, visual: Tensor) -> Tensor:
    return torch.cat([visual, model.embedding.weight[1].expand(len(visual), 1, -1)], dim=1)


@torch.inference_mode()
@pytest.mark.parametrize("depth", [1, 2])
def test_layers_take_turns_looking_at_the_global_and_the_local_map(
    tiny_base_config: ModelConfig, depth: int
) -> None:
    decoder = make(tiny_base_config, depth)
    visual, text = torch.randn(1, 8, 32), torch.randn(1, 3, 32)
    seen = decoder(visual, text)
    other_local, other_global = visual.clone(), visual.clone()
    other_local[:, :4] += torch.randn(32)
    other_global[:, 4:] += torch.randn(32)
    assert torch.equal(decoder(other_local, text), seen) == (depth == 1)
    assert not torch.allclose(decoder(other_global, text), seen)


@torch.inference_mode()
def test_text_sees_its_past_alone(tiny_base_model: LightSeekOCR) -> None:
    visual, ids = torch.randn(2, 8, 32), torch.randint(4, 200, (2, 5))
    before = tiny_base_model(visual, ids)
    assert before.shape == (2, 5, 32)
    ids[:, 3] += 1
    after = tiny_base_model(visual, ids)
    torch.testing.assert_close(after[:, :3], before[:, :3])
    assert not torch.allclose(after[:, 3:], before[:, 3:])


@torch.inference_mode()
def test_the_order_of_the_text_counts(tiny_base_model: LightSeekOCR) -> None:
    visual = torch.randn(1, 8, 32)
    one, other = torch.tensor([[1, 7, 9, 5]]), torch.tensor([[1, 9, 7, 5]])
    here, there = (tiny_base_model(visual, ids)[:, -1] for ids in (one, other))
    assert not torch.allclose(here, there)


@torch.inference_mode()
def test_written_token_by_token_it_is_the_same(tiny_base_model: LightSeekOCR) -> None:
    visual = torch.randn(3, 8, 32)
    found = generate(
        tiny_base_model, prompt_of(tiny_base_model, visual), NEVER, Decoding(max_tokens=9)
    )
    for row, written in enumerate(found):
        ids = torch.tensor([[1, *written.ids[:-1]]])
        scores = tiny_base_model.predict(tiny_base_model(visual[row][None], ids)).what
        told = scores.log_softmax(-1)[0].gather(1, torch.tensor(written.ids)[:, None])[:, 0]
        torch.testing.assert_close(told, torch.tensor(written.logprobs), rtol=1e-4, atol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("beams", [1, 3])
def test_views_of_different_sizes_are_read_as_by_themselves(
    tiny_base_model: LightSeekOCR, beams: int
) -> None:
    decoding = Decoding(max_tokens=8, beams=beams)
    prompts = [prompt_of(tiny_base_model, torch.randn(1, n, 32)) for n in (4, 12, 8)]
    padded = torch.cat([torch.nn.functional.pad(p, (0, 0, 13 - p.shape[1], 0)) for p in prompts])
    padding = torch.arange(13) < torch.tensor([[13 - p.shape[1]] for p in prompts])
    # every row ends where it likes: some leave the batch early
    alone = [generate(tiny_base_model, p, NEVER, decoding)[0].ids for p in prompts]
    end = alone[0][3]
    expected = [generate(tiny_base_model, p, end, decoding)[0] for p in prompts]
    found = generate(tiny_base_model, padded, end, decoding, padding)
    assert [f.ids for f in found] == [e.ids for e in expected]
    assert [f.finished for f in found] == [e.finished for e in expected]


@torch.inference_mode()
def test_drawn_tokens_depend_on_the_seed_alone(tiny_base_model: LightSeekOCR) -> None:
    prompt = prompt_of(tiny_base_model, torch.randn(2, 8, 32))
    decoding = Decoding(max_tokens=8, temperature=1.0, top_k=20, top_p=0.9, seed=4)
    drawn = [generate(tiny_base_model, prompt, NEVER, decoding) for _ in range(2)]
    assert drawn[0] == drawn[1]
    other = generate(tiny_base_model, prompt, NEVER, replace(decoding, seed=5))
    assert other != drawn[0]


@torch.inference_mode()
def test_it_may_tell_places_too(tiny_base_config: ModelConfig) -> None:
    """Nano's way of learning to read, with this decoder."""
    assert isinstance(tiny_base_config.decoder, DecoderConfig)
    place = PlaceConfig(x_bins=32, y_bins=16, bin_px=8)
    decoder = replace(tiny_base_config.decoder, place=place)
    model = LightSeekOCR(replace(tiny_base_config, decoder=decoder)).eval()
    visual = model.visual_tokens(torch.randn(1, 3, 128, 256))
    assert visual.shape == (1, 16, 32)
    [read] = generate(model, prompt_of(model, visual), NEVER, Decoding(max_tokens=3))
    assert read.places is not None
    assert len(read.places) == 3
