import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lightseek.data.corpus import Corpus
from lightseek.data.fonts import SHIPPED, load_faces
from lightseek.errors import ModelError, UsageError
from lightseek.tokenizer import LATIN
from lightseek.train.pack import make_pack

RECIPE = """
model = "nano"
seed = 1
steps = 1
units = 2
compile = false
evaluate_every = 10
data = { fonts = "build/fonts", text = "build/text", held_out_families = 1 }
loss = { glyphs = 0.3, places = 0.2 }
stages = [{ until = 1.0, widths = [256], difficulty = 0.5 }]

[optimiser]
muon_rate = 0.006
adamw_rate = 0.001
muon_decay = 0.03
adamw_decay = 0.02
clip_norm = 1.0
warmup_steps = 0
constant_until = 0.5
"""
TEXT = [f"The fox saw hound {n} near Exmoor, {n * 7919 % 997} times." for n in range(4000)]


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe where training would start, beside the folders that it names."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(SHIPPED, "build/fonts")
    for name in ("en.txt", "fr.txt"):
        Path("build/text").mkdir(exist_ok=True)
        Path("build/text", name).write_text("\n".join(TEXT), encoding="utf-8")
    Path("configs").mkdir()
    Path("configs/tiny.toml").write_text(RECIPE, encoding="utf-8")
    return Path("configs/tiny.toml")


