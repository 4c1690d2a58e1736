"""What the files of others call our tensors: the official family, and SAM and CLIP by themselves.

Pure text: knows nothing of files, shapes or models.
"""

import re
from collections.abc import Callable, Iterator
from functools import cache

Table = tuple[tuple[str, str], ...]
"""Our name of every tensor and theirs: `#` is a number, `?` one of gate, up and down, `*` weight or
bias."""

OFFICIAL: Table = (
    ("embedding.weight", "model.embed_tokens.weight"),
    ("head.weight", "lm_head.weight"),
    ("row_end", "model.image_newline"),
    ("view_separator", "model.view_seperator"),
    ("decoder.norm.weight", "model.norm.weight"),
    ("decoder.layers.#.norm1.weight", "model.layers.#.input_layernorm.weight"),
    ("decoder.layers.#.norm2.weight", "model.layers.#.post_attention_layernorm.weight"),
    ("decoder.layers.#.attention.query.weight", "model.layers.#.self_attn.q_proj.weight"),
    ("decoder.layers.#.attention.key.weight", "model.layers.#.self_attn.k_proj.weight"),
    ("decoder.layers.#.attention.value.weight", "model.layers.#.self_attn.v_proj.weight"),
    ("decoder.layers.#.attention.out.weight", "model.layers.#.self_attn.o_proj.weight"),
    ("decoder.layers.#.feed_forward.router.weight", "model.layers.#.mlp.gate.weight"),
    ("decoder.layers.#.feed_forward.?.weight", "model.layers.#.mlp.?_proj.weight"),
    (
        "decoder.layers.#.feed_forward.shared.?.weight",
        "model.layers.#.mlp.shared_experts.?_proj.weight",
    ),
    (
        "decoder.layers.#.feed_forward.experts.#.?.weight",
        "model.layers.#.mlp.experts.#.?_proj.weight",
    ),
    ("encoder.projector.linear.*", "model.projector.layers.*"),
    ("encoder.sam.stem.*", "model.sam_model.patch_embed.proj.*"),
    ("encoder.sam.positions.cells", "model.sam_model.pos_embed"),
    ("encoder.sam.blocks.#.norm#.*", "model.sam_model.blocks.#.norm#.*"),
    ("encoder.sam.blocks.#.attention.qkv.*", "model.sam_model.blocks.#.attn.qkv.*"),
    ("encoder.sam.blocks.#.attention.out.*", "model.sam_model.blocks.#.attn.proj.*"),
    ("encoder.sam.blocks.#.attention.relative_rows", "model.sam_model.blocks.#.attn.rel_pos_h"),
    ("encoder.sam.blocks.#.attention.relative_cols", "model.sam_model.blocks.#.attn.rel_pos_w"),
    ("encoder.sam.blocks.#.mlp.up.*", "model.sam_model.blocks.#.mlp.lin1.*"),
    ("encoder.sam.blocks.#.mlp.down.*", "model.sam_model.blocks.#.mlp.lin2.*"),
    ("encoder.sam.neck.#.*", "model.sam_model.neck.#.*"),
    ("encoder.compressor.conv1.weight", "model.sam_model.net_2.weight"),
    ("encoder.compressor.conv2.weight", "model.sam_model.net_3.weight"),
    ("encoder.clip.class_token", "model.vision_model.embeddings.class_embedding"),
    ("encoder.clip.patch_embedding", "model.vision_model.embeddings.patch_embedding.weight"),
    ("encoder.clip.positions.cells", "model.vision_model.embeddings.position_embedding.weight"),
    ("encoder.clip.pre_norm.*", "model.vision_model.pre_layrnorm.*"),
    ("encoder.clip.blocks.#.norm#.*", "model.vision_model.transformer.layers.#.layer_norm#.*"),
    (
        "encoder.clip.blocks.#.attention.qkv.*",
        "model.vision_model.transformer.layers.#.self_attn.qkv_proj.*",
    ),
    (
        "encoder.clip.blocks.#.attention.out.*",
        "model.vision_model.transformer.layers.#.self_attn.out_proj.*",
    ),
    ("encoder.clip.blocks.#.mlp.up.*", "model.vision_model.transformer.layers.#.mlp.fc1.*"),
    ("encoder.clip.blocks.#.mlp.down.*", "model.vision_model.transformer.layers.#.mlp.fc2.*"),
)
"""The official file, which misspells two."""

