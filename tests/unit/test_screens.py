import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from lightseek.blocks.screens import without_screens
from lightseek.data.fonts import SHIPPED

LETTER = 22
FONT = ImageFont.truetype(SHIPPED / "Inter-Regular.otf", 30)
LINES = ("-3.4 % 0.6", "(7.1) 13 %", "75.9 y/y 2")


def printed(height=300, width=500):
    page = Image.new("L", (width, height), 255)
    draw = ImageDraw.Draw(page)
    for i, text in enumerate(LINES):
        draw.text((150, 60 + 70 * i), text, font=FONT, fill=0)
    return np.asarray(page)


def dots(shape, distance, radius):
    """A screen at 45 degrees."""
    y, x = np.indices(shape)
    across, down = (x + y) / 2**0.5, (x - y) / 2**0.5
    near = np.hypot(*(np.mod(side, distance) - distance / 2 for side in (across, down)))
    return np.where(near < radius, 0, 255).astype(np.uint8)


def ink(grey):
    return grey < 128


@pytest.mark.parametrize(("distance", "radius"), [(4.3, 1.5), (5.0, 1.5), (6.1, 2.0)])
def test_letters_on_dots_are_those_on_white(distance, radius):
    plain = printed()
    screened = plain.copy()
    ground = np.s_[20:280, 100:400]
    screened[ground] = np.minimum(plain, dots(plain.shape, distance, radius))[ground]
    even = without_screens(screened, LETTER)
    inner = np.s_[40:260, 120:380]
    found, true = ink(even[inner]), ink(plain[inner])
    assert (found & true).sum() > 0.5 * (found | true).sum()
    # points are no larger than dots, and stay
    _, _, stats, _ = cv2.connectedComponentsWithStats(true.astype(np.uint8))
    points = [s for s in stats[1:].tolist() if s[2] < 8 and s[3] < 8]
    assert len(points) > 3
    for left, top, width, height, _ in points:
        assert even[inner][top : top + height, left : left + width].min() < 150


def test_a_band_of_dots_as_high_as_one_line_is_made_white():
    page = np.full((300, 500), 255, np.uint8)
    page[100:132, 50:450] = dots(page.shape, 5.0, 1.5)[100:132, 50:450]
    assert ink(page).any()
    assert ink(without_screens(page, LETTER)).mean() < 0.1 * ink(page).mean()


def test_text_alone_is_left_as_it_is():
    page = printed()
    assert np.array_equal(without_screens(page, LETTER), page)


def test_light_letters_on_dark_dots_stay_light_on_dark():
    letters = 255 - printed()
    screened = np.maximum(letters, 255 - dots(letters.shape, 5.0, 1.3))
    screened[:, :20] = screened[:, -20:] = 255
    even = without_screens(screened, LETTER)
    on_letters, between = even[letters > 200], even[70:230, 60:140]
    assert np.median(on_letters) - np.median(between) > 80
    assert between.std() < 0.5 * screened[70:230, 60:140].std()


def test_faint_dots_around_a_single_line_are_left_alone():
    line = printed()[50:98]
    faint = np.where(dots(line.shape, 5.0, 1.5) == 0, np.minimum(line, 238), line).astype(np.uint8)
    assert np.array_equal(without_screens(faint, LETTER), faint)
    dark = np.minimum(line, dots(line.shape, 5.0, 1.5))
    assert not np.array_equal(without_screens(dark, LETTER), dark)
