"""What the official family is asked, and what its answers mean.

A prompt is text with `<image>` where the page goes. An answer is Markdown in which marks say where
on the page each part stands, in thousandths of its sides:

    <|ref|>title<|/ref|><|det|>[[113, 80, 886, 120]]<|/det|>     DeepSeek-OCR
    # A title
    <|det|>title [113, 80, 886, 120]<|/det|># A title            Unlimited-OCR

It is taken apart mark by mark and never evaluated. Whatever a model writes gives regions: broken
boxes become the whole page, and no text is dropped; a reference with text behind it is its label.
Knows nothing of models or images.
"""

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from lightseek.document import Box, Region
from lightseek.errors import UsageError

IMAGE = "<image>"
"""Where the page stands in a prompt."""

PROMPTS: Mapping[str, str] = {
    "markdown": "<image>\n<|grounding|>Convert the document to markdown.",
    "ocr": "<image>\n<|grounding|>OCR this image.",
    "free": "<image>\nFree OCR.",
    "figure": "<image>\nParse the figure.",
    "describe": "<image>\nDescribe this image in detail.",
    "locate": "<image>\nLocate <|ref|>xxxx<|/ref|> in the image.",
    "parse": "<image>document parsing.",
}
"""The official prompts by name: six of DeepSeek-OCR, the last of Unlimited-OCR."""
WANTED = "xxxx"
"""What `locate:some words` puts its words in place of."""

FIGURES = frozenset(("image", "figure", "chart"))
"""Labels of regions that are pictures."""
LABELS = FIGURES | frozenset(
    (
        "caption",
        "code",
        "equation",
        "footer",
        "footnote",
        "formula",
        "header",
        "list",
        "page_number",
        "seal",
        "table",
        "text",
        "title",
    )
)
"""Labels, also as the end of others such as `sub_title`; any other reference is text itself."""

SCALE = 999
"""The largest coordinate of an answer."""
_MARK = re.compile(r"(<\|/?(?:ref|det)\|>|<PAGE>)")
_BOXES = re.compile(r"([^\[]*)(\[[\[\]\d\s.,+-]*)")
_QUADS = re.compile(r"\[([^\[\]]*)\]?")
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")


def find_prompt(text: str) -> str:
    """A prompt by its name, `locate:` with words to find, or a prompt as it is.

    Raises:
        UsageError: If it has no place for the page, or several.
    """
    name, colon, words = text.partition(":")
    if name == "locate":
        if not colon or not words.strip():
            raise UsageError("say what to locate: locate:some words")
        text = PROMPTS["locate"].replace(WANTED, words.strip())
    # stripped as the official code does: a space at the end would be a token
    prompt = PROMPTS.get(text, text).strip()
    if prompt.count(IMAGE) != 1:
        raise UsageError(
            f"a prompt needs one {IMAGE} where the page goes, {text!r} has {prompt.count(IMAGE)}: "
            f"write one, or name one of {', '.join(PROMPTS)}"
        )
    return prompt


def is_labelled(prompt: str) -> bool:
    """Whether parts of the answer are labelled: else a reference is what stands in its box."""
    return prompt != PROMPTS["ocr"] and "<|ref|>" not in prompt


def parse_answer(
    answer: str,
    *,
    width: int,
    height: int,
    labelled: bool = True,
    sure: Callable[[int, int], float | None] = lambda start, stop: None,
) -> tuple[Region, ...]:
    """The regions of a page, in the order in which they were written.

    Args:
        answer: What the model wrote, marks included.
        width: Pixels across the page.
        height: Pixels down the page.
        labelled: Whether references can be labels, as `is_labelled` says of the prompt.
        sure: How sure it was of the answer from one character up to another.
    """
    page = Box(0.0, 0.0, float(width), float(height))
    regions: list[Region] = []
    for part in _parts(answer):
        boxes = [_to_page(quad, page) for quad in part.quads] or [page]
        text, label = part.text.strip(), part.label.strip()
        if text and label and not (labelled or part.named):
            # a line of text that is its own reference, and more behind it
            regions += [_region("text", box, label) for box in boxes]
            label = ""
        if text:
            around = boxes[0]
            for box in boxes[1:]:
                around = around.union(box)
            regions.append(_region(label or "text", around, text, sure(part.start, part.stop)))
        elif (part.named and part.quads) or (labelled and _is_label(label)):
            regions += [_region(label, box, "") for box in boxes if part.quads]
        elif label:
            # what was asked for, or a line of text that is its own reference
            confidence = sure(part.start, part.stop)
            regions += [_region("text", box, label, confidence) for box in boxes]
    return tuple(regions)


