"""What can go wrong, said in one line with its cure.

    LightSeekError
    ├── UsageError          the call asks for something that does not exist
    ├── PageError           a file or one of its pages cannot be read
    ├── DataError           a data set, or a row of it, cannot be used
    ├── ModelError          a model folder, its config, tokenizer or weights do not fit
    ├── MissingExtraError   an optional dependency is not installed
    └── Interrupted         a run was asked to end, and what it has done is kept

The command line prints the message of a LightSeekError and no traceback.
"""

from importlib import import_module
from types import ModuleType


class LightSeekError(Exception):
    """A mistake that the user can cure; the message says how."""


class UsageError(LightSeekError):
    """The call asks for something that does not exist."""


class PageError(LightSeekError):
    """A file or one of its pages cannot be read."""


class DataError(LightSeekError):
    """A data set, or a row of it, cannot be used."""


class ModelError(LightSeekError):
    """A model folder, its config, tokenizer or weights do not fit."""


class MissingExtraError(LightSeekError):
    """An optional dependency is not installed."""


class Interrupted(LightSeekError):
    """A run was asked to end, and what it has done is kept."""

    def __init__(self, kept: str = "what is done is saved") -> None:
        super().__init__(f"interrupted: {kept}, and the same command goes on")


def require(module: str, *, extra: str) -> ModuleType:
    """Import an optional dependency, or say which extra brings it.

    Args:
        module: Name to import.
        extra: Extra of this distribution that installs it.

    Raises:
        MissingExtraError: If the module is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as missing:
        raise MissingExtraError(
            f"{missing.name} is not installed: where lightseek came from, pip install '.[{extra}]'"
        ) from missing
