"""Draw the figure of docs/explain.md: a paragraph as encoder and decoder see it.

python runs/attention.py
"""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from lightseek import OCR
from lightseek.data.fonts import SHIPPED
from lightseek.explain import explain
from lightseek.explain.pictures import WORD_PX, WordPictures, paint_features

ROOT = Path(__file__).parents[1]
AREA = (120, 765, 1120, 985)
WORD = "Portuguese,"
TITLES = {"sam": "SAM", "compressed": "compressor", "clip": "CLIP"}
TITLE_PX = 26


def titled(picture: Image.Image, title: str) -> Image.Image:
    """A picture with its title above it."""
    framed = Image.new("RGB", (picture.width, picture.height + TITLE_PX), "white")
    framed.paste(picture, (0, TITLE_PX))
    font = ImageFont.truetype(str(SHIPPED / "Inter-Regular.otf"), size=16)
    ImageDraw.Draw(framed).text((2, 3), title, fill="black", font=font)
    return framed


def main() -> None:
    """Read the paragraph, and lay four pictures of it side by side."""
    page = Image.open(ROOT / "examples" / "letter.png").convert("RGB").crop(AREA)
    told = explain(OCR(device="cpu"), page)
    views, clip_dim = told.sight.views, told.config.clip.dim
    gaze = next(gaze for gaze in told.gazes if gaze.text == WORD)
    word = WordPictures(page, views).draw(gaze).convert("RGB")
    size = word.width, round(word.width * page.height / page.width)
    pictures = [titled(word.crop((0, 0, *size)), f"attention while “{WORD}” is written")]
    for stage, title in TITLES.items():
        picture = paint_features(page, views, stage, clip_dim).resize(size)
        pictures.append(titled(picture, f"{title}: features as colours"))
    width, height = pictures[0].size
    sheet = Image.new("RGB", (2 * WORD_PX + 20, 2 * height + 10), "white")
    for i, picture in enumerate(pictures):
        sheet.paste(picture, (i % 2 * (width + 20), i // 2 * (height + 10)))
    sheet.quantize(256, Image.Quantize.MAXCOVERAGE).save(
        ROOT / "docs" / "figures" / "attention.png", optimize=True
    )


if __name__ == "__main__":
    main()
