import json
import random
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from lightseek.blocks.strips import STRIP_HEIGHT
from lightseek.cli import main
from lightseek.data.dataset import load_pairs
from lightseek.data.lines import INDEX, RealLine, RealLines, write_lines
from lightseek.errors import DataError, ModelError, UsageError
from lightseek.eval.metrics import cer
from lightseek.ocr import OCR
from lightseek.readings import StripText
from lightseek.tokenizer import character_tokenizer
from lightseek.train.align import align, align_lines

LETTER = Path(__file__).parents[2] / "examples" / "letter.png"
SYMBOLS = character_tokenizer().ids
TEXT = LETTER.with_suffix(".txt").read_text(encoding="utf-8")


def read(text: str, first: float = 10.0) -> StripText:
    """A strip whose character i was read at x = first + 8 i."""
    across = first + 8 * np.arange(len(text), dtype=np.float32)
    centres = np.stack([across, np.full(len(text), 16, np.float32)], axis=1)
    return StripText(text, np.ones(len(text), np.float32), centres, finished=True)


def test_a_wrong_character_lends_its_place_to_the_right_one() -> None:
    [placed] = align([read("the rnan there")], "the man there", SYMBOLS)
    assert placed.text == "the man there"
    assert placed.places.shape == (14, 2)
    assert (np.diff(placed.places[:, 0]) > 0).all()
    assert placed.places[0].tolist() == [10, 16]
    assert placed.places[6].tolist() == [10 + 8 * 7, 16]


def test_a_character_that_was_not_read_stands_between_its_neighbours() -> None:
    [placed] = align([read("a beter line")], "a better line", SYMBOLS)
    across = placed.places[:, 0]
    assert across[3] < across[4] < across[5] or across[4] < across[5] < across[6]
    assert across[12] == 10 + 8 * 11


def test_what_the_page_has_besides_is_not_taught() -> None:
    [placed] = align([read("one line ;")], "one line;", SYMBOLS)
    assert placed.text == "one line;"
    assert placed.places[8, 0] == 10 + 8 * 9


def test_quotes_and_dashes_keep_the_form_that_was_read() -> None:
    [placed] = align([read("“Yes”—she said")], '"Yes"-she said', SYMBOLS)
    assert placed.text == "“Yes”—she said"


def test_the_text_is_parted_where_the_strips_are() -> None:
    one, two = align(
        [read("a long lime"), read("on two strips")], "a long line on two strips", SYMBOLS
    )
    assert (one.text, two.text) == ("a long line", "on two strips")
    assert two.places[0].tolist() == [10, 16]


@pytest.mark.parametrize(
    ("results", "text", "reason"),
    [
        (["a long li", "ne on strips"], "a long line on strips", "within a word"),
        (["something else"], "a long line on two strips", "too far"),
        (["a line"], "a 行", "no symbol for 行"),
        ([], "a line", "nothing was read"),
    ],
)
def test_what_cannot_be_aligned_says_why(results: list[str], text: str, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        align([read(result) for result in results], text, SYMBOLS)


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The letter, aligned by nano, beside a row whose text is another."""
    source = tmp_path_factory.mktemp("scans")
    out = source.parent / "lines"
    shutil.copy(LETTER, source / "letter.png")
    shutil.copy(LETTER.with_suffix(".txt"), source / "letter.txt")
    shutil.copy(LETTER, source / "other.png")
    (source / "other.txt").write_text("No such letter was ever written.")
    (source / "broken.png").write_bytes(b"none")
    (source / "broken.txt").write_text("none")
    done = CliRunner().invoke(main, ["data", "align", str(source), "-o", str(out)])
    assert done.exit_code == 0, done.output
    assert [line.split(": ")[0].rsplit("/")[-1] for line in done.stdout.splitlines()] == [
        "broken.png",
        "other.png",
    ]
    assert done.stderr.splitlines()[-1].endswith("strips of 1 of 3 rows")
    return out


def test_strips_of_a_page_say_what_stands_there(lines: Path) -> None:
    rows = [json.loads(row) for row in (lines / INDEX).read_text(encoding="utf-8").splitlines()]
    assert cer(" ".join(row["text"] for row in rows), TEXT) == 0
    for row in rows:
        places = np.array(row["places"])
        assert places.shape == (len(row["text"]) + 1, 2)
        assert (np.diff(places[:, 0]) > -8).all()
        image = cv2.imread(str(lines / row["image"]), cv2.IMREAD_GRAYSCALE)
        assert image.shape == (STRIP_HEIGHT, row["width"])
        # under every letter that was placed there is ink
        letters = [int(x) for (x, _), c in zip(places, row["text"], strict=False) if c.isalpha()]
        assert all(image[:, x - 6 : x + 7].min() < 128 for x in letters)


def test_a_folder_is_a_data_set_too(lines: Path) -> None:
    pairs = load_pairs(lines / INDEX)
    assert pairs[0].text == "Marlowe & Finch"


def test_lines_are_drawn_by_width(lines: Path) -> None:
    real = RealLines(lines, SYMBOLS)
    for width in (256, 512, 1024):
        drawn = [real.draw(random.Random(seed), width) for seed in range(20)]
        for sample in drawn:
            assert sample is not None
            assert sample.image.shape == (STRIP_HEIGHT, width)
            assert sample.text in " ".join(TEXT.split())
            assert len(sample.places) == len(sample.text) + 1
            assert 0 < sample.places[-1, 0] < width
            assert not sample.glyphs.any()
    again = [real.draw(random.Random(seed), 1024) for seed in range(20)]
    assert all((a.image == b.image).all() for a, b in zip(drawn, again, strict=True))
    assert real.draw(random.Random(0), 64) is None


def test_places_follow_the_stretch(lines: Path) -> None:
    real = RealLines(lines, SYMBOLS)
    for seed in range(20):
        sample = real.draw(random.Random(seed), 1024, difficulty=0.0)
        inked = np.flatnonzero((sample.image < 128).any(axis=0))
        assert abs(sample.places[0, 0] - inked[0]) < 40
        assert abs(sample.places[-1, 0] - inked[-1]) < 40


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"lines\.jsonl cannot be read"):
        RealLines(tmp_path, SYMBOLS)
    (tmp_path / INDEX).write_text("")
    with pytest.raises(DataError, match="no lines"):
        RealLines(tmp_path, SYMBOLS)
    (tmp_path / INDEX).write_text('{"image": 1}')
    with pytest.raises(ModelError, match=r"lines\.jsonl does not fit: lines\.0\.image"):
        RealLines(tmp_path, SYMBOLS)
    places = [(1.0, 1.0), (2.0, 2.0)]
    for text, fault in (("ab", "line 1: 2 characters and 2 places"), ("Ж", "'Ж' is no symbol")):
        write_lines(tmp_path, [RealLine("gone.png", 64, text, places)])
        with pytest.raises(DataError, match=fault):
            RealLines(tmp_path, SYMBOLS)
    write_lines(tmp_path, [RealLine("gone.png", 64, "a", places)])
    with pytest.raises(DataError, match=r"gone\.png is not the strip"):
        RealLines(tmp_path, SYMBOLS).draw(random.Random(0), 64)


def test_what_is_there_is_not_written_over(lines: Path) -> None:
    ocr = OCR("nano", device="cpu")
    with pytest.raises(UsageError, match="is there already"):
        align_lines(load_pairs(lines / INDEX), lines, ocr)
