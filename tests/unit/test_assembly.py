import pytest

from lightseek.assembly import _can_be_title
from lightseek.document import Box, Line, Word

BOX = Box(0, 0, 100, 20)


def lines(text: str) -> list[Line]:
    words = (
        tuple(Word(text=word, box=BOX, confidence=1.0) for word in line.split())
        for line in text.split("\n")
    )
    return [Line(words=own, box=BOX, confidence=1.0) for own in words]


@pytest.mark.parametrize(
    ("text", "is_title"),
    [
        ("The Whale", True),
        ("CHAPTER I.", True),
        ("Chapitre premier.", True),
        ("THE ADVENTURES OF A FOX AND OF ALL HIS FRIENDS.", True),
        ("What we found there after many weeks\nat sea", True),
        ("Please pay within 14 days. If anything is missing, call us.", False),
        ("and look at the result.", False),
        ("14\n1851", False),
        ("The Whale\n7", False),
    ],
)
def test_large_type_is_a_heading_but_for_sentences_and_figures(text: str, is_title: bool) -> None:
    assert _can_be_title(lines(text)) is is_title
