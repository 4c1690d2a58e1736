"""Changes to running text that keep a reader looking instead of guessing.

Each change takes words and gives words. Knows nothing of where the words come from.
"""

import random
import re
import string
from collections.abc import Callable
from itertools import accumulate

_ASCII = "".join(map(chr, range(33, 127)))
_CODE = "ABCDEFGHJKLMNPRSTUVWXYZ0123456789-"
_UNITS = ("%", "°", "°C", "mm", "cm", "km", "kg", "g", "ml", "€", "$", "th", "st", ":", ".", ")")
_SIGNS = (
    "TOTAL", "Total:", "SUBTOTAL", "TAX", "GST", "VAT", "MwSt.", "TVA", "IVA", "RM", "EUR", "Qty",
    "@", "No.", "Nr.", "N°", "Tel:", "p.", "pp.", "S.", "Fig.", "Tab.", "vol.", "cf.", "§", "x",
    "+", "=", "-", "--", "&", "|", "[1]", "*", "**", "#", "(a)", "i)", "•", "©", "->", "<=", "...",
)  # fmt: skip
_ENTRIES = (
    "Total", "Subtotal", "Cash", "Change", "Tax", "GST", "VAT", "Date", "Time", "Cashier", "Table",
    "Invoice No", "Receipt", "Ref", "Tel", "Fax", "Qty", "Price", "Amount", "Discount", "Rounding",
    "Summe", "Bar", "Datum", "Rabais", "Montant", "Espèces", "Fecha", "Importe", "Totale", "Data",
)  # fmt: skip
_DATES = (
    "{d:02d}/{m:02d}/{y}", "{d}.{m}.{y}", "{d:02d}.{m:02d}.{s:02d}", "{y}-{m:02d}-{d:02d}",
    "{d:02d}-{m:02d}-{y}", "{m}/{d}/{s:02d}",
)  # fmt: skip
_QUOTES = {
    "en": ("“”‘’",),
    "de": ("„“‚‘", "»«›‹", "„“‚‘"),
    "fr": ("«»“”", "«»‹›", "“”‘’"),
    "es": ("«»“”", "“”‘’"),
    "it": ("«»“”", "“”‘’"),
    "pt": ("“”‘’", "«»“”"),
}
_LOOKALIKES = (
    ("rn", "m"), ("ni", "m"), ("cl", "d"), ("vv", "w"), ("ri", "n"), ("li", "h"), ("l", "I"),
    ("l", "1"), ("I", "1"), ("l", "t"), ("O", "0"), ("S", "5"), ("B", "8"), ("e", "c"), ("e", "o"),
    ("n", "u"), ("h", "b"), ("f", "t"), ("a", "s"), ("g", "q"), ("é", "ó"), ("í", "i"),
    ("ï", "i"), ("î", "i"), ("ì", "i"),
)  # fmt: skip
_LIGATURES = (("ffi", "ﬃ"), ("ffl", "ﬄ"), ("ff", "ﬀ"), ("fi", "ﬁ"), ("fl", "ﬂ"))


class Alphabet:
    """The symbols that strings without a meaning are drawn from."""

    def __init__(self, symbols: str) -> None:
        self.symbols = symbols
        self.ascii = [c for c in symbols if c in _ASCII]
        self.rare = [c for c in symbols if c not in _ASCII] or self.ascii


Change = Callable[[list[str], random.Random, Alphabet], list[str]]


def unchanged(words: list[str], rng: random.Random, alphabet: Alphabet) -> list[str]:
    """The words as they are."""
    return words


def capitals(words: list[str], rng: random.Random, alphabet: Alphabet) -> list[str]:
    """All in capitals, accents kept."""
    return [word.upper() for word in words]


def titled(words: list[str], rng: random.Random, alphabet: Alphabet) -> list[str]:
    """Each word with a capital."""
    return [word[:1].upper() + word[1:] for word in words]


def shuffled(words: list[str], rng: random.Random, alphabet: Alphabet) -> list[str]:
    """In any order."""
    return rng.sample(words, len(words))


def with_numbers(words: list[str], rng: random.Random, alphabet: Alphabet) -> list[str]:
    """Half of the words replaced by numbers, prices, dates and codes."""
    return [number_like(rng) if rng.random() < 0.5 else word for word in words]


def only_numbers(words: list[str], rng: random.Random, alphabet: Alphabet) -> list[str]:
    """Nothing but numbers, prices, dates and codes, like a row of a table."""
    return [number_like(rng) for _ in words]


