# %% [markdown]
# # Where the decoder looks
#
# A page is read; then its text is followed once more, and the attention of every step is kept.
# `lightseek explain` writes all of this into one HTML file ([Explain](../explain.md)); here are the
# parts.

# %%
from PIL import Image

from lightseek import OCR
from lightseek.explain import explain
from lightseek.explain.pictures import WordPictures
from lightseek.explain.report import paint_all_features

# %% [markdown]
# A paragraph is enough.

# %%
page = Image.open("examples/letter.png")
paragraph = page.crop((120, 740, 1120, 960))
paragraph

# %%
told = explain(OCR(), paragraph)
print(told.page.text)

# %% [markdown]
# ## What the encoder made of it
#
# A vector for each cell, as colours: SAM's are local and fine, those of the compressor and of CLIP
# stand for 64 x 32 px of a strip. Cells of like colour have like vectors.

# %%
features = paint_all_features(told)
for file, title, picture in features:
    print(f"{file:15} {title}, {picture.width} x {picture.height} px")
features[0][2]

# %%
features[-1][2]

# %% [markdown]
# ## Where it looked
#
# The attention of a word over the page, averaged over its characters and over heads. Red is where
# most of it went; the frame is the box of the word. nano sees one strip at a time, and can look at
# no other line.

# %%
pictures = WordPictures(told.image, told.sight.views)
longest = sorted(told.gazes, key=lambda gaze: len(gaze.text))[-3:]
pictures.draw(longest[0]).convert("RGB")

# %%
pictures.draw(longest[1]).convert("RGB")

# %% [markdown]
# Attention is where information may have come from. It is no proof of what a word was read from.
