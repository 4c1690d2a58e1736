"""Model folders: `config.json`, `tokenizer.json`, `model.safetensors`, in and out.

Our own, and those of the official family, of one file or in shards, on disk or on the hub. Only
safetensors: weights are data. Tensors are memory-mapped and cast one by one on their way to the
device. Every tensor that is missing, unexpected or of another shape is named in one error.
"""

import json
import os
import re
from collections.abc import Callable
from contextlib import ExitStack
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lightseek.config import LanguageConfig, ModelConfig, load_config
from lightseek.errors import ModelError, UsageError
from lightseek.hub import fetch
from lightseek.lora import has_adapters
from lightseek.model import LightSeekOCR
from lightseek.names import official_name
from lightseek.official import Official, find_official
from lightseek.tokenizer import SETTINGS, Tokenizer

CONFIG, TOKENIZER, WEIGHTS = "config.json", "tokenizer.json", "model.safetensors"
SHIPPED = ("nano",)
"""Models whose weights are inside the package."""

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
HUB_FILES = (CONFIG, TOKENIZER, SETTINGS, "*.safetensors", f"{WEIGHTS}.index.json")
MEMINFO = Path("/proc/meminfo")

UNREAD = frozenset(
    f"model.vision_model.embeddings.{name}" for name in ("patch_embedding.weight", "position_ids")
)
"""Tensors of the official file that no computation needs: they may be there or not."""


def find_model(name: str | Path) -> Path:
    """The folder of a shipped model, a folder as given, or that of a hub id, fetched if need be.

    Raises:
        ModelError: If there is no such model.
    """
    if str(name) in SHIPPED:
        return Path(str(resources.files("lightseek"))) / "assets" / str(name)
    folder = Path(name)
    if folder.is_dir():
        return folder
    if HUB_ID.fullmatch(str(name)) and not folder.parent.is_dir():
        return fetch(str(name), HUB_FILES)
    raise ModelError(
        f"no model {name}: give one of {', '.join(SHIPPED)}, a folder with {CONFIG}, or a hub id "
        "such as deepseek-ai/DeepSeek-OCR"
    )


def default_device() -> torch.device:
    """CUDA, else Apple's GPU, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def default_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device multiplies it natively, float32 elsewhere."""
    if device.type == "cuda":
        return torch.bfloat16
    if device.type == "cpu" and torch.cpu._is_avx512_bf16_supported():
        return torch.bfloat16
    return torch.float32


def load_model(
    name: str | Path, *, device: torch.device, dtype: torch.dtype
) -> tuple[LightSeekOCR, Tokenizer]:
    """Load a model folder, ready to read.

    Args:
        name: A shipped model, a folder, or a hub id.
        device: Where the weights go.
        dtype: What they are cast to.

    Raises:
        ModelError: If a file is missing or broken, tensors do not fit the config, or the memory of
            the device is too small.
    """
    folder = find_model(name)
    config, official = read_config(folder)
    tokenizer = Tokenizer.from_folder(folder)
    check_tokenizer(tokenizer, config, official, source=folder / TOKENIZER)
    model = empty_model(config)
    check_memory(model, device=device, dtype=dtype)
    names = official_name if official else str
    load_weights(model, folder / WEIGHTS, device=device, dtype=dtype, name_in_file=names)
    # what a language model computes by itself is in no file
    return model.to(device).eval(), tokenizer


def read_config(folder: Path) -> tuple[ModelConfig, Official | None]:
    """The sizes of a model folder, and what else an official one says.

    Raises:
        ModelError: If it has no config that can be read.
    """
    official = find_official(folder / CONFIG)
    return official.config if official else load_config(folder / CONFIG), official


def empty_model(config: ModelConfig) -> LightSeekOCR:
    """A model whose tensors have shapes and no memory."""
    with torch.device("meta"):
        return LightSeekOCR(config)


def check_tokenizer(
    tokenizer: Tokenizer, config: ModelConfig, official: Official | None, *, source: Path
) -> None:
    """Compare a tokenizer with what the config says of it.

    Raises:
        ModelError: If it has another number of tokens, or other special ones.
    """
    size, room = len(tokenizer), config.decoder.vocab_size
    # vocabularies of others are filled up with ids that no token has
    filled_up = config.decoder.row_marks or isinstance(config.decoder, LanguageConfig)
    if size > room or (size < room and not filled_up):
        raise ModelError(
            f"{source} has {size} tokens, the model {room}: it belongs to another model"
        )
    for kind, wanted in official.special_ids.items() if official else ():
        found = getattr(tokenizer, f"{kind}_id")
        if found != wanted:
            raise ModelError(
                f"{source} has the {kind} token at {found}, the model at {wanted}: it belongs to "
                "another model"
            )


def load_weights(
    model: LightSeekOCR,
    path: Path,
    *,
    device: torch.device,
    dtype: torch.dtype,
    name_in_file: Callable[[str], str] = str,
) -> None:
    """Replace every parameter by the tensor of its name.

    Args:
        model: Gets the tensors.
        path: A safetensors file; where it is missing, the shards beside it.
        device: Where the tensors go.
        dtype: What they are cast to.
        name_in_file: What the file calls a tensor of ours.

    Raises:
        ModelError: If a file is missing or broken, or any name or shape differs.
    """
    with ExitStack() as stack:
        holders = open_weights(model, path, stack, name_in_file=name_in_file)
        # one by one: what is cast or moved is never in memory twice
        tensors = {
            name: shard.get_tensor(name_in_file(name)).to(device=device, dtype=dtype)
            for name, shard in holders.items()
        }
    model.load_state_dict(tensors, assign=True)


