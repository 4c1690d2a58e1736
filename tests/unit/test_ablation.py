"""Variants of the plan that ships: recipes and models that exist."""

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from lightseek.config import validate
from lightseek.model import LightSeekOCR
from lightseek.train.recipe import read_recipe
from lightseek.train.run import trained_config
from lightseek.weights import WEIGHTS, find_model

ROOT = Path(__file__).parents[2]
SCRIPT = runpy.run_path(str(ROOT / "runs" / "ablation.py"))
FILE = ROOT / "runs" / "ablation.toml"
PLAN = validate(SCRIPT["Plan"], read_recipe(FILE), source=str(FILE))


CASES = [
    pytest.param(study, variant, id=f"{study.name}: {variant.name}")
    for study in PLAN.studies
    for variant in study.variants
]


@pytest.mark.parametrize(("study", "variant"), CASES)
def test_every_variant_differs_and_fits_together(
    study: Any, variant: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    plain = SCRIPT["make_recipe"](study, study.variants[0], tmp_path / "plain", ())
    recipe = SCRIPT["make_recipe"](study, variant, tmp_path / "own", ())
    assert (recipe == plain) == (variant == study.variants[0])
    config = trained_config(recipe)
    assert (config == trained_config(plain)) == (
        recipe.model == plain.model and recipe.loss.places > 0
    )
    with torch.device("meta"):
        model = LightSeekOCR(config)
        visual = model.visual_tokens(torch.empty(2, 1, 64, 512))
        assert model(visual, torch.zeros(2, 5, dtype=torch.long)).shape == (
            2,
            5,
            config.decoder.dim,
        )


@pytest.mark.parametrize(("study", "variant"), CASES)
def test_runs_begin_with_the_encoder_that_the_study_names_and_nothing_else_of_it(
    study: Any, variant: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    recipe = SCRIPT["make_recipe"](study, variant, tmp_path / "own", ())
    start = SCRIPT["make_start"](study, recipe, tmp_path / "own")
    assert (start is None) == (study.encoder is None)
    if start is None:
        return
    seeing = load_file(find_model(study.encoder) / WEIGHTS)
    for name, tensor in load_file(start / WEIGHTS).items():
        same = name in seeing and torch.equal(tensor, seeing[name].float())
        assert same == name.startswith("encoder."), name


def test_names_make_folders_of_their_own() -> None:
    for names in (
        [s.name for s in PLAN.studies],
        *([v.name for v in s.variants] for s in PLAN.studies),
    ):
        folders = [name.replace(" ", "-") for name in names]
        assert len(set(folders)) == len(folders)
        assert not any("/" in name or "." in name for name in folders)
