"""Parts that others have published for `transformers`: SAM, CLIP, language models.

A model of ours may begin with them. Sizes are read from the checkpoint's own `config.json`; of SAM
the vision encoder is taken, of CLIP the vision model without its patch embedding, of a language
model everything. Only safetensors: weights are data.
"""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, PositiveInt, model_validator
from torch import Tensor, nn

from lightseek.config import (
    Activation,
    ClipConfig,
    LanguageConfig,
    ModelConfig,
    Rows,
    SamConfig,
    read_json,
    validate,
)
from lightseek.encoder import ClipEncoder, SamEncoder
from lightseek.errors import ModelError, require
from lightseek.language import LanguageDecoder, without_embedding
from lightseek.model import LightSeekOCR
from lightseek.names import CLIP, SAM, Table, translate
from lightseek.shards import check_shapes, find_shards, hash_files, open_shard
from lightseek.tokenizer import Tokenizer
from lightseek.weights import CONFIG, HUB_FILES, WEIGHTS, find_folder

V = TypeVar("V", bound="_Vision")

SAM_MEAN, SAM_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""How SAM was shown colours from 0 to 1."""
SAM_PREFIX, CLIP_PREFIX = "vision_encoder.", "vision_model."
CLIP_UNREAD = ("post_layernorm.", "embeddings.patch_embedding.", "embeddings.position_ids")
"""Tensors that full sequences of compressed tokens have no use for."""


class _Vision(BaseModel):
    """Sizes that both towers have; what they do not name is as in the smallest of the family."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    num_channels: Literal[3] = 3
    image_size: int
    patch_size: int

    @model_validator(mode="after")
    def _holds_a_patch(self) -> "_Vision":
        if not 1 <= self.patch_size <= self.image_size:
            raise ValueError("image_size is smaller than patch_size")
        return self


class _Sam(_Vision):
    image_size: int = 1024
    patch_size: Literal[16] = 16
    output_channels: int = 256
    mlp_dim: int | None = None
    mlp_ratio: float = 4.0
    hidden_act: Activation = "gelu"
    layer_norm_eps: float = 1e-6
    window_size: PositiveInt = 14
    global_attn_indexes: tuple[int, ...] = (2, 5, 8, 11)
    qkv_bias: Literal[True] = True
    use_abs_pos: Literal[True] = True
    use_rel_pos: bool = True


class _Clip(_Vision):
    image_size: int = 224
    patch_size: int = 32
    intermediate_size: int = 3072
    hidden_act: Activation = "quick_gelu"
    layer_norm_eps: float = 1e-5


def find_published(name: str | Path) -> Path:
    """A folder as given, or that of a hub id, fetched if need be.

    Raises:
        ModelError: If there is no such folder, or it holds no safetensors.
    """
    known = f"a folder with {CONFIG}, or a hub id such as facebook/sam-vit-base"
    folder = find_folder(name, HUB_FILES, give=known)
    if not any(folder.glob("*.safetensors")):
        raise ModelError(
            f"{name} has no {WEIGHTS}: where it is published as pickle alone, load and save it "
            "once by transformers (from_pretrained, save_pretrained), and give that folder"
        )
    return folder


def hash_published(name: str | Path) -> str:
    """A hash of a published model: of its weights, its sizes and its tokenizer.

    Raises:
        ModelError: As for `find_published`.
    """
    folder = find_published(name)
    # what is read of it: others may put more into the cache of the hub
    return hash_files(sorted(file for pattern in HUB_FILES for file in folder.glob(pattern)))