def open_weights(
    model: LightSeekOCR, path: Path, stack: ExitStack, *, name_in_file: Callable[[str], str] = str
) -> dict[str, Any]:
    """Map weights into memory until the stack is closed; arguments as for `load_weights`.

    Returns:
        The open file that holds each tensor, by our name.

    Raises:
        ModelError: If a file is missing or broken, or any name or shape differs.
    """
    shards = [open_shard(file, stack) for file in find_shards(path)]
    holders = {name: shard for shard in shards for name in shard.keys()}  # noqa: SIM118 - not a dict
    found = {name: tuple(shard.get_slice(name).get_shape()) for name, shard in holders.items()}
    tensors = model.state_dict()
    wanted = {name_in_file(name): tuple(tensor.shape) for name, tensor in tensors.items()}
    for unread in UNREAD - wanted.keys():
        found.pop(unread, None)
    check_shapes(wanted, found, source=str(path if len(shards) == 1 else path.parent))
    return {name: holders[name_in_file(name)] for name in tensors}


def open_shard(path: Path, stack: ExitStack) -> Any:
    """Map a safetensors file into memory until the stack is closed.

    Raises:
        ModelError: If it is broken.
    """
    try:
        return stack.enter_context(safe_open(path, framework="pt"))
    except SafetensorError as error:
        raise ModelError(f"{path} is broken or cut off, get it again: {error}") from error


def find_shards(path: Path) -> list[Path]:
    """A file of weights, or the shards that are there in its place.

    Raises:
        ModelError: If there is neither, or a shard is missing.
    """
    if path.is_file():
        return [path]
    index = path.with_name(f"{path.name}.index.json")
    if not index.is_file():
        shards = sorted(path.parent.glob(f"{path.stem}-*-of-*{path.suffix}"))
        if not shards:
            raise ModelError(f"{path.parent} has no weights: {path.name} is missing")
        return shards
    try:
        placed = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        shards = [path.with_name(name) for name in sorted(set(placed.values()))]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{index} is no index of shards: get it again") from error
    missing = [shard.name for shard in shards if not shard.is_file()]
    if missing:
        raise ModelError(f"{path.parent} is half there, get it again: no {_shorten(missing)}")
    return shards


def num_bytes(model: LightSeekOCR, dtype: torch.dtype) -> int:
    """Memory that the tensors of a model take."""
    return sum(tensor.numel() for tensor in model.state_dict().values()) * dtype.itemsize


def check_memory(model: LightSeekOCR, *, device: torch.device, dtype: torch.dtype) -> None:
    """Compare what the weights need with what is free.

    Raises:
        ModelError: If it does not suffice, before anything is loaded.
    """
    needed, free = num_bytes(model, dtype), free_memory(device)
    if free is not None and needed > free:
        raise ModelError(
            f"{model.config.name} needs {needed / 1e9:.1f} GB for its weights in "
            f"{str(dtype).removeprefix('torch.')}, and {device} has {free / 1e9:.1f} GB free: "
            "close other programs, or choose another device or a smaller dtype"
        )


def free_memory(device: torch.device) -> int | None:
    """Bytes that can be had on a device; none where it does not say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    try:
        for line in MEMINFO.read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:  # there is no such file but on Linux
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def check_shapes(
    wanted: dict[str, tuple[int, ...]], found: dict[str, tuple[int, ...]], *, source: str
) -> None:
    """Compare names and shapes.

    Raises:
        ModelError: Naming all tensors that are missing, unexpected or of another shape.
    """
    missing = [name for name in wanted if name not in found]
    unexpected = [name for name in found if name not in wanted]
    misshapen = [
        f"{name} is {list(found[name])}, wanted {list(shape)}"
        for name, shape in wanted.items()
        if name in found and found[name] != shape
    ]
    kinds = {"missing": missing, "unexpected": unexpected, "misshapen": misshapen}
    faults = [f"{kind}: {_shorten(names)}" for kind, names in kinds.items() if names]
    if faults:
        raise ModelError(f"{source} does not fit its config: {'; '.join(faults)}")


def _shorten(names: list[str], limit: int = 5) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def save_model(folder: Path, model: LightSeekOCR, tokenizer: Tokenizer) -> None:
    """Write a model folder in bfloat16, whole or not at all.

    Raises:
        UsageError: If the model has adapters, which a folder has no place for.
    """
    if has_adapters(model):
        raise UsageError("adapters are saved by save_adapters, or merged before the model is saved")
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {
        name: tensor.detach().to("cpu", torch.bfloat16).contiguous()
        for name, tensor in model.state_dict().items()
    }
    # written beside and moved: a killed run leaves the old model
    unfinished = {name: folder / f"{name}.unfinished" for name in (CONFIG, TOKENIZER, WEIGHTS)}
    unfinished[CONFIG].write_text(model.config.to_json(), encoding="utf-8")
    tokenizer.save(unfinished[TOKENIZER])
    if settings := tokenizer.settings():
        unfinished[SETTINGS] = folder / f"{SETTINGS}.unfinished"
        unfinished[SETTINGS].write_text(settings, encoding="utf-8")
    save_file(tensors, unfinished[WEIGHTS])
    for name, path in unfinished.items():
        path.replace(folder / name)
