"""LightSeekOCR: encoder, splice, decoder and the heads that say what comes next and where.

A sequence is token ids in which every `<image>` id holds the place of one visual token. The
official family reads `[tiles][page view][separator][prompt]`; nano reads `[strip][<bos>]`, its
visual tokens see each other both ways, and every token is told where on the strip it stands.
Three kinds of decoder take such sequences: ours (`lightseek.decoder`), ours beside the visual
tokens (`lightseek.cross`), and language models of others (`lightseek.language`).

Axes: V views, B sequences, L tokens, P prefix tokens, N visual tokens, D width, S vocabulary,
r c rows and columns of tiles, h w and H W rows and columns of visual tokens.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from jaxtyping import Float, Int
from torch import Tensor, nn

from lightseek.config import TOKEN_PX, DecoderConfig, LanguageConfig, ModelConfig, PlaceConfig
from lightseek.cross import CrossDecoder
from lightseek.decoder import DeepDecoder, attention_bias
from lightseek.encoder import DeepEncoder
from lightseek.errors import UsageError
from lightseek.fusion import EMBEDDING_STD, SCALES
from lightseek.language import LanguageDecoder
from lightseek.linear import Int8Linear, Linear, hold_in_int8, multiply
from lightseek.views import Grid

AnyDecoder = DeepDecoder | CrossDecoder | LanguageDecoder


class Places(NamedTuple):
    """Where tokens stand on their view, as bins."""

    x: Int[Tensor, "B L"]
    y: Int[Tensor, "B L"]

    def only(self, rows: Int[Tensor, " R"]) -> "Places":
        """Those of some sequences."""
        return Places(self.x[rows], self.y[rows])


class Predicted(NamedTuple):
    """Scores of what comes next, and of where it stands if the model has place heads."""

    what: Float[Tensor, "*B S"]
    x: Float[Tensor, "*B X"] | None
    y: Float[Tensor, "*B Y"] | None


class PlaceHeads(nn.Module):
    """Tell the decoder where a token stands, and ask it where the next one does.

    The same tables are added to visual tokens, which gives attention an address to go to.
    """

    def __init__(self, config: PlaceConfig, dim: int) -> None:
        super().__init__()
        self.config = config
        # the last row means nowhere: nothing has been read yet
        self.x_table = nn.Parameter(
            nn.init.normal_(torch.empty(config.x_bins + 1, dim), std=EMBEDDING_STD)
        )
        self.y_table = nn.Parameter(
            nn.init.normal_(torch.empty(config.y_bins + 1, dim), std=EMBEDDING_STD)
        )
        self.x_head = nn.Linear(dim, config.x_bins)
        self.y_head = nn.Linear(dim, config.y_bins)

    def embed(self, places: Places) -> Float[Tensor, "B L D"]:
        """Vectors of places."""
        return F.embedding(places.x, self.x_table) + F.embedding(places.y, self.y_table)

    def of_views(self, rows: int, cols: int, first_col: int) -> Float[Tensor, "H W D"]:
        """Vectors of visual tokens: the mean over the bins that each one covers."""
        bins = TOKEN_PX // self.config.bin_px
        x = self.x_table[first_col * bins : (first_col + cols) * bins]
        y = self.y_table[: rows * bins]
        x_mean = reduce(x, "(w bins) d -> w d", "mean", bins=bins)
        y_mean = reduce(y, "(h bins) d -> h d", "mean", bins=bins)
        return y_mean[:, None] + x_mean[None]

    def nowhere(self, batch: int, length: int) -> Places:
        """The places of tokens that stand nowhere."""
        device = self.x_table.device
        x = torch.full((batch, length), self.config.x_bins, device=device)
        return Places(x, torch.full_like(x, self.config.y_bins))


class LightSeekOCR(nn.Module):
    """The whole model; `ModelConfig` decides which of its parts are there."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        decoder = config.decoder
        self.encoder = DeepEncoder(config)
        self.embedding = nn.Embedding(decoder.vocab_size, decoder.dim)
        self.row_end: nn.Parameter | None = None
        self.view_separator: nn.Parameter | None = None
        if decoder.row_marks:
            self.row_end = nn.Parameter(torch.zeros(decoder.dim))
            self.view_separator = nn.Parameter(torch.zeros(decoder.dim))
        self.place = PlaceHeads(decoder.place, decoder.dim) if decoder.place else None
        self.decoder = make_decoder(decoder)
        self.head: nn.Module | None = None
        if not decoder.tied_head:
            self.head = Linear(decoder.dim, decoder.vocab_size, bias=False)
        if config.int8:
            hold_in_int8(self.decoder)
            if not decoder.tied_head:
                self.head = Int8Linear(decoder.dim, decoder.vocab_size, bias=False)

    def visual_tokens(
        self, views: Float[Tensor, "V C Y X"], first_col: int = 0
    ) -> Float[Tensor, "V N D"]:
        """Encode views of one size and tell each visual token where it stands.

        With sequence fusion, all tokens of the local map come before those of the global one.
        """
        return self.place_tokens(self.encoder(views, first_col).tokens, first_col)

    def place_tokens(
        self, tokens: Float[Tensor, "V h w D"], first_col: int = 0
    ) -> Float[Tensor, "V N D"]:
        """Add the vectors of their places to visual tokens, row by row."""
        if self.place is not None:
            scales = SCALES[self.config.fusion]
            places = self.place.of_views(tokens.shape[1] // scales, tokens.shape[2], first_col)
            tokens = tokens + places.repeat(scales, 1, 1)
        return rearrange(tokens, "v h w d -> v (h w) d")

    def lay_out(
        self, tiles: Float[Tensor, "V h w D"] | None, grid: Grid, page: Float[Tensor, "H W D"]
    ) -> Float[Tensor, "L D"]:
        """The tokens of a page as the decoder reads them, for models with row marks.

        Args:
            tiles: Visual tokens of each tile, in reading order; none of a page without tiles.
            grid: How the tiles lie.
            page: Visual tokens of the page view.

        Returns:
            The sheet of tiles, the page view, a row end after each of their rows, the separator.
        """
        assert self.row_end is not None
        assert self.view_separator is not None
        sheets = [page]
        if tiles is not None:
            sheets.insert(0, rearrange(tiles, "(r c) h w d -> (r h) (c w) d", r=grid.rows))
        rows = []
        for sheet in sheets:
            ends = self.row_end.expand(len(sheet), 1, -1)
            rows.append(torch.cat([sheet, ends], dim=1).flatten(0, 1))
        return torch.cat([*rows, self.view_separator[None]])

    def embed(self, ids: Int[Tensor, "B L"], places: Places | None) -> Float[Tensor, "B L D"]:
        """Vectors of token ids, and of where they stand."""
        x = self.embedding(ids)
        return x if self.place is None or places is None else x + self.place.embed(places)

    def splice(
        self, ids: Int[Tensor, "B L"], visual: Float[Tensor, "N D"], image_id: int
    ) -> Float[Tensor, "B L D"]:
        """A prompt's embeddings, with visual tokens where `image_id` holds their places.

        Raises:
            ValueError: If places and visual tokens differ in number.
        """
        spots = ids == image_id
        if int(spots.sum()) != len(visual):
            raise ValueError(f"{int(spots.sum())} places for {len(visual)} visual tokens")
        text = self.embed(ids, self.place.nowhere(*ids.shape) if self.place else None)
        return text.masked_scatter(spots[..., None], visual.to(text.dtype))

    def predict(self, hidden: Float[Tensor, "*B D"]) -> Predicted:
        """Scores over the vocabulary and over places."""
        what = multiply(hidden, self.embedding.weight) if self.head is None else self.head(hidden)
        if self.place is None:
            return Predicted(what, None, None)
        return Predicted(what, self.place.x_head(hidden), self.place.y_head(hidden))

    def forward(
        self,
        visual: Float[Tensor, "B N D"],
        ids: Int[Tensor, "B L"],
        places: Places | None = None,
    ) -> Float[Tensor, "B L D"]:
        """Hidden states of text after visual tokens, for training and for checking.

        Args:
            visual: Visual tokens of each sequence.
            ids: Text of each sequence, from `<bos>` on.
            places: Where each token of the text stands.
        """
        text = self.embed(ids, places)
        if isinstance(self.decoder, CrossDecoder):
            return self.decoder(visual, text)
        x = torch.cat([visual, text], dim=1)
        if isinstance(self.decoder, LanguageDecoder):
            return self.decoder(x)[:, visual.shape[1] :]
        length, start = x.shape[1], visual.shape[1]
        positions = torch.arange(length, device=x.device)[None]
        # `<bos>` is the last token of the prompt
        bias = attention_bias(self.decoder.config, length, start + 1, like=x)
        hidden = self.decoder(x, self.decoder.rotary(positions, x), bias)
        return hidden[:, start:]

    @property
    def parts(self) -> str:
        """The names of its parts, which hold others."""
        names = (f"encoder.{name}" for name, _ in self.encoder.named_children())
        others = (name for name, _ in self.named_children() if name != "encoder")
        return ", ".join((*names, *others))

    def freeze(self, parts: Sequence[str]) -> None:
        """Keep the weights of some parts as they are, such as `encoder.sam`.

        Raises:
            UsageError: If a part does not exist.
        """
        for part in parts:
            frozen = [p for name, p in self.named_parameters() if f"{name}.".startswith(f"{part}.")]
            # what is in 8 bits has no parameters
            if not frozen and part not in dict(self.named_modules()):
                raise UsageError(f"the model has no part {part} to freeze, but {self.parts}")
            for parameter in frozen:
                parameter.requires_grad_(False)


def make_decoder(config: DecoderConfig | LanguageConfig) -> AnyDecoder:
    """The kind of decoder that the config describes."""
    if isinstance(config, LanguageConfig):
        return LanguageDecoder(config)
    return CrossDecoder(config) if config.cross_attention else DeepDecoder(config)
