"""What the `config.json` of the official family may hold, field by field, in both forms.

The original form nests a language model and two vision towers and repeats the language model's
fields at the top; the other is what `transformers` writes for Unlimited-OCR. A field that stands
for one thing alone in the whole family is checked, an unknown one refused: it may change what the
model computes.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, model_validator

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

_TRAINING = {"attention_dropout", "aux_loss_alpha", "ep_size", "pretraining_tp", "seq_aux"}
_STARTING = {"initializer_factor", "initializer_range", "dtype", "torch_dtype"}
_LABELS = {"_name_or_path", "architectures", "auto_map", "transformers_version", "problem_type"}
_CLASSES = {"id2label", "label2id", "is_encoder_decoder", "chunk_size_feed_forward"}
_OUTPUT = {"output_attentions", "output_hidden_states", "output_router_logits", "return_dict"}
_DERIVED = {"candidate_resolutions", "mlp_ratio", "v_head_dim"}
_RUNNING = {"pad_token_id", "use_cache"}
BOOKKEEPING = frozenset(_TRAINING | _STARTING | _LABELS | _CLASSES | _OUTPUT | _DERIVED | _RUNNING)
"""Fields that say nothing about what a trained model computes."""


class _Section(BaseModel):
    """A part of a config: sizes, and fields that have one value in the whole family."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _drop_bookkeeping(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {key: value for key, value in data.items() if key not in BOOKKEEPING}


