"""CUDA and Apple's GPU run the same modules: what they read is what the CPU reads."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lightseek import OCR
from lightseek.generate import Decoding, NgramBan, generate
from lightseek.model import LightSeekOCR
from lightseek.reader import encode_pages, find_look, make_prompt
from lightseek.views import MODES, make_views

pytestmark = pytest.mark.gpu
THERE = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}


@pytest.fixture(params=THERE)
def device(request: pytest.FixtureRequest) -> torch.device:
    if not THERE[request.param]():
        pytest.skip(f"this machine has no {request.param} device")
    return torch.device(request.param)


@pytest.fixture(scope="module")
def on_cpu(official_folder: Path) -> OCR:
    return OCR(official_folder, device="cpu", dtype=torch.float32)


@pytest.fixture(scope="module")
def page() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (500, 700, 3), np.uint8)
    return Image.fromarray(pixels)


def prompt_of(ocr: OCR, page: Image.Image, mode: str) -> torch.Tensor:
    with torch.inference_mode():
        views = make_views(page, MODES[mode])
        [visual] = encode_pages(ocr.model, [views])
        return make_prompt(ocr.model, ocr.tokenizer, visual, "<image>\nFree OCR.")


@pytest.mark.parametrize("mode", MODES)
def test_visual_tokens_of_every_mode(
    device: torch.device, on_cpu: OCR, official_folder: Path, page: Image.Image, mode: str
) -> None:
    there = OCR(official_folder, device=device, dtype=torch.float32)
    views = make_views(page, MODES[mode])
    with torch.inference_mode():
        expected, found = (encode_pages(ocr.model, [views])[0] for ocr in (on_cpu, there))
    assert found.device.type == device.type
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-3, atol=1e-3)


def test_greedy_tokens(
    device: torch.device, on_cpu: OCR, official_folder: Path, page: Image.Image
) -> None:
    there = OCR(official_folder, device=device, dtype=torch.float32)
    decoding = Decoding(max_tokens=16, ban=NgramBan(size=3, window=12))
    [expected] = generate(on_cpu.model, prompt_of(on_cpu, page, "tiny"), -1, decoding)
    [found] = generate(there.model, prompt_of(there, page, "tiny"), -1, decoding)
    assert found.ids == expected.ids
    assert found.logprobs == pytest.approx(expected.logprobs, abs=1e-3)


def test_a_page_in_bfloat16(device: torch.device, official_folder: Path, page: Image.Image) -> None:
    ocr = OCR(official_folder, device=device, dtype=torch.bfloat16)
    assert ocr.read(page, max_tokens=4, prompt="free").ok


def test_compiled_encoder_and_decoder(
    device: torch.device,
    on_cpu: OCR,
    official_folder: Path,
    page: Image.Image,
    no_shape_checks: Any,
) -> None:
    if device.type == "mps":
        pytest.skip("torch.compile is young on this device")
    ocr = OCR(official_folder, device=device, dtype=torch.float32)
    model: LightSeekOCR = ocr.model
    model.encoder.compile()
    model.decoder.compile(dynamic=True)
    look = find_look(model, ocr.tokenizer, mode="tiny", prompt="free")
    views = make_views(page, look.mode)
    with torch.inference_mode():
        expected = encode_pages(on_cpu.model, [views])[0]
        found = encode_pages(model, [views])[0]
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-3, atol=1e-3)
    [result] = generate(model, prompt_of(ocr, page, "tiny"), -1, Decoding(max_tokens=4))
    assert len(result.ids) == 4


@pytest.fixture
def no_shape_checks() -> Any:
    """torch.compile cannot look through them."""
    import jaxtyping

    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)