def sam_config(folder: Path) -> SamConfig:
    """The sizes of a published SAM.

    Raises:
        ModelError: If its config cannot be read, or describes something else.
    """
    found = _vision_settings(_Sam, folder, ("sam", "sam_vision_model"))
    return SamConfig(
        channels=found.num_channels,
        stem=(),
        dim=found.hidden_size,
        depth=found.num_hidden_layers,
        heads=found.num_attention_heads,
        mlp_dim=found.mlp_dim or int(found.hidden_size * found.mlp_ratio),
        activation=found.hidden_act,
        norm_eps=found.layer_norm_eps,
        table=Rows.square(found.image_size // found.patch_size),
        resize_table=True,
        window=Rows.square(found.window_size),
        global_blocks=found.global_attn_indexes,
        relative_position=found.use_rel_pos,
        neck_dim=found.output_channels,
    )


def clip_config(folder: Path) -> ClipConfig:
    """The sizes of a published CLIP, without its patch embedding.

    Raises:
        ModelError: If its config cannot be read, or describes something else.
    """
    found = _vision_settings(_Clip, folder, ("clip", "clip_vision_model"))
    return ClipConfig(
        dim=found.hidden_size,
        depth=found.num_hidden_layers,
        heads=found.num_attention_heads,
        mlp_dim=found.intermediate_size,
        activation=found.hidden_act,
        norm_eps=found.layer_norm_eps,
        table=Rows.square(found.image_size // found.patch_size),
        resize_table=True,
        class_token=True,
        pre_norm=True,
    )


def language_config(folder: Path) -> LanguageConfig:
    """The sizes of a published language model, with room for the token that stands for images.

    Raises:
        ModelError: If its config cannot be read, or describes no language model.
    """
    transformers = require("transformers", extra="train")
    try:
        found = transformers.AutoConfig.from_pretrained(folder)
        return LanguageConfig(
            transformers=read_json(folder / CONFIG),
            vocab_size=max(found.vocab_size, len(Tokenizer.of_language_model(folder))),
            dim=found.hidden_size,
            max_positions=found.max_position_embeddings,
            tied_head=found.tie_word_embeddings,
        )
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"{folder} holds no causal language model: {error}") from error


def load_sam(name: str | Path) -> SamEncoder:
    """A published SAM ViT, such as `facebook/sam-vit-base`: its vision encoder alone.

    Args:
        name: Hub id or folder.

    Raises:
        ModelError: If a file is missing or broken, or tensors do not fit its config.
    """
    folder = find_published(name)
    return _fill_sam(SamEncoder(sam_config(folder)), folder).eval()


def load_clip(name: str | Path) -> ClipEncoder:
    """A published CLIP, such as `openai/clip-vit-base-patch16`: its vision model, for tokens.

    Args:
        name: Hub id or folder.

    Raises:
        ModelError: If a file is missing or broken, or tensors do not fit its config.
    """
    folder = find_published(name)
    return _fill_clip(ClipEncoder(clip_config(folder)), folder).eval()


def assemble(
    config: ModelConfig,
    *,
    sam: str | Path | None = None,
    clip: str | Path | None = None,
    language: str | Path | None = None,
) -> LightSeekOCR:
    """A model to train: published parts where they are given, and the rest from nothing.

    Args:
        config: Such as `preset("lightseek-base")`; published parts bring their own sizes.
        sam: Hub id or folder.
        clip: Hub id or folder.
        language: Hub id or folder of a causal language model, which becomes the decoder; its
            tokenizer is that of `Tokenizer.of_language_model`.

    Raises:
        ModelError: If a part cannot be had, or does not fit its own config.
        MissingExtraError: If a language model is asked for and `transformers` is not installed.
    """
    folders = {
        part: find_published(name)
        for part, name in (("sam", sam), ("clip", clip), ("language", language))
        if name is not None
    }
    if "sam" in folders:
        config = replace(config, sam=sam_config(folders["sam"]))
    if "clip" in folders:
        its = clip_config(folders["clip"])
        config = replace(config, clip=its, compressor=replace(config.compressor, dim=its.dim))
    if "language" in folders:
        config = replace(config, decoder=language_config(folders["language"]))
    model = LightSeekOCR(config)
    if "sam" in folders:
        _fill_sam(model.encoder.sam, folders["sam"])
    if "clip" in folders:
        _fill_clip(model.encoder.clip, folders["clip"])
    if "language" in folders:
        _fill_language(model, folders["language"])
    return model


def _fill_sam(module: SamEncoder, folder: Path) -> SamEncoder:
    tensors = _read_tower(module, folder, SAM_PREFIX, SAM)
    # ours is shown colours from -1 to 1: the difference goes into the first convolution
    mean, std = (torch.tensor(values)[None, :, None, None] for values in (SAM_MEAN, SAM_STD))
    weight = tensors["stem.weight"]
    tensors["stem.bias"] = tensors["stem.bias"] + (weight * (0.5 - mean) / std).sum((1, 2, 3))
    tensors["stem.weight"] = weight * 0.5 / std
    module.load_state_dict(tensors)
    return module


def _fill_clip(module: ClipEncoder, folder: Path) -> ClipEncoder:
    module.load_state_dict(_read_tower(module, folder, CLIP_PREFIX, CLIP, CLIP_UNREAD))
    return module


def _read_tower(
    module: nn.Module, folder: Path, prefix: str, table: Table, unread: tuple[str, ...] = ()
) -> dict[str, Tensor]:
    """Tensors of a tower by our names, in float32; all that do not fit are told at once."""
    ours = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    sources = {name: _sources(name, table) for name in ours}
    wanted = {
        source: (shape[0] // len(sources[name]), *shape[1:]) if shape else shape
        for name, shape in ours.items()
        for source in sources[name]
    }
    with ExitStack() as stack:
        shards = [stack.enter_context(open_shard(path)) for path in find_shards(folder / WEIGHTS)]
        names = {name: shard for shard in shards for name in shard.keys()}  # noqa: SIM118 - not a dict
        # a tower that was saved by itself has no prefix
        inside = prefix if any(name.startswith(prefix) for name in names) else ""
        holders = {n.removeprefix(inside): (s, n) for n, s in names.items() if n.startswith(inside)}
        holders = {n: place for n, place in holders.items() if not n.startswith(unread)}
        found = {n: tuple(s.get_slice(full).get_shape()) for n, (s, full) in holders.items()}
        check_shapes(wanted, found, source=str(folder))
        return {
            name: torch.cat([holders[s][0].get_tensor(holders[s][1]).float() for s in parts])
            for name, parts in sources.items()
        }


def _sources(ours: str, table: Table) -> list[str]:
    """Tensors of the file that make one of ours: three where theirs are not side by side."""
    try:
        return [translate(ours, table)]
    except KeyError:
        parts = [ours.replace(".qkv.", f".{part}.") for part in ("query", "key", "value")]
        return [translate(part, table) for part in parts]


def _fill_language(model: LightSeekOCR, folder: Path) -> None:
    transformers = require("transformers", extra="train")
    assert isinstance(model.decoder, LanguageDecoder)
    try:
        theirs = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, local_files_only=True
        ).eval()
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder} holds no causal language model: {error}") from error
    head = theirs.get_output_embeddings()
    _check_head(theirs, head, folder)
    with torch.no_grad():
        _fill_rows(model.embedding.weight, theirs.get_input_embeddings().weight)
        if isinstance(model.head, nn.Linear):
            _fill_rows(model.head.weight, head.weight)
    model.decoder.body = without_embedding(theirs.base_model)


