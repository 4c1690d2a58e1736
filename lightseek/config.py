"""Every size of a model, as frozen data: presets in TOML, `config.json` beside saved weights.

No size has a default: a preset names every number, and a part that it leaves out is absent. A
key that does not exist, or a value of the wrong type, is refused with its place in the file.
Knows nothing of torch.
"""

import json
import tomllib
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import (
    ConfigDict,
    Discriminator,
    NonNegativeInt,
    PositiveInt,
    Tag,
    TypeAdapter,
    ValidationError,
)

from lightseek.errors import ModelError, UsageError

Activation = Literal["gelu", "quick_gelu", "relu2"]
T = TypeVar("T")

STRICT = ConfigDict(extra="forbid")
"""A key that the dataclass does not know is an error."""

PATCH_PX = 16
"""Side of the cell that one SAM token stands for."""
COMPRESSION = 4
"""SAM tokens across (and down) one visual token."""
TOKEN_PX = PATCH_PX * COMPRESSION
"""Side of the square that one visual token stands for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """A size in rows and columns."""

    __pydantic_config__: ClassVar = STRICT
    rows: PositiveInt
    """Down."""
    cols: PositiveInt
    """Across."""

    @classmethod
    def square(cls, side: int) -> "Rows":
        """As many rows as columns.

        Raises:
            ValueError: If there are none: an image would be smaller than a patch.
        """
        if side < 1:
            raise ValueError("an image_size is smaller than a patch")
        return cls(rows=side, cols=side)


@dataclass(frozen=True, kw_only=True, slots=True)
class StemStage:
    """A 3x3 convolution of stride 2 and the residual blocks after it."""

    __pydantic_config__: ClassVar = STRICT
    dim: PositiveInt
    """Channels."""
    residuals: NonNegativeInt
    """Blocks after the convolution."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SamConfig:
    """The window-attention stage: 16 px patches to local features."""

    __pydantic_config__: ClassVar = STRICT
    channels: PositiveInt
    """1 reads grey, 3 reads colour."""
    stem: tuple[StemStage, ...]
    """Stages before the last, which has `dim` channels; none is one 16x16 convolution."""
    dim: PositiveInt
    """Width of a patch's vector."""
    depth: PositiveInt
    """Blocks."""
    heads: PositiveInt
    """Of attention."""
    mlp_dim: PositiveInt
    """Width inside the feed-forward."""
    activation: Activation
    """Inside the feed-forward."""
    norm_eps: float
    """Added to the variance in norms."""
    table: Rows
    """Patches that the position table covers."""
    resize_table: bool
    """Whether the table is stretched to the view (official) or cut to its size (nano)."""
    window: Rows
    """Patches within which a block attends."""
    global_blocks: tuple[int, ...]
    """Blocks that attend over the whole view."""
    relative_position: bool
    """Whether attention scores how far apart two patches lie."""
    neck_dim: PositiveInt | None = None
    """Channels after the neck; none is no neck."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CompressorConfig:
    """Two convolutions of stride 2: sixteen patches become one token."""

    __pydantic_config__: ClassVar = STRICT
    hidden_dim: PositiveInt
    """Channels between the two."""
    dim: PositiveInt
    """Channels after both."""
    norm: bool
    """Biases, and a norm with ReLU between the two."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipConfig:
    """The global stage, over compressed tokens."""

    __pydantic_config__: ClassVar = STRICT
    dim: PositiveInt
    """Width of a token."""
    depth: PositiveInt
    """Blocks."""
    heads: PositiveInt
    """Of attention."""
    mlp_dim: PositiveInt
    """Width inside the feed-forward."""
    activation: Activation
    """Inside the feed-forward."""
    norm_eps: float
    """Added to the variance in norms."""
    table: Rows
    """Tokens that the position table covers."""
    resize_table: bool
    """Whether the table is stretched to the view, or cut to its size."""
    class_token: bool
    """Whether one more token attends, which stands for the whole view."""
    pre_norm: bool
    """Whether tokens are normed before the first block."""
    patch_px: PositiveInt | None = None
    """Patches of the embedding that compressed tokens bypass, kept in official files; or none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlaceConfig:
    """Heads that say where each character stands."""

    __pydantic_config__: ClassVar = STRICT
    x_bins: PositiveInt
    """Places across."""
    y_bins: PositiveInt
    """Places down."""
    bin_px: PositiveInt
    """Side of a place in pixels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MoeConfig:
    """Feed-forward by a few of many experts."""

    __pydantic_config__: ClassVar = STRICT
    experts: PositiveInt
    """Experts of a layer."""
    active: PositiveInt
    """Experts a token is sent to."""
    expert_dim: PositiveInt
    """Width inside each."""
    shared_dim: PositiveInt
    """Width of the feed-forward that every token passes."""
    dense_layers: NonNegativeInt
    """First layers that have a plain feed-forward."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DecoderConfig:
    """The language model."""

    __pydantic_config__: ClassVar = STRICT
    vocab_size: PositiveInt
    """Tokens that can be read and written."""
    dim: PositiveInt
    """Width of a token."""
    depth: PositiveInt
    """Layers."""
    heads: PositiveInt
    """Of attention."""
    mlp_dim: PositiveInt
    """Width inside the feed-forward."""
    feed_forward: Literal["relu2", "swiglu"]
    """Its activation: ReLU squared, or SiLU with a gate."""
    norm: Literal["layer", "rms"]
    """LayerNorm or RMSNorm."""
    norm_eps: float
    """Added to the variance in norms."""
    bias: bool
    """Whether linear layers have biases."""
    rope_base: float
    """Of the rotary positions: the slowest turns once in about six times as many tokens."""
    max_positions: PositiveInt
    """Longest sequence."""
    tied_head: bool
    """Whether the embedding is the head as well."""
    bidirectional_prefix: bool
    """Whether visual tokens see each other both ways."""
    row_marks: bool
    """Learned markers after each row of visual tokens and between views."""
    sliding_window: PositiveInt | None = None
    """Output tokens that an output token sees, the prompt always visible; none is all."""
    place: PlaceConfig | None = None
    moe: MoeConfig | None = None
    cross_attention: bool = False
    """Whether visual tokens are looked at from beside the text, not read before it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LanguageConfig:
    """A causal language model of `transformers` in the place of our decoder."""

    __pydantic_config__: ClassVar = STRICT
    transformers: dict[str, Any]
    """Its own `config.json`, which has every size that it alone needs."""
    vocab_size: PositiveInt
    """Rows of the embedding: its own, and those of tokens that reading adds."""
    dim: PositiveInt
    """Width of a token."""
    max_positions: PositiveInt
    """Longest sequence."""
    tied_head: bool
    """Whether the embedding is the head as well."""
    # what it lacks, so that the parts around a decoder need not ask which one it is
    row_marks: ClassVar[bool] = False
    sliding_window: ClassVar[int | None] = None
    place: ClassVar[PlaceConfig | None] = None
    moe: ClassVar[MoeConfig | None] = None
    cross_attention: ClassVar[bool] = False


