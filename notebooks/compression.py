# %% [markdown]
# # How much text fits in a visual token
#
# The same words, printed ever denser, read by nano: a small edition of the study on
# [Optical compression](../compression.md), with one page a row.

# %%
import tempfile
from pathlib import Path

from PIL import Image

from lightseek import OCR
from lightseek.study.chart import draw_chart
from lightseek.study.compression import Plan, study_compression
from lightseek.study.density import Press, load_words

# %% [markdown]
# ## Denser print
#
# nano brings every line to one height, so more characters come under a visual token only where
# letters are narrower: at full width, and squeezed to half of it.

# %%
words = load_words(None, seed=4)
press = Press()
text = words.take_characters(180)
wide, narrow = (press.column(text, width=width).image for width in (1.0, 0.5))
sheet = Image.new("RGB", (max(wide.width, narrow.width), wide.height + narrow.height), "white")
sheet.paste(wide)
sheet.paste(narrow, (0, wide.height))
sheet.resize((sheet.width // 2, sheet.height // 2), Image.Resampling.LANCZOS)

# %% [markdown]
# ## Reading it
#
# The words stand in random order, so that none can be guessed from those before it.

# %%
plan = Plan(pages=1, widths=(1.0, 0.75, 0.6, 0.5, 0.4), dpis=(100, 60))
found = study_compression(OCR(), words, plan)
for row in found.rows:
    print(
        f"{row.setting:18} {row.characters_per_visual_token:5.1f} characters a visual token  "
        f"precision {row.precision:4.0%}  CER {row.cer:6.1%}  pooled {row.pooled_precision:4.0%}"
    )

# %% [markdown]
# ## Beside the paper
#
# *Pooled* is how much plain means of text embeddings hold, as many vectors as there are visual
# tokens: where they still have all of the text and nano has not, room was not what it lacked.

# %%
with tempfile.TemporaryDirectory() as folder:
    draw_chart(found, Path(folder) / "chart.png")
    chart = Image.open(Path(folder) / "chart.png").convert("RGB")
chart
