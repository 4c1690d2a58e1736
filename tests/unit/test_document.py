import pytest
from pydantic import ValidationError

from lightseek.document import Box, Document, Line, Page, Region, Status, Word


def region(text: str, *, label: str = "text", left: float = 0, top: float = 0) -> Region:
    lines = []
    for row, printed in enumerate(text.split("\n")):
        words = tuple(
            Word(
                text=word,
                box=Box(left + 20.5 * i, top + 10 * row, left + 20.5 * i + 18, top + 10 * row + 8),
                confidence=0.9,
            )
            for i, word in enumerate(printed.split())
        )
        box = words[0].box.union(words[-1].box)
        lines.append(Line(words=words, box=box, confidence=0.9))
    return Region(label=label, lines=tuple(lines), box=lines[0].box.union(lines[-1].box))


def page(*regions: Region, number: int = 1) -> Page:
    return Page(number=number, width=210, height=297, status=Status.OK, regions=regions)


def failed(number: int) -> Page:
    return Page(number=number, width=1, height=1, status=Status.FAILED, reason="page is damaged")


def document(*pages: Page) -> Document:
    return Document(source="some.pdf", pages=pages)


def test_json_round_trip_keeps_everything() -> None:
    whole = document(
        page(region("A heading", label="heading"), region("Größe “so”\nlast line")), failed(2)
    )
    again = Document.from_json(whole.to_json())
    assert again == whole
    assert isinstance(again.pages[0].words[0].box, Box)
    assert Document.from_json(whole.to_json(indent=None).encode()) == whole


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(ValidationError):
        Document.from_json('{"source": "a", "pages": [], "author": "b"}')


def test_documents_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        document().source = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("printed", "joined"),
    [
        ("two\nlines", "two lines"),
        ("an exam-\nple of it", "an example of it"),
        ("an exam\u2010\nple", "an example"),
        ("an exam\u00ad\nple", "an example"),
        ("caf-\nétéria", "cafétéria"),
        ("a self-made man", "a self-made man"),
        ("5 -\nfive", "5 - five"),
    ],
)
def test_markdown_joins_lines_and_broken_words(printed: str, joined: str) -> None:
    assert region(printed).markdown == joined


@pytest.mark.parametrize("printed", ["Anglo-\nSaxon", "1914-\n1918"])
def test_a_hyphen_that_is_not_of_a_broken_word_stays(printed: str) -> None:
    assert "-" in region(printed).markdown


def test_text_keeps_printed_lines_and_markdown_does_not() -> None:
    sheet = page(region("Title", label="heading"), region("one\ntwo"))
    assert sheet.text == "Title\n\none\ntwo"
    assert sheet.markdown == "## Title\n\none two"


def test_lines_that_end_though_there_is_room_end_in_markdown() -> None:
    address = region("Fox and Sons\n14 Lantern Street, Bristol\nBS1 4QA\nat your service for ever")
    assert address.markdown == (
        "Fox and Sons  \n14 Lantern Street, Bristol BS1 4QA  \nat your service for ever"
    )
    broken = region("of a rea-\nder\nwho reads all that there is")
    assert broken.markdown == "of a reader  \nwho reads all that there is"
    assert (
        region("Fox and\nSons of Bristol", label="heading").markdown == "## Fox and Sons of Bristol"
    )


def test_verses_and_entries_keep_their_lines() -> None:
    verse = (
        "The tide is out, the boats lie still,\nThe lamps are lit on the hill,\nAnd no one walks"
    )
    assert region(verse).markdown == verse.replace("\n", "  \n")
    entries = "Bell, London\nCarter & Co., York\n12 Harbour Road"
    assert region(entries).markdown == entries.replace("\n", "  \n")
    one_is_broken = "Das Haus war lang ver-\nSchlossen, und der alte Graf\nWohnte dort"
    for prose in (
        "The tide is out, and the boats\nThe men had lent to others lay\nstill in the harbour that",
        "In this our Time of old Kings\nAnd as the Town had been told",
        "THE TIDE IS OUT AND ALL BOATS\nLIE STILL IN THE LARGE HARBOUR\nTHAT WAS BUILT FOR",
        "The tide is out, the boats\nThe boys had lent to them\nAnd the men had sunk later",
        one_is_broken,
    ):
        assert "  \n" not in region(prose).markdown


def test_items_of_lists_stand_on_lines_of_their_own() -> None:
    for mark in "•–→○":
        items = f"{mark} no driver, no cloud\n{mark} no bill at all"
        assert region(items).markdown == items.replace("\n", "  \n")


def test_a_list_begins_on_a_line_of_its_own() -> None:
    introduced = region("Please bring to the meeting\n• the contract, signed\n• keys")
    assert introduced.markdown == introduced.text.replace("\n", "  \n")
    inline = region("The boats and the lamps lie still\n· and no one walks on the hill")
    assert "  \n" not in inline.markdown


def test_what_begins_with_a_bullet_is_no_heading() -> None:
    assert region("• Lock the door", label="heading").markdown == "• Lock the door"
    assert region("1. Doors", label="heading").markdown == "## 1. Doors"


