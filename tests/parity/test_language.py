"""Language models of `transformers` as decoders: the same numbers, the same generation for all."""

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lightseek.config import ModelConfig
from lightseek.errors import ModelError, UsageError
from lightseek.generate import Decoding, generate
from lightseek.info import describe
from lightseek.lora import (
    LoraConfig,
    Settings,
    add_adapters,
    has_adapters,
    learnt_of,
    load_adapters,
    merge_adapters,
    save_adapters,
)
from lightseek.model import LightSeekOCR
from lightseek.published import assemble
from lightseek.tokenizer import Tokenizer, train_tokenizer
from lightseek.train.next_token import next_token_loss, side_by_side
from lightseek.weights import load_model, save_model

EXACT = {"rtol": 1e-5, "atol": 1e-5}
NEVER = -1
"""An end token that no model writes."""
END = "<eos>"
SIZES: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 128},
    "qwen2": {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "tie_word_embeddings": True,
    },
    "llama": {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 128,
        "tie_word_embeddings": False,
    },
}
LORA = {
    "gpt2": LoraConfig(rank=4, alpha=8, dropout=0.0, targets=("c_attn",)),
    "qwen2": LoraConfig(rank=4, alpha=8, dropout=0.0, targets=("q_proj", "v_proj")),
    "llama": LoraConfig(rank=4, alpha=8, dropout=0.0, targets=("q_proj", "v_proj")),
}

needs_peft = pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="needs peft")
needs_accelerate = pytest.mark.skipif(
    importlib.util.find_spec("accelerate") is None, reason="needs accelerate"
)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def spelt() -> Tokenizer:
    """Byte-level, as theirs are."""
    return train_tokenizer(["the quick fox jumps over the lazy dog"] * 3, 280)


@pytest.fixture(scope="module", params=SIZES)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def theirs(transformers: Any, kind: str, spelt: Tokenizer) -> Any:
    """A language model with weights in which nothing is zero."""
    config = transformers.AutoConfig.for_model(
        kind, vocab_size=len(spelt), bos_token_id=0, eos_token_id=0, pad_token_id=0, **SIZES[kind]
    )
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


