"""LightSeek-OCR: a page goes in, its text comes out.

>>> from lightseek import OCR
>>> OCR().read("page.pdf").markdown  # doctest: +SKIP
"""

from typing import TYPE_CHECKING, Any

from lightseek.document import Box, Document, Line, Page, Region, Status, Word
from lightseek.errors import LightSeekError

if TYPE_CHECKING:
    from lightseek.ocr import OCR

__version__ = "0.1.0"

__all__ = ["OCR", "Box", "Document", "LightSeekError", "Line", "Page", "Region", "Status", "Word"]


def __getattr__(name: str) -> Any:
    # torch takes seconds to import: `lightseek --help` and reading a document need none of it
    if name == "OCR":
        from lightseek.ocr import OCR

        return OCR
    raise AttributeError(f"module 'lightseek' has no attribute {name!r}")
