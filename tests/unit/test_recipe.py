from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from lightseek.errors import LightSeekError, ModelError, UsageError
from lightseek.presets import preset_names
from lightseek.train.pages.recipe import PageRecipe, load_any
from lightseek.train.recipe import Recipe, Stage, load_recipe

CONFIGS = Path(__file__).parents[2] / "configs"
NANO = CONFIGS / "nano.toml"


def staged(recipe: Recipe, *stages: tuple[float, float], steps: int = 100) -> Recipe:
    made = (Stage(until=until, widths=(256,), difficulty=hard) for until, hard in stages)
    return replace(recipe, steps=steps, stages=tuple(made))


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_recipes_load(path: Path) -> None:
    recipe = load_any(path)
    of_pages = ("base", "stage", "finetune-pages")
    assert isinstance(recipe, PageRecipe) == path.stem.startswith(of_pages)
    if isinstance(recipe, Recipe):
        assert recipe.model in preset_names()
        assert recipe.strips(recipe.widest) >= 2, "two processes need a strip each"


def test_nano_learns_glyphs_first_and_ends_wide_and_worn() -> None:
    recipe = load_recipe(NANO)
    assert recipe.stages[0].glyphs_only
    assert not any(stage.glyphs_only for stage in recipe.stages[1:])
    assert max(recipe.stages[0].widths) < recipe.widest
    assert recipe.widest in recipe.stages[-1].widths
    assert recipe.stages[-1].difficulty == 1.0


def test_an_override_without_a_value_leaves_the_key_out() -> None:
    pages = load_any(CONFIGS / "finetune-pages.toml", ("pages.prompt=", "model=some"))
    assert isinstance(pages, PageRecipe)
    assert pages.pages.prompt is None
    with pytest.raises(ModelError, match="optimiser"):
        load_recipe(NANO, ("optimiser.muon_rate=",))


def test_overrides_change_what_they_name_and_nothing_else() -> None:
    changed = load_recipe(
        NANO,
        (
            "steps=7",
            "optimiser.muon_rate = 3e-3",
            "data.fonts=/some/fonts",
            "compile=false",
            "stages.0.difficulty=0.9",
        ),
    )
    plain = load_recipe(NANO)
    assert changed == replace(
        plain,
        steps=7,
        compile=False,
        optimiser=replace(plain.optimiser, muon_rate=0.003),
        data=replace(plain.data, fonts="/some/fonts"),
        stages=(replace(plain.stages[0], difficulty=0.9), *plain.stages[1:]),
    )


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("stepps=5", "stepps"),
        ("optimiser.rate=0.1", "optimiser.rate"),
        ("nothing.here=1", "nothing"),
        ("steps", "key=value"),
        ("steps=many", "steps"),
        ("steps=0", "greater than 0"),
        ("evaluate_every=0", "greater than 0"),
        ("steps.more=1", "no table or list has 'more'"),
        ("stages.9.until=0.5", "no table or list has 9"),
        ("stages.until=0.5", "no table or list has 'until'"),
        ("optimiser.constant_until=1.5", "constant_until"),
        ("stages=[]", "stages"),
        ("loss.glyphs=0", "nothing to learn"),
        ("stages=[{until=1.0, widths=[], difficulty=0}]", "widths"),
        ("stages=[{until=1.0, widths=[100], difficulty=0}]", "multiple of 64"),
        ("stages=[{until=1.0, widths=[256], difficulty=2}]", "difficulty"),
        ("stages=[{until=0.9, widths=[256], difficulty=0}]", "must end at 1.0"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused_in_a_line(override: str, said: str) -> None:
    with pytest.raises(LightSeekError, match=said) as raised:
        load_recipe(NANO, (override,))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("ends", [(0.5, 0.2, 1.0), (0.5, 0.5, 1.0), (0.0, 1.0), (1.0, 1.0)])
def test_stages_out_of_order_are_refused(tiny_recipe: Recipe, ends: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="follow each other"):
        staged(tiny_recipe, *((end, 0.0) for end in ends))


def test_files_that_are_no_recipe_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="configs/"):
        load_recipe(tmp_path / "missing.toml")
    with pytest.raises(UsageError, match="configs/"):
        load_recipe(tmp_path)
    broken = tmp_path / "broken.toml"
    broken.write_bytes(b"steps = \xff")
    with pytest.raises(UsageError, match="not TOML"):
        load_recipe(broken)
    broken.write_text("model = 'nano'")
    with pytest.raises(ModelError, match="stages"):
        load_recipe(broken)


def test_each_step_has_the_stage_whose_share_it_falls_into(tiny_recipe: Recipe) -> None:
    recipe = staged(tiny_recipe, (0.05, 0.1), (0.3, 0.2), (1.0, 0.3))
    difficulties = [recipe.stage(step).difficulty for step in range(100)]
    assert difficulties == [0.1] * 5 + [0.2] * 25 + [0.3] * 70


@pytest.mark.parametrize("steps", [1, 2, 7, 30, 6000])
def test_every_step_of_any_run_has_a_stage(tiny_recipe: Recipe, steps: int) -> None:
    recipe = staged(tiny_recipe, (0.07, 0.5), (0.1, 0.7), (1.0, 1.0), steps=steps)
    for step in (0, steps // 2, steps - 1):
        assert recipe.stage(step) in recipe.stages
        assert 0 <= recipe.difficulty(step) <= 1
        assert 0 < recipe.rate(step) <= 1


def test_difficulty_grows_without_a_jump_to_what_each_stage_ends_with(tiny_recipe: Recipe) -> None:
    recipe = staged(tiny_recipe, (0.2, 0.4), (0.5, 0.4), (1.0, 1.0), steps=1000)
    values = [recipe.difficulty(step) for step in range(1000)]
    assert values[0] == 0.0
    assert values == sorted(values)
    assert max(b - a for a, b in pairwise(values)) < 0.0021
    assert values[200] == pytest.approx(0.4)
    assert values[350] == pytest.approx(0.4)
    assert values[750] == pytest.approx(0.7)
    assert values[999] == pytest.approx(1.0, abs=0.002)


def test_rate_warms_up_stays_and_falls_to_zero(tiny_recipe: Recipe) -> None:
    optimiser = replace(tiny_recipe.optimiser, warmup_steps=10, constant_until=0.4)
    recipe = replace(tiny_recipe, steps=1000, optimiser=optimiser)
    assert recipe.rate(0) == pytest.approx(0.1)
    assert recipe.rate(4) == pytest.approx(0.5)
    assert {recipe.rate(step) for step in range(9, 401)} == {1.0}
    assert recipe.rate(700) == pytest.approx(0.5)
    assert recipe.rate(999) == pytest.approx(0.001 / 0.6)


def test_a_rate_may_stay_to_the_end(tiny_recipe: Recipe) -> None:
    optimiser = replace(tiny_recipe.optimiser, warmup_steps=0, constant_until=1.0)
    recipe = replace(tiny_recipe, optimiser=optimiser)
    assert {recipe.rate(step) for step in range(recipe.steps)} == {1.0}


def test_a_step_is_the_same_work_at_any_width(tiny_recipe: Recipe) -> None:
    recipe = replace(tiny_recipe, units=144)
    assert {recipe.strips(width) * width for width in (256, 512, 1024)} == {144 * 256}
