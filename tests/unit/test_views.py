import itertools
import math
import random
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from PIL import Image, ImageOps

from lightseek.document import Box
from lightseek.errors import UsageError
from lightseek.views import (
    MODES,
    UNTILED,
    Grid,
    Mode,
    View,
    choose_grid,
    find_mode,
    make_views,
    num_positions,
    num_valid_tokens,
    num_visual_tokens,
    token_sheets,
    with_most_tiles,
)

LETTER = (1275, 1650)
EXTREMES = [(1, 1), (1, 4000), (2, 3000), (30_000, 100), (640, 640), (641, 640), (640, 641)]
PAGES = [*EXTREMES, LETTER, (333, 77), (1025, 1024)]


@cache
def noise(size: tuple[int, int]) -> Image.Image:
    width, height = size
    pixels = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


def random_sizes(count: int) -> list[tuple[int, int]]:
    rng = random.Random(3)
    return [(rng.randint(1, 4000), rng.randint(1, 4000)) for _ in range(count)]


# ---- counts


@pytest.mark.parametrize(
    ("name", "visual", "positions"),
    [
        ("tiny", 64, 73),
        ("small", 100, 111),
        ("base", 256, 273),
        ("large", 400, 421),
        ("gundam", 256, 273),
        ("gundam-m", 400, 421),
    ],
)
def test_counts_of_a_page_without_tiles(name, visual, positions):
    assert num_visual_tokens(MODES[name], UNTILED) == visual
    assert num_positions(MODES[name], UNTILED) == positions


@pytest.mark.parametrize("grid", [Grid(1, 2), Grid(2, 1), Grid(2, 3), Grid(3, 3), Grid(9, 1)])
def test_counts_of_a_page_with_tiles(grid):
    w, h = grid
    assert num_visual_tokens(MODES["gundam"], grid) == w * h * 100 + 256
    assert num_positions(MODES["gundam"], grid) == 273 + 10 * h * (10 * w + 1)
    assert num_visual_tokens(MODES["gundam-m"], grid) == w * h * 256 + 400
    assert num_positions(MODES["gundam-m"], grid) == 421 + 16 * h * (16 * w + 1)


def test_letter_at_150_dpi_takes_903_positions():
    grid = choose_grid(*LETTER, MODES["gundam"])
    assert grid == Grid(cols=2, rows=3)
    assert num_positions(MODES["gundam"], grid) == 903


def side_in_tokens(px: int) -> int:
    """Count the steps of the encoder: 16 px patches, then two convolutions of stride 2."""
    patches = len(range(0, px - 15, 16))
    return len(range(0, len(range(0, patches, 2)), 2))


def laid_out(mode: Mode, tiles: int, grid: Grid) -> list[tuple[str, int]]:
    """The decoder's sequence, element by element: (what it is, which tile it comes from)."""
    sequence = []
    if tiles:
        side = side_in_tokens(mode.tile_px)
        for row in range(grid.rows):
            for _ in range(side):
                for col in range(grid.cols):
                    sequence += [("token", row * grid.cols + col)] * side
                sequence.append(("row end", -1))
    for _ in range(side_in_tokens(mode.page_px)):
        sequence += [("token", -1)] * side_in_tokens(mode.page_px) + [("row end", -1)]
    return [*sequence, ("separator", -1)]


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
@pytest.mark.parametrize("size", [*EXTREMES, LETTER, *random_sizes(10)])
def test_counts_agree_with_a_sequence_laid_out(mode, size):
    views_grid = choose_grid(*size, mode)
    num_tiles = 0 if views_grid == (1, 1) else views_grid.cols * views_grid.rows
    sequence = laid_out(mode, num_tiles, views_grid)
    kinds = [kind for kind, _ in sequence]
    assert num_positions(mode, views_grid) == len(sequence)
    assert num_visual_tokens(mode, views_grid) == kinds.count("token")

    runs = [len(list(run)) for kind, run in itertools.groupby(kinds) if kind == "token"]
    sheets = token_sheets(mode, views_grid)
    assert runs == [sheet.cols for sheet in sheets for _ in range(sheet.rows)]


def test_sides_that_are_no_multiple_of_a_token_are_rounded_as_the_encoder_does():
    mode = Mode(name="odd", page_px=1000, tile_px=600, max_tiles=9, fit="pad")
    assert num_positions(mode, Grid(2, 1)) == len(laid_out(mode, 2, Grid(2, 1)))


