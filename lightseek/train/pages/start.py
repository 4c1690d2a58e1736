"""What a run begins with: a model with weights, or a preset whose parts others have published."""

from dataclasses import replace

import torch
from torch import nn

from lightseek.config import DecoderConfig, ModelConfig
from lightseek.data.dataset import load_pairs
from lightseek.errors import UsageError
from lightseek.fusion import EMBEDDING_STD, SCALES
from lightseek.lora import add_adapters
from lightseek.model import LightSeekOCR
from lightseek.presets import names_preset, preset
from lightseek.published import assemble, find_published, hash_published
from lightseek.shards import check_shapes, hash_files
from lightseek.tokenizer import Tokenizer
from lightseek.train.checkpoint import hash_sizes
from lightseek.train.pages.recipe import PageRecipe, PartsRecipe
from lightseek.train.run import silence_residuals
from lightseek.views import (
    MODES,
    UNTILED,
    Mode,
    find_mode,
    num_positions,
    num_visual_tokens,
    tile_grids,
)
from lightseek.weights import TOKENIZER, find_model, hash_model, load_model

DTYPES = {"no": torch.float32, "bf16": torch.bfloat16}


def begin_model(recipe: PageRecipe) -> tuple[LightSeekOCR, Tokenizer]:
    """The model of a run before its first step, on the CPU.

    The recipe's mode and prompt become the model's own: it reads as it was taught. What learns is
    in float32; a matrix that is frozen, in what it is multiplied in: nothing is lost by it.

    Raises:
        UsageError: If the recipe asks for what this model cannot do.
        ModelError: If a model, a part or a tokenizer cannot be had.
    """
    torch.manual_seed(recipe.seed)
    if names_preset(recipe.model):
        config = preset(recipe.model)
        _check_mode(config, recipe)
        model, tokenizer = _from_nothing(config, recipe.parts)
    elif replace(recipe.parts, encoder=None) != PartsRecipe():
        raise UsageError(
            f"{recipe.model} has its parts: leave out [parts] other than encoder, which are for "
            "presets (--set 'parts={}')"
        )
    else:
        model, tokenizer = load_model(
            find_model(recipe.model), device=torch.device("cpu"), dtype=DTYPES[recipe.precision]
        )
    _check_mode(model.config, recipe)
    if model.config.int8 and recipe.lora is None:
        raise UsageError(
            f"{recipe.model} is in 8 bits, which do not learn: give it adapters by [lora], or "
            "train the model that it was made from"
        )
    if recipe.parts.encoder is not None:
        if model.config.int8:
            raise UsageError(
                f"{recipe.model} is in 8 bits, which take no other encoder: leave out "
                "parts.encoder, or train the model that it was made from"
            )
        _take_encoder(model, recipe.parts.encoder)
    model.config = replace(model.config, mode=recipe.pages.mode, prompt=recipe.pages.prompt)
    prepare_parts(model, recipe)
    _set_dtypes(model, DTYPES[recipe.precision])
    return model, tokenizer


def hash_start(recipe: PageRecipe) -> str:
    """Hashes of what a run begins with and its recipe only names, and of its held-out pages.

    Raises:
        ModelError: If there is no such model.
        DataError: If there are no held-out pages.
    """
    parts = recipe.parts
    # with other pages the best loss so far would mean nothing
    hashes = [load_pairs(recipe.pages.held_out).fingerprint]
    hashes += [] if parts.encoder is None else [hash_model(parts.encoder)]
    if not names_preset(recipe.model):
        return " ".join([*hashes, hash_model(recipe.model)])
    sizes = hash_sizes(recipe.model)
    hashes += [] if sizes is None else [sizes]
    published = (parts.sam, parts.clip, parts.language)
    hashes += [hash_published(name) for name in published if name is not None]
    if parts.tokenizer is not None:
        folder = find_model(parts.tokenizer)
        Tokenizer.from_folder(folder)  # says what is wrong with it
        hashes.append(hash_files([folder / TOKENIZER]))
    return " ".join(hashes)


