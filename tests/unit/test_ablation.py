"""Variants of the plan that ships: recipes and models that exist."""

import runpy
from pathlib import Path

import pytest
import torch

from lightseek.config import validate
from lightseek.model import LightSeekOCR
from lightseek.train.recipe import read_recipe
from lightseek.train.run import trained_config

ROOT = Path(__file__).parents[2]
SCRIPT = runpy.run_path(str(ROOT / "runs" / "ablation.py"))
FILE = ROOT / "runs" / "ablation.toml"
PLAN = validate(SCRIPT["Plan"], read_recipe(FILE), source=str(FILE))


@pytest.mark.parametrize("variant", PLAN.variants, ids=lambda variant: variant.name)
def test_every_variant_differs_and_fits_together(
    variant: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    plain = SCRIPT["make_recipe"](PLAN, PLAN.variants[0], tmp_path / "plain", ())
    recipe = SCRIPT["make_recipe"](PLAN, variant, tmp_path / "own", ())
    assert (recipe == plain) == (variant == PLAN.variants[0])
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


def test_names_of_variants_make_folders_of_their_own() -> None:
    names = [variant.name.replace(" ", "-") for variant in PLAN.variants]
    assert len(set(names)) == len(names)
    assert not any("/" in name or "." in name for name in names)
