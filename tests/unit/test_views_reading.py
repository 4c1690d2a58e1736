"""Pages read by a tiny model of the official family, from file to document."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from lightseek import OCR
from lightseek import ocr as ocr_module
from lightseek.cli import main
from lightseek.document import Box, Document, Page, Region, Status
from lightseek.errors import ModelError, UsageError
from lightseek.figures import crop_figures
from lightseek.grounding import PROMPTS
from lightseek.info import describe
from lightseek.model import LightSeekOCR
from lightseek.ngrams import NgramBan
from lightseek.ocr import Reading
from lightseek.reader import (
    Answer,
    encode_pages,
    find_look,
    make_prompt,
    read_views,
    to_colour_views,
)
from lightseek.tokenizer import OFFICIAL, Tokenizer, character_tokenizer
from lightseek.views import MODES, Grid, PageViews, View, make_views, num_positions
from lightseek.weights import save_model

SMALL = replace(MODES["gundam"], page_px=128, tile_px=64)
"""Gundam with views that are quick to encode."""


def picture(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def ocr(official_folder: Path) -> OCR:
    return OCR(official_folder, device="cpu", dtype=torch.float32)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every mode sees little."""
    monkeypatch.setattr("lightseek.reader.find_mode", lambda name: replace(SMALL, name=name))


class TestPreparation:
    def test_pixels_are_normed_by_the_published_rule(self) -> None:
        page = picture(64, 128)
        rule = (np.asarray(page, np.float64).transpose(2, 0, 1) / 255 - 0.5) / 0.5
        np.testing.assert_allclose(to_colour_views([page, page])[1], rule, atol=1e-6)

    @pytest.mark.parametrize("size", [(64, 64), (100, 120), (300, 100)])
    @torch.inference_mode()
    def test_a_page_takes_the_positions_that_its_mode_says(
        self, ocr: OCR, size: tuple[int, int]
    ) -> None:
        views = make_views(picture(*size), SMALL)
        assert len(encode_pages(ocr.model, [views])[0]) == num_positions(SMALL, views.grid)

    @torch.inference_mode()
    def test_tiles_come_first_then_the_page_then_the_separator(self, ocr: OCR) -> None:
        """Each sheet row by row across its tiles, a row end after each row."""
        tiles = torch.arange(6.0).repeat_interleave(4).view(6, 2, 2, 1).expand(-1, -1, -1, 32)
        page = torch.full((3, 3, 32), 9.0)
        model = ocr.model
        assert model.row_end is not None
        assert model.view_separator is not None
        found = model.lay_out(tiles, Grid(cols=3, rows=2), page)
        row_end, separator = model.row_end[0].item(), model.view_separator[0].item()
        upper, lower = [0, 0, 1, 1, 2, 2, row_end], [3, 3, 4, 4, 5, 5, row_end]
        expected = upper * 2 + lower * 2 + [9, 9, 9, row_end] * 3 + [separator]
        assert found[:, 0].tolist() == pytest.approx(expected)
        alone = model.lay_out(None, Grid(1, 1), page)
        assert torch.equal(alone, found[-13:])

    @torch.inference_mode()
    def test_the_page_stands_where_the_prompt_says(self, ocr: OCR) -> None:
        views = make_views(picture(64, 64), SMALL)
        tokenizer, visual = ocr.tokenizer, encode_pages(ocr.model, [views])[0]
        found = make_prompt(ocr.model, tokenizer, visual, "ab<image>c")[0]
        ids = [tokenizer.bos_id, *tokenizer.encode("ab")]
        assert torch.equal(found[:3], ocr.model.embedding.weight[ids])
        assert torch.equal(found[3:-1], visual)
        assert torch.equal(found[-1:], ocr.model.embedding.weight[tokenizer.encode("c")])


