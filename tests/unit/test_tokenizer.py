import unicodedata
from pathlib import Path

import pytest
from tokenizers import Tokenizer as RustTokenizer
from tokenizers import decoders, models, pre_tokenizers

from lightseek.errors import ModelError
from lightseek.tokenizer import BOS, EOS, IMAGE, LATIN, PAD, Tokenizer, character_tokenizer

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


@pytest.mark.parametrize("content", [None, b"", b"{}", b"[1]", b"\x89PNG\r\n"])
def test_a_file_that_is_no_tokenizer_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "tokenizer.json"
    if content is not None:
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
