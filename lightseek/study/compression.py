"""How many text tokens fit in a visual token: text set ever denser, read, and compared.

In the form of the Fox study of DeepSeek-OCR (arXiv 2510.18234, Table 2). Models of the official
family read pages of more and more text at a fixed number of visual tokens. nano cuts a page into
strips of lines as high as it was trained on, so that a page of more text has more visual tokens:
there letters are made narrower, which puts more of them under each token, and coarser, which
leaves fewer pixels of each.
"""

import datetime
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lightseek import __version__
from lightseek.data.render import find_cutting, visual_tokens
from lightseek.eval.metrics import cer, fold
from lightseek.eval.report import Machine
from lightseek.fusion import SCALES
from lightseek.ocr import OCR
from lightseek.study.density import FINE_DPI, Press, Proof, Words
from lightseek.study.pooling import pool_and_read
from lightseek.study.table import Row, Study
from lightseek.tokenizer import Tokenizer

_PIECE = re.compile(r"\w+|[^\w\s]")
_COLUMN_CHARACTERS = 1100
"""Of a column in letters of full width: some twelve lines."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What is read; every number but that of pages makes a row of the table."""

    pages: int = 2
    """Of every row."""
    widths: tuple[float, ...] = (1.0, 0.85, 0.75, 0.65, 0.6, 0.55, 0.5, 0.45, 0.4)
    """Of letters, for models that read strips."""
    dpis: tuple[int, ...] = (150, 100, 80, 70, 60, 50)
    """At full width, for models that read strips."""
    modes: tuple[str, ...] = ("tiny", "small")
    """Of the official family; other models that read whole pages have one mode."""
    tokens: tuple[tuple[int, int], ...] = tuple((n, n + 100) for n in range(600, 1300, 100))
    """Text tokens of a page, for models that read whole pages."""


def study_compression(
    ocr: OCR,
    words: Words,
    plan: Plan = Plan(),
    on_row: Callable[[int, int], None] = lambda done, total: None,
) -> Study:
    """Measure precision against text tokens a visual token.

    Args:
        ocr: What reads.
        words: What is printed.
        plan: How densely.
        on_row: Called with the number of rows that are done, and of all.
    """
    config, bench = ocr.model.config, _Bench(ocr, words, plan.pages)
    making, total = bench.strip_rows(plan), len(plan.widths) + len(plan.dpis)
    if ocr.reads_views:
        modes = plan.modes if config.decoder.row_marks else (config.mode,)
        making, total = bench.view_rows(plan, modes), len(modes) * len(plan.tokens)
    rows = []
    for row in making:
        rows.append(row)
        on_row(len(rows), total)
    counted = "pieces of the model's tokenizer"
    if _reads_characters(ocr.tokenizer):
        counted = "words and punctuation marks: the model's own tokens are characters"
    return Study(
        model=config.name,
        version=__version__,
        date=datetime.datetime.now(datetime.UTC).date(),
        machine=Machine.here(),
        text_tokens_are=counted,
        rows=tuple(rows),
    )


Reading = tuple[str, int]
"""What was read, and of how many visual tokens."""


class _Bench:
    """Prints pages, has them read, and compares."""

    def __init__(self, ocr: OCR, words: Words, pages: int) -> None:
        self._ocr, self._words, self._pages = ocr, words, pages
        self._press = Press()
        self._scales = SCALES[ocr.model.config.fusion]
        self._prompt = "free" if ocr.model.config.decoder.row_marks else None

    def strip_rows(self, plan: Plan) -> Iterator[Row]:
        """Narrower letters, then coarser ones."""
        for width in plan.widths:
            yield self._strip_row("narrower", f"letters {width:.0%} wide", width, FINE_DPI)
        for dpi in plan.dpis:
            yield self._strip_row("coarser", f"{dpi} dpi", 1.0, dpi)

    def view_rows(self, plan: Plan, modes: Sequence[str]) -> Iterator[Row]:
        """More and more text, in each mode."""
        for mode in modes:
            for low, high in plan.tokens:
                count = (low + high) // 2
                texts = [
                    take_tokens(self._words, self._ocr.tokenizer, count) for _ in range(self._pages)
                ]
                proofs = [self._press.page(text) for text in texts]
                # twice the text is enough for any answer that does not go round in circles
                read = [self._read_views(proof, mode, 2 * high) for proof in proofs]
                yield self._row(mode, f"{mode}, {low}-{high} tokens", proofs, read)

    def _strip_row(self, series: str, setting: str, width: float, dpi: int) -> Row:
        length = round(_COLUMN_CHARACTERS / width)
        texts = [self._words.take_characters(length) for _ in range(self._pages)]
        proofs = [self._press.column(text, width=width, dpi=dpi) for text in texts]
        return self._row(series, setting, proofs, [self._read_strips(proof) for proof in proofs])

    def _read_strips(self, proof: Proof) -> Reading:
        places = visual_tokens(proof.image, None)
        return self._ocr.read(proof.image).pages[0].text, places * self._scales

    def _read_views(self, proof: Proof, mode: str, max_tokens: int) -> Reading:
        document = self._ocr.read(
            proof.image, mode=mode, prompt=self._prompt, max_tokens=max_tokens
        )
        cutting = find_cutting(mode, self._ocr.model.config.decoder.sliding_window)
        return document.pages[0].text, visual_tokens(proof.image, cutting) * self._scales

    def _row(self, series: str, setting: str, proofs: list[Proof], readings: list[Reading]) -> Row:
        truths = [fold(proof.text) for proof in proofs]
        texts, sizes = [text for text, _ in readings], [size for _, size in readings]
        pooled = [
            pooled_text(self._ocr, truth, size) for truth, size in zip(truths, sizes, strict=True)
        ]
        tokenizer = self._ocr.tokenizer
        return Row(
            series=series,
            setting=setting,
            pages=len(proofs),
            characters=sum(map(len, truths)),
            text_tokens=sum(count_text_tokens(truth, tokenizer) for truth in truths),
            visual_tokens=sum(sizes),
            precision=_mean(word_set_precision, texts, truths),
            cer=_mean(cer, texts, truths),
            pooled_precision=_mean(word_set_precision, pooled, truths),
            pooled_cer=_mean(cer, pooled, truths),
        )


def _mean(measure: Callable[[str, str], float], read: list[str], truths: list[str]) -> float:
    return float(np.mean([measure(a, b) for a, b in zip(read, truths, strict=True)]))


def take_tokens(words: Words, tokenizer: Tokenizer, count: int) -> str:
    """Words of so many text tokens, or just below."""
    taken = words.take(count)
    while count_text_tokens(" ".join(taken), tokenizer) > count:
        taken.pop()
    return " ".join(taken)


def count_text_tokens(text: str, tokenizer: Tokenizer) -> int:
    """Pieces of the tokenizer; for one of characters, words and punctuation marks."""
    if _reads_characters(tokenizer):
        return len(_PIECE.findall(text))
    return len(tokenizer.encode(text))


def _reads_characters(tokenizer: Tokenizer) -> bool:
    return len(tokenizer.encode("something")) == len("something")


def pooled_text(ocr: OCR, text: str, num_vectors: int) -> str:
    """A text put into a number of vectors and taken out again."""
    if num_vectors == 0:
        return ""
    ids = ocr.tokenizer.encode(text)
    return ocr.tokenizer.decode(pool_and_read(ids, ocr.model.embedding.weight, num_vectors))


def word_set_precision(read: str, truth: str) -> float:
    """Share of the different words of one text that the other has; order and number are free."""
    words = set(fold(read).split())
    return len(words & set(fold(truth).split())) / max(1, len(words))