@dataclass(slots=True)
class _Part:
    """Text behind a mark, and what the mark says of it."""

    label: str = ""
    quads: list[tuple[float, ...]] = field(default_factory=list)
    text: str = ""
    has_box: bool = False
    named: bool = False
    """Whether the label stands in the mark of the box: it is no text if the box is whole."""
    start: int = 0
    """Place in the answer of the text, or of the label while there is none."""
    stop: int = 0

    def add(self, text: str, stop: int) -> None:
        """Write on, up to a place in the answer."""
        if text.strip():
            if not self.text.strip():
                self.start = stop - len(text.lstrip())
            self.stop = stop - len(text) + len(text.rstrip())
        self.text += text


def _parts(answer: str) -> Iterator[_Part]:
    """Walk from mark to mark; one that is never closed ends where its content does."""
    part, inside, stop = _Part(), "", 0
    for piece, after in itertools.pairwise([*_MARK.split(answer), ""]):
        stop += len(piece)
        if piece in ("<|ref|>", "<PAGE>") or (
            piece == "<|det|>" and (part.has_box or part.text.strip())
        ):
            yield part
            part = _Part()
        if _MARK.fullmatch(piece):
            inside = piece
        elif inside == "<|ref|>":
            part.label += piece
            part.start, part.stop = stop - len(piece), stop
        elif inside == "<|det|>":
            label, quads, rest = _read_box(piece, closed=after == "<|/det|>")
            part.named |= bool(label) and not part.label
            part.label = part.label or label
            part.add(rest, stop)
            part.quads += quads
            part.has_box = True
        else:
            part.add(piece, stop)
    yield part


def _read_box(content: str, *, closed: bool) -> tuple[str, list[tuple[float, ...]], str]:
    """The label and boxes that a mark holds, and text in it: behind a box, or in place of one."""
    mark, newline, rest = content.partition("\n")
    found = _BOXES.match(mark)
    label = (mark if found is None else found[1]).strip()
    numbers = [_NUMBER.findall(quad) for quad in _QUADS.findall(found[2])] if found else []
    quads = [tuple(map(float, quad)) for quad in numbers if len(quad) == 4]
    if not quads and label and not _is_label(label):
        return "", [], content
    behind = mark[found.end() :] if found else ""
    # what breaks a box is no text, but the text goes on where the box was never closed
    kept = quads or (not closed and any(map(str.isalpha, behind)))
    return label, quads, (behind if kept else "") + newline + rest


def _to_page(quad: tuple[float, ...], page: Box) -> Box:
    """A box in page pixels, within the page, the right way round."""
    x1, y1, x2, y2 = (min(max(value / SCALE, 0.0), 1.0) for value in quad)
    left, right = sorted((x1 * page.right, x2 * page.right))
    top, bottom = sorted((y1 * page.bottom, y2 * page.bottom))
    return Box(left, top, right, bottom)


def _is_label(text: str) -> bool:
    return text in LABELS or text.rpartition("_")[2] in LABELS


def is_figure(label: str) -> bool:
    """Whether a label is that of a picture, such as `image` and `header_image`."""
    return label.rpartition("_")[2] in FIGURES


def _region(label: str, box: Box, text: str, confidence: float | None = None) -> Region:
    return Region(label=label, lines=(), box=box, written=text, confidence=confidence)
