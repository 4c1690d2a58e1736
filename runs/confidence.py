"""Show what confidence is worth, what a second reading gains and what is dropped as no text.

    python runs/confidence.py --fonts build/fonts --text build/text --model nano

Strips of held-out font families and text, fully degraded, are read as pages are; so are strips
that show no text, and text of other scripts where a font for it is installed. Prints Markdown for
docs/confidence.md.
"""

import random
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import click
import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw, ImageFont
from rapidfuzz.distance import Levenshtein

from lightseek.blocks import STRIP_HEIGHT
from lightseek.data.corpus import Corpus
from lightseek.data.fonts import load_faces, unseen_faces
from lightseek.data.strips import StripRenderer, StripSample
from lightseek.ocr import OCR
from lightseek.reader import read_strips
from lightseek.readings import (
    UNSURE,
    Read,
    StripText,
    has_lost_place,
    is_legible,
    read_carefully,
)
from lightseek.tokenizer import LATIN
from lightseek.train.batch import HELD_OUT_SEED

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
WIDTHS = (256, 512, 1024, 1024, 1024)
AT_ONCE = 64
SCRIPTS = {"Greek": "el", "Cyrillic": "ru", "Hebrew": "he", "Arabic": "ar", "Chinese": "zh"}
LETTERS = {
    "Greek": range(0x3B1, 0x3CA),
    "Cyrillic": range(0x430, 0x450),
    "Hebrew": range(0x5D0, 0x5EB),
    "Arabic": range(0x627, 0x64B),
    "Chinese": range(0x4E00, 0x5600),
}

Grey = UInt8[np.ndarray, "H _"]
Draw = Callable[[np.random.Generator, int], np.ndarray]


