"""Model folders: `config.json`, `tokenizer.json`, `model.safetensors`, in and out.

Our own, and those of the official family, of one file or in shards, on disk or on the hub. Only
safetensors: weights are data. Tensors are memory-mapped and cast one by one on their way to the
device. Tensors that are missing, unexpected or of another shape are told in one error, by name.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lightseek.config import LanguageConfig, ModelConfig, load_config
from lightseek.errors import ModelError, UsageError
from lightseek.hub import ONLINE, fetch
from lightseek.linear import int8_tensors, pack_int8
from lightseek.lora import ADAPTERS, has_adapters, load_adapters, merge_adapters, read_settings
from lightseek.lora import SETTINGS as ADAPTED
from lightseek.memory import free_memory
from lightseek.model import LightSeekOCR
from lightseek.names import UNREAD, names_in_file
from lightseek.official import Official, find_official
from lightseek.presets import names_preset
from lightseek.shards import (
    Header,
    check_shapes,
    find_shards,
    has_shards,
    hash_files,
    open_shard,
    read_headers,
    sample_files,
    write_file,
)
from lightseek.tokenizer import SETTINGS, Tokenizer
from lightseek.whole import written_whole

CONFIG, TOKENIZER, WEIGHTS = "config.json", "tokenizer.json", "model.safetensors"
SHIPPED = ("nano",)
"""Models whose weights are inside the package."""

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
HUB_CARD = (CONFIG, TOKENIZER, SETTINGS, ADAPTED, f"{WEIGHTS}.index.json")
HUB_FILES = (*HUB_CARD, "*.safetensors")


def find_model(name: str | Path, *, hub_files: Sequence[str] = HUB_FILES) -> Path:
    """The folder of a shipped model, a folder as given, or that of a hub id, fetched if need be.

    Args:
        name: Of the model.
        hub_files: What is fetched from the hub.

    Raises:
        ModelError: If there is no such model.
    """
    if str(name) in SHIPPED:
        return Path(str(resources.files("lightseek"))) / "assets" / str(name)
    known = f"one of {', '.join(SHIPPED)}, a folder with {CONFIG}, or a hub id such as"
    return find_folder(name, hub_files, give=f"{known} deepseek-ai/DeepSeek-OCR")


def find_folder(name: str | Path, hub_files: Sequence[str], *, give: str) -> Path:
    """A folder as given, or that of a hub id, fetched if need be.

    Raises:
        ModelError: If there is neither, with what to give in its place.
    """
    folder = Path(name)
    if folder.is_dir():
        return folder
    if is_hub_id(name):
        return fetch(str(name), hub_files)
    here = f" in the folder {folder.parent} of this machine" if folder.parent != Path() else ""
    raise ModelError(f"no model {name}{here}: give {give}")


def is_empty_preset(name: str | Path) -> bool:
    """Whether a name is that of a preset without weights, and of no folder."""
    return names_preset(str(name)) and str(name) not in SHIPPED and not Path(name).is_dir()


def is_hub_id(name: str | Path) -> bool:
    """Whether a name is that of no folder, and could be one on the hub."""
    folder = Path(name)
    told = HUB_ID.fullmatch(str(name)) is not None
    return told and not folder.is_dir() and not folder.parent.is_dir()


def default_device() -> torch.device:
    """CUDA, else Apple's GPU, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def find_device(name: str | torch.device | None) -> torch.device:
    """A device by its name; without one, that of `default_device`.

    Raises:
        UsageError: If this machine has none of that name.
    """
    if name is None:
        return default_device()
    try:
        # a number that comes back: the device meta has none, and can be made anywhere
        torch.ones((), device=name).item()
    # torch asserts that it was built with CUDA, and imports what other devices need
    except (RuntimeError, AssertionError, ImportError) as error:
        cure = f"leave it out for {default_device().type}"
        raise UsageError(f"no device {name} on this machine: {cure}") from error
    return torch.empty(0, device=name).device


