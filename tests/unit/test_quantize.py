"""Models in 8 bits: what is rounded, how far answers move, and what a folder says."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from lightseek import OCR
from lightseek.cli import main
from lightseek.config import LanguageConfig, ModelConfig
from lightseek.decoder import SwiGlu
from lightseek.errors import ModelError, UsageError
from lightseek.info import describe
from lightseek.linear import Int8Linear, Linear, fan_out, hold_in_int8, multiply, pack_int8, to_int8
from lightseek.model import LightSeekOCR
from lightseek.quantize import quantize
from lightseek.shards import find_shards
from lightseek.tokenizer import Tokenizer
from lightseek.weights import CONFIG, WEIGHTS, load_model, save_model

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def small_folder(official_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("int8") / "model"
    quantize(str(official_folder), target)
    return target


def tensors(folder: Path) -> dict[str, Tensor]:
    return {n: t for file in find_shards(folder / WEIGHTS) for n, t in load_file(file).items()}


def scores(folder: Path) -> Tensor:
    model, _ = load_model(folder, device=CPU, dtype=torch.float32)
    torch.manual_seed(0)
    x = torch.randn(2, 9, model.config.decoder.dim)
    with torch.inference_mode():
        rotary = model.decoder.rotary(torch.arange(9)[None], x)
        return model.predict(model.decoder(x, rotary)).what


class TestRounding:
    def test_no_weight_moves_by_more_than_half_a_step(self) -> None:
        weight = torch.randn(7, 40) * torch.logspace(-3, 3, 7)[:, None]
        rounded, scale = to_int8(weight)
        assert rounded.abs().amax(-1).tolist() == [127] * 7
        error = (rounded * scale[:, None] - weight).abs()
        assert bool((error <= scale[:, None] * 0.501).all())

    def test_a_row_of_zeros_stays_one(self) -> None:
        rounded, scale = to_int8(torch.zeros(2, 8))
        assert not rounded.any()
        assert bool(scale.isfinite().all())


class TestLayer:
    @pytest.mark.parametrize("packed", [True, False])
    @pytest.mark.parametrize("rows", [1, 5])
    def test_it_multiplies_nearly_like_the_layer_it_stands_for(
        self, rows: int, packed: bool
    ) -> None:
        torch.manual_seed(0)
        exact = Linear(64, 32)
        layer = Int8Linear(64, 32, bias=True)
        layer.weight, layer.scale = to_int8(exact.weight.detach())
        layer.bias = exact.bias
        if packed:
            pack_int8(nn.Sequential(layer))
        # one row that is far higher than the others does not drown them
        x = torch.randn(rows, 64) * torch.logspace(0, 3, rows)[:, None]
        with torch.inference_mode():
            found, expected = layer(x), exact(x)
        error = (found - expected).norm(dim=-1) / expected.norm(dim=-1)
        assert float(error.max()) < 0.03

    def test_zeros_stay_zeros(self) -> None:
        layer = Int8Linear(8, 4, bias=False)
        pack_int8(nn.Sequential(layer))
        assert not layer(torch.zeros(3, 8)).any()

    @pytest.mark.parametrize("packed", [True, False])
    def test_gradients_flow_through_to_the_rows(self, packed: bool) -> None:
        torch.manual_seed(0)
        layer = Int8Linear(64, 32, bias=True)
        layer.weight, layer.scale = to_int8(torch.randn(32, 64))
        spread = layer.spread(torch.float32)
        if packed:
            pack_int8(nn.Sequential(layer))
        x, grad = torch.randn(2, 5, 64, requires_grad=True), torch.randn(2, 5, 32)
        layer(x).backward(grad)
        torch.testing.assert_close(x.grad, grad @ spread)
        assert layer.bias is not None
        torch.testing.assert_close(layer.bias.grad, grad.sum((0, 1)))

    @pytest.mark.parametrize("learns", [True, False])
    def test_layers_that_multiply_the_same_rows_answer_as_if_alone(self, learns: bool) -> None:
        torch.manual_seed(0)
        module = nn.Sequential(SwiGlu(64, 48))
        hold_in_int8(module)
        layers: list[Int8Linear] = [module[0].gate, module[0].up]
        for layer in layers:
            layer.weight, layer.scale = to_int8(torch.randn(48, 64))
        spread = [layer.spread(torch.float32) for layer in layers]
        pack_int8(module)
        assert layers[0].packed is layers[1].packed is not None
        x = torch.randn(3, 64, requires_grad=learns)
        for found, layer, weight in zip(fan_out(x, *layers), layers, spread, strict=True):
            assert torch.equal(layer.spread(torch.float32), weight)
            torch.testing.assert_close(found, layer(x))
            torch.testing.assert_close(found, x @ weight.T, atol=0.3, rtol=0.03)

    @pytest.mark.parametrize("rows", [1, 3])
    def test_one_row_of_bfloat16_takes_another_way_to_the_same_numbers(self, rows: int) -> None:
        torch.manual_seed(0)
        weight, bias = torch.randn(96, 200).bfloat16(), torch.randn(96).bfloat16()
        x = torch.randn(rows, 200).bfloat16()
        with torch.inference_mode():
            found = multiply(x, weight, bias)
        expected = x.double() @ weight.double().T + bias.double()
        torch.testing.assert_close(found.double(), expected, atol=0.2, rtol=0.01)
        assert torch.backends.mkldnn.enabled


class TestFolder:
    def test_the_decoder_is_rounded_and_the_rest_is_not(
        self, small_folder: Path, official_folder: Path
    ) -> None:
        before, _ = load_model(official_folder, device=CPU, dtype=torch.bfloat16)
        found = tensors(small_folder)
        whole = {name for name, tensor in found.items() if tensor.dtype == torch.int8}
        scales = {f"{name.removesuffix('.weight')}.scale" for name in whole}
        assert "head.weight" in whole
        assert "decoder.layers.1.feed_forward.experts.0.up.weight" in whole
        kept = ("encoder.", "embedding", "router", "norm", "row_end", "view_separator")
        assert not any(word in name for word in kept for name in whole)
        assert found.keys() - scales == before.state_dict().keys()
        for name, tensor in before.state_dict().items():
            if name not in whole:
                assert torch.equal(found[name], tensor), name

    def test_once_packed_it_is_not_saved(self, small_folder: Path, tmp_path: Path) -> None:
        model, tokenizer = load_model(small_folder, device=CPU, dtype=torch.bfloat16)
        with pytest.raises(UsageError, match="lightseek quantize"):
            save_model(tmp_path / "copy", model, tokenizer)
        assert not (tmp_path / "copy").exists()

    def test_scores_stay_close(self, small_folder: Path, official_folder: Path) -> None:
        exact, found = scores(official_folder), scores(small_folder)
        assert float((found - exact).norm() / exact.norm()) < 0.05

    def test_it_reads_pages_like_any_other(self, small_folder: Path) -> None:
        page = OCR(small_folder, device="cpu").read(
            Image.new("RGB", (64, 64)), mode="tiny", max_tokens=3
        )
        assert page.pages[0].reason is not None

    def test_nano_with_its_tied_head_and_biases(
        self, tmp_path: Path, tiny_model: LightSeekOCR, tiny_tokenizer: Tokenizer
    ) -> None:
        save_model(tmp_path / "model", tiny_model, tiny_tokenizer)
        quantize(str(tmp_path / "model"), tmp_path / "small")
        exact, found = scores(tmp_path / "model"), scores(tmp_path / "small")
        assert float((found - exact).norm() / exact.norm()) < 0.05

    def test_info_knows(self, small_folder: Path, official_folder: Path) -> None:
        small, before = describe(str(small_folder)), describe(str(official_folder))
        assert small.dtype == "int8"
        assert (small.parameters, small.tensors) == (before.parameters, before.tensors)
        assert small.memory["bfloat16"] < before.memory["bfloat16"]


class TestMistakes:
    def test_twice(self, small_folder: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="in 8 bits already"):
            quantize(str(small_folder), tmp_path / "again")

    def test_a_language_model_has_no_layers_of_ours(
        self, tiny_base_config: ModelConfig, tiny_tokenizer: Tokenizer, tmp_path: Path
    ) -> None:
        sizes = {"model_type": "gpt2", "vocab_size": 224, "n_embd": 32, "n_layer": 1, "n_head": 2}
        decoder = LanguageConfig(
            transformers=sizes, vocab_size=224, dim=32, max_positions=256, tied_head=True
        )
        model = LightSeekOCR(replace(tiny_base_config, decoder=decoder))
        save_model(tmp_path / "gpt", model, tiny_tokenizer)
        with pytest.raises(UsageError, match="writes with a language model of transformers"):
            quantize(str(tmp_path / "gpt"), tmp_path / "small")
        assert not (tmp_path / "small").exists()

    def test_a_target_in_use(self, official_folder: Path, small_folder: Path) -> None:
        with pytest.raises(UsageError, match="is in use"):
            quantize(str(official_folder), small_folder)

    def test_a_scale_is_missing(self, small_folder: Path, tmp_path: Path) -> None:
        for file in small_folder.iterdir():
            (tmp_path / file.name).write_bytes(file.read_bytes())
        config = json.loads((tmp_path / CONFIG).read_text())
        (tmp_path / CONFIG).write_text(json.dumps({**config, "int8": False}))
        with pytest.raises(ModelError, match=r"unexpected: .*scale"):
            load_model(tmp_path, device=CPU, dtype=torch.float32)

    def test_a_full_disk(
        self, official_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fill(tensors: object, path: Path, **options: object) -> None:
            path.write_bytes(b"half")
            raise SafetensorError("I/O error: No space left on device")

        arguments = ["quantize", str(official_folder), str(tmp_path / "small"), "--int8"]
        with monkeypatch.context() as patch:
            patch.setattr("lightseek.shards.save_file", fill)
            result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 1
        assert "cannot be written: is there room for" in result.output
        assert CliRunner().invoke(main, arguments).exit_code == 0, "nothing was left there"

    def test_the_command(self, official_folder: Path, tmp_path: Path) -> None:
        arguments = ["quantize", str(official_folder), str(tmp_path / "small"), "--int8"]
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, result.output
        assert find_shards(tmp_path / "small" / WEIGHTS)
        again = CliRunner().invoke(main, arguments)
        assert again.exit_code == 2
        assert "is in use" in again.output