def draw_samples(
    fonts: Path, text: Path, held_out: int, ids: dict[str, int]
) -> Iterator[StripSample]:
    """Endless strips that no training has shown."""
    faces = unseen_faces(load_faces(fonts, LATIN), held_out=held_out, seed=HELD_OUT_SEED)
    corpus = Corpus.load(text, LATIN, held_out=True)
    renderer = StripRenderer(faces, ids)
    rng = random.Random(HELD_OUT_SEED)
    while True:
        width = rng.choice(WIDTHS)
        words = corpus.sample(rng, width // 5)
        if rng.random() < 0.22:
            words = " ".join(words.split(" ")[: rng.randint(1, 5)])
        yield renderer.render(rng, words, width=width, difficulty=1.0)


def remember(
    read: Read, calls: list[list[StripText]], strips: Sequence[Grey], /, votes: int = 1
) -> list[StripText]:
    """Read, and keep what was read: the first call is the first reading."""
    calls.append(list(read(strips, votes)))
    return calls[-1]


def words_right(read: str, truth: str) -> list[bool]:
    """Which of the words that were read stand there, in order."""
    words = read.split()
    right = [False] * len(words)
    for step in Levenshtein.opcodes(words, truth.split()):
        if step.tag == "equal":
            right[step.src_start : step.src_end] = [True] * (step.src_end - step.src_start)
    return right


def calibration_error(sure: Float[np.ndarray, " N"], right: Bool[np.ndarray, " N"]) -> float:
    """Expected difference of confidence and share of right words, over ten bins."""
    bins = np.clip((sure * 10).astype(int), 0, 9)
    parts = (bins == k for k in range(10))
    return float(sum(abs((sure - right)[part].sum()) for part in parts) / len(sure))


def show_calibration(sure: Float[np.ndarray, " N"], right: Bool[np.ndarray, " N"]) -> None:
    """Print the bins."""
    click.echo(
        f"\n{len(sure)} words, expected calibration error {calibration_error(sure, right):.2%}\n"
    )
    click.echo("| confidence | words | mean confidence | right |\n| :-- | --: | --: | --: |")
    bins = np.clip((sure * 10).astype(int), 0, 9)
    for k in range(10):
        part = bins == k
        if part.any():
            shares = f"{sure[part].mean():.3f} | {right[part].mean():.3f}"
            click.echo(f"| {k / 10:.1f} - {(k + 1) / 10:.1f} | {part.sum()} | {shares} |")


# --- strips without text ---


def ruled(rng: np.random.Generator, width: int) -> Grey:
    """Rules, some with uprights."""
    image = np.full((STRIP_HEIGHT, width), 255, np.uint8)
    for y in rng.integers(2, 30, rng.integers(1, 5)).tolist():
        cv2.line(
            image, (5, y), (width - 5, y + int(rng.integers(-1, 2))), 40, int(rng.integers(1, 4))
        )
    if rng.random() < 0.5:
        image[:, :: int(rng.integers(30, 150))] = 0
    return image


def noise(rng: np.random.Generator, width: int) -> Grey:
    """Grain."""
    grain = rng.normal(rng.integers(120, 235), rng.integers(10, 80), (STRIP_HEIGHT, width))
    return grain.clip(0, 255).astype(np.uint8)


def dirt(rng: np.random.Generator, width: int) -> Grey:
    """Specks."""
    dots = rng.random((STRIP_HEIGHT, width)) < rng.uniform(0.005, 0.1)
    return np.where(dots, 0, 255).astype(np.uint8)


def texture(rng: np.random.Generator, width: int) -> Grey:
    """What a photograph shows."""
    small = rng.integers(0, 256, (rng.integers(2, 12), width // 16)).astype(np.uint8)
    return np.asarray(cv2.resize(small, (width, STRIP_HEIGHT), interpolation=cv2.INTER_CUBIC))


def halftone(rng: np.random.Generator, width: int) -> Grey:
    """The same as dots."""
    y, x = np.mgrid[:STRIP_HEIGHT, :width]
    turn, pitch = rng.uniform(0, np.pi), 2 * np.pi / rng.uniform(3, 9)
    across, down = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    screen = 127.5 * (1 + np.sin(across * pitch) * np.sin(down * pitch))
    return np.where(screen > texture(rng, width), 255, 0).astype(np.uint8)


def hatching(rng: np.random.Generator, width: int) -> Grey:
    """Slanted lines."""
    image = np.full((STRIP_HEIGHT, width), 255, np.uint8)
    for x in range(-STRIP_HEIGHT, width, int(rng.integers(4, 15))):
        top = x + int(rng.integers(10, STRIP_HEIGHT))
        cv2.line(image, (x, STRIP_HEIGHT - 1), (top, 0), 0, 1)
    return image


def strokes(rng: np.random.Generator, width: int) -> Grey:
    """Pen strokes and parts of drawings."""
    image = np.full((STRIP_HEIGHT, width), 255, np.uint8)
    for _ in range(rng.integers(2, 14)):
        start = np.array([rng.integers(10, width - 10), STRIP_HEIGHT // 2])
        path = start + np.cumsum(rng.normal(0, 7, (6, 2)), axis=0)
        cv2.polylines(image, [path.astype(np.int32)], False, 0, int(rng.integers(1, 4)))
    return image


def bars(rng: np.random.Generator, width: int) -> Grey:
    """A bar code."""
    row = np.repeat(rng.integers(0, 2, width // 2) * 255, 2).astype(np.uint8)
    return np.tile(row, (STRIP_HEIGHT, 1))


def blank(rng: np.random.Generator, width: int) -> Grey:
    """Paper."""
    return np.full((STRIP_HEIGHT, width), rng.integers(200, 256), np.uint8)


def foreign(font: str, letters: range, rng: np.random.Generator, width: int) -> Grey:
    """Words of another script."""
    face = ImageFont.truetype(font, int(rng.integers(16, 26)))
    text = ""
    while face.getlength(text) < width - 20:
        text += "".join(map(chr, rng.choice(letters, rng.integers(2, 10)).tolist())) + " "
    while face.getlength(text) > width - 12:
        text = text[:-1]
    image = Image.new("L", (width, STRIP_HEIGHT), 255)
    ImageDraw.Draw(image).text((6, 2), text, font=face, fill=30)
    return np.asarray(image)


def find_foreign() -> dict[str, Draw]:
    """Scripts for which this machine has a font."""
    found: dict[str, Draw] = {}
    if shutil.which("fc-list") is None:
        return found
    for script, language in SCRIPTS.items():
        words = ["fc-list", f":lang={language}", "file"]
        listed = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        fonts = sorted(line.rstrip(": ") for line in listed.splitlines())
        upright = [font for font in fonts if "Oblique" not in font and "Extra" not in font]
        if upright:
            found[script] = partial(foreign, upright[0], LETTERS[script])
    return found


def show_junk(ocr: OCR, count: int) -> None:
    """Print what becomes of strips without text that we can read."""
    kinds: dict[str, Draw] = {
        draw.__name__: draw for draw in (blank, ruled, noise, dirt, texture, halftone)
    }
    kinds |= {draw.__name__: draw for draw in (hatching, strokes, bars)}
    kinds |= find_foreign()
    click.echo("\n| strips of | dropped | mean confidence of all words read |\n| :-- | --: | --: |")
    for name, draw in kinds.items():
        rng = np.random.default_rng(0)
        strips = [draw(rng, int(rng.choice(WIDTHS))) for _ in range(count)]
        found = read_strips(ocr.model, ocr.tokenizer, strips)
        dropped = np.mean([not (r.text.strip() and is_legible(r)) for r in found])
        sure = [c for reading in found for c in reading.word_confidences()]
        click.echo(f"| {name} | {dropped:.0%} | {np.mean(sure) if sure else 0:.2f} |")


def show_readings(
    truths: list[str],
    strips: list[Grey],
    first: list[StripText],
    final: list[StripText],
) -> None:
    """Print what other readings gained and what was dropped."""
    lost = [i for i, strip in enumerate(strips) if has_lost_place(strip, first[i])]
    unclear = [
        i
        for i, result in enumerate(first)
        if i not in lost and is_legible(result) and result.probability < UNSURE
    ]
    errors, after = (
        [
            # what is dropped in the end counts as it was
            Levenshtein.distance((result if result.text else first[i]).text, truths[i])
            for i, result in enumerate(results)
        ]
        for results in (first, final)
    )
    dropped = [i for i, result in enumerate(final) if first[i].text and not result.text]
    words = [sum(words_right(r.text, t)) for r, t in zip(first, truths, strict=True)]
    for line in (
        f"{len(truths)} strips, {sum(map(len, truths))} characters, {sum(errors)} errors at first.",
        f"{len(lost)} strips lost their place: {sum(errors[i] for i in lost)} errors on them,",
        f"{sum(after[i] for i in lost)} after they were read again.",
        f"{len(unclear)} more were unclear: {sum(errors[i] for i in unclear)} errors on them,",
        f"{sum(after[i] for i in unclear)} after several views of them voted.",
        f"{len(dropped)} strips dropped, on which",
        f"{sum(words[i] for i in dropped)} of all {sum(words)} right words stood.",
    ):
        click.echo(line)


@click.command(help="Measure confidence, other readings and what is dropped.")
@click.option("--fonts", type=FOLDER, required=True, help="Folder of lightseek synth fetch.")
@click.option("--text", type=FOLDER, required=True, help="Folder of texts.")
@click.option("--model", default="nano", show_default=True)
@click.option("--held-out", default=25, show_default=True, help="Font families kept aside.")
@click.option("--strips", "count", default=3000, show_default=True)
@click.option("--junk", default=40, show_default=True, help="Strips of each kind without text.")
def main(fonts: Path, text: Path, model: str, held_out: int, count: int, junk: int) -> None:
    """Draw, read and count."""
    ocr = OCR(model, device="cpu")
    read = partial(read_strips, ocr.model, ocr.tokenizer)
    source = draw_samples(fonts, text, held_out, ocr.tokenizer.ids)
    truths: list[str] = []
    strips: list[Grey] = []
    first: list[StripText] = []
    final: list[StripText] = []
    for start in range(0, count, AT_ONCE):
        samples = [next(source) for _ in range(min(AT_ONCE, count - start))]
        images = [sample.image for sample in samples]
        calls: list[list[StripText]] = []
        final += read_carefully(images, partial(remember, read, calls))
        truths += [sample.text for sample in samples]
        strips += images
        first += calls[0]
    show_readings(truths, strips, first, final)
    sure = [c for result in final for c in result.word_confidences()]
    right = [
        w
        for result, truth in zip(final, truths, strict=True)
        for w in words_right(result.text, truth)
    ]
    show_calibration(np.array(sure), np.array(right))
    show_junk(ocr, junk)


if __name__ == "__main__":
    main()
