"""LightSeek's own architecture learns four lines by heart from their pixels, and reads them."""

from dataclasses import replace

import pytest
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from lightseek.config import ModelConfig, Rows
from lightseek.generate import Decoding, generate
from lightseek.model import LightSeekOCR
from lightseek.reader import to_colour_views
from lightseek.tokenizer import Tokenizer
from lightseek.train.next_token import next_token_loss, side_by_side

LINES = ("the quick fox", "jumps over", "a lazy dog 42", "near Exmoor")


def views_of_lines() -> Tensor:
    images = []
    for line in LINES:
        image = Image.new("RGB", (256, 64), "white")
        ImageDraw.Draw(image).text((8, 12), line, "black", ImageFont.load_default(30))
        images.append(image)
    return to_colour_views(images)


@pytest.fixture(scope="module")
def trained(tiny_base_config: ModelConfig, tiny_tokenizer: Tokenizer) -> LightSeekOCR:
    torch.manual_seed(0)
    # windows of 14 patches would be mostly padding on a strip
    sam = replace(tiny_base_config.sam, window=Rows(rows=4, cols=4))
    model = LightSeekOCR(replace(tiny_base_config, sam=sam))
    torch.nn.init.normal_(model.embedding.weight, std=0.1)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    ids, targets = side_by_side([tiny_tokenizer.encode(line) for line in LINES], tiny_tokenizer)
    views = views_of_lines()
    for _ in range(600):
        loss = next_token_loss(model, model.visual_tokens(views), ids, targets)
        optimiser.zero_grad()
        (loss.total / loss.asked).backward()
        optimiser.step()
        if loss.total.item() < 0.03 * loss.asked.item():
            break
    return model.eval()


@torch.inference_mode()
def read(model: LightSeekOCR, tokenizer: Tokenizer, views: Tensor, decoding: Decoding) -> list[str]:
    visual = model.visual_tokens(views)
    count, tokens = visual.shape[:2]
    ids = torch.tensor([[tokenizer.image_id] * tokens + [tokenizer.bos_id]] * count)
    prompt = model.splice(ids, visual.flatten(0, 1), tokenizer.image_id)
    return [tokenizer.decode(r.ids) for r in generate(model, prompt, tokenizer.eos_id, decoding)]


@pytest.mark.parametrize("beams", [1, 2])
def test_four_lines_are_read(trained: LightSeekOCR, tiny_tokenizer: Tokenizer, beams: int) -> None:
    decoding = Decoding(max_tokens=20, beams=beams)
    assert tuple(read(trained, tiny_tokenizer, views_of_lines(), decoding)) == LINES


def test_it_is_the_pixels_that_are_read(trained: LightSeekOCR, tiny_tokenizer: Tokenizer) -> None:
    turned = views_of_lines().flip(0)
    found = read(trained, tiny_tokenizer, turned, Decoding(max_tokens=20))
    assert tuple(found) == LINES[::-1]