def size_mb(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def run_in(pack: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command somewhere else, with this Python."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        [str(pack / "run.sh"), *command],
        cwd=pack.parent,
        env=environment,
        capture_output=True,
        text=True,
    )


def test_a_pack_holds_all_that_fits(recipe: Path) -> None:
    said: list[str] = []
    make_pack(recipe, Path("pack"), on_progress=said.append)
    assert Path("pack/tiny.toml").read_text(encoding="utf-8") == RECIPE
    packed, whole = (load_faces(folder, LATIN) for folder in (Path("pack/build/fonts"), SHIPPED))
    assert [face.name for face in packed] == [face.name for face in whole]
    assert {p.name for p in Path("pack/build/fonts/licences").iterdir()} == {
        p.name for p in (SHIPPED / "licences").iterdir()
    }
    texts = [Corpus.load(Path(root, "build/text"), LATIN) for root in (".", "pack")]
    assert texts[0].num_chars == texts[1].num_chars
    assert not list(Path("pack").rglob("*.safetensors"))
    assert not list(Path("pack").rglob("__pycache__"))
    assert f"{size_mb(Path('pack')):.1f} MB" in said[-1]


def test_real_lines_come_along(recipe: Path) -> None:
    Path("build/lines/strips").mkdir(parents=True)
    Path("build/lines/lines.jsonl").write_text("{}")
    Path("build/lines/strips/000000.png").write_bytes(b"image")
    text = 'text = "build/text", lines = { folder = "build/lines", share = 0.1 }'
    recipe.write_text(RECIPE.replace('text = "build/text"', text), encoding="utf-8")
    make_pack(recipe, Path("pack"))
    assert Path("pack/build/lines/strips/000000.png").read_bytes() == b"image"
    assert Path("pack/build/lines/lines.jsonl").exists()


def test_what_else_a_recipe_names_comes_along(recipe: Path) -> None:
    for name in ("fonts/new.ttf", "text/en.txt"):
        Path("build/new", name).parent.mkdir(parents=True)
        Path("build/new", name).write_text("new")
    Path("wide.toml").write_text('like = "middle.toml"\n')
    Path("middle.toml").write_text('like = "nano"\n')
    new = 'new = { fonts = "build/new/fonts", text = "build/new/text", share = 0.5 }'
    text = recipe.read_text().replace('model = "nano"', 'model = "wide.toml"')
    recipe.write_text(text.replace("held_out_families = 1", f"held_out_families = 1, {new}"))
    start = Path("begin")
    start.mkdir()
    (start / "config.json").write_text("{}")
    make_pack(recipe, Path("pack"), start="begin")
    for name in ("build/new/fonts/new.ttf", "build/new/text/en.txt", "wide.toml", "middle.toml"):
        assert Path("pack", name).read_bytes() == Path(name).read_bytes()
    assert Path("pack/start/config.json").read_text() == "{}"
    assert "-o run --from start" in Path("pack/run.sh").read_text()


def test_a_name_with_a_space_and_a_start_with_a_folder(recipe: Path) -> None:
    spaced = recipe.rename(recipe.with_name("my recipe.toml"))
    Path("base", ".git").mkdir(parents=True)
    Path("base", "config.json").write_text("{}")
    make_pack(spaced, Path("pack"), start="base")
    assert [path.name for path in Path("pack/start").iterdir()] == ["config.json"]
    assert "train 'my recipe.toml' -o run" in Path("pack/run.sh").read_text()


def test_adapters_are_no_start(recipe: Path) -> None:
    Path("tuned").mkdir()
    Path("tuned", "adapters.json").write_text("{}")
    with pytest.raises(UsageError, match="tuned holds adapters"):
        make_pack(recipe, Path("pack"), start="tuned")
    assert not Path("pack").exists()


def test_presets_that_are_like_each_other_are_refused(recipe: Path) -> None:
    Path("a.toml").write_text('like = "b.toml"\n')
    Path("b.toml").write_text('like = "a.toml"\n')
    recipe.write_text(recipe.read_text().replace('model = "nano"', 'model = "a.toml"'))
    with pytest.raises(ModelError, match="is like"):
        make_pack(recipe, Path("pack"))


def test_what_is_too_much_is_left_out_evenly(recipe: Path) -> None:
    make_pack(recipe, Path("whole"))
    least = size_mb(Path("whole")) - 0.1
    make_pack(recipe, Path("pack"), max_mb=least)
    assert size_mb(Path("pack")) <= least
    packed, whole = (load_faces(folder, LATIN) for folder in (Path("pack/build/fonts"), SHIPPED))
    assert len(packed) < len(whole)
    assert {face.family for face in packed} == {face.family for face in whole}


def test_text_is_thinned_out_until_it_fits(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightseek.train.pack._TEXT_SHARE", 0.0001)
    make_pack(recipe, Path("pack"))
    chars = Corpus.load(Path("pack/build/text"), LATIN).num_chars
    assert 100 < chars["en"] < 0.7 * len("\n".join(TEXT))
    assert chars["en"] == pytest.approx(chars["fr"], rel=0.1)


@pytest.mark.parametrize("max_mb", [0.1, 1.5])
def test_what_cannot_fit_is_said_with_sizes(recipe: Path, max_mb: float) -> None:
    with pytest.raises(UsageError, match=r"\d\.\d MB"):
        make_pack(recipe, Path("pack"), max_mb=max_mb)
    assert not Path("pack").exists()


@pytest.mark.parametrize("folder", ["../fonts", "/fonts"])
def test_folders_elsewhere_are_refused(recipe: Path, folder: str) -> None:
    recipe.write_text(RECIPE.replace("build/fonts", folder), encoding="utf-8")
    with pytest.raises(UsageError, match=folder):
        make_pack(recipe, Path("pack"))


def test_a_folder_that_is_there_is_not_touched(recipe: Path) -> None:
    Path("pack").mkdir()
    with pytest.raises(UsageError, match="pack is there"):
        make_pack(recipe, Path("pack"))
    assert not list(Path("pack").iterdir())


def test_a_pack_runs_its_own_package(recipe: Path) -> None:
    make_pack(recipe, Path("pack"))
    command = Path("pack/lightseek/cli/__init__.py")
    command.write_text(f"print('packed')\n{command.read_text(encoding='utf-8')}", encoding="utf-8")
    done = run_in(Path("pack").resolve(), "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("packed\nUsage: lightseek train")


@pytest.mark.slow
def test_a_pack_trains(recipe: Path) -> None:
    make_pack(recipe, Path("pack"))
    done = run_in(Path("pack").resolve(), "--processes", "1", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert Path("pack/run/model/model.safetensors").exists()
