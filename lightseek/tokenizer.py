"""Text to token ids and back, for any `tokenizer.json`.

The models of the official family bring their own file, as language models do. `nano` reads
characters: its tokenizer is made here from `LATIN`, because a small model learns a hundred symbols
far faster than thousands of word pieces. `train_tokenizer` makes one of word pieces from text.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as RustTokenizer
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from lightseek.errors import ModelError, UsageError

SETTINGS = "tokenizer_config.json"
"""Names of the special tokens, beside a `tokenizer.json`."""

PAD, BOS, EOS, IMAGE = "<pad>", "<bos>", "<eos>", "<image>"
OFFICIAL = {
    "pad": "<｜▁pad▁｜>",
    "bos": "<｜begin▁of▁sentence｜>",
    "eos": "<｜end▁of▁sentence｜>",
    "image": IMAGE,
}
"""Special tokens of the official family, where its folder does not name others."""

BOXES = ("<|ref|>", "<|/ref|>", "<|det|>", "<|/det|>", "<|grounding|>")
"""Marks of boxes, as `lightseek.grounding` reads them."""

LATIN = (
    "".join(map(chr, range(33, 127)))
    + "".join(map(chr, range(0xC0, 0x100)))
    + "ŒœŠšŽžŸ"
    + "‘’“”„«»‹›–—•·"
    + "¢£¥€¡¿§°©®™±µ¶ªº¹²³¼½¾†‡‰¦¬"
    + "≤≥≠≈∞√→←■□●○✓"
)
"""Every printed symbol that nano can write: ASCII, Western European letters, signs."""


def character_tokenizer(symbols: str = LATIN) -> "Tokenizer":
    """A tokenizer with one token a character: specials, line end, space, then the symbols."""
    vocabulary = [PAD, BOS, EOS, IMAGE, "\n", " ", *symbols]
    rust = RustTokenizer(
        models.WordLevel({token: i for i, token in enumerate(vocabulary)}, unk_token=PAD)
    )
    rust.normalizer = normalizers.NFC()
    rust.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    rust.decoder = decoders.Fuse()
    rust.add_special_tokens([PAD, BOS, EOS, IMAGE])
    return Tokenizer(rust, bos=BOS, eos=EOS, pad=PAD, image=IMAGE)


def train_tokenizer(lines: Iterable[str], size: int) -> "Tokenizer":
    """A byte-level BPE tokenizer of one's own text (GPT-2): every text survives it.

    Args:
        lines: The text, piece by piece.
        size: Tokens, specials and the 256 bytes included; less where the text has fewer pieces.

    Raises:
        UsageError: If the size leaves no room for a piece of two bytes.
    """
    specials = [PAD, BOS, EOS, IMAGE, *BOXES]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    least = len(specials) + len(alphabet) + 1
    if size < least:
        raise UsageError(f"a tokenizer of bytes has at least {least} tokens, not {size}")
    rust = RustTokenizer(models.BPE())
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rust.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=specials,
        initial_alphabet=sorted(alphabet),
        show_progress=False,
    )
    rust.train_from_iterator(lines, trainer)
    return Tokenizer(rust, bos=BOS, eos=EOS, pad=PAD, image=IMAGE)


class Tokenizer:
    """A `tokenizer.json` with the special tokens that reading needs."""

    def __init__(self, rust: RustTokenizer, *, bos: str, eos: str, pad: str, image: str) -> None:
        self._rust = rust
        self._names = {"pad": pad, "bos": bos, "eos": eos, "image": image}
        # a page that prints "<image>" holds no image: its text is spelt like any other
        rust.encode_special_tokens = True
        self.bos_id, self.eos_id, self.pad_id, self.image_id = (
            self._special(token) for token in (bos, eos, pad, image)
        )
        self.special_ids = frozenset((self.bos_id, self.eos_id, self.pad_id, self.image_id))

    @classmethod
    def from_file(
        cls, path: Path, *, bos: str = BOS, eos: str = EOS, pad: str = PAD, image: str = IMAGE
    ) -> "Tokenizer":
        """Load a `tokenizer.json`.

        Raises:
            ModelError: If the file is missing, broken or lacks a special token.
        """
        return cls(_load(path), bos=bos, eos=eos, pad=pad, image=image)

    @classmethod
    def from_folder(cls, folder: Path) -> "Tokenizer":
        """Load the `tokenizer.json` of a model folder.

        Its special tokens are those that a `tokenizer_config.json` beside it names; where there is
        none, those of the official family or of nano, whichever it has.

        Raises:
            ModelError: If a file is missing, broken or lacks a special token.
        """
        rust = _load(folder / "tokenizer.json")
        return cls(rust, **{**_assumed(rust), **_named(folder)})

    @classmethod
    def of_language_model(cls, folder: Path) -> "Tokenizer":
        """Load the tokenizer of a language model, which knows nothing of images.

        It gets a token for them. What begins a text or fills it up is, where the model has no such
        token, the one that ends it.

        Raises:
            ModelError: If a file is missing or broken, or none names a token that ends a text.
        """
        rust, names = _load(folder / "tokenizer.json"), _named(folder)
        names.setdefault("eos", _end_by_config(folder, rust))
        if not names["eos"]:
            raise ModelError(f"{folder} names no eos_token in {SETTINGS}: what ends a text?")
        names = dict.fromkeys(("bos", "pad"), names["eos"]) | {"image": IMAGE} | names
        # one that the model has already is not added again
        rust.add_special_tokens([names["image"]])
        return cls(rust, **names)

    def save(self, path: Path) -> None:
        """Write the `tokenizer.json`."""
        text = json.dumps(json.loads(self._rust.to_str()), ensure_ascii=False, indent=1)
        path.write_text(text + "\n", encoding="utf-8")

    def settings(self) -> str | None:
        """The text of a `tokenizer_config.json`; none where `from_folder` needs none."""
        if self._names == _assumed(self._rust):
            return None
        return json.dumps({f"{kind}_token": name for kind, name in self._names.items()}) + "\n"

    def encode(self, text: str) -> list[int]:
        """Token ids of the text; no special token is added or found in it."""
        return self._rust.encode(text, add_special_tokens=False).ids

    def encode_prompt(self, text: str) -> list[int]:
        """Token ids of a prompt, in which special tokens such as `<|grounding|>` are meant."""
        ids: list[int] = []
        for piece in self._added.split(text):
            special = self.ids.get(piece) if self._added.fullmatch(piece) else None
            ids += self.encode(piece) if special is None else [special]
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of the ids, special tokens left out."""
        return self._rust.decode(list(ids), skip_special_tokens=True)

    def decode_marked(self, ids: Sequence[int]) -> str:
        """Text of the ids with marks such as `<|det|>`; begin, end, padding and image left out."""
        kept = [token for token in ids if token not in self.special_ids]
        return self._rust.decode(kept, skip_special_tokens=False)

    def ends_marked(self, ids: Sequence[int]) -> list[int]:
        """Where the text of each id ends in `decode_marked` of all."""
        whole = decoders.DecodeStream(skip_special_tokens=False)
        ends, length = [], 0
        for token in ids:
            if token not in self.special_ids:
                length += len(whole.step(self._rust, token) or "")
            ends.append(length)
        return ends

    def stream(self, ids: Iterable[int]) -> Iterator[str]:
        """Text piece by piece, as the ids come; joined, the pieces are `decode` of all ids.

        A piece may be one byte of a character: it waits until the character is whole.
        """
        whole = decoders.DecodeStream(skip_special_tokens=True)
        seen: list[int] = []
        length = 0
        for token in ids:
            seen.append(token)
            piece = whole.step(self._rust, token)
            if piece:
                length += len(piece)
                yield piece
        # bytes at the end that never became a character
        if rest := self.decode(seen)[length:]:
            yield rest

    def __len__(self) -> int:
        """Number of ids."""
        return self._rust.get_vocab_size(with_added_tokens=True)

    @cached_property
    def ids(self) -> dict[str, int]:
        """Token to id."""
        return self._rust.get_vocab(with_added_tokens=True)

    @cached_property
    def _added(self) -> re.Pattern[str]:
        """Finds the tokens that are no pieces of words."""
        added = [token.content for token in self._rust.get_added_tokens_decoder().values()]
        return re.compile(f"({'|'.join(map(re.escape, sorted(added, key=len, reverse=True)))})")

    def _special(self, token: str) -> int:
        found = self._rust.token_to_id(token)
        if found is None:
            raise ModelError(f"the tokenizer has no token {token}: it belongs to another model")
        return found