@pytest.mark.parametrize("name", ["base", "large"])
def test_valid_tokens_follow_equation_1(name):
    tokens = num_visual_tokens(MODES[name], UNTILED)
    for width, height in [*EXTREMES, (512, 1024), *random_sizes(200)]:
        longer, shorter = max(width, height), min(width, height)
        exact = math.ceil(tokens * (1 - Fraction(longer - shorter, longer)))
        assert num_valid_tokens(MODES[name], UNTILED, width=width, height=height) == exact


def test_valid_tokens_of_tiles_and_of_stretched_pages_are_all_of_them():
    assert num_valid_tokens(MODES["tiny"], UNTILED, width=9, height=900) == 64
    letter = num_valid_tokens(MODES["gundam"], Grid(2, 3), width=1275, height=1650)
    assert letter == 6 * 100 + math.ceil(256 * 1275 / 1650)


# ---- the tile grid


def official_grid(width: int, height: int, tile_px: int, most: int) -> tuple[int, int]:
    """The rule as published: walk the grids by area, keep the best so far.

    What has no tiles does not depend on their size there: 640 px in every mode.
    """
    ratios = {(i, j) for i in range(1, most + 1) for j in range(1, most + 1) if 2 <= i * j <= most}
    best, best_gap = (1, 1), math.inf
    if width <= 640 and height <= 640:
        return best
    for i, j in sorted(ratios, key=math.prod):
        gap = abs(width / height - i / j)
        tie = gap == best_gap and width * height > 0.5 * tile_px * tile_px * i * j
        if gap < best_gap or tie:
            best, best_gap = (i, j), gap
    return best


@pytest.mark.parametrize("name", ["gundam", "gundam-m"])
@pytest.mark.parametrize("most", [2, 6, 9, 12])
def test_grid_is_the_official_one(name, most):
    mode = MODES[name]
    shapes = [(5, 4), (5, 2), (3, 4), (2, 1)]  # two grids as near, or one twice as fine
    ties = [(a * k, b * k) for a, b in shapes for k in range(90, 900, 50)]
    for width, height in [*EXTREMES, LETTER, *random_sizes(40), *ties]:
        chosen = choose_grid(width, height, with_most_tiles(mode, most))
        assert chosen == official_grid(width, height, mode.tile_px, most), (width, height)


@pytest.mark.parametrize(
    ("size", "most", "grid"),
    [
        ((640, 640), 9, (1, 1)),
        ((641, 640), 9, (2, 2)),
        ((640, 10), 9, (1, 1)),
        ((30_000, 100), 9, (9, 1)),
        ((2, 3000), 6, (1, 6)),
        ((1650, 1275), 9, (3, 2)),
        # the same shape: the larger only if the page has more than half its pixels
        ((1300, 1300), 9, (2, 2)),
        ((1400, 1400), 9, (3, 3)),
        ((1400, 1400), 6, (2, 2)),
        ((1800, 900), 9, (2, 1)),
        ((1820, 910), 9, (4, 2)),
        # halfway between 1 and 1.5
        ((1000, 800), 9, (2, 2)),
        ((1500, 1200), 9, (3, 2)),
        ((1600, 1280), 9, (3, 3)),
    ],
)
def test_grid_of(size, most, grid):
    assert choose_grid(*size, with_most_tiles(MODES["gundam"], most)) == grid


def test_nine_tiles_unless_told_otherwise():
    assert choose_grid(9000, 1000, MODES["gundam"]) == Grid(9, 1)
    assert choose_grid(9000, 1000, MODES["gundam-m"]) == Grid(9, 1)


# ---- pixels


@pytest.mark.parametrize("size", PAGES)
@pytest.mark.parametrize(("name", "side"), [("tiny", 512), ("small", 640)])
def test_small_modes_stretch(name, side, size):
    page = noise(size)
    views = make_views(page, MODES[name])
    assert views.tiles == ()
    assert views.grid == UNTILED
    assert views.page.image == page.resize((side, side))


@pytest.mark.parametrize("size", [size for size in PAGES if max(size) <= 2000 * min(size)])
@pytest.mark.parametrize(("name", "side"), [("base", 1024), ("large", 1280)])
def test_large_modes_pad(name, side, size):
    page = noise(size)
    expected = ImageOps.pad(page, (side, side), color=(127, 127, 127))
    assert make_views(page, MODES[name]).page.image == expected


@pytest.mark.parametrize(("name", "untiled"), [("gundam", "base"), ("gundam-m", "large")])
def test_beside_tiles_the_page_view_is_that_of_the_mode_without(name, untiled):
    page = noise(LETTER)
    assert make_views(page, MODES[name]).page.image == make_views(page, MODES[untiled]).page.image


