"""Other engines behind the interface of ours, each as fast and as exact as we know to run it.

Tesseract is the program that a system installs, RapidOCR a Python package. Both get the pages that
`open_pages` gives to everybody, as many threads as our engine, and are told what their users know:
whether the images are lines, paragraphs or pages. They say no boxes here: what is compared is
text. Knows nothing of truths or figures.
"""

import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from importlib.metadata import version
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from queue import SimpleQueue
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

from lightseek.document import Box, Document, Page, Region, Status
from lightseek.errors import MissingExtraError, PageError, require
from lightseek.pages import PageImage, UnreadablePage, open_pages

LANGUAGES = ("eng", "fra", "deu", "spa", "ita", "por")
"""Those of nano, as Tesseract calls them; it reads with all that are installed."""
LINE_PX, PARAGRAPH_PX = 120, 600
"""Median height of images up to which they are taken for single lines, or for paragraphs."""
IMAGES_AT_ONCE = 64
"""That a peer is given in one go, so that starting Tesseract weighs little."""

_CURE = "apt-get install tesseract-ocr tesseract-ocr-fra, or brew install tesseract"


class Kind(Enum):
    """What images show, by the page segmentation mode of Tesseract that suits it."""

    LINE = 7
    PARAGRAPH = 6
    PAGE = 3


def find_kind(heights: Sequence[int]) -> Kind:
    """What a set shows whose first images have these heights in pixels.

    The median decides, because a paragraph of two lines may be lower than a heading of one.
    """
    middle = median(heights)
    if middle <= LINE_PX:
        return Kind.LINE
    return Kind.PARAGRAPH if middle <= PARAGRAPH_PX else Kind.PAGE


Text = str | None
"""Of an image; none if the engine gave it up."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Another engine."""

    name: str
    """With its version."""
    read: Callable[[Sequence[Image.Image], Kind], Sequence[Text]]

    def read_all(self, sources: Sequence[Path], /) -> Iterator[Document]:
        """One document for each source, in order."""
        opened = ((i, page) for i, source in enumerate(sources) for page in _open(source))
        for i, read in groupby(self._read(opened), key=itemgetter(0)):
            yield Document(source=str(sources[i]), pages=tuple(page for _, page in read))

    def _read(self, opened: Iterator[tuple[int, "_Opened"]]) -> Iterator[tuple[int, Page]]:
        """Pages, each with the place of its source, some dozen of them at a time."""
        kind: Kind | None = None
        while group := list(islice(opened, IMAGES_AT_ONCE)):
            images = [page.image for _, page in group if isinstance(page, PageImage)]
            if kind is None and images:
                kind = find_kind([image.height for image in images])
            texts = iter(self.read(images, kind) if kind else ())
            for i, page in group:
                yield i, _page(page, next(texts) if isinstance(page, PageImage) else None)


_Opened = PageImage | UnreadablePage


def _open(source: Path) -> Iterator[_Opened]:
    """The pages of a source; one that is unreadable if it cannot be opened."""
    try:
        yield from open_pages(source)
    except PageError as error:
        yield UnreadablePage(str(source), 1, str(error))


def _page(page: PageImage | UnreadablePage, text: Text) -> Page:
    """A page with all its text in one region; failed where there is none."""
    if isinstance(page, UnreadablePage) or text is None:
        reason = page.reason if isinstance(page, UnreadablePage) else "the engine gave it up"
        return Page(number=page.number, width=0, height=0, status=Status.FAILED, reason=reason)
    width, height = page.image.size
    region = Region(label="text", lines=(), box=Box(0, 0, width, height), written=text)
    return Page(number=page.number, width=width, height=height, status=Status.OK, regions=(region,))


def tesseract(threads: int) -> Peer:
    """The `tesseract` program, a process a thread, each over many images.

    So it loads its languages once for some dozen images, and two processes of one thread do more
    than one of two.

    Raises:
        MissingExtraError: If the program or its languages are not installed.
    """
    languages = _find_languages()

    def read(images: Sequence[Image.Image], kind: Kind) -> list[Text]:
        options = [*languages, "--psm", str(kind.value)]
        texts: list[Text] = [None] * len(images)
        with _saved(images) as files, ThreadPoolExecutor(threads) as pool:
            shares = [files[k::threads] for k in range(threads)]
            for k, share in enumerate(pool.map(_read_files, shares, [options] * threads)):
                texts[k::threads] = share
        return texts

    return Peer(_find_version(), read)