def _decoder_kind(data: Any) -> str:
    """Which of the two decoders a part of a file, or a config, describes."""
    if isinstance(data, LanguageConfig) or (isinstance(data, dict) and "transformers" in data):
        return "language"
    return "own"


AnyDecoderConfig = Annotated[
    Annotated[DecoderConfig, Tag("own")] | Annotated[LanguageConfig, Tag("language")],
    Discriminator(_decoder_kind),
]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """A whole model."""

    __pydantic_config__: ClassVar = STRICT
    name: str
    """What it is called."""
    sam: SamConfig
    compressor: CompressorConfig
    clip: ClipConfig
    fusion_norm: bool
    """Whether CLIP and compressor features are normed before the projection."""
    decoder: AnyDecoderConfig
    mode: str
    """How a page is cut into views when nothing is asked for."""
    prompt: str | None = None
    """What it is asked when nothing is; none is what the official family was published with."""
    int8: bool = False
    """Whether the matrices of the decoder are held in 8 bits."""
    fusion: Literal["channels", "sequence"] = "channels"
    """Both features as one visual token, or as two."""

    def __post_init__(self) -> None:
        for part in (self.sam, self.clip, self.decoder):
            if not isinstance(part, LanguageConfig) and part.dim % part.heads:
                kind = type(part).__name__.removesuffix("Config").lower()
                raise ValueError(f"{kind}.dim = {part.dim} is no multiple of heads = {part.heads}")
        if self.fusion != "sequence" and self.decoder.cross_attention:
            raise ValueError("cross-attention looks at the two maps of fusion = 'sequence'")
        if not set(self.sam.global_blocks) <= set(range(self.sam.depth)):
            raise ValueError(f"sam.global_blocks names a block beyond sam.depth = {self.sam.depth}")
        if self.fusion == "sequence" and self.decoder.row_marks:
            raise ValueError("row_marks are for one token a place: fusion = 'channels'")
        if self.sam.stem and 2 ** (len(self.sam.stem) + 1) != PATCH_PX:
            raise ValueError(f"sam.stem has three stages, or none: a patch is {PATCH_PX} px")
        self._check_tables()
        if isinstance(self.decoder, DecoderConfig):
            _check_decoder(self.decoder)

    def _check_tables(self) -> None:
        """Tables that are cut to a view, rather than stretched, lie over each other."""
        if self.sam.resize_table or self.clip.resize_table:
            return
        sam, clip, place = self.sam.table, self.clip.table, self.decoder.place
        if (clip.rows, clip.cols) != (ceil(sam.rows / COMPRESSION), ceil(sam.cols / COMPRESSION)):
            raise ValueError(f"clip.table has 1/{COMPRESSION} of the rows and cols of sam.table")
        across = sam.cols * PATCH_PX
        if place and (place.x_bins * place.bin_px != across or TOKEN_PX % place.bin_px):
            raise ValueError(
                f"decoder.place: x_bins of bin_px are as wide as sam.table, {across} px, and a "
                f"token, {TOKEN_PX} px, is some whole bins"
            )

    @property
    def fused_dim(self) -> int:
        """Channels of CLIP and compressor features side by side."""
        return self.clip.dim + self.compressor.dim

    def positions(self, prompt: int) -> int:
        """Those that a prompt of so many embeddings takes: what is looked at from beside, none."""
        return 1 if self.decoder.cross_attention else prompt

    def to_json(self) -> str:
        """The text of a `config.json`."""
        return json.dumps(asdict(self), indent=1) + "\n"


