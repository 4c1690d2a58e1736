import random
from functools import partial

import numpy as np
import pytest

from lightseek.data import degrade

OPERATIONS = {
    "blur": degrade.blur,
    "noise": degrade.noise,
    "jpeg": degrade.jpeg,
    "low_resolution": degrade.low_resolution,
    "low_bilevel": partial(degrade.low_resolution, scale=0.5, black_and_white=True),
    "bilevel": degrade.bilevel,
    "ink_spread": degrade.ink_spread,
    "fade": degrade.fade,
    "ribbon": partial(degrade.ribbon, scale=1.3),
    "dot_matrix": partial(degrade.dot_matrix, pitch=4.0),
    "uneven_light": degrade.uneven_light,
    "texture": degrade.texture,
    "specks": degrade.specks,
    "salt": degrade.salt,
    "degrade": degrade.degrade,
}


def bars(height=61, width=203):
    """Vertical bars of ink on nearly white paper, of a size that nothing divides."""
    image = np.full((height, width), 240, np.uint8)
    image[10:50, 20:180:12] = 20
    image[10:50, 21:180:12] = 20
    image[10:50, 22:180:12] = 20
    return image


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_keeps_shape_and_input_and_repeats_itself(operation):
    image = bars()
    for seed in range(8):
        first, second = (operation(image, random.Random(seed)) for _ in range(2))
        assert first.shape == image.shape
        assert first.dtype == np.uint8
        assert np.array_equal(first, second)
    assert np.array_equal(image, bars())


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (8, 8)])
@pytest.mark.parametrize("tone", [0, 255])
def test_bears_images_without_content(operation, shape, tone):
    image = np.full(shape, tone, np.uint8)
    for seed in range(10):
        assert operation(image, random.Random(seed)).shape == shape


@pytest.mark.parametrize(
    "name",
    ["noise", "jpeg", "fade", "uneven_light", "texture", "ink_spread", "bilevel", "ribbon"],
)
def test_changes_the_image_and_leaves_it_legible(name):
    image = bars()
    ink = image < 128
    for seed in range(8):
        worn = OPERATIONS[name](image, random.Random(seed)).astype(float)
        assert not np.array_equal(worn, image)
        assert worn[~ink].mean() - worn[ink].mean() > 40


@pytest.mark.parametrize("name", ["blur", "low_resolution", "salt", "specks", "dot_matrix"])
def test_changes_most_images(name):
    image = bars()
    changed = [
        not np.array_equal(OPERATIONS[name](image, random.Random(s)), image) for s in range(12)
    ]
    assert sum(changed) > 8


def test_bilevel_has_two_levels_and_keeps_hairlines():
    image = np.full((60, 200), 255, np.uint8)
    image[10:50, 20:180:12] = 150
    for seed in range(10):
        worn = degrade.bilevel(image, random.Random(seed))
        assert set(np.unique(worn)) == {0, 255}
        assert (worn[10:50, 20:180:12] == 0).mean() > 0.15


@pytest.mark.parametrize("paper", [255, 170, 60])
def test_bilevel_finds_the_paper_whatever_its_tone(paper):
    image = np.full((60, 200), paper, np.uint8)
    image[10:50, 20:180] = paper // 3
    for seed in range(10):
        worn = degrade.bilevel(image, random.Random(seed))
        assert (worn[:8] == 255).mean() > 0.8
        assert (worn[14:46, 24:176] == 0).mean() > 0.8


def test_invert_is_its_own_inverse():
    assert np.array_equal(degrade.invert(degrade.invert(bars())), bars())
    assert np.median(degrade.invert(bars())) == 15


def test_rotate_says_where_points_went():
    image = np.full((80, 200), 255, np.uint8)
    image[18:23, 178:183] = 0
    turned, matrix = degrade.rotate(image, random.Random(3), max_degrees=5)
    rows, cols = np.nonzero(turned < 128)
    assert np.allclose(matrix @ (180, 20, 1), (cols.mean(), rows.mean()), atol=0.7)
    assert abs(rows.mean() - 20) > 1


def test_dots_stand_apart():
    image = np.full((64, 128), 255, np.uint8)
    image[8:40, 8:40] = 0
    dotted = degrade.dot_matrix(image, random.Random(0), pitch=8.0)
    inside = dotted[8:40, 8:40]
    assert (inside < 64).any()
    assert (inside > 192).any()
    assert (dotted[:, 48:] == 255).all()


def test_difficulty_zero_changes_nothing():
    for seed in range(20):
        assert np.array_equal(degrade.degrade(bars(), random.Random(seed), 0.0), bars())


def test_difficulty_grows_the_wear():
    def worn(difficulty):
        return sum(
            not np.array_equal(degrade.degrade(bars(), random.Random(seed), difficulty), bars())
            for seed in range(60)
        )

    assert worn(0.2) < worn(1.0)


@pytest.mark.parametrize("shape", [(30, 500), (200, 60)])
def test_resize_gives_the_size_asked_for(shape):
    for seed in range(6):
        resized = degrade.resize(bars(), random.Random(seed), width=shape[1], height=shape[0])
        assert resized.shape == shape


def test_too_little_ink_leaves_thin_strokes() -> None:
    hairline = np.full((40, 80), 255, np.uint8)
    hairline[10:30, 20] = hairline[20, 20:60] = 0
    for seed in range(20):
        left = 255.0 * hairline.size - degrade.ink_spread(hairline, random.Random(seed)).sum()
        assert left >= 0.4 * (255.0 * hairline.size - hairline.sum())
