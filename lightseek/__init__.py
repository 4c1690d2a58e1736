"""LightSeek-OCR: a page goes in, its text comes out.

>>> from lightseek import OCR
>>> OCR().read("page.pdf").markdown  # doctest: +SKIP
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from lightseek.document import Box, Document, Line, Page, Region, Status, Word
from lightseek.errors import LightSeekError

if TYPE_CHECKING:
    from lightseek.decoder import DeepDecoder
    from lightseek.encoder import DeepEncoder
    from lightseek.model import LightSeekOCR
    from lightseek.ocr import OCR

__version__ = "0.1.0"

__all__ = [
    "OCR",
    "Box",
    "DeepDecoder",
    "DeepEncoder",
    "Document",
    "LightSeekError",
    "LightSeekOCR",
    "Line",
    "Page",
    "Region",
    "Status",
    "Word",
]

# read when torch is imported: threads that wait spin for a while only, or a busy machine would take
# many times as long for a page
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

_HOMES = {
    "OCR": "lightseek.ocr",
    "DeepDecoder": "lightseek.decoder",
    "DeepEncoder": "lightseek.encoder",
    "LightSeekOCR": "lightseek.model",
}
"""Modules of the names that need torch."""


def __getattr__(name: str) -> Any:
    # torch takes seconds to import: `lightseek --help` and reading a document need none of it
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'lightseek' has no attribute {name!r}")
