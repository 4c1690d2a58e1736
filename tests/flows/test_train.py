"""Runs of a tiny model: what they leave on disk, how they stop and how they go on.

`preset` is replaced by a function that takes the path of a `config.json` for a name, here and
in the processes that a run starts.
"""

import copy
import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from lightseek.config import ModelConfig, load_config
from lightseek.cross import CrossDecoder
from lightseek.data.fonts import SHIPPED, load_faces
from lightseek.data.strips import StripRenderer
from lightseek.errors import Interrupted, LightSeekError, ModelError, UsageError
from lightseek.model import LightSeekOCR
from lightseek.reader import read_strips
from lightseek.tokenizer import LATIN, Tokenizer
from lightseek.train import batch as batch_module
from lightseek.train import exam as exam_module
from lightseek.train import progress
from lightseek.train import run as training
from lightseek.train.batch import collate
from lightseek.train.card import read_record
from lightseek.train.checkpoint import RunFolder
from lightseek.train.loss import TrainedModel, weigh
from lightseek.train.optimiser import SharedOptimiser
from lightseek.train.progress import read_curve
from lightseek.train.recipe import LossRecipe, OptimiserRecipe, Recipe, Stage
from lightseek.train.run import Job, Trainer, silence_residuals, train, work
from lightseek.weights import load_model, save_model

STEPS = 8
"""Of the uninterrupted run that the others are compared with."""
PATIENCE_S = 120


