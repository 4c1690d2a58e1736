"""The folders of the official family: names, configs, shards, the hub, and what can be wrong."""

import errno
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.utils import SafetensorsFileMetadata, TensorInfo
from safetensors.torch import load_file, save_file

from lightseek import memory, weights
from lightseek.config import ModelConfig
from lightseek.errors import ModelError
from lightseek.info import describe
from lightseek.model import LightSeekOCR
from lightseek.names import official_name
from lightseek.official import find_official
from lightseek.presets import preset
from lightseek.tokenizer import character_tokenizer
from lightseek.weights import (
    CONFIG,
    TOKENIZER,
    WEIGHTS,
    empty_model,
    find_model,
    load_model,
)

DATA = Path(__file__).parents[1] / "data"
ORIGINAL = json.loads((DATA / "deepseek-ocr.json").read_text(encoding="utf-8"))
"""As published."""
TRANSFORMERS = json.loads((DATA / "unlimited-ocr.json").read_text(encoding="utf-8"))
"""As transformers writes it."""
CPU = torch.device("cpu")
INDEX = f"{WEIGHTS}.index.json"


@pytest.fixture
def folder(official_folder: Path, tmp_path: Path) -> Path:
    """A folder that a test may spoil."""
    return Path(shutil.copytree(official_folder, tmp_path / "model"))


def write_config(folder: Path, data: Any) -> None:
    (folder / CONFIG).write_text(json.dumps(data), encoding="utf-8")


def load(name: str | Path) -> LightSeekOCR:
    return load_model(name, device=CPU, dtype=torch.float32)[0]


def refused(name: str | Path) -> str:
    with pytest.raises(ModelError) as error:
        load(name)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture(scope="module", params=["deepseek-ocr", "unlimited-ocr"])
def sizes(request: pytest.FixtureRequest) -> dict[str, int]:
    """Parameters of each tensor of the family, by its official name."""
    tensors = empty_model(preset(request.param)).state_dict()
    return {official_name(name): tensor.numel() for name, tensor in tensors.items()}


class TestNames:
    def test_there_are_2710_of_3_336_106_240_parameters(self, sizes: dict[str, int]) -> None:
        assert len(sizes) == 2_710
        assert sum(sizes.values()) == 3_336_106_240

    @pytest.mark.parametrize(
        ("start", "tensors", "parameters"),
        [
            ("model.sam_model.", 179, 95_569_152),
            ("model.vision_model.", 293, 303_177_728),
            ("model.projector.", 2, 2_622_720),
        ],
    )
    def test_every_part_has_its_published_size(
        self, sizes: dict[str, int], start: str, tensors: int, parameters: int
    ) -> None:
        part = [size for name, size in sizes.items() if name.startswith(start)]
        assert (len(part), sum(part)) == (tensors, parameters)

    @pytest.mark.parametrize(
        "name",
        [
            "lm_head.weight",
            "model.embed_tokens.weight",
            "model.image_newline",
            "model.view_seperator",
            "model.norm.weight",
            "model.layers.11.post_attention_layernorm.weight",
            "model.layers.0.mlp.gate_proj.weight",
            "model.layers.1.mlp.gate.weight",
            "model.layers.11.mlp.experts.63.down_proj.weight",
            "model.layers.7.mlp.shared_experts.up_proj.weight",
            "model.layers.3.self_attn.o_proj.weight",
            "model.sam_model.pos_embed",
            "model.sam_model.patch_embed.proj.bias",
            "model.sam_model.blocks.2.attn.rel_pos_w",
            "model.sam_model.blocks.11.mlp.lin2.bias",
            "model.sam_model.neck.3.bias",
            "model.sam_model.net_3.weight",
            "model.vision_model.embeddings.patch_embedding.weight",
            "model.vision_model.embeddings.position_embedding.weight",
            "model.vision_model.pre_layrnorm.weight",
            "model.vision_model.transformer.layers.23.self_attn.qkv_proj.bias",
            "model.vision_model.transformer.layers.0.layer_norm2.weight",
        ],
    )
    def test_published_names_are_among_them(self, sizes: dict[str, int], name: str) -> None:
        assert name in sizes

    @pytest.mark.parametrize("name", ["decoder.layers.x.mlp.gate.weight", "decoderXnorm", ""])
    def test_other_names_are_in_no_table(self, name: str) -> None:
        with pytest.raises(KeyError):
            official_name(name)


