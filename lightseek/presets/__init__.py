"""The sizes of named models, a TOML file each, and of one's own that are like them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightseek.config import ModelConfig, read_toml, validate
from lightseek.errors import ModelError, UsageError

PRESETS, _TOML = Path(__file__).parent, ".toml"


def preset_names() -> list[str]:
    """Names that `preset` knows."""
    return sorted(path.stem for path in PRESETS.glob(f"*{_TOML}"))


def names_preset(name: str) -> bool:
    """Whether `preset` takes it for the sizes of a model, rather than for a model."""
    return name in preset_names() or name.endswith(_TOML)


def preset(name: str) -> ModelConfig:
    """The sizes of a named model, or of one's own.

    Args:
        name: A preset, or the path of a TOML file like those of the presets. Such a file may say
            `like = "nano"`, and then only what differs.

    Raises:
        UsageError: If there is no such preset, or a file of one's own is no TOML.
        ModelError: If its sizes are not those of a model.
    """
    data = {"name": Path(name).stem if name.endswith(_TOML) else name, **preset_data(name)}
    return validate(ModelConfig, data, source=f"preset {name}")


def preset_data(name: str, seen: tuple[str, ...] = ()) -> dict[str, Any]:
    """What the file of a preset says, over what the preset that it is `like` says."""
    if not names_preset(name):
        raise UsageError(
            f"no preset {name!r}: choose one of {', '.join(preset_names())}, or name a TOML file"
        )
    own = read_toml(Path(name) if name.endswith(_TOML) else PRESETS / f"{name}{_TOML}")
    like = liked(name, own)
    own.pop("like", None)
    if like in (name, *seen):
        raise ModelError(f"{name} is like {like!r}: name a preset, or a file that is not like it")
    return own if like is None else _overlaid(preset_data(like, (name, *seen)), own)


def liked(name: str, data: Mapping[str, Any]) -> str | None:
    """The preset, or the file beside it, that the file of a preset is `like`.

    Raises:
        ModelError: If `like` is no name.
    """
    like = data.get("like")
    if not isinstance(like, str | None):
        raise ModelError(f"{name} is like {like!r}: name a preset, or a file that is not like it")
    return str(Path(name).parent / like) if like is not None and like.endswith(_TOML) else like


def _overlaid(data: Any, own: Any) -> Any:
    """What `own` says, table by table, over what `data` says; `false` leaves a size or part out."""
    if not (isinstance(data, dict) and isinstance(own, dict)):
        return own
    out = {k for k, value in own.items() if value is False and not isinstance(data.get(k), bool)}
    laid = {key: _overlaid(data.get(key), value) for key, value in own.items()}
    return {key: value for key, value in (data | laid).items() if key not in out}