def default_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device multiplies it natively, float32 elsewhere."""
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if native else torch.float32
    if device.type == "cpu" and torch.cpu._is_avx512_bf16_supported():
        return torch.bfloat16
    return torch.float32


def load_model(
    name: str | Path, *, device: torch.device, dtype: torch.dtype
) -> tuple[LightSeekOCR, Tokenizer]:
    """Load a model folder, ready to read; one that holds adapters, with the model of these.

    Args:
        name: A shipped model, a folder, or a hub id.
        device: Where the weights go.
        dtype: What they are cast to.

    Raises:
        ModelError: If a file is missing or broken, tensors do not fit the config, or the memory of
            the device is too small.
    """
    folder = find_model(name, hub_files=HUB_CARD)
    if (folder / ADAPTED).is_file():
        return _load_adapted(find_model(name), device=device, dtype=dtype)
    config, official = read_config(folder)
    tokenizer = Tokenizer.from_folder(folder)
    check_tokenizer(tokenizer, config, official, source=folder / TOKENIZER)
    model = empty_model(config)
    check_memory(model, device=device, dtype=dtype)
    if is_hub_id(name):  # gigabytes that are fetched only for a model that can be read
        folder = find_model(name)
        if not has_shards(folder / WEIGHTS):
            raise ModelError(f"{name} has no {WEIGHTS} in the cache: {ONLINE}")
    names = names_in_file(official=official is not None)
    load_weights(model, folder / WEIGHTS, device=device, dtype=dtype, name_in_file=names)
    # what a language model computes by itself is in no file
    return model.to(device).eval(), tokenizer


def _load_adapted(
    folder: Path, *, device: torch.device, dtype: torch.dtype
) -> tuple[LightSeekOCR, Tokenizer]:
    settings = read_settings(folder)
    base = settings.base
    try:
        model, tokenizer = load_model(base, device=device, dtype=dtype)
    except ModelError as error:
        raise ModelError(f"{folder} holds adapters of {base}: {error}") from error
    if settings.base_sample not in (None, sample_model(base)):
        raise ModelError(f"{folder} holds adapters of {base} as it was: it has other weights now")
    load_adapters(folder, model)
    merge_adapters(model)
    return model.eval(), tokenizer


def lasting_name(name: str | Path) -> str:
    """What `find_model` finds a model by, whatever folder it is called from."""
    folder = Path(name)
    return str(name if str(name) in SHIPPED or not folder.is_dir() else folder.resolve())


def sample_model(name: str | Path) -> str:
    """A hash of some of the weights: whether they are the same, without reading all of them."""
    folder = find_model(name)
    is_adapted = (folder / ADAPTED).is_file()
    return sample_files(find_shards(folder / (ADAPTERS if is_adapted else WEIGHTS)))


def hash_model(name: str | Path) -> str:
    """A hash of weights, sizes and tokenizer, whatever folder they lie in; of adapters, of all.

    Raises:
        ModelError: If there is no such model.
    """
    folder = find_model(name)
    if (folder / ADAPTED).is_file():
        base = hash_model(read_settings(folder).base)
        return hash_files([folder / ADAPTED, folder / ADAPTERS], base)
    return hash_files([folder / CONFIG, folder / TOKENIZER, *find_shards(folder / WEIGHTS)])


def read_config(folder: Path) -> tuple[ModelConfig, Official | None]:
    """The sizes of a model folder, and what else an official one says.

    Raises:
        ModelError: If it has no config that can be read, as where it holds adapters alone.
    """
    if (folder / ADAPTED).is_file():
        base = read_settings(folder).base
        raise ModelError(f"{folder} holds adapters of {base} and no model: give {base}")
    official = find_official(folder / CONFIG)
    return official.config if official else load_config(folder / CONFIG), official


def empty_model(config: ModelConfig) -> LightSeekOCR:
    """A model whose tensors have shapes and no memory."""
    with torch.device("meta"), _NoValues():
        return LightSeekOCR(config)


class _NoValues(TorchFunctionMode):
    """Draws no random numbers: a tensor without memory holds none, and torch loads much for it."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if function in (nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_):
            return given["tensor"]
        return function(*args, **given)


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
        if found not in wanted:
            raise ModelError(
                f"{source} has the {kind} token at {found}, the model at "
                f"{' or '.join(map(str, wanted))}: it belongs to another model"
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
    read_headers_of(model, path, name_in_file=name_in_file)
    names = {name_in_file(name): name for name in model.state_dict()}
    kept = int8_tensors(model)
    for file in find_shards(path):
        with open_shard(file) as shard:
            # one by one: what is cast, moved or packed is never in memory twice; a copy of what is
            # neither lets go of the file beside it
            tensors = {
                names[name]: shard.get_tensor(name).to(
                    device=device,
                    dtype=None if names[name] in kept else dtype,
                    copy=bool(kept) and names[name] not in kept,
                )
                for name in shard.keys()  # noqa: SIM118 - not a dict
                if name in names
            }
            model.load_state_dict(tensors, strict=False, assign=True)
        del tensors
        pack_int8(model)


def read_headers_of(
    model: LightSeekOCR, path: Path, *, name_in_file: Callable[[str], str] = str
) -> dict[str, Header]:
    """What files say of each tensor of a model, by our name; arguments as for `load_weights`.

    Raises:
        ModelError: If a file is missing or broken, or any name or shape differs.
    """
    shards = find_shards(path)
    found = {name: header for file in shards for name, header in read_headers(file).items()}
    source = str(path if len(shards) == 1 else path.parent)
    return match_headers(model, found, source=source, name_in_file=name_in_file)


def match_headers(
    model: LightSeekOCR,
    found: dict[str, Header],
    *,
    source: str,
    name_in_file: Callable[[str], str] = str,
) -> dict[str, Header]:
    """The headers of each tensor of a model, by our name.

    Args:
        model: As for `load_weights`.
        found: By the name in the file.
        source: Of the headers, for errors.
        name_in_file: As for `load_weights`.

    Raises:
        ModelError: If any name or shape differs.
    """
    tensors = model.state_dict()
    wanted = {name_in_file(name): tuple(tensor.shape) for name, tensor in tensors.items()}
    for unread in UNREAD - wanted.keys():
        found.pop(unread, None)
    shapes = {name: header.shape for name, header in found.items()}
    check_shapes(wanted, shapes, source=source)
    return {name: found[name_in_file(name)] for name in tensors}


def num_bytes(model: LightSeekOCR, dtype: torch.dtype) -> int:
    """Memory that the tensors of a model take."""
    return sum(tensor_bytes(model, dtype).values())


def tensor_bytes(model: LightSeekOCR, dtype: torch.dtype) -> dict[str, int]:
    """Memory that each tensor takes, all but those in 8 bits in one dtype."""
    kept = int8_tensors(model)
    return {
        name: tensor.numel() * (tensor.dtype if name in kept else dtype).itemsize
        for name, tensor in model.state_dict().items()
    }


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
            "close other programs, choose another device or a smaller dtype, or quantize the model"
        )