class TestConfigs:
    def read(self, tmp_path: Path, data: Any) -> ModelConfig:
        write_config(tmp_path, data)
        found = find_official(tmp_path / CONFIG)
        assert found is not None
        return found.config

    def faults(self, tmp_path: Path, data: Any) -> str:
        with pytest.raises(ModelError) as error:
            self.read(tmp_path, data)
        return str(error.value)

    def test_the_published_one_is_the_preset(self, tmp_path: Path) -> None:
        assert self.read(tmp_path, ORIGINAL) == preset("deepseek-ocr")

    def test_that_of_unlimited_ocr_too(self, tmp_path: Path) -> None:
        window = {"sliding_window_size": 128, "max_position_embeddings": 32768, "v_head_dim": 128}
        language = {**ORIGINAL["language_config"], **window}
        data = {**ORIGINAL, **window, "language_config": language, "sliding_window": 128}
        assert self.read(tmp_path, data | {"model_type": "unlimited-ocr"}) == preset(
            "unlimited-ocr"
        )

    def test_the_form_of_transformers_has_the_same_sizes(self, tmp_path: Path) -> None:
        read = self.read(tmp_path, TRANSFORMERS)
        published = preset("unlimited-ocr")
        assert (read.sam, read.compressor) == (published.sam, published.compressor)
        assert read.decoder == published.decoder
        assert read.clip.patch_px is None, "transformers drops what nothing reads"

    def test_fields_at_the_top_alone_are_enough(self, tmp_path: Path) -> None:
        data = {k: v for k, v in ORIGINAL.items() if k != "language_config"}
        assert self.read(tmp_path, data) == preset("deepseek-ocr")

    def test_a_window_of_nothing_is_none(self, tmp_path: Path) -> None:
        language = {**ORIGINAL["language_config"], "sliding_window_size": 0}
        assert self.read(tmp_path, {**ORIGINAL, "language_config": language}) == preset(
            "deepseek-ocr"
        )

    def test_special_ids_are_told(self, tmp_path: Path) -> None:
        write_config(tmp_path, TRANSFORMERS)
        found = find_official(tmp_path / CONFIG)
        assert found is not None
        assert found.special_ids == {"bos": (0,), "eos": (1,), "image": (128815,)}

    def test_of_special_ids_several_may_do_or_none_be_told(self, tmp_path: Path) -> None:
        told = {"bos_token_id": None, "eos_token_id": [1, 7]}
        language = {**ORIGINAL["language_config"], **told}
        write_config(tmp_path, {**ORIGINAL, **told, "language_config": language})
        found = find_official(tmp_path / CONFIG)
        assert found is not None
        assert found.special_ids == {"eos": (1, 7)}

    def test_our_own_is_none(self, tmp_path: Path) -> None:
        path = tmp_path / CONFIG
        assert find_official(path) is None
        for text in ("half a {", "[]", preset("nano").to_json()):
            path.write_text(text, encoding="utf-8")
            assert find_official(path) is None

    def test_an_unknown_field_is_named(self, tmp_path: Path) -> None:
        message = self.faults(tmp_path, ORIGINAL | {"rotary_scale": 2})
        assert "rotary_scale" in message
        assert "language_config" not in message, "it stands at the top"
        assert "\n" not in message
        nested = {**ORIGINAL, "language_config": {**ORIGINAL["language_config"], "rotary_scale": 2}}
        assert "language_config.rotary_scale" in self.faults(tmp_path, nested)

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("use_mla", True),
            ("norm_topk_prob", True),
            ("topk_method", "group_limited_greedy"),
            ("num_key_value_heads", 2),
            ("hidden_size", "wide"),
            ("hidden_size", -1280),
            ("hidden_size", 1290),
            ("num_hidden_layers", 0),
            ("num_experts_per_tok", 65),
            ("scoring_func", "sigmoid"),
            ("routed_scaling_factor", 2.5),
            ("head_dim", 64),
            ("rms_norm_eps", -1),
            ("rms_norm_eps", float("inf")),
            ("rope_theta", 0),
            ("projector_config", ORIGINAL["projector_config"] | {"n_embed": 640}),
            ("projector_config", ORIGINAL["projector_config"] | {"input_dim": 1024}),
        ],
    )
    def test_what_we_do_not_compute_is_refused(
        self, tmp_path: Path, field: str, value: Any
    ) -> None:
        assert field in self.faults(tmp_path, ORIGINAL | {field: value})

    @pytest.mark.parametrize(
        ("tower", "field", "value", "told"),
        [
            ("clip-l-14-224", "heads", 7, "clip.dim = 1024 is no multiple of heads = 7"),
            ("clip-l-14-224", "image_size", 7, "image_size is smaller than a patch"),
            ("sam_vit_b", "width", 770, "sam.dim = 770 is no multiple of heads = 12"),
            ("sam_vit_b", "global_attn_indexes", [12], "a block beyond sam.depth = 12"),
            ("sam_vit_b", "downsample_channels", [-1, -1], "downsample_channels"),
        ],
    )
    def test_sizes_that_do_not_fit_each_other(
        self, tmp_path: Path, tower: str, field: str, value: Any, told: str
    ) -> None:
        data = json.loads(json.dumps(ORIGINAL))
        data["vision_config"]["width"][tower][field] = value
        assert told in self.faults(tmp_path, data)

    def test_the_next_version_is_named(self, tmp_path: Path) -> None:
        data = json.loads(json.dumps(ORIGINAL))
        width = data["vision_config"]["width"]
        width["qwen2-0-5b"] = {"dim": 896}
        del width["clip-l-14-224"]
        assert "this is DeepSeek-OCR-2" in self.faults(tmp_path, data)

    @pytest.mark.parametrize("tied", [True, False])
    def test_what_transformers_ties_by_is_at_the_top(self, tmp_path: Path, tied: bool) -> None:
        text = TRANSFORMERS["text_config"] | {"tie_word_embeddings": not tied}
        write_config(tmp_path, TRANSFORMERS | {"tie_word_embeddings": tied, "text_config": text})
        found = find_official(tmp_path / CONFIG)
        assert found is not None
        assert found.config.decoder.tied_head is tied

    @pytest.mark.parametrize(
        ("part", "field", "value"),
        [
            ("text_config", "mlp_layer_types", ["sparse", "dense"]),
            ("text_config", "layer_types", ["full_attention", "reference_sliding_attention"]),
            ("text_config", "layer_types", []),
            ("text_config", "sliding_window", 0),
            ("text_config", "layer_types", ["full_attention"]),
            ("vision_config", "colour", "blue"),
        ],
    )
    def test_also_in_the_other_form(
        self, tmp_path: Path, part: str, field: str, value: Any
    ) -> None:
        changed = {**TRANSFORMERS, part: {**TRANSFORMERS[part], field: value}}
        assert f"{part}" in self.faults(tmp_path, changed)
        assert field in self.faults(tmp_path, changed)

    def test_a_missing_size_is_named(self, tmp_path: Path) -> None:
        data = json.loads(json.dumps(ORIGINAL))
        del data["vision_config"]["width"]["sam_vit_b"]["heads"]
        assert "sam_vit_b.heads" in self.faults(tmp_path, data)

    def test_another_architecture(self, tmp_path: Path) -> None:
        message = self.faults(tmp_path, {"model_type": "qwen2_vl"})
        assert "of type qwen2_vl" in message
        assert "deepseek_vl_v2" in message


