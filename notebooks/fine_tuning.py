# %% [markdown]
# # Fine-tune nano on print that it cannot read
#
# nano was trained on letters of at least 62 % of their usual width. Squeezed to 40 % it reads them
# badly. Some minutes on one core mend that, and the usual print must not be forgotten meanwhile.
# With fonts and text of your own the same is a command: [Train](../train.md).

# %%
import random

import cv2
import numpy as np
import torch
from PIL import Image

from lightseek.data.fonts import SHIPPED, load_faces
from lightseek.data.strips import StripRenderer, StripSample
from lightseek.eval.metrics import Score, score
from lightseek.reader import read_strips
from lightseek.study.density import Words
from lightseek.tokenizer import LATIN
from lightseek.train.batch import collate
from lightseek.train.loss import TrainedModel, weigh
from lightseek.train.optimiser import SharedOptimiser
from lightseek.train.recipe import LossRecipe, OptimiserRecipe
from lightseek.weights import load_model

STEPS, BATCH, WIDTH, SQUEEZED = 60, 12, 256, 0.4
torch.set_num_threads(1)

# %% [markdown]
# ## The look
#
# A line is drawn on a wider strip, and that is squeezed. With the image go the places of its
# characters, which the model also learns. One family of fonts, and other words, are kept for the
# exam.

# %%
model, tokenizer = load_model("nano", device=torch.device("cpu"), dtype=torch.bfloat16)
faces = load_faces(SHIPPED, LATIN)
press = StripRenderer([f for f in faces if f.family != "Gentium Basic"], tokenizer.ids)
examiner = StripRenderer([f for f in faces if f.family == "Gentium Basic"], tokenizer.ids)


def draw(renderer: StripRenderer, rng: random.Random, words: Words, share: float) -> StripSample:
    wide = round(WIDTH / share / 8) * 8
    text = words.take_characters(wide // 10)
    drawn = renderer.render(rng, text, width=wide, difficulty=0.2)
    ratio = WIDTH / wide
    columns = ((np.arange(WIDTH // 4) + 0.5) / ratio).astype(int)
    return StripSample(
        cv2.resize(drawn.image, (WIDTH, 64), interpolation=cv2.INTER_AREA),
        drawn.text,
        drawn.glyphs[:, columns],
        drawn.boxes * np.float32([ratio, 1, ratio, 1]),
        drawn.places * np.float32([ratio, 1]),
    )


exam_words, lessons = Words(None, seed=1), Words(None, seed=2)
squeezed, usual = (
    [draw(examiner, random.Random(f"exam {i}"), exam_words, share) for i in range(40)]
    for share in (SQUEEZED, 1.0)
)
columns = [np.vstack([s.image for s in samples[:5]]) for samples in (usual, squeezed)]
Image.fromarray(np.hstack(columns))

# %% [markdown]
# ## Before


# %%
def examine(samples: list[StripSample]) -> tuple[float, list[str]]:
    model.eval()
    read = [found.text for found in read_strips(model, tokenizer, [s.image for s in samples])]
    model.train()
    pairs = zip(read, samples, strict=True)
    return sum((score(text, s.text) for text, s in pairs), start=Score()).cer, read


def report(moment: str) -> float:
    errors, read = examine(squeezed)
    print(f"{moment}: CER {errors:.1%} squeezed, {examine(usual)[0]:.1%} as usual")
    for sample, text in list(zip(squeezed, read, strict=True))[:5]:
        print(f"  {sample.text}\n  {text}\n")
    return errors


before = report("before")

# %% [markdown]
# ## Learning
#
# All weights may move, at small rates. One strip in four has a width between the new one and the
# usual, so that nothing is forgotten. Glyph maps, which taught the encoder to see, are not needed
# again.

# %%
recipe = OptimiserRecipe(
    muon_rate=0.0015,
    adamw_rate=0.0003,
    muon_decay=0.0,
    adamw_decay=0.0,
    clip_norm=1.0,
    warmup_steps=5,
    constant_until=0.4,
)
weights = LossRecipe(glyphs=0.0, places=0.2)
trained = TrainedModel(model).to(torch.bfloat16)
optimiser = SharedOptimiser(trained, recipe, rank=0, world=1)
place = model.config.decoder.place
for number in range(STEPS):
    rngs = [random.Random(f"{number} {i}") for i in range(BATCH)]
    shares = [rng.uniform(SQUEEZED, 1.0) if i % 4 == 0 else SQUEEZED for i, rng in enumerate(rngs)]
    samples = [draw(press, rng, lessons, share) for rng, share in zip(rngs, shares, strict=True)]
    # a strip may lie under any columns of the position tables
    first_col = random.Random(number).randrange(0, 13, 4)
    losses = trained(collate(samples, rngs, tokenizer, place, first_col), glyphs_only=False)
    counts = torch.stack([part.asked.detach() for part in losses])
    weigh(losses, counts, weights).backward()
    left = (1 - number / STEPS) / (1 - recipe.constant_until)
    optimiser.step(min(1.0, left, (number + 1) / recipe.warmup_steps))
    if (number + 1) % 10 == 0:
        right = float(losses.text.hits / losses.text.asked)
        print(f"step {number + 1:3}  next character {right:.0%} right")

# %% [markdown]
# ## After

# %%
after = report("after")
assert after < 0.6 * before, "it has learnt nothing"
