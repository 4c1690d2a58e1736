"""Adapters: small matrices beside those of a decoder, which learn in their place (LoRA, by `peft`).

Any decoder takes them, ours and language models of others. Adapters are saved apart from the model
that they were made for, together with whatever else learnt (the projector, say): a file of some
megabytes that makes another model of the same weights.
"""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from lightseek.config import LoraConfig, validate
from lightseek.errors import ModelError, UsageError, require
from lightseek.model import LightSeekOCR

SETTINGS, ADAPTERS = "adapters.json", "adapters.safetensors"
_MARK = ".lora_"


def has_adapters(model: LightSeekOCR) -> bool:
    """Whether the decoder has adapters that are not merged."""
    return any(_MARK in name for name, _ in model.named_parameters())


def add_adapters(model: LightSeekOCR, config: LoraConfig) -> None:
    """Give the decoder adapters, which change nothing yet, and freeze the rest of it.

    Embedding, head and encoder learn on unless `LightSeekOCR.freeze` keeps them.

    Raises:
        MissingExtraError: If `peft` is not installed.
        UsageError: If the decoder has no such linear layer, or adapters already.
    """
    peft = require("peft", extra="train")
    if has_adapters(model):
        raise UsageError("the model has adapters: merge them before it gets others")
    names = {name.rpartition(".")[2] for name, _ in model.decoder.named_modules()}
    if unknown := sorted(set(config.targets) - names):
        raise UsageError(f"no layer of the decoder is called {', '.join(unknown)}")
    # GPT-2 keeps its matrices transposed
    kinds = {
        type(m).__name__ for n, m in model.decoder.named_modules() if n.endswith(config.targets)
    }
    settings = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=list(config.targets),
        fan_in_fan_out="Conv1D" in kinds,
    )
    peft.inject_adapter_in_model(settings, model.decoder)


def merge_adapters(model: LightSeekOCR) -> None:
    """Add to every matrix what its adapter has learnt: the model is as fast as before."""
    tuners = require("peft.tuners.tuners_utils", extra="train")
    adapted = [
        (name, module)
        for name, module in model.decoder.named_modules()
        if isinstance(module, tuners.BaseTunerLayer)
    ]
    for name, module in adapted:
        module.merge()
        parent, _, attribute = name.rpartition(".")
        setattr(model.decoder.get_submodule(parent), attribute, module.get_base_layer())
    # so that it may get others
    del model.decoder.peft_config


def save_adapters(folder: Path, model: LightSeekOCR, config: LoraConfig) -> None:
    """Write everything that learns: adapters, and parts that are not frozen."""
    folder.mkdir(parents=True, exist_ok=True)
    learnt = {
        name: parameter.detach().cpu().contiguous()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
    unfinished = folder / f"{ADAPTERS}.unfinished"
    save_file(learnt, unfinished)
    (folder / SETTINGS).write_text(json.dumps(asdict(config), indent=1) + "\n", encoding="utf-8")
    unfinished.replace(folder / ADAPTERS)


def load_adapters(folder: Path, model: LightSeekOCR) -> None:
    """Make of a model what `save_adapters` wrote of another with the same weights.

    Raises:
        ModelError: If a file is missing or broken, or was written of another model.
    """
    try:
        data = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        learnt = load_file(folder / ADAPTERS)
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(f"{folder} holds no adapters that can be read: {error}") from error
    add_adapters(model, validate(LoraConfig, data, source=str(folder / SETTINGS)))
    parameters: dict[str, nn.Parameter] = dict(model.named_parameters())
    strange = [
        n for n, t in learnt.items() if n not in parameters or parameters[n].shape != t.shape
    ]
    if strange:
        raise ModelError(
            f"{folder} was made for another model: it has no {strange[0]} of that shape"
        )
    with torch.no_grad():
        for name, tensor in learnt.items():
            parameters[name].copy_(tensor)
