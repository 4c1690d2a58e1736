"""What the parity tests share: one tiny checkpoint that `transformers` wrote, read by both sides.

The whole folder is skipped where `transformers` is not installed.
"""

import importlib.util
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from lightseek.model import LightSeekOCR
from lightseek.tokenizer import BOS, EOS, IMAGE, PAD, Tokenizer, character_tokenizer
from lightseek.weights import load_model

SAM = {
    "hidden_size": 16,
    "output_channels": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "global_attn_indexes": [1],
    "mlp_dim": 24,
    "downsample_channels": [12, 24],
}
CLIP = {
    "hidden_size": 24,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
TEXT = {
    "vocab_size": 256,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "n_routed_experts": 16,
    "num_experts_per_tok": 6,
    "moe_intermediate_size": 12,
    "max_position_embeddings": 2048,
    "sliding_window": 8,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


@pytest.fixture(scope="session")
def transformers() -> Any:
    if importlib.util.find_spec("transformers") is None:
        pytest.skip("transformers, the other side of the comparison, is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import transformers
    return transformers


@pytest.fixture(scope="session", params=["reference_sliding_attention", "full_attention"])
def theirs(transformers: Any, request: pytest.FixtureRequest) -> Any:
    """Unlimited-OCR by transformers, tiny, with weights in which nothing is zero.

    With full attention it computes what DeepSeek-OCR does.
    """
    from transformers.models.unlimited_ocr import (
        UnlimitedOcrConfig,
        UnlimitedOcrForConditionalGeneration,
    )

    config = UnlimitedOcrConfig(
        vision_config={"sam_config": SAM, "encoder_config": CLIP},
        text_config={**TEXT, "layer_types": [request.param] * TEXT["num_hidden_layers"]},
        image_token_id=3,
    )
    torch.manual_seed(0)
    model = UnlimitedOcrForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter + torch.randn_like(parameter) * 0.2)
    return model


@pytest.fixture(scope="session")
def checkpoint(transformers: Any, theirs: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, as `save_pretrained` writes it, with a tokenizer."""
    folder = tmp_path_factory.mktemp("checkpoint")
    theirs.save_pretrained(folder)
    character_tokenizer().save(folder / "plain.json")
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "plain.json"),
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        extra_special_tokens={"image_token": IMAGE},
    )
    tokenizer.save_pretrained(folder)
    (folder / "plain.json").unlink()
    return folder


@pytest.fixture(scope="session")
def loaded(checkpoint: Path) -> tuple[LightSeekOCR, Tokenizer]:
    return load_model(checkpoint, device=torch.device("cpu"), dtype=torch.float32)


@pytest.fixture(scope="session")
def ours(loaded: tuple[LightSeekOCR, Tokenizer]) -> LightSeekOCR:
    return loaded[0]
