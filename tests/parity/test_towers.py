"""SAM and CLIP as they are published, against `transformers`: same weights, same numbers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lightseek.config import Rows
from lightseek.encoder import ClipEncoder
from lightseek.presets import preset
from lightseek.published import SAM_MEAN, SAM_STD, assemble, load_clip, load_sam

EXACT = {"rtol": 1e-5, "atol": 1e-5}
SAM_SIZES = {
    "hidden_size": 16,
    "output_channels": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 128,
    "window_size": 3,
    "global_attn_indexes": [1],
    "mlp_dim": 24,
}
CLIP_SIZES = {
    "hidden_size": 24,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 64,
    "patch_size": 16,
}


@pytest.fixture(autouse=True)
def _no_grad() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.inference_mode():
        yield


def randomise(model: torch.nn.Module) -> Any:
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter + torch.randn_like(parameter) * 0.1)
    return model.eval()


def as_sam_sees(pixels: Tensor) -> Tensor:
    """Colours from -1 to 1 as its own processor would give them."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (SAM_MEAN, SAM_STD))
    return (pixels / 2 + 0.5 - mean) / std


@pytest.fixture(scope="module")
def their_sam(transformers: Any) -> Any:
    return randomise(transformers.SamModel(transformers.SamConfig(vision_config=SAM_SIZES)))


@pytest.fixture(scope="module")
def sam_folder(their_sam: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sam")
    their_sam.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def their_clip(transformers: Any) -> Any:
    return randomise(transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**CLIP_SIZES)))


@pytest.fixture(scope="module")
def clip_folder(their_clip: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    their_clip.save_pretrained(folder)
    return folder


def test_local_features(their_sam: Any, sam_folder: Path) -> None:
    pixels = torch.rand(2, 3, 128, 128) * 2 - 1
    expected = their_sam.vision_encoder(as_sam_sees(pixels)).last_hidden_state
    torch.testing.assert_close(load_sam(sam_folder)(pixels)[1], expected, **EXACT)


def bypassed(their_clip: Any, tokens: Tensor) -> Tensor:
    """Their CLIP after its patch embedding, in whose place the tokens are."""
    rows = tokens.flatten(1, 2)
    embeddings = their_clip.embeddings
    first = embeddings.class_embedding.expand(len(rows), 1, -1)
    x = torch.cat([first, rows], dim=1) + embeddings.position_embedding.weight
    hidden = their_clip.encoder(inputs_embeds=their_clip.pre_layrnorm(x)).last_hidden_state
    return hidden[:, 1:]


def test_global_features(their_clip: Any, clip_folder: Path) -> None:
    tokens = torch.randn(2, 4, 4, 24)
    found = load_clip(clip_folder)(tokens).flatten(1, 2)
    torch.testing.assert_close(found, bypassed(their_clip, tokens), **EXACT)


def test_a_picture_through_both_ways_of_clip(their_clip: Any, clip_folder: Path) -> None:
    """Their own patches, given to ours, end as in their whole model."""
    pixels = torch.randn(1, 3, 64, 64)
    patches = their_clip.embeddings.patch_embedding(pixels).permute(0, 2, 3, 1)
    expected = their_clip(pixels).last_hidden_state[:, 1:]
    found = load_clip(clip_folder)(patches).flatten(1, 2)
    torch.testing.assert_close(found, expected, **EXACT)


def test_a_whole_clip_holds_the_vision_model(
    transformers: Any, their_clip: Any, clip_folder: Path, tmp_path: Path
) -> None:
    text = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 9}
    text |= {"intermediate_size": 8, "bos_token_id": 0, "eos_token_id": 1}
    config = transformers.CLIPConfig(text_config=text, vision_config=CLIP_SIZES)
    whole = transformers.CLIPModel(config)
    whole.vision_model.load_state_dict(their_clip.state_dict())
    whole.save_pretrained(tmp_path)
    tokens = torch.randn(1, 4, 4, 24)
    torch.testing.assert_close(load_clip(tmp_path)(tokens), load_clip(clip_folder)(tokens))


def test_a_model_assembled_of_both(their_sam: Any, sam_folder: Path, clip_folder: Path) -> None:
    model = assemble(preset("lightseek-base"), sam=sam_folder, clip=clip_folder).eval()
    pixels = torch.rand(1, 3, 128, 192) * 2 - 1
    assert model.visual_tokens(pixels).shape == (1, 2 * 2 * 3, 512)
    square = pixels[..., :128]
    expected = their_sam.vision_encoder(as_sam_sees(square)).last_hidden_state
    torch.testing.assert_close(model.encoder.sam(square)[1], expected, **EXACT)
    assert model.config.sam.table == Rows(rows=8, cols=8)
    assert model.config.compressor.dim == model.config.clip.dim == 24


@pytest.mark.slow
def test_sam_b_in_its_own_size(transformers: Any, tmp_path: Path) -> None:
    theirs = transformers.SamVisionModel(transformers.SamVisionConfig()).eval()
    theirs.save_pretrained(tmp_path)
    ours = load_sam(tmp_path)
    page = torch.rand(1, 3, 1024, 1024) * 2 - 1
    expected = theirs(as_sam_sees(page)).last_hidden_state
    found = ours(page)[1]
    assert found.shape == (1, 256, 64, 64)
    torch.testing.assert_close(found, expected, **EXACT)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("patch", "width", "depth", "heads"), [(16, 768, 12, 12), (14, 1024, 24, 16)]
)
def test_clip_in_its_own_size(
    transformers: Any, tmp_path: Path, patch: int, width: int, depth: int, heads: int
) -> None:
    """Base and large; their table of a 16 x 16 map is ours, stretched."""
    sizes = {"hidden_size": width, "num_hidden_layers": depth, "num_attention_heads": heads}
    sizes |= {"intermediate_size": 4 * width, "patch_size": patch}
    theirs = transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**sizes)).eval()
    theirs.save_pretrained(tmp_path)
    ours: ClipEncoder = load_clip(tmp_path)
    tokens = torch.randn(1, 16, 16, width)
    found = ours(tokens).flatten(1, 2)
    assert found.shape == (1, 256, width)
    stretched = torch.cat([ours.positions.of_class()[None], ours.positions(16, 16).flatten(0, 2)])
    theirs.embeddings.position_embedding.weight = torch.nn.Parameter(stretched)
    torch.testing.assert_close(found, bypassed(theirs, tokens), **EXACT)
