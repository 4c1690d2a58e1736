import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from lightseek.config import ModelConfig, PlaceConfig
from lightseek.data.fonts import SHIPPED, Face, load_faces
from lightseek.data.lines import RealLine, write_lines
from lightseek.data.strips import LINE_PX, StripRenderer, StripSample
from lightseek.errors import UsageError
from lightseek.presets import preset
from lightseek.tokenizer import Tokenizer
from lightseek.train import batch as batch_module
from lightseek.train.batch import (
    IGNORED,
    Batch,
    StripBatches,
    choose_cells,
    collate,
    draw_ahead,
)
from lightseek.train.exam import held_out_strips
from lightseek.train.recipe import LinesRecipe, Recipe, Stage

PLACE = PlaceConfig(x_bins=128, y_bins=16, bin_px=8)
TENSORS = [field.name for field in fields(Batch) if field.name != "first_col"]


@pytest.fixture(autouse=True, scope="module")
def _faces_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_module, "load_faces", cache(load_faces))
        yield


@pytest.fixture(scope="module")
def batches(
    tiny_recipe: Recipe, tiny_config: ModelConfig, tiny_tokenizer: Tokenizer
) -> StripBatches:
    return StripBatches(tiny_recipe, tiny_config, tiny_tokenizer)


def assert_equal(one: Batch, other: Batch) -> None:
    assert one.first_col == other.first_col
    for name in TENSORS:
        assert torch.equal(getattr(one, name), getattr(other, name)), name


