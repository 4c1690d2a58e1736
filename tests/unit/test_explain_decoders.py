"""Every kind of decoder is explained: beside visual tokens, behind them, and those of others."""

import importlib.util
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from lightseek import OCR
from lightseek.cli import main
from lightseek.config import DecoderConfig, LanguageConfig, ModelConfig
from lightseek.cross import CrossDecoder
from lightseek.explain import Explanation, explain
from lightseek.explain.attention import find_gazes, follow, watched
from lightseek.explain.report import write_report
from lightseek.explain.sight import Passage, find_sight
from lightseek.language import LanguageDecoder
from lightseek.model import LightSeekOCR
from lightseek.ocr import Reading
from lightseek.tokenizer import Tokenizer, character_tokenizer
from lightseek.weights import save_model

needs_transformers = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("transformers", "accelerate")),
    reason="needs transformers and accelerate",
)
LANGUAGE: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 32, "n_layer": 3, "n_head": 2, "n_positions": 256},
    "qwen2": {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
    },
}


def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8))


def make(config: ModelConfig) -> LightSeekOCR:
    """A model in which nothing is zero, and which does not repeat itself."""
    torch.manual_seed(0)
    model = LightSeekOCR(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
        model.embedding.weight.mul_(0.1)
        # the end is never likeliest: there is something to explain
        model.embedding.weight[: len(character_tokenizer().special_ids)] = 0
    return model.eval()


def with_language_model(config: ModelConfig, kind: str) -> ModelConfig:
    sizes = {"model_type": kind, "vocab_size": 224, **LANGUAGE[kind]}
    decoder = LanguageConfig(
        transformers=sizes, vocab_size=224, dim=32, max_positions=256, tied_head=True
    )
    return replace(config, decoder=decoder)


@pytest.fixture(scope="module")
def folder(
    tiny_base_model: LightSeekOCR,
    tiny_tokenizer: Tokenizer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    folder = tmp_path_factory.mktemp("base")
    save_model(folder, tiny_base_model, tiny_tokenizer)
    return folder


@pytest.fixture(scope="module")
def told(folder: Path) -> Explanation:
    """By a cross-attention decoder."""
    ocr = OCR(folder, device="cpu", dtype=torch.float32)
    return explain(ocr, picture(), mode="tiny", max_tokens=30)


@pytest.fixture(params=LANGUAGE)
def speaking(request: pytest.FixtureRequest, tiny_base_config: ModelConfig) -> LightSeekOCR:
    return make(with_language_model(tiny_base_config, request.param))


class TestCrossAttention:
    def test_each_map_has_a_layer_that_looks_at_it(self, told: Explanation) -> None:
        assert told.layers == {"local": 1, "global": 0}
        [seen] = told.sight.views
        assert (seen.rows, seen.cols) == (8, 8)
        for gaze in told.gazes:
            assert gaze.weights.keys() == {"local", "global"}
            for weights in gaze.weights.values():
                assert weights.shape == (64,)
                assert weights.sum() == pytest.approx(1, abs=1e-4)

    def test_prompts_hold_their_visual_tokens(self, told: Explanation) -> None:
        [passage], [seen] = told.sight.passages, told.sight.views
        local, whole = seen.encoded.tokens[0].flatten(0, 1).chunk(2)
        assert torch.equal(passage.prompt[0, passage.spots[0]], local)
        assert torch.equal(passage.prompt[0, passage.spots[1]], whole)

    @torch.inference_mode()
    def test_attention_is_that_of_each_step(
        self, told: Explanation, tiny_base_model: LightSeekOCR, tiny_tokenizer: Tokenizer
    ) -> None:
        """Collected in one pass over the text, it is that of writing token by token."""
        model, [passage] = tiny_base_model, told.sight.passages
        decoder = model.decoder
        assert isinstance(decoder, CrossDecoder)
        words, weights = follow(model, tiny_tokenizer, passage)
        ids = tiny_tokenizer.encode(passage.text)
        steps = []
        with watched(0, beside=True) as seen:
            sequences = decoder.begin(passage.prompt, len(ids), None)
            sequences.prefill()
            for token in ids[: len(words[0]) - 1]:
                sequences.next(model.embedding.weight[token][None, None])
        steps = [torch.cat(seen[layer::2]).mean(0)[0] for layer in range(2)]
        torch.testing.assert_close(weights[0, 1, 0], steps[0])
        torch.testing.assert_close(weights[1, 0, 0], steps[1])
        assert not weights[0, 0].any()
        assert not weights[1, 1].any()

    def test_a_chosen_layer_shows_its_map(
        self, told: Explanation, tiny_base_model: LightSeekOCR, tiny_tokenizer: Tokenizer
    ) -> None:
        layers, gazes = find_gazes(tiny_base_model, tiny_tokenizer, told.sight, layer=1)
        assert layers == {"local": 1}
        assert gazes[0].weights.keys() == {"local"}

    def test_the_report_shows_both_maps(self, told: Explanation, tmp_path: Path) -> None:
        page = write_report(told, tmp_path, gif=True)[0].read_text(encoding="utf-8")
        assert page.count("<canvas") == 2
        assert "Attention over the local map" in page
        assert "Attention over the global map" in page
        data = json.loads(re.findall(r'id="data">(.*?)</script>', page, re.DOTALL)[0])
        assert all(len(w["weights"]) == len(w["share"]) == 2 for w in data["words"])
        with Image.open(tmp_path / "words" / "0001.png") as word:
            assert word.width > 2 * picture().width

    def test_the_command(self, folder: Path, tmp_path: Path) -> None:
        picture().save(tmp_path / "a.png")
        options = ["--model", str(folder), "--device", "cpu", "--mode", "tiny"]
        options += ["--max-tokens", "12", "-o", str(tmp_path / "out")]
        result = CliRunner().invoke(main, ["explain", str(tmp_path / "a.png"), *options])
        assert result.exit_code == 0, result.output
        files = {path.name for path in (tmp_path / "out").iterdir()}
        assert files == {"index.html", "words", "sam.png", "compressed.png", "clip.png"}


@needs_transformers
class TestLanguageModels:
    @torch.inference_mode()
    def test_looking_changes_nothing(self, speaking: LightSeekOCR) -> None:
        decoder, x = speaking.decoder, torch.randn(1, 12, 32)
        assert isinstance(decoder, LanguageDecoder)
        before = decoder(x)
        weights = decoder.attention(x)
        assert weights.shape == (3, 12, 12)
        assert not weights.triu(1).any()
        torch.testing.assert_close(weights.sum(-1), torch.ones(3, 12))
        assert torch.equal(decoder(x), before)

    def test_both_maps_of_every_layer(
        self, speaking: LightSeekOCR, tiny_tokenizer: Tokenizer, tmp_path: Path
    ) -> None:
        save_model(tmp_path / "model", speaking, tiny_tokenizer)
        ocr = OCR(tmp_path / "model", device="cpu", dtype=torch.float32)
        told = explain(ocr, picture(), mode="tiny", max_tokens=30)
        assert told.layers.keys() == {"local", "global"}
        for gaze in told.gazes:
            assert 0 < sum(weights.sum() for weights in gaze.weights.values()) < 1
        assert write_report(told, tmp_path / "out")[0].is_file()
        chosen = explain(ocr, picture(), mode="tiny", max_tokens=30, layer=2)
        assert chosen.layers == {"local": 2, "global": 2}

    @torch.inference_mode()
    def test_a_word_is_a_row_of_the_whole_sequence(
        self, speaking: LightSeekOCR, tiny_tokenizer: Tokenizer
    ) -> None:
        visual = torch.randn(8, 32)
        prompt = torch.cat([visual, speaking.embedding.weight[tiny_tokenizer.bos_id][None]])[None]
        spots = torch.arange(8).view(2, 4)
        passage = Passage(prompt=prompt, spots=spots, first=0, text="a fox")
        _, weights = follow(speaking, tiny_tokenizer, passage)
        ids = tiny_tokenizer.encode("a fox")
        decoder = speaking.decoder
        assert isinstance(decoder, LanguageDecoder)
        whole = decoder.attention(torch.cat([prompt, speaking.embedding.weight[ids][None]], dim=1))
        torch.testing.assert_close(weights[:, 0, 0], whole[:, 8, :4])
        torch.testing.assert_close(weights[:, 1, 1], whole[:, 10:13, 4:8].mean(1))


@pytest.mark.parametrize("beside", [True, False])
def test_strips_with_two_maps(
    beside: bool, tiny_config: ModelConfig, tiny_tokenizer: Tokenizer
) -> None:
    """Sequence fusion under place heads, whichever decoder looks."""
    image = Image.open(Path(__file__).parents[2] / "examples" / "letter.png").convert("RGB")
    image = image.crop((0, 0, 1241, 300))
    page = OCR(device="cpu", dtype=torch.float32).read(image).pages[0]
    assert isinstance(tiny_config.decoder, DecoderConfig)
    decoder = replace(tiny_config.decoder, cross_attention=beside, bidirectional_prefix=not beside)
    model = make(replace(tiny_config, fusion="sequence", decoder=decoder))
    asked = Reading()
    sight = find_sight(model, tiny_tokenizer, image, page, asked)
    layers, gazes = find_gazes(model, tiny_tokenizer, sight)
    assert layers.keys() == {"local", "global"}
    assert [gaze.text for gaze in gazes] == [word.text for word in page.words]
    views = {seen.first: seen for seen in sight.views}
    assert all(w.shape == (views[g.first].size,) for g in gazes for w in g.weights.values())


def test_a_window_over_the_output(
    tiny_official_config: ModelConfig, tiny_tokenizer: Tokenizer
) -> None:
    """Unlimited-OCR: the prompt is always visible."""
    assert isinstance(tiny_official_config.decoder, DecoderConfig)
    decoder = replace(tiny_official_config.decoder, sliding_window=3)
    model = make(replace(tiny_official_config, decoder=decoder))
    passage = Passage(
        prompt=torch.randn(1, 9, 32), spots=torch.arange(1, 7)[None], first=0, text="a brown fox"
    )
    words, weights = follow(model, tiny_tokenizer, passage)
    assert words == ["a", "brown", "fox"]
    assert (weights > 0).all()
