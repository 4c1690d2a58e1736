"""Text to token ids and back, for any `tokenizer.json`.

The models of the official family bring their own file. `nano` reads characters: its tokenizer is
made here from `LATIN`, because a small model learns a hundred symbols far faster than thousands
of word pieces.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

from tokenizers import Tokenizer as RustTokenizer
from tokenizers import decoders, models, normalizers, pre_tokenizers

from lightseek.errors import ModelError

PAD, BOS, EOS, IMAGE = "<pad>", "<bos>", "<eos>", "<image>"

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


class Tokenizer:
    """A `tokenizer.json` with the special tokens that reading needs."""

    def __init__(self, rust: RustTokenizer, *, bos: str, eos: str, pad: str, image: str) -> None:
        self._rust = rust
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
        try:
            rust = RustTokenizer.from_file(str(path))
        except Exception as error:  # the Rust side raises plain Exception for any bad file
            raise ModelError(f"{path} is not a tokenizer.json: {error}") from error
        return cls(rust, bos=bos, eos=eos, pad=pad, image=image)

    def save(self, path: Path) -> None:
        """Write the `tokenizer.json`."""
        text = json.dumps(json.loads(self._rust.to_str()), ensure_ascii=False, indent=1)
        path.write_text(text + "\n", encoding="utf-8")

    def encode(self, text: str) -> list[int]:
        """Token ids of the text; no special token is added or found in it."""
        return self._rust.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of the ids, special tokens left out."""
        return self._rust.decode(list(ids), skip_special_tokens=True)

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

    def _special(self, token: str) -> int:
        found = self._rust.token_to_id(token)
        if found is None:
            raise ModelError(f"the tokenizer has no token {token}: it belongs to another model")
        return found