class TestFolders:
    def test_one_file_and_shards_hold_the_same(self, folder: Path) -> None:
        whole = load(folder).state_dict()
        shard(folder)
        for name, tensor in load(folder).state_dict().items():
            assert torch.equal(tensor, whole[name])

    def test_shards_are_found_without_an_index(self, folder: Path) -> None:
        shard(folder)
        (folder / INDEX).unlink()
        assert load(folder).state_dict().keys()

    @pytest.mark.parametrize("there", [True, False])
    def test_tensors_that_nothing_reads_may_be_there_or_not(
        self, folder: Path, there: bool
    ) -> None:
        name = "model.vision_model.embeddings.position_ids"
        change(folder, {name: torch.zeros(1, 257) if there else None})
        assert (name in weights_of(folder)) == there
        load(folder)

    def test_they_are_cast(self, folder: Path) -> None:
        model, _ = load_model(folder, device=CPU, dtype=torch.bfloat16)
        assert {t.dtype for t in model.state_dict().values()} == {torch.bfloat16}

    def test_faults_have_the_names_of_the_file(self, folder: Path) -> None:
        change(
            folder,
            {
                "model.view_seperator": None,
                "model.norm.weight": torch.zeros(3),
                "model.layers.9.mlp.gate.weight": torch.zeros(1),
            },
        )
        message = refused(folder)
        assert "missing: model.view_seperator" in message
        assert "unexpected: model.layers.9.mlp.gate.weight" in message
        assert "misshapen: model.norm.weight is [3], wanted [32]" in message

    def test_a_config_whose_sizes_do_not_fit_the_tensors(self, folder: Path) -> None:
        data = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        write_config(folder, data | {"n_routed_experts": 7})
        assert "misshapen: model.layers.1.mlp.gate.weight" in refused(folder)

    def test_a_half_downloaded_shard(self, folder: Path) -> None:
        names = shard(folder)
        path = folder / names[1]
        path.write_bytes(path.read_bytes()[:-100])
        message = refused(folder)
        assert names[1] in message
        assert "broken or cut off, get it again" in message

    def test_a_missing_shard(self, folder: Path) -> None:
        names = shard(folder)
        (folder / names[0]).unlink()
        message = refused(folder)
        assert f"half there, get it again: no {names[0]}" in message

    @pytest.mark.parametrize("text", ["", "{}", '{"weight_map": 3}', "[1]"])
    def test_an_index_that_is_none(self, folder: Path, text: str) -> None:
        shard(folder)
        (folder / INDEX).write_text(text, encoding="utf-8")
        assert "is no index of shards" in refused(folder)

    def test_a_tokenizer_of_another_model(self, folder: Path) -> None:
        data = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        write_config(folder, data | {"eos_token_id": 77})
        assert "has the eos token at 2, the model at 77" in refused(folder)

    def test_a_tokenizer_with_too_many_tokens(self, folder: Path) -> None:
        symbols = "".join(map(chr, range(0x4E00, 0x4E00 + 300)))
        character_tokenizer(symbols).save(folder / TOKENIZER)
        assert "306 tokens, the model 230: it belongs to another model" in refused(folder)

    def test_settings_of_the_tokenizer_name_its_special_tokens(self, folder: Path) -> None:
        settings = folder / "tokenizer_config.json"
        settings.write_text('{"eos_token": {"content": "ü"}, "bos_token": null}', encoding="utf-8")
        assert "the eos token at" in refused(folder)
        settings.write_text("half a {", encoding="utf-8")
        assert "is not JSON" in refused(folder)


