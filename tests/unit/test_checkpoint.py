import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lightseek.errors import LightSeekError, ModelError, UsageError
from lightseek.train import checkpoint
from lightseek.train.checkpoint import Progress, RunFolder
from lightseek.train.recipe import Recipe


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


class Killed(BaseException):
    """The process is gone."""


def save(run: RunFolder, step: int) -> None:
    """A checkpoint whose every number is the step."""
    state = {"a/master": torch.full((3, 2), float(step)), "a/step": torch.tensor(float(step))}
    run.save(state, progress(step), rank=0, world=1)


def progress(step: int) -> Progress:
    return Progress(step=step, strips=10 * step, flops=1e9 * step, seconds=0.5 * step)


def loaded(run: RunFolder) -> int | None:
    """The step of the last checkpoint, which must be whole."""
    found = run.load()
    if found is None:
        return None
    tensors, at = found
    assert at == progress(at.step)
    assert set(tensors) == {"a/master", "a/step"}
    assert all((value == at.step).all() for value in tensors.values())
    return at.step


def kill_at(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, call: int) -> None:
    """Let the process die as the function is called for that time."""
    real, calls = getattr(owner, name), []

    def killed(*args: object, **kwargs: object) -> object:
        calls.append(args)
        if len(calls) == call:
            raise Killed
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, name, killed)


def test_a_new_run_has_no_checkpoint(run: RunFolder) -> None:
    assert run.load() is None


def test_what_was_saved_last_is_loaded(run: RunFolder) -> None:
    for step in (1, 2, 3):
        save(run, step)
        assert loaded(run) == step
    assert [path.name for path in run.path.iterdir()] == ["checkpoint"]


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        (Path, "mkdir", 1),
        (checkpoint, "save_file", 1),
        (Path, "write_text", 1),
        (shutil, "rmtree", 2),
        (Path, "rename", 1),
        (Path, "rename", 2),
        (shutil, "rmtree", 3),
    ],
    ids=[
        "starting",
        "writing tensors",
        "writing the step",
        "clearing the way",
        "moving the old one",
        "moving the new one",
        "removing the old one",
    ],
)
def test_a_run_killed_while_it_saves_has_a_whole_checkpoint_and_goes_on(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, owner: object, name: str, call: int
) -> None:
    save(run, 1)
    save(run, 2)
    with monkeypatch.context() as patch:
        kill_at(patch, owner, name, call)
        with pytest.raises(Killed):
            save(run, 3)
    new = (owner, name, call) == (shutil, "rmtree", 3)
    assert loaded(run) == (3 if new else 2)
    for step in (4, 5):
        save(run, step)
        assert loaded(run) == step
    assert [path.name for path in run.path.iterdir()] == ["checkpoint"]


def test_a_full_disk_leaves_the_last_one(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    save(run, 1)

    def half(tensors: dict[str, Tensor], path: Path) -> None:
        path.write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", half)
        with pytest.raises(LightSeekError, match="of step 1, is whole"), run.told_if_full():
            save(run, 2)
    assert loaded(run) == run.last_step() == 1
    assert [path.name for path in run.path.iterdir()] == ["checkpoint"], "half of one takes room"


def test_shares_of_all_processes_are_loaded_together(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = [{"a/master": torch.ones(2)}, {"b/master": torch.zeros(3)}]
    monkeypatch.setattr(checkpoint, "_wait", lambda world: None)

    def while_waiting(world: int) -> None:
        # what the other process does between the barriers
        checkpoint.save_file(shares[1], run.path / "checkpoint.unfinished" / "state-1.safetensors")

    monkeypatch.setattr(checkpoint, "_wait", while_waiting)
    run.save(shares[0], progress(1), rank=0, world=2)
    found = run.load()
    assert found is not None
    assert {name: value.tolist() for name, value in found[0].items()} == {
        "a/master": [1, 1],
        "b/master": [0, 0, 0],
    }


def test_only_the_first_process_moves_folders(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "_wait", lambda world: None)
    (run.path / "checkpoint.unfinished").mkdir()
    run.save({"b/master": torch.zeros(3)}, progress(1), rank=1, world=2)
    files = [path.relative_to(run.path).as_posix() for path in run.path.rglob("*.*ors")]
    assert files == ["checkpoint.unfinished/state-1.safetensors"]
    assert run.load() is None


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("state-0.safetensors", b""),
        ("state-0.safetensors", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      " + b"x" * 40),
        ("step.json", b""),
        ("step.json", b"[1]"),
        ("step.json", b'{"step": 1}'),
        ("step.json", b"\xff\xfe"),
    ],
)
def test_broken_files_are_named(run: RunFolder, file: str, content: bytes) -> None:
    save(run, 1)
    (run.path / "checkpoint" / file).write_bytes(content)
    with pytest.raises(ModelError, match="checkpoint is broken") as raised:
        run.load()
    assert "\n" not in str(raised.value)


def test_a_cut_off_file_is_named(run: RunFolder) -> None:
    save(run, 1)
    file = run.path / "checkpoint" / "state-0.safetensors"
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(ModelError, match="broken"):
        run.load()


def test_a_folder_belongs_to_one_recipe(tmp_path: Path, tiny_recipe: Recipe) -> None:
    run = RunFolder(tmp_path)
    run.claim(replace(tiny_recipe, seed=98), "start")
    run.claim(tiny_recipe, "start")
    run.save({}, Progress(step=1, strips=1, flops=1.0, seconds=1.0), rank=0, world=1)
    run.claim(tiny_recipe, "start")
    with pytest.raises(UsageError, match="another recipe"):
        run.claim(replace(tiny_recipe, seed=99), "start")
    run.claim(tiny_recipe, "start")


def test_a_run_of_an_older_version_is_known_again(tmp_path: Path, tiny_recipe: Recipe) -> None:
    """A key that came later stands for what was done before there was one."""
    run = RunFolder(tmp_path)
    run.claim(tiny_recipe, "start")
    run.save({}, Progress(step=1, strips=1, flops=1.0, seconds=1.0), rank=0, world=1)
    file = tmp_path / "recipe.json"
    written = json.loads(file.read_text())
    assert written["data"].pop("typeset_share") == 0
    file.write_text(json.dumps(written))
    run.claim(tiny_recipe, "start")
    file.write_text("{")
    with pytest.raises(UsageError, match="another recipe"):
        run.claim(tiny_recipe, "start")
    file.unlink()
    with pytest.raises(UsageError, match="another recipe"):
        run.claim(tiny_recipe, "start")


def test_a_file_is_no_run_folder(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(UsageError, match="file cannot be made"), RunFolder(file).held():
        pass


def test_the_last_step_is_known_while_a_run_saves(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    saved = Progress(step=1, strips=1, flops=1.0, seconds=1.0)
    run.save({}, saved, rank=0, world=1)

    def save_on() -> None:
        for step in range(2, 3_000):
            run.save({}, replace(saved, step=step), rank=0, world=1)

    with ThreadPoolExecutor(1) as pool:
        saving = pool.submit(save_on)
        seen = [run.last_step()]
        while not saving.done():
            seen.append(run.last_step())
    saving.result()
    assert seen[0] > 0
    assert seen == sorted(seen)


def test_two_runs_are_never_in_one_folder(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "one"
    for _ in range(2):
        with (
            RunFolder(folder).held(),
            pytest.raises(UsageError, match="another run is at work"),
            RunFolder(folder).held(),
        ):
            pass
