"""What nano learns from: the next character, where it stands, and what every cell shows.

Next-token loss alone leaves a small model a language model that does not look at the image. The
glyph heads end that: they predict, from SAM features and from fused tokens, which character
covers each 4 x 8 px cell. They are thrown away after training.

Axes: B strips, N text tokens, H W patches, h w visual tokens, G glyph cells, S vocabulary.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from lightseek.config import COMPRESSION, PATCH_PX
from lightseek.data.strips import CELL_HEIGHT, CELL_WIDTH
from lightseek.encoder import Column, Encoded
from lightseek.model import LightSeekOCR
from lightseek.train.batch import IGNORED, Batch
from lightseek.train.recipe import LossRecipe

CELL_ROWS, CELL_COLS = PATCH_PX // CELL_HEIGHT, PATCH_PX // CELL_WIDTH
"""Glyph cells in a patch."""
RANK = 32
"""Width between the two layers of the head on visual tokens."""


class Part(NamedTuple):
    """One loss, summed, with what is needed to average it over all processes."""

    total: Float[Tensor, ""]
    hits: Float[Tensor, ""]
    """Right answers."""
    asked: Float[Tensor, ""]
    """Answers asked for."""


class Losses(NamedTuple):
    """All parts of a batch."""

    text: Part
    places: Part
    patch_glyphs: Part
    token_glyphs: Part


class GlyphHeads(nn.Module):
    """Which character covers each cell, from patches and from visual tokens."""

    def __init__(self, local_dim: int, fused_dim: int, vocabulary: int) -> None:
        super().__init__()
        cells = CELL_ROWS * CELL_COLS
        self.patch_norm = nn.LayerNorm(local_dim)
        self.patch_head = nn.Linear(local_dim, cells * vocabulary)
        self.token_norm = nn.LayerNorm(fused_dim)
        self.token_spread = nn.Linear(fused_dim, COMPRESSION**2 * cells * RANK)
        self.token_head = nn.Linear(RANK, vocabulary)
        # silent at first: a trained encoder is not disturbed by heads that know nothing
        for head in (self.patch_head, self.token_head):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)

    def patches(self, local: Float[Tensor, "B H W D"], glyphs: Int[Tensor, "B y x"]) -> Part:
        """Loss of the cells within each patch."""
        labels = rearrange(glyphs, "b (h i) (w j) -> (b h w i j)", i=CELL_ROWS, j=CELL_COLS)
        kept = (labels != IGNORED).nonzero()[:, 0]
        scores = self.patch_head(self.patch_norm(local))
        scores = rearrange(scores, "b h w (c s) -> (b h w c) s", c=CELL_ROWS * CELL_COLS)
        return score(scores[kept], labels[kept])

    def tokens(self, fused: Float[Tensor, "B h w F"], glyphs: Int[Tensor, "B y x"]) -> Part:
        """Loss of the cells within each visual token; a strip may end before the last ones do."""
        rows, cols = COMPRESSION * CELL_ROWS, COMPRESSION * CELL_COLS
        glyphs = F.pad(glyphs, (0, 0, 0, -glyphs.shape[1] % rows), value=IGNORED)
        labels = rearrange(glyphs, "b (h i) (w j) -> (b h w i j)", i=rows, j=cols)
        kept = (labels != IGNORED).nonzero()[:, 0]
        spread = self.token_spread(self.token_norm(fused))
        cells = rearrange(spread, "b h w (c r) -> (b h w c) r", r=RANK)
        return score(self.token_head(cells[kept]), labels[kept])


class TrainedModel(nn.Module):
    """A model with the heads that only training needs."""

    def __init__(
        self, model: LightSeekOCR, *, glyph_maps: bool = True, compile_encoder: bool = False
    ) -> None:
        super().__init__()
        config = model.config
        self.model = model
        # evaluation reads batches of many shapes and keeps to the encoder itself
        self.encode: Callable[[Tensor, Column], Encoded] = model.encoder.forward
        if compile_encoder:
            self.encode = torch.compile(model.encoder.forward, dynamic=False)
        self.glyphs: GlyphHeads | None = None
        if glyph_maps:
            self.glyphs = GlyphHeads(config.sam.dim, config.fused_dim, config.decoder.vocab_size)

    def forward(self, batch: Batch, *, glyphs_only: bool) -> Losses:
        """All losses of a batch; text and places are zero while only glyphs are learnt."""
        model = self.model
        views = batch.views.to(model.embedding.weight.dtype)
        encoded = self.encode(views, torch.tensor(batch.first_col, device=views.device))
        patches = tokens = nothing = Part(*torch.zeros(3, device=views.device))
        if self.glyphs is not None:
            patches = self.glyphs.patches(encoded.local, batch.glyphs)
            tokens = self.glyphs.tokens(encoded.fused, batch.glyphs)
        if glyphs_only:
            return Losses(nothing, nothing, patches, tokens)
        visual = model.place_tokens(encoded.tokens, batch.first_col)
        kept = batch.targets != IGNORED
        predicted = model.predict(self._write(visual, batch))
        text = score(predicted.what, batch.targets[kept])
        places = nothing
        if predicted.x is not None and predicted.y is not None:
            across = score(predicted.x, batch.to_x[kept])
            down = score(predicted.y, batch.to_y[kept])
            places = Part(across.total + down.total, across.hits, across.asked)
        return Losses(text, places, patches, tokens)

    def _write(self, visual: Float[Tensor, "B n D"], batch: Batch) -> Float[Tensor, "N D"]:
        """What the decoder says at each token that something follows, row by row."""
        hidden = (
            self.model(visual[rows], ids, places)[targets != IGNORED]
            for rows, ids, targets, places in batch.texts()
        )
        return torch.cat(list(hidden))


def score(scores: Float[Tensor, "G S"], labels: Int[Tensor, " G"]) -> Part:
    """Summed cross-entropy with the number of right answers."""
    hits = (scores.argmax(-1) == labels).sum()
    total = F.cross_entropy(scores.float(), labels, reduction="sum")
    return Part(total, hits.float(), torch.full_like(total, len(labels)))


def weigh(losses: Losses, counts: Float[Tensor, " P"], weights: LossRecipe) -> Float[Tensor, ""]:
    """One number to minimise.

    Args:
        losses: Of this process' share of the batch.
        counts: Answers in the whole batch, one a part.
        weights: Of glyphs and places beside the text.
    """
    means = [part.total / count.clamp(min=1) for part, count in zip(losses, counts, strict=True)]
    text, places, patch_glyphs, token_glyphs = means
    return text + weights.places * places + weights.glyphs * (patch_glyphs + token_glyphs)
