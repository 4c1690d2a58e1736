import lzma
import random
import re
from collections import Counter
from pathlib import Path

import pytest

from lightseek.data import variety
from lightseek.data.corpus import DRAWN_ONLY, Corpus, clean, to_label
from lightseek.data.markup import paragraphs
from lightseek.data.records import records
from lightseek.errors import UsageError
from lightseek.tokenizer import LATIN

ENGLISH = (
    '"Well," said the old man, "it\'s late - half the finest office is gone..." He sat 10-20 days.'
)
GERMAN = 'Der alte Mann saß am Fenster und sagte: "Es wird spät, wir müssen über die Brücke gehen."'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    lines = "\n".join(f"{ENGLISH} Paragraph {i} ends here." for i in range(400))
    with lzma.open(folder / "eltec-eng.txt.xz", "wt", encoding="utf-8") as file:
        file.write(lines)
    lines = "\n".join(f"{GERMAN} Absatz {i} ist zu Ende." for i in range(400))
    (folder / "de-handbook.txt").write_text(lines, encoding="utf-8")
    (folder / "de-records.txt").write_text("IBAN DE89 3704 0044 0532\n" * 9, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def corpus(folder: Path) -> Corpus:
    return Corpus.load(folder, LATIN)


def _samples(corpus: Corpus, count: int, num_chars: int = 120) -> list[str]:
    rng = random.Random(1)
    return [corpus.sample(rng, num_chars) for _ in range(count)]


def test_languages_come_from_file_names(corpus: Corpus) -> None:
    assert set(corpus.num_chars) == {"en", "de"}
    assert min(corpus.num_chars.values()) > 20_000


@pytest.mark.parametrize("num_chars", [1, 40, 200, 5_000])
def test_samples_are_long_enough(corpus: Corpus, num_chars: int) -> None:
    assert all(len(text) >= num_chars for text in _samples(corpus, 50, num_chars))


def test_samples_hold_only_what_can_be_drawn(corpus: Corpus) -> None:
    text = "".join(_samples(corpus, 500))
    assert set(text) <= set(LATIN + DRAWN_ONLY + " ")
    assert set(to_label(text)) <= set(LATIN + " ")
    assert "  " not in text


def test_text_as_written_is_running_text(corpus: Corpus) -> None:
    rng = random.Random(3)
    for _ in range(20):
        text = corpus.as_written(rng, 60)
        assert len(text) >= 60
        assert sum(c.islower() for c in text) > 30


def test_every_symbol_turns_up(corpus: Corpus) -> None:
    counts = Counter("".join(_samples(corpus, 3_000, 200)))
    assert min(counts[symbol] for symbol in LATIN) >= 20


def test_the_generator_alone_decides(corpus: Corpus, folder: Path) -> None:
    assert _samples(corpus, 30) == _samples(Corpus.load(folder, LATIN), 30)
    assert len(set(_samples(corpus, 30))) == 30


def test_a_smaller_alphabet_is_kept_to(folder: Path) -> None:
    ascii_only = LATIN[:94]
    text = to_label(" ".join(_samples(Corpus.load(folder, ascii_only), 200)))
    assert set(text) <= set(ascii_only + " ")
    assert "uber" in text  # über without its dots, not bere


def test_kept_aside_text_is_never_given_otherwise(tmp_path: Path) -> None:
    lines = "\n".join(f"{ENGLISH} In Ref{i:04d} it ends." for i in range(1_000))
    (tmp_path / "en.txt").write_text(lines, encoding="utf-8")
    train, held = (
        set(re.findall(r"ref(\d{4})", " ".join(_samples(side, 2_000)).lower()))
        for side in (Corpus.load(tmp_path, LATIN, held_out=aside) for aside in (False, True))
    )
    assert len(train) > 500
    assert len(held) > 5
    assert not train & held


def test_length_is_capped(folder: Path) -> None:
    small = Corpus.load(folder, LATIN, max_chars_per_language=10_000)
    assert all(size <= 10_000 for size in small.num_chars.values())
    assert min(small.num_chars.values()) > 4_000


def test_a_folder_without_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no text: put \.txt files there"):
        Corpus.load(tmp_path, LATIN)
    (tmp_path / "en.txt").write_text("A paragraph that is long enough to be one of the text.\n" * 9)
    with pytest.raises(UsageError, match="of which one in 50 is kept aside"):
        Corpus.load(tmp_path, LATIN, held_out=True)


def test_a_paragraph_in_fraktur_is_kept_aside_with_its_like(tmp_path: Path) -> None:
    words = "So ist dies eine Seite, die sich nur durch ihre Zahl von anderen unterscheidet:"
    modern = [f"{words} {number}." for number in range(400)]
    for name, lines in (("modern", modern), ("old", [m.replace("s", "ſ") for m in modern])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "de.txt").write_text("\n".join(lines))
    kept = (Corpus.load(tmp_path / name, LATIN, held_out=True) for name in ("modern", "old"))
    drawn = [to_label(corpus.as_written(random.Random(1), 500)) for corpus in kept]
    assert drawn[0] == drawn[1] != ""


def test_a_file_that_is_cut_off_is_named(tmp_path: Path) -> None:
    whole = lzma.compress(b"A paragraph that is long enough to be one of the text.\n" * 99)
    (tmp_path / "en.txt.xz").write_bytes(whole[:-9])
    with pytest.raises(UsageError, match=r"en\.txt\.xz is cut off or damaged"):
        Corpus.load(tmp_path, LATIN)


@pytest.mark.parametrize(
    ("drawn", "written"),
    [
        ("eﬃcient ﬂow…", "efficient flow..."),
        ("a‑b − c", "a-b - c"),
        ("Haſe und Haus", "Hase und Haus"),
        ("‚so‘ ― 5′ 3″", ",so‘ — 5' 3\""),
        ("l’été « à 5\u202f€ » – “oui” — non", "l’été « à 5 € » – “oui” — non"),
    ],
)
def test_labels(drawn: str, written: str) -> None:
    assert to_label(drawn) == written


def test_drawn_only_is_what_has_another_label() -> None:
    assert all(to_label(c) != c for c in DRAWN_ONLY)
    assert all(to_label(c) == c for c in LATIN)
    assert set("".join(map(to_label, DRAWN_ONLY))) <= set(LATIN)


def test_clean_takes_the_nearest_that_can_be_drawn() -> None:
    assert clean("e\u0301te\u0301 \u0101 漢 \t\n x", frozenset(LATIN)) == "été a x"
    assert clean("“ﬁne” – l’eau", frozenset(LATIN[:94])) == '"fine" - l\'eau'


def test_typographic_marks_suit_the_language() -> None:
    german = {variety.typographic('Er rief: "Ja!"', random.Random(i), "de") for i in range(9)}
    french = {variety.typographic('Il dit: "Oui!"', random.Random(i), "fr") for i in range(9)}
    assert german == {"Er rief: „Ja!“", "Er rief: »Ja!«"}
    assert french == {"Il dit: « Oui! »", "Il dit: “Oui!”"}
    english = variety.typographic("'It's so,' he--10-20 - said", random.Random(3), "en")
    assert "’s so,’ he" in english
    assert "10–20" in english
    assert "--" not in english


def test_changes_happen_as_often_as_said(corpus: Corpus) -> None:
    texts = _samples(corpus, 2_000)
    capitals = sum(text == text.upper() for text in texts) / len(texts)
    assert 0.07 < capitals < 0.18  # those in capitals, and those of numbers alone
    assert sum("“" in text or "„" in text or "»" in text for text in texts) > 400
    assert sum('"' in text for text in texts) > 400


def test_accents_stay_in_capitals() -> None:
    alphabet = variety.Alphabet(LATIN)
    assert variety.capitals(["été", "über"], random.Random(0), alphabet) == ["ÉTÉ", "ÜBER"]


def test_lookalikes_give_way_to_each_other() -> None:
    alphabet, words = variety.Alphabet(LATIN), ["modern", "filled", "xyz"]
    made = [variety.lookalikes(words, random.Random(i), alphabet) for i in range(200)]
    assert {"modem", "niodern", "modcrn"} <= {first for first, _, _ in made}
    assert all(second != "filled" and third == "xyz" for _, second, third in made)


def test_points_lead_from_an_entry_to_its_page() -> None:
    rng, alphabet = random.Random(0), variety.Alphabet(LATIN)
    for _ in range(50):
        words = variety.entries_of_contents(["The", "old", "pier"] * 3, rng, alphabet)
        entry = " ".join(words)
        assert re.fullmatch(r"The( \w+)*( ?\.)+ [\divx]+", entry), entry
        assert entry.count(".") >= 4


def test_number_like_is_short_and_various() -> None:
    rng = random.Random(2)
    made = {variety.number_like(rng) for _ in range(2_000)}
    assert len(made) > 1_000
    assert all(0 < len(text) < 30 for text in made)


def test_markup_is_left_out() -> None:
    page = (
        "<html><head><title>no</title><style>p {}</style></head><body><nav>no</nav>"
        "<h1>One &amp; <b>two</b></h1><p>A\n long <a href='x'>line</a>.<br>More"
        "<li>item<table><tr><td>1</td><td>2</td></table></body>"
    )
    assert paragraphs(page) == ["One & two", "A long line. More", "item", "1", "2"]


def test_records_are_the_same_for_a_seed() -> None:
    pytest.importorskip("faker")
    lines = list(records("de", 40))
    assert lines == list(records("de", 40))
    assert lines != list(records("de", 40, seed=1))
    assert all("\n" not in line and len(line) > 10 for line in lines)
