"""What stands on a page: kinds of documents as typst source, beside the text that they print.

    Writer + a kind ──> Manuscript

Whatever is printed goes through `Writer.say`, in the order in which it is printed. Lengths are in
points. Knows nothing of PDF or images.
"""

import random
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import NamedTuple

from lightseek.data.corpus import Corpus, clean
from lightseek.data.fonts import Face
from lightseek.data.variety import number_like

SPACE, LINE, BLOCK = " ", "\n", "\n\n"
"""What parts a piece of text from the one before."""

_LETTER_WIDTH = 0.52  # em, on average
_WIDE_LETTER = 0.66
_BULLETS = ("•", "–", "-", "*", "■", "○", "→", "·")
_CURRENCIES = ("$", "€", "£", "EUR", "USD")


class Hand(NamedTuple):
    """A face, and the arguments by which typst finds it."""

    face: Face
    typst: str


class Paper(NamedTuple):
    """A sheet and its margins."""

    width: float
    height: float
    margin_x: float
    margin_y: float

    @property
    def room(self) -> float:
        """Between the side margins."""
        return self.width - 2 * self.margin_x


class Manuscript(NamedTuple):
    """What typst is given, and what should then be read."""

    source: str
    text: str
    """Pieces parted by `SPACE`, `LINE` and `BLOCK`; where lines break is for typst to say."""


