"""What is shown of reading is what happened when the page was read."""

import base64
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image, ImageDraw
from tokenizers import Tokenizer as RustTokenizer
from tokenizers import decoders, models, pre_tokenizers

from lightseek import OCR
from lightseek.attention import attend
from lightseek.cli import main
from lightseek.decoder import DeepDecoder
from lightseek.document import Box
from lightseek.encoder import Encoded
from lightseek.errors import UsageError
from lightseek.explain import Explanation, Gaze, explain
from lightseek.explain.attention import (
    find_gazes,
    follow,
    mean_weights,
    telling,
    token_spans,
    tokens_of,
    watched,
)
from lightseek.explain.pictures import Canvas, Palette, WordPictures, paint_features
from lightseek.explain.report import to_data, write_report
from lightseek.explain.sight import Seen, find_sight, strips_with_words
from lightseek.generate import Decoding, generate
from lightseek.model import LightSeekOCR
from lightseek.ocr import Reading
from lightseek.tokenizer import Tokenizer
from lightseek.views import MODES

EXAMPLES = Path(__file__).parents[2] / "examples"
ASKED = Reading(prompt="free", max_tokens=8)


def picture(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def nano() -> OCR:
    return OCR(device="cpu", dtype=torch.float32)


@pytest.fixture(scope="module")
def letter() -> Image.Image:
    """Its head, some columns and a sentence."""
    return Image.open(EXAMPLES / "letter.png").convert("RGB").crop((0, 0, 1241, 640))


@pytest.fixture(scope="module")
def told(nano: OCR, letter: Image.Image) -> Explanation:
    return explain(nano, letter)


@pytest.fixture
def official(official_folder: Path, monkeypatch: pytest.MonkeyPatch) -> OCR:
    """A tiny model whose modes see little."""
    small = replace(MODES["gundam"], page_px=128, tile_px=64)
    monkeypatch.setattr("lightseek.reader.find_mode", lambda name: replace(small, name=name))
    return OCR(official_folder, device="cpu", dtype=torch.float32)


class TestStrips:
    def test_every_word_has_its_strip(self, nano: OCR, letter: Image.Image) -> None:
        page = nano.read(letter).pages[0]
        split = list(strips_with_words(letter, page))
        assert tuple(word for _, words in split for word in words) == page.words
        for strip, words in split:
            assert all(strip.box.iou(word.box) > 0 for word in words)

    def test_a_page_on_its_side_is_shown_upright(
        self, nano: OCR, letter: Image.Image, told: Explanation
    ) -> None:
        found = explain(nano, letter.transpose(Image.Transpose.ROTATE_90))
        assert found.image.size == letter.size
        assert [gaze.text for gaze in found.gazes] == [gaze.text for gaze in told.gazes]

    def test_a_line_of_several_strips(self, nano: OCR) -> None:
        page = Image.new("RGB", (1700, 60), "white")
        draw = ImageDraw.Draw(page)
        draw.text((10, 20), "the quick brown fox jumps over a lazy dog " * 6, "black", font_size=22)
        read = nano.read(page).pages[0]
        split = list(strips_with_words(page, read))
        assert len([words for _, words in split if words]) > 1
        assert tuple(word for _, words in split for word in words) == read.words

    def test_prompts_hold_their_visual_tokens(self, told: Explanation, nano: OCR) -> None:
        by_first = {seen.first: seen for seen in told.sight.views}
        for passage in told.sight.passages:
            tokens = nano.model.place_tokens(by_first[passage.first].encoded.tokens)[0]
            assert torch.equal(passage.prompt[0, passage.spots[0]], tokens)

    def test_what_is_followed_is_what_was_read(
        self, told: Explanation, nano: OCR, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The pass is that of reading: it would write the same text again."""
        passage = max(told.sight.passages, key=lambda p: len(p.text))
        states = []
        forward = DeepDecoder.forward

        def keep(self: DeepDecoder, *given: object) -> object:
            states.append(forward(self, *given))  # type: ignore[arg-type]
            return states[-1]

        monkeypatch.setattr(DeepDecoder, "forward", keep)
        follow(nano.model, nano.tokenizer, passage)
        with torch.inference_mode():
            ids = nano.model.predict(states[-1][0]).what.argmax(-1)
        assert nano.tokenizer.decode(ids[-len(passage.text) :].tolist()) == passage.text

    def test_words_are_looked_at_where_they_stand(self, told: Explanation) -> None:
        views = {seen.first: seen for seen in told.sight.views}
        hits = []
        for gaze in told.gazes:
            seen = views[gaze.first]
            assert gaze.box is not None
            assert 0 < gaze.weights["page"].sum() <= 1 + 1e-5
            column = int(gaze.weights["page"].argmax()) % seen.cols
            view_x = np.array([column * 64, column * 64 + 64])
            left, right = seen.to_page[0, 0] * view_x + seen.to_page[0, 2]
            hits.append(left - 5 < gaze.box.right and gaze.box.left < right + 5)
        assert np.mean(hits) > 0.9


class TestViews:
    @pytest.mark.parametrize("size", [(64, 64), (100, 120), (300, 100)])
    def test_prompts_hold_their_visual_tokens(self, official: OCR, size: tuple[int, int]) -> None:
        page = official.read(picture(*size), prompt="free", max_tokens=8).pages[0]
        sight = find_sight(official.model, official.tokenizer, picture(*size), page, ASKED)
        tokens = torch.cat([seen.encoded.tokens.flatten(0, 2) for seen in sight.views])
        assert [seen.first for seen in sight.views] == np.cumsum(
            [0, *(seen.size for seen in sight.views[:-1])]
        ).tolist()
        for passage in sight.passages:
            torch.testing.assert_close(passage.prompt[0, passage.spots[0]], tokens)

    def test_tiles_lie_side_by_side_on_the_page(self, official: OCR) -> None:
        page = official.read(picture(300, 100), prompt="free", max_tokens=2).pages[0]
        views = find_sight(official.model, official.tokenizer, picture(300, 100), page, ASKED).views
        tiles = [seen.box for seen in views if seen.kind == "tile"]
        assert sum(box.width * box.height for box in tiles) == pytest.approx(300 * 100)
        assert views[-1].kind == "page"
        assert views[-1].box == pytest.approx(Box(0, 0, 300, 100))

    def test_attention_is_that_of_each_step(self, official: OCR) -> None:
        """Collected in one pass over the text, it is that of writing token by token."""
        image = picture(100, 120)
        page = official.read(image, prompt="free", max_tokens=8).pages[0]
        sight = find_sight(official.model, official.tokenizer, image, page, ASKED)
        [passage] = sight.passages
        words, weights = follow(official.model, official.tokenizer, passage)
        assert words == passage.text.split()
        ids = official.tokenizer.encode(passage.text)
        steps = self.attention_of_steps(official.model, passage.prompt, ids)
        _, spans = token_spans(official.tokenizer, ids)
        end = len(words[0])
        first = passage.text.index(words[0])
        own = steps[:, tokens_of(spans, (first, first + end))].mean(1)
        torch.testing.assert_close(weights[:, 0, 0], own[:, passage.spots[0]])

    @torch.inference_mode()
    def attention_of_steps(
        self, model: LightSeekOCR, prompt: torch.Tensor, ids: list[int]
    ) -> torch.Tensor:
        steps = []
        for i in range(len(ids)):
            told = model.embedding.weight[ids[:i]][None]
            x = torch.cat([prompt, told], dim=1)
            causal = torch.full((x.shape[1],) * 2, float("-inf")).triu(1)
            with watched(x.shape[1] - 1) as seen:
                model.decoder(x, model.decoder.rotary(torch.arange(x.shape[1])[None], x), causal)
            steps.append(torch.stack([layer[0, 0, : prompt.shape[1]] for layer in seen]))
        return torch.stack(steps, dim=1)

    def test_the_command(self, official_folder: Path, official: OCR, tmp_path: Path) -> None:
        picture(100, 120).save(tmp_path / "a.png")
        options = ["--model", str(official_folder), "--device", "cpu", "--max-tokens", "6"]
        options += ["-o", str(tmp_path / "out"), "--gif"]
        result = CliRunner().invoke(main, ["explain", str(tmp_path / "a.png"), *options])
        assert result.exit_code == 0, result.output
        files = {path.name for path in (tmp_path / "out").iterdir()}
        stages = ("sam", "compressed", "clip")
        pictures = {f"{stage}{kind}.png" for stage in stages for kind in ("", "-tiles")}
        assert files == {"index.html", "words", "words.gif"} | pictures


class TestAttention:
    def test_weights_are_those_of_attend(self) -> None:
        query, key = torch.randn(2, 1, 300, 4), torch.randn(2, 1, 300, 4)
        value, bias = torch.randn(2, 1, 300, 4), torch.zeros(300, 300).fill_(-1).tril()
        weights = mean_weights(query, key, bias, 7)
        torch.testing.assert_close(weights @ value[:, 0], attend(query, key, value, bias)[:, 0, 7:])

    def test_reading_is_left_as_it_was(self, tiny_model: LightSeekOCR) -> None:
        prompt = torch.randn(1, 5, 32)
        before = generate(tiny_model, prompt, 2, Decoding(max_tokens=5))
        with watched(0) as seen:
            inside = generate(tiny_model, prompt, 2, Decoding(max_tokens=5))
        assert len(seen) == 2 * len(inside[0].ids), "two layers, a step a token"
        seen.clear()
        assert generate(tiny_model, prompt, 2, Decoding(max_tokens=5)) == before == inside
        assert not seen

    def test_a_layer_that_moves_tells_more_than_one_that_stares(self) -> None:
        moving = torch.eye(4) * 0.3
        staring = torch.zeros(4, 4)
        staring[:, 2] = 0.9
        told = telling(torch.stack([staring, moving])[:, None])[:, 0]
        assert told.tolist() == pytest.approx([0, 4 * np.log(4)])

    def test_there_is_no_such_layer(self, told: Explanation, nano: OCR) -> None:
        with pytest.raises(UsageError, match="no layer 2: the decoder has 0 to 1"):
            find_gazes(nano.model, nano.tokenizer, told.sight, layer=2)

    def test_tokens_that_share_a_character(self) -> None:
        rust = RustTokenizer(models.BPE())
        rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        rust.decoder = decoders.ByteLevel()
        rust.add_special_tokens(["<pad>", "<bos>", "<eos>", "<image>"])
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        rust.model = models.BPE(vocab={c: i + 4 for i, c in enumerate(alphabet)}, merges=[])
        tokenizer = Tokenizer(rust, bos="<bos>", eos="<eos>", pad="<pad>", image="<image>")
        text, spans = token_spans(tokenizer, tokenizer.encode("a é"))
        assert (text, spans) == ("a é", [(0, 1), (1, 2), (2, 3), (2, 3)])
        assert tokens_of(spans, (2, 3)) == [2, 3]


def seen_at(box: Box, to_page: list[list[float]], local: torch.Tensor) -> Seen:
    encoded = Encoded(local=local, fused=local[:, ::4, ::4], tokens=local[:, ::4, ::4])
    return Seen(kind="strip", to_page=np.array(to_page), box=box, first=0, encoded=encoded)


class TestPictures:
    def test_a_cell_is_painted_where_it_lies(self) -> None:
        seen = seen_at(Box(10, 10, 42, 26), [[0.5, 0, 10], [0, 0.5, 10]], torch.zeros(1, 4, 8, 3))
        cells = np.ones((1, 2, 3), np.float32)
        cells[0, 1] = 0
        canvas = Canvas(Image.new("RGB", (60, 40), "white"), 60)
        canvas.lay(seen, cells, 32)
        painted = np.asarray(canvas.picture())
        rows, cols = np.nonzero(painted[..., 0] < 100)
        assert (rows.min(), rows.max(), cols.min(), cols.max()) == (10, 25, 26, 41)

    @pytest.mark.parametrize(("stage", "varies"), [("clip", True), ("compressed", False)])
    def test_a_stage_shows_its_own_features(self, stage: str, varies: bool) -> None:
        """CLIP's come first of those that are fused."""
        fused = torch.zeros(1, 2, 4, 6)
        fused[..., :3] = torch.randn(1, 2, 4, 3)
        encoded = Encoded(local=torch.zeros(1, 8, 16, 3), fused=fused, tokens=fused)
        box, place = Box(0, 0, 256, 128), np.eye(2, 3)
        seen = Seen(kind="strip", to_page=place, box=box, first=0, encoded=encoded)
        page = Image.new("RGB", (256, 128), "white")
        painted = np.asarray(paint_features(page, [seen], stage, 3))
        assert (len(np.unique(painted.reshape(-1, 3), axis=0)) > 1) == varies

    def test_margins_of_a_low_strip_take_no_colours(self) -> None:
        """Of 32 px, in which the middle of a token of 64 px would be the edge."""
        fused = torch.zeros(1, 1, 4, 3)
        fused[0, 0, :, 0] = torch.tensor([0.0, 1.0, 900.0, 900.0])
        encoded = Encoded(local=torch.zeros(1, 2, 16, 3), fused=fused, tokens=fused)
        box = Box(2, 2, 126, 30)
        seen = Seen(kind="strip", to_page=np.eye(2, 3), box=box, first=0, encoded=encoded)
        page = Image.new("RGB", (256, 32), "white")
        painted = np.asarray(paint_features(page, [seen], "clip", 3)).astype(int)
        across = painted.shape[1]
        left, right = painted[8, across // 8], painted[8, across * 3 // 8]
        assert np.abs(left - right).max() > 100

    def test_one_vector_has_a_colour(self) -> None:
        one = np.ones((1, 6), np.float32)
        assert np.isfinite(Palette(one).colours(one[None])).all()

    def test_what_is_looked_at_is_heated(self) -> None:
        seen = seen_at(Box(0, 0, 256, 128), np.eye(2, 3).tolist(), torch.zeros(1, 8, 16, 3))
        weights = np.zeros(8, np.float32)
        weights[6] = 1  # the second row, the third place
        gaze = Gaze(text="fox", box=None, confidence=None, weights={"page": weights}, first=0)
        page = Image.new("RGB", (256, 128), "white")
        drawn = np.asarray(WordPictures(page, [seen]).draw(gaze).convert("RGB")).astype(int)
        scale = drawn.shape[1] / 256
        shown = drawn[: round(128 * scale)]
        rows, cols = np.nonzero(shown[..., 0] - shown[..., 2] > 60)
        assert (rows.min() / scale, rows.max() / scale) == pytest.approx((64, 128), abs=2)
        assert (cols.min() / scale, cols.max() / scale) == pytest.approx((128, 192), abs=2)

    def test_alike_vectors_get_alike_colours(self) -> None:
        rng = np.random.default_rng(0)
        vectors = rng.normal(size=(200, 6)).astype(np.float32)
        vectors[:100, 2] += 50
        colours = Palette(vectors).colours(vectors[None])[0]
        one, other = colours[:100, 0], colours[100:, 0]
        assert abs(one.mean() - other.mean()) > 10 * max(one.std(), other.std())
        assert np.array_equal(Palette(vectors).colours(vectors[None])[0], colours)


class TestReport:
    def test_it_needs_no_other_file(self, told: Explanation, tmp_path: Path) -> None:
        written = write_report(told, tmp_path, gif=True)
        page = written[0].read_text(encoding="utf-8")
        assert not re.search(r"https?:|@import|<link", page)
        sources = re.findall(r'src="([^"]+)"', page)
        assert len(sources) == 4
        assert all(source.startswith("data:image/webp;base64,") for source in sources)
        data = json.loads(re.findall(r'id="data">(.*?)</script>', page, re.DOTALL)[0])
        assert [w["text"] for w in data["words"]] == [w.text for w in told.page.words]
        with Image.open(tmp_path / "words.gif") as animation:
            assert animation.n_frames == len(told.gazes)
        assert len(list((tmp_path / "words").iterdir())) == len(told.gazes)

    def test_text_of_a_page_is_no_code(self, told: Explanation, tmp_path: Path) -> None:
        gaze = replace(told.gazes[0], text="</script><b>")
        strange = replace(told, source="<i>&.png", gazes=(gaze,))
        page = write_report(strange, tmp_path)[0].read_text(encoding="utf-8")
        assert "</script><b>" not in page
        assert "<i>" not in page

    def test_weights_fill_a_byte(self, told: Explanation) -> None:
        data = to_data(told)
        [packed] = data["words"][0]["weights"]
        levels = np.frombuffer(base64.b64decode(packed), np.uint8)
        weights = told.gazes[0].weights["page"]
        np.testing.assert_allclose(levels / 255, weights / weights.max(), atol=1 / 255)

    def test_a_blank_page(self, nano: OCR, tmp_path: Path) -> None:
        told = explain(nano, Image.new("RGB", (100, 80), "white"))
        page = write_report(told, tmp_path, gif=True)[0].read_text(encoding="utf-8")
        assert "No word was found" in page
        assert {p.name for p in tmp_path.iterdir()} == {"index.html", "words"}

    def test_a_folder_that_cannot_be(self, told: Explanation, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(UsageError, match="file/words: Not a directory"):
            write_report(told, tmp_path / "file")

    def test_a_page_that_is_not_there(self, tmp_path: Path) -> None:
        picture(90, 80).save(tmp_path / "a.png")
        options = ["--page", "2", "--device", "cpu"]
        result = CliRunner().invoke(main, ["explain", str(tmp_path / "a.png"), *options])
        assert result.exit_code == 1
        assert "2" in result.stderr
