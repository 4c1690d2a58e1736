import random
import time

import pytest

from lightseek.document import Box, Region
from lightseek.errors import UsageError
from lightseek.grounding import (
    LABELS,
    PROMPTS,
    find_prompt,
    is_figure,
    is_labelled,
    parse_answer,
)

PAGE = Box(0, 0, 1998, 999)
"""Twice as wide as answers count, and as high."""


def parse(answer: str) -> list[tuple[str, Box, str]]:
    regions = parse_answer(answer, width=1998, height=999)
    return [(region.label, region.box, region.text) for region in regions]


def texts(answer: str) -> list[str]:
    return [text for _, _, text in parse(answer)]


class TestDialects:
    def test_deepseek_ocr(self) -> None:
        answer = (
            "<|ref|>title<|/ref|><|det|>[[100, 10, 300, 20]]<|/det|>\n# On Foxes  \n\n"
            "<|ref|>image<|/ref|><|det|>[[0, 0, 999, 999]]<|/det|>\n \n\n"
            "<|ref|>sub_title<|/ref|><|det|>[[114, 519, 625, 538]]<|/det|>\n## Abstract\n\nTwo.\n"
        )
        assert parse(answer) == [
            ("title", Box(200, 10, 600, 20), "# On Foxes"),
            ("image", PAGE, ""),
            ("sub_title", Box(228, 519, 1250, 538), "## Abstract\n\nTwo."),
        ]

    def test_unlimited_ocr(self) -> None:
        answer = (
            "<PAGE><|det|>image [382, 87, 489, 174]<|/det|>\n"
            "<|det|>title [100, 201, 558, 230]<|/det|>R&D\nFORM<|det|>text [1,2,3,4]<|/det|>a"
        )
        assert parse(answer) == [
            ("image", Box(764, 87, 978, 174), ""),
            ("title", Box(200, 201, 1116, 230), "R&D\nFORM"),
            ("text", Box(2, 2, 6, 4), "a"),
        ]

    def test_lines_that_are_their_own_reference(self) -> None:
        answer = (
            "<|ref|>Dear fox,<|/ref|><|det|>[[1, 2, 3, 4]]<|/det|>\n"
            "<|ref|>a < b [c]<|/ref|><|det|>[[5, 6, 7, 8]]<|/det|>"
        )
        assert parse(answer) == [
            ("text", Box(2, 2, 6, 4), "Dear fox,"),
            ("text", Box(10, 6, 14, 8), "a < b [c]"),
        ]

    @pytest.mark.parametrize("prompt", ["ocr", "locate:title", "markdown", "parse", "free"])
    def test_a_line_that_reads_like_a_label(self, prompt: str) -> None:
        """Where references are what is printed, no line is taken for the name of a region."""
        answer = "<|ref|>zip_code<|/ref|><|det|>[[1, 2, 3, 4]]<|/det|>"
        labelled = is_labelled(find_prompt(prompt))
        [region] = parse_answer(answer, width=999, height=999, labelled=labelled)
        is_text = prompt in ("ocr", "locate:title")
        assert (region.label, region.text) == (
            ("text", "zip_code") if is_text else ("zip_code", "")
        )

    def test_a_line_with_more_behind_it(self) -> None:
        answer = "<|ref|>Total: 9<|/ref|><|det|>[[1, 2, 3, 4]]<|/det|>\nPaid"
        lines = parse_answer(answer, width=999, height=999, labelled=False)
        assert [(one.label, one.text) for one in lines] == [("text", "Total: 9"), ("text", "Paid")]

    def test_a_thing_that_is_found_twice(self) -> None:
        answer = "<|ref|>the fox<|/ref|><|det|>[[1, 2, 3, 4], [5, 6, 7, 8]]<|/det|>"
        assert [box for _, box, _ in parse(answer)] == [Box(2, 2, 6, 4), Box(10, 6, 14, 8)]

    @pytest.mark.parametrize("label", ["algorithm", "page number", "header_image"])
    def test_what_stands_before_a_box_is_its_label_and_no_text(self, label: str) -> None:
        assert parse(f"<|det|>{label} [1, 2, 3, 4]<|/det|>") == [(label, Box(2, 2, 6, 4), "")]
        assert parse(f"<|det|>{label} [1, 2, 3, 4]<|/det|>x") == [(label, Box(2, 2, 6, 4), "x")]

    @pytest.mark.parametrize("broken", ["[1]", "[1, 2, 3] and so on", "[12, 3", "[a] too"])
    def test_words_in_place_of_a_box_are_text(self, broken: str) -> None:
        answer = f"<|det|>Dear Sir, see {broken}<|/det|>"
        assert parse(answer) == [("text", PAGE, f"Dear Sir, see {broken}")]

    @pytest.mark.parametrize("before", ["[[100, 200, 300", "text [100, 201,", "[[1, 2, 3]]"])
    def test_text_goes_on_behind_a_box_that_is_never_closed(self, before: str) -> None:
        [region] = parse(f"<|ref|>text<|/ref|><|det|>{before} The fox\njumps.")
        assert region == ("text", PAGE, "The fox\njumps.")

    def test_text_in_two_boxes_is_one_region_around_both(self) -> None:
        answer = "<|ref|>text<|/ref|><|det|>[[1, 2, 3, 4], [5, 6, 7, 8]]<|/det|>over two columns"
        assert parse(answer) == [("text", Box(2, 2, 14, 8), "over two columns")]

    def test_plain_text_is_the_page(self) -> None:
        assert parse("\nJust text.\n\nTwo.\n") == [("text", PAGE, "Just text.\n\nTwo.")]

    def test_text_before_the_first_mark_is_kept(self) -> None:
        answer = "Sure:\n<|ref|>text<|/ref|><|det|>[[0, 0, 1, 1]]<|/det|>body"
        assert texts(answer) == ["Sure:", "body"]

    def test_nothing_is_nothing(self) -> None:
        assert parse(" \n") == []


