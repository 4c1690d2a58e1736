"""Our modules against `transformers`' Unlimited-OCR: the same weights, the same numbers."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from lightseek import OCR
from lightseek.document import Status
from lightseek.encoder import PositionTable
from lightseek.generate import Decoding, generate
from lightseek.model import LightSeekOCR
from lightseek.ngrams import NgramBan
from lightseek.reader import encode_pages, find_look, make_prompt, to_colour_views
from lightseek.tokenizer import Tokenizer
from lightseek.views import MODES, Grid, PageViews, View, make_views
from lightseek.weights import load_model, save_model

EXACT = {"rtol": 1e-5, "atol": 1e-5}
SIDES = sorted({px for mode in MODES.values() for px in (mode.page_px, mode.tile_px) if px})


@pytest.fixture(autouse=True)
def _no_grad() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.inference_mode():
        yield


def picture(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


def small_views(tiles: int) -> PageViews:
    """Views of sizes that are quick, with more than one window and tables that are stretched."""
    place = np.eye(2, 3)
    grid = Grid(cols=tiles // 2, rows=2) if tiles else Grid(1, 1)
    cut = tuple(
        View(picture(128 + i, 128).crop((0, 0, 128, 128)), place, (320, 320)) for i in range(tiles)
    )
    return PageViews(tiles=cut, grid=grid, page=View(picture(320, 320), place, (320, 320)))


def test_names_and_numbers_of_all_tensors_agree(theirs: Any, ours: LightSeekOCR) -> None:
    there = sum(p.numel() for p in theirs.parameters())
    assert sum(t.numel() for t in ours.state_dict().values()) == there


@pytest.mark.parametrize("side", [128, 320])
def test_sam_tower_and_compressor(theirs: Any, ours: LightSeekOCR, side: int) -> None:
    views = torch.randn(2, 3, side, side)
    expected = theirs.model.vision_tower.sam_encoder(views).last_hidden_state
    found = ours.encoder.compressor(ours.encoder.sam(views)[1])
    torch.testing.assert_close(found, expected.permute(0, 2, 3, 1), **EXACT)


@pytest.mark.parametrize("side", [2, 5, 16])
def test_clip_tower(theirs: Any, ours: LightSeekOCR, side: int) -> None:
    tokens = torch.randn(2, side, side, 24)
    tower = theirs.model.vision_tower.vision_encoder
    expected = tower(tokens.permute(0, 3, 1, 2)).last_hidden_state
    found = ours.encoder.clip(tokens)
    torch.testing.assert_close(found.flatten(1, 2), expected[:, 1:], **EXACT)


@pytest.mark.parametrize("side", SIDES)
def test_position_tables_of_every_mode(theirs: Any, ours: LightSeekOCR, side: int) -> None:
    vision = theirs.model.vision_tower
    patches, tokens = side // 16, side // 64
    expected = vision.sam_encoder.interpolate_pos_encoding(patches, patches)
    torch.testing.assert_close(ours.encoder.sam.positions(patches, patches), expected, **EXACT)
    embeddings = vision.vision_encoder.embeddings
    pixels = tokens * embeddings.patch_size
    expected = embeddings.interpolate_pos_encoding(
        torch.zeros(1, tokens**2 + 1, 24), pixels, pixels
    )
    table = ours.encoder.clip.positions
    assert isinstance(table, PositionTable)
    torch.testing.assert_close(table(tokens, tokens).flatten(1, 2), expected[:, 1:], **EXACT)
    torch.testing.assert_close(table.of_class(), expected[0, 0], **EXACT)


def test_projector(theirs: Any, ours: LightSeekOCR) -> None:
    fused = torch.randn(3, 4, 48)
    expected = theirs.model.multi_modal_projector(fused)
    torch.testing.assert_close(ours.encoder.projector(fused), expected, **EXACT)


@pytest.mark.parametrize("tiles", [0, 2, 6])
def test_tokens_of_a_page(theirs: Any, ours: LightSeekOCR, tiles: int) -> None:
    views = small_views(tiles)
    [expected] = theirs.model.get_image_features(**pixels_of(views)).pooler_output
    torch.testing.assert_close(encode_pages(ours, [views])[0], expected, **EXACT)


def pixels_of(views: PageViews) -> dict[str, Any]:
    """Views as transformers takes them."""
    inputs: dict[str, Any] = {
        "pixel_values": to_colour_views([views.page.image]),
        "num_local_patches": [len(views.tiles)],
        "patches_grid": [list(views.grid)],
    }
    if views.tiles:
        inputs["pixel_values_local"] = to_colour_views([tile.image for tile in views.tiles])
    return inputs


def inputs_of(views: PageViews, tokenizer: Tokenizer, model: LightSeekOCR) -> dict[str, Any]:
    """A whole question as transformers takes it."""
    count = len(encode_pages(model, [views])[0])
    ids = [tokenizer.bos_id, *[tokenizer.image_id] * count, *tokenizer.encode("\nFree OCR.")]
    input_ids = torch.tensor([ids])
    return {
        "input_ids": input_ids,
        "attention_mask": torch.ones_like(input_ids),
        **pixels_of(views),
    }


@pytest.mark.parametrize("tiles", [0, 2])
def test_logits_of_a_question(
    theirs: Any, loaded: tuple[LightSeekOCR, Tokenizer], tiles: int
) -> None:
    model, tokenizer = loaded
    views = small_views(tiles)
    expected = theirs(**inputs_of(views, tokenizer, model)).logits
    prompt = make_prompt(model, tokenizer, encode_pages(model, [views])[0], "<image>\nFree OCR.")
    positions = torch.arange(prompt.shape[1])[None]
    causal = torch.full((prompt.shape[1],) * 2, float("-inf")).triu(1)
    hidden = model.decoder(prompt, model.decoder.rotary(positions, prompt), causal)
    torch.testing.assert_close(model.predict(hidden).what, expected, **EXACT)


def greedy(theirs: Any, inputs: dict[str, Any], tokens: int) -> list[int]:
    length = inputs["input_ids"].shape[1]
    options = {"do_sample": False, "max_new_tokens": tokens, "eos_token_id": None}
    return theirs.generate(**inputs, **options)[0, length:].tolist()


@pytest.mark.parametrize("tiles", [0, 2])
def test_32_greedy_tokens_beyond_the_window(
    theirs: Any, loaded: tuple[LightSeekOCR, Tokenizer], tiles: int
) -> None:
    """The window, if there is one, is 8 tokens: the last ones no longer see the first."""
    model, tokenizer = loaded
    views = small_views(tiles)
    expected = greedy(theirs, inputs_of(views, tokenizer, model), 32)
    prompt = make_prompt(model, tokenizer, encode_pages(model, [views])[0], "<image>\nFree OCR.")
    [found] = generate(model, prompt, -1, Decoding(max_tokens=32))
    assert found.ids == expected
    assert len(set(expected)) > 3, "a model that says one thing compares nothing"
    if model.config.decoder.sliding_window is None:
        return
    [unbound] = generate(without_window(model), prompt, -1, Decoding(max_tokens=32))
    assert unbound.logprobs[:8] == pytest.approx(found.logprobs[:8], abs=1e-5)
    assert unbound.logprobs != pytest.approx(found.logprobs, abs=1e-4)


def without_window(model: LightSeekOCR) -> LightSeekOCR:
    decoder = replace(model.config.decoder, sliding_window=None)
    other = LightSeekOCR(replace(model.config, decoder=decoder)).eval()
    other.load_state_dict(model.state_dict())
    return other


def test_probabilities_in_the_window_are_those_of_the_whole_sequence(
    theirs: Any, loaded: tuple[LightSeekOCR, Tokenizer]
) -> None:
    """Token by token with a cache, and all at once with a mask, by the training path too."""
    model, tokenizer = loaded
    prompt = make_prompt(
        model, tokenizer, encode_pages(model, [small_views(0)])[0], "<image>\nFree OCR."
    )
    [found] = generate(model, prompt, -1, Decoding(max_tokens=20))
    last = tokenizer.encode(".")
    hidden = model(prompt[:, :-1], torch.tensor([[*last, *found.ids]]))
    scores = model.predict(hidden).what[0, :-1].log_softmax(-1)
    told = scores.gather(1, torch.tensor(found.ids)[:, None])[:, 0].tolist()
    assert told == pytest.approx(found.logprobs, abs=1e-4)


def test_ngram_ban_within_a_window(
    theirs: Any, loaded: tuple[LightSeekOCR, Tokenizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From embeddings, transformers too counts what is written alone."""
    model, tokenizer = loaded
    prompt = make_prompt(
        model, tokenizer, encode_pages(model, [small_views(0)])[0], "<image>\nFree OCR."
    )
    [free] = generate(model, prompt, -1, Decoding(max_tokens=32))
    [found] = generate(model, prompt, -1, Decoding(max_tokens=32, ban=NgramBan(size=2, window=12)))
    assert free.ids != found.ids
    settings = theirs.generation_config
    monkeypatch.setattr(settings, "no_repeat_ngram_size", 2, raising=False)
    monkeypatch.setattr(settings, "no_repeat_ngram_window_size", 12, raising=False)
    expected = theirs.generate(
        inputs_embeds=prompt,
        attention_mask=torch.ones(prompt.shape[:2], dtype=torch.long),
        do_sample=False,
        max_new_tokens=32,
        eos_token_id=None,
    )
    assert found.ids == expected[0].tolist()


