"""Running text to draw, and what a reader is taught to write for it.

    fetch_text ──> folder of text ──> Corpus ──sample──> text to draw ──to_label──> text to write

Knows nothing of fonts or images.
"""

import json
import lzma
import random
import re
import tempfile
import textwrap
import unicodedata
import zlib
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path

from lightseek.data import variety
from lightseek.data.markup import paragraphs
from lightseek.data.packages import Package, each_package, keep_licence, sources
from lightseek.data.records import LOCALES, records
from lightseek.errors import UsageError
from lightseek.whole import written_whole

DRAWN_ONLY = "ﬀﬁﬂﬃﬄ…‐‑‒−―‚′″´ſ"
"""Characters that are drawn but written as others; the rest is written as it is drawn."""

_LABELS = str.maketrans(
    {
        **dict(zip("ﬀﬁﬂﬃﬄ", ("ff", "fi", "fl", "ffi", "ffl"), strict=True)),
        "…": "...",
        **dict.fromkeys("‐‑‒−", "-"),
        "―": "—",
        "‚": ",",
        **dict.fromkeys("′´", "'"),
        "″": '"',
        "ſ": "s",
        **dict.fromkeys("\u00a0\u202f" + "".join(map(chr, range(0x2000, 0x200B))), " "),
    }
)
PLAIN = {**dict.fromkeys("‘’‚‹›", "'"), **dict.fromkeys("“”„«»", '"'), **dict.fromkeys("–—―", "-")}
"""What stands for a mark that cannot be drawn."""

MAX_CHARS_PER_LANGUAGE = 8_000_000

_LANGUAGES = {"eng": "en", "fra": "fr", "deu": "de", "spa": "es", "ita": "it", "por": "pt"}
_ENGLISH_WEIGHT = 5  # with five other languages of weight 1, half of the text is English
_RECORDS_SHARE = 0.06
_NUM_RECORDS = 6_000
_HELD_OUT_ONE_IN = 50
_SHORTEST_PARAGRAPH = 4
_AT_PARAGRAPH_START = 0.3
_TYPOGRAPHIC_SHARE = 0.5


def to_label(text: str) -> str:
    """What the reader is taught to write for what is drawn.

    Ligatures become letters, … three points, special spaces a space, hyphens and the minus "-",
    the bar a dash, the low single quote a comma, primes straight quotes, the long s an s. Curly
    quotes, guillemets and the en and em dash are symbols of their own.
    """
    return text.translate(_LABELS)


def clean(text: str, drawable: Set[str]) -> str:
    """The text in characters that can be drawn, with single spaces.

    A character that cannot be drawn gives way to its label, its plain form or its base letter,
    and is left out where it has none.
    """
    return " ".join(_substituted(unicodedata.normalize("NFC", text), drawable).split())


def fetch_text(out: Path, on_progress: Callable[[str], None] = lambda message: None) -> int:
    """Download packages of text and write `out/<language>-<source>.txt.xz`, a paragraph a line.

    Args:
        out: Folder to fill; `out/licences` gets the licence of each package.
        on_progress: Told in a line what happens.

    Returns:
        Number of characters written.

    Raises:
        UsageError: If neither apt-get nor npm is there.
    """
    out.mkdir(parents=True, exist_ok=True)
    names, written = sources()["text"], 0
    with tempfile.TemporaryDirectory() as work:
        for package in each_package(names["debian"], names["npm"], Path(work), on_progress):
            for language, found in _by_language(package).items():
                written += _write(out / f"{language}-{_short(package.name)}.txt.xz", found)
            keep_licence(package, out / "licences")
    if not written:
        raise UsageError(
            f"no text could be fetched: install apt-get or npm, or put .txt files into {out}"
        )
    for language in LOCALES:
        found = dict.fromkeys(records(language, _NUM_RECORDS))
        written += _write(out / f"{language}-records.txt.xz", found)
    on_progress(f"{written:,} characters in {out}")
    return written


@dataclass(frozen=True, slots=True)
class _Shelf:
    """Text of one language and kind, one paragraph a line: a single string is the most compact."""

    language: str
    kind: str
    text: str

    def piece(self, rng: random.Random, num_chars: int) -> str:
        """Running text from anywhere, of whole words, a little longer than asked for."""
        at = rng.randrange(len(self.text))
        separator = "\n" if rng.random() < _AT_PARAGRAPH_START else " "
        start = self.text.find(separator, at) + 1
        end = self.text.find(" ", start + num_chars)
        if end < 0:
            start, end = 0, self.text.find(" ", num_chars)
        return self.text[start : end if end > 0 else None].replace("\n", " ")


