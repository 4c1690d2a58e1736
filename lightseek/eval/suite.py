"""Read a folder of pages with known text and pool what was found, set by set.

A folder holds images or PDFs with their true text beside them: `page.png` and `page.txt`. Each
sub-folder is a set of its own. Knows nothing of models: an engine is whatever turns files into
documents.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import NamedTuple, Protocol, runtime_checkable

from lightseek.document import Document, Status, unicode_name
from lightseek.errors import UsageError, require
from lightseek.eval.metrics import Score, fold, score
from lightseek.eval.report import EngineReading, Figures, ItemReport, Machine, Report, SetReport
from lightseek.pages import SUFFIX

_PRINTED_LINES = ".lines.txt"
"""The same text with its printed line breaks: no item of its own."""


@runtime_checkable
class Engine(Protocol):
    """What can be measured: `OCR`, a peer, or anything else that reads files."""

    def read_all(self, sources: Sequence[Path], /) -> Iterator[Document]:
        """One document for each source, in order; what cannot be read is a failed page."""
        ...


class Item(NamedTuple):
    """One image or PDF and its true text."""

    source: Path
    truth: Path


def find_items(*folders: Path) -> dict[str, list[Item]]:
    """Pair images and PDFs with the `.txt` of the same stem.

    Files without a partner are passed over: a set may hold manifests and spare images.

    Args:
        folders: They and all their sub-folders are searched.

    Returns:
        Set name to its items, both in order of their names. A sub-folder is named by its path
        from the folder; where two have one name, by the path that was given as well.

    Raises:
        UsageError: If one is not a folder, or holds no pair.
    """
    found = [named for folder in folders for named in _find_sets(folder)]
    times = Counter(name for name, _, _ in found)
    return {
        name if times[name] == 1 else directory.as_posix(): items
        for name, directory, items in found
    }


def _find_sets(folder: Path) -> list[tuple[str, Path, list[Item]]]:
    """Names, folders and items of the sets of a folder."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder: give one with images and their .txt beside")
    sets = []
    for directory in sorted([folder, *(path for path in folder.rglob("*") if path.is_dir())]):
        inner = directory.relative_to(folder).as_posix()
        name = folder.resolve().name if directory == folder else inner
        if items := _pair(directory):
            sets.append((name, directory, items))
    if not sets:
        raise UsageError(
            f"nothing to measure in {folder}: "
            "put the true text beside each image or PDF, page.txt beside page.png"
        )
    return sets


def evaluate(
    engines: Mapping[str, Engine],
    folders: Sequence[Path],
    *,
    limit: int | None = None,
    on_item: Callable[[str, int, int], object] = lambda what, done, total: None,
) -> Report:
    """Let every engine read every item of some folders, and compare it with its truth.

    The engines take turns, set by set, so that all of them meet the machine in the same state.

    Args:
        engines: What reads, by the names that the report gives them.
        folders: As `find_items` wants them.
        limit: Items a set at most, the first by name.
        on_item: Called after each item with engine and set, the number of items read by all
            engines, and how many they will be.

    Raises:
        UsageError: If there is nothing to measure, or a truth is not UTF-8.
        MissingExtraError: If rapidfuzz is not installed.
    """
    require("rapidfuzz", extra="eval")
    sets = {name: items[:limit] for name, items in find_items(*folders).items()}
    # A broken truth must show before hours of reading, not after.
    truths = {name: [_read_truth(item.truth) for item in items] for name, items in sets.items()}
    total = sum(map(len, sets.values())) * len(engines)
    numbers = count(1)
    measured: list[SetReport] = []
    texts: list[ItemReport] = []
    for name, items in sets.items():
        sources = [item.source for item in items]
        found: list[_Found] = []
        for engine, reader in engines.items():
            tick = partial(_tick, on_item, f"{engine}: {name}", numbers, total)
            found.append(_measure(engine, reader, sources, truths[name], tick))
        measured.append(_set_report(name, truths[name], found))
        texts += _item_reports(name, sources, truths[name], found)
    return Report(
        version=version("lightseek-ocr"),
        date=datetime.now(UTC).date(),
        machine=Machine.here(),
        sets=tuple(measured),
        items=tuple(texts),
    )


