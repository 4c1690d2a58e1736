"""What the tests share: small models, one thread, no network.

torch is imported by the fixtures that need it, so that tests without a model start at once.
"""

import json
import os
import socket
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lightseek.config import (
    ClipConfig,
    CompressorConfig,
    DecoderConfig,
    ModelConfig,
    MoeConfig,
    SamConfig,
    StemStage,
)
from lightseek.data.fonts import SHIPPED
from lightseek.presets import preset
from lightseek.tokenizer import Tokenizer, character_tokenizer
from lightseek.train.recipe import DataRecipe, LossRecipe, OptimiserRecipe, Recipe, Stage

if TYPE_CHECKING:
    from lightseek.model import LightSeekOCR

# read when torch is imported, which no conftest or plugin has done yet
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

LOCAL = ("localhost", "127.0.0.1", "::1")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that leaves this machine is a mistake of the test."""
    connect = socket.socket.connect

    def connect_locally(sock: socket.socket, address: Any) -> None:
        if isinstance(address, tuple) and address[0] not in LOCAL:
            raise AssertionError(f"a test asked for the network: {address}")
        connect(sock, address)

    monkeypatch.setattr(socket.socket, "connect", connect_locally)


@pytest.fixture(scope="session")
def tiny_tokenizer() -> Tokenizer:
    """The characters of nano."""
    return character_tokenizer()


@pytest.fixture(scope="session")
def tiny_config() -> ModelConfig:
    """Nano with a few dims: every part, view size and place bin that it has."""
    nano = preset("nano")
    stem = (StemStage(dim=4, residuals=0), StemStage(dim=6, residuals=0))
    return replace(
        nano,
        name="tiny",
        sam=replace(
            nano.sam,
            stem=(*stem, StemStage(dim=8, residuals=1)),
            dim=16,
            depth=2,
            heads=2,
            mlp_dim=24,
            global_blocks=(1,),
        ),
        compressor=replace(nano.compressor, hidden_dim=20, dim=24),
        clip=replace(nano.clip, dim=24, depth=1, heads=2, mlp_dim=32),
        decoder=replace(nano.decoder, dim=32, depth=2, heads=2, mlp_dim=48),
    )


@pytest.fixture(scope="session")
def tiny_official_config() -> ModelConfig:
    """DeepSeek-OCR with a few dims: neck, relative positions, class token, row marks, experts."""
    official = preset("deepseek-ocr")
    moe = MoeConfig(experts=4, active=2, expert_dim=12, shared_dim=16, dense_layers=1)
    sizes: dict[str, SamConfig | CompressorConfig | ClipConfig | DecoderConfig] = {
        "sam": replace(
            official.sam, dim=16, depth=2, heads=2, mlp_dim=24, neck_dim=8, global_blocks=(1,)
        ),
        "compressor": replace(official.compressor, hidden_dim=12, dim=24),
        "clip": replace(official.clip, dim=24, depth=1, heads=2, mlp_dim=32),
        "decoder": replace(
            official.decoder, vocab_size=224, dim=32, depth=2, heads=2, mlp_dim=48, moe=moe
        ),
    }
    return replace(official, name="tiny-official", **sizes)


@pytest.fixture(scope="session")
def tiny_base_config() -> ModelConfig:
    """LightSeek's own with a few dims: sequence fusion, stretched tables, cross-attention."""
    base = preset("lightseek-base")
    return replace(
        base,
        name="tiny-base",
        sam=replace(base.sam, dim=16, depth=2, heads=2, mlp_dim=24, neck_dim=8, global_blocks=(1,)),
        compressor=replace(base.compressor, hidden_dim=12, dim=24),
        clip=replace(base.clip, dim=24, depth=1, heads=2, mlp_dim=32),
        decoder=replace(base.decoder, vocab_size=224, dim=32, depth=2, heads=2, mlp_dim=48),
    )