def _load(path: Path) -> RustTokenizer:
    if not path.is_file():
        raise ModelError(f"{path.parent} has no {path.name}: copy it from where the model is from")
    try:
        return RustTokenizer.from_file(str(path))
    except Exception as error:  # the Rust side raises plain Exception for any bad file
        raise ModelError(f"{path} is not a tokenizer.json: {error}") from error


def _assumed(rust: RustTokenizer) -> dict[str, str]:
    """Special tokens by kind, where nothing beside the file names others."""
    if rust.token_to_id(OFFICIAL["bos"]) is not None:
        return OFFICIAL
    return {"pad": PAD, "bos": BOS, "eos": EOS, "image": IMAGE}


def _named(folder: Path) -> dict[str, str]:
    """Special tokens by kind, as far as a `tokenizer_config.json` names them."""
    settings = _load_settings(folder / SETTINGS)
    given = {kind: settings.get(f"{kind}_token") for kind in OFFICIAL}
    names = {k: v.get("content") if isinstance(v, dict) else v for k, v in given.items()}
    return {kind: name for kind, name in names.items() if isinstance(name, str)}


def _end_by_config(folder: Path, rust: RustTokenizer) -> str:
    """The token that ends a text by the model's own config, as GPT-2 tells it alone; or nothing."""
    found = _load_settings(folder / "config.json").get("eos_token_id")
    return (rust.id_to_token(found) or "") if isinstance(found, int) else ""


def _load_settings(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path} is not JSON: {error}") from error
    if not isinstance(settings, dict):
        raise ModelError(f"{path} holds no settings: get it again, or delete it")
    return settings