SAM: Table = (
    ("stem.*", "patch_embed.projection.*"),
    ("positions.cells", "pos_embed"),
    ("blocks.#.norm#.*", "layers.#.layer_norm#.*"),
    ("blocks.#.attention.qkv.*", "layers.#.attn.qkv.*"),
    ("blocks.#.attention.out.*", "layers.#.attn.proj.*"),
    ("blocks.#.attention.relative_rows", "layers.#.attn.rel_pos_h"),
    ("blocks.#.attention.relative_cols", "layers.#.attn.rel_pos_w"),
    ("blocks.#.mlp.up.*", "layers.#.mlp.lin1.*"),
    ("blocks.#.mlp.down.*", "layers.#.mlp.lin2.*"),
    ("neck.0.weight", "neck.conv1.weight"),
    ("neck.1.*", "neck.layer_norm1.*"),
    ("neck.2.weight", "neck.conv2.weight"),
    ("neck.3.*", "neck.layer_norm2.*"),
)
"""`SamEncoder` and the vision encoder of `transformers`' SAM."""

CLIP: Table = (
    ("class_token", "embeddings.class_embedding"),
    ("positions.cells", "embeddings.position_embedding.weight"),
    ("pre_norm.*", "pre_layrnorm.*"),
    ("blocks.#.norm#.*", "encoder.layers.#.layer_norm#.*"),
    ("blocks.#.attention.query.*", "encoder.layers.#.self_attn.q_proj.*"),
    ("blocks.#.attention.key.*", "encoder.layers.#.self_attn.k_proj.*"),
    ("blocks.#.attention.value.*", "encoder.layers.#.self_attn.v_proj.*"),
    ("blocks.#.attention.out.*", "encoder.layers.#.self_attn.out_proj.*"),
    ("blocks.#.mlp.up.*", "encoder.layers.#.mlp.fc1.*"),
    ("blocks.#.mlp.down.*", "encoder.layers.#.mlp.fc2.*"),
)
"""`ClipEncoder` and the vision model of `transformers`' CLIP, which parts what is `qkv` here."""

UNREAD = frozenset(
    f"model.vision_model.embeddings.{name}" for name in ("patch_embedding.weight", "position_ids")
)
"""Tensors of the official file that no computation needs: they may be there or not."""

WILD = {"#": r"(\d+)", "?": "(gate|up|down)", "*": "(weight|bias)"}


def names_in_file(*, official: bool) -> Callable[[str], str]:
    """What our tensors are called in a file of the official family, or of ours."""
    return official_name if official else str


def official_name(ours: str) -> str:
    """What the official file calls a tensor.

    Raises:
        KeyError: If the official family has no such tensor.
    """
    return translate(ours, OFFICIAL)


def translate(name: str, table: Table) -> str:
    """What a table calls a tensor.

    Raises:
        KeyError: If it has no such tensor.
    """
    for pattern, target in table:
        if found := _compile(pattern).fullmatch(name):
            return "".join(_fill(target, found.groups()))
    raise KeyError(name)


def _fill(target: str, values: tuple[str, ...]) -> Iterator[str]:
    """A name with its wild cards replaced, one after the other."""
    left = iter(values)
    for character in target:
        yield next(left) if character in WILD else character


@cache
def _compile(pattern: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"[#?*.]", lambda mark: WILD.get(mark[0], r"\."), pattern))
