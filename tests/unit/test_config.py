import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lightseek.config import DecoderConfig, LanguageConfig, ModelConfig, load_config, validate
from lightseek.errors import ModelError, UsageError
from lightseek.model import LightSeekOCR
from lightseek.presets import preset, preset_names

UNUSED_CLIP_PATCHES = 602_112
"""Parameters of CLIP's own patch convolution, which is in the official file and nowhere used."""


def plain(config: ModelConfig) -> dict[str, Any]:
    return json.loads(config.to_json())


def num_parameters(name: str) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in LightSeekOCR(preset(name)).parameters())


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads_and_survives_json(name: str, tmp_path: Path) -> None:
    config = preset(name)
    assert config.name == name
    path = tmp_path / "config.json"
    path.write_text(config.to_json(), encoding="utf-8")
    assert load_config(path) == config


@pytest.mark.parametrize("name", preset_names())
def test_sizes_of_a_preset_fit_each_other(name: str) -> None:
    config = preset(name)
    for part in (config.sam, config.clip, config.decoder):
        assert part.dim % part.heads == 0
    assert config.compressor.dim == config.clip.dim, "compressed tokens take the place of patches"
    assert all(block < config.sam.depth for block in config.sam.global_blocks)
    if not config.clip.resize_table:
        assert config.sam.table.rows == 4 * config.clip.table.rows
        assert config.sam.table.cols == 4 * config.clip.table.cols
    assert config.fused_dim == config.clip.dim + config.compressor.dim


def test_deepseek_ocr_has_the_published_number_of_parameters() -> None:
    assert num_parameters("deepseek-ocr") == 3_336_106_240 - UNUSED_CLIP_PATCHES


def test_nano_is_small() -> None:
    assert num_parameters("nano") <= 20_000_000


def test_an_unknown_preset_lists_the_known_ones() -> None:
    with pytest.raises(UsageError) as error:
        preset("nanno")
    assert "nanno" in str(error.value)
    assert all(name in str(error.value) for name in preset_names())


def test_sizes_of_ones_own_say_what_differs(tmp_path: Path) -> None:
    file = tmp_path / "deep.toml"
    file.write_text('like = "nano"\n[decoder]\ndepth = 5\n')
    own, nano = preset(str(file)), preset("nano")
    assert own.name == "deep"
    assert isinstance(nano.decoder, DecoderConfig)
    assert own == replace(nano, name="deep", decoder=replace(nano.decoder, depth=5))
    file.write_text('like = "nano"\n[sam.window]\ncols = 16\n')
    window = replace(nano.sam.window, cols=16)
    assert preset(str(file)) == replace(nano, name="deep", sam=replace(nano.sam, window=window))


def test_sizes_of_ones_own_leave_out_what_the_others_have(tmp_path: Path) -> None:
    (tmp_path / "silent.toml").write_text('like = "nano"\n[decoder]\nplace = false\n')
    (tmp_path / "own.toml").write_text('like = "silent.toml"\n[sam]\nrelative_position = true\n')
    (tmp_path / "dense.toml").write_text('like = "deepseek-ocr"\n[decoder]\nmoe = false\n')
    own, dense = preset(str(tmp_path / "own.toml")), preset(str(tmp_path / "dense.toml"))
    assert own.sam.relative_position
    assert own.decoder.place is None
    assert dense.decoder.moe is None
    assert dense.sam.neck_dim == 256


def test_half_a_token_is_a_token(tmp_path: Path) -> None:
    file = tmp_path / "low.toml"
    file.write_text(
        'like = "nano"\nsam = { table = { rows = 2 } }\nclip = { table = { rows = 1 } }\n'
    )
    assert preset(str(file)).clip.table.rows == 1


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ("sam = { stem = [{ dim = 24, residuals = 0 }] }", "sam.stem has three stages, or none"),
        ("sam = { table = { cols = 32 } }", "clip.table has 1/4 of"),
        ("sam = { global_blocks = [-1] }", "sam.global_blocks names a block beyond"),
        ("decoder = { place = { x_bins = 64 } }", "as wide as sam.table, 1024 px"),
        ("decoder = { place = { x_bins = 8, bin_px = 128 } }", "is some whole bins"),
        ("decoder = { dim = 24, heads = 8 }", "decoder.dim / decoder.heads is even"),
        (
            "decoder = { feed_forward = 'swiglu', moe = { experts = 2, active = 3, "
            "expert_dim = 8, shared_dim = 8, dense_layers = 0 } }",
            "decoder.moe.active is at most",
        ),
    ],
)
def test_sizes_that_do_not_go_together_are_refused(
    tmp_path: Path, changes: str, fault: str
) -> None:
    file = tmp_path / "own.toml"
    file.write_text(f'like = "nano"\n{changes}\n')
    with pytest.raises(ModelError, match=fault):
        preset(str(file))


