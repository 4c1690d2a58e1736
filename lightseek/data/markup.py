"""Paragraphs of HTML and XML pages, without their markup.

Knows nothing of where the pages come from.
"""

from html.parser import HTMLParser

_INLINE = frozenset(
    (
        "a", "abbr", "acronym", "app", "b", "br", "cite", "cmd", "code", "em", "emph", "file",
        "font", "gui", "guiseq", "i", "input", "kbd", "key", "keyseq", "literal", "output", "q",
        "small", "span", "strong", "sub", "sup", "sys", "tt", "u", "var",
    )
)  # fmt: skip
_SILENT = frozenset(
    (
        "script", "style", "head", "header", "nav", "aside", "noscript", "svg", "math", "info",
        "button",
    )
)  # fmt: skip


def paragraphs(page: str) -> list[str]:
    """The text of a page, a string a paragraph, heading, list item or table cell."""
    parser = _Paragraphs()
    parser.feed(page)
    parser.close()
    parser.end_paragraph()
    return parser.found


class _Paragraphs(HTMLParser):
    """Every tag ends a paragraph, but for those that stand within one."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._pieces: list[str] = []
        self._silent: list[str] = []

    def end_paragraph(self) -> None:
        text = " ".join("".join(self._pieces).split())
        if text:
            self.found.append(text)
        self._pieces.clear()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _SILENT:
            self._silent.append(tag)
        if tag not in _INLINE:
            self.end_paragraph()
        elif tag == "br":
            self._pieces.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if self._silent and tag == self._silent[-1]:
            self._silent.pop()
        if tag not in _INLINE:
            self.end_paragraph()

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self._pieces.append(data)
