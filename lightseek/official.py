"""The `config.json` of the official family, in both forms, as our sizes.

What its fields may be is in `lightseek.official_fields`. Pure data: knows nothing of torch or of
tensors.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from lightseek.config import PATCH_PX, DecoderConfig, ModelConfig, MoeConfig, Rows, validate
from lightseek.errors import ModelError
from lightseek.official_fields import Language, OriginalForm, TransformersForm
from lightseek.presets import preset

ORIGINAL, TRANSFORMERS = (
    get_args(form.model_fields["model_type"].annotation)
    for form in (OriginalForm, TransformersForm)
)
"""Types of models in either form."""


@dataclass(frozen=True, slots=True)
class Official:
    """What an official `config.json` says."""

    config: ModelConfig
    special_ids: Mapping[str, tuple[int, ...]]
    """Which ids special tokens (`bos`, `eos`, `image`) may have, as far as it says."""


def find_official(path: Path) -> Official | None:
    """Read the official config in a file; none if what is there is no config of others.

    Raises:
        ModelError: If it describes another architecture, or has unknown or unfit fields.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(data, dict) or "model_type" not in data:
        return None
    kind = data["model_type"]
    try:
        if kind in ORIGINAL:
            return _from_original(data, source=str(path))
        if kind in TRANSFORMERS:
            return _from_transformers(data, source=str(path))
    except ValueError as error:
        raise ModelError(f"{path} does not fit: {error}") from error
    known = ", ".join((*ORIGINAL, *TRANSFORMERS))
    raise ModelError(f"{path} describes a model of type {kind}: only {known} can be read")


def _from_original(data: Mapping[str, Any], *, source: str) -> Official:
    read = validate(OriginalForm, data, source=source)
    language, vision = read.language_config, read.vision_config
    sam, clip = vision.width.sam, vision.width.clip
    base = preset("deepseek-ocr")
    config = replace(
        base,
        name="deepseek-ocr",
        sam=replace(
            base.sam,
            dim=sam.width,
            depth=sam.layers,
            heads=sam.heads,
            mlp_dim=4 * sam.width,
            table=Rows.square(vision.image_size // PATCH_PX),
            global_blocks=sam.global_attn_indexes,
        ),
        compressor=replace(
            base.compressor,
            hidden_dim=sam.downsample_channels[0],
            dim=sam.downsample_channels[1],
        ),
        clip=replace(
            base.clip,
            dim=clip.width,
            depth=clip.layers,
            heads=clip.heads,
            mlp_dim=4 * clip.width,
            table=Rows.square(clip.image_size // clip.patch_size),
            patch_px=clip.patch_size,
        ),
    )
    return _with_language(
        config,
        language,
        dense_layers=language.first_k_dense_replace,
        rope_base=language.rope_theta,
        window=language.sliding_window or language.sliding_window_size or None,
        tied_head=language.tie_word_embeddings,
        image_id=None,
    )


def _from_transformers(data: Mapping[str, Any], *, source: str) -> Official:
    read = validate(TransformersForm, data, source=source)
    text, vision = read.text_config, read.vision_config
    sam, clip = vision.sam_config, vision.encoder_config
    base = preset("unlimited-ocr")
    config = replace(
        base,
        sam=replace(
            base.sam,
            channels=sam.num_channels,
            dim=sam.hidden_size,
            depth=sam.num_hidden_layers,
            heads=sam.num_attention_heads,
            mlp_dim=sam.mlp_dim,
            norm_eps=sam.layer_norm_eps,
            table=Rows.square(sam.image_size // PATCH_PX),
            window=Rows.square(sam.window_size),
            global_blocks=sam.global_attn_indexes,
            relative_position=sam.use_rel_pos,
            neck_dim=sam.output_channels,
        ),
        compressor=replace(
            base.compressor,
            hidden_dim=sam.downsample_channels[0],
            dim=sam.downsample_channels[1],
        ),
        clip=replace(
            base.clip,
            dim=clip.hidden_size,
            depth=clip.num_hidden_layers,
            heads=clip.num_attention_heads,
            mlp_dim=clip.intermediate_size,
            activation=clip.hidden_act,
            norm_eps=clip.layer_norm_eps,
            table=Rows.square(clip.image_size // clip.patch_size),
            patch_px=None,
        ),
    )
    slides = text.layer_types[0] == "reference_sliding_attention"
    return _with_language(
        config,
        text,
        dense_layers=text.mlp_layer_types.count("dense"),
        rope_base=text.rope_parameters.rope_theta,
        window=text.sliding_window if slides else None,
        # its own field of this name is not what transformers goes by
        tied_head=read.tie_word_embeddings,
        image_id=read.image_token_id,
    )


def _with_language(
    config: ModelConfig,
    language: Language,
    *,
    dense_layers: int,
    rope_base: float,
    window: int | None,
    tied_head: bool,
    image_id: int | None,
) -> Official:
    """Complete a config by the sizes that both forms name alike."""
    assert isinstance(config.decoder, DecoderConfig), "presets of the family have our decoder"
    decoder = replace(
        config.decoder,
        vocab_size=language.vocab_size,
        dim=language.hidden_size,
        depth=language.num_hidden_layers,
        heads=language.num_attention_heads,
        mlp_dim=language.intermediate_size,
        norm_eps=language.rms_norm_eps,
        rope_base=rope_base,
        max_positions=language.max_position_embeddings,
        tied_head=tied_head,
        sliding_window=window,
        moe=MoeConfig(
            experts=language.n_routed_experts,
            active=language.num_experts_per_tok,
            expert_dim=language.moe_intermediate_size,
            shared_dim=language.n_shared_experts * language.moe_intermediate_size,
            dense_layers=dense_layers,
        ),
    )
    name = "deepseek-ocr" if window is None else "unlimited-ocr"
    said = {"bos": language.bos_token_id, "eos": language.eos_token_id, "image": image_id}
    ids = {
        kind: one if isinstance(one, tuple) else (one,)
        for kind, one in said.items()
        if one is not None
    }
    return Official(replace(config, name=name, decoder=decoder), ids)
