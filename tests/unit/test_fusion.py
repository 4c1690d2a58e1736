"""Shapes of LightSeek's own architecture: computed without memory, or with a mark for time."""

import pytest
import torch

from lightseek.config import ModelConfig
from lightseek.encoder import DeepEncoder
from lightseek.errors import UsageError
from lightseek.model import LightSeekOCR
from lightseek.presets import preset


def check_shapes(encoder: DeepEncoder) -> torch.Tensor:
    """One page of 1024 px through the three stages, and its visual tokens."""
    page = torch.randn(1, 3, 1024, 1024)
    _, local = encoder.sam(page)
    assert local.shape == (1, 256, 64, 64)
    compressed = encoder.compressor(local)
    assert compressed.permute(0, 3, 1, 2).shape == (1, 768, 16, 16)
    assert encoder.clip(compressed).flatten(1, 2).shape == (1, 256, 768)
    tokens = encoder(page).tokens.flatten(1, 2)
    assert tokens.shape == (1, 512, 512)
    return tokens


def test_shapes_of_lightseek_base() -> None:
    config = preset("lightseek-base")
    with torch.device("meta"):
        check_shapes(DeepEncoder(config))
        text = LightSeekOCR(config)(torch.empty(2, 512, 512), torch.zeros(2, 7, dtype=torch.long))
    assert text.shape == (2, 7, 512)


@pytest.mark.slow
@torch.inference_mode()
def test_values_of_lightseek_base() -> None:
    torch.manual_seed(0)
    tokens = check_shapes(DeepEncoder(preset("lightseek-base")).eval())
    assert tokens.isfinite().all()
    assert tokens.std(1).min() > 0, "a page of noise is not the same everywhere"


@torch.inference_mode()
def test_the_memory_order_of_a_map_changes_nothing(tiny_base_model: LightSeekOCR) -> None:
    compressor = tiny_base_model.encoder.compressor
    local = torch.randn(2, 8, 16, 16)
    last = local.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(compressor(last), compressor(local))


@torch.inference_mode()
def test_local_tokens_come_before_global_ones(tiny_base_model: LightSeekOCR) -> None:
    encoder = tiny_base_model.encoder
    encoded = encoder(torch.randn(1, 3, 128, 192))
    clip, compressed = encoded.fused.split([24, 24], dim=-1)
    assert encoded.tokens.shape == (1, 4, 3, 32)
    projector = encoder.projector
    local, whole = projector.of_compressor(compressed), projector.of_clip(clip)
    torch.testing.assert_close(encoded.tokens[:, :2], projector.out_norm(local))
    torch.testing.assert_close(encoded.tokens[:, 2:], projector.out_norm(whole))


@torch.inference_mode()
def test_places_are_heard_beside_what_is_seen() -> None:
    torch.manual_seed(0)
    model = LightSeekOCR(preset("lightseek-small")).eval()
    tokens = model.encoder(torch.randn(2, 1, 128, 256)).tokens
    places = model.place_tokens(torch.zeros_like(tokens))
    assert 0.1 < places.std() / tokens.std() < 10


def test_all_of_it_learns(tiny_base_config: ModelConfig) -> None:
    model = LightSeekOCR(tiny_base_config)
    visual = model.visual_tokens(torch.randn(1, 3, 64, 128))
    hidden = model(visual, torch.randint(4, 200, (1, 9)))
    model.predict(hidden).what.square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_parts_are_frozen_by_name(tiny_base_config: ModelConfig) -> None:
    model = LightSeekOCR(tiny_base_config)
    model.freeze(("encoder.sam", "encoder.compressor"))
    learning = {name.split(".")[1] for name, p in model.named_parameters() if p.requires_grad}
    assert {"clip", "projector"} <= learning
    assert not {"sam", "compressor"} & learning


def test_a_part_that_does_not_exist_cannot_be_frozen(tiny_base_config: ModelConfig) -> None:
    model = LightSeekOCR(tiny_base_config)
    with pytest.raises(
        UsageError, match=r"no part encoder\.sa to freeze, but encoder\.sam, .*projector"
    ):
        model.freeze(("encoder.sa",))