def test_an_address_keeps_its_lines_above_a_wider_paragraph() -> None:
    address = region("Fox and Sons\nLantern Street")
    prose = region("once upon a time there was a fox\nwho read all that he could find", top=40)
    assert page(address, prose).markdown.startswith("Fox and Sons  \nLantern Street\n\nonce upon")
    beside = region("the column beside it", left=80)
    right = region("Fox and Sons\nLantern Street", left=200)
    assert page(right, prose).markdown.startswith("Fox and Sons  \nLantern Street\n\nonce upon")
    for others in ((), (prose, beside), (region("somewhere else\nand no wider", top=40),)):
        assert page(address, *others).markdown.startswith("Fox and Sons Lantern Street")


@pytest.mark.parametrize(
    ("printed", "written"),
    [
        ("# of items 5", "\\# of items 5"),
        ("a <b>name</b> < 5", "a \\<b>name\\</b> < 5"),
        ("see #4 and - more", "see #4 and - more"),
        ("5*3*2 * 4*", "5\\*3\\*2 * 4*"),
        ("__init__ and snake_case_name", "\\_\\_init__ and snake_case_name"),
        ("a `tick`, [1](2), C:\\*, C:\\dir", "a \\`tick\\`, [1\\](2), C:\\\\\\*, C:\\dir"),
        ("&copy; & Sons", "\\&copy; & Sons"),
        ("1986. A great year", "1986\\. A great year"),
        ("12. An item", "12. An item"),
        ("> than that", "\\> than that"),
    ],
)
def test_what_is_printed_is_not_taken_for_markup(printed: str, written: str) -> None:
    assert region(printed).markdown == written
    assert region(printed).text == printed


@pytest.mark.parametrize("mark", ["1. ", "• ", "a) ", "(2) "])
def test_items_of_a_list_keep_their_lines(mark: str) -> None:
    items = f"{mark}Apply the first coat.\n{mark}Wait until it is dry, then go\non."
    assert region(items).markdown == items.replace("coat.\n", "coat.  \n").replace("\non", " on")


@pytest.mark.parametrize("mark", ["1. ", "– ", "a) ", "(2) "])
def test_what_may_stand_between_words_begins_no_list(mark: str) -> None:
    prose = f"In the end he came back, as he had said, in\n{mark}of that year and stayed"
    assert region(prose).markdown == prose.replace("\n", " ")


def test_a_heading_with_numbers_is_one_line() -> None:
    heading = region("1. Of Foxes and\n2. Of Hounds", label="heading")
    assert heading.markdown == "## 1. Of Foxes and 2. Of Hounds"


def test_entries_of_the_contents_keep_their_lines() -> None:
    contents = "1 Aims of the work . . . . . . 3\n2 Methods .......... iv\n3 Results ..... 17"
    assert region(contents).markdown == contents.replace("\n", "  \n")


def test_pages_are_kept_apart() -> None:
    both = document(page(region("first")), page(region("second"), number=2))
    assert both.text == "first\n\fsecond\n"
    assert both.markdown == "<!-- page 1 -->\n\nfirst\n\n<!-- page 2 -->\n\nsecond\n"
    assert document(page(region("alone"))).markdown == "alone\n"


def test_a_failed_page_stays_visible_in_every_form() -> None:
    whole = document(page(region("first")), failed(2), page(region("third"), number=3))
    assert not whole.ok
    assert "<!-- page 2 -->\n\n<!-- failed: page is damaged -->" in whole.markdown
    assert whole.text.split("\f") == ["first\n", "\n", "third\n"]
    assert Document.from_json(whole.to_json()).pages[1] == failed(2)


def test_a_truncated_page_counts_as_read_and_says_why() -> None:
    cut = page(region("so far")).model_copy(
        update={"status": Status.TRUNCATED, "reason": "too long"}
    )
    assert document(cut).ok
    assert cut.markdown == "so far\n\n<!-- truncated: too long -->"
    arrow = cut.model_copy(update={"reason": "a-->b.png is empty"})
    assert arrow.markdown.endswith("<!-- truncated: a- ->b.png is empty -->")


def test_words_come_in_reading_order() -> None:
    sheet = page(region("a b\nc"), region("d"))
    assert [word.text for word in sheet.words] == ["a", "b", "c", "d"]


def test_union_holds_both_boxes() -> None:
    left, right = Box(0, 5, 10, 15), Box(20, 0, 30, 10)
    assert left.union(right) == right.union(left) == Box(0, 0, 30, 15)
    assert left.union(Box(2, 6, 3, 7)) == left


def test_iou_is_shared_over_joint_area() -> None:
    box = Box(0, 0, 10, 10)
    assert box.iou(box) == 1
    assert box.iou(Box(5, 0, 15, 10)) == pytest.approx(1 / 3)
    assert Box(5, 0, 15, 10).iou(box) == pytest.approx(1 / 3)
    assert box.iou(Box(2, 2, 7, 6)) == pytest.approx(0.2)


@pytest.mark.parametrize("other", [Box(10, 0, 20, 10), Box(20, 20, 30, 30), Box(5, 5, 5, 5)])
def test_boxes_that_share_no_area_have_no_iou(other: Box) -> None:
    assert Box(0, 0, 10, 10).iou(other) == 0


def test_empty_boxes_have_no_iou() -> None:
    assert Box(1, 1, 1, 1).iou(Box(1, 1, 1, 1)) == 0
