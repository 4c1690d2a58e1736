import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer as RustTokenizer
from torch import Tensor

from lightseek import weights
from lightseek.config import ModelConfig
from lightseek.errors import ModelError
from lightseek.model import LightSeekOCR
from lightseek.tokenizer import SETTINGS, Tokenizer, character_tokenizer
from lightseek.weights import (
    CONFIG,
    TOKENIZER,
    WEIGHTS,
    default_device,
    default_dtype,
    find_model,
    load_model,
    save_model,
)

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path: Path, tiny_model: LightSeekOCR, tiny_tokenizer: Tokenizer) -> Path:
    save_model(tmp_path / "model", tiny_model, tiny_tokenizer)
    return tmp_path / "model"


def load(name: str | Path) -> LightSeekOCR:
    return load_model(name, device=CPU, dtype=torch.float32)[0]


def refused(name: str | Path) -> str:
    with pytest.raises(ModelError) as error:
        load(name)
    assert "\n" not in str(error.value)
    return str(error.value)


def change(folder: Path, **tensors: Tensor | None) -> None:
    """Replace tensors of a model folder by others, or take them out."""
    path = folder / WEIGHTS
    changed = {**load_file(path), **tensors}
    save_file({name: t for name, t in changed.items() if t is not None}, path)


@pytest.mark.parametrize("name", ["tiny_model", "tiny_official_model"])
def test_a_saved_model_is_the_same_in_bfloat16(
    request: pytest.FixtureRequest, tmp_path: Path, name: str, tiny_tokenizer: Tokenizer
) -> None:
    model: LightSeekOCR = request.getfixturevalue(name)
    save_model(tmp_path, model, tiny_tokenizer)
    assert sorted(p.name for p in tmp_path.iterdir()) == [CONFIG, WEIGHTS, TOKENIZER]
    again, tokenizer = load_model(tmp_path, device=CPU, dtype=torch.bfloat16)
    assert again.config == model.config
    assert tokenizer.ids == tiny_tokenizer.ids
    assert not again.training
    assert again.state_dict().keys() == model.state_dict().keys()
    for key, tensor in again.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[key].bfloat16()), key
    # what was rounded once is kept exactly
    save_model(tmp_path, again, tokenizer)
    twice, _ = load_model(tmp_path, device=CPU, dtype=torch.bfloat16)
    for key, tensor in again.state_dict().items():
        assert torch.equal(tensor, twice.state_dict()[key]), key


def test_weights_are_cast_to_what_is_asked_for(folder: Path, tiny_model: LightSeekOCR) -> None:
    loaded = load(folder)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    with torch.inference_mode():
        tokens = loaded.encoder(torch.zeros(1, 1, 64, 256)).tokens
        expected = tiny_model.encoder(torch.zeros(1, 1, 64, 256)).tokens
    torch.testing.assert_close(tokens, expected, atol=0.1, rtol=0.1)


def test_a_loaded_model_can_be_trained_on(folder: Path) -> None:
    assert all(p.requires_grad and not p.is_meta for p in load(folder).parameters())


def test_nothing_of_the_model_before_is_left(
    folder: Path, tiny_model: LightSeekOCR, tiny_tokenizer: Tokenizer
) -> None:
    (folder / SETTINGS).write_text('{"eos_token": "<|endoftext|>"}')
    save_model(folder, tiny_model, tiny_tokenizer)
    assert not (folder / SETTINGS).exists()
    load(folder)


def test_a_saved_model_is_read_by_whoever_may_read_its_folder(
    tmp_path: Path, tiny_model: LightSeekOCR, tiny_tokenizer: Tokenizer
) -> None:
    save_model(tmp_path, tiny_model, tiny_tokenizer)
    assert len({path.stat().st_mode for path in tmp_path.iterdir()}) == 1