def make_tiny(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(training, "preset", lambda name: load_config(Path(name)))
    patch.setattr(training, "matrix_rate", lambda dtype, device: 1e12)
    patch.setattr(exam_module, "HELD_OUT_STRIPS", 2)
    patch.setattr(batch_module, "load_faces", cache(load_faces))


def tiny_work(rank: int, job: Job) -> None:
    """What the processes of a run do in place of `work`."""
    with pytest.MonkeyPatch.context() as patch:
        make_tiny(patch)
        work(rank, job)


@pytest.fixture(autouse=True, scope="module")
def _tiny() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        make_tiny(patch)
        patch.setattr(training, "work", tiny_work)
        yield


@pytest.fixture(scope="module")
def recipe(
    tiny_recipe: Recipe, tiny_config: ModelConfig, tmp_path_factory: pytest.TempPathFactory
) -> Recipe:
    """Two steps of glyphs and many of reading."""
    file = tmp_path_factory.mktemp("preset") / "config.json"
    file.write_text(tiny_config.to_json(), encoding="utf-8")
    stages = (
        Stage(until=0.005, widths=(256,), difficulty=0.2, glyphs_only=True),
        Stage(until=1.0, widths=(256, 512), difficulty=1.0),
    )
    return replace(tiny_recipe, model=str(file), steps=400, units=4, stages=stages)


@pytest.fixture(scope="module")
def whole(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of eight steps that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    go(recipe, folder, steps=STEPS)
    return folder


def go(recipe: Recipe, folder: Path, *, steps: int | None = None, save_minutes: float = 5) -> None:
    """One process, from where it is."""
    train(recipe, folder, device="cpu", processes=1, stop_after=steps, save_minutes=save_minutes)


def saved(folder: Path) -> dict[str, Tensor]:
    found = RunFolder(folder).load()
    assert found is not None
    weights = load_file(folder / "model" / "model.safetensors")
    return found[0] | {f"model.{name}": value for name, value in weights.items()}


def step_of(folder: Path) -> int:
    found = RunFolder(folder).load()
    return 0 if found is None else found[1].step


def curves(folder: Path) -> dict[str, list[float]]:
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {tag: [e.value for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def assert_same(folder: Path, other: Path) -> None:
    assert step_of(folder) == step_of(other)
    one, two = saved(folder), saved(other)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


@contextmanager
def before_step(step: int, act: Callable[[], None]) -> Iterator[None]:
    """Do something as a step begins to be computed."""
    real = Trainer._step

    def acting(trainer: Trainer, at: int, *args: object, **kwargs: object) -> object:
        if at == step:
            act()
        return real(trainer, at, *args, **kwargs)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_step", acting)
        yield


class Killed(BaseException):
    """The process is gone."""


def test_a_run_that_is_stopped_and_goes_on_equals_an_uninterrupted_one(
    recipe: Recipe, whole: Path, tmp_path: Path
) -> None:
    go(recipe, tmp_path, steps=3)
    assert step_of(tmp_path) == 3
    interrupt = before_step(4, lambda: signal.raise_signal(signal.SIGINT))
    with interrupt, pytest.raises(Interrupted):
        go(recipe, tmp_path)
    assert step_of(tmp_path) == 5, "the step that was begun is finished"
    go(recipe, tmp_path, steps=STEPS - 5)
    assert_same(tmp_path, whole)


def test_a_killed_run_goes_on_from_its_last_checkpoint(
    recipe: Recipe, whole: Path, tmp_path: Path
) -> None:
    def kill() -> None:
        raise Killed

    with before_step(6, kill), pytest.raises(Killed):
        go(recipe, tmp_path, save_minutes=0)
    assert step_of(tmp_path) == 6
    go(recipe, tmp_path, steps=STEPS - 6)
    assert_same(tmp_path, whole)


def test_what_is_done_again_after_a_kill_is_in_the_curves_once(
    recipe: Recipe, tmp_path: Path
) -> None:
    def kill() -> None:
        raise Killed

    go(recipe, tmp_path, steps=2)
    with before_step(5, kill), pytest.raises(Killed):
        go(recipe, tmp_path)
    assert step_of(tmp_path) == 2
    go(recipe, tmp_path, steps=4)
    found = curves(tmp_path)
    assert (len(found["norm"]), len(found["text_loss"])) == (6, 4), "two of glyphs alone"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupts_are_the_run_s_while_it_runs(
    recipe: Recipe, tmp_path: Path, number: signal.Signals
) -> None:
    before = signal.getsignal(number)
    with before_step(0, lambda: signal.raise_signal(number)), pytest.raises(Interrupted):
        go(recipe, tmp_path)
    assert step_of(tmp_path) == 1
    assert signal.getsignal(number) is before


def test_strips_that_make_a_number_of_no_use_are_kept(
    recipe: Recipe,
    tiny_config: ModelConfig,
    tiny_tokenizer: Tokenizer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go(recipe, tmp_path, steps=2)
    weigh = training.weigh
    monkeypatch.setattr(training, "weigh", lambda *given: weigh(*given) * float("inf"))
    with pytest.raises(LightSeekError, match=r"step 2: the gradient became .*bad-batch"):
        go(recipe, tmp_path)
    assert step_of(tmp_path) == 2
    kept = load_file(tmp_path / "bad-batch" / "batch-0.safetensors")
    drawn = batch_module.StripBatches(recipe, tiny_config, tiny_tokenizer)[2]
    assert kept.keys() == drawn.tensors().keys()
    assert torch.equal(kept["views"], drawn.views)


def test_a_pause_file_holds_the_run_until_it_is_gone(
    recipe: Recipe,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pause = RunFolder(tmp_path).pause_file
    slept: list[int] = []

    def sleep(seconds: float) -> None:
        slept.append(step_of(tmp_path))
        if len(slept) == 5:
            pause.unlink()

    monkeypatch.setattr(training.time, "sleep", sleep)
    with before_step(3, pause.touch):
        go(recipe, tmp_path, steps=STEPS, save_minutes=0)
    assert slept == [4] * 5
    assert "lightseek resume" in capsys.readouterr().err
    assert_same(tmp_path, whole)


def test_an_interrupt_ends_a_pause(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    RunFolder(tmp_path).pause_file.touch()
    monkeypatch.setattr(training.time, "sleep", lambda seconds: signal.raise_signal(signal.SIGINT))
    with pytest.raises(Interrupted):
        go(recipe, tmp_path)
    assert step_of(tmp_path) == 1


def test_two_processes_train_as_one_pause_together_and_stop_together(
    recipe: Recipe, whole: Path, tmp_path: Path
) -> None:
    run = RunFolder(tmp_path)
    pause = run.pause_file

    def wait_for(step: int) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while run.last_step() < step:
            assert time.monotonic() < deadline, "the run stands still"
            time.sleep(0.05)

    def hold_and_stop() -> None:
        try:
            wait_for(2)
            pause.touch()
            held = run.last_step()
            time.sleep(1.5)
            assert run.last_step() <= held + 2, "steps that were begun are finished"
            pause.unlink()
            wait_for(max(STEPS, held + 3))
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    with ThreadPoolExecutor(1) as pool:
        script = pool.submit(hold_and_stop)
        with pytest.raises(Interrupted):
            train(recipe, tmp_path, device="cpu", processes=2, save_minutes=0)
    script.result()
    stopped = step_of(tmp_path)
    assert STEPS <= stopped < recipe.steps
    assert len(list((tmp_path / "checkpoint").glob("state-*"))) == 2

    two, one = curves(tmp_path), curves(whole)
    for name in ("text_loss", "place_loss", "norm"):
        # gradients of two halves are rounded apart, and what follows from them
        same = two[name][: len(one[name])]
        assert same == pytest.approx(one[name], rel=0.03), name

    go(recipe, tmp_path, steps=1)
    assert step_of(tmp_path) == stopped + 1, "one process goes on with the state of two"
    assert len(list((tmp_path / "checkpoint").glob("state-*"))) == 1


@pytest.mark.slow
def test_mistakes_of_the_user_come_out_of_processes_in_a_line(
    recipe: Recipe, tmp_path: Path
) -> None:
    wrong = replace(recipe, data=replace(recipe.data, fonts=str(tmp_path)))
    with pytest.raises(LightSeekError, match="has no font that draws letters") as raised:
        train(wrong, tmp_path / "run", device="cpu", processes=2)
    assert "\n" not in str(raised.value)
    assert RunFolder(tmp_path / "run").load() is None


def wait_for_processes() -> None:
    deadline = time.monotonic() + PATIENCE_S
    while len(multiprocessing.active_children()) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)  # until both are waited for: before, an interrupt is not heard


def test_an_interrupt_while_processes_start_ends_the_run(recipe: Recipe, tmp_path: Path) -> None:
    def interrupt() -> None:
        wait_for_processes()  # they import torch for seconds
        os.kill(os.getpid(), signal.SIGINT)

    with ThreadPoolExecutor(1) as pool:
        script = pool.submit(interrupt)
        with pytest.raises(Interrupted):
            train(replace(recipe, steps=3000), tmp_path, device="cpu", processes=2)
    script.result()
    assert step_of(tmp_path) < 300, "of 3000"


def test_a_killed_process_is_told_in_a_line(recipe: Recipe, tmp_path: Path) -> None:
    def kill() -> None:
        wait_for_processes()
        os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGKILL)

    with ThreadPoolExecutor(1) as pool:
        script = pool.submit(kill)
        with pytest.raises(LightSeekError, match=r"a process of the run was killed .*SIGKILL"):
            train(recipe, tmp_path, device="cpu", processes=2)
    script.result()


def test_more_processes_than_strips_are_refused(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="too few strips of 512 px and 1 lines for 5 processes"):
        train(recipe, tmp_path, device="cpu", processes=5)


def test_strips_are_few_only_where_a_stage_has_large_ones(recipe: Recipe, tmp_path: Path) -> None:
    stages = (
        Stage(until=0.5, widths=(512,), difficulty=0.0),
        Stage(until=1.0, widths=(256,), lines=(2,), difficulty=0.0),
    )
    go(replace(recipe, stages=stages, units=2), tmp_path, steps=1)
    assert step_of(tmp_path) == 1


def test_another_recipe_is_refused(recipe: Recipe, whole: Path) -> None:
    with pytest.raises(UsageError, match="another recipe"):
        go(replace(recipe, seed=99), whole)


def test_a_finished_run_stays_as_it_is(recipe: Recipe, tmp_path: Path) -> None:
    stages = (Stage(until=1.0, widths=(256,), difficulty=0.0),)
    short = replace(recipe, steps=2, stages=stages)
    go(short, tmp_path)
    before, record = saved(tmp_path), read_record(tmp_path / "model")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "current_commit", lambda: "a later one")
        go(short, tmp_path)
    assert step_of(tmp_path) == 2
    assert all(torch.equal(value, before[name]) for name, value in saved(tmp_path).items())
    assert read_record(tmp_path / "model") == record


def test_a_run_that_ended_before_its_model_was_written_writes_it(
    recipe: Recipe, tmp_path: Path
) -> None:
    stages = (Stage(until=1.0, widths=(256,), difficulty=0.0),)
    short = replace(recipe, steps=2, stages=stages)
    go(short, tmp_path, steps=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_save_model", lambda self, folder: None)
        go(short, tmp_path)
    assert (step_of(tmp_path), read_record(tmp_path / "model")[-1]["step"]) == (2, 1)
    before = load_file(tmp_path / "model" / "model.safetensors")
    go(short, tmp_path)
    assert read_record(tmp_path / "model")[-1]["step"] == 2
    after = load_file(tmp_path / "model" / "model.safetensors")
    assert any(not torch.equal(after[name], tensor) for name, tensor in before.items())


def test_a_run_goes_on_with_the_text_it_began_with(recipe: Recipe, tmp_path: Path) -> None:
    text = shutil.copytree(recipe.data.text, tmp_path / "text")
    mine = replace(recipe, data=replace(recipe.data, text=str(text)))
    go(mine, tmp_path / "run", steps=1)
    go(mine, tmp_path / "run", steps=1)
    (text / "more-en.txt").write_text("A paragraph of the text that was not there before.\n" * 99)
    with pytest.raises(UsageError, match="other weights, sizes, parts, fonts, text"):
        go(mine, tmp_path / "run", steps=1)


def test_curves_tell_every_step(whole: Path, recipe: Recipe) -> None:
    found = curves(whole)
    assert {"text_loss", "place_loss", "patch_hits", "token_hits", "norm", "mfu"} <= set(found)
    untaught = {name: values for name, values in found.items() if name.startswith(("text", "pl"))}
    assert {len(values) for values in untaught.values()} == {STEPS - 2}, "two of glyphs alone"
    assert {len(found[name]) for name in found.keys() - untaught.keys()} == {STEPS}
    assert all(3 < loss < 7 for loss in found["text_loss"])
    assert found["rate"] == pytest.approx([recipe.rate(step) for step in range(STEPS)])
    assert all(0 < share < 1 for share in found["data"])
    assert found["flops"] == sorted(found["flops"])


def test_rates_of_the_recipe_reach_the_optimiser(recipe: Recipe, tmp_path: Path) -> None:
    asked: list[float] = []
    real = SharedOptimiser.step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            SharedOptimiser, "step", lambda self, share: asked.append(share) or real(self, share)
        )
        go(recipe, tmp_path, steps=4)
    assert asked == [recipe.rate(step) for step in range(4)]
    assert len(set(asked)) > 1


def test_progress_counts_the_strips_of_the_recipe(whole: Path, recipe: Recipe) -> None:
    loaded = RunFolder(whole).load()
    assert loaded is not None
    read = [strips for strips, _ in read_curve(whole, "norm")]
    steps = {b - a for a, b in zip([0, *read], read, strict=False)}
    assert steps == {recipe.strips(256), recipe.strips(512)}
    assert loaded[1].strips == read[-1]


def test_lines_of_the_log_tell_loss_speed_and_end(
    recipe: Recipe,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress, "LOG_EVERY", 2)
    stages = (Stage(until=1.0, widths=(256,), difficulty=0.0),)
    go(replace(recipe, steps=3, units=1, evaluate_every=3, stages=stages), tmp_path)
    captured = capfd.readouterr()
    assert captured.out == ""
    line, evaluation = captured.err.splitlines()
    assert line.startswith("2/3 loss ")
    for part in ("right", "strips/s", "data", "MFU", "min left"):
        assert part in line
    assert evaluation.startswith("step 3: held-out CER ")
    assert len(curves(tmp_path)["held_out_cer"]) == 1


def test_an_interrupt_loses_no_reading_of_held_out_strips(recipe: Recipe, tmp_path: Path) -> None:
    interrupt = before_step(2, lambda: os.kill(os.getpid(), signal.SIGINT))
    with interrupt, pytest.raises(Interrupted):
        go(replace(recipe, evaluate_every=3), tmp_path)
    assert step_of(tmp_path) == 3
    assert len(curves(tmp_path)["held_out_cer"]) == 1


def test_text_alone_can_be_learnt_from_strips_of_several_lines(
    recipe: Recipe, tmp_path: Path
) -> None:
    stages = (Stage(until=1.0, widths=(256,), lines=(2,), difficulty=0.0),)
    loss = LossRecipe(glyphs=0.0, places=0.0)
    go(replace(recipe, stages=stages, loss=loss, steps=2, evaluate_every=2), tmp_path)
    found = curves(tmp_path)
    assert len(found["held_out_cer"]) == 1
    assert found["text_loss"][0] > 3
    assert not {"place_loss", "patch_hits", "token_hits"} & found.keys()
    model, _ = load_model(tmp_path / "model", device=torch.device("cpu"), dtype=torch.float32)
    assert model.place is None


def test_the_model_folder_reads(whole: Path) -> None:
    model, tokenizer = load_model(whole / "model", device=torch.device("cpu"), dtype=torch.float32)
    masters = saved(whole)
    for name, value in model.state_dict().items():
        assert torch.equal(value, masters[f"model.{name}/master"].bfloat16().float()), name
    strip = torch.full((64, 256), 255, dtype=torch.uint8).numpy()
    assert len(read_strips(model, tokenizer, [strip])) == 1


def test_from_starts_with_the_weights_and_nothing_else(
    recipe: Recipe, whole: Path, tmp_path: Path
) -> None:
    quiet = replace(
        recipe,
        optimiser=replace(recipe.optimiser, muon_rate=0.0, adamw_rate=0.0),
        steps=1,
        stages=(Stage(until=1.0, widths=(256,), difficulty=0.0),),
    )
    train(quiet, tmp_path, device="cpu", processes=1, start=whole / "model")
    begun = saved(tmp_path)
    weights = load_file(whole / "model" / "model.safetensors")
    assert all(torch.equal(begun[f"model.{name}"], value) for name, value in weights.items())
    assert float(begun["model.embedding.weight/step"]) == 1
    assert step_of(tmp_path) == 1


def test_a_run_goes_on_from_where_it_began(
    recipe: Recipe, tiny_model: LightSeekOCR, tiny_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    save_model(tmp_path / "start", tiny_model, tiny_tokenizer)
    options: dict[str, Any] = {"device": "cpu", "processes": 1, "stop_after": 1}
    train(recipe, tmp_path / "run", start=tmp_path / "start", **options)
    for other in (None, "nano"):
        with pytest.raises(UsageError, match="run holds a run that began from other weights"):
            train(recipe, tmp_path / "run", start=other, **options)
    moved = (tmp_path / "start").rename(tmp_path / "elsewhere")
    train(recipe, tmp_path / "run", start=moved, **options)
    assert step_of(tmp_path / "run") == 2


def test_a_model_of_pages_is_told_which_recipes_are_its_own(
    recipe: Recipe, official_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"reads whole pages, not strips: .*finetune-pages\.toml"):
        train(recipe, tmp_path, device="cpu", processes=1, start=official_folder)


def test_from_another_model_is_refused(
    recipe: Recipe,
    tiny_config: ModelConfig,
    tiny_tokenizer: Tokenizer,
    tmp_path: Path,
) -> None:
    narrow = replace(tiny_config, compressor=replace(tiny_config.compressor, hidden_dim=12))
    save_model(tmp_path / "other", LightSeekOCR(narrow), tiny_tokenizer)
    with pytest.raises(ModelError, match="misshapen"):
        train(recipe, tmp_path / "run", device="cpu", processes=1, start=tmp_path / "other")


def test_a_fresh_model_begins_as_its_skip_path(tiny_model: LightSeekOCR) -> None:
    model = copy.deepcopy(tiny_model)
    silence_residuals(model)
    x = torch.randn(1, 4, 8, 16)
    for block in model.encoder.sam.blocks:
        assert torch.equal(block(x), x)
    before = torch.randn(1, 5, 32)
    for layer in model.decoder.layers:
        rotary = model.decoder.rotary(torch.arange(5)[None], before)
        assert torch.equal(layer(before, rotary, None, None), before)


def test_a_fresh_cross_attention_model_does_too(tiny_base_model: LightSeekOCR) -> None:
    model = copy.deepcopy(tiny_base_model)
    silence_residuals(model)
    assert isinstance(model.decoder, CrossDecoder)
    text = torch.randn(1, 5, 32)
    written = model.decoder(torch.randn(1, 8, 32), text)
    assert torch.equal(written, model.decoder.norm(text))


def test_a_small_model_learns_eight_strips_by_heart(
    tiny_config: ModelConfig, tiny_tokenizer: Tokenizer
) -> None:
    config = widened(tiny_config, 64)
    assert config.decoder.place is not None
    renderer = StripRenderer(load_faces(SHIPPED, LATIN), tiny_tokenizer.ids)
    rng = random.Random(1)
    words = ("quick", "brown", "foxes", "jump", "over", "nine", "lazy", "dogs", "vex", "my", "pig")
    texts = [" ".join(rng.sample(words, 6)) for _ in range(8)]
    samples = [renderer.render(rng, text, width=256, difficulty=0.0) for text in texts]
    torch.manual_seed(0)
    model = LightSeekOCR(config)
    silence_residuals(model)
    trained = TrainedModel(model).to(torch.bfloat16)
    rates = OptimiserRecipe(
        muon_rate=0.02,
        adamw_rate=0.004,
        muon_decay=0.0,
        adamw_decay=0.0,
        clip_norm=1.0,
        warmup_steps=0,
        constant_until=0.5,
    )
    optimiser = SharedOptimiser(trained, rates, rank=0, world=1)
    losses = []
    for step in range(60):
        rngs = [random.Random(f"{step} {i}") for i in range(8)]
        batch = collate(samples, rngs, tiny_tokenizer, config.decoder.place, first_col=0)
        parts = trained(batch, glyphs_only=False)
        counts = torch.stack([part.asked for part in parts])
        weigh(parts, counts, LossRecipe(glyphs=1.0, places=0.2)).backward()
        losses.append((parts.text.total / parts.text.asked).item())
        optimiser.step(min(1.0, 2 - step / 30))
    assert losses[-1] < losses[0] / 30
    read = read_strips(model.eval(), tiny_tokenizer, [sample.image for sample in samples])
    assert [strip.text for strip in read] == [sample.text for sample in samples]


def widened(config: ModelConfig, dim: int) -> ModelConfig:
    wide = {"dim": dim, "mlp_dim": 2 * dim, "heads": 4}
    return replace(
        config,
        sam=replace(config.sam, **wide),
        compressor=replace(config.compressor, hidden_dim=dim, dim=dim),
        clip=replace(config.clip, **wide),
        decoder=replace(config.decoder, **wide),
    )
