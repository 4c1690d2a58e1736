import numpy as np
import pytest
from PIL import Image, ImageDraw

from lightseek.data.fonts import SHIPPED, load_faces
from lightseek.data.lettering import Glyph, Type
from lightseek.tokenizer import LATIN


@pytest.fixture(scope="module")
def faces():
    return load_faces(SHIPPED, LATIN)


@pytest.mark.parametrize("character", ["g", "H", ".", "É", "j"])
def test_ink_is_where_the_character_is_drawn(faces, character):
    for face in faces:
        type_ = Type(face, 50, {})
        image = Image.new("L", (160, 160), 0)
        ImageDraw.Draw(image).text((60, 80), character, font=type_.font, fill=255, anchor="ls")
        rows, cols = np.nonzero(np.asarray(image) > 100)
        drawn = np.array([cols.min(), rows.min(), cols.max() + 1, rows.max() + 1])
        assert np.allclose(np.add(type_.ink(character), (60, 80, 60, 80)), drawn, atol=2)


def test_what_is_known_does_not_depend_on_the_size_that_came_first(faces):
    small_first, large_first = {}, {}
    for px in (10, 90):
        Type(faces[0], px, small_first).ink("k")
    for px in (90, 10):
        Type(faces[0], px, large_first).ink("k")
    assert small_first == large_first


def test_a_ligature_is_written_as_letters_that_share_its_extent(faces):
    type_ = Type(faces[0], 40, {})
    first, second = Glyph("ﬁ", type_, x=10, advance=24, drop=0).marks(baseline=50)
    assert first.text + second.text == "fi"
    assert first.span == (10, 22)
    assert second.span == (22, 34)
    assert first.ink[2] == pytest.approx(second.ink[0])


def test_a_gap_is_a_space_as_wide_as_it_is(faces):
    (mark,) = Glyph(" ", Type(faces[0], 40, {}), x=5, advance=70, drop=0).marks(baseline=50)
    assert mark.text == " "
    assert mark.span == (5, 75)
    assert mark.ink[3] == 50
