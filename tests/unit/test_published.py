"""Published checkpoints as files: what is read of them, and what can be wrong with them.

The numbers are compared with `transformers` in tests/parity.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lightseek import errors
from lightseek.config import LanguageConfig, ModelConfig
from lightseek.encoder import SamEncoder
from lightseek.errors import MissingExtraError, ModelError
from lightseek.model import LightSeekOCR
from lightseek.names import SAM, translate
from lightseek.published import assemble, find_published, load_clip, load_sam, sam_config

SIZES = {
    "hidden_size": 16,
    "output_channels": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 64,
    "global_attn_indexes": [1],
    "mlp_dim": 24,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A SAM as published: its vision encoder among other parts."""
    config = {"model_type": "sam", "vision_config": SIZES}
    (tmp_path / "config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    tensors = {
        f"vision_encoder.{translate(name, SAM)}": torch.randn_like(tensor)
        for name, tensor in SamEncoder(sam_config(tmp_path)).state_dict().items()
    }
    tensors["mask_decoder.iou_token.weight"] = torch.zeros(1, 8)
    save_file(tensors, tmp_path / "model.safetensors")
    return tmp_path


def change(folder: Path, how: Callable[[dict[str, Tensor]], Any]) -> None:
    tensors = load_file(folder / "model.safetensors")
    how(tensors)
    save_file(tensors, folder / "model.safetensors")


@torch.inference_mode()
def test_the_vision_encoder_is_isolated(folder: Path) -> None:
    local, necked = load_sam(folder)(torch.zeros(1, 3, 64, 128))
    assert local.shape == (1, 4, 8, 16)
    assert necked.shape == (1, 8, 4, 8)


def test_everything_that_does_not_fit_is_told_at_once(folder: Path) -> None:
    def spoil(tensors: dict[str, Tensor]) -> None:
        del tensors["vision_encoder.layers.0.mlp.lin1.weight"]
        tensors["vision_encoder.layers.7.mlp.lin1.bias"] = torch.zeros(24)
        tensors["vision_encoder.pos_embed"] = torch.zeros(1, 5, 5, 16)

    change(folder, spoil)
    with pytest.raises(ModelError) as error:
        load_sam(folder)
    message = str(error.value)
    assert "missing: layers.0.mlp.lin1.weight" in message
    assert "unexpected: layers.7.mlp.lin1.bias" in message
    assert "misshapen: pos_embed is [1, 5, 5, 16], wanted [1, 4, 4, 16]" in message
    assert "\n" not in message


def test_pickle_alone_is_refused_with_the_way_out(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="save it once by transformers"):
        load_sam(folder)


def test_another_model_is_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match="holds a model of type sam: clip is wanted"):
        load_clip(folder)


@pytest.mark.parametrize("setting", [{"patch_size": 8}, {"qkv_bias": False}, {"hidden_act": "x"}])
def test_sizes_that_change_the_computation_are_refused(
    folder: Path, setting: dict[str, Any]
) -> None:
    config = {"model_type": "sam", "vision_config": SIZES | setting}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=rf"config\.json does not fit: {next(iter(setting))}: "):
        load_sam(folder)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"image_size": 8}, "image_size is smaller than patch_size"),
        ({"window_size": 0}, "window_size"),
    ],
)
def test_sizes_of_which_nothing_is_left_are_refused(
    folder: Path, setting: dict[str, Any], said: str
) -> None:
    config = {"model_type": "sam", "vision_config": SIZES | setting}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=rf"config\.json does not fit: .*{said}"):
        load_sam(folder)


def test_a_broken_file_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(ModelError, match="broken or cut off"):
        load_sam(folder)


def test_what_is_neither_folder_nor_cached_is_told() -> None:
    with pytest.raises(ModelError, match=r"no model /no/where in the folder /no .*sam-vit-base"):
        find_published("/no/where")
    with pytest.raises(ModelError, match="some/where is not cached and cannot be fetched"):
        load_sam("some/where")


def test_a_model_begins_with_a_published_part(folder: Path, tiny_base_config: ModelConfig) -> None:
    model = assemble(tiny_base_config, sam=folder)
    expected = load_sam(folder).state_dict()
    found = model.encoder.sam.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert model.config.sam == sam_config(folder)


def test_a_language_model_without_transformers_is_one_line(
    tiny_base_config: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(name: str) -> None:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(errors, "import_module", nothing)
    language = LanguageConfig(
        transformers={"model_type": "gpt2"},
        vocab_size=300,
        dim=32,
        max_positions=64,
        tied_head=True,
    )
    with pytest.raises(MissingExtraError, match=r"pip install '\.\[train\]'"):
        LightSeekOCR(replace(tiny_base_config, decoder=language))
