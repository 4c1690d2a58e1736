"""From a file to its pages: a path, bytes, an image or an array in, upright RGB images out, lazily.

What a file is, its first bytes say and never its name. Knows nothing of views, models or text.
"""

import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from lightseek.colours import MAX_PIXELS, image_of, upright_rgb
from lightseek.errors import PageError, UsageError

DEFAULT_DPI = 200
"""At which pages of PDFs are rendered unless told otherwise."""
# Those that Pillow has at hand come first: looking for another imports all its plugins.
_IMAGE_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP", "JPEG2000")
SUFFIX = re.compile(
    r"\.(a?png|jpe|jpe?g|jfif|mpo|bmp|gif|p[bgpn]m|tiff?|webp|jp2|j2[kc]|jp[cfx]|pdf)", re.I
)
"""What files in a folder are taken by; one that is named is read whatever it is called."""
_SUBFILE_TYPE, _IS_REDUCED = 254, 1
"""A tag of TIFF, and its bit that says so."""
_HEAD_BYTES, _PAGES_AN_OPENING = 1024, 16
_PAGE_RANGE = re.compile(r"(?=.*\d)\s*(\d{1,9})?\s*(?:(-)\s*(\d{1,9})?)?\s*", re.ASCII)
_DECODERS = threading.RLock()

Source: TypeAlias = str | Path | bytes | Image.Image | np.ndarray
"""A path (`-` is standard input), the bytes of a file, an image, or pixels as an array."""


@dataclass(frozen=True, slots=True)
class PageImage:
    """One sheet in pixels."""

    image: Image.Image
    """Upright, mode RGB."""
    source: str
    """What messages call its file."""
    number: int
    """Place in its source, from 1."""


@dataclass(frozen=True, slots=True)
class UnreadablePage:
    """A sheet that is there but cannot be rendered."""

    source: str
    """What messages call its file."""
    number: int
    """Place in its source, from 1."""
    reason: str
    """What is wrong and how to cure it, in one line."""


@dataclass(frozen=True, slots=True)
class Pages:
    """The chosen pages of one source: counted already, rendered one at a time.

    Keeps no file open. Each iteration opens the source, holds one page, and closes the source when
    it ends or is dropped.
    """

    source: str
    """What messages call it: a path as given, `<stdin>`, `<bytes>`, `<image>` or `<array>`."""
    numbers: Sequence[int]
    """The chosen pages, ascending, from 1."""
    _open: "Callable[[], _Book]" = field(repr=False)

    def __len__(self) -> int:
        """Number of chosen pages."""
        return len(self.numbers)

    def __iter__(self) -> Iterator[PageImage | UnreadablePage]:
        """Each page in order; one that cannot be rendered does not stop the others.

        Raises:
            PageError: If the file is gone or was replaced since it was counted.
        """
        with _decoders():
            book = self._open()
        try:
            for number in self.numbers:
                yield _render(book, self.source, number)
        finally:
            with _decoders():
                book.close()


def open_pages(
    source: Source, *, dpi: int = DEFAULT_DPI, pages: str | None = None, password: str | None = None
) -> Pages:
    """Find the pages of a file without rendering any.

    PDF and TIFF may have many pages; of an animation the first picture is the page.

    Args:
        source: A path, `-` for standard input, the bytes of a file, an image, or an array: height x
            width (x 1, 3 for RGB, 4 for RGBA) of bool, uint8, uint16, or floats from 0 to 1.
        dpi: Dots per inch at which PDF pages are rendered; less where a page would pass MAX_PIXELS.
        pages: Those to take, such as `1-3,7`, `5-` (to the end) or `-2` (up to 2); None is all.
        password: Opens an encrypted PDF.

    Raises:
        PageError: If the source cannot be opened as a whole or has no such pages.
        UsageError: If an argument makes no sense for any file.
    """
    if dpi < 1:
        raise UsageError(f"{dpi} dpi cannot be rendered: {DEFAULT_DPI} suits most pages")
    name, open_book = _find(source, dpi=dpi, password=password)
    with _decoders():
        book = open_book()
        try:
            num_pages = book.num_pages()
        finally:
            book.close()
    numbers: Sequence[int] = range(1, num_pages + 1)
    if pages is not None:
        numbers = parse_page_range(pages, num_pages, source=name)
    return Pages(name, numbers, open_book)


