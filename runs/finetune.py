#!/usr/bin/env python
"""The numbers of docs/finetune.md: what fine-tuning does, measured on the machine that runs this.

    python runs/finetune.py nano                  Fraktur, by all weights and by adapters
    python runs/finetune.py step MODEL [MODEL]    one step of a large model, its memory and time

Both leave what they found under `build/finetune`, from which the tables of the page are written.
What is there is not done again: a run that was interrupted goes on.
"""

import json
import lzma
import random
import re
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch

from lightseek.config import validate
from lightseek.data.corpus import Corpus, clean
from lightseek.data.fonts import Face, load_faces, unseen_faces
from lightseek.data.strips import StripRenderer, StripSample
from lightseek.eval.report import Machine, put
from lightseek.tokenizer import LATIN, character_tokenizer
from lightseek.train.batch import HELD_OUT_SEED
from lightseek.train.card import read_record
from lightseek.train.exam import examine
from lightseek.train.recipe import Recipe, load_recipe
from lightseek.weights import default_dtype, load_model

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "finetune.md"
WORK = ROOT / "build" / "finetune"
CONFIGS = ROOT / "configs"

TUNED = ("@expo-google-fonts/unifrakturmaguntia", "@expo-google-fonts/unifrakturcook")
NEVER = ("@expo-google-fonts/manufacturing-consent",)
WAYS = {"all weights": "finetune.toml", "adapters": "finetune-lora.toml"}
CPU_TIME = "cpu-seconds"
STRIPS, WIDTH, DIFFICULTY, SEED = 160, 1024, 0.5, 17


def long_s(text: str) -> str:
    """German as Fraktur was set: an s that does not end a word is long."""
    return re.sub(r"s(?=[a-zäöüß])", "ſ", text)


@dataclass(frozen=True)
class Trial:
    """Strips to read, and what stands on them."""

    name: str
    strips: list[StripSample]

    @classmethod
    def draw(cls, name: str, faces: list[Face], text: Path) -> "Trial":
        """Running text of paragraphs that no training ever draws."""
        rng = random.Random(SEED)
        corpus = Corpus.load(text, LATIN, held_out=True)
        renderer = StripRenderer(faces, character_tokenizer().ids)
        strips = [
            renderer.render(
                rng, corpus.as_written(rng, WIDTH // 5), width=WIDTH, difficulty=DIFFICULTY
            )
            for _ in range(STRIPS)
        ]
        return cls(name, strips)

    def cer(self, model: str) -> float:
        """Share of the characters that a model reads wrong."""
        device = torch.device("cpu")
        reader, tokenizer = load_model(model, device=device, dtype=default_dtype(device))
        return examine(reader, tokenizer, self.strips).cer


def fetch(packages: tuple[str, ...], out: Path) -> None:
    """Get fonts as the guide does, unless they are there."""
    if not (out / "fonts").exists():
        chosen = [word for package in packages for word in ("--font", package)]
        lightseek("synth", "fetch", "-o", str(out), "--no-text", *chosen)


def write_german(source: Path, out: Path) -> None:
    """The German that `lightseek synth fetch` brought, with the long s."""
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.glob("de-*.txt.xz")):
        with lzma.open(path, "rt", encoding="utf-8") as file:
            text = long_s(file.read())
        (out / path.stem).write_text(text, encoding="utf-8")


def lightseek(*arguments: str) -> None:
    """Run the command line as a reader of the guide does."""
    subprocess.run([sys.executable, "-m", "lightseek", *arguments], check=True, cwd=ROOT)


@click.group()
def main() -> None:
    """Measure fine-tuning, and write it into docs/finetune.md."""


