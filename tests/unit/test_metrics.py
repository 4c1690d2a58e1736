import pytest

from lightseek.eval.metrics import Score, caseless_cer, cer, fold, has_loop, score, word_f1


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("‘a’ ‚b‛ ‹c› d′ `e´ fʼ", "'a' 'b' 'c' d' 'e' f'"),
        ("“a” „b‟ «c» d″ ''e''", '"a" "b" "c" d" "e"'),
        ("1–2 3—4 5−6 7‑8 a‐b ―", "1-2 3-4 5-6 7-8 a-b -"),
        ("so -- or --- or —– or ⸺", "so - or - or - or -"),
        ("ﬁ ﬂ ﬀ ﬃ ﬄ ﬆ", "fi fl ff ffi ffl st"),
        ("wait…", "wait..."),
        ("5 m² by¹² H₂O", "5 m2 by12 H2O"),
        ("e\u0301", "é"),
        (" a\t\u00a0b \u2009\n\r\n c\fd ", "a b c d"),
        ("\ufeffa\u200bb so\u00adft", "ab soft"),
    ],
)
def test_fold_drops_what_a_page_does_not_show(text: str, folded: str) -> None:
    assert fold(text) == folded


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("exam-\nple", "example"),
        ("exam\u00ad\nple", "example"),
        ("exam‐ \r\n  ple", "example"),
        ("exam-\n\n\fple", "example"),
        ("caf-\nétéria", "cafétéria"),
        ("Anglo-\nSaxon", "Anglo-Saxon"),
        ("1914-\n1918", "1914-1918"),
        ("a 3-\nmonth stay", "a 3-month stay"),
        ("there—\nand", "there-and"),
        ("there--\nand", "there-and"),
        ("there —\nand", "there - and"),
        ("- one\n- two", "- one - two"),
        ("self-made", "self-made"),
    ],
)
def test_fold_joins_words_at_line_ends(text: str, folded: str) -> None:
    assert fold(text) == folded


def test_fold_keeps_case_accents_and_punctuation() -> None:
    text = "Œuvre: ÉTÉ, d'été; (3,50 €) & «x» æ ß!"
    assert fold(text) == text.replace("«", '"').replace("»", '"')


@pytest.mark.parametrize("text", ["'‘'’", "-\u200b- \u00ad-", "a-\n\u200bb", "e\u200b\u0301 ’’’"])
def test_folding_twice_is_folding_once(text: str) -> None:
    assert fold(fold(text)) == fold(text)


def test_cer_counts_edits_over_true_characters() -> None:
    assert cer("kitten", "sitting") == pytest.approx(3 / 7)
    assert cer("", "seven ch") == 1
    assert cer("ten letters", "ten") > 1
    assert cer("‘some-\nthing’", "'something'") == 0
    assert cer("", "") == 0
    assert cer("ghost", "") > 0


def test_caseless_cer_forgives_case_only() -> None:
    assert cer("TOTAL Due", "total due") > 0
    assert caseless_cer("TOTAL Due", "total due") == 0
    assert caseless_cer("TOTAL dub", "total due") == pytest.approx(1 / 9)


def test_word_f1_ignores_order_but_not_number() -> None:
    assert word_f1("c b a", "a b c") == 1
    assert word_f1("a a a a", "a b") == pytest.approx(2 / 6)
    assert word_f1("a", "b") == 0
    assert word_f1("", "") == 1


def test_scores_are_pooled_not_averaged() -> None:
    line, page = score("x", "a"), score("a" * 99, "a" * 99)
    assert (line + page).cer == pytest.approx(1 / 100)
    assert sum([line, page], Score()) == line + page
    assert (line + page).items == 2


@pytest.mark.parametrize(
    "text",
    [
        "so it went " + "and on " * 5,
        "the the the the the",
        "a" * 20,
        "The same line.\n" * 5,
        "it was " + "a sentence of some length that a reader may come back to again. " * 5,
    ],
)
def test_loops_are_found(text: str) -> None:
    assert has_loop(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ha ha ha ha",
        "the the the the",
        "word word word word",
        "Chapter 1 " + "." * 80 + " 7",
        "_" * 40 + " " + "- " * 40,
        "1000000 of 2000000",
        "The rain in Spain stays mainly in the plain.",
    ],
)
def test_plain_text_has_no_loop(text: str) -> None:
    assert not has_loop(text)


def test_a_loop_of_the_truth_is_no_fault_of_the_reader() -> None:
    zeros = "0.00 " * 8
    assert score(zeros, zeros).repeat_rate == 0
    assert score(zeros, "0.00 1.25").repeat_rate == 1
    assert (score(zeros, "0.00") + score("0.00", "0.00")).repeat_rate == 0.5