@pytest.mark.parametrize(
    ("text", "kind", "fault"),
    [
        (None, UsageError, "cannot be read"),
        ("like = ", UsageError, "is not TOML"),
        ("like = 3", ModelError, "is like 3: name a preset"),
        ('like = "own.toml"', ModelError, "own.toml is like 'own.toml': name a preset"),
        ('like = "nanno"', UsageError, "no preset 'nanno'"),
        ('like = "nano"\n[decoder]\ndeph = 5', ModelError, "decoder.deph"),
    ],
)
def test_faulty_sizes_of_ones_own_are_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str | None,
    kind: type[Exception],
    fault: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    if text is not None:
        Path("own.toml").write_text(text)
    with pytest.raises(kind, match=fault):
        preset("own.toml")


def refused(data: Any) -> str:
    with pytest.raises(ModelError) as error:
        validate(ModelConfig, data, source="some.toml")
    message = str(error.value)
    assert message.startswith("some.toml does not fit: ")
    assert "\n" not in message
    return message


def test_a_typo_is_refused_with_its_place(tiny_config: ModelConfig) -> None:
    data = plain(tiny_config)
    data["sam"]["depht"] = data["sam"].pop("depth")
    message = refused(data)
    assert "sam.depht" in message
    assert "sam.depth" in message, "the size that the typo leaves out is missing"


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("sam", "dim", "wide"),
        ("sam", "window", 14),
        ("sam", "stem", [{"dim": 3}]),
        ("clip", "activation", "tanh"),
        ("clip", "depth", 1.5),
        ("decoder", "moe", {"experts": 4}),
        ("decoder", "heads", None),
        ("sam", "channels", 0),
        ("sam", "window", {"rows": -1, "cols": 2}),
        ("decoder", "vocab_size", -1),
        ("decoder", "max_positions", 0),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(
    tiny_config: ModelConfig, part: str, key: str, value: Any
) -> None:
    data = plain(tiny_config)
    data[part][key] = value
    assert f"{part}.{key}" in refused(data)


@pytest.mark.parametrize("part", ["sam", "clip", "decoder"])
@pytest.mark.parametrize("heads", [5, 7])
def test_heads_that_do_not_divide_the_width_are_refused(
    tiny_config: ModelConfig, part: str, heads: int
) -> None:
    data = plain(tiny_config)
    data[part]["heads"] = heads
    with pytest.raises(ModelError, match=rf"{part}\.dim = \d+ is no multiple of heads = {heads}"):
        validate(ModelConfig, data, source="sizes")


def test_all_faults_are_told_at_once(tiny_config: ModelConfig) -> None:
    data = plain(tiny_config)
    del data["clip"]["heads"]
    data["colour"] = "blue"
    message = refused(data)
    assert "clip.heads" in message
    assert "colour" in message


def test_every_size_is_required(tiny_config: ModelConfig) -> None:
    optional = {
        ("sam", "neck_dim"),
        ("clip", "patch_px"),
        *(("decoder", k) for k in ("sliding_window", "place", "moe", "cross_attention")),
    }
    for part in ("sam", "compressor", "clip", "decoder"):
        for key in asdict(tiny_config)[part]:
            data = plain(tiny_config)
            del data[part][key]
            if (part, key) in optional:
                assert not getattr(getattr(validate(ModelConfig, data, source="x"), part), key)
            else:
                assert f"{part}.{key}" in refused(data)


def test_a_language_model_is_told_from_a_decoder_of_ours(tiny_base_config: ModelConfig) -> None:
    language = LanguageConfig(
        transformers={"model_type": "gpt2", "n_layer": 2},
        vocab_size=300,
        dim=32,
        max_positions=64,
        tied_head=True,
    )
    config = replace(tiny_base_config, decoder=language)
    assert validate(ModelConfig, plain(config), source="x") == config
    assert not config.decoder.row_marks
    data = plain(config)
    data["decoder"]["wide"] = data["decoder"].pop("dim")
    message = refused(data)
    assert "decoder.wide" in message
    assert "decoder.dim" in message


def test_rows_are_marked_where_a_place_is_one_token(tiny_official_config: ModelConfig) -> None:
    data = plain(tiny_official_config) | {"fusion": "sequence"}
    assert "row_marks are for one token a place" in refused(data)


def test_cross_attention_needs_two_maps(tiny_base_config: ModelConfig) -> None:
    data = plain(tiny_base_config) | {"fusion": "channels"}
    assert "fusion = 'sequence'" in refused(data)


@pytest.mark.parametrize("setting", [{"sliding_window": 4}, {"bidirectional_prefix": True}])
def test_cross_attention_has_no_tokens_before_the_text(
    tiny_base_config: ModelConfig, setting: dict[str, Any]
) -> None:
    data = plain(tiny_base_config)
    assert "no tokens before the text" in refused(data | {"decoder": data["decoder"] | setting})


@pytest.mark.parametrize("text", ["[1, 2]", "null", '"nano"'])
def test_json_that_is_no_config_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(ModelError, match=r"config\.json does not fit: file: "):
        load_config(path)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe\x00", b"dim = 3"])
def test_a_file_that_is_no_json_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"config\.json is not JSON"):
        load_config(path)


def test_a_folder_without_config_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no model folder: it has no config\.json"):
        load_config(tmp_path / "config.json")


def test_configs_cannot_be_changed(tiny_config: ModelConfig) -> None:
    with pytest.raises(AttributeError):
        tiny_config.decoder.dim = 8  # type: ignore[misc]
    assert replace(tiny_config.decoder, dim=8) != tiny_config.decoder