def tesseract_by_page(threads: int) -> Peer:
    """The `tesseract` program as people call it: once for each image, with threads of its own.

    Args:
        threads: Not asked for: the program starts as many as it likes.

    Raises:
        MissingExtraError: If the program or its languages are not installed.
    """
    languages = _find_languages()

    def read(images: Sequence[Image.Image], kind: Kind) -> list[Text]:
        options = [*languages, "--psm", str(kind.value)]
        with _saved(images) as files:
            calls = [_run_tesseract(str(file), "-", *options, limited=False) for file in files]
        return [None if call.returncode else call.stdout.removesuffix("\f") for call in calls]

    return Peer(f"{_find_version()} by page", read)


def _find_languages() -> list[str]:
    installed = _run_tesseract("--list-langs").stdout.split()
    languages = [name for name in LANGUAGES if name in installed]
    if not languages:
        raise MissingExtraError(f"tesseract has none of our languages: {_CURE}")
    return ["-l", "+".join(languages)]


def _find_version() -> str:
    return f"tesseract {_run_tesseract('--version').stdout.split()[1]}"


@contextmanager
def _saved(images: Sequence[Image.Image]) -> Iterator[list[Path]]:
    """Images as files that are there for a while."""
    with TemporaryDirectory() as folder:
        files = [Path(folder, f"{i}.png") for i in range(len(images))]
        for image, file in zip(images, files, strict=True):
            image.save(file, compress_level=1)
        yield files


def _read_files(files: Sequence[Path], options: Sequence[str]) -> list[Text]:
    """The text of each image; none of one that Tesseract cannot read, which stops it."""
    if not files:
        return []
    names = files[0].with_suffix(".list")
    names.write_text("\n".join(map(str, files)), encoding="utf-8")
    done = _run_tesseract(str(names), "-", *options)
    texts = done.stdout.removesuffix("\f").split("\f")
    if done.returncode == 0 and len(texts) == len(files):
        return [*texts]
    if len(files) == 1:
        return [None]
    half = len(files) // 2
    return _read_files(files[:half], options) + _read_files(files[half:], options)


def _run_tesseract(*words: str, limited: bool = True) -> subprocess.CompletedProcess[str]:
    """Call the program, with one thread where it is limited."""
    environment = {**os.environ, "OMP_THREAD_LIMIT": "1"}
    if not limited:
        # our package sets this for itself: called from a shell, Tesseract has it not
        environment = {k: v for k, v in os.environ.items() if k != "GOMP_SPINCOUNT"}
    try:
        return subprocess.run(
            ["tesseract", *words],
            env=environment,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
    except FileNotFoundError as error:
        raise MissingExtraError(f"tesseract is not installed: {_CURE}") from error


def rapidocr(threads: int) -> Peer:
    """RapidOCR with its own models, as many images side by side as there are threads.

    Single lines go to its recogniser alone: its detector reads far worse on them, and slower.

    Raises:
        MissingExtraError: If rapidocr or onnxruntime is not installed.
    """
    require("onnxruntime", extra="peers")
    engine = require("rapidocr", extra="peers").RapidOCR
    options = {f"EngineConfig.onnxruntime.{kind}_op_num_threads": 1 for kind in ("intra", "inter")}
    idle: SimpleQueue[Any] = SimpleQueue()
    for _ in range(threads):
        idle.put(engine(params={"Global.log_level": "error", **options}))

    def read_one(image: Image.Image, kind: Kind) -> str:
        own = idle.get()
        try:
            found = own(image, use_det=kind is not Kind.LINE, use_cls=kind is not Kind.LINE)
        finally:
            idle.put(own)
        return "\n".join(found.txts or ())

    def read(images: Sequence[Image.Image], kind: Kind) -> list[Text]:
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(read_one, images, [kind] * len(images)))

    return Peer(f"rapidocr {version('rapidocr')}", read)


PEERS = {
    "tesseract": tesseract,
    "tesseract-by-page": tesseract_by_page,
    "rapidocr": rapidocr,
}
"""By the names that the command line gives them."""
