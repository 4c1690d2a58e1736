# %% [markdown]
# # Fine-tune nano on print that it cannot read
#
# Some papers, such as cheques, are hatched so that they cannot be copied. nano never saw any, and
# reads hardly a word on them. Some minutes on one core mend that, and plain paper must not be
# forgotten meanwhile. With fonts of your own the same is a command: [Fine-tune](../finetune.md).

# %%
import random
from dataclasses import replace

import numpy as np
import torch
from PIL import Image

from lightseek.data.fonts import SHIPPED, load_faces
from lightseek.data.strips import StripRenderer, StripSample
from lightseek.eval.metrics import score_all
from lightseek.reader import read_strips
from lightseek.study.density import Words
from lightseek.tokenizer import LATIN
from lightseek.train.batch import collate
from lightseek.train.loss import TrainedModel, weigh
from lightseek.train.optimiser import SharedOptimiser
from lightseek.train.recipe import LossRecipe, OptimiserRecipe
from lightseek.weights import load_model

STEPS, BATCH, WIDTH = 70, 12, 256
torch.set_num_threads(1)

# %% [markdown]
# ## The look
#
# Lines are drawn as for nano's own training, and hatching over them, always otherwise. With each
# image go the places of its characters, which the model also learns. One family of fonts, and other
# words, are kept for the exam.

# %%
model, tokenizer = load_model("nano", device=torch.device("cpu"), dtype=torch.bfloat16)
faces = load_faces(SHIPPED, LATIN)
press = StripRenderer([f for f in faces if f.family != "Gentium Basic"], tokenizer.ids)
examiner = StripRenderer([f for f in faces if f.family == "Gentium Basic"], tokenizer.ids)


def draw(renderer: StripRenderer, rng: random.Random, words: Words) -> StripSample:
    return renderer.render(rng, words.take_characters(24), width=WIDTH, difficulty=0.2)


def hatch(sample: StripSample, rng: random.Random) -> StripSample:
    y, x = np.indices(sample.image.shape)
    lean, gap, ink = rng.choice((-1, 1)), rng.randint(5, 7), rng.randint(20, 80)
    hatched = np.where((x + lean * y) % gap == 0, ink, sample.image)
    return replace(sample, image=hatched.astype(np.uint8))


exam_words, lessons = Words(None, seed=1), Words(None, seed=2)
plain = [draw(examiner, random.Random(f"exam {i}"), exam_words) for i in range(40)]
hatched = [hatch(sample, random.Random(f"exam {i}")) for i, sample in enumerate(plain)]
columns = [np.vstack([s.image for s in samples[:5]]) for samples in (plain, hatched)]
Image.fromarray(np.hstack(columns))

# %% [markdown]
# ## Before


# %%
def examine(samples: list[StripSample]) -> tuple[float, list[str]]:
    model.eval()
    read = [found.text for found in read_strips(model, tokenizer, [s.image for s in samples])]
    model.train()
    return score_all(read, [s.text for s in samples]).cer, read


def report(moment: str) -> float:
    errors, read = examine(hatched)
    print(f"{moment}: CER {errors:.1%} on hatched paper, {examine(plain)[0]:.1%} on plain paper\n")
    for sample, text in zip(plain[:5], read[:5], strict=True):
        print(f"  {sample.text:30} {text}")
    return errors


before = report("before")

# %% [markdown]
# ## Learning
#
# All weights may move, at small rates. One strip in three stays plain, so that nothing is
# forgotten. Glyph maps, which taught the encoder to see, are not needed again.

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
    samples = [draw(press, rng, lessons) for rng in rngs]
    samples = [s if i % 3 == 0 else hatch(s, rngs[i]) for i, s in enumerate(samples)]
    # a strip may lie under any columns of the position tables
    first_col = random.Random(number).randrange(0, 13, 4)
    losses = trained(collate(samples, rngs, tokenizer, place, first_col), glyphs_only=False)
    counts = torch.stack([part.asked.detach() for part in losses])
    weigh(losses, counts, weights).backward()
    optimiser.step(recipe.share(number, STEPS))
    if (number + 1) % 10 == 0:
        right = float(losses.text.hits / losses.text.asked)
        print(f"step {number + 1:2}  next character {right:.0%} right")

# %% [markdown]
# ## After

# %%
after = report("after")
assert after < 0.5 * before, "it has learnt nothing"
