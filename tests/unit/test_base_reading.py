"""Pages through a model of LightSeek's own architecture: one view, no prompt."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from lightseek import OCR
from lightseek.config import ModelConfig
from lightseek.document import Status
from lightseek.errors import UsageError
from lightseek.info import describe
from lightseek.model import LightSeekOCR
from lightseek.reader import encode_pages, find_look, make_prompt, read_views
from lightseek.tokenizer import Tokenizer
from lightseek.views import MODES, make_views
from lightseek.weights import save_model


@pytest.fixture(scope="module")
def ocr(
    tiny_base_model: LightSeekOCR,
    tiny_tokenizer: Tokenizer,
    tmp_path_factory: pytest.TempPathFactory,
) -> OCR:
    folder = tmp_path_factory.mktemp("base")
    save_model(folder, tiny_base_model, tiny_tokenizer)
    return OCR(folder, device="cpu", dtype=torch.float32)


def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8))


@torch.inference_mode()
def test_a_page_is_its_visual_tokens_and_begin(ocr: OCR) -> None:
    views = make_views(picture(), MODES["tiny"])
    visual = encode_pages(ocr.model, [views])[0]
    assert visual.shape == (2 * 8 * 8, 32)
    prompt = make_prompt(ocr.model, ocr.tokenizer, visual, "")
    assert torch.equal(prompt[0, :-1], visual)
    assert torch.equal(prompt[0, -1], ocr.model.embedding.weight[ocr.tokenizer.bos_id])


def test_a_page_is_read_whole(ocr: OCR) -> None:
    document = ocr.read(picture(), mode="tiny", max_tokens=12)
    [page] = document.pages
    assert page.status is Status.TRUNCATED
    assert page.text


@pytest.mark.parametrize("wrong", [{"prompt": "free"}, {"mode": "gundam"}])
def test_prompts_and_tiles_are_refused(ocr: OCR, wrong: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="takes no prompt and no tiles"):
        ocr.read(picture(), **wrong)


def test_the_page_takes_no_positions_of_the_text(ocr: OCR, tiny_base_config: ModelConfig) -> None:
    decoder = replace(tiny_base_config.decoder, max_positions=9)
    model = LightSeekOCR(replace(tiny_base_config, decoder=decoder)).eval()
    model.load_state_dict(ocr.model.state_dict())
    look = find_look(model, ocr.tokenizer, mode="tiny")
    [answer] = read_views(model, ocr.tokenizer, [make_views(picture(), MODES["tiny"])], look)
    assert answer.reason is None
    assert len(answer.ends) == 8


def test_the_card_counts_both_maps() -> None:
    card = describe("lightseek-base")
    assert next(iter(card.modes)) == "base"
    cost = card.modes["base"]
    assert cost is not None
    assert cost.visual_tokens == (512, 512)
    assert cost.positions == (0, 0), "text looks at them from beside"
    assert set(card.modes) == {"tiny", "small", "base", "large"}
    assert card.active_parameters < card.parameters
    assert {"sam", "compressor", "clip", "projector", "decoder", "embedding"} == set(card.parts)