def random_strings(words: list[str], rng: random.Random, alphabet: Alphabet) -> list[str]:
    """Strings of any characters, of any length up to nine."""
    lengths = [rng.randint(1, 9) for _ in words]
    common = rng.choices(alphabet.ascii, k=sum(lengths))
    letters = "".join(c if rng.random() < 0.85 else rng.choice(alphabet.symbols) for c in common)
    ends = list(accumulate(lengths))
    return [letters[end - n : end] for end, n in zip(ends, lengths, strict=True)]


def with_rare_symbols(words: list[str], rng: random.Random, alphabet: Alphabet) -> list[str]:
    """Words with one character in four replaced by an accent or sign, all equally often."""
    return [
        "".join(rng.choice(alphabet.rare) if rng.random() < 0.25 else c for c in word)
        for word in words
    ]


def lookalikes(words: list[str], rng: random.Random, alphabet: Alphabet) -> list[str]:
    """Words in most of which letters gave way to others that look nearly the same."""
    return [_mistaken(word, rng) for word in words]


def entries_of_contents(words: list[str], rng: random.Random, alphabet: Alphabet) -> list[str]:
    """A few words, points that lead from them to the edge of the line, and a page."""
    points = ["." * rng.choice((1, 1, 1, 2, 3))] * rng.randint(4, 45)
    if rng.random() < 0.4:
        points = ["".join(points)]
    page = rng.choice((str(rng.randint(1, 400)), rng.choice(("iv", "vii", "ix", "xii"))))
    return [*words[: rng.randint(1, 6)], *points, page]


def _mistaken(word: str, rng: random.Random) -> str:
    pairs = [pair for pair in _LOOKALIKES if pair[0] in word or pair[1] in word]
    if not pairs:
        return word
    one, other = rng.choice(pairs)
    return word.replace(one, other) if one in word else word.replace(other, one)


_SHARES: dict[Change, float] = {
    unchanged: 0.47,
    with_numbers: 0.14,
    capitals: 0.09,
    random_strings: 0.08,
    shuffled: 0.05,
    lookalikes: 0.05,
    titled: 0.03,
    only_numbers: 0.04,
    with_rare_symbols: 0.03,
    entries_of_contents: 0.02,
}
CHANGES = tuple(_SHARES)
"""Every change; `CUM_SHARES` says how often each is made."""
CUM_SHARES = tuple(accumulate(_SHARES.values()))
OF_LANGUAGE = frozenset({unchanged, capitals, shuffled, titled, with_numbers})
"""Changes that leave words of a language, which take its quotes and dashes."""


def typographic(text: str, rng: random.Random, language: str) -> str:
    """Curly quotes, dashes, points and sometimes ligatures in place of the plain ones."""
    opening, closing, inner, inner_closing = list(rng.choice(_QUOTES.get(language, _QUOTES["en"])))
    space = " " if language == "fr" and opening == "«" else ""
    dash = rng.choice((" – ", "—", " — "))
    text = re.sub(r"(?<=\w)'(?=\w)", "’", text)
    text = re.sub(r'(?<![^\s(\[—-])"(?=\S)', opening + space, text).replace('"', space + closing)
    text, num_opened = re.subn(r"(?<![^\s(\[—-])'(?=\S)", inner, text)
    text = text.replace("'", inner_closing if num_opened else "’")
    text = re.sub(r"(?<=\d)-(?=\d)", "–", text)
    text = re.sub(r" -{1,2} |(?<=\w)--(?=\w)", dash, text).replace("--", "—")
    if rng.random() < 0.5:
        text = text.replace("...", "…")
    if rng.random() < 0.2:
        for letters, ligature in _LIGATURES:
            text = text.replace(letters, ligature)
    return text


def number_like(rng: random.Random) -> str:
    """A number, price, date, time, code, measure, or signs that stand beside them."""
    return rng.choice(_MAKERS)(rng)


def note_like(rng: random.Random) -> str:
    """What stands small after a word, to refer to a note, an address or a source."""
    first, second = rng.randint(1, rng.choice((4, 9, 40, 150))), rng.randint(1, 60)
    forms = (f"{first}", f"{first}", f"{first}", f"{first},{second}", f"{first}-{second}")
    return rng.choice((*forms, f"[{first}]", rng.choice("abcdn*†‡§")))


def _decimal(rng: random.Random) -> str:
    return f"{rng.randint(0, 9999)}{rng.choice('..,')}{rng.randint(0, 99):02d}"