class _Found(NamedTuple):
    """What one engine made of one set."""

    figures: Figures
    readings: list[EngineReading]
    """One an item."""


def _tick(
    on_item: Callable[[str, int, int], object], what: str, numbers: Iterator[int], total: int
) -> None:
    on_item(what, next(numbers), total)


def _measure(
    engine: str,
    reader: Engine,
    sources: Sequence[Path],
    truths: Sequence[str],
    tick: Callable[[], None],
) -> _Found:
    documents, seconds = _read(sources, reader, tick)
    texts = map(_text, documents)
    if not _keep_case(truths):
        texts = map(str.upper, texts)
    scores = [score(text, truth) for text, truth in zip(texts, truths, strict=True)]
    readings = [_reading(engine, *pair) for pair in zip(scores, documents, strict=True)]
    return _Found(_pool(engine, scores, documents, seconds), readings)


def _set_report(name: str, truths: Sequence[str], found: Sequence[_Found]) -> SetReport:
    return SetReport(
        name=unicode_name(name),
        items=len(truths),
        characters=sum(len(fold(truth)) for truth in truths),
        figures=tuple(one.figures for one in found),
        keeps_case=_keep_case(truths),
    )


def _keep_case(truths: Sequence[str]) -> bool:
    """Whether texts have lower-case letters; some that were typed, as of receipts, have none."""
    return not "".join(truths).isupper()


def _item_reports(
    name: str, sources: Sequence[Path], truths: Sequence[str], found: Sequence[_Found]
) -> Iterator[ItemReport]:
    for i, (source, truth) in enumerate(zip(sources, truths, strict=True)):
        readings = tuple(one.readings[i] for one in found)
        path = unicode_name(f"{name}/{source.name}")
        yield ItemReport(path=path, truth=truth, readings=readings)


def _pair(directory: Path) -> list[Item]:
    files = sorted(path for path in directory.iterdir() if path.is_file())
    sources: dict[str, Path] = {}
    pages = (path for path in files if SUFFIX.fullmatch(path.suffix))
    # of several with one stem an image counts
    for path in sorted(pages, key=lambda path: path.suffix.lower() == ".pdf"):
        sources.setdefault(path.stem, path)
    return [
        Item(sources[path.stem], path)
        for path in files
        if path.suffix.lower() == ".txt"
        and path.stem in sources
        and not path.name.endswith(_PRINTED_LINES)
    ]


def _read_truth(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text: save it as UTF-8") from error


def _read(
    sources: Sequence[Path], engine: Engine, tick: Callable[[], None]
) -> tuple[list[Document], float]:
    """The documents and the seconds they took."""
    documents = []
    began = perf_counter()
    for document in engine.read_all(sources):
        documents.append(document)
        tick()
    return documents, perf_counter() - began


def _text(document: Document) -> str:
    """What was read; nothing for a failed page, so that all its characters count as errors."""
    return "\f".join(page.text for page in document.pages if page.status is not Status.FAILED)


def _reading(engine: str, found: Score, document: Document) -> EngineReading:
    failures = tuple(p.reason or "" for p in document.pages if p.status is Status.FAILED)
    return EngineReading(engine=engine, cer=found.cer, text=_text(document), failures=failures)


def _pool(
    engine: str, scores: Sequence[Score], documents: Sequence[Document], seconds: float
) -> Figures:
    pages = [page for document in documents for page in document.pages]
    whole = sum(scores, Score())
    return Figures(
        engine=engine,
        pages=len(pages),
        failed=sum(page.status is Status.FAILED for page in pages),
        cer=whole.cer,
        caseless_cer=whole.caseless_cer,
        word_f1=whole.word_f1,
        repeat_rate=whole.repeat_rate,
        seconds_per_page=seconds / max(len(pages), 1),
    )
