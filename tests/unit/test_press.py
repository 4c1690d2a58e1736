import random
from dataclasses import replace

import numpy as np
import pytest

from lightseek.blocks.strips import MARGIN
from lightseek.data.fonts import SHIPPED, load_faces
from lightseek.data.lettering import Glyph, Line, Type
from lightseek.data.look import PRESSES, Sheet, draw_look
from lightseek.data.press import CUT_PX, cut_out, print_lines, wear
from lightseek.tokenizer import LATIN

PLAIN = replace(draw_look(random.Random(0), 0.0), scale_x=1, scale_y=1, line_px=40)
SHEET = Sheet(300, 64)


@pytest.fixture(scope="module")
def line():
    type_ = Type(load_faces(SHIPPED, LATIN)[0], 32, {})
    glyphs = [Glyph("E", type_, x=100 + 40 * i, advance=40, drop=0) for i in range(3)]
    return Line(glyphs, type_, baseline=44, left=100, end=220)


def ink(image):
    return np.argwhere(image < 128)


def test_a_clean_look_has_nothing_unusual():
    for seed in range(50):
        look = draw_look(random.Random(seed), 0.0)
        assert (look.press, look.paper, look.ink, look.bilevel) == ("print", 255, 0, False)
        assert (look.tracking_em, look.space, look.far_word, look.room) == (0, 1, 0, 1)
        assert look.scale_x == look.scale_y
        assert 17 <= look.line_px <= 38


def test_a_press_that_is_asked_for_is_drawn():
    for press in PRESSES:
        assert {draw_look(random.Random(seed), 1.0, press).press for seed in range(20)} == {press}


def test_the_mixture_holds_every_press_and_ink_that_can_be_seen():
    looks = [draw_look(random.Random(seed), 1.0) for seed in range(400)]
    assert {look.press for look in looks} == {"print", "typewriter", "receipt"}
    assert all(look.paper - look.ink >= 45 for look in looks)
    assert 0.15 < np.mean([look.bilevel for look in looks]) < 0.5


def test_neighbours_stay_away_from_the_line(line):
    bare = print_lines(random.Random(0), [line], PLAIN, SHEET, [], 0.0)
    assert ink(bare)[:, 1].min() >= 100
    top, bottom = ink(bare)[:, 0].min(), ink(bare)[:, 0].max()
    added = 0
    for seed in range(80):
        full = print_lines(random.Random(seed), [line], PLAIN, SHEET, ["gjpqy", "HldbfT"] * 9, 1.0)
        middle = np.s_[top + 6 : bottom - 4, 104:216]
        assert np.array_equal(full[middle] < 128, bare[middle] < 128)
        added += (full < 128).sum() > (bare < 128).sum()
    assert 10 < added < 60


def test_wear_says_where_the_line_went(line):
    image = print_lines(random.Random(0), [line], PLAIN, SHEET, [], 0.0)
    before = ink(image).mean(axis=0)[::-1]
    turned = 0
    for seed in range(60):
        worn, matrix = wear(random.Random(seed), image, PLAIN, 1.0)
        assert worn.shape == image.shape
        if not np.array_equal(matrix, np.eye(2, 3)):
            after = ink(worn).mean(axis=0)[::-1]
            assert np.allclose(matrix @ [*before, 1], after, atol=4)
            turned += 1
    assert turned > 2


def test_no_wear_without_difficulty(line):
    image = print_lines(random.Random(0), [line], PLAIN, SHEET, [], 0.0)
    worn, matrix = wear(random.Random(1), image, PLAIN, 0.0)
    assert np.array_equal(worn, image)
    assert np.array_equal(matrix, np.eye(2, 3))


def test_a_line_that_is_cut_out_stands_on_white_where_the_matrix_says(line):
    paper = np.random.default_rng(0).integers(190, 220, SHEET[::-1], dtype=np.uint8)
    image = np.minimum(paper, print_lines(random.Random(0), [line], PLAIN, SHEET, [], 0.0))
    for picture in (image, 255 - image):
        strip, place = cut_out(picture, random.Random(0), line.printed(), np.eye(2, 3))
        rows, columns = ink(strip).T
        assert columns.min() >= MARGIN
        assert abs(rows.min() + rows.max() - 64) < 16
        assert CUT_PX[0] - 10 < np.ptp(rows) < CUT_PX[1]
        assert np.median(strip) == 255
        assert len(np.unique(strip[:, -20:])) == 1
        before = np.argwhere(image < 128)[:, ::-1].mean(0)
        after = np.array([columns.mean(), rows.mean()])
        assert np.abs(place[:, :2] @ before + place[:, 2] - after).max() < 1


def test_what_shows_through_is_paler_than_what_is_printed(line):
    look = replace(PLAIN, press="typewriter", ink=0)
    shown = 0
    for seed in range(60):
        printed = print_lines(random.Random(seed), [line], look, SHEET, ["HldbfT"] * 30, 1.0)
        ghost = printed[: line.printed().boxes[:, 1].min().astype(int) - 12, :80]
        between = ghost[(ghost > 40) & (ghost < 250)]
        shown += len(between) > 100
    assert 3 < shown < 40


def test_paper_that_ends_within_the_last_letter_leaves_its_left_half(line):
    [glyph, *_] = line.glyphs
    alone = Line([glyph], line.type, line.baseline, line.left, glyph.right)
    image = print_lines(random.Random(0), [alone], PLAIN, SHEET, [], 0.0)
    torn = []
    for seed in range(300):
        strip, place = cut_out(image, random.Random(seed), alone.printed(), np.eye(2, 3))
        left, _, right, _ = alone.printed().boxes[-1] * place[0, 0] + place[0, 2]
        kept = (ink(strip)[:, 1].max() + 1 - left) / (right - left)
        assert kept < 1.05
        torn += [kept] if kept < 0.9 else []
    assert 2 < len(torn) < 30
    assert min(torn) > 0.5