class Corpus:
    """Text of several languages to draw samples from."""

    def __init__(self, shelves: dict[str, dict[str, _Shelf]], symbols: str) -> None:
        self._shelves = shelves
        self._languages = list(shelves)
        self._weights = [_ENGLISH_WEIGHT if name == "en" else 1 for name in shelves]
        self._alphabet = variety.Alphabet(symbols)
        self._drawable = frozenset(symbols + DRAWN_ONLY + " ")

    @classmethod
    def load(
        cls,
        folder: Path,
        symbols: str,
        *,
        held_out: bool = False,
        max_chars_per_language: int = MAX_CHARS_PER_LANGUAGE,
    ) -> "Corpus":
        """Read every `*.txt` and `*.txt.xz` of a folder.

        A part of the file name that is a code (`en` or `eng`) tells the language; `eltec` and
        `novels` mark novels, `records` addresses and the like, all else is modern prose.

        Args:
            folder: Holds the files, one paragraph a line, UTF-8.
            symbols: What a reader can write; nothing else is ever drawn.
            held_out: Give the paragraphs that are never given otherwise, one in fifty.
            max_chars_per_language: Half of it for each kind of text.

        Raises:
            UsageError: If the folder has no text, or none that is kept aside, or a broken file.
        """
        shelves: dict[str, dict[str, _Shelf]] = {}
        for (language, kind), paths in _groups(folder).items():
            cap = max_chars_per_language // 2 // len(paths)
            text = "\n".join(_read(path, cap, symbols, held_out=held_out) for path in paths).strip()
            if text:
                shelves.setdefault(language, {})[kind] = _Shelf(language, kind, text)
        if not shelves:
            kept_aside = f", of which one in {_HELD_OUT_ONE_IN} is kept aside" * held_out
            raise UsageError(
                f"{folder} has no text: put .txt files there, one paragraph of "
                f"{_SHORTEST_PARAGRAPH} characters and more a line{kept_aside}"
            )
        return cls(shelves, symbols)

    @property
    def num_chars(self) -> dict[str, int]:
        """Characters held, by language."""
        return {
            language: sum(len(shelf.text) for shelf in kinds.values())
            for language, kinds in self._shelves.items()
        }

    def as_written(self, rng: random.Random, num_chars: int) -> str:
        """Running text of at least so many characters, with nothing changed."""
        return clean(self._shelf(rng).piece(rng, num_chars), self._drawable)

    def sample(self, rng: random.Random, num_chars: int) -> str:
        """A piece of text to draw, of at least so many characters.

        Mostly running text, some of it shuffled, in capitals or with numbers, and some that no
        language predicts, so that a reader has to look.
        """
        text = ""
        while len(text) < num_chars:
            text = f"{text} {self._varied(rng, num_chars - len(text))}".strip()
        return text

    def _varied(self, rng: random.Random, num_chars: int) -> str:
        shelf = self._shelf(rng)
        words = shelf.piece(rng, num_chars).split(" ")
        change = rng.choices(variety.CHANGES, cum_weights=variety.CUM_SHARES)[0]
        text = " ".join(change(words, rng, self._alphabet))
        if change in variety.OF_LANGUAGE and rng.random() < _TYPOGRAPHIC_SHARE:
            text = variety.typographic(text, rng, shelf.language)
        return clean(text, self._drawable)

    def _shelf(self, rng: random.Random) -> _Shelf:
        kinds = self._shelves[rng.choices(self._languages, self._weights)[0]]
        if "records" in kinds and (rng.random() < _RECORDS_SHARE or len(kinds) == 1):
            return kinds["records"]
        return kinds[rng.choice([kind for kind in kinds if kind != "records"])]


def needed_text(folder: Path, share: float = 1.0) -> Iterator[tuple[str, str]]:
    """What `Corpus.load` takes from a folder: of each file its name and some of its paragraphs.

    Args:
        folder: Holds `*.txt` and `*.txt.xz`.
        share: Of what is needed, evenly spread.
    """
    for paths in _groups(folder).values():
        cap = MAX_CHARS_PER_LANGUAGE // 2 // len(paths)
        yield from ((path.name, "\n".join(_taken(path, cap, share))) for path in paths)


