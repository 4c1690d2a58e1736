import random

import numpy as np
import pytest

from lightseek.data.fonts import SHIPPED, load_faces
from lightseek.data.lettering import Glyph, Line, Type
from lightseek.data.look import Sheet, draw_look
from lightseek.data.press import print_lines
from lightseek.data.struck import clog, strike_unevenly
from lightseek.tokenizer import LATIN

SHEET = Sheet(600, 64)
CLEAN = draw_look(random.Random(0), 0.0)


@pytest.fixture(scope="module")
def set_line():
    type_ = Type(load_faces(SHIPPED, LATIN)[0], 40, {})

    def line(text):
        glyphs, x = [], 20.0
        for character in text:
            glyphs.append(Glyph(character, type_, x, type_.advance(character), 0.0))
            x = glyphs[-1].right
        return Line(glyphs, type_, baseline=48, left=20, end=x)

    return line


def printed(line):
    return print_lines(random.Random(0), [line], CLEAN, SHEET, [], 0.0)


def test_dirt_fills_the_counters_of_some_letters_and_harms_no_other(set_line):
    line = set_line("oeaolvvo")
    image = printed(line)
    boxes = line.printed().boxes.round().astype(int)
    middle = [(37, (left + right) // 2) for left, _, right, _ in boxes[[0, 3, 7]]]
    filled = 0
    for seed in range(30):
        worn = clog(random.Random(seed), image, [line], scale=2.6)
        assert worn.shape == image.shape
        stems = np.s_[:, boxes[4, 0] : boxes[6, 2]]
        assert np.array_equal(worn[stems], image[stems])
        full = [worn[at] < 200 for at in middle]
        # a type is dirty wherever it strikes
        assert len(set(full)) == 1
        filled += full[0]
    assert 3 < filled < 25


def test_types_that_do_not_strike_flat_leave_letters_paler_on_one_side_never_darker(set_line):
    line = set_line("HHHHHHHHH")
    image = printed(line).astype(int)
    paler = sides = 0
    for seed in range(30):
        worn = strike_unevenly(random.Random(seed), image.astype(np.uint8), [line]).astype(int)
        assert (worn >= image - 1).all()
        for left, top, right, bottom in line.printed().boxes.round().astype(int):
            letter = worn[top:bottom, left:right] - image[top:bottom, left:right]
            if letter.max() > 20:
                paler += 1
                # what is lost is lost at an edge, and the letter is not gone
                sides += letter.min() <= 1
    assert 15 < paler < 120
    assert sides > 0.8 * paler


def test_nothing_is_worn_where_nothing_is_printed():
    line = Line([], Type(load_faces(SHIPPED, LATIN)[0], 40, {}), baseline=48, left=20, end=20)
    image = printed(line)
    assert np.array_equal(clog(random.Random(0), image, [line], scale=1.3), image)
    assert np.array_equal(strike_unevenly(random.Random(0), image, [line]), image)