def sample(text: str, *, width: int = 256) -> StripSample:
    """A strip whose character i stands at x = 10 + 8 i."""
    count = len(text)
    places = np.stack([10 + 8 * np.arange(count + 1), np.full(count + 1, 30)], axis=1)
    return StripSample(
        image=np.full((LINE_PX, width), 255, np.uint8),
        text=text,
        glyphs=np.zeros((LINE_PX // 8, width // 4), np.int16),
        boxes=np.zeros((count, 4), np.float32),
        places=places.astype(np.float32),
    )


def collated(
    *texts: str, tokenizer: Tokenizer, first_col: int = 0, seed: int = 0, width: int = 256
) -> Batch:
    rngs = [random.Random(f"{seed} {i}") for i in range(len(texts))]
    samples = [sample(text, width=width) for text in texts]
    return collate(samples, rngs, tokenizer, PLACE, first_col)


def test_a_batch_is_a_function_of_recipe_and_step_alone(
    batches: StripBatches, tiny_recipe: Recipe, tiny_config: ModelConfig, tiny_tokenizer: Tokenizer
) -> None:
    drawn = {step: batches[step] for step in (2, 7, 11)}
    other = StripBatches(tiny_recipe, tiny_config, tiny_tokenizer)
    random.seed(1)
    torch.manual_seed(1)
    for step in (11, 2, 7):
        assert_equal(other[step], drawn[step])


def test_so_is_one_with_strips_of_typeset_pages(
    batches: StripBatches, tiny_recipe: Recipe, tiny_config: ModelConfig, tiny_tokenizer: Tokenizer
) -> None:
    recipe = replace(tiny_recipe, units=4, data=replace(tiny_recipe.data, typeset_share=0.5))
    one, other = (StripBatches(recipe, tiny_config, tiny_tokenizer) for _ in range(2))
    drawn = {step: one[step] for step in (0, 8)}
    for step in (8, 0):
        assert_equal(other[step], drawn[step])
    assert not torch.equal(drawn[0].views, batches[0].views[: len(drawn[0].views)])


def test_steps_and_seeds_differ(
    batches: StripBatches, tiny_recipe: Recipe, tiny_config: ModelConfig, tiny_tokenizer: Tokenizer
) -> None:
    seeded = StripBatches(replace(tiny_recipe, seed=4), tiny_config, tiny_tokenizer)
    views = [view for batch in (batches[0], batches[1], seeded[0]) for view in batch.views]
    assert len({view.numpy().tobytes() for view in views}) == len(views) == 24


def test_shares_of_all_processes_are_the_strips_of_one(
    batches: StripBatches, tiny_recipe: Recipe, tiny_config: ModelConfig, tiny_tokenizer: Tokenizer
) -> None:
    world = 3
    ranks = [
        StripBatches(tiny_recipe, tiny_config, tiny_tokenizer, rank=rank, world=world)
        for rank in range(world)
    ]
    for step in (0, 8):
        whole = batches[step]
        shares = [batches_of_rank[step] for batches_of_rank in ranks]
        assert {share.first_col for share in shares} == {whole.first_col}
        assert sum(len(share.ids) for share in shares) == len(whole.ids)
        row_of = {view.numpy().tobytes(): row for row, view in enumerate(whole.views)}
        assert len(row_of) == len(whole.ids)
        drawn = set()
        for share in shares:
            mine = [row_of[view.numpy().tobytes()] for view in share.views]
            drawn.update(mine)
            assert torch.equal(share.glyphs, whole.glyphs[mine])
            length = share.ids.shape[1]
            for name in ("ids", "targets", "at_x", "at_y", "to_x", "to_y"):
                assert torch.equal(getattr(share, name), getattr(whole, name)[mine, :length]), name
            assert (whole.targets[mine, length:] == IGNORED).all()
        assert len(drawn) == len(whole.ids)


def test_shapes_follow_the_width(batches: StripBatches, tiny_recipe: Recipe) -> None:
    widths = set()
    for step in range(tiny_recipe.steps):
        batch = batches[step]
        height, width = batch.size
        widths.add(width)
        count = tiny_recipe.strips(width)
        assert width in tiny_recipe.stage(step).widths
        assert batch.views.shape == (count, 1, LINE_PX, width)
        assert batch.glyphs.shape == (count, LINE_PX // 8, width // 4)
        assert height == LINE_PX
        assert batch.ids.shape[1] % 16 == 0
        assert 0 <= batch.first_col <= 16 - width // 64
        assert batch.views.min() >= -1
        assert batch.views.max() <= 1
    assert widths == {256, 512}
    assert len(batches) == tiny_recipe.steps


def test_columns_of_the_position_tables_are_all_used(
    tiny_recipe: Recipe, tiny_config: ModelConfig, tiny_tokenizer: Tokenizer
) -> None:
    stages = (Stage(until=1.0, widths=(256,), difficulty=0.0),)
    recipe = replace(tiny_recipe, units=1, steps=90, stages=stages)
    drawn = StripBatches(recipe, tiny_config, tiny_tokenizer)
    assert {drawn[step].first_col for step in range(90)} == set(range(13))


def test_text_begins_with_bos_and_should_end_with_eos(tiny_tokenizer: Tokenizer) -> None:
    batch = collated("", "Fox", "hounds!", tokenizer=tiny_tokenizer)
    ids = tiny_tokenizer.ids
    fox = [ids[c] for c in "Fox"]
    bos, eos, pad = tiny_tokenizer.bos_id, tiny_tokenizer.eos_id, tiny_tokenizer.pad_id
    assert batch.ids.shape == (3, 16)
    assert batch.ids[1].tolist() == [bos, *fox] + [pad] * 12
    assert batch.targets[1].tolist() == [*fox, eos] + [IGNORED] * 12
    assert batch.ids[0].tolist() == [bos] + [pad] * 15
    assert batch.targets[0].tolist() == [eos] + [IGNORED] * 15


def test_short_texts_are_kept_apart_from_the_padding_of_long_ones(
    tiny_tokenizer: Tokenizer,
) -> None:
    words = [count * "x" for count in (70, 3, 0, 20, 15, 40)]
    batch = collated(*words, tokenizer=tiny_tokenizer)
    assert batch.ids.shape == (6, 80)
    texts = list(batch.texts())
    assert [text.ids.shape for text in texts] == [(2, 16), (2, 32), (2, 80)]
    rows = torch.arange(6)
    assert torch.equal(torch.cat([rows[text.rows] for text in texts]), rows)
    for rows_of_text, ids, targets, places in texts:
        length = ids.shape[1]
        assert torch.equal(ids, batch.ids[rows_of_text, :length])
        assert torch.equal(targets, batch.targets[rows_of_text, :length])
        assert torch.equal(places.x, batch.at_x[rows_of_text, :length])
        assert torch.equal(places.y, batch.at_y[rows_of_text, :length])
        assert (batch.targets[rows_of_text, length:] == IGNORED).all()
    # what is drawn by chance goes with its strip
    alone = collated(words[0], tokenizer=tiny_tokenizer)
    assert torch.equal(batch.at_x[-1], alone.at_x[0])
    assert torch.equal(batch.glyphs[-1], alone.glyphs[0])


def test_fewer_strips_than_parts_are_written_too(tiny_tokenizer: Tokenizer) -> None:
    texts = list(collated("Fox", tokenizer=tiny_tokenizer).texts())
    assert [text.ids.shape for text in texts] == [(1, 16)]


def test_length_has_room_for_the_end(tiny_tokenizer: Tokenizer) -> None:
    lengths = [
        collated("x" * count, tokenizer=tiny_tokenizer).ids.shape[1] for count in (15, 16, 31)
    ]
    assert lengths == [16, 32, 32]


@pytest.mark.parametrize("first_col", [0, 1, 12])
def test_bins_move_with_the_first_column(tiny_tokenizer: Tokenizer, first_col: int) -> None:
    batch = collated("Fox", tokenizer=tiny_tokenizer, first_col=first_col)
    start = 1 + first_col * 8
    assert batch.to_x[0, :4].tolist() == [start, start + 1, start + 2, start + 3]
    assert batch.to_y[0, :4].tolist() == [3] * 4


def test_bins_stay_within_their_tables(tiny_tokenizer: Tokenizer) -> None:
    batch = collated("x" * 150, tokenizer=tiny_tokenizer, first_col=12)
    assert batch.to_x.max() == 127
    assert batch.at_x[0, 1:151].max() == 127


def test_nothing_stands_anywhere_before_the_first_character(tiny_tokenizer: Tokenizer) -> None:
    batch = collated("Fox", tokenizer=tiny_tokenizer)
    nowhere = [0, *range(4, 16)]
    assert (batch.at_x[0, nowhere] == PLACE.x_bins).all()
    assert (batch.at_y[0, nowhere] == PLACE.y_bins).all()
    assert (batch.at_x[0, 1:4] < PLACE.x_bins).all()


def test_the_place_fed_back_is_at_most_one_bin_off(tiny_tokenizer: Tokenizer) -> None:
    off: list[int] = []
    for seed in range(40):
        batch = collated("abcdefghijklmnopqrst", tokenizer=tiny_tokenizer, seed=seed, first_col=3)
        off += (batch.at_x[0, 1:21] - batch.to_x[0, :20]).tolist()
        assert torch.equal(batch.at_y[0, 1:21], batch.to_y[0, :20])
    assert set(off) == {-1, 0, 1}
    assert 0.15 < np.mean(np.array(off) != 0) < 0.25, "three in ten slip, one in three to itself"


def test_half_of_the_inked_cells_are_asked_and_a_quarter_as_many_empty_ones() -> None:
    glyphs = np.zeros((8, 2000), np.int16)
    glyphs[2:5, 100:900] = 7
    chosen = choose_cells(glyphs, random.Random(1))
    kept = chosen != IGNORED
    inked = glyphs > 0
    assert np.array_equal(chosen[kept], glyphs[kept])
    assert kept[inked].mean() == pytest.approx(0.5, abs=0.03)
    assert kept[~inked].sum() / inked.sum() == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("value", [0, 9])
def test_cells_of_empty_and_of_full_strips_are_chosen(value: int) -> None:
    chosen = choose_cells(np.full((8, 64), value, np.int16), random.Random(1))
    assert set(np.unique(chosen)) <= {IGNORED, value}


def test_workers_draw_the_same_batches_in_order(
    batches: StripBatches, tiny_recipe: Recipe, tiny_config: ModelConfig, tiny_tokenizer: Tokenizer
) -> None:
    sent = StripBatches(tiny_recipe, tiny_config, tiny_tokenizer)
    for step, batch in zip(range(3, 7), draw_ahead(sent, range(3, 7), workers=2), strict=True):
        assert_equal(batch, batches[step])


def test_a_batch_moves_whole(batches: StripBatches) -> None:
    batch = batches[0]
    moved = batch.to(torch.device("meta"))
    for name in TENSORS:
        value = getattr(moved, name)
        assert isinstance(value, Tensor)
        assert value.device.type == "meta"
        assert value.shape == getattr(batch, name).shape
    assert (moved.first_col, moved.size) == (batch.first_col, batch.size)


def test_held_out_strips_show_fonts_and_text_that_no_batch_shows(
    batches: StripBatches, tiny_recipe: Recipe, tiny_config: ModelConfig, tiny_tokenizer: Tokenizer
) -> None:
    held_out = StripBatches(tiny_recipe, tiny_config, tiny_tokenizer, held_out=True)
    rng = random.Random(0)
    seen, kept = (
        set(re.findall(r"hound\d{3}\b", drawn.corpus.sample(rng, 20_000).lower()))
        for drawn in (batches, held_out)
    )
    assert seen
    assert kept
    assert not seen & kept
    strips = held_out_strips(tiny_recipe, tiny_config, tiny_tokenizer)
    assert {strip.image.shape for strip in strips} == {(LINE_PX, 512)}


def test_held_out_families_are_never_trained_on(
    tiny_recipe: Recipe,
    tiny_config: ModelConfig,
    tiny_tokenizer: Tokenizer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Recorder(StripRenderer):
        def __init__(self, faces: Sequence[Face], ids: Mapping[str, int]) -> None:
            super().__init__(faces, ids)
            self.shown = {face.family for face in faces}

    monkeypatch.setattr(batch_module, "StripRenderer", Recorder)
    trained, aside = (
        StripBatches(tiny_recipe, tiny_config, tiny_tokenizer, held_out=held_out).renderer.shown
        for held_out in (False, True)
    )
    assert len(aside) == 1
    assert trained | aside == {face.family for face in load_faces(SHIPPED, "")}
    assert not trained & aside


def test_strips_too_wide_for_the_model_are_refused(
    tiny_recipe: Recipe, tiny_config: ModelConfig, tiny_tokenizer: Tokenizer
) -> None:
    stages = (Stage(until=1.0, widths=(256, 2048), difficulty=0.0),)
    with pytest.raises(UsageError, match="2048 x 32 px are larger than tiny reads: 1024 x 128"):
        StripBatches(replace(tiny_recipe, stages=stages), tiny_config, tiny_tokenizer)


def test_strips_too_high_for_the_model_are_refused(
    tiny_recipe: Recipe, tiny_config: ModelConfig, tiny_tokenizer: Tokenizer
) -> None:
    stages = (Stage(until=1.0, widths=(256,), lines=(1, 5), difficulty=0.0),)
    with pytest.raises(UsageError, match="256 x 160 px are larger than tiny reads: 1024 x 128"):
        StripBatches(replace(tiny_recipe, stages=stages), tiny_config, tiny_tokenizer)


@pytest.mark.parametrize("name", ["deepseek-ocr", "lightseek-base"])
def test_a_model_of_colour_pages_is_refused(
    tiny_recipe: Recipe, tiny_tokenizer: Tokenizer, name: str
) -> None:
    with pytest.raises(UsageError, match=f"{name} reads pages in colour"):
        StripBatches(tiny_recipe, preset(name), tiny_tokenizer)


def test_strips_of_more_lines_are_higher_and_fewer(
    tiny_recipe: Recipe, tiny_config: ModelConfig, tiny_tokenizer: Tokenizer
) -> None:
    stages = (Stage(until=1.0, widths=(256,), lines=(1, 2), difficulty=0.0),)
    recipe = replace(tiny_recipe, stages=stages, units=8)
    batches = StripBatches(recipe, tiny_config, tiny_tokenizer)
    drawn = [batches[step] for step in range(12)]
    assert {(*batch.size, len(batch.ids)) for batch in drawn} == {
        (LINE_PX, 256, 8),
        (2 * LINE_PX, 256, 4),
    }
    ends = tiny_tokenizer.ids["\n"]
    for batch in drawn:
        below = batch.to_y[batch.targets != IGNORED].max()
        assert below < batch.size[0] // PLACE.bin_px
        assert (batch.targets == ends).any() == (batch.size[0] == 2 * LINE_PX)


def test_held_out_strips_are_like_those_of_the_last_stage(
    tiny_recipe: Recipe, tiny_config: ModelConfig, tiny_tokenizer: Tokenizer
) -> None:
    first = Stage(until=0.5, widths=(1024,), difficulty=1.0)
    last = Stage(until=1.0, widths=(256, 512), lines=(1, 2), difficulty=0.0)
    recipe = replace(tiny_recipe, stages=(first, last))
    shapes = [s.image.shape for s in held_out_strips(recipe, tiny_config, tiny_tokenizer)]
    assert set(shapes) == {(LINE_PX, 512), (2 * LINE_PX, 512)}
    assert shapes.count((LINE_PX, 512)) == len(shapes) // 2


def test_fonts_and_text_that_are_not_there_are_named(
    tiny_recipe: Recipe, tiny_config: ModelConfig, tiny_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    data = tiny_recipe.data
    for wrong, said in (
        (replace(data, fonts=str(tmp_path)), "font"),
        (replace(data, text=str(tmp_path)), "text"),
        (replace(data, held_out_families=4), "held_out_families"),
    ):
        recipe = replace(tiny_recipe, data=wrong)
        with pytest.raises(UsageError, match=said):
            StripBatches(recipe, tiny_config, tiny_tokenizer)[0]


def test_real_lines_take_their_share(
    tiny_recipe: Recipe,
    tiny_config: ModelConfig,
    tiny_tokenizer: Tokenizer,
    tmp_path: Path,
) -> None:
    cv2.imwrite(str(tmp_path / "0.png"), np.full((LINE_PX, 192), 255, np.uint8))
    places = [(20.0, 16.0), (28.0, 16.0), (36.0, 16.0)]
    write_lines(tmp_path, [RealLine("0.png", 192, "ab", places)])
    lines = LinesRecipe(folder=str(tmp_path), share=0.5)
    recipe = replace(tiny_recipe, data=replace(tiny_recipe.data, lines=lines))
    batches = StripBatches(recipe, tiny_config, tiny_tokenizer)
    texts = [batches.draw(random.Random(seed), 256, 0.5).text for seed in range(100)]
    assert 30 < texts.count("ab") < 70
    # none fills half of a wide strip, and none is of two lines
    assert all(batches.draw(random.Random(s), 512, 0.5).text != "ab" for s in range(20))
    assert all(batches.draw(random.Random(s), 256, 0.5, 2).text != "ab" for s in range(20))
    held_out = StripBatches(recipe, tiny_config, tiny_tokenizer, held_out=True)
    assert all(held_out.draw(random.Random(s), 256, 0.5).text != "ab" for s in range(20))
    # what covers a cell is not known: nothing is asked of them
    real = batches.draw(random.Random(next(s for s in range(100) if texts[s] == "ab")), 256, 0.5)
    batch = collate([real], [random.Random(0)], tiny_tokenizer, PLACE, 0)
    assert (batch.glyphs == IGNORED).all()
    assert (batch.targets[0, :3] != IGNORED).all()


def test_a_model_with_another_alphabet_is_refused(
    tiny_recipe: Recipe, tiny_config: ModelConfig, tiny_tokenizer: Tokenizer
) -> None:
    other = replace(tiny_config, decoder=replace(tiny_config.decoder, vocab_size=300))
    with pytest.raises(UsageError, match="writes 300 symbols, strips show 224"):
        StripBatches(tiny_recipe, other, tiny_tokenizer)
