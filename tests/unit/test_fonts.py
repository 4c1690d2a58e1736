import shutil
from pathlib import Path
from string import ascii_letters, ascii_lowercase

import pytest
from fontTools.ttLib import TTFont

from lightseek.data.corpus import DRAWN_ONLY
from lightseek.data.fonts import (
    SHIPPED,
    Face,
    load_faces,
    split_families,
    unseen_faces,
    without_clones,
)
from lightseek.data.packages import sources
from lightseek.errors import UsageError
from lightseek.tokenizer import LATIN

ASCII = "".join(map(chr, range(33, 127)))


@pytest.fixture(scope="module")
def shipped() -> list[Face]:
    return load_faces(SHIPPED, LATIN)


def _faces_of(families: str) -> list[Face]:
    return [
        Face(
            path=Path(f"{family}-{style}.ttf"),
            name=f"{family} {style}",
            family=family,
            covers=frozenset(),
            bold=style == "Bold",
            italic=False,
            monospaced=False,
            typewriter=False,
            bitmap=False,
        )
        for family in families
        for style in ("Regular", "Bold")
    ]


def _filled_folder(folder: Path) -> Path:
    """Enough files that an index is worth while, of two faces."""
    folder.mkdir()
    shutil.copy(SHIPPED / "Caladea-Regular.ttf", folder)
    for i in range(9):
        shutil.copyfile(SHIPPED / "CourierPrime.otf", folder / f"{i}.otf")
    return folder


def test_shipped_faces_draw_what_is_read(shipped: list[Face]) -> None:
    assert len({face.family for face in shipped}) >= 4
    assert all(face.covers >= set(ASCII) | set("éÉñüßç«»“”‘’€—") for face in shipped)
    assert any(face.covers >= set(LATIN) for face in shipped)
    assert all(face.covers <= set(LATIN + DRAWN_ONLY) for face in shipped)


def test_shipped_files_are_small_and_licensed() -> None:
    files = [path for path in SHIPPED.iterdir() if path.suffix in (".ttf", ".otf")]
    readme = (SHIPPED / "README.md").read_text(encoding="utf-8")
    assert sum(path.stat().st_size for path in files) < 1_000_000
    assert all(path.name in readme or path.stem.split("-")[1] in readme for path in files)
    licences = [path.read_text(encoding="utf-8") for path in SHIPPED.glob("licences/*.txt")]
    assert len(licences) >= 4
    assert all("PREAMBLE" in licence for licence in licences)


def test_style_is_told(shipped: list[Face]) -> None:
    by_file = {face.path.stem: face for face in shipped}
    assert by_file["Caladea-Bold"].bold
    assert by_file["Caladea-Italic"].italic
    assert not by_file["Caladea-Regular"].bold
    assert by_file["CourierPrime"].monospaced
    assert by_file["CourierPrime"].typewriter
    assert not by_file["Inter-Regular"].monospaced


def test_a_symbol_that_looks_like_another_is_not_covered(shipped: list[Face]) -> None:
    typewriter = next(face for face in shipped if face.typewriter)
    assert "–" not in typewriter.covers  # drawn just as the hyphen
    assert "-" in typewriter.covers


def test_a_symbol_that_a_face_lacks_is_not_covered() -> None:
    assert all("漢" not in face.covers for face in load_faces(SHIPPED, "漢"))


def test_a_face_that_draws_no_letters_is_left_out(tmp_path: Path) -> None:
    shutil.copyfile(SHIPPED / "Inter-Regular.otf", tmp_path / "Inter-SmallCaps.otf")
    (tmp_path / "broken.ttf").write_bytes(b"not a font")
    with pytest.raises(UsageError, match=r"no font that draws letters: put \.ttf"):
        load_faces(tmp_path, LATIN)