def _check_decoder(decoder: DecoderConfig) -> None:
    if decoder.dim // decoder.heads % 2:
        raise ValueError("decoder.dim / decoder.heads is even: positions turn pairs of numbers")
    if decoder.moe is not None and decoder.moe.active > decoder.moe.experts:
        raise ValueError("decoder.moe.active is at most decoder.moe.experts")
    if decoder.cross_attention and (decoder.sliding_window or decoder.bidirectional_prefix):
        raise ValueError(
            "cross_attention has no tokens before the text: leave out sliding_window, and set "
            "bidirectional_prefix = false"
        )


def validate(kind: type[T], data: Any, *, source: str) -> T:
    """Check plain data against a frozen dataclass.

    Args:
        kind: The dataclass.
        data: What a TOML or JSON file holds.
        source: What to call it in the error.

    Raises:
        ModelError: With the place and cause of every mismatch.
    """
    try:
        return TypeAdapter(kind).validate_python(data)
    except ValidationError as error:
        faults = "; ".join(f"{_place(e['loc']) or 'file'}: {e['msg']}" for e in error.errors())
        raise ModelError(f"{source} does not fit: {faults}") from error


def _place(keys: tuple[int | str, ...]) -> str:
    """Where in the file a fault is; the kind of decoder, which pydantic adds, is no key."""
    if keys[:1] == ("decoder",):
        keys = (*keys[:1], *keys[2:])
    return ".".join(map(str, keys))


def read_json(path: Path) -> Any:
    """What a `config.json` says.

    Raises:
        ModelError: If the file is missing or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"{path.parent} is no model folder: it has no {path.name}") from error
    except ValueError as error:
        raise ModelError(f"{path} is not JSON: {error}") from error


def read_toml(path: Path) -> dict[str, Any]:
    """What a TOML file says.

    Raises:
        UsageError: If it cannot be read, or is no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    except ValueError as error:
        raise UsageError(f"{path} is not TOML: {error}") from error


def load_config(path: Path) -> ModelConfig:
    """Read a `config.json` that `ModelConfig.to_json` wrote.

    Raises:
        ModelError: If the file is missing, no JSON, or not such a config.
    """
    return validate(ModelConfig, read_json(path), source=str(path))