def test_adapters_of_a_run_before_are_not_added_to_a_saved_model(
    tiny_model: LightSeekOCR, tiny_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    for name in ("adapters.json", "adapters.safetensors"):
        (tmp_path / name).write_text("of other weights")
    save_model(tmp_path, tiny_model, tiny_tokenizer)
    load_model(tmp_path, device=torch.device("cpu"), dtype=torch.float32)
    assert not list(tmp_path.glob("adapters*"))


@pytest.mark.parametrize("writer", ["weights", "tokenizer"])
def test_a_failed_save_leaves_the_old_model(
    folder: Path,
    tiny_official_model: LightSeekOCR,
    tiny_tokenizer: Tokenizer,
    monkeypatch: pytest.MonkeyPatch,
    writer: str,
) -> None:
    before = load(folder)

    def no_room(what: object, path: Path, **options: object) -> None:
        path.write_bytes(b"half")
        raise OSError("no space left on device")

    if writer == "weights":
        monkeypatch.setattr("lightseek.shards.save_file", no_room)
    else:
        monkeypatch.setattr(Tokenizer, "save", no_room)
    with pytest.raises(OSError, match="no space"):
        save_model(folder, tiny_official_model, tiny_tokenizer)
    after = load(folder)
    assert after.config == before.config
    for key, tensor in before.state_dict().items():
        assert torch.equal(tensor, after.state_dict()[key])


def test_all_tensors_that_do_not_fit_are_named_together(folder: Path) -> None:
    change(
        folder,
        **{
            "decoder.norm.weight": None,
            "embedding.weight": torch.zeros(223, 32),
            "encoder.sam.neck.0.weight": torch.zeros(3),
        },
    )
    message = refused(folder)
    assert "missing: decoder.norm.weight" in message
    assert "unexpected: encoder.sam.neck.0.weight" in message
    assert "misshapen: embedding.weight is [223, 32], wanted [224, 32]" in message


def test_a_long_list_of_tensors_is_cut(folder: Path) -> None:
    save_file({"other": torch.zeros(1)}, folder / WEIGHTS)
    message = refused(folder)
    total = len(LightSeekOCR(load_config_of(folder)).state_dict())
    assert f"and {total - 5} more" in message
    assert "unexpected: other" in message


def load_config_of(folder: Path) -> ModelConfig:
    return weights.load_config(folder / CONFIG)


def test_a_config_of_other_sizes_is_refused(folder: Path, tiny_config: ModelConfig) -> None:
    wider = replace(tiny_config, decoder=replace(tiny_config.decoder, dim=40))
    (folder / CONFIG).write_text(wider.to_json(), encoding="utf-8")
    message = refused(folder)
    assert "misshapen" in message
    assert "does not fit its config" in message


def test_a_tokenizer_of_other_size_is_refused(folder: Path) -> None:
    character_tokenizer("abc").save(folder / TOKENIZER)
    message = refused(folder)
    assert "has 9 tokens, the model 224: it belongs to another model" in message


@pytest.mark.parametrize("size", [0, 4, 200, -1])
def test_a_file_that_is_cut_off_is_refused(folder: Path, size: int) -> None:
    path = folder / WEIGHTS
    path.write_bytes(path.read_bytes()[:size])
    assert "model.safetensors is broken or cut off, get it again" in refused(folder)


def test_a_file_that_is_no_safetensors_is_refused(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(b"not weights at all, but long enough to look at" * 9)
    assert "is broken or cut off" in refused(folder)


class Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return pytest.fail, ("a pickle was opened",)


def test_pickles_are_never_opened(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    pickled = pickle.dumps(Trap())
    for name in ("pytorch_model.bin", "model.pt", "model.pth", "model.ckpt"):
        (folder / name).write_bytes(pickled)
    assert "has no weights: model.safetensors is missing" in refused(folder)
    (folder / WEIGHTS).write_bytes(pickled)
    assert "is broken or cut off" in refused(folder)


def test_a_folder_without_weights_is_refused(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    assert "has no weights: model.safetensors is missing" in refused(folder)


def test_a_folder_without_tokenizer_is_refused(folder: Path) -> None:
    (folder / TOKENIZER).unlink()
    assert "tokenizer.json" in refused(folder)


def test_a_tokenizer_without_special_tokens_is_refused(folder: Path) -> None:
    rust = RustTokenizer.from_file(str(folder / TOKENIZER))
    text = rust.to_str().replace("<image>", "<photo>")
    (folder / TOKENIZER).write_text(text, encoding="utf-8")
    assert "no token <image>" in refused(folder)


def test_an_empty_folder_is_no_model(tmp_path: Path) -> None:
    assert f"{tmp_path} is no model folder: it has no config.json" in refused(tmp_path)


def test_a_missing_folder_says_what_there_is(tmp_path: Path) -> None:
    message = refused(tmp_path / "nowhere")
    assert "nowhere" in message
    assert "nano" in message
    assert "config.json" in message


def test_a_file_is_no_model_folder(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"")
    assert "no model" in refused(path)


def test_models_are_found_by_name_and_by_folder(tmp_path: Path) -> None:
    assert find_model(tmp_path) == find_model(str(tmp_path)) == tmp_path
    shipped = find_model("nano")
    assert shipped.name == "nano"
    assert shipped.parent.name == "assets"


def test_the_fastest_device_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    for cuda, mps, expected in ((True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda cuda=cuda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda mps=mps: mps)
        assert default_device() == torch.device(expected)


def test_every_device_has_its_dtype(monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_dtype(torch.device("mps")) == torch.float32
    for native, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda native=native: native)
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda native=native, *, including_emulation: native
        )
        assert default_dtype(CPU) == default_dtype(torch.device("cuda")) == expected