def test_page_sits_in_the_middle_of_grey():
    red = Image.new("RGB", (300, 100), "red")
    pixels = np.asarray(make_views(red, MODES["base"]).page.image)
    first = (1024 - 341) // 2 + 1  # 341.5 is rounded to the even 342
    assert (pixels[:first] == 127).all()
    assert (pixels[first : first + 341] == [255, 0, 0]).all()
    assert (pixels[first + 341 :] == 127).all()


def test_a_page_thinner_than_a_pixel_is_still_seen():
    red = Image.new("RGB", (1, 4000), "red")
    pixels = np.asarray(make_views(red, MODES["base"]).page.image)
    assert (pixels == [255, 0, 0]).all(axis=2).sum() == 1024


@pytest.mark.parametrize(
    ("name", "side", "size"),
    [("gundam", 640, size) for size in PAGES] + [("gundam-m", 1024, (1025, 700))],
)
def test_tiles_are_the_stretched_page_cut_row_by_row(name, side, size):
    page = noise(size)
    views = make_views(page, with_most_tiles(MODES[name], 6))
    if max(size) <= side:
        assert views.tiles == ()
        assert views.grid == (1, 1)
        return
    assert len(views.tiles) == views.grid.cols * views.grid.rows
    sheet = np.asarray(page.resize((side * views.grid.cols, side * views.grid.rows)))
    for number, tile in enumerate(views.tiles):
        row, col = divmod(number, views.grid.cols)
        cut = sheet[row * side : (row + 1) * side, col * side : (col + 1) * side]
        assert np.array_equal(np.asarray(tile.image), cut)


# ---- boxes


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
@pytest.mark.parametrize("size", [*EXTREMES, LETTER])
def test_views_cover_the_page_and_boxes_go_to_each_and_come_back(mode, size):
    width, height = size
    views = make_views(Image.new("RGB", size, "white"), mode)
    whole = Box(0, 0, mode.page_px, mode.page_px)
    assert views.page.box_to_page(whole) == pytest.approx((0, 0, width, height))
    if views.tiles:
        cuts = [t.box_to_page(Box(0, 0, mode.tile_px, mode.tile_px)) for t in views.tiles]
        assert sum(cut.width * cut.height for cut in cuts) == pytest.approx(width * height)
        assert all(a.iou(b) < 1e-6 for a, b in itertools.combinations(cuts, 2))


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
@pytest.mark.parametrize("size", [LETTER, (1700, 800), (500, 600)])
def test_what_is_drawn_on_the_page_is_found_where_the_view_says(mode, size):
    mark = Box(0.3 * size[0], 0.45 * size[1], 0.62 * size[0], 0.8 * size[1])
    mark = Box(*map(round, mark))
    page = Image.new("RGB", size, "white")
    page.paste((0, 0, 0), mark)
    views = make_views(page, mode)
    seen = []
    for view in (*views.tiles, views.page):
        rows, cols = np.nonzero((np.asarray(view.image) < 64).all(axis=2))
        if len(rows):
            ink = Box(cols.min(), rows.min(), cols.max() + 1, rows.max() + 1)
            seen.append(view.box_to_page(ink))
    on_tiles, on_page = seen[:-1], seen[-1]
    assert on_page == pytest.approx(mark, abs=max(size) / mode.page_px + 1)
    if on_tiles:
        joined = on_tiles[0]
        for part in on_tiles[1:]:
            joined = joined.union(part)
        assert joined == pytest.approx(mark, abs=max(size) / mode.tile_px)


def test_boxes_end_at_the_page():
    image, doubled = Image.new("RGB", (10, 10)), np.array([[2.0, 0, -5], [0, 2, 0]])
    box = Box(0, 0, 10, 10)
    assert View(image, doubled, (50, 18)).box_to_page(box) == (0, 0, 15, 18)
    assert View(image, doubled, (12, 50)).box_to_page(box) == (0, 0, 12, 20)


def test_boxes_of_a_turned_view_stay_upright():
    quarter = View(Image.new("RGB", (40, 30)), np.array([[0.0, -1, 30], [1, 0, 0]]), (30, 40))
    assert quarter.box_to_page(Box(0, 0, 10, 5)) == (25, 0, 30, 10)


# ---- what cannot be


def test_unknown_mode_is_told_the_modes():
    with pytest.raises(UsageError, match="'huge'") as caught:
        find_mode("huge")
    assert all(name in str(caught.value) for name in MODES)
    assert all(find_mode(name).name == name for name in MODES)


@pytest.mark.parametrize("most", [1, 0, -3])
def test_too_few_tiles(most):
    with pytest.raises(UsageError, match="2 or more"):
        with_most_tiles(MODES["gundam"], most)
    with pytest.raises(UsageError, match="mode base has no tiles"):
        with_most_tiles(MODES["base"], 4)
