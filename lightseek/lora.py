"""Adapters: small matrices beside those of a model, which learn in their place (LoRA, by `peft`).

Any decoder takes them, ours and language models of others, in 8 bits too, and so does an encoder.
Adapters are saved apart from the model that they were made for, together with whatever else learnt
(the projector, say): a file of some megabytes that makes another model of the same weights.
"""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar

import torch
from pydantic import Field, PositiveInt
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from lightseek.config import STRICT, validate
from lightseek.errors import ModelError, UsageError, require
from lightseek.linear import Int8Linear
from lightseek.model import LightSeekOCR
from lightseek.shards import write_file
from lightseek.whole import written_whole

SETTINGS, ADAPTERS = "adapters.json", "adapters.safetensors"
_MARK = ".lora_"


@dataclass(frozen=True, kw_only=True, slots=True)
class LoraConfig:
    """Adapters: matrices of low rank beside those of a model (arXiv 2106.09685)."""

    __pydantic_config__: ClassVar = STRICT
    rank: PositiveInt
    """Width of the small matrices."""
    alpha: float
    """What they add is scaled by this over the rank."""
    dropout: Annotated[float, Field(ge=0, lt=1)]
    """Share of inputs that an adapter does not see while it learns."""
    targets: tuple[str, ...]
    """Names of the layers that get one, such as `query` or `q_proj`."""
    parts: tuple[str, ...] = ("decoder",)
    """Parts of the model that these layers are looked for in; all else of them is frozen."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What stands beside the tensors of adapters."""

    __pydantic_config__: ClassVar = STRICT
    base: str
    """The model that they were made for: what `find_model` takes."""
    mode: str
    """How pages were cut into views."""
    lora: LoraConfig
    prompt: str | None = None
    """What was asked of them."""
    base_sample: str | None = None
    """Hash of some of its weights: a model of that name may be another one later."""


_ADAPTABLE = ("Linear", "Int8Linear", "Conv1D", "Conv2d", "Embedding")
"""Kinds of layers that peft has adapters for, and ours that are made like these."""


def is_adapter(name: str) -> bool:
    """Whether a parameter or module belongs to an adapter."""
    return _MARK in name


def has_adapters(model: LightSeekOCR) -> bool:
    """Whether any part has adapters that are not merged."""
    return any(is_adapter(name) for name, _ in model.named_parameters())


def add_adapters(model: LightSeekOCR, config: LoraConfig) -> None:
    """Give parts of a model adapters, which change nothing yet, and freeze the rest of these parts.

    The other parts learn on unless `LightSeekOCR.freeze` keeps them. Adapters are in float32,
    whatever the weights beside them are in.

    Raises:
        MissingExtraError: If `peft` is not installed.
        UsageError: If there is no such part or layer, or the model has adapters already.
    """
    require("peft", extra="train")
    if has_adapters(model):
        raise UsageError(
            "the model has adapters: merge them before it gets others, or, beside 8 bits, tune the "
            "model that they were made for anew"
        )
    found = {part: _targets_in(model, part, config.targets) for part in config.parts}
    unknown = sorted(set(config.targets).difference(*found.values()))
    if unknown or not all(found.values()):
        wanted = ", ".join(unknown or config.targets)
        where = " or ".join(part for part, names in found.items() if unknown or not names)
        raise UsageError(f"no layer of the {where} is called {wanted}")
    for part, targets in found.items():
        _inject(model.get_submodule(part), sorted(targets), config)
    for name, parameter in model.named_parameters():
        if is_adapter(name):
            parameter.data = parameter.data.float()


def _targets_in(model: LightSeekOCR, part: str, targets: Sequence[str]) -> set[str]:
    """Those of the names that layers of a part have.

    Raises:
        UsageError: If there is no such part.
    """
    try:
        modules = model.get_submodule(part).named_modules()
    except AttributeError as error:
        raise UsageError(f"the model has no part {part} for adapters") from error
    named = {n.rpartition(".")[2] for n, module in modules if type(module).__name__ in _ADAPTABLE}
    return named & set(targets)


def _inject(part: nn.Module, targets: list[str], config: LoraConfig) -> None:
    peft = require("peft", extra="train")
    # GPT-2 keeps its matrices transposed
    kinds = {type(m).__name__ for n, m in part.named_modules() if n.endswith(tuple(targets))}
    settings = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=targets,
        fan_in_fan_out="Conv1D" in kinds,
    )
    settings._register_custom_module({Int8Linear: peft.tuners.lora.Linear})
    for module in part.modules():
        if isinstance(module, Int8Linear):
            # peft asks where it is, and its weights may be packed away
            module.qweight = torch.empty(0)
    with warnings.catch_warnings():
        # it asks for the sizes of our own layer, and gets them
        warnings.filterwarnings("ignore", "Unsupported layer type")
        peft.inject_adapter_in_model(settings, part)


def merge_adapters(model: LightSeekOCR) -> None:
    """Add to every matrix what its adapter has learnt: the model is as fast as before.

    Beside matrices in 8 bits adapters stay: much of what was learnt is less than a step of these.
    """
    tuners = require("peft.tuners.tuners_utils", extra="train")
    adapted = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, tuners.BaseTunerLayer)
    ]
    for name, module in adapted:
        if not isinstance(module.get_base_layer(), Int8Linear):
            module.merge()
            model.set_submodule(name, module.get_base_layer())
    if has_adapters(model):
        return
    # so that it may get others
    for module in model.modules():
        if hasattr(module, "peft_config"):
            del module.peft_config
            module.requires_grad_(True)  # the adapters had frozen it


def learnt_of(model: LightSeekOCR) -> dict[str, Tensor]:
    """Everything that learns by name: adapters, and parts that are not frozen."""
    learning = ((name, p) for name, p in model.named_parameters() if p.requires_grad)
    return {name: parameter.detach() for name, parameter in learning}


def save_adapters(folder: Path, learnt: Mapping[str, Tensor], settings: Settings) -> None:
    """Write what was learnt: the folder then reads as a model does, while its base is there."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.cpu().contiguous() for name, tensor in learnt.items()}
    text = json.dumps(asdict(settings), indent=1) + "\n"
    with written_whole(folder / ADAPTERS, folder / SETTINGS) as (adapters, told):
        write_file(adapters, tensors)
        told.write_text(text, encoding="utf-8")


def read_settings(folder: Path) -> Settings:
    """What `save_adapters` wrote beside the tensors.

    Raises:
        ModelError: If it is missing or broken.
    """
    try:
        data = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder} holds no adapters that can be read: {error}") from error
    settings = validate(Settings, data, source=str(folder / SETTINGS))
    if Path(settings.base) == folder.resolve():
        raise ModelError(f"{folder} holds adapters of itself: its model was written over")
    return settings


def load_adapters(folder: Path, model: LightSeekOCR) -> None:
    """Make of a model what `save_adapters` wrote of another with the same weights.

    Raises:
        ModelError: If a file is missing or broken, or was written of another model.
    """
    settings = read_settings(folder)
    try:
        learnt = load_file(folder / ADAPTERS)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{folder} holds no adapters that can be read: {error}") from error
    add_adapters(model, settings.lora)
    parameters: dict[str, nn.Parameter] = dict(model.named_parameters())
    if missing := [name for name in parameters if is_adapter(name) and name not in learnt]:
        raise ModelError(f"{folder} is not whole: {ADAPTERS} has no {missing[0]}")
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
    model.config = replace(model.config, mode=settings.mode, prompt=settings.prompt)
