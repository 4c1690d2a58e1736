"""The shipped model reads what is drawn here; where only bookkeeping counts, nothing is read."""

import io
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont

from lightseek import cuts
from lightseek import ocr as ocr_module
from lightseek.blocks import Block
from lightseek.data.fonts import SHIPPED
from lightseek.document import Box, Document, Page, Status
from lightseek.errors import PageError, UsageError
from lightseek.model import LightSeekOCR
from lightseek.ocr import OCR, Reading
from lightseek.pages import Source
from lightseek.reader import read_strips
from lightseek.readings import StripText
from lightseek.tokenizer import Tokenizer
from lightseek.weights import save_model

FONT = ImageFont.truetype(SHIPPED / "Inter-Regular.otf", 30)
LETTER = ("The river froze early", "and nobody in the village", "could remember it colder")


def drawn(*lines: str, size: tuple[int, int] | None = None) -> Image.Image:
    """Lines of black type on white, close enough for one paragraph."""
    image = Image.new("RGB", size or (460, 40 + 40 * len(lines)), "white")
    for number, line in enumerate(lines):
        ImageDraw.Draw(image).text((20, 20 + 40 * number), line, font=FONT, fill="black")
    return image


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def ocr() -> OCR:
    return OCR()


@pytest.fixture(scope="module")
def tiny(
    tiny_model: LightSeekOCR,
    tiny_tokenizer: Tokenizer,
    tmp_path_factory: pytest.TempPathFactory,
) -> OCR:
    folder = tmp_path_factory.mktemp("tiny")
    save_model(folder, tiny_model, tiny_tokenizer)
    return OCR(folder)


