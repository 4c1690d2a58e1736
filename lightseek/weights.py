"""Model folders: `config.json`, `tokenizer.json`, `model.safetensors`, in and out.

Only safetensors: weights are data. Tensors are memory-mapped and cast one by one on their way to
the device. Every tensor that is missing, unexpected or of another shape is named in one error.
"""

from collections.abc import Iterable
from importlib import resources
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lightseek.config import load_config
from lightseek.errors import ModelError
from lightseek.model import LightSeekOCR
from lightseek.tokenizer import Tokenizer

CONFIG, TOKENIZER, WEIGHTS = "config.json", "tokenizer.json", "model.safetensors"
SHIPPED = ("nano",)
"""Models whose weights are inside the package."""


def find_model(name: str | Path) -> Path:
    """The folder of a shipped model, or a folder as given.

    Raises:
        ModelError: If there is no such folder.
    """
    if str(name) in SHIPPED:
        return Path(str(resources.files("lightseek"))) / "assets" / str(name)
    folder = Path(name)
    if not folder.is_dir():
        raise ModelError(
            f"no model {name}: give one of {', '.join(SHIPPED)} or a folder with {CONFIG}"
        )
    return folder


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
        name: A shipped model or a folder.
        device: Where the weights go.
        dtype: What they are cast to.

    Raises:
        ModelError: If a file is missing or broken, or tensors do not fit the config.
    """
    folder = find_model(name)
    config = load_config(folder / CONFIG)
    tokenizer = Tokenizer.from_file(folder / TOKENIZER)
    if len(tokenizer) != config.decoder.vocab_size:
        raise ModelError(
            f"{folder / TOKENIZER} has {len(tokenizer)} tokens, the model "
            f"{config.decoder.vocab_size}: it belongs to another model"
        )
    with torch.device("meta"):
        model = LightSeekOCR(config)
    load_weights(model, folder / WEIGHTS, device=device, dtype=dtype)
    return model.eval(), tokenizer


def load_weights(
    model: LightSeekOCR, path: Path, *, device: torch.device, dtype: torch.dtype
) -> None:
    """Replace every parameter by the tensor of its name.

    Raises:
        ModelError: If the file is missing or broken, or any name or shape differs.
    """
    if not path.is_file():
        raise ModelError(f"{path.parent} has no weights: {path.name} is missing")
    try:
        with safe_open(path, framework="pt") as file:
            wanted = {name: tuple(p.shape) for name, p in model.state_dict().items()}
            found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - not a dict
            check_shapes(wanted, found, source=str(path))
            tensors = {n: file.get_tensor(n).to(device=device, dtype=dtype) for n in wanted}
    except SafetensorError as error:
        raise ModelError(f"{path} is broken or cut off, get it again: {error}") from error
    model.load_state_dict(tensors, assign=True)


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
    faults = [
        f"{kind}: {_shorten(names)}"
        for kind, names in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("misshapen", misshapen),
        )
        if names
    ]
    if faults:
        raise ModelError(f"{source} does not fit its config: {'; '.join(faults)}")


def _shorten(names: Iterable[str], limit: int = 5) -> str:
    listed = list(names)
    more = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(listed[:limit]) + more


def save_model(folder: Path, model: LightSeekOCR, tokenizer: Tokenizer) -> None:
    """Write a model folder in bfloat16, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {
        name: tensor.detach().to("cpu", torch.bfloat16).contiguous()
        for name, tensor in model.state_dict().items()
    }
    # written beside and moved: a killed run leaves the old model
    unfinished = {name: folder / f"{name}.unfinished" for name in (CONFIG, TOKENIZER, WEIGHTS)}
    unfinished[CONFIG].write_text(model.config.to_json(), encoding="utf-8")
    tokenizer.save(unfinished[TOKENIZER])
    save_file(tensors, unfinished[WEIGHTS])
    for name, path in unfinished.items():
        path.replace(folder / name)