def page_ranges(text: str) -> list[tuple[str, str, str]]:
    """The parts of a text such as `1-3,7` or `5-`: a number, a dash and a number, some missing.

    Raises:
        UsageError: If it chooses pages of no file.
    """
    found = [_PAGE_RANGE.fullmatch(part) for part in text.split(",")]
    parts = [match.groups(default="") for match in found if match is not None]
    if len(parts) < len(found):
        raise UsageError(f"{text!r} names no pages: write for example 1-3,7 or 5-")
    for start, dash, stop in parts:
        if not 1 <= int(start or 1) <= int(stop or start or 1):
            raise UsageError(f"'{start}{dash}{stop}' names no pages: they count up from 1")
    return [(start, dash, stop) for start, dash, stop in parts]


def parse_page_range(text: str, num_pages: int, *, source: str = "the file") -> list[int]:
    """The pages that a text such as `1-3,7`, `5-` or `-2` chooses: ascending, each once, from 1.

    Raises:
        PageError: If it asks for a page that the source does not have.
        UsageError: If it is not such a text.
    """
    chosen: set[int] = set()
    for start, dash, stop in page_ranges(text):
        first = int(start or 1)
        last = int(stop or (num_pages if dash else first))
        last = min(last, num_pages) if dash and not start else last
        if (outside := max(first, last)) > num_pages:
            there = f"{num_pages} page{'s' * (num_pages != 1)}: ask for fewer, or write 1- for all"
            raise PageError(f"page {outside} asked for, but {source} has {there}")
        chosen.update(range(first, last + 1))
    return sorted(chosen)


def source_name(source: Source) -> str:
    """What messages call it: a path as given, `<stdin>`, `<bytes>`, `<image>` or `<array>`."""
    if isinstance(source, str | Path):
        return "<stdin>" if source == "-" else str(source)
    if isinstance(source, bytes):
        return "<bytes>"
    return "<image>" if isinstance(source, Image.Image) else "<array>"


def _find(source: Source, *, dpi: int, password: str | None) -> "tuple[str, Callable[[], _Book]]":
    """What to call the source, and how to open it."""
    name = source_name(source)
    if isinstance(source, np.ndarray):
        return name, partial(_Picture, image_of(source))
    if isinstance(source, Image.Image):
        return name, partial(_Picture, source)
    data: Path | bytes
    if isinstance(source, bytes):
        data, head = source, source[:_HEAD_BYTES]
    elif source == "-":
        data = sys.stdin.buffer.read() if sys.stdin else b""
        head = data[:_HEAD_BYTES]
    else:
        data, head = _look_into(Path(source))
    if not head:
        raise PageError(f"{name} is empty: copy or export it again")
    if b"%PDF-" in head:
        return name, partial(_Pdf, data, name, dpi, password)
    return name, partial(_ImageFile, data, name)


def _look_into(path: Path) -> tuple[Path | bytes, bytes]:
    """The path of a file, or the bytes of a pipe, which flow only once; and the first of them."""
    try:
        if not path.is_file():
            data = path.read_bytes()
            return data, data[:_HEAD_BYTES]
        with path.open("rb") as file:
            return path, file.read(_HEAD_BYTES)
    except FileNotFoundError as error:
        raise PageError(f"{path} does not exist: check its name and folder") from error
    except IsADirectoryError as error:
        raise PageError(f"{path} is a folder: name the files in it") from error
    except (OSError, ValueError) as error:
        raise PageError(f"{path} cannot be opened: {_one_line(error)}") from error


class _Pdf:
    """An open PDF."""

    def __init__(self, data: Path | bytes, name: str, dpi: int, password: str | None) -> None:
        self._open = partial(_open_pdf, data, name, password)
        self._document = self._open()
        self._num_rendered = 0
        self._dpi = dpi

    def num_pages(self) -> int:
        return len(self._document)

    def render(self, number: int) -> Image.Image:
        # PDFium keeps what it has read of a file until that is closed: all of it in the end.
        if self._num_rendered == _PAGES_AN_OPENING:
            self._document.close()
            self._document, self._num_rendered = self._open(), 0
        self._num_rendered += 1
        page = self._document[number - 1]
        try:
            width, height = page.get_size()
            if not width * height:
                raise PageError("the page has no area: correct its crop box or print it anew")
            scale = min(self._dpi / 72, (MAX_PIXELS / (width * height)) ** 0.5)
            image: Image.Image = page.render(scale=scale).to_pil()
            if _is_blank(image):
                _check_images(page)
        finally:
            page.close()
        return image

    def close(self) -> None:
        self._document.close()