@pytest.fixture
def as_it_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages are read once: what knows nothing is sure of none of them."""
    monkeypatch.setattr(ocr_module, "read_upright", lambda page, image, read: page)


@pytest.fixture(scope="module")
def letter(ocr: OCR) -> Document:
    return ocr.read(drawn(*LETTER))


class TestSources:
    TEXT = "Hello world\n"

    def test_a_path(self, ocr: OCR, tmp_path: Path) -> None:
        path = tmp_path / "page.png"
        path.write_bytes(png(drawn("Hello world")))
        for source in (path, str(path)):
            document = ocr.read(source)
            assert (document.source, document.text) == (str(path), self.TEXT)

    @pytest.mark.parametrize(
        ("source", "name"),
        [
            (png(drawn("Hello world")), "<bytes>"),
            (drawn("Hello world"), "<image>"),
            (np.asarray(drawn("Hello world")), "<array>"),
            (np.asarray(drawn("Hello world").convert("L")) / np.float32(255), "<array>"),
        ],
    )
    def test_what_is_in_memory(self, ocr: OCR, source: Source, name: str) -> None:
        document = ocr.read(source)
        assert (document.source, document.text) == (name, self.TEXT)

    def test_standard_input(self, ocr: OCR, monkeypatch: pytest.MonkeyPatch) -> None:
        stream = io.TextIOWrapper(io.BytesIO(png(drawn("Hello world"))))
        monkeypatch.setattr(sys, "stdin", stream)
        document = ocr.read("-")
        assert (document.source, document.text) == ("<stdin>", self.TEXT)

    def test_a_file_that_cannot_be_opened_raises(self, ocr: OCR, tmp_path: Path) -> None:
        with pytest.raises(PageError, match="does not exist"):
            ocr.read(tmp_path / "page.png")


class TestDocument:
    def test_text_stands_in_regions_lines_and_words(self, letter: Document) -> None:
        assert letter.text == "\n".join(LETTER) + "\n"
        assert letter.markdown == f"{LETTER[0]}  \n{LETTER[1]} {LETTER[2]}\n"  # "and" had room
        [region] = letter.pages[0].regions
        assert region.label == "text"
        assert [line.text for line in region.lines] == list(LETTER)
        assert [word.text for word in region.lines[0].words] == LETTER[0].split()

    def test_page_says_how_it_was_read(self, letter: Document) -> None:
        [page] = letter.pages
        assert (page.number, page.width, page.height) == (1, 460, 160)
        assert (page.status, page.reason) == (Status.OK, None)
        assert 0 < page.seconds < 600

    def test_confidence_of_clear_print_is_high(self, letter: Document) -> None:
        words = letter.pages[0].words
        assert all(0.5 < word.confidence <= 1 for word in words)
        assert all(0.5 < line.confidence <= 1 for line in letter.pages[0].regions[0].lines)

    def test_a_damaged_letter_lowers_the_confidence_of_its_word(
        self, ocr: OCR, letter: Document
    ) -> None:
        image = drawn(*LETTER)
        left, top, right, bottom = letter.pages[0].words[1].box
        middle = (left + right) / 2
        ImageDraw.Draw(image).rectangle((left + 4, top + 4, middle, bottom - 4), fill="grey")
        damaged = ocr.read(image).pages[0].words
        assert damaged[1].confidence < letter.pages[0].words[1].confidence
        assert damaged[-1].confidence > 0.5

    def test_json_there_and_back(self, letter: Document) -> None:
        assert Document.from_json(letter.to_json()) == letter

    def test_boxes_lie_around_the_ink(self, letter: Document) -> None:
        [region] = letter.pages[0].regions
        for number, (line, text) in enumerate(zip(region.lines, LETTER, strict=True)):
            assert holds(region.box, line.box)
            for word, ink in zip(line.words, inks(text, top=20 + 40 * number), strict=True):
                assert holds(line.box, word.box, slack=2)
                assert holds(word.box, ink, slack=2)
                assert word.box.iou(ink) > 0.7

    def test_a_turned_page_has_boxes_where_its_viewer_sees_them(self, ocr: OCR) -> None:
        exif = Image.Exif()
        exif[0x0112] = 3
        buffer = io.BytesIO()
        drawn("Hello world").rotate(180).save(buffer, "PNG", exif=exif)
        upright, turned = ocr.read(drawn("Hello world")), ocr.read(buffer.getvalue())
        assert [w.box for w in turned.pages[0].words] == [w.box for w in upright.pages[0].words]


def holds(outer: Box, inner: Box, slack: float = 1e-6) -> bool:
    return (
        outer.left <= inner.left + slack
        and outer.top <= inner.top + slack
        and outer.right >= inner.right - slack
        and outer.bottom >= inner.bottom - slack
    )


def inks(line: str, top: int) -> Iterator[Box]:
    """Where the ink of each word of a drawn line lies."""
    paper = np.asarray(drawn(line).convert("L")) < 128
    words = line.split()
    for number, word in enumerate(words):
        before = " ".join([*words[:number], ""]).lstrip()
        left = 20 + round(FONT.getlength(before) - FONT.getlength(" ") / 2)
        right = 20 + round(FONT.getlength(f"{before}{word}") + FONT.getlength(" ") / 2)
        y, x = np.nonzero(paper[:, left:right])
        yield Box(
            left + float(x.min()),
            top - 20 + float(y.min()),
            left + float(x.max()) + 1,
            top - 20 + float(y.max()) + 1,
        )


@pytest.fixture(scope="module")
def pages() -> list[Image.Image]:
    """One strip, a wider one, none, and two."""
    blank = Image.new("RGB", (80, 60), "white")
    wide = drawn("one wide line of print on its own", size=(700, 80))
    return [drawn("Hello world"), wide, blank, drawn("north", "south")]


class TestManySources:
    """One document a source, in order, as if each had been read alone."""

    def test_is_reading_one_by_one(self, ocr: OCR, pages: list[Image.Image]) -> None:
        together = list(ocr.read_all(pages))
        for document, image in zip(together, pages, strict=True):
            assert timeless(document) == timeless(ocr.read(image))

    def test_strips_of_all_are_read_together(
        self, ocr: OCR, pages: list[Image.Image], batches: list[int]
    ) -> None:
        list(ocr.read_all(pages))
        assert batches == [4]

    def test_few_strips_wait_for_others(
        self,
        ocr: OCR,
        pages: list[Image.Image],
        batches: list[int],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        expected = [document.text for document in ocr.read_all(pages)]
        batches.clear()
        monkeypatch.setattr(cuts, "STRIPS_AT_ONCE", 1)
        assert [document.text for document in ocr.read_all(pages)] == expected
        assert batches == [1, 1, 2]

    def test_pages_of_few_strips_do_not_gather_in_memory(
        self,
        ocr: OCR,
        pages: list[Image.Image],
        batches: list[int],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(cuts, "PIXELS_AT_ONCE", 1)
        list(ocr.read_all(pages))
        assert batches == [1, 1, 0, 2]  # a page each, one of them blank

    @pytest.mark.parametrize("large", [0, 800 * 80, 10**9])
    def test_pages_that_are_cut_side_by_side_stay_in_order(
        self,
        ocr: OCR,
        pages: list[Image.Image],
        large: int,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(cuts, "CUT_TOGETHER", 1)
        expected = [timeless(document) for document in ocr.read_all(pages * 2)]
        monkeypatch.setattr(cuts, "CUT_TOGETHER", 3)
        monkeypatch.setattr(cuts.torch, "get_num_threads", lambda: 3)
        monkeypatch.setattr(cuts, "LARGE_PX", large)
        assert [timeless(document) for document in ocr.read_all(pages * 2)] == expected

    def test_no_source_is_opened_long_before_its_turn(
        self, ocr: OCR, pages: list[Image.Image], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(cuts, "STRIPS_AT_ONCE", 1)
        taken: list[int] = []
        sources = (taken.append(i) or page for i, page in enumerate(pages))  # type: ignore[func-returns-value]
        monkeypatch.setattr(cuts, "CUT_TOGETHER", 2)
        next(ocr.read_all(sources))
        assert len(taken) <= 2

    @pytest.mark.parametrize(
        "error",
        [
            MemoryError(),
            RuntimeError("not enough memory: you tried"),
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED"),
            torch.OutOfMemoryError("MPS backend out of memory"),
        ],
    )
    def test_a_page_for_which_memory_does_not_suffice_costs_no_other(
        self,
        ocr: OCR,
        pages: list[Image.Image],
        error: Exception,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def starve(
            model: LightSeekOCR, tokenizer: Tokenizer, strips: list[np.ndarray], votes: int = 1
        ) -> list[StripText]:
            if any(strip.shape[1] > 400 for strip in strips):
                raise error
            return read_strips(model, tokenizer, strips, votes)

        expected = [document.text for document in ocr.read_all(pages)]
        monkeypatch.setattr(ocr_module, "read_strips", starve)
        documents = list(ocr.read_all(pages))
        assert [document.text for document in documents] == [expected[0], "\n", *expected[2:]]
        failed = documents[1].pages[0]
        assert failed.status is Status.FAILED
        assert failed.reason is not None
        assert failed.reason.startswith("memory does not suffice for 700 x 80 pixels: ")

    def test_what_a_failed_attempt_held_is_let_go_before_the_next(
        self, ocr: OCR, pages: list[Image.Image], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Held:
            pass

        held: list[weakref.ref[Held]] = []

        def starve(
            model: LightSeekOCR, tokenizer: Tokenizer, strips: list[np.ndarray], votes: int = 1
        ) -> list[StripText]:
            batch = Held()
            assert all(other() is None for other in held)
            held.append(weakref.ref(batch))
            if len(strips) > 2:
                raise MemoryError
            return read_strips(model, tokenizer, strips, votes)

        monkeypatch.setattr(ocr_module, "read_strips", starve)
        assert all(document.ok for document in ocr.read_all(pages))
        assert len(held) > 2

    def test_a_page_that_is_too_large_to_cut_costs_no_other(
        self, ocr: OCR, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cut_page = cuts.cut_page

        def starve(image: Image.Image) -> Iterator[Block]:
            if image.width > 500:
                raise cv2.error("OpenCV: error: (-4:Insufficient memory) Failed to allocate")
            return iter(cut_page(image))

        monkeypatch.setattr(cuts, "cut_page", starve)
        large, small = ocr.read_all([Image.new("L", (600, 50)), drawn("north")])
        assert "memory does not suffice for 600 x 50 pixels" in str(large.pages[0].reason)
        assert small.text == "north\n"

    def test_other_errors_are_not_hidden(
        self, ocr: OCR, pages: list[Image.Image], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*args: object) -> list[StripText]:
            raise RuntimeError("shapes do not match")

        monkeypatch.setattr(ocr_module, "read_strips", fail)
        with pytest.raises(RuntimeError, match="shapes"):
            list(ocr.read_all(pages))

    def test_of_nothing_is_nothing(self, ocr: OCR) -> None:
        assert list(ocr.read_all([])) == []

    def test_one_that_cannot_be_opened_does_not_stop_the_others(
        self, ocr: OCR, tmp_path: Path
    ) -> None:
        (tmp_path / "empty.png").touch()
        sources: list[Source] = [drawn("north"), tmp_path / "empty.png", drawn("south")]
        seen: list[tuple[str, int, Status]] = []
        first, broken, last = ocr.read_all(
            sources, on_page=lambda name, page: seen.append((name, page.number, page.status))
        )
        assert (first.text, last.text) == ("north\n", "south\n")
        assert broken.source == str(tmp_path / "empty.png")
        assert not broken.ok
        [page] = broken.pages
        assert (page.status, page.number, page.regions) == (Status.FAILED, 1, ())
        assert page.reason is not None
        assert "empty.png is empty" in page.reason
        assert seen == [
            ("<image>", 1, Status.OK),
            (broken.source, 1, Status.FAILED),
            ("<image>", 1, Status.OK),
        ]

    def test_two_of_one_name_stay_apart(self, ocr: OCR) -> None:
        blank = Image.new("L", (9, 9), 255)
        assert [len(document.pages) for document in ocr.read_all([blank, blank, blank])] == [1] * 3

    def test_reading_says_how_they_are_opened(self, ocr: OCR) -> None:
        sheets = [Image.new("L", (72, 144), 255)] * 3
        buffer = io.BytesIO()
        sheets[0].save(buffer, "PDF", save_all=True, append_images=sheets[1:], resolution=72)
        [document] = ocr.read_all([buffer.getvalue()], reading=Reading(dpi=100, pages="2-"))
        assert [(page.number, page.width) for page in document.pages] == [(2, 100), (3, 100)]
        assert [page.number for page in ocr.read(buffer.getvalue(), pages="1,3").pages] == [1, 3]

    def test_a_file_name_that_is_not_utf8(self, ocr: OCR, tmp_path: Path) -> None:
        path = tmp_path / "caf\udce9.png"
        path.write_bytes(png(Image.new("L", (9, 9), 255)))
        documents = [ocr.read(path), *ocr.read_all([path, tmp_path / "th\udce9.png"])]
        assert [Document.from_json(document.to_json()) for document in documents] == documents
        assert documents[0].source == documents[1].source == str(tmp_path / "caf?.png")
        assert "th?.png does not exist" in str(documents[2].pages[0].reason)


def timeless(document: Document) -> Document:
    """Without what differs from run to run: times, and the last digits of probabilities."""

    def rounded(value: object) -> object:
        if isinstance(value, dict):
            return {k: 0 if k == "seconds" else rounded(v) for k, v in value.items()}
        if isinstance(value, list):
            return [rounded(v) for v in value]
        return round(value, 1) if isinstance(value, float) else value

    return Document.model_validate(rounded(document.model_dump(mode="json")))


@pytest.fixture
def batches(as_it_lies: None, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many strips were read at a time."""
    numbers: list[int] = []

    def spy(
        model: LightSeekOCR, tokenizer: Tokenizer, strips: list[np.ndarray], votes: int = 1
    ) -> list[StripText]:
        numbers.append(len(strips))
        return read_strips(model, tokenizer, strips, votes)

    monkeypatch.setattr(ocr_module, "read_strips", spy)
    return numbers


