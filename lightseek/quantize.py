"""Model folders with the decoder in 8 bits: less memory, and less time for a token on x86 CPUs.

What decides or is seen stays as it is: router, norms, embeddings (a head that is tied to them too)
and the whole encoder.
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from lightseek.config import LanguageConfig, ModelConfig
from lightseek.errors import UsageError
from lightseek.linear import int8_tensors, to_int8
from lightseek.names import names_in_file
from lightseek.shards import find_shards, open_shard, write_shards
from lightseek.tokenizer import SETTINGS, Tokenizer
from lightseek.weights import (
    CONFIG,
    TOKENIZER,
    WEIGHTS,
    check_tokenizer,
    empty_model,
    find_model,
    read_config,
    read_headers_of,
)


def quantize(name: str, target: Path) -> None:
    """Write a model in 8 bits; tensors pass through memory one by one.

    Args:
        name: A shipped model, a folder, or a hub id.
        target: Folder to write; it may not hold anything yet.

    Raises:
        UsageError: If the target is in use, the model has 8 bits already, or its decoder is a
            language model of `transformers`.
        ModelError: If the model cannot be loaded.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} is in use: give a folder that is not there yet")
    source = find_model(name)
    config, official = read_config(source)
    if config.int8:
        raise UsageError(f"{name} is in 8 bits already: give the model that it was made from")
    if isinstance(config.decoder, LanguageConfig):
        raise UsageError(
            f"{name} writes with a language model of transformers, whose layers are not ours to "
            "round: give a model with a decoder of ours, such as one of the official family"
        )
    tokenizer = Tokenizer.from_folder(source)
    check_tokenizer(tokenizer, config, official, source=source / TOKENIZER)
    names = names_in_file(official=official is not None)
    read_headers_of(empty_model(config), source / WEIGHTS, name_in_file=names)
    target.mkdir(parents=True, exist_ok=True)
    small = replace(config, int8=True)
    write_shards(target / WEIGHTS, _tensors(source / WEIGHTS, small, names))
    for file in (TOKENIZER, SETTINGS):
        if (source / file).is_file():
            shutil.copyfile(source / file, target / file)
    # last: without it, what was interrupted is no model folder
    (target / CONFIG).write_text(small.to_json(), encoding="utf-8")


def _tensors(
    path: Path, config: ModelConfig, names: Callable[[str], str]
) -> Iterator[tuple[str, Tensor]]:
    """All tensors of the model in 8 bits, as they stand in the files."""
    model = empty_model(config)
    rounded = int8_tensors(model)
    ours = {names(name): name for name in model.state_dict() if not name.endswith(".scale")}
    for file in find_shards(path):
        with open_shard(file) as shard:
            for name in sorted(ours.keys() & set(shard.keys())):
                tensor = shard.get_tensor(name)
                if ours[name] in rounded:
                    weight, scale = to_int8(tensor)
                    yield ours[name], weight
                    yield f"{ours[name].removesuffix('.weight')}.scale", scale
                else:
                    yield ours[name], tensor.to(torch.bfloat16)