class Writer:
    """Writes a page in one family.

    Args:
        rng: Source of every decision.
        corpus: Source of the words.
        plain: What most is set in.
        strong: For headings and some of the words.
        paper: What is written on.
        size: Of the type.
    """

    def __init__(
        self,
        rng: random.Random,
        corpus: Corpus,
        plain: Hand,
        strong: Hand,
        paper: Paper,
        size: float,
    ) -> None:
        self.rng, self.paper, self.size = rng, paper, size
        self._corpus, self._plain, self._strong = corpus, plain, strong
        self._justified = rng.random() < 0.5
        self._leading = rng.uniform(0.4, 0.95)
        self._indent = rng.choice((0, 0, 0, 1, 1.5))
        self._spacing = self._leading if self._indent else self._leading + rng.uniform(0.2, 1)
        self._covers = plain.face.covers & strong.face.covers | {" "}
        self._text: list[str] = []

    def manuscript(self, kind: "Kind") -> Manuscript:
        """Write a page of a kind."""
        paper = self.paper
        setup = [
            f"set page(width: {paper.width}pt, height: {paper.height}pt, "
            f"margin: (x: {paper.margin_x}pt, y: {paper.margin_y}pt))",
            f"set text({self._plain.typst}, size: {self.size}pt, fallback: false, "
            "hyphenate: false, ligatures: false, features: (calt: 0, rlig: 0))",
            f"set par(leading: {self._leading}em, spacing: {self._spacing}em, "
            f"justify: {str(self._justified).lower()})",
        ]
        source = "\n".join(("#{", *setup, *kind(self), "}"))
        return Manuscript(source, "".join(self._text))

    def chance(self, probability: float) -> bool:
        """Whether to do something that is done so often."""
        return self.rng.random() < probability

    def num_lines(self, share: float) -> int:
        """Lines that fill a share of the height of the paper."""
        height = self.paper.height - 2 * self.paper.margin_y
        return int(share * height / (self.size * (0.7 + self._leading)))

    def num_chars(self, share: float) -> float:
        """Characters that fill a share of the paper."""
        return self.num_lines(share) * self.paper.room / (_LETTER_WIDTH * self.size)

    def words(self, num_chars: int, room: float | None = None) -> list[str]:
        """Words of about so many characters together, none wider than there is room."""
        longest = max(4, int((room or self.paper.room) / (_WIDE_LETTER * self.size)))
        words = clean(self._corpus.sample(self.rng, num_chars), self._covers).split()
        ends = accumulate(len(word) + 1 for word in words)
        return [
            w for w, end in zip(words, ends, strict=True) if len(w) <= longest and end <= num_chars
        ]

    def phrase(self, most: int) -> str:
        """A few words, of so many characters at most."""
        words = self.words(most)[: self.rng.randint(1, 5)]
        while words and len(" ".join(words)) > most:
            words.pop()
        return " ".join(words)

    def number(self, most: int) -> str:
        """A number, price, date or code, of so many characters at most."""
        number = clean(number_like(self.rng), self._covers)
        return number if 0 < len(number) <= most else str(self.rng.randrange(100))

    def say(self, text: str, after: str) -> str:
        """Note that a text is printed now, and give it as typst writes it."""
        text = clean(text, self._covers)
        if text:
            self._text.append(f"{after if self._text else ''}{text}")
        return _literal(text)

    def loud(self, text: str, after: str, scale: float = 1.0) -> str:
        """The same in the strong face."""
        return f"text({self._strong.typst}, size: {scale}em, {self.say(text, after)})"

    def lines(self, texts: list[str]) -> str:
        """Lines under each other."""
        said = [self.say(text, LINE if i else BLOCK) for i, text in enumerate(texts)]
        return f"block({' + linebreak() + '.join(said)})"

    def paragraph(self, words: list[str]) -> str:
        """Running text, some of its words emphasised."""
        first, last = sorted(self.rng.randrange(len(words) + 1) for _ in "ab")
        if not self.chance(0.2) or last - first > 8:
            first = last = len(words)
        said = self.say(" ".join(words[:first]), BLOCK)
        if first < last:
            after = SPACE if first else BLOCK
            emphasised = " ".join(words[first:last])
            loud = self.chance(0.7)
            middle = self.loud(emphasised, after) if loud else self.say(emphasised, after)
            said += f' + " " + {middle if loud else f"underline({middle})"} + " "'
            said += f" + {self.say(' '.join(words[last:]), SPACE)}"
        return f"par(first-line-indent: (amount: {self._indent}em, all: true), {said})"

    def heading(self, room: float | None = None) -> str:
        """A line or two in the strong face, larger, sometimes numbered or in the middle."""
        scale = self.rng.uniform(1, 1.8)
        text = self.phrase(int((room or self.paper.room) / (_WIDE_LETTER * self.size * scale)))
        if self.chance(0.3):
            text = f"{self.rng.randint(1, 12)}{self.rng.choice(('.', '.1', ')', ' –'))} {text}"
        if self.chance(0.2):
            text = text.upper()
        side = self.rng.choice(("left", "left", "center"))
        space = f"above: {self.rng.uniform(0.8, 2)}em, below: {self.rng.uniform(0.5, 1.2)}em"
        return f"block({space}, align({side}, {self.loud(text, BLOCK, scale)}))"

    def prose(self, num_chars: float, room: float | None = None) -> Iterator[str]:
        """Paragraphs of so many characters together, some with headings."""
        while num_chars > 0:
            if self.chance(0.12):
                yield self.heading(room)
            length = self.rng.choice((90, 250, 400, 600, 900))
            words = self.words(min(length, max(60, int(num_chars))), room)
            num_chars -= len(" ".join(words)) + 30
            yield self.paragraph(words)


Kind = Callable[[Writer], Iterator[str]]