class TestWhatStripsSay:
    """How strips become a page, whatever a model reads."""

    @pytest.fixture
    def page(self, tiny: OCR, as_it_lies: None, monkeypatch: pytest.MonkeyPatch) -> "PageOf":
        def read(*said: StripText) -> Page:
            monkeypatch.setattr(ocr_module, "read_carefully", lambda *args: list(said))
            [page] = tiny.read(drawn(*["words drawn here"] * len(said))).pages
            return page

        return read

    def test_lines_and_regions_are_as_sure_as_their_words(self, page: "PageOf") -> None:
        [region] = page(says("ab c", 0.5, 0.8, 1, 0.9), says("d", 0.2)).regions
        words = [word for line in region.lines for word in line.words]
        assert [word.text for word in words] == ["ab", "c", "d"]
        assert [word.confidence for word in words] == pytest.approx([0.4, 0.9, 0.2])
        assert [line.confidence for line in region.lines] == pytest.approx([0.65, 0.2])
        assert region.confidence == pytest.approx(0.5)

    def test_strips_without_words_leave_no_line(self, page: "PageOf") -> None:
        found = page(says("over"), says(" "), says("under"))
        assert [line.text for line in found.regions[0].lines] == ["over", "under"]
        assert page(says(""), says("")).regions == ()
        assert page(says("")).status is Status.OK

    def test_a_strip_without_an_end_makes_the_page_truncated(self, page: "PageOf") -> None:
        found = page(says("whole"), says("hal", finished=False))
        assert found.status is Status.TRUNCATED
        assert found.reason is not None
        assert "1 of 2 strips" in found.reason
        assert found.text == "whole\nhal"


