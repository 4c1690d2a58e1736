"""The study of compression: what it counts, what it prints, what it writes."""

import csv
import json
import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from tokenizers import Tokenizer as RustTokenizer
from tokenizers import models, pre_tokenizers

from lightseek import OCR
from lightseek.blocks import cut_page
from lightseek.cli import main
from lightseek.errors import UsageError
from lightseek.model import LightSeekOCR
from lightseek.study import compression, density
from lightseek.study.chart import draw_chart
from lightseek.study.compression import Plan, study_compression, word_set_precision
from lightseek.study.density import Press, Words, load_words
from lightseek.study.pooling import pool_and_read
from lightseek.study.published import FOX
from lightseek.study.table import Study, published_markdown
from lightseek.tokenizer import Tokenizer
from lightseek.views import MODES
from lightseek.weights import save_model

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "runs" / "compression.py"))
SPECIAL = ("<pad>", "<bos>", "<eos>", "<image>")
FEW = Plan(
    pages=1,
    widths=(1.0, 0.4),
    dpis=(150,),
    modes=("tiny", "small"),
    tokens=((20, 30), (40, 60)),
)


@pytest.fixture(scope="module")
def press() -> Press:
    return Press()


@pytest.fixture(scope="module")
def of_nano() -> Study:
    patch = pytest.MonkeyPatch()
    patch.setattr(compression, "_COLUMN_CHARACTERS", 150)
    with patch.context():
        return study_compression(OCR(device="cpu"), Words(None, 0), FEW)


def strip_widths(image: Image.Image) -> list[int]:
    blocks = cut_page(image)
    return [s.image.shape[1] for b in blocks for line in b.lines for s in line.strips]