class TestBrokenAnswers:
    @pytest.mark.parametrize(
        ("answer", "expected"),
        [
            ("<|ref|>text<|/ref|><|det|>[[1, 2, 3", []),
            ("<|ref|>text<|/ref|><|det|>[[1, 2, 3, 4]]\nnot lost", [Box(2, 2, 6, 4)]),
            ("<|ref|>text<|/ref|><|det|>[[1, 2, 3]]<|/det|>three numbers", [PAGE]),
            ("<|ref|>text<|/ref|><|det|>[[a, b, c, d]]<|/det|>letters", [PAGE]),
            ("<|ref|>text<|/ref|><|det|><|/det|>no box", [PAGE]),
            ("<|ref|>text<|/ref|>no mark", [PAGE]),
            ("<|ref|>never closed", [PAGE]),
            ("<|/det|><|/ref|>closed twice<|/det|>", [PAGE]),
            ("<|det|>text [1, 2, 3, 4] unclosed", [Box(2, 2, 6, 4)]),
            ("<|det|>a long text in place of a box", [PAGE]),
            ("<|ref|>text<|/ref|><|det|>[1, 2, 3, 4]<|/det|>one bracket", [Box(2, 2, 6, 4)]),
            ("<|ref|>text<|/ref|><|det|>[[1.5, 2, 3, 4.5]]<|/det|>points", [Box(3, 2, 6, 4.5)]),
        ],
    )
    def test_boxes_are_read_as_far_as_they_go(self, answer: str, expected: list[Box]) -> None:
        assert [box for _, box, _ in parse(answer)] == expected

    @pytest.mark.parametrize(
        ("quad", "box"),
        [
            ("-5, -5, 1200, 5000", PAGE),
            ("300, 20, 100, 10", Box(200, 10, 600, 20)),
            ("2000, 5, 3000, 10", Box(1998, 5, 1998, 10)),
            (f"0, 0, {'9' * 400}, 999", PAGE),
        ],
    )
    def test_boxes_end_at_the_page(self, quad: str, box: Box) -> None:
        assert parse(f"<|ref|>text<|/ref|><|det|>[[{quad}]]<|/det|>x") == [("text", box, "x")]

    def test_an_answer_is_never_evaluated(self) -> None:
        answer = "<|ref|>text<|/ref|><|det|>[[__import__('os').abort()]]<|/det|>still here"
        assert parse(answer) == [("text", PAGE, "still here")]

    def test_whatever_is_written_gives_regions_within_the_page_and_keeps_text(self) -> None:
        rng = random.Random(5)
        pieces = ["<|ref|>", "<|/ref|>", "<|det|>", "<|/det|>", "<PAGE>", "[[", "]]", "1, 2, 3, 4"]
        pieces += ["text", "image", "\n", " ", "-7", "1e9", "("]
        for _ in range(500):
            answer = "".join(rng.choices(pieces, k=rng.randint(0, 12)))
            for _, box, _ in parse(f"{answer}<|det|>text [1, 2, 3, 4]<|/det|>"):
                assert 0 <= box.left <= box.right <= PAGE.right
                assert 0 <= box.top <= box.bottom <= PAGE.bottom
            assert any("fox" in text for text in texts(f"{answer}\nfox")), answer
            unclosed = f"{answer}<|det|>[[1, 2, 3 a fox"
            assert any("fox" in text for text in texts(unclosed)), unclosed

    def test_a_long_broken_answer_takes_no_time(self) -> None:
        began = time.process_time()
        assert parse("<|ref|>" * 3_000 + "[" * 50_000 + "<|det|>" * 3_000)
        assert time.process_time() - began < 5, "and none that grows with its square"


def test_regions_write_what_was_written() -> None:
    [region] = parse_answer("## A *title*", width=10, height=10)
    assert region.text == region.markdown == "## A *title*"
    assert Region.model_validate_json(region.model_dump_json()) == region
    assert {label for label in LABELS | {"header_image"} if is_figure(label)} == {
        *("image", "figure", "chart", "header_image"),
    }


class TestPrompts:
    def test_official_ones_have_names(self) -> None:
        assert find_prompt("free") == "<image>\nFree OCR."
        assert find_prompt("markdown") == (
            "<image>\n<|grounding|>Convert the document to markdown."
        )
        assert len(PROMPTS) == 7

    def test_spaces_around_one_are_no_tokens(self) -> None:
        published = "<image>\n<|grounding|>Convert the document to markdown. "
        assert find_prompt(published) == PROMPTS["markdown"]
        assert find_prompt("\n<image>\nWhat is it?\n") == "<image>\nWhat is it?"

    def test_locate_is_told_what(self) -> None:
        assert find_prompt("locate: the fox") == (
            "<image>\nLocate <|ref|>the fox<|/ref|> in the image."
        )
        with pytest.raises(UsageError, match="has 2"):
            find_prompt("locate: a <image> b")
        for nothing in ("locate", "locate:", "locate: "):
            with pytest.raises(UsageError, match="locate:some words"):
                find_prompt(nothing)

    def test_any_text_with_one_page(self) -> None:
        assert find_prompt("<image>\nWhat is it?") == "<image>\nWhat is it?"

    @pytest.mark.parametrize("text", ["What is it?", "", "<image><image>", "Free OCR."])
    def test_without_its_place_or_with_two_it_is_refused(self, text: str) -> None:
        with pytest.raises(UsageError, match=r"needs one <image>.*name one of markdown"):
            find_prompt(text)