def _literal(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def prose(w: Writer) -> Iterator[str]:
    """A page of a book, a report or an article."""
    if w.chance(0.3):
        side = w.rng.choice(("left", "center", "right"))
        yield f"align({side}, {w.say(f'{w.phrase(30)} {w.rng.randint(1, 999)}', BLOCK)})"
    yield from w.prose(w.num_chars(w.rng.choice((0.5, 0.8, 1, 1.1))))


def two_columns(w: Writer) -> Iterator[str]:
    """A title across, then two columns."""
    gutter = w.rng.uniform(1.5, 3) * w.size
    room = (w.paper.room - gutter) / 2
    yield f"align(center, {w.loud(w.phrase(40), BLOCK, w.rng.uniform(1.3, 2.2))})"
    if w.chance(0.5):
        yield f"align(center, {w.say(w.phrase(50), BLOCK)})"
    blocks = list(w.prose(w.num_chars(w.rng.uniform(0.5, 0.9)), room))
    yield f"columns(2, gutter: {gutter}pt, {{ {'; '.join(blocks)} }})"


def letter(w: Writer) -> Iterator[str]:
    """Sender, date, address, subject, salutation, paragraphs, signature."""
    side = w.rng.choice(("left", "right", "center"))
    sender = [w.phrase(28).title(), *(f"{w.phrase(14)} {w.number(12)}" for _ in range(2))]
    yield f"align({side}, {w.lines(sender)})"
    date = w.say(f"{w.phrase(12)}, {_date(w)}", BLOCK)
    yield f"align({w.rng.choice(('left', 'right'))}, {date})"
    yield w.lines([w.phrase(24).title() for _ in range(w.rng.randint(2, 4))])
    yield f"block({w.loud(f'{w.phrase(20)}: {w.phrase(30)}', BLOCK)})"
    yield w.paragraph(f"{w.phrase(24)},".split())
    yield from w.prose(w.num_chars(w.rng.uniform(0.2, 0.4)))
    yield w.paragraph(w.phrase(24).split())
    yield w.lines([w.phrase(20).title(), w.phrase(20)])


def bullets(w: Writer) -> Iterator[str]:
    """Items with bullets, letters or numbers between paragraphs."""
    yield from w.prose(w.num_chars(0.1))
    num_chars = w.num_chars(w.rng.uniform(0.4, 0.8))
    while num_chars > 0:
        bullet = w.rng.choice(_BULLETS)
        mark = w.rng.choice(("{b}", "{b}", "{i}.", "({i})", "{i})", "{a})"))
        for i in range(1, w.rng.randint(3, 8)):
            words = w.words(w.rng.choice((20, 60, 60, 150)), 0.8 * w.paper.room)
            num_chars -= len(" ".join(words)) + 30
            said = w.say(mark.format(b=bullet, i=i, a="?abcdefgh"[i]), BLOCK)
            item = w.say(" ".join(words), SPACE)
            yield f"grid(columns: (2em, 1fr), {said}, {item})"
        if w.chance(0.5):
            yield from w.prose(60)


def table(w: Writer) -> Iterator[str]:
    """Names and numbers in columns, with rules, without, or with every second row shaded."""
    if w.chance(0.5):
        yield w.heading()
    num_cols = max(2, min(w.rng.randint(2, 7), int(w.paper.room / (6 * w.size))))
    most = max(2, int(w.paper.room / (num_cols + 1) / (_WIDE_LETTER * w.size) - 1))
    header = [w.loud(w.phrase(most) or "No.", SPACE if x else BLOCK) for x in range(num_cols)]
    cells = []
    for _ in range(w.num_lines(w.rng.uniform(0.2, 0.5))):
        cells += [w.phrase(2 * most) or "-", *(w.number(most) for _ in range(1, num_cols))]
    side = w.rng.choice(("right", "right", "center", "left"))
    yield (
        f"table(columns: (2fr, {'1fr, ' * (num_cols - 1)}), {_rules(w)}, "
        f"align: (x, y) => if x == 0 {{ left }} else {{ {side} }}, "
        f"{', '.join(header)}, {_rows(w, cells, num_cols, LINE)})"
    )


def invoice(w: Writer) -> Iterator[str]:
    """Sender, number and date, what was bought, what it costs."""
    yield f"block({w.loud(w.phrase(24).upper(), BLOCK, w.rng.uniform(1.2, 2))})"
    yield w.lines([f"{w.phrase(14)} {w.number(10)}" for _ in range(3)])
    facts = [w.phrase(12) or "No.", _code(w), "Date", _date(w)]
    yield f"grid(columns: (8em, auto), row-gutter: 0.6em, {_rows(w, facts, 2)})"
    cells = ["Item", "Qty", "Price", "Amount"]
    total = 0
    for _ in range(w.num_lines(w.rng.uniform(0.08, 0.25))):
        amount, cents = w.rng.randint(1, 20), w.rng.randint(50, 30_000)
        total += amount * cents
        cells += [w.phrase(20) or "-", str(amount), _money(cents), _money(amount * cents)]
    yield (
        f"table(columns: (1fr, auto, auto, auto), align: (left, right, right, right), {_rules(w)}, "
        f"{_rows(w, cells, 4)})"
    )
    yield f"align(right, grid(columns: 2, gutter: 0.7em, {_rows(w, _sums(w, total), 2)}))"
    yield w.paragraph(w.words(120))


def receipt(w: Writer) -> Iterator[str]:
    """The strip of paper of a till."""
    most = int(w.paper.room / (_WIDE_LETTER * w.size))
    yield f"align(center, {w.loud(w.phrase(most).upper(), BLOCK)})"
    head = [w.phrase(most - 2), w.number(most), f"{_code(w)} {_year(w)}"]
    yield f"align(center, {w.lines(head)})"
    cells, total = [], 0
    for _ in range(w.num_lines(w.rng.uniform(0.2, 0.5))):
        cents = w.rng.randint(50, 9_000)
        total += cents
        cells += [w.phrase(max(6, most - 9)).upper() or "-", _money(cents)]
    columns = "columns: (1fr, auto), align: (left, right), row-gutter: 0.6em"
    yield f"grid({columns}, {_rows(w, cells, 2)})"
    yield 'line(length: 100%, stroke: (thickness: 0.6pt, dash: "dashed"))'
    yield f"grid({columns}, {_rows(w, _sums(w, total), 2)})"
    yield f"align(center, {w.say(w.phrase(most), BLOCK)})"


def _rows(w: Writer, cells: list[str], num_cols: int, after: str = BLOCK) -> str:
    """Cells that are read row by row."""
    parted = [LINE if i % num_cols == 0 else SPACE for i in range(len(cells))]
    parted[:1] = [after] * bool(cells)
    return ", ".join(w.say(cell, before) for cell, before in zip(cells, parted, strict=True))


def _rules(w: Writer) -> str:
    return w.rng.choice(
        (
            "stroke: none",
            f"stroke: {w.rng.uniform(0.3, 1)}pt",
            "stroke: (x, y) => if y == 0 { (bottom: 0.8pt) }",
            "stroke: (x, y) => (bottom: 0.4pt)",
            "stroke: none, fill: (x, y) => if calc.odd(y) { luma(225) }",
        )
    )


def _sums(w: Writer, cents: int) -> list[str]:
    rate, currency = w.rng.choice((5, 7, 10, 19, 20, 22)), w.rng.choice(_CURRENCIES)
    tax = cents * rate // 100
    return [
        *("Subtotal", _money(cents)),
        *(f"{w.rng.choice(('VAT', 'Tax', 'TVA', 'MwSt.', 'IVA'))} {rate}%", _money(tax)),
        *("TOTAL", f"{currency} {_money(cents + tax)}"),
    ]


def _money(cents: int) -> str:
    return f"{cents // 100:,}.{cents % 100:02d}"


def _code(w: Writer) -> str:
    return f"{w.rng.choice('ABCFRX')}-{w.rng.randint(100, 99_999)}"


def _date(w: Writer) -> str:
    day, month = w.rng.randint(1, 28), w.rng.randint(1, 12)
    return w.rng.choice(("{}.{}.{}", "{}/{}/{}", "{:02d}-{:02d}-{}")).format(day, month, _year(w))


def _year(w: Writer) -> int:
    return w.rng.randint(1890, 2035)


KINDS: dict[str, Kind] = {
    "prose": prose,
    "two_columns": two_columns,
    "letter": letter,
    "list": bullets,
    "table": table,
    "invoice": invoice,
    "receipt": receipt,
}