@pytest.mark.parametrize(
    ("shown", "is_kept"),
    [
        ({c: c.upper() for c in ascii_lowercase}, False),
        ({"e": None}, False),
        (dict.fromkeys(ascii_letters, "n"), False),
        ({"~": None, "^": None}, True),
        ({"~": None, "^": None, "|": None}, False),
    ],
)
def test_a_face_must_draw_letters_of_two_cases_and_nearly_all_signs(
    tmp_path: Path, shown: dict[str, str | None], is_kept: bool
) -> None:
    """Another letter, or none, is drawn in the place of some."""
    with TTFont(SHIPPED / "Caladea-Regular.ttf") as font:
        for table in font["cmap"].tables:
            glyphs = dict(table.cmap)
            for letter, other in shown.items():
                table.cmap.pop(ord(letter), None)
                if other is not None and ord(other) in glyphs:
                    table.cmap[ord(letter)] = glyphs[ord(other)]
        font.save(tmp_path / "changed.ttf")
    if is_kept:
        assert len(load_faces(tmp_path, LATIN)) == 1
        return
    with pytest.raises(UsageError, match="no font that draws letters"):
        load_faces(tmp_path, LATIN)


def test_twins_are_kept_once(tmp_path: Path) -> None:
    faces = load_faces(_filled_folder(tmp_path / "fonts"), ASCII)
    assert [face.path.name for face in faces] == ["0.otf", "Caladea-Regular.ttf"]


def test_index_says_the_same_and_moves_with_its_folder(tmp_path: Path) -> None:
    folder = _filled_folder(tmp_path / "fonts")
    examined = load_faces(folder, LATIN)
    assert (folder / "faces.json").is_file()
    assert load_faces(folder, LATIN) == examined
    moved = folder.rename(tmp_path / "moved")
    assert [face.path.parent for face in load_faces(moved, LATIN)] == [moved] * len(examined)


def test_a_stale_or_broken_index_is_made_again(tmp_path: Path) -> None:
    folder = _filled_folder(tmp_path / "fonts")
    examined = load_faces(folder, LATIN)
    assert all("é" not in face.covers for face in load_faces(folder, ASCII))
    (folder / "Caladea-Regular.ttf").unlink()
    assert len(load_faces(folder, LATIN)) == len(examined) - 1
    (folder / "faces.json").write_text("{", encoding="utf-8")
    assert len(load_faces(folder, LATIN)) == len(examined) - 1


def test_no_family_is_on_both_sides() -> None:
    faces = _faces_of("ABCDEFGH")
    train, held = split_families(faces, held_out=3, seed=5)
    assert len({face.family for face in held}) == 3
    assert not {face.family for face in train} & {face.family for face in held}
    assert sorted(train + held, key=str) == sorted(faces, key=str)


def test_split_depends_on_names_and_seed_only() -> None:
    faces = _faces_of("ABCDEFGH")
    held = {face.family for face in split_families(faces, held_out=3)[1]}
    assert {face.family for face in split_families(faces[::-1], held_out=3)[1]} == held
    others = [split_families(faces, held_out=3, seed=seed)[1] for seed in range(5)]
    assert len({tuple(face.family for face in other) for other in others}) > 1
    kept = [face for face in faces if face.family in held or face.family in "ABC"]
    assert {face.family for face in split_families(kept, held_out=3)[1]} == held


def test_a_family_under_another_name_is_found(shipped: list[Face], tmp_path: Path) -> None:
    """Even if its letters are a little bolder, wider, and fewer."""
    caladea = next(face for face in shipped if face.name == "Caladea Regular")
    with TTFont(caladea.path) as font:
        for glyph in ("a", "g", "G"):
            points, _, _ = font["glyf"][glyph].getCoordinates(font["glyf"])
            points.scale((1.03, 1.0))
            font["glyf"][glyph].coordinates = points
        font["name"].setName("Cambo Copy", 1, 3, 1, 0x409)
        font.save(tmp_path / "copy.ttf")
    [copy] = load_faces(tmp_path, LATIN)
    assert copy.family != caladea.family
    others = [face for face in shipped if face.family != "Caladea"]
    assert without_clones([copy, *others], [caladea]) == others
    assert without_clones(shipped, others) == [f for f in shipped if f.family == "Caladea"]


def test_all_families_cannot_be_kept_aside(shipped: list[Face]) -> None:
    families = len({face.family for face in shipped})
    with pytest.raises(UsageError, match=f"no more than {families} font families"):
        unseen_faces(shipped, held_out=families, seed=0)


def test_enough_families_are_named() -> None:
    fonts = sources()["fonts"]
    names = fonts["debian"] + fonts["fontsource"]
    assert len(names) == len(set(fonts["debian"])) + len(set(fonts["fontsource"]))
    assert len(names) >= 150
