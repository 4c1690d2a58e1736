import unicodedata
from pathlib import Path

import pytest
from tokenizers import Tokenizer as RustTokenizer
from tokenizers import decoders, models, pre_tokenizers

from lightseek.errors import ModelError, UsageError
from lightseek.tokenizer import (
    BOS,
    BOXES,
    EOS,
    IMAGE,
    LATIN,
    PAD,
    Tokenizer,
    character_tokenizer,
    train_tokenizer,
)

SPECIALS = (PAD, BOS, EOS, IMAGE)


@pytest.fixture(scope="module")
def byte_tokenizer() -> Tokenizer:
    """One token a byte, as the last resort of the official family."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    rust = RustTokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rust.decoder = decoders.ByteLevel()
    rust.add_special_tokens(list(SPECIALS))
    return Tokenizer(rust, bos=BOS, eos=EOS, pad=PAD, image=IMAGE)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\n",
        LATIN,
        LATIN[::-1],
        "two  spaces \n and\n\nempty lines \n",
        "Größe: 3½ €, “naïve” – œuvre",
    ],
)
def test_text_survives(tiny_tokenizer: Tokenizer, text: str) -> None:
    ids = tiny_tokenizer.encode(text)
    assert tiny_tokenizer.decode(ids) == text
    assert len(ids) == len(text), "one token a character"


def test_every_symbol_has_its_own_id(tiny_tokenizer: Tokenizer) -> None:
    assert len(set(LATIN)) == len(LATIN)
    ids = [tiny_tokenizer.encode(symbol) for symbol in LATIN]
    assert ids == [[tiny_tokenizer.ids[symbol]] for symbol in LATIN]
    assert len({i for [i] in ids}) == len(LATIN)
    assert len(tiny_tokenizer) == len(LATIN) + len("\n ") + len(SPECIALS)
    assert {i for [i] in ids} <= set(range(len(tiny_tokenizer)))


def test_symbols_are_composed(tiny_tokenizer: Tokenizer) -> None:
    assert unicodedata.normalize("NFC", LATIN) == LATIN
    parted = unicodedata.normalize("NFD", "déjà Ñ")
    assert tiny_tokenizer.decode(tiny_tokenizer.encode(parted)) == "déjà Ñ"


def test_unknown_characters_become_padding(tiny_tokenizer: Tokenizer) -> None:
    assert tiny_tokenizer.encode("a日b") == [
        tiny_tokenizer.ids["a"],
        tiny_tokenizer.pad_id,
        tiny_tokenizer.ids["b"],
    ]


def test_special_tokens_are_no_text(tiny_tokenizer: Tokenizer) -> None:
    t = tiny_tokenizer
    assert len({t.pad_id, t.bos_id, t.eos_id, t.image_id}) == 4
    assert t.decode([t.bos_id, t.ids["a"], t.image_id, t.ids["b"], t.eos_id, t.pad_id]) == "ab"


@pytest.mark.parametrize("special", SPECIALS)
def test_a_page_may_print_the_name_of_a_special_token(
    tiny_tokenizer: Tokenizer, special: str, tmp_path: Path
) -> None:
    tiny_tokenizer.save(tmp_path / "tokenizer.json")
    for tokenizer in (tiny_tokenizer, Tokenizer.from_file(tmp_path / "tokenizer.json")):
        ids = tokenizer.encode(f"use {special}.")
        assert tokenizer.ids[special] not in ids
        assert tokenizer.decode(ids) == f"use {special}."


def test_a_saved_tokenizer_is_the_same(tiny_tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    tiny_tokenizer.save(path)
    again = Tokenizer.from_file(path)
    assert again.ids == tiny_tokenizer.ids
    assert (again.bos_id, again.eos_id, again.pad_id, again.image_id) == (
        tiny_tokenizer.bos_id,
        tiny_tokenizer.eos_id,
        tiny_tokenizer.pad_id,
        tiny_tokenizer.image_id,
    )
    assert again.decode(again.encode(LATIN)) == LATIN
    assert "é" in path.read_text(encoding="utf-8"), "people can read the file"


def test_a_folder_without_tokenizer_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=rf"{tmp_path.name} has no tokenizer\.json: copy it"):
        Tokenizer.from_folder(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\x89PNG\r\n"])
def test_a_file_that_is_no_tokenizer_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"tokenizer\.json is not a tokenizer\.json"):
        Tokenizer.from_file(path)


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    character_tokenizer().save(path)
    with pytest.raises(ModelError, match=r"no token <\|end\|>: it belongs to another model"):
        Tokenizer.from_file(path, eos="<|end|>")


def test_streamed_pieces_join_to_the_whole_text(
    tiny_tokenizer: Tokenizer, byte_tokenizer: Tokenizer
) -> None:
    text = " 3 € für “naïve” \n\nœuvres "
    for tokenizer in (tiny_tokenizer, byte_tokenizer):
        ids = [tokenizer.bos_id, *tokenizer.encode(text), tokenizer.eos_id]
        pieces = list(tokenizer.stream(iter(ids)))
        assert "".join(pieces) == tokenizer.decode(ids) == text
        assert len(pieces) == len(text), "a character comes as soon as it is whole"


def test_bytes_that_make_no_character_are_streamed_too(byte_tokenizer: Tokenizer) -> None:
    euro, a = byte_tokenizer.encode("€"), byte_tokenizer.encode("a")
    for ids in (euro[:2], a + euro[:1], euro[:1] + a + euro, euro[1:] + a, []):
        assert "".join(byte_tokenizer.stream(ids)) == byte_tokenizer.decode(ids)


def test_a_stream_gives_text_before_the_last_token_is_known(tiny_tokenizer: Tokenizer) -> None:
    ids = iter(tiny_tokenizer.encode("abc"))
    pieces = tiny_tokenizer.stream(ids)
    assert next(pieces) == "a"
    assert len(list(ids)) == 2, "the others have not been asked for"


@pytest.fixture(scope="module")
def trained() -> Tokenizer:
    return train_tokenizer(["the quick fox and the quiet hound\n"] * 20, 280)


@pytest.mark.parametrize("plane", range(17))
def test_every_plane_of_unicode_survives(trained: Tokenizer, plane: int) -> None:
    """Surrogates, which are no text, apart; every 17th character, and both ends."""
    points = [*range(plane << 16, (plane + 1) << 16, 17), (plane << 16) + 0xFFFF]
    text = "".join(chr(point) for point in points if not 0xD800 <= point < 0xE000)
    assert trained.decode(trained.encode(text)) == text
    ids = trained.encode(text[:50])
    assert "".join(trained.stream(ids)) == text[:50]


@pytest.mark.parametrize(
    "text", ["", " ", "\n\n", "  two  spaces ", "\r\n\ttabs", "e\u0301 \ufb01"]
)
def test_nothing_is_normalised(trained: Tokenizer, text: str) -> None:
    assert trained.decode(trained.encode(text)) == text


def test_what_is_often_written_is_short(trained: Tokenizer) -> None:
    assert len(trained) == 280
    assert len(trained.encode(" the quick")) < len(" the quick") / 2


def test_a_trained_tokenizer_has_marks_of_boxes(trained: Tokenizer, tmp_path: Path) -> None:
    trained.save(tmp_path / "tokenizer.json")
    assert trained.settings() is None
    again = Tokenizer.from_folder(tmp_path)
    assert again.ids == trained.ids
    assert again.special_ids == trained.special_ids
    assert len(again.special_ids) == 4
    ids = again.encode_prompt("<|ref|>fox<|/ref|><|det|>")
    assert [ids[0], *ids[-2:]] == [again.ids[mark] for mark in BOXES[:3]]
    assert again.decode_marked(ids) == "<|ref|>fox<|/ref|><|det|>"
    assert again.decode(ids) == "fox"


def test_a_tokenizer_smaller_than_its_bytes_is_refused() -> None:
    with pytest.raises(UsageError, match="has at least 266 tokens, not 100"):
        train_tokenizer(["text"], 100)


def test_a_language_model_must_say_what_ends_a_text(trained: Tokenizer, tmp_path: Path) -> None:
    trained.save(tmp_path / "tokenizer.json")
    with pytest.raises(ModelError, match="names no eos_token"):
        Tokenizer.of_language_model(tmp_path)


def test_the_config_may_say_what_ends_a_text(trained: Tokenizer, tmp_path: Path) -> None:
    """As that of GPT-2, whose tokenizer names no special tokens."""
    trained.save(tmp_path / "tokenizer.json")
    (tmp_path / "config.json").write_text(f'{{"eos_token_id": {trained.eos_id}}}')
    tokenizer = Tokenizer.of_language_model(tmp_path)
    assert tokenizer.eos_id == tokenizer.bos_id == trained.eos_id
    (tmp_path / "config.json").write_text('{"eos_token_id": 99999}')
    with pytest.raises(ModelError, match="names no eos_token"):
        Tokenizer.of_language_model(tmp_path)


def test_names_of_special_tokens_are_kept(trained: Tokenizer, tmp_path: Path) -> None:
    trained.save(tmp_path / "tokenizer.json")
    settings = tmp_path / "tokenizer_config.json"
    settings.write_text('{"eos_token": {"content": "<|det|>"}, "pad_token": null}')
    tokenizer = Tokenizer.of_language_model(tmp_path)
    assert tokenizer.eos_id == tokenizer.bos_id == tokenizer.pad_id == trained.ids["<|det|>"]
    assert tokenizer.image_id == trained.image_id
    written = tokenizer.settings()
    assert written is not None
    settings.write_text(written)
    assert Tokenizer.from_folder(tmp_path).special_ids == tokenizer.special_ids