def _date(rng: random.Random) -> str:
    year = rng.randint(1800, 2035)
    return rng.choice(_DATES).format(
        d=rng.randint(1, 31), m=rng.randint(1, 12), y=year, s=year % 100
    )


def _time(rng: random.Random) -> str:
    end = rng.choice(("", f":{rng.randint(0, 59):02d}", " AM", " PM", "h", " Uhr"))
    return f"{rng.randint(0, 23)}:{rng.randint(0, 59):02d}{end}"


def _code(rng: random.Random) -> str:
    return "".join(rng.choices(_CODE, k=rng.randint(3, 12)))


def _price(rng: random.Random) -> str:
    thousands, point = rng.choice((",.", ".,", " ,", "'."))
    amount = f"{rng.randint(1, 999)}{thousands}{rng.randint(0, 999):03d}"
    cents = rng.choice(("", f"{point}{rng.randint(0, 99):02d}"))
    if rng.random() < 0.5:
        return rng.choice("$€£") + amount + cents
    return amount + cents + rng.choice((" €", " EUR", "€", " $", " CHF"))


def _measure(rng: random.Random) -> str:
    return f"{rng.randint(0, 100)}{rng.choice(('', '', '.5', ',5', ' '))}{rng.choice(_UNITS)}"


def _section(rng: random.Random) -> str:
    return ".".join(str(rng.randint(0, 20)) for _ in range(rng.randint(2, 4)))


def _formula(rng: random.Random) -> str:
    return f"{rng.choice('abcdefghijknmpqrstuvxyz')}{rng.choice('=+<>-/*^_')}{rng.randint(0, 99)}"


def _phone(rng: random.Random) -> str:
    groups = [str(rng.randint(10, 9999)) for _ in range(rng.randint(2, 4))]
    return rng.choice(("", "+", "(0)", "0")) + rng.choice(" -./").join(groups)


def _whole(rng: random.Random) -> str:
    number = str(rng.randint(0, 10 ** rng.randint(1, 9)))
    return rng.choice(("{}", "{}", "{}", "({})", "[{}]", "{}.", "-{}", "#{}", "{},")).format(number)


def _padded(rng: random.Random) -> str:
    length = rng.randint(3, 14)
    value = rng.randrange(10 ** rng.randint(0, length))
    return f"{rng.choice(('', '', 'A', '#', 'No.'))}{value:0{length}d}"


def _citation(rng: random.Random) -> str:
    number, other = rng.randint(1, 99), rng.randint(1, 99)
    name = rng.choice(string.ascii_uppercase) + "".join(rng.choices(string.ascii_letters, k=2))
    numbers = (f"{number}", f"{number}, {other}", f"{number}-{other}", f"{number}][{other}")
    names = (f"{name}{number:02d}", f"{name}{number:02d}{rng.choice('ab')}")
    inside = rng.choice((*numbers, *names))
    return f"[{inside}]{rng.choice(('', '', '.', ','))}"


def _path(rng: random.Random) -> str:
    parts = [
        "".join(rng.choice("bcdfghjklmnprstvwxz") + rng.choice("aeiou") for _ in range(syllables))
        for syllables in rng.choices((1, 2, 3), k=rng.randint(2, 3))
    ]
    joined = rng.choice(("_", "_", "/", ".", "-")).join(parts)
    return rng.choice(("", "", "www.", "/", "@")) + joined


def _leader(rng: random.Random) -> str:
    piece = rng.choice((".", "-", "=", "*", "+", "_", "-:", "-*", "x", "~", "#"))
    return piece * rng.randint(3, 14)


def _entry(rng: random.Random) -> str:
    """What stands on bills: a name, a colon, which may stand apart, and a value."""
    name = rng.choice(_ENTRIES)
    colon = rng.choice((":", " :", ": ", " : "))
    value = rng.choice((_decimal, _date, _time, _padded, _rate))(rng)
    return rng.choice((name, name.upper())) + colon + value


def _rate(rng: random.Random) -> str:
    rate = f"{rng.randint(0, 25)}{rng.choice(('', '', '.0', '.00', ',5'))}%"
    return rng.choice(("{}", "({})", "@{}", "@ {}", "{}")).format(rate)


def _sign(rng: random.Random) -> str:
    return rng.choice(_SIGNS)


_MAKERS = (
    _decimal, _date, _time, _code, _price, _measure, _section, _formula, _phone, _whole, _whole,
    _padded, _citation, _path, _leader, _sign, _entry, _rate,
)  # fmt: skip