class Language(_Section):
    """The sizes that both forms name alike."""

    vocab_size: PositiveInt
    hidden_size: PositiveInt
    intermediate_size: PositiveInt
    num_hidden_layers: PositiveInt
    num_attention_heads: PositiveInt
    num_key_value_heads: PositiveInt
    max_position_embeddings: PositiveInt
    n_routed_experts: PositiveInt
    n_shared_experts: PositiveInt
    num_experts_per_tok: PositiveInt
    moe_intermediate_size: PositiveInt
    bos_token_id: int | None = None
    eos_token_id: int | tuple[int, ...] | None = None
    rms_norm_eps: _Positive = 1e-6
    sliding_window: NonNegativeInt | None = None
    tie_word_embeddings: bool = False
    head_dim: int | None = None

    hidden_act: Literal["silu"] = "silu"
    attention_bias: Literal[False] = False
    mlp_bias: Literal[False] = False
    n_group: Literal[1] = 1
    topk_group: Literal[1] = 1
    topk_method: Literal["greedy"] = "greedy"
    routed_scaling_factor: Literal[1] = 1

    @model_validator(mode="after")
    def _fits_together(self) -> "Language":
        if self.num_key_value_heads != self.num_attention_heads:
            raise ValueError("num_key_value_heads differs from num_attention_heads")
        if self.num_attention_heads < 1 or self.hidden_size % (2 * self.num_attention_heads):
            raise ValueError("hidden_size is not divided into heads of even width")
        # no tensor tells into how many heads it is divided
        if self.head_dim not in (None, self.hidden_size // self.num_attention_heads):
            raise ValueError("head_dim differs from hidden_size / num_attention_heads")
        if not 1 <= self.num_experts_per_tok <= self.n_routed_experts:
            raise ValueError("num_experts_per_tok is none, or more than n_routed_experts")
        return self


class _OriginalLanguage(Language):
    first_k_dense_replace: NonNegativeInt
    rope_theta: _Positive = 10000.0
    sliding_window_size: NonNegativeInt | None = None

    model_type: Literal["deepseek_v2"] = "deepseek_v2"
    kv_lora_rank: None = None
    lm_head: Literal[True] = True
    moe_layer_freq: Literal[1] = 1
    norm_topk_prob: Literal[False] = False
    q_lora_rank: None = None
    qk_nope_head_dim: Literal[0] = 0
    qk_rope_head_dim: Literal[0] = 0
    rm_head: Literal[False] = False
    rope_scaling: None = None
    scoring_func: Literal["softmax"] = "softmax"
    use_mla: Literal[False] = False


class _OriginalClip(_Section):
    heads: PositiveInt
    image_size: PositiveInt
    layers: PositiveInt
    patch_size: PositiveInt
    width: PositiveInt


class _OriginalSam(_Section):
    downsample_channels: tuple[PositiveInt, PositiveInt]
    global_attn_indexes: tuple[NonNegativeInt, ...]
    heads: PositiveInt
    layers: PositiveInt
    width: PositiveInt


class _Towers(_Section):
    clip: _OriginalClip = Field(alias="clip-l-14-224")
    sam: _OriginalSam = Field(alias="sam_vit_b")

    @model_validator(mode="before")
    @classmethod
    def _is_ours(cls, data: Any) -> Any:
        if isinstance(data, dict) and "qwen2-0-5b" in data:
            raise ValueError("this is DeepSeek-OCR-2, whose encoder is another: it cannot be read")
        return data


class _OriginalVision(_Section):
    image_size: PositiveInt
    model_name: Literal["deeplip_b_l"] = "deeplip_b_l"
    model_type: Literal["vision"] = "vision"
    width: _Towers


class _OriginalProjector(_Section):
    input_dim: PositiveInt
    n_embed: PositiveInt
    model_type: Literal["mlp_projector"] = "mlp_projector"
    projector_type: Literal["linear"]


class OriginalForm(_Section):
    """As published: the fields of the language model at the top too."""

    model_type: Literal["deepseek_vl_v2", "unlimited-ocr"]
    global_view_pos: Literal["head"] = "head"
    tile_tag: Literal["2D"] = "2D"
    language_config: _OriginalLanguage
    projector_config: _OriginalProjector
    vision_config: _OriginalVision

    @model_validator(mode="before")
    @classmethod
    def _gather_language(cls, data: Any) -> Any:
        """Move the language model's fields from the top, where they are repeated, to their part."""
        nested = data.get("language_config", {})
        if not isinstance(nested, dict):
            return data
        moved = _OriginalLanguage.model_fields.keys() - cls.model_fields.keys() - BOOKKEEPING
        at_top = {key: value for key, value in data.items() if key in moved}
        kept = {key: value for key, value in data.items() if key not in moved}
        return {**kept, "language_config": {**nested, **at_top}}

    @model_validator(mode="after")
    def _fits_together(self) -> "OriginalForm":
        projector, towers = self.projector_config, self.vision_config.width
        if projector.input_dim != towers.clip.width + towers.sam.downsample_channels[1]:
            raise ValueError("projector_config.input_dim differs from what both towers give")
        if projector.n_embed != self.language_config.hidden_size:
            raise ValueError("projector_config.n_embed differs from hidden_size")
        return self


class _Rope(_Section):
    rope_theta: _Positive
    rope_type: Literal["default"] = "default"


class _Text(Language):
    sliding_window: PositiveInt | None = None
    model_type: Literal["unlimited_ocr_text"]
    layer_types: list[Literal["reference_sliding_attention", "full_attention"]]
    mlp_layer_types: list[Literal["dense", "sparse"]]
    rope_parameters: _Rope

    @model_validator(mode="after")
    def _has_layers_that_we_have(self) -> "_Text":
        if self.mlp_layer_types != sorted(self.mlp_layer_types):
            raise ValueError("mlp_layer_types has a dense layer behind a sparse one")
        if len(set(self.layer_types)) > 1:
            raise ValueError("layer_types differ from layer to layer")
        if {len(self.layer_types), len(self.mlp_layer_types)} != {self.num_hidden_layers}:
            raise ValueError("layer_types or mlp_layer_types are not as many as the layers")
        return self


class _Sam(_Section):
    model_type: Literal["unlimited_ocr_sam_vision_model"]
    hidden_size: PositiveInt
    output_channels: PositiveInt
    num_hidden_layers: PositiveInt
    num_attention_heads: PositiveInt
    num_channels: PositiveInt
    image_size: PositiveInt
    layer_norm_eps: _Positive
    use_rel_pos: bool
    window_size: PositiveInt
    global_attn_indexes: tuple[NonNegativeInt, ...]
    mlp_dim: PositiveInt
    downsample_channels: tuple[PositiveInt, PositiveInt]

    patch_size: Literal[16]
    hidden_act: Literal["gelu"]
    qkv_bias: Literal[True]
    use_abs_pos: Literal[True]


class _Clip(_Section):
    model_type: Literal["unlimited_ocr_vision_encoder"]
    hidden_size: PositiveInt
    intermediate_size: PositiveInt
    num_hidden_layers: PositiveInt
    num_attention_heads: PositiveInt
    num_channels: PositiveInt
    image_size: PositiveInt
    patch_size: PositiveInt
    hidden_act: Literal["quick_gelu", "gelu"]
    layer_norm_eps: _Positive


class _Vision(_Section):
    model_type: Literal["unlimited_ocr_vision"]
    sam_config: _Sam
    encoder_config: _Clip


class TransformersForm(_Section):
    """As `transformers` writes Unlimited-OCR."""

    model_type: Literal["unlimited_ocr"]
    image_token_id: int
    tie_word_embeddings: bool = False
    text_config: _Text
    vision_config: _Vision
