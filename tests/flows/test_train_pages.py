"""Runs on pages with text: what they leave on disk, how they stop, go on, fail and share work."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image, ImageDraw
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from lightseek.cli import main
from lightseek.config import ModelConfig, PlaceConfig
from lightseek.cross import CrossDecoder
from lightseek.decoder import DecoderLayer, MoeFeedForward
from lightseek.document import Status
from lightseek.encoder import ClipBlock, SamBlock
from lightseek.errors import DataError, Interrupted, LightSeekError, ModelError, UsageError
from lightseek.eval.metrics import Score
from lightseek.language import LanguageDecoder
from lightseek.lora import LoraConfig, read_settings
from lightseek.model import LightSeekOCR
from lightseek.ocr import OCR
from lightseek.published import load_sam
from lightseek.tokenizer import Tokenizer, train_tokenizer
from lightseek.train import checkpoint
from lightseek.train.card import read_record
from lightseek.train.checkpoint import RunFolder
from lightseek.train.loss import Part
from lightseek.train.pages import launch, outcome, start
from lightseek.train.pages.batch import PageBatch, PageModel
from lightseek.train.pages.launch import work
from lightseek.train.pages.loop import PageTrainer, train_pages
from lightseek.train.pages.recipe import (
    AdamWRecipe,
    CosineSchedule,
    PageRecipe,
    PagesRecipe,
    PartsRecipe,
    StepSchedule,
    load_any,
)
from lightseek.train.pages.report import PageReporter
from lightseek.train.pages.sharing import make_accelerator
from lightseek.train.pages.state import PageProgress
from lightseek.train.progress import read_curve
from lightseek.views import MODES
from lightseek.weights import load_model, sample_model, save_model

pytest.importorskip("accelerate")

CONFIGS = Path(__file__).parents[2] / "configs"
STEPS = 5
TEXTS = ("fox", "a lazy dog", "jumps", "over the moon", "Exmoor", "nine", "vex my pig")


@pytest.fixture(autouse=True, scope="module")
def _small_views() -> Iterator[None]:
    """Modes with views of a few tokens."""
    with pytest.MonkeyPatch.context() as patch:
        make_small(patch)
        yield


def make_small(patch: pytest.MonkeyPatch) -> None:
    gundam = MODES["gundam"]
    for name in ("tiny", "base"):
        patch.setitem(MODES, name, replace(MODES[name], page_px=128))
    patch.setitem(MODES, "gundam", replace(gundam, page_px=128, tile_px=64, max_tiles=3))


@pytest.fixture(autouse=True)
def _forget_processes() -> Iterator[None]:
    yield
    forget_processes()


def forget_processes() -> None:
    """What `accelerate` keeps for the whole of a process; a run is one process."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)


def draw_pages(folder: Path, texts: tuple[str, ...] = TEXTS) -> Path:
    folder.mkdir(parents=True)
    for i, text in enumerate(texts):
        image = Image.new("RGB", (120 + 10 * i, 160), "white")
        ImageDraw.Draw(image).text((10, 10), text, "black")
        image.save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def recipe(
    tiny_base_model: LightSeekOCR,
    tiny_tokenizer: Tokenizer,
    tmp_path_factory: pytest.TempPathFactory,
) -> PageRecipe:
    """Steps of two batches, which cross the ends of epochs."""
    folder = tmp_path_factory.mktemp("pages")
    save_model(folder / "model", tiny_base_model, tiny_tokenizer)
    return PageRecipe(
        model=str(folder / "model"),
        seed=3,
        steps=STEPS,
        batch=4,
        accumulate=2,
        precision="no",
        evaluate_every=2,
        pages=PagesRecipe(
            train=str(draw_pages(folder / "train")),
            held_out=str(draw_pages(folder / "held-out", TEXTS[:3])),
            mode="tiny",
            longest=12,
        ),
        optimiser=AdamWRecipe(rate=2e-3, decay=0.01, clip_norm=1.0, rates={"encoder.sam": 1e-3}),
        schedule=CosineSchedule(kind="cosine", warmup_steps=2, end=0.1),
    )


def go(recipe: PageRecipe, folder: Path, *, steps: int | None = None) -> None:
    train_pages(recipe, folder, device="cpu", stop_after=steps, save_minutes=60)


