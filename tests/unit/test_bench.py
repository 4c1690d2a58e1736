"""The benchmark at a size of a few dims: what is measured is the program, not the machine."""

import json
import runpy
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from lightseek.bench import measure as measuring
from lightseek.bench.checkpoint import write_random
from lightseek.bench.measure import Speed, measure, prompt_length, sample_pages
from lightseek.cli import main
from lightseek.config import ModelConfig
from lightseek.errors import UsageError
from lightseek.info import active
from lightseek.presets import preset
from lightseek.quantize import quantize
from lightseek.shards import find_shards
from lightseek.weights import WEIGHTS, empty_model, load_model, tensor_bytes

CPU = torch.device("cpu")
SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "runs" / "compare_transformers.py"))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small views, and a machine that is known."""

    def small(config: ModelConfig, device: torch.device, dtype: torch.dtype) -> object:
        view = torch.randn(1, config.sam.channels, 64, 64).to(device, dtype)
        return {"small": [view]}

    monkeypatch.setattr(measuring, "sample_pages", small)
    monkeypatch.setattr(measuring, "matrix_rate", lambda dtype, device: 1e12)
    monkeypatch.setattr(measuring, "read_rate", lambda device: 2e10)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_official_config: ModelConfig) -> Path:
    target = tmp_path_factory.mktemp("random")
    write_random(target, tiny_official_config)
    return target


def found(folder: Path) -> Speed:
    return measure(folder, device=CPU, dtype=torch.float32, batches=(1, 3), steps=2)


def test_random_weights_load_and_keep_what_flows_finite(folder: Path) -> None:
    model, _ = load_model(folder, device=CPU, dtype=torch.float32)
    with torch.inference_mode():
        tokens = model.encoder(torch.randn(1, 3, 64, 64)).tokens
    assert bool(tokens.isfinite().all())
    assert float(tokens.std()) > 0
    weights = [model.decoder.layers[1].feed_forward.experts[e].up.weight for e in (0, 1)]
    assert not torch.equal(*weights)


@pytest.mark.parametrize("tokens", [224, 8192])
def test_the_tokenizer_fits_a_model_of_characters_and_of_word_pieces(
    tmp_path: Path, tiny_config: ModelConfig, tokens: int
) -> None:
    decoder = replace(tiny_config.decoder, vocab_size=tokens)
    write_random(tmp_path, replace(tiny_config, decoder=decoder))
    _, tokenizer = load_model(tmp_path, device=CPU, dtype=torch.float32)
    assert len(tokenizer) == tokens


def test_shards_hold_what_a_single_file_would(
    tmp_path: Path, tiny_official_config: ModelConfig, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setattr("lightseek.shards.SHARD_BYTES", 20_000)
    write_random(tmp_path, tiny_official_config)
    shards = find_shards(tmp_path / WEIGHTS)
    assert len(shards) > 3
    assert sorted(tmp_path.glob("*.safetensors")) == shards
    assert not list(tmp_path.glob("*.unfinished"))
    split, _ = load_model(tmp_path, device=CPU, dtype=torch.bfloat16)
    whole, _ = load_model(folder, device=CPU, dtype=torch.bfloat16)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, split.state_dict()[name]), name
    quantize(str(tmp_path), tmp_path / "small")
    small, _ = load_model(tmp_path / "small", device=CPU, dtype=torch.bfloat16)
    assert small.config.int8


def test_figures(folder: Path, tmp_path: Path) -> None:
    speed = found(folder)
    assert (speed.dtype, set(speed.decode_tps)) == ("float32", {1, 3})
    assert 0 < speed.load_s < speed.first_token_s
    assert speed.peak_bytes is not None
    assert speed.peak_bytes > speed.weight_bytes > speed.token_bytes
    assert speed.encode_flops["small"] > 1e5
    assert speed.of_bandwidth() == speed.decode_tps[1] * speed.token_bytes / 2e10
    share = speed.encode_flops["small"] / speed.encode_s["small"] / 1e12
    assert speed.of_matrix_rate("small") == share
    assert Speed.from_json(speed.to_json()) == speed
    quantize(str(folder), tmp_path / "small")
    small = found(tmp_path / "small")
    assert small.dtype == "int8"
    assert small.token_bytes < speed.token_bytes / 2


def test_a_token_of_the_official_size_reads_1_15_gb() -> None:
    config = preset("unlimited-ocr")
    sizes = tensor_bytes(empty_model(config), torch.bfloat16)
    assert active(config, sizes) == 2 * 574_127_360
    assert prompt_length(config) == 284


def test_keys_and_values_of_visual_tokens_are_not_read_for_every_token() -> None:
    config = preset("lightseek-base").decoder
    tensors = empty_model(preset("lightseek-base")).state_dict()
    sizes = {name: tensor.numel() for name, tensor in tensors.items()}
    dim, mlp_dim = config.dim, config.mlp_dim
    attention = 4 * dim * (dim + 1)
    looking = 2 * dim * (dim + 1)  # query and out
    feed_forward = mlp_dim * (dim + 1) + dim * (mlp_dim + 1)
    norm = 2 * dim
    layer = attention + looking + feed_forward + 3 * norm
    head = config.vocab_size * dim
    assert active(preset("lightseek-base"), sizes) == config.depth * layer + norm + head


@pytest.mark.parametrize(
    ("name", "mode", "shape", "tokens"),
    [
        ("nano", "strips", (64, 1, 32, 512), 8),
        ("lightseek-small", "strips", (64, 1, 32, 512), 16),
        ("lightseek-base", "base", (1, 3, 1024, 1024), 512),
    ],
)
def test_a_model_is_measured_on_what_it_reads(
    name: str, mode: str, shape: tuple[int, ...], tokens: int
) -> None:
    config = preset(name)
    [(found, [views])] = sample_pages(config, torch.device("meta"), torch.float32).items()
    assert (found, views.shape) == (mode, shape)
    seen = empty_model(config).visual_tokens(views[:1])
    assert prompt_length(config) == tokens + 1 == seen.shape[1] + 1


def test_a_disk_without_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UsageError, match=r"0\.0 GB free, and a model of 6\.7 GB .* TMPDIR"):
        write_random(tmp_path, preset("deepseek-ocr"))


def test_the_command(folder: Path) -> None:
    arguments = ["bench", "--model", str(folder), "--steps", "2", "--batch", "1", "--device", "cpu"]
    told = CliRunner().invoke(main, arguments)
    assert told.exit_code == 0, told.output
    assert "decode x1" in told.stdout
    figures = json.loads(CliRunner().invoke(main, [*arguments, "--json"]).stdout)
    assert figures["engine"] == "lightseek"


def test_the_table_has_a_column_for_each_engine(folder: Path) -> None:
    speed = found(folder)
    lines = SCRIPT["to_markdown"]([speed, speed]).splitlines()
    assert lines[2] == "| | lightseek, float32 | lightseek, float32 |"
    assert any(line.startswith("| decode x3, tokens/s | ") for line in lines)
    assert {line.count("|") for line in lines[2:]} == {4}


def test_the_figures_are_medians_each_by_itself(folder: Path) -> None:
    speed = found(folder)
    speeds = [
        replace(speed, load_s=load_s, decode_tps={1: rate, 3: 1.0})
        for load_s, rate in ((3.0, 10.0), (1.0, 30.0), (2.0, 20.0))
    ]
    middle = SCRIPT["median_of"](speeds)
    assert middle == replace(speed, load_s=2.0, decode_tps={1: 20.0, 3: 1.0})


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there_is_one_line(folder: Path, device: str) -> None:
    told = CliRunner().invoke(main, ["bench", "--model", str(folder), "--device", device])
    assert told.exit_code == 2
    assert told.stderr.startswith(f"Error: no device {device} on this machine: leave it out")
    assert told.stderr.count("\n") == 1


def test_a_folder_of_any_name_is_written(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "q[" / "b]"
    told = CliRunner().invoke(main, ["quantize", str(folder), str(target), "--int8"])
    assert told.exit_code == 0, told.output
    assert (target / "config.json").is_file()
