"""What was published on optical compression, as data.

DeepSeek-OCR (arXiv 2510.18234), Table 2: English pages of the Fox benchmark, parted by their number
of text tokens (a vocabulary of about 129 thousand), read in two modes with `Free OCR.`
Compression is text tokens over visual tokens.
"""

from typing import NamedTuple


class FoxRow(NamedTuple):
    """Pages of so many text tokens."""

    text_tokens: tuple[int, int]
    """From, and up to."""
    tiny_precision: float
    """With 64 visual tokens."""
    tiny_compression: float
    small_precision: float
    """With 100 visual tokens."""
    small_compression: float
    pages: int


FOX = (
    FoxRow((600, 700), 0.965, 10.5, 0.985, 6.7, 7),
    FoxRow((700, 800), 0.938, 11.8, 0.973, 7.5, 28),
    FoxRow((800, 900), 0.838, 13.2, 0.968, 8.5, 28),
    FoxRow((900, 1000), 0.859, 15.1, 0.968, 9.7, 14),
    FoxRow((1000, 1100), 0.793, 16.5, 0.915, 10.6, 11),
    FoxRow((1100, 1200), 0.764, 17.7, 0.898, 11.3, 8),
    FoxRow((1200, 1300), 0.591, 19.7, 0.871, 12.6, 4),
)