class TestPress:
    @pytest.mark.parametrize("width", [1.0, 0.5])
    def test_a_line_of_a_column_fills_one_strip(self, press: Press, width: float) -> None:
        text = Words(None, 1).take_characters(round(300 / width))
        proof = press.column(text, width=width)
        assert proof.text.split() == text.split()
        widths = strip_widths(proof.image)
        assert len(widths) == len(proof.text.splitlines())
        assert min(widths[:-1]) >= 896

    def test_narrow_letters_take_less_room(self, press: Press) -> None:
        text = Words(None, 1).take_characters(300)
        wide, narrow = press.column(text), press.column(text, width=0.5)
        assert len(narrow.text.splitlines()) < len(wide.text.splitlines())
        assert narrow.image.width < wide.image.width

    def test_coarse_print_has_fewer_pixels(self, press: Press) -> None:
        text = Words(None, 1).take_characters(100)
        fine, coarse = press.column(text, dpi=200), press.column(text, dpi=50)
        assert coarse.image.width == pytest.approx(fine.image.width / 4, abs=1)

    @pytest.mark.parametrize("count", [600, 5000])
    def test_a_page_holds_all_of_a_text(self, press: Press, count: int) -> None:
        text = Words(None, 2).take_characters(count)
        proof = press.page(text, dpi=50)
        assert proof.text.split() == text.split()
        assert proof.image.height == pytest.approx(842 / 72 * 50, abs=1)

    def test_a_text_that_no_page_holds(self, press: Press, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(density, "_SIZES", (60.0, 50.0))
        with pytest.raises(UsageError, match="do not fit on a page"):
            press.page(Words(None, 2).take_characters(1000))


class TestWords:
    def test_the_same_seed_gives_the_same_words(self) -> None:
        assert Words(None, 3).take(30) == Words(None, 3).take(30) != Words(None, 4).take(30)

    def test_those_of_a_text_that_can_be_printed(self, tmp_path: Path) -> None:
        text = f"fox жук fox {'-' * 120} hound"
        (tmp_path / "a.txt").write_text(text, encoding="utf-8")
        taken = load_words(tmp_path / "a.txt", 0).take(6)
        assert sorted(taken) == ["fox"] * 4 + ["hound"] * 2

    def test_bad_texts(self, tmp_path: Path) -> None:
        (tmp_path / "empty.txt").touch()
        (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(UsageError, match="no words to draw"):
            load_words(tmp_path / "empty.txt", 0)
        for name in ("binary.txt", "gone.txt"):
            with pytest.raises(UsageError, match="no text that can be read"):
                load_words(tmp_path / name, 0)


class TestPooling:
    def test_one_token_a_vector_is_no_loss(self) -> None:
        ids = torch.randint(0, 50, (40,)).tolist()
        assert pool_and_read(ids, torch.randn(50, 16), 40) == ids
        assert pool_and_read(ids, torch.randn(50, 16), 100) == ids

    def test_the_more_in_a_vector_the_more_is_lost(self) -> None:
        torch.manual_seed(0)
        ids, table = torch.randint(0, 50, (960,)).tolist(), torch.randn(50, 32)
        right = []
        for vectors in (480, 160, 40, 10):
            read = pool_and_read(ids, table, vectors)
            assert len(read) == len(ids)
            right.append(np.mean(np.array(read) == ids))
        assert right == sorted(right, reverse=True)
        assert right[0] > 0.95
        assert right[-1] < 0.3

    def test_the_order_is_kept(self) -> None:
        table = torch.randn(30, 256)
        assert pool_and_read([1, 2, 3, 4, 5], table, 2) == [1, 2, 3, 4, 5]
        assert pool_and_read([4, 3, 2, 1, 5], table, 2) == [4, 3, 2, 1, 5]


class TestStudy:
    def test_nano_reads_wide_letters_and_not_the_narrowest(self, of_nano: Study) -> None:
        assert of_nano.series == ("narrower", "coarser")
        wide, narrow = of_nano.of("narrower")
        assert wide.precision > 0.9 > 0.5 > narrow.precision
        assert narrow.characters_per_visual_token > 2 * wide.characters_per_visual_token
        assert wide.pooled_precision == 1
        assert wide.cer < 0.1 < narrow.cer
        assert 4 < wide.characters / wide.text_tokens < 8

    def test_models_of_views_read_each_mode(
        self, official_folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        small = replace(MODES["gundam"], page_px=128, tile_px=None)
        monkeypatch.setattr("lightseek.reader.find_mode", lambda name: replace(small, name=name))
        ocr = OCR(official_folder, device="cpu", dtype=torch.float32)
        found = study_compression(ocr, Words(None, 0), FEW)
        assert [row.setting for row in found.of("small")] == [
            "small, 20-30 tokens",
            "small, 40-60 tokens",
        ]
        assert [row.visual_tokens for row in found.rows] == [64, 64, 100, 100]
        # characters are this model's tokens, and words are counted in their place
        assert [row.text_tokens for row in found.of("tiny")] == pytest.approx([25, 50], abs=2)

    def test_a_model_of_whole_pages_has_one_mode_and_both_its_maps_count(
        self,
        tiny_base_model: LightSeekOCR,
        tiny_tokenizer: Tokenizer,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        save_model(tmp_path, tiny_base_model, tiny_tokenizer)
        small = replace(MODES["base"], page_px=128)
        monkeypatch.setattr("lightseek.reader.find_mode", lambda name: small)
        ocr = OCR(tmp_path, device="cpu", dtype=torch.float32)
        assert ocr.model.config.fusion == "sequence"
        found = study_compression(ocr, Words(None, 0), FEW)
        assert found.series == ("base",)
        assert [row.visual_tokens for row in found.rows] == [512, 512]

    def test_text_tokens(self, tiny_tokenizer: Tokenizer) -> None:
        assert compression.count_text_tokens("Its head, some.", tiny_tokenizer) == 5
        rust = RustTokenizer(models.WordLevel({w: i for i, w in enumerate(SPECIAL)}, "<pad>"))
        rust.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        pieces = Tokenizer(rust, pad="<pad>", bos="<bos>", eos="<eos>", image="<image>")
        assert compression.count_text_tokens("Its head, some.", pieces) == 3

    def test_precision_is_over_different_words(self) -> None:
        assert word_set_precision("a a b x", "b a") == 2 / 3
        assert word_set_precision("", "a") == 0
        assert word_set_precision("b a", "a b c") == 1


class TestPublished:
    def test_its_pages_are_a_hundred(self) -> None:
        assert sum(row.pages for row in FOX) == 100

    def test_its_compression_is_text_over_visual_tokens(self) -> None:
        for row in FOX:
            low, high = row.text_tokens
            for tokens, ratio in ((64, row.tiny_compression), (100, row.small_compression)):
                assert low <= ratio * tokens * 1.01
                assert ratio * tokens <= high * 1.01


class TestOutput:
    def test_the_page_of_the_documentation(self, of_nano: Study, tmp_path: Path) -> None:
        pytest.importorskip("matplotlib")
        marks = [
            f"<!-- {name}: {end} -->" for name in ("ours", "paper") for end in ("begin", "end")
        ]
        (tmp_path / "figures").mkdir()
        (tmp_path / "compression.md").write_text("\n".join(["before", *marks, "after"]))
        (tmp_path / "found.json").write_text(of_nano.to_json())
        arguments = [str(tmp_path / "found.json"), "--docs", str(tmp_path)]
        for _ in range(2):
            result = CliRunner().invoke(SCRIPT["main"], arguments)
            assert result.exit_code == 0, result.output
        page = (tmp_path / "compression.md").read_text()
        assert page.startswith("before\n")
        assert page.endswith("\nafter")
        assert page.count(of_nano.to_markdown()) == page.count(published_markdown()) == 1
        with Image.open(tmp_path / "figures" / "compression.png") as plot:
            assert plot.width == 1100

    def test_a_plot_without_strips(self, of_nano: Study, tmp_path: Path) -> None:
        pytest.importorskip("matplotlib")
        rows = tuple(r.model_copy(update={"series": "tiny"}) for r in of_nano.of("narrower"))
        draw_chart(of_nano.model_copy(update={"rows": rows}), tmp_path / "a.png")
        with Image.open(tmp_path / "a.png") as plot:
            assert np.asarray(plot).std() > 0

    def test_every_figure_stands_in_its_column(self, of_nano: Study) -> None:
        row = of_nano.rows[0].model_copy(
            update={"setting": "so", "precision": 0.91, "cer": 0.12, "pooled_precision": 0.53}
        )
        told = of_nano.model_copy(update={"rows": (row,)}).to_markdown().splitlines()
        head = next(line for line in told if "CER %" in line).split("|")
        cells = dict(zip(map(str.strip, head), map(str.strip, told[-1].split("|")), strict=True))
        assert (cells["print"], cells["precision %"], cells["CER %"]) == ("so", "91.0", "12.0")
        assert cells["pooled: precision %"] == "53.0"
        assert "| 600-700 | 96.5 | 10.5x | 98.5 | 6.7x | 7 |" in published_markdown()

    def test_json_comes_back(self, of_nano: Study) -> None:
        again = json.loads(of_nano.to_json())
        assert again["rows"][0]["compression"] == of_nano.rows[0].compression
        assert Study.model_validate_json(of_nano.to_json()) == of_nano

    def test_lines_of_csv(self, of_nano: Study) -> None:
        rows = list(csv.DictReader(of_nano.to_csv().splitlines()))
        assert [row["setting"] for row in rows] == [row.setting for row in of_nano.rows]
        assert float(rows[0]["compression"]) == of_nano.rows[0].compression

    def test_the_command(
        self, of_nano: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pytest.importorskip("matplotlib")
        monkeypatch.setattr(compression, "study_compression", lambda *a, **k: of_nano)
        monkeypatch.setattr("lightseek.cli.console.load_reader", lambda *a: None)
        result = CliRunner().invoke(main, ["study", "compression", "-o", str(tmp_path / "out")])
        assert result.exit_code == 0, result.output
        assert "letters 40% wide" in result.stdout
        names = {path.name for path in (tmp_path / "out").iterdir()}
        assert names == {"compression.json", "compression.csv", "compression.png"}

    def test_a_text_that_is_not_there(self, tmp_path: Path) -> None:
        pytest.importorskip("matplotlib")
        options = ["--text", str(tmp_path / "gone.txt"), "-o", str(tmp_path / "out")]
        result = CliRunner().invoke(main, ["study", "compression", *options])
        assert result.exit_code == 2
        assert "gone.txt is no text that can be read" in result.stderr
        assert not (tmp_path / "out").exists()