class TestEncoding:
    @torch.inference_mode()
    def test_views_of_one_size_go_through_the_encoder_together(
        self, ocr: OCR, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pages = [make_views(picture(*size), SMALL) for size in [(60, 60), (200, 100), (100, 300)]]
        num_tiles = sum(len(views.tiles) for views in pages)
        alone = [encode_pages(ocr.model, [views])[0] for views in pages]
        batches: list[tuple[int, ...]] = []
        with ocr.model.encoder.register_forward_pre_hook(
            lambda module, given: batches.append((len(given[0]), given[0].shape[-1]))
        ):
            together = encode_pages(ocr.model, pages)
            assert sorted(batches) == [(3, 128), (num_tiles, 64)]
            batches.clear()
            monkeypatch.setattr("lightseek.reader.ENCODED_VIEW_PX", 2 * 128 * 128)
            encode_pages(ocr.model, pages)
        assert sorted(batches) == [(1, 128), (2, 128), (num_tiles - 8, 64), (8, 64)]
        for found, expected in zip(together, alone, strict=True):
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


class TestLooks:
    def look(self, ocr: OCR, **asked: Any) -> Any:
        return find_look(ocr.model, ocr.tokenizer, **asked)

    def test_published_defaults(self, ocr: OCR) -> None:
        look = self.look(ocr)
        assert look.prompt == "<image>\n<|grounding|>Convert the document to markdown."
        assert look.mode == replace(SMALL, name="gundam")
        assert self.look(ocr, max_tiles=4).mode.max_tiles == 4
        assert look.decoding.max_tokens == 8192
        assert look.decoding.temperature == 0
        assert look.decoding.ban == NgramBan(size=30, window=90)

    def test_those_of_unlimited_ocr(self, ocr: OCR, tmp_path: Path) -> None:
        decoder = replace(ocr.model.config.decoder, sliding_window=128, max_positions=32768)
        model = LightSeekOCR(replace(ocr.model.config, decoder=decoder))
        look = find_look(model, special_tokenizer(tmp_path))
        assert look.prompt == "<image>document parsing."
        assert look.decoding.ban == NgramBan(size=35, window=128)
        assert look.decoding.max_tokens == 32768
        assert look.mode.max_tiles == 32

    def test_another_ban(self, ocr: OCR) -> None:
        assert self.look(ocr, ngram="20/50").decoding.ban == NgramBan(size=20, window=50)
        assert self.look(ocr, ngram="off").decoding.ban is None
        for wrong in ("20", "20/", "a/b", "50/20", "0/5"):
            with pytest.raises(UsageError, match=r"ngram is|holds no"):
                self.look(ocr, ngram=wrong)

    def test_table_cells_may_repeat(self, ocr: OCR, tmp_path: Path) -> None:
        look = find_look(ocr.model, special_tokenizer(tmp_path))
        assert look.decoding.ban is not None
        ids = special_tokenizer(tmp_path).ids
        assert look.decoding.ban.except_ids == {ids["<td>"], ids["</td>"]}

    @pytest.mark.parametrize(
        ("asked", "message"),
        [
            ({"prompt": "Free OCR."}, "needs one <image>"),
            ({"prompt": ""}, "needs one <image>"),
            ({"max_tokens": 0}, "max_tokens"),
            ({"max_tiles": 1}, "allow 2 or more"),
        ],
    )
    def test_what_makes_no_sense_is_refused(
        self, ocr: OCR, asked: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(UsageError, match=message):
            self.look(ocr, **asked)

    def test_an_unknown_mode(self, ocr: OCR, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.undo()
        with pytest.raises(UsageError, match="no mode 'huge': choose one of blocks, tiny"):
            ocr.read(picture(9, 9), mode="huge")
        with pytest.raises(UsageError, match="mode base has no tiles"):
            ocr.read(picture(9, 9), mode="base", max_tiles=3)


def special_tokenizer(folder: Path) -> Tokenizer:
    """Characters, and special tokens as those of the official family."""
    from tokenizers import Tokenizer as RustTokenizer

    path = folder / "tokenizer.json"
    character_tokenizer("abc").save(path)
    rust = RustTokenizer.from_file(str(path))
    rust.add_special_tokens([*OFFICIAL.values(), "<|grounding|>", "<|det|>", "<td>", "</td>"])
    rust.save(str(path))
    return Tokenizer.from_folder(folder)


class TestOfficialTokens:
    def test_their_names_are_found(self, tmp_path: Path) -> None:
        tokenizer = special_tokenizer(tmp_path)
        assert tokenizer.bos_id == tokenizer.ids["<｜begin▁of▁sentence｜>"]
        assert tokenizer.eos_id == tokenizer.ids["<｜end▁of▁sentence｜>"]

    def test_prompts_mean_them_and_text_does_not(self, tmp_path: Path) -> None:
        tokenizer = special_tokenizer(tmp_path)
        mark = tokenizer.ids["<|grounding|>"]
        assert tokenizer.encode_prompt("a<|grounding|>b<|grounding|>") == [
            tokenizer.ids["a"],
            mark,
            tokenizer.ids["b"],
            mark,
        ]
        assert mark not in tokenizer.encode("a<|grounding|>b")

    def test_marks_are_kept_and_ends_are_not(self, tmp_path: Path) -> None:
        tokenizer = special_tokenizer(tmp_path)
        ids = [tokenizer.ids[t] for t in ("a", "<|det|>", "<td>", "b")]
        ids += [tokenizer.image_id, tokenizer.eos_id]
        assert tokenizer.decode_marked(ids) == "a<|det|><td>b"
        assert tokenizer.ends_marked(ids) == [1, 8, 12, 13, 13, 13]
        assert tokenizer.decode(ids) == "ab"


class TestReading:
    def test_an_answer_becomes_a_page(self, ocr: OCR, monkeypatch: pytest.MonkeyPatch) -> None:
        said = "<|ref|>title<|/ref|><|det|>[[0, 0, 999, 500]]<|/det|>\n# Foxes\n"
        said += "<|ref|>image<|/ref|><|det|>[[0, 500, 999, 999]]<|/det|>"
        monkeypatch.setattr(ocr_module, "read_views", lambda *args: [Answer(said, True)])
        document = ocr.read(picture(100, 200))
        assert document.markdown == "# Foxes\n"
        [page] = document.pages
        assert (page.status, page.reason, page.width, page.height) == (Status.OK, None, 100, 200)
        assert [region.label for region in page.regions] == ["title", "image"]
        assert page.regions[1].box == pytest.approx(Box(0, 100.1, 100, 200), abs=0.1)
        assert Document.from_json(document.to_json()) == document

    def test_regions_and_pages_say_how_sure_they_are(
        self, ocr: OCR, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tokens = ["<|det|>", "title [0, 0, 9, 9]", "<|/det|>", "# Red", " foxes", "\n"]
        tokens += ["<|det|>", "image [0, 0, 9, 9]", "<|/det|>", "<|det|>", "[[1,"]
        tokens += ["<|/det|>", "", " no boxes here"]
        sure = dict.fromkeys(range(len(tokens)), 0.01) | {3: 0.9, 4: 0.7, 12: 0.2, 13: 0.4}
        ends = [len("".join(tokens[: i + 1])) for i in range(len(tokens))]
        answer = Answer("".join(tokens), True, ends, list(sure.values()))
        monkeypatch.setattr(ocr_module, "read_views", lambda *args: [answer])
        [page] = ocr.read(picture(100, 200)).pages
        assert [r.written for r in page.regions] == ["# Red foxes", "", "no boxes here"]
        assert [r.confidence for r in page.regions] == [pytest.approx(0.8), None, 0.4]
        assert page.confidence == pytest.approx((3 * 0.8 + 3 * 0.4) / 6)

    def test_what_was_written_is_as_sure_as_its_tokens(self, ocr: OCR) -> None:
        look = find_look(ocr.model, ocr.tokenizer, prompt="free", max_tokens=5)
        [answer] = read_views(
            ocr.model, ocr.tokenizer, [make_views(picture(64, 64), look.mode)], look
        )
        assert answer.ends[-1] == len(answer.text)
        assert all(0 < probability < 1 for probability in answer.probabilities)
        everything = answer.confidence(0, len(answer.text))
        assert everything == pytest.approx(sum(answer.probabilities) / 5)

    def test_a_page_at_its_limit_is_truncated_and_kept(self, ocr: OCR) -> None:
        [page] = ocr.read(picture(100, 200), max_tokens=5, prompt="free").pages
        assert page.status is Status.TRUNCATED
        assert page.reason is not None
        assert "limit of tokens" in page.reason
        assert 1 <= len(page.text) <= 5

    def test_many_files_in_order_and_failures_in_place(self, ocr: OCR, tmp_path: Path) -> None:
        (tmp_path / "empty.png").touch()
        sources = [picture(80, 90), tmp_path / "empty.png", picture(90, 80)]
        reading = Reading(max_tokens=3, prompt="free", max_tiles=4)
        first, broken, last = ocr.read_all(sources, reading=reading)
        assert [d.pages[0].width for d in (first, last)] == [80, 90]
        assert broken.pages[0].status is Status.FAILED
        [alone] = ocr.read(sources[0], **asked()).pages
        assert first.text == alone.text + "\n"
        assert first.pages[0].confidence == pytest.approx(alone.confidence, rel=1e-4)

    def test_text_is_what_the_model_writes(self, ocr: OCR) -> None:
        """Token by token, without cache: the likeliest after all that stands before."""
        page, tokenizer, model = picture(64, 64), ocr.tokenizer, ocr.model
        look = find_look(model, tokenizer, prompt="free", max_tokens=6)
        views = make_views(page, look.mode)
        with torch.inference_mode():
            [visual], written = encode_pages(model, [views]), []
            x = make_prompt(model, tokenizer, visual, look.prompt)
            for _ in range(6):
                positions = torch.arange(x.shape[1])[None]
                causal = torch.full((x.shape[1],) * 2, float("-inf")).triu(1)
                hidden = model.decoder(x, model.decoder.rotary(positions, x), causal)
                written.append(int(model.predict(hidden[:, -1]).what.argmax()))
                x = torch.cat([x, model.embedding.weight[written[-1]][None, None]], dim=1)
        [answer] = read_views(model, tokenizer, [views], look)
        assert answer.text == tokenizer.decode_marked(written)

    def test_a_page_that_fills_the_context_fails_and_no_other(
        self, ocr: OCR, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        decoder = replace(ocr.model.config.decoder, max_positions=40)
        model = LightSeekOCR(replace(ocr.model.config, decoder=decoder)).eval()
        monkeypatch.setattr(ocr, "model", model)

        def look_closely(image: Image.Image, mode: Any) -> PageViews:
            return PageViews(tiles=(), grid=Grid(1, 1), page=View(image, np.eye(2, 3), image.size))

        monkeypatch.setattr(ocr_module, "make_views", look_closely)
        pages = [picture(128, 128), picture(384, 384), picture(128, 64)]
        read = [*ocr.read_all(pages, reading=Reading(prompt="free"))]
        assert [d.ok for d in read] == [True, False, True]
        assert "and the model has 40: choose a smaller mode" in str(read[1].pages[0].reason)
        assert (read[1].pages[0].width, read[1].pages[0].height) == (384, 384)

    @pytest.mark.parametrize("window", [None, 3])
    def test_pages_together_say_what_each_says_alone(self, ocr: OCR, window: int | None) -> None:
        """Of other shapes, so that prompts differ in length and in the room that they leave."""
        decoder = replace(ocr.model.config.decoder, max_positions=62, sliding_window=window)
        model = LightSeekOCR(replace(ocr.model.config, decoder=decoder)).eval()
        model.load_state_dict(ocr.model.state_dict())
        look = find_look(model, ocr.tokenizer, prompt="free")
        sizes = [(60, 60), (200, 100), (60, 50), (100, 300)]
        pages = [make_views(picture(*size), SMALL) for size in sizes]
        assert len({len(views.tiles) for views in pages}) >= 3
        together = read_views(model, ocr.tokenizer, pages, look)
        alone = [read_views(model, ocr.tokenizer, [views], look)[0] for views in pages]
        for found, expected in zip(together, alone, strict=True):
            assert (found.text, found.finished) == (expected.text, expected.finished)
            assert found.ends == expected.ends
            assert found.probabilities == pytest.approx(expected.probabilities, rel=1e-4)
        assert len({len(answer.text) for answer in together}) >= 2

    @pytest.mark.parametrize("batch", [1, 2, 8])
    def test_batches_are_no_larger_than_asked_for(
        self, ocr: OCR, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
    ) -> None:
        sizes: list[int] = []

        def read(model: Any, tokenizer: Any, pages: list[PageViews], look: Any) -> list[Answer]:
            sizes.append(len(pages))
            return [Answer(str(views.page.page_size), True) for views in pages]

        monkeypatch.setattr(ocr_module, "read_views", read)
        (tmp_path / "empty.png").touch()
        sources: list[Any] = [picture(80 + i, 90) for i in range(5)]
        sources.insert(2, tmp_path / "empty.png")
        documents = list(ocr.read_all(sources, reading=Reading(batch=batch)))
        assert [d.pages[0].width for d in documents] == [80, 81, 0, 82, 83, 84]
        assert [d.text.strip() for d in documents if d.ok] == [str((80 + i, 90)) for i in range(5)]
        assert (sum(sizes), max(sizes)) == (5, min(batch, 5))

    def test_a_batch_of_none_is_refused(self, ocr: OCR) -> None:
        with pytest.raises(UsageError, match="starts at 1"):
            ocr.read(picture(9, 9), batch=0)

    def test_a_model_of_strips_takes_no_prompt(
        self, tiny_model: LightSeekOCR, tiny_tokenizer: Tokenizer, tmp_path: Path
    ) -> None:
        save_model(tmp_path, tiny_model, tiny_tokenizer)
        with pytest.raises(UsageError, match="takes no prompt"):
            OCR(tmp_path).read(picture(9, 9), prompt="free")

    def test_a_model_of_neither_kind_is_refused(
        self, tiny_config: Any, tiny_tokenizer: Tokenizer, tmp_path: Path
    ) -> None:
        bare = replace(tiny_config, decoder=replace(tiny_config.decoder, place=None))
        save_model(tmp_path, LightSeekOCR(bare), tiny_tokenizer)
        with pytest.raises(ModelError, match="no place heads"):
            OCR(tmp_path)


def asked() -> dict[str, Any]:
    return {"max_tokens": 3, "prompt": "free", "max_tiles": 4}


class TestFigures:
    @pytest.fixture
    def document(self) -> Document:
        def region(label: str, box: Box, written: str = "") -> Region:
            return Region(label=label, lines=(), box=box, written=written)

        regions = (
            region("text", Box(0, 0, 50, 50), "words"),
            region("image", Box(10.4, 20.6, 30.2, 60)),
            region("chart", Box(0, 0, 100, 100), "a | b"),
            region("figure", Box(5, 5, 5, 80)),
        )
        page = Page(number=1, width=100, height=200, status=Status.OK, regions=regions)
        return Document(source="a.png", pages=(page,))

    def test_links_to_them_are_links_whatever_the_name(
        self, document: Document, tmp_path: Path
    ) -> None:
        target = tmp_path / "my scan (1)"
        shown = crop_figures(document, picture(100, 200), target, beside=tmp_path)
        assert "![image](my%20scan%20%281%29-1-2.png)" in shown.markdown

    def test_are_cut_out_and_shown(self, document: Document, tmp_path: Path) -> None:
        image = picture(100, 200)
        (tmp_path / "figures").mkdir()
        shown = crop_figures(document, image, tmp_path / "figures" / "a", beside=tmp_path)
        names = sorted(path.name for path in (tmp_path / "figures").iterdir())
        assert names == ["a-1-2.png", "a-1-3.png"], "what has no width cannot be shown"
        crop = Image.open(tmp_path / "figures" / "a-1-2.png")
        assert np.array_equal(np.asarray(crop), np.asarray(image)[21:60, 10:30])
        assert shown.markdown == (
            "words\n\n![image](figures/a-1-2.png)\n\n![chart](figures/a-1-3.png)\n\na | b\n"
        )

    def test_without_any_nothing_is_opened(self, tmp_path: Path) -> None:
        empty = Document(source="gone", pages=())
        assert crop_figures(empty, tmp_path / "gone", tmp_path / "x", beside=tmp_path) is empty


class TestCommandLine:
    def test_read(self, official_folder: Path, tmp_path: Path) -> None:
        picture(90, 80).save(tmp_path / "a.png")
        options = ["--model", str(official_folder), "--device", "cpu", "--max-tokens", "4"]
        options += ["--prompt", "free", "--mode", "gundam", "--max-tiles", "2", "-f", "json"]
        options += ["--figures", str(tmp_path / "figures")]
        result = CliRunner().invoke(main, ["read", str(tmp_path / "a.png"), *options])
        assert result.exit_code == 0
        assert json.loads(result.stdout)["pages"][0]["status"] == "truncated"

    def test_a_prompt_without_a_page(self, tmp_path: Path) -> None:
        """Said before a model is looked for."""
        options = ["--model", str(tmp_path / "gone"), "--prompt", "Read!"]
        result = CliRunner().invoke(main, ["read", str(tmp_path / "a.png"), *options])
        assert result.exit_code == 2
        assert "a prompt needs one <image>" in result.stderr

    @pytest.mark.parametrize(
        ("wrong", "said"),
        [
            (["--mode", "huge"], "choose one of"),
            (["--ngram", "9"], "write SIZE/WINDOW"),
            (["--pages", "one"], "write for example 1-3,7"),
            (["--pages", "3-1"], "they count up from 1"),
        ],
    )
    def test_a_slip_is_told_before_a_model_is_looked_for(
        self, tmp_path: Path, wrong: list[str], said: str
    ) -> None:
        options = ["--model", str(tmp_path / "gone"), *wrong]
        result = CliRunner().invoke(main, ["read", str(tmp_path / "a.png"), *options])
        assert result.exit_code == 2
        assert said in result.stderr

    def test_a_figure_that_cannot_be_saved_costs_no_text(
        self, official_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        said = "# Foxes\n<|ref|>image<|/ref|><|det|>[[0, 500, 999, 999]]<|/det|>"
        monkeypatch.setattr(ocr_module, "read_views", lambda *args: [Answer(said, True)])
        for name in ("a", "b"):
            picture(90, 80).save(tmp_path / f"{name}.png")
        figures, out = tmp_path / "figures", tmp_path / "out"
        (figures / "a-1-2.png").mkdir(parents=True)
        files = [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
        options = ["--model", str(official_folder), "--device", "cpu", "--batch", "1"]
        options += ["--figures", str(figures), "-o", str(out)]
        result = CliRunner().invoke(main, ["read", *files, *options])
        assert result.exit_code == 1
        assert f"figures of {files[0]} cannot be saved" in result.stderr
        assert (out / "a.md").read_text(encoding="utf-8").strip() == "# Foxes"
        assert "![image](" in (out / "b.md").read_text(encoding="utf-8")

    def test_line_ends_of_a_prompt_in_the_quotes_of_a_shell(
        self, official_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[str] = []
        monkeypatch.setattr(ocr_module, "read_views", lambda *args: asked.append(args[3].prompt))
        picture(90, 80).save(tmp_path / "a.png")
        options = ["--model", str(official_folder), "--device", "cpu"]
        prompt = r"<image>\nFree OCR."
        CliRunner().invoke(main, ["read", str(tmp_path / "a.png"), *options, "--prompt", prompt])
        assert asked == [PROMPTS["free"]]

    def test_eval_asks_what_is_said(self, official_folder: Path, tmp_path: Path) -> None:
        picture(90, 80).save(tmp_path / "a.png")
        (tmp_path / "a.txt").write_text("text", encoding="utf-8")
        command = ["eval", str(tmp_path), "--model", str(official_folder), "--device", "cpu"]
        asked: list[str] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ocr_module, "read_views", lambda *args: asked.append(args[3].prompt))
            CliRunner().invoke(main, command)
            CliRunner().invoke(main, [*command, "--prompt", "free"])
        assert asked == [PROMPTS["markdown"], PROMPTS["free"]]

    def test_figures_of_standard_input(self, tmp_path: Path) -> None:
        result = CliRunner().invoke(main, ["read", "-", "--figures", str(tmp_path)])
        assert result.exit_code == 2
        assert "standard input" in result.stderr

    def test_info_as_json(self) -> None:
        result = CliRunner().invoke(main, ["info", "deepseek-ocr", "--json"])
        card = json.loads(result.stdout)
        assert (card["parameters"], card["tensors"]) == (3_336_106_240, 2_710)
        assert card["active_parameters"] == 574_127_360
        assert card["dtype"] == "bfloat16"
        assert card["memory"] == {"bfloat16": 6_672_212_480, "float32": 13_344_424_960}
        assert sum(part["parameters"] for part in card["parts"].values()) == card["parameters"]
        assert sum(part["tensors"] for part in card["parts"].values()) == card["tensors"]
        assert card["parts"]["clip"] == {"parameters": 303_177_728, "tensors": 293}
        assert next(iter(card["modes"])) == "gundam"
        assert card["modes"]["gundam"]["positions"] == [273, 1263]
        assert card["modes"]["tiny"]["visual_tokens"] == [64, 64]

    def test_info_for_people(self, official_folder: Path) -> None:
        result = CliRunner().invoke(main, ["info", str(official_folder)])
        assert result.exit_code == 0
        assert "deepseek-ocr" in result.stdout
        assert "mode gundam" in result.stdout

    def test_info_of_what_is_not_there(self) -> None:
        result = CliRunner().invoke(main, ["info", "nowhere"])
        assert result.exit_code == 2
        assert "no model nowhere" in result.stderr


def test_a_card_counts_what_the_folder_holds(
    tiny_model: LightSeekOCR, tiny_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    save_model(tmp_path, tiny_model, tiny_tokenizer)
    card = describe(str(tmp_path))
    assert card.parameters == sum(p.numel() for p in tiny_model.parameters())
    assert (card.dtype, card.modes) == ("bfloat16", {"blocks": None})
    assert "mode blocks" in card.to_text()
    assert card.active_parameters < card.parameters


def test_a_card_of_broken_files_is_refused(official_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((official_folder / "config.json").read_bytes())
    whole = (official_folder / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[:-1])
    with pytest.raises(ModelError, match="broken or cut off"):
        describe(str(tmp_path))
