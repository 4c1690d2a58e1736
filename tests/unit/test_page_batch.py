"""Batches of pages: what is taught of them, and that it is what reading asks for."""

import copy
from dataclasses import replace

import pytest
import torch
from PIL import Image, ImageDraw

from lightseek import reader
from lightseek.errors import UsageError
from lightseek.grounding import PROMPTS
from lightseek.model import LightSeekOCR
from lightseek.tokenizer import Tokenizer
from lightseek.train.batch import IGNORED
from lightseek.train.pages.batch import (
    PageBatch,
    PageCollate,
    PageModel,
    PageRow,
    Prompt,
    make_prompt,
)
from lightseek.train.pages.recipe import AdamWRecipe
from lightseek.train.pages.start import check_longest
from lightseek.train.pages.state import make_optimiser
from lightseek.views import MODES, Mode, make_views

SIZES = {"small": (50, 60), "wide": (180, 70), "high": (70, 180), "square": (90, 90)}
TEXTS = ("fox", "", "a dog", "moon")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def gundam() -> Mode:
    return replace(MODES["gundam"], page_px=128, tile_px=64, max_tiles=4)


@pytest.fixture(scope="module")
def rows() -> list[PageRow]:
    """Pages without tiles, and with tiles that lie in different ways."""
    found = []
    for (name, size), text in zip(SIZES.items(), TEXTS, strict=True):
        image = Image.new("RGB", size, "white")
        ImageDraw.Draw(image).text((5, 5), name, "black")
        found.append(PageRow(name, text, image, None))
    return found


def collated(
    model: LightSeekOCR, tokenizer: Tokenizer, mode: Mode, rows: list[PageRow], longest: int = 9
) -> tuple[PageModel, PageBatch]:
    prompt = make_prompt(model, tokenizer, "free" if model.config.decoder.row_marks else None)
    collate = PageCollate(tokenizer=tokenizer, mode=mode, prompt=prompt, longest=longest)
    return PageModel(model, prompt), collate(rows)