@pytest.fixture(scope="module")
def folder(theirs: Any, spelt: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as it would be published: one special token, none for images."""
    folder = tmp_path_factory.mktemp("language")
    theirs.save_pretrained(folder)
    spelt.save(folder / "tokenizer.json")
    text = (folder / "tokenizer.json").read_text(encoding="utf-8").replace("<image>", "<other>")
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(f'{{"eos_token": "{END}"}}')
    return folder


@pytest.fixture
def model(folder: Path, tiny_base_config: ModelConfig) -> LightSeekOCR:
    return assemble(tiny_base_config, language=folder).eval()


def prompt_of(model: LightSeekOCR, visual: Tensor) -> Tensor:
    return torch.cat([visual, model.embedding.weight[1].expand(len(visual), 1, -1)], dim=1)


@needs_accelerate
@torch.inference_mode()
def test_scores_of_text_after_visual_tokens(theirs: Any, model: LightSeekOCR) -> None:
    visual, ids = torch.randn(2, 6, 32), torch.randint(0, 200, (2, 5))
    embedded = torch.cat([visual, theirs.get_input_embeddings()(ids)], dim=1)
    expected = theirs(inputs_embeds=embedded).logits[:, 6:]
    found = model.predict(model(visual, ids)).what
    torch.testing.assert_close(found[..., : expected.shape[-1]], expected, **EXACT)


@needs_accelerate
@torch.inference_mode()
@pytest.mark.parametrize("beams", [1, 3])
def test_generation_is_theirs(theirs: Any, model: LightSeekOCR, beams: int) -> None:
    prompt = prompt_of(model, torch.randn(1, 6, 32))
    expected = theirs.generate(
        inputs_embeds=prompt,
        attention_mask=torch.ones(prompt.shape[:2], dtype=torch.long),
        do_sample=False,
        num_beams=beams,
        max_new_tokens=12,
        eos_token_id=None,
    )
    [found] = generate(model, prompt, NEVER, Decoding(max_tokens=12, beams=beams))
    assert found.ids == expected[0].tolist()


@needs_accelerate
@torch.inference_mode()
def test_prompts_of_different_lengths_are_read_as_by_themselves(model: LightSeekOCR) -> None:
    prompts = [prompt_of(model, torch.randn(1, n, 32)) for n in (2, 6, 4)]
    padded = torch.cat([torch.nn.functional.pad(p, (0, 0, 7 - p.shape[1], 0)) for p in prompts])
    padding = torch.arange(7) < torch.tensor([[7 - p.shape[1]] for p in prompts])
    decoding = Decoding(max_tokens=8)
    # the first row leaves the batch early
    end = generate(model, prompts[0], NEVER, decoding)[0].ids[3]
    expected = [generate(model, p, end, decoding)[0].ids for p in prompts]
    assert [f.ids for f in generate(model, padded, end, decoding, padding)] == expected
    drawn = replace(decoding, temperature=0.7, top_p=0.9, seed=3)
    assert generate(model, padded, end, drawn, padding) == generate(
        model, padded, end, drawn, padding
    )


@needs_accelerate
@torch.inference_mode()
def test_a_saved_model_is_the_same(
    model: LightSeekOCR, kind: str, folder: Path, tmp_path: Path
) -> None:
    tokenizer = Tokenizer.of_language_model(folder)
    save_model(tmp_path, model, tokenizer)
    again, spelt = load_model(tmp_path, device=torch.device("cpu"), dtype=torch.float32)
    assert again.config == model.config
    assert spelt.special_ids == tokenizer.special_ids
    visual, ids = torch.randn(1, 4, 32), torch.randint(0, 200, (1, 5))
    # what the model computes by itself, such as rotary frequencies, is not rounded
    for parameter in model.parameters():
        parameter.copy_(parameter.to(torch.bfloat16))
    expected = model.predict(model(visual, ids)).what
    torch.testing.assert_close(again.predict(again(visual, ids)).what, expected, **EXACT)
    prompt = prompt_of(model, visual)
    decoding = Decoding(max_tokens=6)
    assert generate(again, prompt, NEVER, decoding)[0].ids == (
        generate(model, prompt, NEVER, decoding)[0].ids
    )
    card = describe(str(tmp_path))
    assert card.parts["decoder"].parameters > 0
    assert "512 visual tokens, 512 positions" in card.to_text()


@needs_accelerate
def test_images_get_a_token_and_texts_keep_theirs(model: LightSeekOCR, folder: Path) -> None:
    tokenizer = Tokenizer.of_language_model(folder)
    assert tokenizer.bos_id == tokenizer.pad_id == tokenizer.eos_id == tokenizer.ids[END]
    assert tokenizer.image_id == model.config.decoder.vocab_size - 1
    ids = torch.tensor([[tokenizer.image_id] * 4 + [tokenizer.bos_id]])
    visual = torch.randn(4, 32)
    assert torch.equal(model.splice(ids, visual, tokenizer.image_id)[0, :4], visual)
    assert tokenizer.decode(tokenizer.encode("the <image> of a fox")) == "the <image> of a fox"


@needs_peft
def test_adapters_learn_are_saved_loaded_and_merged(
    model: LightSeekOCR, kind: str, folder: Path, tiny_base_config: ModelConfig, tmp_path: Path
) -> None:
    tokenizer = Tokenizer.of_language_model(folder)
    visual = torch.randn(2, 6, 32)
    batch = side_by_side([tokenizer.encode("the fox"), tokenizer.encode("dog")], tokenizer)
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    before = next_token_loss(model, visual, *batch).total.detach()
    add_adapters(model, LORA[kind])
    torch.testing.assert_close(next_token_loss(model, visual, *batch).total.detach(), before)
    model.freeze(("embedding", "encoder.sam", "encoder.compressor", "encoder.clip"))
    learning = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(learning, lr=0.01)
    for _ in range(8):
        optimiser.zero_grad()
        next_token_loss(model, visual, *batch).total.backward()
        optimiser.step()
    after = next_token_loss(model, visual, *batch).total.detach()
    assert after < before
    with pytest.raises(UsageError, match="adapters are saved by save_adapters"):
        save_model(tmp_path / "model", model, tokenizer)

    save_adapters(tmp_path, learnt_of(model), Settings(base="here", mode="base", lora=LORA[kind]))
    other = assemble(tiny_base_config, language=folder).eval()
    other.encoder.load_state_dict(model.encoder.state_dict())
    load_adapters(tmp_path, other)
    torch.testing.assert_close(next_token_loss(other, visual, *batch).total.detach(), after)

    merge_adapters(other)
    assert not has_adapters(other)
    torch.testing.assert_close(next_token_loss(other, visual, *batch).total.detach(), after)
    assert {name for name, _ in other.named_parameters()} == set(start)
    changed = {n for n, p in other.named_parameters() if not torch.equal(p, start[n])}
    body = {name for name in changed if name.startswith("decoder.")}
    assert len(body) == 2 * len(LORA[kind].targets), "one matrix a target and layer"


@needs_peft
def test_adapters_of_another_model_are_refused(
    model: LightSeekOCR, kind: str, folder: Path, tiny_base_config: ModelConfig, tmp_path: Path
) -> None:
    add_adapters(model, LORA[kind])
    save_adapters(tmp_path, learnt_of(model), Settings(base="here", mode="base", lora=LORA[kind]))
    wide = replace(tiny_base_config, compressor=replace(tiny_base_config.compressor, hidden_dim=16))
    with pytest.raises(
        ModelError, match=r"was made for another model: it has no encoder\.compress"
    ):
        load_adapters(tmp_path, assemble(wide, language=folder))


@needs_peft
def test_a_target_that_does_not_exist_is_refused(model: LightSeekOCR) -> None:
    lora = LoraConfig(rank=4, alpha=8, dropout=0.0, targets=("qery",))
    for norm in ("norm1", "attention", "layers"):  # modules, but none that multiplies
        with pytest.raises(UsageError, match=f"no layer of the decoder is called {norm}"):
            add_adapters(model, replace(lora, targets=(norm,)))
    with pytest.raises(UsageError, match="no layer of the decoder is called qery"):
        add_adapters(model, lora)


@needs_peft
@torch.inference_mode()
def test_our_own_decoders_take_adapters_too(tiny_base_config: ModelConfig) -> None:
    model = LightSeekOCR(tiny_base_config).eval()
    visual, ids = torch.randn(1, 8, 32), torch.randint(4, 200, (1, 5))
    expected = model(visual, ids)
    add_adapters(model, LoraConfig(rank=2, alpha=2, dropout=0.0, targets=("query", "value")))
    torch.testing.assert_close(model(visual, ids), expected)
    for name, parameter in model.decoder.named_parameters():
        if "lora_B" in name:
            parameter.normal_()
    changed = model(visual, ids)
    assert not torch.allclose(changed, expected)
    merge_adapters(model)
    torch.testing.assert_close(model(visual, ids), changed, **EXACT)
    add_adapters(model, LoraConfig(rank=2, alpha=2, dropout=0.0, targets=("key",)))
    torch.testing.assert_close(model(visual, ids), changed, **EXACT)


@needs_accelerate
@pytest.mark.parametrize(
    ("other", "more", "told"),
    [
        ("granite", {"logits_scaling": 4.0}, "granite has more than a plain head"),
        ("gemma", {}, "gemma changes its embeddings"),
    ],
)
def test_language_models_that_do_more_than_ours_are_refused(
    transformers: Any,
    spelt: Tokenizer,
    folder: Path,
    tiny_base_config: ModelConfig,
    tmp_path: Path,
    other: str,
    more: dict[str, float],
    told: str,
) -> None:
    sizes = SIZES["llama"] | {"vocab_size": len(spelt), "head_dim": 8} | more
    sizes["num_key_value_heads"] = sizes["num_attention_heads"]
    config = transformers.AutoConfig.for_model(other, **sizes)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_text((folder / name).read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(ModelError, match=told):
        assemble(tiny_base_config, language=tmp_path)