@main.command()
@click.option("--base", type=click.Path(path_type=Path), default=ROOT / "build", show_default=True)
@click.option("--set", "changes", multiple=True, help="Change both recipes.")
def nano(base: Path, changes: tuple[str, ...]) -> None:
    """Tune nano to Fraktur in both ways, and read text in it before and after.

    BASE holds the fonts and the text of `lightseek synth fetch`.
    """
    fraktur, never = WORK / "fraktur", WORK / "never"
    fetch(TUNED, fraktur)
    fetch(NEVER, never)
    write_german(base / "text", fraktur / "text")
    folders = {
        "data.fonts": base / "fonts",
        "data.text": base / "text",
        "data.new.fonts": fraktur / "fonts",
        "data.new.text": fraktur / "text",
    }
    overrides = (*(f"{key}='{folder}'" for key, folder in folders.items()), *changes)
    for recipe in WAYS.values():
        tune(CONFIGS / recipe, WORK / Path(recipe).stem, overrides)
    held_out = load_recipe(CONFIGS / WAYS["all weights"]).data.held_out_families
    kept = unseen_faces(load_faces(base / "fonts", LATIN), held_out=held_out, seed=HELD_OUT_SEED)
    german = fraktur / "text"
    trials = [
        Trial.draw("Fraktur: the fonts learnt", load_faces(fraktur / "fonts", LATIN), german),
        Trial.draw("blackletter: a font never learnt", load_faces(never / "fonts", LATIN), german),
        Trial.draw("ordinary fonts, six languages", kept, base / "text"),
    ]
    models = {"nano": "nano"} | {
        way: str(WORK / Path(recipe).stem / "model") for way, recipe in WAYS.items()
    }
    found = {
        "machine": Machine.here().cpu,
        "strips": STRIPS,
        "changes": list(changes),
        "cer": {trial.name: {m: trial.cer(path) for m, path in models.items()} for trial in trials},
        "runs": {way: record(Path(models[way])) for way in WAYS},
    }
    save(WORK / "nano.json", found)
    write_page()


