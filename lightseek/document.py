"""What was read: Document > Page > Region > Line > Word, with boxes in page pixels.

What a reader hands out: JSON in, JSON out (`Document.from_json`). Knows nothing of models or
images.
"""

import itertools
import re
from enum import StrEnum
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

_BREAK = "  \n"
"""A line end that Markdown keeps."""
_MARKUP = re.compile(
    r"<(?=[A-Za-z/!?])|&(?=#?\w+;)"
    r"|^#(?=#* )|^>|(?<=^\d{3})[.)](?= )|(?<=^\d{4})[.)](?= )"
    r"|\*(?=\S)|(?<![^\W_])_(?=_*[^\W_])|`|\](?=\()|\\(?=[!-/:-@\[-`{-~])",
    re.MULTILINE,
)
"""What is printed and would be taken for HTML; for a heading, a quotation or the number of an item;
for emphasis, code, a link or an escape."""
_ENTRY = re.compile(r"(?:\. ?){4,}\w{1,5}$")
"""How an entry of the contents ends."""
_BULLETS = "•·▪■□○●→✓*–—-"
_POINT = re.compile(r"[•▪■□○●✓] \S")
"""What begins an item in whatever company; of other marks the line before must tell."""
_ITEM = re.compile(rf"(?:[{_BULLETS}]|\(?\d{{1,2}}[.)]|\(?[a-z]\)) \S")
"""How an item of a list begins."""
_ADDRESS_LINES, _ADDRESS_WIDTH = 5, 0.6
"""Most lines of an address, and its width over that of a paragraph, at most."""
_FEWEST_ENTRIES = 3
"""Lines from which their first letters tell that each stands for itself."""
_HYPHEN_AT_LINE_END = re.compile(r"(?<=[^\W\d_])[-\u2010\u00ad]\n(?=[a-zß-ÿœ])")


class Box(NamedTuple):
    """A rectangle in pixels, origin at the top left of the page."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """Pixels across."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Pixels down."""
        return self.bottom - self.top

    def union(self, other: "Box") -> "Box":
        """The smallest box around both."""
        return Box(
            min(self.left, other.left),
            min(self.top, other.top),
            max(self.right, other.right),
            max(self.bottom, other.bottom),
        )

    def iou(self, other: "Box") -> float:
        """Area shared with the other box over the area of both, 0 to 1."""
        across = min(self.right, other.right) - max(self.left, other.left)
        down = min(self.bottom, other.bottom) - max(self.top, other.top)
        shared = max(across, 0.0) * max(down, 0.0)
        both = self.width * self.height + other.width * other.height - shared
        return shared / both if both > 0 else 0.0