PageOf = Callable[..., Page]


def says(text: str, *confidences: float, finished: bool = True) -> StripText:
    centres = np.stack([np.linspace(10, 200, len(text)), np.full(len(text), 32)], axis=1)
    return StripText(
        text,
        np.array(confidences or [0.9] * len(text), np.float32),
        centres.astype(np.float32),
        finished,
    )


class TestWrongUse:
    def test_mode(self, ocr: OCR) -> None:
        assert ocr.read(Image.new("L", (9, 9), 255), mode="blocks").ok
        with pytest.raises(UsageError, match="nano reads in mode blocks, not gundam"):
            ocr.read(drawn("a"), mode="gundam")
        with pytest.raises(UsageError, match="not gundam"):
            next(ocr.read_all([drawn("a")], reading=Reading(mode="gundam")))

    def test_pages_that_are_none(self, ocr: OCR) -> None:
        with pytest.raises(UsageError, match="names no pages"):
            next(ocr.read_all([drawn("a")], reading=Reading(pages="one")))

    @pytest.mark.parametrize("device", ["abacus", "cuda:99", "cuda:x", "hpu", "meta"])
    def test_device_that_is_not_there(self, device: str) -> None:
        with pytest.raises(UsageError, match=f"no device {device} .*leave it out"):
            OCR(device=device)