def cpu_seconds() -> float:
    """What all commands run so far have taken."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def tune(recipe: Path, run: Path, overrides: tuple[str, ...]) -> None:
    """Train nano by a recipe, from where it was if it was interrupted, and keep the CPU time."""
    model, wanted = run / "model", load_recipe(recipe, overrides)
    done = read_record(model)
    if done and done[-1]["step"] == wanted.steps:
        if validate(Recipe, done[-1]["recipe"], source=str(model)) != wanted:
            raise click.ClickException(f"{run} is of another recipe: remove it")
        return
    options = [word for override in overrides for word in ("--set", override)]
    before = cpu_seconds()
    words = ["train", str(recipe), "-o", str(run), "--model", "nano", "--device", "cpu", *options]
    try:
        lightseek(*words)
    finally:  # also of what was interrupted
        file = run / CPU_TIME
        earlier = float(file.read_text()) if file.exists() else 0.0
        file.write_text(f"{earlier + cpu_seconds() - before}\n")


def record(model: Path) -> dict[str, Any]:
    """How long a run took, and what it leaves."""
    run = read_record(model)[-1]
    weights = sum(file.stat().st_size for file in model.glob("*.safetensors"))
    return {
        "steps": run["step"],
        "strips": run["strips"],
        "minutes": run["seconds"] / 60,
        "cpu_minutes": float((model.parent / CPU_TIME).read_text()) / 60,
        "processes": run["processes"],
        "megabytes": weights / 1e6,
    }


@main.command()
@click.argument("models", nargs=-1, required=True)
@click.option("--base", type=click.Path(path_type=Path), default=ROOT / "build", show_default=True)
def step(models: tuple[str, ...], base: Path) -> None:
    """Take one step of each model with adapters, on a page of Fraktur; least memory first."""
    pages = WORK / "pages"
    fetch(TUNED, WORK / "fraktur")
    if not pages.exists():
        write_german(base / "text", WORK / "fraktur" / "text")
        make_pages(WORK / "fraktur", pages)
    found = []
    for model in models:
        found.append(take_step(model, pages))
        save(WORK / "step.json", {"machine": Machine.here().cpu, "steps": found})
        write_page()


def make_pages(fraktur: Path, out: Path) -> None:
    """A page of Fraktur to learn from, and a line of it to be read, with their text."""
    corpus = Corpus.load(fraktur / "text", LATIN, held_out=True)
    face = next(f for f in load_faces(fraktur / "fonts", LATIN) if not f.bold)
    rng = random.Random(SEED)
    paragraphs = [clean(corpus.as_written(rng, 600), face.covers) for _ in range(2)]
    # what is kept aside is read word by word: of the random weights here, a few words are enough
    texts = {"train": "\n\n".join(paragraphs), "held-out": " ".join(paragraphs[0].split()[:5])}
    for name, content in texts.items():
        text = fraktur / f"{name}.txt"
        text.write_text(content, encoding="utf-8")
        page = str(out / name)
        lightseek("render", str(text), "-o", page, "--font", str(face.path), "--paper", "a5")


def take_step(model: str, pages: Path) -> dict[str, Any]:
    """One step in a process of its own, whose peak of memory is asked for when it has ended."""
    run = WORK / "step"
    shutil.rmtree(run, ignore_errors=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    started = time.monotonic()
    lightseek(
        "train", str(CONFIGS / "finetune-pages.toml"), "-o", str(run), "--model", model,
        "--device", "cpu", "--set", "epochs=1", "--set", "accumulate=1",
        "--set", f"pages.train='{pages / 'train'}'",
        "--set", f"pages.held_out='{pages / 'held-out'}'",
    )  # fmt: skip
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    if peak == before:
        raise click.ClickException("name the model that needs more memory after the other")
    adapters = (run / "model").glob("*.safetensors")
    return {
        "model": Path(model).name,
        "gigabytes": sum(file.stat().st_size for file in Path(model).glob("*.safetensors")) / 1e9,
        "peak_gib": peak / 2**20,
        "seconds": time.monotonic() - started,
        "step_seconds": read_record(run / "model")[-1]["seconds"],
        "megabytes": sum(file.stat().st_size for file in adapters) / 1e6,
    }


def save(path: Path, found: dict[str, Any]) -> None:
    """Keep what was found."""
    path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def write_page() -> None:
    """Fill both tables of the page from what was found so far."""
    for name, to_table in (("nano", nano_table), ("step", step_table)):
        file = WORK / f"{name}.json"
        if file.exists():
            put(PAGE, name, [to_table(json.loads(file.read_text(encoding="utf-8")))])


def nano_table(found: dict[str, Any]) -> str:
    """Errors before and after, and what it took."""
    names = ["nano", *WAYS]
    changed = "".join(f" `--set {change}`" for change in found["changes"])
    rows = [
        f"{found['machine']}, cores shared with other work. CER % of {found['strips']} lines each"
        + (f", recipes with{changed}:" if changed else ":"),
        "",
        f"| read | {' | '.join(['nano', *(f'tuned, {way}' for way in WAYS)])} |",
        "| :-- |" + " --: |" * len(names),
    ]
    for trial, cer in found["cer"].items():
        rows.append(f"| {trial} | {' | '.join(f'{100 * cer[name]:.2f}' for name in names)} |")
    runs = [found["runs"][way] for way in WAYS]
    for label, key, form in (
        ("steps", "steps", "{:d}"),
        ("strips drawn and read", "strips", "{:d}"),
        ("minutes of CPU time, all together", "cpu_minutes", "{:.1f}"),
        ("minutes by the clock", "minutes", "{:.1f}"),
        ("processes of one thread", "processes", "{:d}"),
        ("megabytes that are left", "megabytes", "{:.1f}"),
    ):
        rows.append(f"| {label} | | {' | '.join(form.format(run[key]) for run in runs)} |")
    return "\n".join(rows)


def step_table(found: dict[str, Any]) -> str:
    """Memory and time of a step."""
    rows = [
        f"{found['machine']}, cores shared with other work:",
        "",
        "| model | its weights, GB | peak memory, GiB | the step, s | all, s | adapters, MB |",
        "| :-- | --: | --: | --: | --: | --: |",
    ]
    for each in found["steps"]:
        rows.append(
            f"| {each['model']} | {each['gigabytes']:.1f} | {each['peak_gib']:.1f} "
            f"| {each['step_seconds']:.0f} | {each['seconds']:.0f} | {each['megabytes']:.0f} |"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    main()
