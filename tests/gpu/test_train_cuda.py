import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightseek.config import ModelConfig, load_config
from lightseek.reader import read_strips
from lightseek.train import run as training
from lightseek.train.checkpoint import RunFolder
from lightseek.train.recipe import Recipe, Stage
from lightseek.train.run import train
from lightseek.weights import load_model

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"),
]


@pytest.fixture
def recipe(
    tiny_recipe: Recipe, tiny_config: ModelConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Recipe:
    file = tmp_path / "config.json"
    file.write_text(tiny_config.to_json(), encoding="utf-8")
    monkeypatch.setattr(training, "preset", lambda name: load_config(Path(name)))
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    stages = (Stage(until=1.0, widths=(256, 512), difficulty=1.0),)
    return replace(tiny_recipe, model=str(file), stages=stages, evaluate_every=4)


def curve(folder: Path, name: str) -> list[float]:
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return [event.value for event in events.Scalars(name)]


def test_a_gpu_trains_goes_on_and_agrees_with_the_cpu(recipe: Recipe, tmp_path: Path) -> None:
    gpu, cpu = tmp_path / "gpu", tmp_path / "cpu"
    for step in (2, 4):
        train(recipe, gpu, device="cuda", stop_after=2)
        found = RunFolder(gpu).load()
        assert found is not None
        assert found[1].step == step
    train(recipe, cpu, device="cpu", processes=1, stop_after=4)
    for name in ("text_loss", "place_loss", "norm"):
        assert curve(gpu, name) == pytest.approx(curve(cpu, name), rel=0.05), name


def test_weights_of_a_gpu_read_anywhere(recipe: Recipe, tmp_path: Path) -> None:
    train(recipe, tmp_path / "run", device="cuda", stop_after=1)
    strip = torch.full((64, 256), 255, dtype=torch.uint8).numpy()
    for device in ("cuda", "cpu"):
        model, tokenizer = load_model(
            tmp_path / "run" / "model", device=torch.device(device), dtype=torch.float32
        )
        assert len(read_strips(model, tokenizer, [strip])) == 1