@pytest.mark.parametrize(("mode", "size"), [("tiny", (300, 400)), ("gundam", (700, 500))])
def test_a_checkpoint_of_transformers_reads_the_same(
    theirs: Any, checkpoint: Path, mode: str, size: tuple[int, int]
) -> None:
    ocr = OCR(checkpoint, device="cpu", dtype=torch.float32)
    page = picture(*size)
    look = find_look(ocr.model, ocr.tokenizer, mode=mode)
    views = make_views(page, look.mode)
    inputs = inputs_of(views, ocr.tokenizer, ocr.model)
    expected = ocr.tokenizer.decode_marked(greedy(theirs, inputs, 12))
    document = ocr.read(page, mode=mode, prompt="free", max_tokens=12)
    assert document.pages[0].text == expected.strip()
    assert document.pages[0].status is Status.TRUNCATED


def test_saved_in_our_form_it_is_still_the_same(
    loaded: tuple[LightSeekOCR, Tokenizer], tmp_path: Path
) -> None:
    model, tokenizer = loaded
    save_model(tmp_path, model, tokenizer)
    again, spelt = load_model(tmp_path, device=torch.device("cpu"), dtype=torch.bfloat16)
    assert again.config == model.config
    assert spelt.special_ids == tokenizer.special_ids
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], rounded(tensor)), name


def rounded(tensor: Tensor) -> Tensor:
    return tensor.to(torch.bfloat16)
