"""What commands show on stderr: bars, notes and complaints; and how they load a model."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

if TYPE_CHECKING:
    from lightseek.ocr import OCR


def whole_prompt(context: object, option: object, value: str | None) -> str | None:
    """A prompt in full: known to be one before a model is loaded.

    In the quotes of a shell, a line end is a backslash and an n.
    """
    from lightseek.grounding import find_prompt

    return None if value is None else find_prompt(value.replace(r"\n", "\n"))


def load_reader(model: str, device: str | None, dtype: str | None = None) -> "OCR":
    """Load a model, with a note that it takes a moment."""
    console = Console(stderr=True)
    with console.status(Text(f"loading {model}")):
        import torch

        from lightseek.ocr import OCR

        return OCR(model, device=device, dtype=getattr(torch, dtype) if dtype else None)


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A bar on stderr, none where nobody looks."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    bar = Progress(
        *columns,
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with bar:
        yield bar


def complain(console: Console, message: str, colour: str) -> None:
    """One line, as it is."""
    console.print(message, style=colour, highlight=False, markup=False, soft_wrap=True)