def prepare_parts(model: LightSeekOCR, recipe: PageRecipe) -> None:
    """Freeze what the recipe freezes, and give the decoder its adapters."""
    model.freeze(recipe.freeze)
    if recipe.lora is not None:
        add_adapters(model, recipe.lora)


def _set_dtypes(model: LightSeekOCR, dtype: torch.dtype) -> None:
    """Frozen matrices in the type in which they are multiplied, all else in float32."""
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            multiplied = isinstance(module, nn.Linear | nn.Conv2d) and name == "weight"
            narrow = multiplied and not parameter.requires_grad
            parameter.data = parameter.data.to(dtype if narrow else torch.float32)


def _from_nothing(config: ModelConfig, parts: PartsRecipe) -> tuple[LightSeekOCR, Tokenizer]:
    if parts.language is not None:
        tokenizer = Tokenizer.of_language_model(find_published(parts.language))
    elif parts.tokenizer is not None:
        tokenizer = Tokenizer.from_folder(find_model(parts.tokenizer))
        assert isinstance(config.decoder, DecoderConfig)
        config = replace(config, decoder=replace(config.decoder, vocab_size=len(tokenizer)))
    else:
        raise UsageError(
            "a decoder from nothing needs a tokenizer: make one by `lightseek tokenizer` and name "
            "its folder in parts.tokenizer, or name a parts.language"
        )
    model = assemble(config, sam=parts.sam, clip=parts.clip, language=parts.language)
    if parts.sam is None:
        silence_residuals(model.encoder.sam)
    if parts.clip is None:
        silence_residuals(model.encoder.clip)
    if parts.language is None:
        silence_residuals(model.decoder)
        nn.init.normal_(model.embedding.weight, std=EMBEDDING_STD)
    return model, tokenizer


def _take_encoder(model: LightSeekOCR, name: str) -> None:
    """Copy all of another encoder but its projector, which fits its own decoder."""
    other, _ = load_model(find_model(name), device=torch.device("cpu"), dtype=torch.float32)
    theirs, ours = (
        {n: p for n, p in m.encoder.named_parameters() if not n.startswith("projector.")}
        for m in (other, model)
    )
    check_shapes(
        {n: tuple(p.shape) for n, p in ours.items()},
        {n: tuple(p.shape) for n, p in theirs.items()},
        source=name,
    )
    with torch.no_grad():
        for at, parameter in ours.items():
            parameter.copy_(theirs[at])


def _check_mode(config: ModelConfig, recipe: PageRecipe) -> None:
    if config.mode not in MODES:
        raise UsageError(
            f"{config.name} reads strips, not pages: train it by a recipe without [pages], such as "
            "configs/nano.toml"
        )
    if config.decoder.place is not None:
        raise UsageError(
            f"{config.name} has place heads, which pages do not teach: leave decoder.place out of "
            "its sizes"
        )
    if config.sam.channels != 3:
        raise UsageError(f"{config.name} sees {config.sam.channels} colours: pages need 3")
    if not config.decoder.row_marks and find_mode(recipe.pages.mode).tile_px is not None:
        raise UsageError(
            f"{config.name} has no marks for rows of tiles: choose a mode without tiles, not "
            f"{recipe.pages.mode}"
        )


def check_longest(config: ModelConfig, mode: Mode, prompt: int, longest: int) -> None:
    """Make sure that the decoder has positions for a page and its text.

    Args:
        config: Of the model.
        mode: How pages are looked at.
        prompt: Tokens of the prompt.
        longest: Tokens of text.

    Raises:
        UsageError: If it has fewer.
    """
    room = config.decoder.max_positions - prompt - _most_positions(config, mode)
    if longest > room:
        raise UsageError(
            f"{config.name} has {config.decoder.max_positions} positions, which leaves {room} for "
            f"the text of a page in mode {mode.name}: lower pages.longest"
        )


def _most_positions(config: ModelConfig, mode: Mode) -> int:
    """Positions of the largest page."""
    if config.decoder.cross_attention:
        return 0
    if not config.decoder.row_marks:
        return num_visual_tokens(mode, UNTILED) * SCALES[config.fusion]
    return max(num_positions(mode, grid) for grid in (UNTILED, *tile_grids(mode.max_tiles)))