class TestMemory:
    def test_too_little_is_said_before_anything_is_read(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(weights, "free_memory", lambda device: 1000)
        monkeypatch.setattr(weights, "load_weights", lambda *a, **k: pytest.fail("it was read"))
        message = refused(folder)
        assert "needs 0.0 GB for its weights in float32, and cpu has 0.0 GB free" in message
        assert "choose another device or a smaller dtype" in message

    def test_where_nobody_knows_it_is_tried(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(weights, "free_memory", lambda device: None)
        load(folder)

    def test_linux_says_what_is_available(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "meminfo"
        path.write_text("MemTotal: 9 kB\nMemAvailable:     2048 kB\n", encoding="utf-8")
        monkeypatch.setattr(memory, "MEMINFO", path)
        monkeypatch.setattr(memory, "CONTAINER", tmp_path / "none")
        assert memory.free_memory(CPU) == 2048 * 1024

    @pytest.mark.parametrize("form", ["new", "old"])
    def test_a_container_may_use_less(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
    ) -> None:
        monkeypatch.setattr(memory, "CONTAINER", tmp_path)
        limit, used, prefix = tmp_path / "memory.max", tmp_path / "memory.current", ""
        if form == "old":
            folder = tmp_path / "memory"
            folder.mkdir()
            limit, used = folder / "memory.limit_in_bytes", folder / "memory.usage_in_bytes"
            prefix = "total_"
        limit.write_text("90000\n")
        used.write_text("50000\n")
        files = f"{prefix}inactive_file 15000\n{prefix}active_file 5000\n"
        limit.with_name("memory.stat").write_text(f"anon 7\n{files}")
        assert memory.free_memory(CPU) == 60000
        if form == "new":  # the old one writes a number above all memory
            limit.write_text("max\n")
            monkeypatch.setattr(memory, "_of_machine", lambda: 70_000)
            assert memory.free_memory(CPU) == 70_000

    def test_elsewhere_all_memory_counts(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(memory, "MEMINFO", tmp_path / "none")
        monkeypatch.setattr(memory, "CONTAINER", tmp_path / "none")
        sizes = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 10}
        monkeypatch.setattr(memory, "os", SimpleNamespace(sysconf=sizes.__getitem__))
        assert memory.free_memory(CPU) == 40960
        monkeypatch.setattr(memory, "os", SimpleNamespace())
        assert memory.free_memory(CPU) is None

    def test_the_true_size_needs_6_7_gb(self) -> None:
        model = empty_model(preset("deepseek-ocr"))
        assert weights.num_bytes(model, torch.bfloat16) == 2 * 3_336_106_240


class TestHub:
    @pytest.fixture
    def cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        return tmp_path

    @pytest.fixture
    def cached(self, cache: Path, official_folder: Path) -> Path:
        """The folder of someone/tiny in the cache."""
        repository = cache / "models--someone--tiny"
        folder = repository / "snapshots" / ("0" * 40)
        shutil.copytree(official_folder, folder)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(folder.name, encoding="utf-8")
        return folder

    def test_a_cached_model_is_read_offline(self, cached: Path) -> None:
        assert find_model("someone/tiny").name == cached.name
        assert load("someone/tiny").config.name == "deepseek-ocr"

    @pytest.mark.parametrize("left", ["nothing", "a shard"])
    def test_the_card_of_a_model_does_not_need_its_weights(
        self, cached: Path, monkeypatch: pytest.MonkeyPatch, left: str
    ) -> None:
        whole = describe("someone/tiny")
        tensors = {
            name: TensorInfo(dtype="BF16", shape=[*tensor.shape], data_offsets=(0, 0))
            for name, tensor in weights_of(cached).items()
        }
        told = SimpleNamespace(files_metadata={WEIGHTS: SafetensorsFileMetadata({}, tensors)})
        monkeypatch.setattr("huggingface_hub.get_safetensors_metadata", lambda hub_id: told)
        if left == "a shard":
            (cached / shard(cached)[0]).unlink()
        else:
            (cached / WEIGHTS).unlink()
        assert describe("someone/tiny") == whole
        tensors.popitem()
        with pytest.raises(ModelError, match="someone/tiny"):
            describe("someone/tiny")

    def test_the_card_of_a_model_that_is_half_cached_offline(self, cached: Path) -> None:
        (cached / WEIGHTS).unlink()
        with pytest.raises(ModelError, match="is not cached and cannot be fetched"):
            describe("someone/tiny")

    @pytest.mark.parametrize(
        ("change", "told"),
        [({"n_group": 2}, "n_group"), ({"eos_token_id": 77}, "the eos token"), ({}, "GB free")],
    )
    def test_weights_are_fetched_for_a_model_that_can_be_read(
        self, cached: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], told: str
    ) -> None:
        fetched: list[str] = []
        monkeypatch.setattr(weights, "fetch", lambda hub_id, files: fetched.extend(files) or cached)
        load("someone/tiny")
        assert "*.safetensors" in fetched
        fetched.clear()
        data = json.loads((cached / CONFIG).read_text(encoding="utf-8"))
        write_config(cached, data | change)
        monkeypatch.setattr(weights, "free_memory", lambda device: 1000)
        assert told in refused("someone/tiny")
        assert "*.safetensors" not in fetched

    def test_a_card_without_weights_says_how_to_get_them(self, cached: Path) -> None:
        (cached / WEIGHTS).unlink()
        assert f"someone/tiny has no {WEIGHTS} in the cache: go online" in refused("someone/tiny")

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
    def test_a_cache_that_takes_nothing(
        self, cache: Path, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        def full(*args: Any, **kwargs: Any) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr("huggingface_hub.snapshot_download", full)
        message = refused("someone/tiny")
        assert f"cannot be kept in {cache}: make room there, or let HF_HOME" in message
        assert os.strerror(number) in message

    def test_a_preset_leaves_room_for_a_folder_of_its_name(
        self, official_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        shutil.copytree(official_folder, "unlimited-ocr")
        assert describe("unlimited-ocr") == describe("unlimited-ocr/")
        assert describe("deepseek-ocr").parameters == 3_336_106_240

    def test_one_that_is_not_says_what_to_do(self, cache: Path) -> None:
        message = refused("deepseek-ai/DeepSeek-OCR")
        assert "deepseek-ai/DeepSeek-OCR is not cached and cannot be fetched" in message
        assert "HF_HUB_OFFLINE" in message

    def test_a_path_is_no_hub_id(self, cache: Path, tmp_path: Path) -> None:
        for name in ("a/b/c", "nowhere", str(tmp_path / "none")):
            assert "give one of nano, a folder with config.json, or a hub id" in refused(name)


def shard(folder: Path) -> list[str]:
    """Spread the weights over two files with an index."""
    tensors = weights_of(folder)
    names = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    placed = {name: names[i % 2] for i, name in enumerate(sorted(tensors))}
    for file in names:
        save_file({n: t for n, t in tensors.items() if placed[n] == file}, folder / file)
    (folder / INDEX).write_text(json.dumps({"weight_map": placed}), encoding="utf-8")
    (folder / WEIGHTS).unlink()
    return names


def change(folder: Path, tensors: dict[str, torch.Tensor | None]) -> None:
    changed = {**weights_of(folder), **tensors}
    save_file({n: t for n, t in changed.items() if t is not None}, folder / WEIGHTS)


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in load_file(folder / WEIGHTS).items()}