@pytest.fixture(scope="module")
def whole(recipe: PageRecipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    go(recipe, folder)
    forget_processes()
    return folder


def saved(folder: Path) -> tuple[dict[str, Tensor], PageProgress]:
    found = RunFolder(folder).load_as(PageProgress)
    assert found is not None
    return found


def curve(folder: Path, name: str) -> list[float]:
    return [value for _, value in read_curve(folder, name)]


def assert_same(folder: Path, other: Path) -> None:
    (one, at), (two, there) = saved(folder), saved(other)
    assert replace(at, seconds=0) == replace(there, seconds=0)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_run_learns_and_leaves_models_that_read(whole: Path, recipe: PageRecipe) -> None:
    losses = curve(whole, "loss")
    assert len(losses) == STEPS
    assert losses[-1] < losses[0]
    assert len(curve(whole, "held_out_loss")) == len(curve(whole, "held_out_cer")) == 3
    _, progress = saved(whole)
    assert (progress.step, progress.evaluated, progress.pages) == (STEPS, STEPS, 35)
    assert progress.best_loss == pytest.approx(min(curve(whole, "held_out_loss")))
    for name in ("model", "best"):
        page = OCR(whole / name, device="cpu").read(Image.new("RGB", (90, 90)), max_tokens=3)
        assert len(page.pages) == 1
    record = json.loads((whole / "model" / "training.json").read_text())
    assert record[-1]["recipe"]["model"] == recipe.model


def test_a_run_that_is_stopped_and_goes_on_equals_an_uninterrupted_one(
    recipe: PageRecipe, whole: Path, tmp_path: Path
) -> None:
    go(recipe, tmp_path, steps=2)
    assert saved(tmp_path)[1].step == 2
    interrupt = before_step(3, lambda: signal.raise_signal(signal.SIGINT))
    with interrupt, pytest.raises(Interrupted):
        go(recipe, tmp_path)
    assert saved(tmp_path)[1].step == 4, "the step that was begun is finished"
    go(recipe, tmp_path)
    assert_same(tmp_path, whole)


@contextmanager
def before_step(step: int, act: Callable[[], None]) -> Iterator[None]:
    real = PageTrainer._step

    def acting(trainer: PageTrainer, *args: Any, **kwargs: Any) -> Any:
        if trainer.progress.step == step:
            act()
        return real(trainer, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PageTrainer, "_step", acting)
        yield


def small_work(rank: int, *args: Any) -> None:
    """What the processes of a run do in place of `work`."""
    with pytest.MonkeyPatch.context() as patch:
        make_small(patch)
        work(rank, *args)


def go_in_two(recipe: PageRecipe, folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "work", small_work)
        launch.train_in_processes(recipe, folder, processes=2, save_minutes=60)


def test_two_processes_train_as_one(recipe: PageRecipe, whole: Path, tmp_path: Path) -> None:
    go_in_two(recipe, tmp_path)
    for name in ("loss", "hits", "norm", "held_out_loss", "held_out_cer"):
        assert curve(tmp_path, name) == pytest.approx(curve(whole, name), rel=1e-5), name
    (one, at), (two, there) = saved(tmp_path), saved(whole)
    assert one.keys() == two.keys()
    assert (at.step, at.pages, at.tokens, at.loader) == (
        there.step,
        there.pages,
        there.tokens,
        there.loader,
    )
    go(recipe, tmp_path)
    again, _ = saved(tmp_path)
    assert all(torch.equal(again[name], value) for name, value in one.items()), "one goes on"


@pytest.mark.slow
def test_processes_that_accelerate_starts_train_as_one(recipe: PageRecipe, tmp_path: Path) -> None:
    changes = [f"pages.train={recipe.pages.train}", f"pages.held_out={recipe.pages.held_out}"]
    changes += [f"model={recipe.model}", "parts={}", "pages.mode=tiny", "pages.longest=9"]
    changes += ["pages.workers=0", "batch=4", "accumulate=1", "precision=no"]
    asked = ["-m", "lightseek", "train", str(CONFIGS / "stage1.toml"), "--device", "cpu"]
    asked += ["--stop-after", "2", *(f"--set={change}" for change in changes)]
    in_two = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    for launcher, folder in (([], "one"), (in_two, "two")):
        command = [sys.executable, *launcher, *asked, "-o", str(tmp_path / folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    one, two = (curve(tmp_path / folder, "loss") for folder in ("one", "two"))
    assert two == pytest.approx(one, rel=1e-4)
    (_, alone), (_, at) = (saved(tmp_path / folder) for folder in ("one", "two"))
    assert (at.step, at.pages, at.tokens) == (2, alone.pages, alone.tokens)


@pytest.mark.slow
def test_mistakes_come_out_of_processes_in_a_line(recipe: PageRecipe, tmp_path: Path) -> None:
    with pytest.raises(LightSeekError, match=r"no part encoder\.san") as raised:
        go_in_two(replace(recipe, freeze=("encoder.san",)), tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_two_processes_are_interrupted_together(recipe: PageRecipe, tmp_path: Path) -> None:
    def interrupt() -> None:
        while not (tmp_path / "checkpoint").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    with ThreadPoolExecutor(1) as pool, pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "work", small_work)
        script = pool.submit(interrupt)
        with pytest.raises(Interrupted, match="the same command goes on"):
            launch.train_in_processes(
                replace(recipe, steps=3000), tmp_path, processes=2, save_minutes=0
            )
        script.result()
    assert 1 <= saved(tmp_path)[1].step < 3000


def test_an_evaluation_that_is_interrupted_is_done_again(
    recipe: PageRecipe, tmp_path: Path
) -> None:
    single = replace(recipe, batch=1, evaluate_every=1)
    go(single, tmp_path / "whole", steps=2)
    read, read_batches = PageTrainer._read, []

    def interrupted(self: PageTrainer, batch: PageBatch) -> Score:
        read_batches.append(batch)
        self.interrupted = len(read_batches) == 1
        return read(self, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PageTrainer, "_read", interrupted)
        with pytest.raises(Interrupted):
            go(single, tmp_path / "stopped", steps=2)
    assert len(read_batches) == 1
    assert saved(tmp_path / "stopped")[1].step == 1
    go(single, tmp_path / "stopped", steps=1)
    for name in ("loss", "held_out_loss"):
        whole = curve(tmp_path / "whole", name)
        assert curve(tmp_path / "stopped", name) == pytest.approx(whole[:2], rel=1e-5)


def picky_work(rank: int, *args: Any) -> None:
    """`small_work` in which every process keeps to half of the experts."""
    with pytest.MonkeyPatch.context() as patch:
        route_by_rank(patch, rank)
        small_work(rank, *args)


def picky_sharing_work(rank: int, *args: Any) -> None:
    """`picky_work` with weights that are shared out."""
    with pytest.MonkeyPatch.context() as patch:
        route_by_rank(patch, rank)
        sharing_work(rank, *args)


def route_by_rank(patch: pytest.MonkeyPatch, rank: int) -> None:
    forward = MoeFeedForward.forward

    def picky(self: MoeFeedForward, x: Tensor) -> Tensor:
        others = torch.arange(len(self.experts)) % 2 != rank
        with pytest.MonkeyPatch.context() as within:
            softmax = Tensor.softmax
            kept = lambda scores, dim: softmax(scores, dim).masked_fill(others, 0)  # noqa: E731
            within.setattr(Tensor, "softmax", kept)
            return forward(self, x)

    patch.setattr(MoeFeedForward, "forward", picky)


def sharing_work(rank: int, *args: Any) -> None:
    """`small_work` with weights that are shared out."""
    from accelerate import Accelerator, DistributedType

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Accelerator, "prepare", lambda self, *parts: share_out(*parts))
        patch.setattr(Accelerator, "is_fsdp2", True)
        patch.setattr(Accelerator, "distributed_type", DistributedType.FSDP)
        small_work(rank, *args)


def share_out(model: PageModel, optimiser: torch.optim.Optimizer) -> tuple[Any, Any]:
    """What `accelerate` does by FSDP's second version on GPUs; on CPUs it never does."""
    from accelerate.optimizer import AcceleratedOptimizer
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = [[names[id(p)] for p in group["params"]] for group in optimiser.param_groups]
    mesh = init_device_mesh("cpu", (2,))
    for module in [*model.modules()]:
        if isinstance(module, SamBlock | ClipBlock | CrossDecoder | DecoderLayer):
            fully_shard(module, mesh=mesh)
    fully_shard(model, mesh=mesh)
    parameters = dict(model.named_parameters())
    for group, members in zip(optimiser.param_groups, groups, strict=True):
        group["params"] = [parameters[name] for name in members]
    return model, AcceleratedOptimizer(optimiser)


@pytest.mark.slow
def test_experts_that_one_process_has_no_use_for_learn_the_same(
    recipe: PageRecipe, official_folder: Path, tmp_path: Path
) -> None:
    found = []
    for name, its_work in (("whole", picky_work), ("shared", picky_sharing_work)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(launch, "work", its_work)
            launch.train_in_processes(
                official(recipe, official_folder), tmp_path / name, processes=2, save_minutes=60
            )
        found.append(curve(tmp_path / name, "loss"))
    assert found[1] == pytest.approx(found[0], rel=1e-4)


def test_sums_of_shared_weights_have_more_digits_than_what_is_multiplied(
    recipe: PageRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accelerate import Accelerator, FullyShardedDataParallelPlugin
    from accelerate.state import AcceleratorState

    # as `accelerate launch` has it
    monkeypatch.setenv("FSDP_CPU_RAM_EFFICIENT_LOADING", "true")
    plugin = FullyShardedDataParallelPlugin(fsdp_version=2, cpu_ram_efficient_loading=True)
    plugin.set_mixed_precision("bf16")
    monkeypatch.setattr(AcceleratorState, "fsdp_plugin", plugin, raising=False)
    narrow = replace(recipe, precision="bf16")
    forget_processes()
    monkeypatch.setattr(Accelerator, "is_fsdp2", False)
    with pytest.raises(UsageError, match="fsdp_version: 2"):
        make_accelerator(narrow, "cpu")
    monkeypatch.setattr(Accelerator, "is_fsdp2", True)
    make_accelerator(narrow, "cpu")
    policy = plugin.mixed_precision_policy
    assert policy.param_dtype == torch.bfloat16
    assert policy.reduce_dtype == policy.output_dtype == torch.float32
    assert not plugin.cpu_ram_efficient_loading
    assert os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] == "false"
    forget_processes()


@pytest.mark.slow
@pytest.mark.parametrize("family", ["own", "official"])
def test_weights_shared_out_train_as_if_each_process_had_all(
    recipe: PageRecipe, official_folder: Path, tmp_path: Path, family: str
) -> None:
    of_family = official(recipe, official_folder) if family == "official" else recipe
    one, two = tmp_path / "one", tmp_path / "two"
    go(of_family, one)
    for steps in (3, None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(launch, "work", sharing_work)
            launch.train_in_processes(
                of_family, two, processes=2, save_minutes=60, stop_after=steps
            )
    for name in ("loss", "norm", "held_out_loss"):
        assert curve(two, name) == pytest.approx(curve(one, name), rel=1e-4), name
    with pytest.raises(KeyError):
        curve(two, "held_out_cer")  # no process has all that reading needs
    shapes = [{name: t.shape for name, t in saved(run)[0].items()} for run in (one, two)]
    assert shapes[0] == shapes[1]


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_the_batch(
    recipe: PageRecipe, tmp_path: Path
) -> None:
    go(recipe, tmp_path, steps=2)
    before = saved(tmp_path)
    real = PageModel.forward

    def break_at_one(model: PageModel, batch: PageBatch) -> Part:
        part = real(model, batch)
        is_there = any(Path(name).stem == "3" for name in batch.names)
        return part._replace(total=part.total * float("nan")) if is_there else part

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PageModel, "forward", break_at_one)
        with pytest.raises(LightSeekError, match=r"loss nan, .* checkpoint is of step 2") as raised:
            go(recipe, tmp_path)
    assert "\n" not in str(raised.value)
    rows = json.loads((tmp_path / "bad-batch" / "batch-0.json").read_text())["rows"]
    assert any(row.endswith("3.png") for row in rows)
    kept = load_file(tmp_path / "bad-batch" / "batch-0.safetensors")
    assert kept["pages"].shape == (len(rows), 128, 128, 3)
    assert len(kept["ids"]) == len(rows)
    after = saved(tmp_path)
    assert after[1] == before[1]
    assert all(torch.equal(after[0][name], value) for name, value in before[0].items())


def test_a_gradient_that_is_no_number_leaves_the_rows_of_its_step(
    recipe: PageRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its loss is one; nothing tells which of its batches it was."""
    monkeypatch.setattr(PageTrainer, "_average_gradients", lambda self, asked: float("inf"))
    with pytest.raises(LightSeekError, match=r"gradient inf at step 0: .* checkpoint is of step 0"):
        go(recipe, tmp_path)
    told = json.loads((tmp_path / "bad-batch" / "batch-0.json").read_text())
    assert set(told["rows"]) < set(told["rows_of_step"])
    assert len(told["rows_of_step"]) > recipe.batch


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SafetensorError("full")])
def test_a_full_disk_leaves_the_last_checkpoint(
    recipe: PageRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    go(recipe, tmp_path, steps=1)
    before = saved(tmp_path)

    def fill(*args: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", fill)
        with pytest.raises(LightSeekError, match="of step 1, is whole: make room") as raised:
            go(recipe, tmp_path, steps=1)
    assert "\n" not in str(raised.value)
    assert saved(tmp_path)[1] == before[1]
    go(recipe, tmp_path, steps=1)
    assert saved(tmp_path)[1].step == 2


def test_frozen_parts_stay_and_are_in_no_checkpoint(recipe: PageRecipe, tmp_path: Path) -> None:
    parts = ("encoder.sam", "encoder.compressor")
    go(replace(recipe, freeze=parts, precision="bf16"), tmp_path, steps=1)
    begun = load_file(Path(recipe.model) / "model.safetensors")
    now = load_file(tmp_path / "model" / "model.safetensors")
    changed = {name for name, value in now.items() if not torch.equal(value, begun[name])}
    assert changed
    assert not any(name.startswith(parts) for name in changed)
    assert not any(name.startswith("model.encoder.sam") for name in saved(tmp_path)[0])


def official(recipe: PageRecipe, folder: Path) -> PageRecipe:
    """The official family, with pages of different numbers of tiles in a batch."""
    pages = replace(recipe.pages, mode="gundam", prompt="free")
    rates = replace(recipe.optimiser, rates={})
    return replace(recipe, model=str(folder), pages=pages, optimiser=rates)


def test_the_official_family_learns_in_tiles(
    recipe: PageRecipe, official_folder: Path, tmp_path: Path
) -> None:
    tiled = replace(official(recipe, official_folder), precision="bf16")
    go(tiled, tmp_path / "one")
    assert curve(tmp_path / "one", "loss")[-1] < curve(tmp_path / "one", "loss")[0]
    go(tiled, tmp_path / "two", steps=3)
    go(tiled, tmp_path / "two")
    assert_same(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
def test_two_processes_with_other_tiles_and_experts_train_as_one(
    recipe: PageRecipe, official_folder: Path, tmp_path: Path
) -> None:
    tiled = official(recipe, official_folder)
    go(tiled, tmp_path / "one")
    go_in_two(tiled, tmp_path / "two")
    for name in ("loss", "norm", "held_out_loss"):
        one, two = curve(tmp_path / "one", name), curve(tmp_path / "two", name)
        assert two == pytest.approx(one, rel=1e-4), name


def test_adapters_learn_and_are_merged_when_they_are_loaded(
    recipe: PageRecipe, tmp_path: Path
) -> None:
    pytest.importorskip("peft")
    lora = LoraConfig(rank=2, alpha=4, dropout=0.1, targets=("query", "value"))
    adapted = replace(recipe, lora=lora, freeze=("encoder", "embedding"))
    go(adapted, tmp_path, steps=3)
    assert all(".lora_" in name for name in saved(tmp_path)[0])
    cpu = torch.device("cpu")
    merged, _ = load_model(tmp_path / "model", device=cpu, dtype=torch.float32)
    model, _ = load_model(recipe.model, device=cpu, dtype=torch.float32)
    changed = [n for n, t in model.state_dict().items() if not t.equal(merged.state_dict()[n])]
    assert changed
    assert all(name.endswith(("query.weight", "value.weight")) for name in changed)
    assert not (tmp_path / "model" / "model.safetensors").exists()
    go(adapted, tmp_path)
    go(adapted, tmp_path.with_name("whole"))
    assert_same(tmp_path, tmp_path.with_name("whole"))


def test_rates_and_clipping_of_the_recipe_reach_the_optimiser(
    recipe: PageRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[set[float]] = []
    real = PageTrainer._average_gradients

    def average(trainer: PageTrainer, asked: float) -> float:
        norm = real(trainer, asked)
        squares = [p.grad.square().sum() for p in trainer.shared.parameters() if p.requires_grad]
        told.append({g["lr"] / g["full_rate"] for g in trainer.optimiser.param_groups})
        assert float(sum(squares)) ** 0.5 <= 0.011 < norm
        return norm

    monkeypatch.setattr(PageTrainer, "_average_gradients", average)
    tight = replace(recipe, optimiser=replace(recipe.optimiser, clip_norm=0.01))
    go(tight, tmp_path, steps=4)
    # what the groups hold is of the step before
    shares = [share for (share,) in told[1:]]
    assert shares == pytest.approx([recipe.share(step, STEPS) for step in range(3)])


def test_two_halves_of_a_step_are_a_whole(recipe: PageRecipe, tmp_path: Path) -> None:
    whole = replace(recipe, batch=8, accumulate=1, evaluate_every=99)
    halves = replace(recipe, batch=4, accumulate=2, evaluate_every=99)
    for name, parted in (("whole", whole), ("halves", halves)):
        go(parted, tmp_path / name, steps=1)
    for figure in ("loss", "norm"):
        one, two = (curve(tmp_path / name, figure) for name in ("whole", "halves"))
        assert two == pytest.approx(one, rel=1e-3), figure


def test_saving_copies_does_not_touch_what_is_trained(recipe: PageRecipe, tmp_path: Path) -> None:
    """Adapters are merged in a copy at every evaluation."""
    pytest.importorskip("peft")
    lora = LoraConfig(rank=2, alpha=4, dropout=0.0, targets=("query", "value"))
    parts = PartsRecipe(encoder=recipe.model)
    adapted = replace(recipe, lora=lora, parts=parts, freeze=("encoder", "embedding"))
    found = []
    for often in (1, 99):
        go(replace(adapted, evaluate_every=often), tmp_path / str(often), steps=3)
        found.append(saved(tmp_path / str(often))[0])
    assert all(torch.equal(tensor, found[1][name]) for name, tensor in found[0].items())


def test_a_run_goes_on_from_where_it_began(
    recipe: PageRecipe, tmp_path: Path, tiny_tokenizer: Tokenizer
) -> None:
    model, _ = load_model(recipe.model, device=torch.device("cpu"), dtype=torch.float32)
    save_model(tmp_path / "start", model, tiny_tokenizer)
    own = replace(recipe, model=str(tmp_path / "start"), freeze=("encoder",))
    go(own, tmp_path / "run", steps=1)
    with torch.no_grad():
        model.encoder.sam.positions.cells += 1
    save_model(tmp_path / "start", model, tiny_tokenizer)
    with pytest.raises(UsageError, match="run holds a run that began from other weights"):
        go(own, tmp_path / "run")


def test_a_run_goes_on_with_the_held_out_pages_it_began_with(
    recipe: PageRecipe, tmp_path: Path
) -> None:
    held_out = shutil.copytree(recipe.pages.held_out, tmp_path / "held-out")
    own = replace(recipe, pages=replace(recipe.pages, held_out=str(held_out)))
    go(own, tmp_path / "run", steps=1)
    text = next(held_out.glob("*.txt"))
    text.write_text(text.read_text() + " and more")
    with pytest.raises(UsageError, match="or held-out pages: name the same"):
        go(own, tmp_path / "run")


def test_adapters_are_for_the_weights_that_the_run_began_with(
    recipe: PageRecipe, tmp_path: Path, tiny_tokenizer: Tokenizer
) -> None:
    pytest.importorskip("peft")
    model, _ = load_model(recipe.model, device=torch.device("cpu"), dtype=torch.float32)
    save_model(tmp_path / "start", model, tiny_tokenizer)
    lora = LoraConfig(rank=2, alpha=4, dropout=0.0, targets=("query", "value"))
    own = replace(recipe, model=str(tmp_path / "start"), lora=lora)
    train, before = PageTrainer._train, sample_model(tmp_path / "start")

    def others_train_on(self: PageTrainer, report: PageReporter) -> None:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 1
        save_model(tmp_path / "start", model, tiny_tokenizer)
        train(self, report)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PageTrainer, "_train", others_train_on)
        go(own, tmp_path / "run", steps=1)
    assert sample_model(tmp_path / "start") != before
    assert read_settings(tmp_path / "run" / "model").base_sample == before


def test_a_model_with_another_encoder_is_saved_whole(
    recipe: PageRecipe, tmp_path: Path, tiny_tokenizer: Tokenizer
) -> None:
    pytest.importorskip("peft")
    cpu = torch.device("cpu")
    other, _ = load_model(recipe.model, device=cpu, dtype=torch.float32)
    with torch.no_grad():
        other.encoder.sam.positions.cells += 1
    save_model(tmp_path / "other", other, tiny_tokenizer)
    lora = LoraConfig(rank=2, alpha=4, dropout=0.0, targets=("query", "value"))
    parts = PartsRecipe(encoder=str(tmp_path / "other"))
    frozen = replace(recipe, lora=lora, freeze=("encoder", "embedding"), parts=parts)
    go(frozen, tmp_path / "run", steps=1)
    found, _ = load_model(tmp_path / "run" / "model", device=cpu, dtype=torch.float32)
    torch.testing.assert_close(
        found.encoder.sam.positions.cells, other.encoder.sam.positions.cells, atol=0.02, rtol=0.01
    )


MISSPELT = AdamWRecipe(rate=1e-3, decay=0.0, clip_norm=1.0, rates={"encoder.clipp": 1e-9})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": "nano"}, "reads strips, not pages"),
        ({"model": "lightseek-base"}, "needs a tokenizer"),
        ({"parts": PartsRecipe(sam="here")}, r"leave out \[parts\] other than encoder"),
        ({"parts": PartsRecipe(encoder="nano")}, "nano does not fit"),
        ({"freeze": ("encoder.san",)}, "no part encoder.san to freeze"),
        ({"optimiser": MISSPELT}, "no part encoder.clipp for a rate"),
        ({"freeze": ("encoder", "decoder", "embedding")}, "every part is frozen"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_a_line(
    recipe: PageRecipe, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(LightSeekError, match=said) as raised:
        go(replace(recipe, **change), tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mode": "gundam"}, "no marks for rows of tiles"),
        ({"prompt": "free"}, "takes no prompt"),
        ({"longest": 5000}, "lower pages.longest"),
        ({"train": "nowhere"}, "does not exist"),
    ],
)
def test_pages_that_do_not_fit_the_model_are_refused_in_a_line(
    recipe: PageRecipe, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(LightSeekError, match=said) as raised:
        go(replace(recipe, pages=replace(recipe.pages, **change)), tmp_path)
    assert "\n" not in str(raised.value)


def test_models_that_pages_do_not_teach(
    recipe: PageRecipe, tiny_base_config: ModelConfig, tiny_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    decoder, sam = tiny_base_config.decoder, tiny_base_config.sam
    places = PlaceConfig(x_bins=8, y_bins=8, bin_px=64)
    for name, config, said in (
        ("grey", replace(tiny_base_config, sam=replace(sam, channels=1)), "sees 1 colours"),
        (
            "placed",
            replace(tiny_base_config, decoder=replace(decoder, place=places)),
            "place heads",
        ),
    ):
        save_model(tmp_path / name, LightSeekOCR(config), tiny_tokenizer)
        with pytest.raises(UsageError, match=said):
            go(replace(recipe, model=str(tmp_path / name)), tmp_path / f"run-{name}")


def test_pages_are_not_both_learnt_and_held_out(recipe: PageRecipe, tmp_path: Path) -> None:
    nest = shutil.copytree(recipe.pages.train, tmp_path / "nest")
    inner = shutil.copytree(recipe.pages.held_out, nest / "held-out")
    pages = replace(recipe.pages, train=str(nest), held_out=str(inner))
    with pytest.raises(UsageError, match=r"3 held-out rows would be learnt, such as .*held-out"):
        go(replace(recipe, pages=pages), tmp_path / "run")


def test_a_finished_run_keeps_its_record(whole: Path, recipe: PageRecipe) -> None:
    record = read_record(whole / "model")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outcome, "current_commit", lambda: "a later one")
        go(recipe, whole)
    assert read_record(whole / "model") == record


def test_a_language_model_has_its_own_tokenizer(recipe: PageRecipe) -> None:
    with pytest.raises(ValueError, match="has its own tokenizer"):
        replace(recipe.parts, language="gpt2", tokenizer="mine")


def test_a_run_goes_on_with_what_it_began_with(
    recipe: PageRecipe, from_nothing: ModelConfig, tmp_path: Path, tiny_tokenizer: Tokenizer
) -> None:
    """What a recipe only names may be another when the run goes on."""
    sam, clip, _ = tiny_parts(tmp_path)
    own = shipped("base", recipe, sam, clip, f"parts.tokenizer={tmp_path}")
    began = start.hash_start(own)
    assert began == start.hash_start(own)
    published = tmp_path / "sam" / "config.json"
    tokenizer = tmp_path / "tokenizer.json"
    for file in (published, tokenizer):
        before = file.read_bytes()
        file.write_bytes(before + b"\n")
        assert start.hash_start(own) != began
        file.write_bytes(before)


def test_all_of_a_model_counts_for_what_a_run_began_with(
    recipe: PageRecipe, tmp_path: Path
) -> None:
    model = shutil.copytree(recipe.model, tmp_path / "model")
    mine = replace(recipe, model=str(model))
    began = start.hash_start(mine)
    (model / "README.md").write_text("nothing that is read")
    assert start.hash_start(mine) == began
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        before = (model / name).read_bytes()
        (model / name).write_bytes(before + b" ")
        assert start.hash_start(mine) != began, name
        (model / name).write_bytes(before)


def test_a_run_goes_on_with_the_sizes_it_began_with(recipe: PageRecipe, tmp_path: Path) -> None:
    sizes = tmp_path / "mine.toml"
    mine = replace(recipe, model=str(sizes))
    sizes.write_text('like = "lightseek-base"\n')
    began = start.hash_start(mine)
    sizes.write_text('like = "lightseek-base"\n# the same\n')
    assert start.hash_start(mine) == began
    sizes.write_text('like = "lightseek-base"\n[sam]\nheads = 6\n')
    assert start.hash_start(mine) != began


def test_a_page_beside_the_text_takes_no_positions(
    recipe: PageRecipe, tiny_base_config: ModelConfig, tiny_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    """As many as the text needs: fewer than there are visual tokens."""
    decoder = replace(tiny_base_config.decoder, max_positions=13)
    save_model(
        tmp_path / "model", LightSeekOCR(replace(tiny_base_config, decoder=decoder)), tiny_tokenizer
    )
    go(replace(recipe, model=str(tmp_path / "model")), tmp_path / "run", steps=3)
    assert len(curve(tmp_path / "run", "held_out_cer")) == 1
    read = OCR(tmp_path / "run" / "model", device="cpu").read(Image.new("RGB", (90, 90)))
    assert read.pages[0].status in (Status.OK, Status.TRUNCATED)


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_row_of_no_use_is_named(recipe: PageRecipe, tmp_path: Path, workers: int) -> None:
    data = draw_pages(tmp_path / "data")
    (data / "2.txt").unlink()
    pages = replace(recipe.pages, train=str(data), workers=workers)
    with pytest.raises(DataError, match=r"2\.png: it has no text") as raised:
        go(replace(recipe, pages=pages), tmp_path / "run")
    assert "\n" not in str(raised.value)


def test_a_checkpoint_of_another_shape_is_refused(
    recipe: PageRecipe, tiny_base_config: ModelConfig, tiny_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    other = replace(tiny_base_config, compressor=replace(tiny_base_config.compressor, hidden_dim=8))
    moving = replace(recipe, model=str(tmp_path / "model"))
    save_model(tmp_path / "model", LightSeekOCR(tiny_base_config), tiny_tokenizer)
    go(moving, tmp_path / "run", steps=1)
    save_model(tmp_path / "model", LightSeekOCR(other), tiny_tokenizer)
    (tmp_path / "run" / "start.sha256").write_text(start.hash_start(moving))
    with pytest.raises(ModelError, match="misshapen: model"):
        go(moving, tmp_path / "run")
    with pytest.raises(UsageError, match="another recipe"):
        go(replace(moving, seed=4), tmp_path / "run")


def test_features_of_a_frozen_encoder_take_the_place_of_images(
    recipe: PageRecipe, tmp_path: Path
) -> None:
    frozen = replace(recipe, freeze=("encoder.sam", "encoder.compressor", "encoder.clip"))
    pages = replace(recipe.pages, features=str(tmp_path / "features"))
    go(frozen, tmp_path / "images")
    go(replace(frozen, pages=pages), tmp_path / "features-run")
    runs = tmp_path / "images", tmp_path / "features-run"
    for name in ("loss", "held_out_loss"):
        with_images, with_features = (curve(run, name) for run in runs)
        assert with_features == pytest.approx(with_images, rel=0.01)
    # the encoder is not there while the run goes on, and is in the model that it leaves
    of_images, of_features = (load_file(run / "model" / "model.safetensors") for run in runs)
    assert of_images.keys() == of_features.keys()
    for name, tensor in of_images.items():
        if name.startswith("encoder.") and "projector" not in name:
            assert torch.equal(of_features[name], tensor)
        torch.testing.assert_close(of_features[name], tensor, rtol=0.05, atol=0.01)
    with pytest.raises(UsageError, match=r"freeze encoder\.sam"):
        go(replace(recipe, pages=pages), tmp_path / "learning")
    other = replace(pages, mode="small")
    with pytest.raises(DataError, match="features of other preprocessing"):
        go(replace(frozen, pages=other), tmp_path / "stale")
    narrow = replace(pages, features=str(tmp_path / "narrow"))
    forget_processes()
    go(replace(frozen, pages=narrow, precision="bf16"), tmp_path / "narrow-run", steps=1)
    assert curve(tmp_path / "narrow-run", "loss") == pytest.approx(
        curve(tmp_path / "images", "loss")[:1], rel=0.05
    )


def shipped(name: str, recipe: PageRecipe, *changes: str) -> PageRecipe:
    """A recipe of configs/ for two steps on a few pages."""
    found = load_any(
        CONFIGS / f"{name}.toml",
        (
            f"pages.train={recipe.pages.train}",
            f"pages.held_out={recipe.pages.held_out}",
            "pages.longest=20",
            "pages.workers=0",
            "accumulate=2",
            "batch=3",
            "optimiser.rate=0.01",
            "schedule.warmup_steps=0",
            *changes,
        ),
    )
    assert isinstance(found, PageRecipe)
    return found


def tiny_parts(folder: Path) -> tuple[str, ...]:
    """SAM, CLIP and a language model as they are published, tiny."""
    import transformers

    vision = {"num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 128}
    sam = {"hidden_size": 16, "mlp_dim": 24, "output_channels": 8, "global_attn_indexes": [0]}
    clip = {"hidden_size": 24, "intermediate_size": 32, "patch_size": 16}
    tokenizer = train_tokenizer([*TEXTS], 280)
    language = transformers.GPT2Config(
        n_embd=32, n_layer=2, n_head=2, n_positions=128, vocab_size=len(tokenizer)
    )
    made = {
        "sam": transformers.SamModel(transformers.SamConfig(vision_config={**vision, **sam})),
        "clip": transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**vision, **clip)),
        "language": transformers.GPT2LMHeadModel(language),
    }
    for part, model in made.items():
        model.save_pretrained(folder / part)
    tokenizer.save(folder / "language" / "tokenizer.json")
    (folder / "language" / "tokenizer_config.json").write_text('{"eos_token": "<eos>"}')
    return tuple(f"parts.{part}={folder / part}" for part in made)


def test_stage_1_trains_a_deep_encoder_with_a_language_model(
    recipe: PageRecipe, tmp_path: Path
) -> None:
    pytest.importorskip("transformers")
    stage = shipped("stage1", recipe, *tiny_parts(tmp_path))
    go(stage, tmp_path / "run", steps=2)
    assert saved(tmp_path / "run")[1].tokens > 0
    cpu = torch.device("cpu")
    model, _ = load_model(tmp_path / "run" / "model", device=cpu, dtype=torch.float32)
    assert isinstance(model.decoder, LanguageDecoder)


@pytest.fixture
def from_nothing(
    tiny_base_config: ModelConfig,
    tiny_tokenizer: Tokenizer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> ModelConfig:
    """What the preset lightseek-base is made by, tiny, with a tokenizer in the folder."""
    pytest.importorskip("transformers")
    monkeypatch.setattr(start, "preset", lambda name: tiny_base_config)
    tiny_tokenizer.save(tmp_path / "tokenizer.json")
    return tiny_base_config


def test_what_is_fresh_begins_as_its_skip_path_and_what_is_published_stays(
    recipe: PageRecipe, from_nothing: ModelConfig, tmp_path: Path
) -> None:
    sam = tiny_parts(tmp_path)[0].partition("=")[2]
    parts = PartsRecipe(sam=sam, tokenizer=str(tmp_path))
    model, _ = start.begin_model(replace(recipe, model="lightseek-base", parts=parts))
    theirs = load_sam(sam).state_dict()
    for name, tensor in model.encoder.sam.state_dict().items():
        assert torch.equal(tensor, theirs[name]), name
    tokens = torch.randn(1, 4, from_nothing.clip.dim)
    for block in model.encoder.clip.blocks:
        assert torch.equal(block(tokens), tokens)
    visual, text = torch.randn(1, 8, 32), torch.randn(1, 5, 32)
    assert torch.equal(model.decoder(visual, text), model.decoder.norm(text))


def test_the_base_recipe_trains_on_published_towers(
    recipe: PageRecipe, from_nothing: ModelConfig, tmp_path: Path
) -> None:
    sam, clip, _ = tiny_parts(tmp_path)
    own = shipped("base", recipe, sam, clip, f"parts.tokenizer={tmp_path}")
    go(own, tmp_path / "run", steps=2)
    frozen = ("model.encoder.sam.", "model.encoder.clip.")
    assert [name for name in saved(tmp_path / "run")[0] if name.startswith(frozen)] == []
    assert OCR(tmp_path / "run" / "model").read(Image.new("RGB", (90, 90))).pages[0].height == 90


def test_stages_2_and_3_train_the_whole_model_but_sam_and_compressor(
    recipe: PageRecipe, official_folder: Path, tmp_path: Path, tiny_tokenizer: Tokenizer
) -> None:
    cpu = torch.device("cpu")
    seen, _ = load_model(official_folder, device=cpu, dtype=torch.float32)
    with torch.no_grad():
        for parameter in seen.encoder.parameters():
            parameter.mul_(0.5)
    save_model(tmp_path / "stage1", seen, tiny_tokenizer)
    two = shipped(
        "stage2", recipe, f"model={official_folder}", f"parts.encoder={tmp_path / 'stage1'}"
    )
    go(two, tmp_path / "stage2", steps=2)
    three = shipped("stage3", recipe, f"model={tmp_path / 'stage2' / 'model'}")
    go(three, tmp_path / "stage3", steps=2)
    model, _ = load_model(tmp_path / "stage3" / "model", device=cpu, dtype=torch.float32)
    assert model.config.mode == "gundam"
    begun = seen.state_dict()
    for name, tensor in model.state_dict().items():
        if name.startswith(("encoder.sam", "encoder.compressor")):
            assert torch.equal(tensor, begun[name].bfloat16().float()), name
    assert not torch.equal(model.embedding.weight, seen.embedding.weight)


def test_epochs_are_counted_in_steps(recipe: PageRecipe) -> None:
    twice = replace(recipe, steps=None, epochs=2, accumulate=2)
    assert twice.num_steps(7) == 7
    assert replace(twice, epochs=1).num_steps(7) == 4


def test_the_rates_of_a_run() -> None:
    optimiser = AdamWRecipe(
        rate=1.0, decay=0.0, clip_norm=1.0, rates={"encoder": 0.1, "encoder.clip": 0.5}
    )
    names = ("decoder.x", "encoder.sam.x", "encoder.clip.x", "encoder.clipped.x")
    assert [optimiser.rate_of(name) for name in names] == [1.0, 0.1, 0.5, 0.1]
    cosine = CosineSchedule(kind="cosine", warmup_steps=2, end=0.1)
    assert [cosine.fall(share) for share in (0, 0.5, 1)] == pytest.approx([1.0, 0.55, 0.1])
    steps = StepSchedule(kind="step", warmup_steps=0, drops=((0.8, 0.3), (0.9, 0.1)))
    assert [steps.fall(share) for share in (0, 0.79, 0.8, 0.89, 0.95)] == [1, 1, 0.3, 0.3, 0.1]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("pages.trian=here", "pages.trian"),
        ("optimizer.rate=1", "optimizer"),
        ("schedule.kind=linear", "'cosine', 'step'"),
        ("schedule.drops=[[0.9, 0.1], [0.8, 0.3]]", "schedule"),
        ("steps=4", "either steps or epochs"),
        ("pages.mode=huge", "no mode 'huge'"),
        ("precision=fp16", "precision"),
        ("lora.rank=4", "lora.alpha"),
    ],
)
def test_a_recipe_with_a_mistake_is_refused_in_a_line(override: str, said: str) -> None:
    with pytest.raises(LightSeekError, match=said) as raised:
        load_any(CONFIGS / "stage1.toml", (override,))
    assert "\n" not in str(raised.value)


def test_the_command_tells_recipes_apart(
    recipe: PageRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["train", *arguments, "-o", str(tmp_path / "run")])

    stage, output = str(CONFIGS / "stage1.toml"), ("--device", "cpu")
    on_gpus = ("--processes", "2", "--device", "cuda")
    with monkeypatch.context() as patch:
        # as on a machine with GPUs, of which a bare name is the first
        named = {"cuda": "cuda:0"}
        patch.setattr("lightseek.weights.find_device", lambda n: torch.device(named.get(n, n)))
        assert "accelerate launch --num_processes 2" in run(stage, *on_gpus).output
        assert "CUDA_VISIBLE_DEVICES" in run(stage, "--device", "cuda:1").output
    here = f"--set=pages.held_out={recipe.pages.held_out}"
    nano = run(stage, "--model", "nano", "--set=precision=no", here)
    assert "nano reads strips, not pages" in nano.output
    refused = run(stage, "--set", "pages.trian=1", *output)
    assert (refused.exit_code, "pages.trian" in refused.output) == (2, True)
    changes = [
        f"--set={change}"
        for change in (
            f"model={recipe.model}",
            "parts={}",
            "pages.mode=tiny",
            "accumulate=1",
            "batch=7",
            f"pages.train={recipe.pages.train}",
            f"pages.held_out={recipe.pages.held_out}",
            "pages.longest=9",
            "pages.workers=0",
            "precision=no",
        )
    ]
    done = run(stage, *changes, *output, "--stop-after", "1")
    assert done.exit_code == 0, done.output
    assert saved(tmp_path / "run")[1].step == 1