def make_model(config: ModelConfig) -> "LightSeekOCR":
    """A model of random weights in which nothing is zero, so that every part has its say."""
    import torch

    from lightseek.model import LightSeekOCR

    torch.manual_seed(0)
    model = LightSeekOCR(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
        # a loud embedding makes a tied head repeat the last token for ever
        model.embedding.weight.mul_(0.1)
    return model.eval()


@pytest.fixture(scope="session")
def tiny_model(tiny_config: ModelConfig) -> "LightSeekOCR":
    """A nano-like model; tests that change it make a copy."""
    return make_model(tiny_config)


@pytest.fixture(scope="session")
def tiny_official_model(tiny_official_config: ModelConfig) -> "LightSeekOCR":
    """A model of the official family; tests that change it make a copy."""
    return make_model(tiny_official_config)


@pytest.fixture(scope="session")
def tiny_base_model(tiny_base_config: ModelConfig, tiny_tokenizer: Tokenizer) -> "LightSeekOCR":
    """A model with a cross-attention decoder that never ends; tests that change it make a copy."""
    import torch

    model = make_model(tiny_base_config)
    with torch.no_grad():
        model.embedding.weight[list(tiny_tokenizer.special_ids)] = 0
    return model


@pytest.fixture(scope="session")
def official_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model as DeepSeek-OCR is published: its config, its names, room for more tokens."""
    import torch
    from safetensors.torch import save_file

    from lightseek.names import official_name
    from lightseek.official import find_official
    from lightseek.weights import CONFIG, TOKENIZER, WEIGHTS

    folder = tmp_path_factory.mktemp("official")
    published = Path(__file__).parent / "data" / "deepseek-ocr.json"
    data = json.loads(published.read_text(encoding="utf-8"))
    towers = data["vision_config"]["width"]
    towers["clip-l-14-224"] |= {"heads": 2, "layers": 1, "width": 24}
    towers["sam_vit_b"] |= {"heads": 2, "layers": 2, "width": 16}
    towers["sam_vit_b"] |= {"downsample_channels": [12, 24], "global_attn_indexes": [1]}
    data["projector_config"] |= {"input_dim": 48, "n_embed": 32}
    data["language_config"] |= {"hidden_size": 32, "n_routed_experts": 8, "num_hidden_layers": 2}
    data["language_config"] |= {"num_attention_heads": 2, "num_key_value_heads": 2}
    data["language_config"] |= {"intermediate_size": 48, "moe_intermediate_size": 12}
    data["language_config"] |= {"vocab_size": 230, "bos_token_id": 1, "eos_token_id": 2}
    kept = {k: v for k, v in data.items() if k not in data["language_config"]}
    (folder / CONFIG).write_text(json.dumps(kept), encoding="utf-8")
    character_tokenizer().save(folder / TOKENIZER)
    official = find_official(folder / CONFIG)
    assert official is not None
    tensors = make_model(official.config).state_dict()
    named = {official_name(n): t.to(torch.bfloat16).contiguous() for n, t in tensors.items()}
    save_file(named, folder / WEIGHTS)
    return folder


@pytest.fixture(scope="session")
def tiny_recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """Twelve steps of two stages on a small text and the shipped fonts."""
    folder = tmp_path_factory.mktemp("text")
    lines = [
        f"The fox saw hound{n:03d} near Exmoor; it quickly ran {n * 7} miles." for n in range(500)
    ]
    (folder / "en.txt").write_text("\n".join(lines), encoding="utf-8")
    return Recipe(
        model="nano",
        seed=3,
        steps=12,
        units=8,
        compile=False,
        evaluate_every=100,
        data=DataRecipe(
            fonts=str(SHIPPED), text=str(folder), held_out_families=1, typeset_share=0.0
        ),
        optimiser=OptimiserRecipe(
            muon_rate=0.01,
            adamw_rate=0.002,
            muon_decay=0.03,
            adamw_decay=0.02,
            clip_norm=1.0,
            warmup_steps=2,
            constant_until=0.5,
        ),
        loss=LossRecipe(glyphs=0.3, places=0.2),
        stages=(
            Stage(until=0.25, widths=(256,), difficulty=0.2, glyphs_only=True),
            Stage(until=1.0, widths=(256, 512), difficulty=1.0),
        ),
    )