def _groups(folder: Path) -> dict[tuple[str, str], list[Path]]:
    """The files of every language and kind."""
    groups: dict[tuple[str, str], list[Path]] = {}
    for path in sorted([*folder.glob("*.txt"), *folder.glob("*.txt.xz")]):
        groups.setdefault(_told_by_name(path), []).append(path)
    return groups


def _told_by_name(path: Path) -> tuple[str, str]:
    """Language and kind of a file."""
    parts = path.name.lower().removesuffix(".xz").removesuffix(".txt").split("-")
    codes = [_LANGUAGES.get(part, part) for part in parts]
    language = next((code for code in codes if code in _LANGUAGES.values()), "other")
    if "records" in parts:
        return language, "records"
    return language, "novels" if {"eltec", "novels"} & set(parts) else "modern"


def _read(path: Path, max_chars: int, symbols: str, *, held_out: bool) -> str:
    """Paragraphs from all over a file, cleaned."""
    kept = _taken(path, max_chars)
    text = "\n".join(line for line in kept if _is_held_out(line) == held_out)
    text = unicodedata.normalize("NFC", text)
    text = _substituted(text, frozenset(symbols + DRAWN_ONLY + " \n"))
    while "  " in text:
        text = text.replace("  ", " ")
    lines = text.replace(" \n", "\n").replace("\n ", "\n").split("\n")
    return "\n".join(line for line in lines if len(line) >= _SHORTEST_PARAGRAPH)


def _taken(path: Path, max_chars: int, share: float = 1.0) -> Iterator[str]:
    """Paragraphs from all over a file, as they are."""
    content = path.read_bytes()
    if path.suffix == ".xz":
        try:
            content = lzma.decompress(content)
        except lzma.LZMAError as error:
            raise UsageError(f"{path} is cut off or damaged: fetch or copy it again") from error
    text = content.decode("utf-8", errors="replace")
    return _thinned(text.splitlines(), share * min(1.0, max_chars / max(1, len(text))))


def _is_held_out(paragraph: str) -> bool:
    """Told by the text itself, so that a paragraph found twice has one answer.

    Also where one of the two is in Fraktur: its long s is no other letter.
    """
    modern = paragraph.strip().replace("ſ", "s")
    return zlib.crc32(modern.encode()) % _HELD_OUT_ONE_IN == 0


def _thinned(paragraphs: list[str], share: float) -> Iterator[str]:
    """That share of the paragraphs, evenly spread."""
    return (p for i, p in enumerate(paragraphs) if int((i + 1) * share) > int(i * share))


def _substituted(text: str, drawable: Set[str]) -> str:
    for c in set(text) - drawable:  # a few dozen at most: faster than translating every character
        text = text.replace(c, _substitute(c, drawable))
    return text


def _substitute(c: str, drawable: Set[str]) -> str:
    """The nearest that can be drawn in place of a character."""
    if c.isspace():
        return " "
    for near in (to_label(c), PLAIN.get(c, ""), unicodedata.normalize("NFKD", c)[0]):
        if near and drawable >= set(near):
            return near
    return ""


def _by_language(package: Package) -> dict[str, dict[str, None]]:
    """Different paragraphs of a package, in order, by language."""
    found: dict[str, dict[str, None]] = {}
    for path in sorted(package.folder.rglob("*")):
        language = _language(path.relative_to(package.folder).as_posix(), package.name)
        if language and path.suffix in (".html", ".page", ".json") and path.is_file():
            found.setdefault(language, {}).update(dict.fromkeys(_passages(path)))
    return found


def _language(path: str, package: str) -> str | None:
    """Language that a path names, else its package, else English; None for all but our six."""
    code = re.search(
        r"[-/](?:html|help|guide-\w+)/([a-z]{2,3}|C)(?:[-_@]\w+)?/|\.(\w\w)\.html$", path
    )
    name = (code[1] or code[2]) if code else package.removesuffix("-us").rpartition("-")[2]
    if name == "C" or (not code and name not in LOCALES):
        return "en"
    return name if name in LOCALES else None


def _passages(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8", errors="replace")
    if path.suffix != ".json":
        return paragraphs(text)
    content = json.loads(text)
    return textwrap.wrap(content.get("text", ""), 600) if isinstance(content, dict) else []


def _write(path: Path, lines: dict[str, None]) -> int:
    text = "\n".join(lines) + "\n"
    with written_whole(path) as (file,):
        file.write_bytes(lzma.compress(text.encode(), preset=3))
    return len(text)


def _short(package: str) -> str:
    """Name of a package without its language."""
    return re.sub(r"^@|-(en-us|amd64|..)$", "", package).replace("/", "-")
