# %% [markdown]
# # One page through the model
#
# A scanned letter, followed from paper to text, with the shape and a picture of what each part
# makes of it. The [tour](../tour.md) tells the same with the files in which it happens.

# %%
import numpy as np
import torch
from PIL import Image, ImageDraw

from lightseek.blocks import cut_page, word_boxes
from lightseek.explain.pictures import Palette
from lightseek.generate import Decoding, generate
from lightseek.reader import read_strips, to_views
from lightseek.weights import load_model

# %% [markdown]
# ## Cut
#
# The page is cut along its white space into lines, and every line is brought to one height: a
# strip of at most 1024 x 32 px. Reading order is that of the boxes' colours, blue to red.

# %%
page = Image.open("examples/letter.png")
lines = [line for block in cut_page(page) for line in block.lines]
shown = page.convert("RGB")
draw = ImageDraw.Draw(shown)
for i, line in enumerate(lines):
    share = i / len(lines)
    draw.rectangle(
        tuple(line.box), outline=(round(220 * share), 60, round(220 * (1 - share))), width=3
    )
print(f"{len(lines)} lines on {page.width} x {page.height} px")
shown.resize((page.width // 2, page.height // 2))

# %%
full = [strip for line in lines for strip in line.strips if strip.image.shape[1] == 1024]
strip = full[1]
print(strip.image.shape, strip.image.dtype)
Image.fromarray(strip.image)

# %% [markdown]
# ## Encode
#
# SAM looks through small windows at patches of 16 x 16 px. Two convolutions leave one vector for
# eight patches of a strip, or 16 of a square view. CLIP lets each of these see all of the strip.

# %%
model, tokenizer = load_model("nano", device=torch.device("cpu"), dtype=torch.float32)
views = to_views(torch.from_numpy(strip.image)[None])
with torch.inference_mode():
    local, necked = model.encoder.sam(views)
    compressed = model.encoder.compressor(necked)
    overall = model.encoder.clip(compressed)
    tokens = model.encoder(views).tokens
for name, value in {
    "view": views,
    "SAM": local,
    "compressor": compressed,
    "CLIP": overall,
    "visual tokens": tokens,
}.items():
    print(f"{name:14} {tuple(value.shape)}")

# %% [markdown]
# Vectors as colours: their first three principal components are red, green and blue. SAM's follow
# the strokes; the compressor and CLIP leave sixteen cells, each of which must hold what is written
# in 64 x 32 px.


# %%
def coloured(features: torch.Tensor) -> Image.Image:
    cells = features[0].numpy()
    colours = Palette(cells.reshape(-1, cells.shape[-1])).colours(cells)
    small = Image.fromarray(np.uint8(np.clip(colours, 0, 1) * 255))
    return small.resize(strip.image.shape[::-1], Image.Resampling.NEAREST)


rows = [Image.fromarray(strip.image).convert("RGB"), *map(coloured, (local, compressed, overall))]
Image.fromarray(np.vstack([np.asarray(row) for row in rows]))

# %% [markdown]
# ## Decode
#
# The sixteen visual tokens and a token that begins the text are the prompt. The decoder writes one
# character a step; the probability of each is what it was sure of.

# %%
with torch.inference_mode():
    visual = model.place_tokens(tokens)
    ids = torch.tensor([[tokenizer.image_id] * visual.shape[1] + [tokenizer.bos_id]])
    prompt = model.splice(ids, visual.flatten(0, 1), tokenizer.image_id)
    written = generate(model, prompt, tokenizer.eos_id, Decoding(max_tokens=276))[0]
print("prompt", tuple(prompt.shape))
print(tokenizer.decode(written.ids))
print(f"least sure of {np.exp(min(written.logprobs)):.0%}")

# %% [markdown]
# ## Place
#
# With each character it tells where that stands. White between the letters parts the words, and the
# strip knows where on the page it was cut out: so every word gets a box.

# %%
read = read_strips(model, tokenizer, [strip.image])[0]
spots = Image.fromarray(strip.image).convert("RGB")
draw = ImageDraw.Draw(spots)
for x, y in read.centres:
    draw.line((x, y - 14, x, y + 14), fill=(200, 40, 40), width=2)
spots

# %%
boxes = word_boxes(strip, read.centres[:, 0], read.text)
shown = page.convert("RGB")
draw = ImageDraw.Draw(shown)
for box in boxes:
    draw.rectangle(tuple(box), outline=(200, 40, 40), width=2)
left, top, right, bottom = strip.box
shown.crop((int(left) - 20, int(top) - 30, int(right) + 20, int(bottom) + 30))