def _fill_rows(ours: Tensor, theirs: Tensor) -> None:
    """Copy rows; tokens that reading adds begin as the mean of all others."""
    ours[: len(theirs)] = theirs
    ours[len(theirs) :] = theirs.mean(0)


@torch.no_grad()
def _check_head(theirs: Any, head: Any, folder: Path) -> None:
    """Make sure that scores are what a plain head makes of hidden states.

    Raises:
        ModelError: If the language model does more, such as capping or scaling its scores, or
            scaling its embeddings, which would be lost without a word.
    """
    x = torch.randn(1, 2, theirs.get_input_embeddings().weight.shape[1])
    hidden = theirs.base_model(inputs_embeds=x).last_hidden_state
    scores = theirs(inputs_embeds=x).logits
    kind = theirs.config.model_type
    if not torch.allclose(hidden @ head.weight.T, scores, rtol=1e-3, atol=1e-3):
        raise ModelError(f"{folder}: {kind} has more than a plain head, choose another model")
    ids = torch.arange(2)[None]
    rows = theirs.get_input_embeddings().weight[ids]
    plain, own = theirs(inputs_embeds=rows).logits, theirs(input_ids=ids).logits
    if not torch.allclose(plain, own, rtol=1e-3, atol=1e-3):
        raise ModelError(f"{folder}: {kind} changes its embeddings, choose another model")


def _vision_settings(kind: type[V], folder: Path, types: tuple[str, ...]) -> V:
    """Sizes of a vision tower, by itself or in the config of a larger model."""
    data = read_json(folder / CONFIG)
    found = data.get("model_type") if isinstance(data, dict) else None
    if found not in types:
        raise ModelError(f"{folder} holds a model of type {found}: {types[0]} is wanted")
    return validate(kind, data.get("vision_config", data), source=str(folder / CONFIG))
