"""How far a text is from the truth: character errors, words, loops.

Texts are folded before they are compared, because a page does not show which quote or dash its
typist had in mind, nor where the file should break its lines. Figures of a set are pooled: counts
are added first and divided once, so that a line of two words does not weigh as much as a page.
Knows nothing of files, pages or models.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import astuple, dataclass

from lightseek.errors import require

_HYPHENS = "-\u2010\u2011\u00ad"
_DASHES = _HYPHENS + "\u2012\u2013\u2014\u2015\u2212\u2e3a\u2e3b\ufe58\ufe63\uff0d"
_DASH_AT_LINE_END = re.compile(rf"(?<=\w)([{_DASHES}]+)\n(?=\w)")
_DASH_RUN = re.compile(rf"[{_DASHES}]+")
_WITHOUT_WIDTH = str.maketrans(dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff"))
_FOLDED = str.maketrans(
    dict.fromkeys("‘’‚‛‹›′`´ʼ", "'")
    | dict.fromkeys("“”„‟«»″", '"')
    | {code: unicodedata.normalize("NFKC", chr(code)) for code in range(0xFB00, 0xFB07)}
    | {"…": "..."}
    | dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹₀₁₂₃₄₅₆₇₈₉", "0123456789" * 2, strict=True))
)
_LOOP = re.compile(r"(.{4,200}?)\1{4,}")


def fold(text: str) -> str:
    """The text without the differences that a page does not show.

    In this order:

    1. Characters without width (zero-width spaces and joiners, byte order marks) go.
    2. Unicode NFC: a letter and its combining accent become one character.
    3. White space at both ends of a line, and empty lines, go.
    4. Words broken at a line end are joined. A hyphen between a letter and a lower-case letter
       goes (`exam-`, `ple` -> `example`); any other dash that touches the words on both sides
       stays and only the break goes (`Anglo-`, `Saxon` -> `Anglo-Saxon`).
    5. Dashes of all lengths, hyphens and the minus sign become `-`, a run of them one `-`; a soft
       hyphen inside a line goes.
    6. Quotes of all kinds, primes, backticks and acute accents become `'` or `"`, two `'` in a row
       become `"`, `…` becomes `...`, the f and st ligatures are spelt out, raised and lowered
       figures (`²`) are plain ones.
    7. Every run of white space, line ends and page ends included, becomes one space.

    Case, accents and all other punctuation count.
    """
    composed = unicodedata.normalize("NFC", text.translate(_WITHOUT_WIDTH))
    lines = (line.strip() for line in composed.splitlines())
    joined = _DASH_AT_LINE_END.sub(_join, "\n".join(line for line in lines if line))
    plain = _DASH_RUN.sub(_one_dash, joined).translate(_FOLDED).replace("''", '"')
    return " ".join(plain.split())


def _join(dash: re.Match[str]) -> str:
    before, after = dash.string[dash.start() - 1], dash.string[dash.end()]
    is_broken_word = dash[1] in _HYPHENS and before.isalpha() and after.islower()
    return "" if is_broken_word else dash[1]


def _one_dash(run: re.Match[str]) -> str:
    return "-" if run[0].strip("\u00ad") else ""


@dataclass(frozen=True, slots=True)
class Score:
    """Counts over any number of items; `a + b` pools them, the figures are ratios of sums."""

    items: int = 0
    characters: int = 0
    """In the folded truth."""
    edits: int = 0
    """Characters to insert, delete or replace to come from what was read to the truth."""
    caseless_edits: int = 0
    words_read: int = 0
    words_true: int = 0
    words_shared: int = 0
    """Words that are in both, in any order, as often as in the one that has fewer."""
    loops: int = 0
    """Items whose text has a loop that the truth has not."""

    def __add__(self, other: "Score") -> "Score":
        return Score(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def cer(self) -> float:
        """Character error rate: 0 is perfect, 1 is an empty page, above 1 is invented text."""
        return self.edits / max(self.characters, 1)

    @property
    def caseless_cer(self) -> float:
        """Character error rate with upper and lower case taken as equal."""
        return self.caseless_edits / max(self.characters, 1)

    @property
    def word_f1(self) -> float:
        """Harmonic mean of precision and recall over the bag of words: order does not count."""
        words = self.words_read + self.words_true
        return 2 * self.words_shared / words if words else 1.0

    @property
    def repeat_rate(self) -> float:
        """Share of items whose text has a loop."""
        return self.loops / max(self.items, 1)


def score(read: str, truth: str) -> Score:
    """Compare one text with its truth; both are folded here.

    Raises:
        MissingExtraError: If rapidfuzz is not installed.
    """
    read, truth = fold(read), fold(truth)
    words_read, words_true = Counter(read.split()), Counter(truth.split())
    return Score(
        items=1,
        characters=len(truth),
        edits=_edits(read, truth),
        caseless_edits=_edits(read.casefold(), truth.casefold()),
        words_read=words_read.total(),
        words_true=words_true.total(),
        words_shared=(words_read & words_true).total(),
        loops=int(has_loop(read) and not has_loop(truth)),
    )


def score_all(texts: Iterable[str], truths: Iterable[str]) -> Score:
    """Compare as many texts with their truths, and pool what is found.

    Raises:
        MissingExtraError: If rapidfuzz is not installed.
    """
    return sum((score(*pair) for pair in zip(texts, truths, strict=True)), start=Score())


def cer(read: str, truth: str) -> float:
    """Character error rate of one text; not capped at 1."""
    return score(read, truth).cer


def caseless_cer(read: str, truth: str) -> float:
    """Character error rate of one text, upper and lower case taken as equal."""
    return score(read, truth).caseless_cer


def word_f1(read: str, truth: str) -> float:
    """F1 over the bag of words of one text; words are what stands between white space."""
    return score(read, truth).word_f1


def has_loop(text: str) -> bool:
    """Whether a reader got stuck: the same 4 to 200 characters five times or more in a row.

    The characters must hold a letter or a digit, so that leaders and rules are not taken for
    loops; line ends count as spaces, so that a repeated line is found like a repeated word.
    """
    # A space after the last word makes it as long as the ones before it.
    return any(any(map(str.isalnum, loop[1])) for loop in _LOOP.finditer(fold(text) + " "))


def _edits(read: str, truth: str) -> int:
    levenshtein = require("rapidfuzz.distance.Levenshtein", extra="eval")
    return int(levenshtein.distance(read, truth))