def save_model(folder: Path, model: LightSeekOCR, tokenizer: Tokenizer) -> None:
    """Write a model folder in bfloat16; what was there before goes when all of it is written.

    Raises:
        UsageError: If the model has adapters, which a folder has no place for, or is in 8 bits,
            which are packed for this machine.
    """
    if has_adapters(model):
        raise UsageError("adapters are saved by save_adapters, or merged before the model is saved")
    if model.config.int8:
        raise UsageError("a model in 8 bits is written by lightseek quantize: save it before that")
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {
        name: tensor.detach().to("cpu", torch.bfloat16).contiguous()
        for name, tensor in model.state_dict().items()
    }
    settings = tokenizer.settings()
    kept = (WEIGHTS, TOKENIZER, CONFIG, *([SETTINGS] if settings else []))
    with written_whole(*(folder / name for name in kept)) as (weights, words, sizes, *names):
        write_file(weights, tensors)
        tokenizer.save(words)
        sizes.write_text(model.config.to_json(), encoding="utf-8")
        for file in names:
            file.write_text(settings or "", encoding="utf-8")
    # of a run before: names of other tokens, and adapters that would be added to these weights
    for name in {SETTINGS, ADAPTED, ADAPTERS}.difference(kept):
        (folder / name).unlink(missing_ok=True)