@torch.inference_mode()
@pytest.mark.parametrize("window", [None, 3])
def test_the_loss_of_pages_with_any_tiles_is_that_of_each_by_itself(
    tiny_official_model: LightSeekOCR,
    tiny_tokenizer: Tokenizer,
    gundam: Mode,
    rows: list[PageRow],
    window: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decoder = tiny_official_model.decoder
    sliding = replace(tiny_official_model.config.decoder, sliding_window=window)
    monkeypatch.setattr(decoder, "config", sliding)
    model, batch = collated(tiny_official_model, tiny_tokenizer, gundam, rows)
    assert len({grid.num_places for grid in batch.grids}) > 1
    together = model(batch)
    alone = [model(collated(tiny_official_model, tiny_tokenizer, gundam, [r])[1]) for r in rows]
    for found, parts in zip(together, zip(*alone, strict=True), strict=True):
        torch.testing.assert_close(found, torch.stack(parts).sum(), rtol=1e-5, atol=1e-5)
    assert together.asked == sum(len(text) + 1 for text in TEXTS)


@torch.inference_mode()
@pytest.mark.parametrize("fixture", ["tiny_official_model", "tiny_base_model"])
def test_what_is_taught_before_the_text_is_what_a_reader_gives(
    fixture: str,
    tiny_tokenizer: Tokenizer,
    gundam: Mode,
    rows: list[PageRow],
    request: pytest.FixtureRequest,
) -> None:
    model: LightSeekOCR = request.getfixturevalue(fixture)
    mode = gundam if model.config.decoder.row_marks else replace(gundam, tile_px=None)
    trained, batch = collated(model, tiny_tokenizer, mode, rows)
    first = model.embed(batch.ids[:, :1], None)
    for row, prefix, last in zip(rows, trained._prefixes(batch), first, strict=True):
        assert row.image is not None
        views = make_views(row.image, mode)
        [visual] = reader.encode_pages(model, [views])
        asked = reader.make_prompt(model, tiny_tokenizer, visual, PROMPTS["free"])
        torch.testing.assert_close(torch.cat([prefix, last])[None], asked, rtol=1e-5, atol=1e-5)


def test_the_end_of_a_text_that_is_cut_is_not_taught(
    tiny_base_model: LightSeekOCR, tiny_tokenizer: Tokenizer, gundam: Mode, rows: list[PageRow]
) -> None:
    mode = replace(gundam, tile_px=None)
    _, batch = collated(tiny_base_model, tiny_tokenizer, mode, rows, longest=4)
    fox, cut, whole = batch.targets[0], batch.targets[2], batch.targets[3]
    assert fox.tolist()[3:] == [tiny_tokenizer.eos_id, IGNORED]
    assert cut.tolist() == [*tiny_tokenizer.encode("a do"), IGNORED]
    assert whole.tolist() == [*tiny_tokenizer.encode("moon"), tiny_tokenizer.eos_id]


@torch.inference_mode()
def test_what_is_read_of_a_batch_is_what_is_read_of_each_page(
    tiny_official_model: LightSeekOCR,
    tiny_tokenizer: Tokenizer,
    gundam: Mode,
    rows: list[PageRow],
) -> None:
    model, batch = collated(tiny_official_model, tiny_tokenizer, gundam, rows)
    alone = [collated(tiny_official_model, tiny_tokenizer, gundam, [row])[1] for row in rows]
    expected = [model.read(one, tiny_tokenizer, 6)[0] for one in alone]
    assert model.read(batch, tiny_tokenizer, 6) == expected


def test_batches_of_pages_without_tiles_have_a_blank_one(
    tiny_official_model: LightSeekOCR, tiny_tokenizer: Tokenizer, gundam: Mode, rows: list[PageRow]
) -> None:
    _, batch = collated(tiny_official_model, tiny_tokenizer, gundam, rows[:1])
    assert batch.tiles is not None
    assert batch.tiles.shape == (1, 64, 64, 3)
    assert not batch.tiles.any()


def test_prompts_are_for_models_that_take_them(
    tiny_official_model: LightSeekOCR, tiny_base_model: LightSeekOCR, tiny_tokenizer: Tokenizer
) -> None:
    with pytest.raises(UsageError, match="takes no prompt"):
        make_prompt(tiny_base_model, tiny_tokenizer, "free")
    with pytest.raises(UsageError, match=r"give pages\.prompt"):
        make_prompt(tiny_official_model, tiny_tokenizer, None)
    with pytest.raises(UsageError, match="nothing follows <image>"):
        make_prompt(tiny_official_model, tiny_tokenizer, "what is it? <image>")


def test_texts_must_fit_beside_the_largest_page(tiny_official_model: LightSeekOCR) -> None:
    config = tiny_official_model.config
    check_longest(config, MODES["gundam"], 6, 8192 - 1263 - 6)
    with pytest.raises(UsageError, match="leaves 6923 for the text"):
        check_longest(config, MODES["gundam"], 6, 8192 - 1263 - 5)


def test_what_learns_how_fast(tiny_official_model: LightSeekOCR) -> None:
    """Matrices decay, vectors do not; a part has its own rate; what is frozen is left out."""
    model = copy.deepcopy(tiny_official_model)
    model.freeze(("encoder.sam",))
    trained = PageModel(model, Prompt(before=(), after=(1,)))
    recipe = AdamWRecipe(rate=1e-3, decay=0.1, clip_norm=1.0, rates={"encoder.clip": 1e-5})
    optimiser = make_optimiser(trained, recipe)
    of = {
        id(p): (group["full_rate"], group["weight_decay"])
        for group in optimiser.param_groups
        for p in group["params"]
    }
    found = {name: of.get(id(p)) for name, p in model.named_parameters()}
    assert all(found[name] is None for name in found if name.startswith("encoder.sam."))
    assert found["encoder.clip.blocks.0.mlp.up.weight"] == (1e-5, 0.1)
    assert found["encoder.clip.blocks.0.norm1.weight"] == (1e-5, 0.0)
    assert found["decoder.layers.0.attention.query.weight"] == (1e-3, 0.1)
    assert found["decoder.norm.weight"] == (1e-3, 0.0)