class Status(StrEnum):
    """What became of a page."""

    OK = "ok"
    TRUNCATED = "truncated"
    """The decoder reached its limit before the end of the text."""
    FAILED = "failed"
    """Nothing could be read; `Page.reason` says why."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Word(_Frozen):
    """Characters between white space."""

    text: str
    box: Box
    confidence: float
    """Probability that it is right, 0 to 1."""


class Line(_Frozen):
    """Words on one baseline, left to right."""

    words: tuple[Word, ...]
    box: Box
    confidence: float
    """Share of its words that are likely to be right."""

    @property
    def text(self) -> str:
        """The words with single spaces."""
        return " ".join(word.text for word in self.words)


class Region(_Frozen):
    """Lines that belong together: a paragraph, a heading, a row of a table."""

    label: str
    """`text` or `heading`, or what the model called it."""
    lines: tuple[Line, ...]
    box: Box
    written: str | None = None
    """Markdown by models that write it themselves; they do not say where lines and words stand."""
    confidence: float | None = None
    """Share of its words that are likely to be right, or of its tokens where it is `written`."""

    @property
    def text(self) -> str:
        """The lines as they stand."""
        if self.written is not None:
            return self.written
        return "\n".join(line.text for line in self.lines)

    @property
    def markdown(self) -> str:
        """The lines joined, words that were broken at a line end made whole.

        A line that ends though the next word had room, as in verses and addresses, ends here too,
        and so do lines that all begin with a capital or a figure.
        """
        return self.markdown_within(self.box.right)

    def markdown_within(self, right: float) -> str:
        """The same in a column whose lines may go so far to the right."""
        if self.written is not None:
            return self.written
        text = self.lines[0].text if self.lines else ""
        # a short item may look larger than the next one, but what has a bullet is one
        is_heading = self.label == "heading" and not text.startswith(tuple(_BULLETS))
        is_list = _ITEM.match(text) is not None
        are_entries = _are_entries(self.lines)
        for line, following in itertools.pairwise(self.lines):
            is_item = (_ITEM if is_list else _POINT).match(following.text) is not None
            is_next = are_entries or is_item
            ends = not is_heading and (is_next or _ends_early(line, following, right))
            text += (_BREAK if ends else "\n") + following.text
        joined = re.sub(r"(?<!  )\n", " ", _HYPHEN_AT_LINE_END.sub("", text))
        flow = _MARKUP.sub(r"\\\g<0>", joined)
        return f"## {flow}" if is_heading else flow


def _are_entries(lines: tuple[Line, ...]) -> bool:
    """Whether lines of different lengths all begin with a capital or a figure, as verses do.

    Of three lines or more of running text one begins in the middle of a sentence. Text in capitals
    alone tells nothing.
    """
    rights = [line.box.right for line in lines[:-1]]
    if len(lines) < _FEWEST_ENTRIES or max(rights) - min(rights) < lines[0].box.height / 3:
        return False
    if any(_HYPHEN_AT_LINE_END.search(f"{line.text}\na") for line in lines):
        return False
    firsts = (next(filter(str.isalnum, line.text), "") for line in lines)
    in_lower_case = any(c.islower() for line in lines for c in line.text)
    return in_lower_case and all(c.isupper() or c.isdigit() for c in firsts)


def _ends_early(line: Line, following: Line, right: float) -> bool:
    """Whether the first word of the following line had room on this one, and is no broken one's.

    An entry of the contents goes to the edge, and ends there.
    """
    if _HYPHEN_AT_LINE_END.search(f"{line.text}\n{following.text}"):
        return False
    if _ENTRY.search(line.text):
        return True
    space = line.box.height / 2  # more than between words
    return line.box.right + space + following.words[0].box.width < right


class Page(_Frozen):
    """One sheet."""

    number: int
    """Place in its source, from 1."""
    width: int
    """Pixels across."""
    height: int
    """Pixels down."""
    status: Status
    reason: str | None = None
    """Why the status is not `ok`."""
    regions: tuple[Region, ...] = ()
    """In reading order."""
    seconds: float = 0.0
    """Time spent on cutting and reading it."""
    confidence: float | None = None
    """Mean confidence of its regions, by their words; unknown where there are none."""
    turned: int = 0
    """Degrees clockwise by which it had to be turned to be read; boxes are on it as it lies."""

    @property
    def text(self) -> str:
        """Its regions with a blank line between them."""
        return "\n\n".join(region.text for region in self.regions if region.text)

    @property
    def markdown(self) -> str:
        """Its regions as Markdown, and the reason where it could not be read."""
        parts = [
            region.markdown_within(self._room(region)) for region in self.regions if region.text
        ]
        if self.reason is not None:
            reason = self.reason.replace("--", "- -")  # or the comment might end there
            parts.append(f"<!-- {self.status}: {reason} -->")
        return "\n\n".join(parts)

    @property
    def words(self) -> tuple[Word, ...]:
        """Every word in reading order."""
        return tuple(w for region in self.regions for line in region.lines for w in line.words)

    def _room(self, region: Region) -> float:
        """How far right the lines of a region could have gone.

        An address, or a verse, has lines far shorter than those of the paragraphs of its page, and
        nothing beside it.
        """
        own = region.box
        if not 1 < len(region.lines) <= _ADDRESS_LINES:
            return own.right
        room, narrow = own.right, own.width / _ADDRESS_WIDTH
        for other in self.regions:
            box = other.box
            if other is not region and box.top < own.bottom and box.bottom > own.top:
                return own.right
            if len(other.lines) > 1 and box.width > narrow:
                room = max(room, own.left + box.width)
        return room


class Document(_Frozen):
    """All pages of one source, in order; none is ever left out."""

    source: str
    pages: tuple[Page, ...]

    @property
    def text(self) -> str:
        """The printed lines, with a form feed between pages."""
        return "\f".join(f"{page.text}\n" for page in self.pages)

    @property
    def markdown(self) -> str:
        """Paragraphs with their lines joined, headings marked, a comment where a page begins."""
        if len(self.pages) == 1:
            return f"{self.pages[0].markdown}\n"
        return "\n\n".join(f"<!-- page {p.number} -->\n\n{p.markdown}" for p in self.pages) + "\n"

    @property
    def ok(self) -> bool:
        """Whether every page was read."""
        return all(page.status is not Status.FAILED for page in self.pages)

    def to_json(self, *, indent: int | None = 2) -> str:
        """Everything, as JSON; `Document.from_json` reads it back."""
        return self.model_dump_json(indent=indent)

    @classmethod
    def from_json(cls, text: str | bytes) -> "Document":
        """Read what `to_json` wrote.

        Raises:
            pydantic.ValidationError: If the text is not such a document.
        """
        return cls.model_validate_json(text)


def unicode_name(name: str) -> str:
    """A file name without the bytes of another encoding, which no document or report can hold."""
    return name.encode(errors="replace").decode()
