# %% [markdown]
# # Train a tiny model from nothing
#
# Random weights learn to read digits in five minutes on one core, by the same renderer, losses and
# optimiser that made nano. What differs is size: six digits where nano reads a line of text. The
# recipe for more is in [Train](../train.md).

# %%
import random
from dataclasses import replace

import numpy as np
import torch
from PIL import Image

from lightseek import LightSeekOCR
from lightseek.config import Rows, StemStage
from lightseek.data.fonts import SHIPPED, load_faces
from lightseek.data.strips import StripRenderer, StripSample
from lightseek.eval.metrics import Score, score_all
from lightseek.presets import preset
from lightseek.reader import read_strips
from lightseek.tokenizer import LATIN, character_tokenizer
from lightseek.train.batch import collate
from lightseek.train.loss import TrainedModel, weigh
from lightseek.train.optimiser import SharedOptimiser
from lightseek.train.recipe import LossRecipe, OptimiserRecipe
from lightseek.train.run import silence_residuals

STEPS, BATCH, WIDTH = 1600, 40, 128
torch.set_num_threads(1)

# %% [markdown]
# ## What is read
#
# A number on a strip of 128 x 32 px, printed in the fonts of the package. One family is kept aside:
# the model is only ever asked to read it. The renderer knows where every character stands, and
# which one covers each cell of 4 x 8 px.

# %%
DIGITS = "0123456789"
tokenizer = character_tokenizer(DIGITS)
faces = load_faces(SHIPPED, LATIN)
familiar = [face for face in faces if face.family != "Gentium Basic"]
unseen = [face for face in faces if face.family == "Gentium Basic"]


def draw(renderer: StripRenderer, rng: random.Random) -> StripSample:
    number = "".join(rng.choices(DIGITS, k=rng.randint(1, 6)))
    return renderer.render(rng, number, width=WIDTH, difficulty=0.0)


def beside(samples: list[StripSample], across: int = 6) -> Image.Image:
    rows = [samples[i : i + across] for i in range(0, len(samples), across)]
    return Image.fromarray(np.vstack([np.hstack([s.image for s in row]) for row in rows]))


press = StripRenderer(familiar, tokenizer.ids)
examiner = StripRenderer(unseen, tokenizer.ids)
exam = [draw(examiner, random.Random(f"exam {i}")) for i in range(60)]
beside([draw(press, random.Random(i)) for i in range(12)])

# %% [markdown]
# ## The model
#
# nano's architecture, every part smaller: the same classes, another configuration.

# %%
nano = preset("nano")
narrow = {"dim": 96, "heads": 4, "mlp_dim": 192}
stem = tuple(StemStage(dim=dim, residuals=0) for dim in (12, 24, 48))
patches = Rows(rows=2, cols=WIDTH // 16)
config = replace(
    nano,
    name="tiny",
    sam=replace(nano.sam, stem=stem, depth=2, global_blocks=(1,), table=patches, **narrow),
    compressor=replace(nano.compressor, hidden_dim=96, dim=96),
    clip=replace(nano.clip, depth=1, table=Rows(rows=1, cols=WIDTH // 64), **narrow),
    decoder=replace(
        nano.decoder,
        vocab_size=len(tokenizer),
        depth=1,
        place=replace(nano.decoder.place, x_bins=WIDTH // 8, y_bins=8),
        **narrow,
    ),
)
torch.manual_seed(0)
model = LightSeekOCR(config)
silence_residuals(model)
f"{sum(p.numel() for p in model.parameters()):,} parameters"

# %% [markdown]
# ## The loop
#
# First the encoder alone learns which character covers each cell; then all of it learns what comes
# next, and where it stands ([why](../concepts.md#where-and-what)). Muon moves the matrices, AdamW
# the rest; the rates fall to zero over the second half.

# %%
GLYPHS_ALONE = 60
recipe = OptimiserRecipe(
    muon_rate=0.02,
    adamw_rate=0.004,
    muon_decay=0.03,
    adamw_decay=0.02,
    clip_norm=1.0,
    warmup_steps=20,
    constant_until=0.5,
)
weights = LossRecipe(glyphs=0.3, places=0.2)
trained = TrainedModel(model)
optimiser = SharedOptimiser(trained, recipe, rank=0, world=1)


def step(number: int) -> float:
    """One step; the share of next characters that were right."""
    rngs = [random.Random(f"{number} {i}") for i in range(BATCH)]
    samples = [draw(press, rng) for rng in rngs]
    batch = collate(samples, rngs, tokenizer, config.decoder.place, first_col=0)
    losses = trained(batch, glyphs_only=number < GLYPHS_ALONE)
    counts = torch.stack([part.asked.detach() for part in losses])
    weigh(losses, counts, weights).backward()
    optimiser.step(recipe.share(number, STEPS))
    return float(losses.text.hits / losses.text.asked.clamp(min=1))


def examine() -> tuple[Score, list[str]]:
    """Read the font that was never shown."""
    model.eval()
    read = [found.text for found in read_strips(model, tokenizer, [s.image for s in exam])]
    model.train()
    return score_all(read, [s.text for s in exam]), read


# %%
history = []
for number in range(STEPS):
    right = step(number)
    if (number + 1) % 100 == 0:
        errors = examine()[0].cer
        history.append((number + 1, right, errors))
        print(
            f"step {number + 1:3}  next character {right:3.0%} right  CER, unseen font {errors:.1%}"
        )

# %% [markdown]
# ## What it reads now
#
# A font that it never saw, and what it says of it.

# %%
_, read = examine()
for sample, text in zip(exam[:12], read[:12], strict=True):
    print(f"{sample.text:>8}  {text:>8}  {'' if text == sample.text else 'wrong'}")
beside(exam[:12])

# %%
assert history[-1][2] < 0.25, "it has not learnt to read"