def _is_blank(image: Image.Image) -> bool:
    """Whether all pixels are of one colour."""
    return all(len(set(band.getextrema())) == 1 for band in image.split())


def _check_images(page: Any) -> None:
    """Find out why nothing is drawn: PDFium passes over images that it cannot decode.

    Raises:
        PageError: If the page has such an image.
    """
    import pypdfium2

    for image in page.get_objects(filter=[pypdfium2.raw.FPDF_PAGEOBJ_IMAGE]):
        try:
            image.get_bitmap()
        except pypdfium2.PdfiumError as error:
            raise PageError(
                "the image on the page is damaged: export, scan or copy it again"
            ) from error


def _open_pdf(data: Path | bytes, name: str, password: str | None) -> Any:
    import pypdfium2  # it takes a tenth of a second, which images need not wait for

    try:
        document = pypdfium2.PdfDocument(data, password)
        document.init_forms()  # or the text in filled-in fields would not be drawn
    except (pypdfium2.PdfiumError, OSError) as error:
        if getattr(error, "err_code", None) != pypdfium2.raw.FPDF_ERR_PASSWORD:
            cure = "the PDF is damaged, without pages or gone: export or copy it again"
        elif password is None:
            cure = "it is encrypted: give its password"
        else:
            cure = "the password does not open it: check the password"
        raise PageError(f"{name} cannot be opened: {cure}") from error
    return document


class _ImageFile:
    """An open image file."""

    def __init__(self, data: Path | bytes, name: str) -> None:
        file = data if isinstance(data, Path) else BytesIO(data)
        try:
            self._image = Image.open(file, formats=_IMAGE_FORMATS)
        except Exception as error:  # damaged headers make Pillow raise anything
            raise PageError(
                f"{name} cannot be opened: it is no PDF, PNG, JPEG, TIFF, WebP, BMP, GIF, PNM or "
                "JPEG 2000, or it is cut off; convert it to one of these or copy it again"
            ) from error

    def num_pages(self) -> int:
        return len(self._frames)

    @cached_property
    def _frames(self) -> list[int]:
        """Numbers of the pictures that are pages."""
        if self._image.format != "TIFF":
            return [0]
        frames: list[int] = []
        width = 0
        for index in count():
            try:
                self._image.seek(index)
                kind = self._image.tag_v2.get(_SUBFILE_TYPE, 0)  # type: ignore[attr-defined]
            except EOFError:
                break
            except Exception:  # a damaged page, beyond which none can be found, counts too
                return [*frames, index]
            reduced = isinstance(kind, int) and kind & _IS_REDUCED
            # the page before again, made smaller, is none
            if not (frames and reduced and self._image.width < width):
                frames.append(index)
                width = self._image.width
        return frames

    def render(self, number: int) -> Image.Image:
        self._image.seek(self._frames[number - 1])
        return upright_rgb(self._image)

    def close(self) -> None:
        self._image.close()


class _Picture:
    """An image that the caller has in memory and keeps."""

    def __init__(self, image: Image.Image) -> None:
        self._image = image

    def num_pages(self) -> int:
        return 1

    def render(self, number: int) -> Image.Image:
        return upright_rgb(self._image)

    def close(self) -> None:
        pass


_Book: TypeAlias = _Pdf | _ImageFile | _Picture


@contextmanager
def _decoders() -> Iterator[None]:
    """Pillow and PDFium as we need them, for one thread at a time, which PDFium demands.

    Pillow's own limit on pixels, a global, makes way for MAX_PIXELS, and what it warns of is
    either harmless or ends as the reason of an UnreadablePage.
    """
    with _DECODERS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _render(book: _Book, source: str, number: int) -> PageImage | UnreadablePage:
    """One page, or why there is none."""
    try:
        with _decoders():
            return PageImage(book.render(number), source, number)
    except PageError as refusal:
        return UnreadablePage(source, number, str(refusal))
    except MemoryError:
        reason = "memory does not suffice for its pixels: free some, scale it down, or cut it up"
        return UnreadablePage(source, number, reason)
    except Exception as error:  # damaged data makes decoders raise anything
        reason = f"the page is cut off or damaged ({_one_line(error)}): export or copy it again"
        return UnreadablePage(source, number, reason)


def _one_line(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split()).rstrip(".")
