"""A model folder of any size with random weights, for measuring what needs no true ones."""

import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from lightseek.config import ModelConfig
from lightseek.errors import UsageError
from lightseek.shards import write_shards
from lightseek.tokenizer import LATIN, Tokenizer, character_tokenizer
from lightseek.weights import CONFIG, TOKENIZER, WEIGHTS, empty_model, num_bytes

POOL = 2**24
"""Random numbers that are drawn; every tensor is a piece of them, from another place on."""
STEP = 7_919_993
CHARACTERS = "".join(map(chr, range(0x4E00, 0xA000)))
"""Chinese ones, for tokens beyond those that nano has."""


def write_random(
    folder: Path,
    config: ModelConfig,
    *,
    config_text: str | None = None,
    name_in_file: Callable[[str], str] = str,
) -> None:
    """Write a model in bfloat16, one shard in memory at a time.

    Args:
        folder: Gets the files.
        config: Sizes of the model.
        config_text: What stands in its `config.json`, where that is not in our own form.
        name_in_file: What the file calls a tensor of ours.

    Raises:
        UsageError: If the disk has no room for it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = replace(config, int8=False)
    needed, free = num_bytes(empty_model(config), torch.bfloat16), shutil.disk_usage(folder).free
    if needed > free:
        raise UsageError(
            f"{folder} has {free / 1e9:.1f} GB free, and a model of {needed / 1e9:.1f} GB is "
            "written there: name a folder on a larger disk in the environment variable TMPDIR"
        )
    write_shards(folder / WEIGHTS, _tensors(config, name_in_file))
    _tokenizer(config.decoder.vocab_size).save(folder / TOKENIZER)
    (folder / CONFIG).write_text(config_text or config.to_json(), encoding="utf-8")


def _tokenizer(size: int) -> Tokenizer:
    """One with as many tokens as the model, or as many as a small model might have."""
    missing = max(0, size - len(character_tokenizer()))
    return character_tokenizer(LATIN + CHARACTERS[:missing])


def _tensors(
    config: ModelConfig, name_in_file: Callable[[str], str]
) -> Iterator[tuple[str, Tensor]]:
    # at the end as much as at the start, so that a piece may begin anywhere
    pool = torch.randn(POOL, generator=torch.Generator().manual_seed(0)).bfloat16()
    pool = torch.cat([pool, pool])
    start = 0
    for name, tensor in empty_model(config).state_dict().items():
        start = (start + STEP) % POOL
        yield name_in_file(name), _values(name, tuple(tensor.shape), pool, start)


def _values(name: str, shape: tuple[int, ...], pool: Tensor, start: int) -> Tensor:
    """Values of a height that keeps what flows through the model finite."""
    if len(shape) == 1 and name.endswith("weight"):  # of a norm
        return torch.ones(shape, dtype=torch.bfloat16)
    size = math.prod(shape)
    copies = -(-size // POOL)
    piece = pool[start : start + min(size, POOL)].repeat(copies)[:size].view(shape)
    return piece * 0.02
