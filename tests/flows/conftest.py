"""What the flows share: the shipped model, loaded once."""

import pytest

from lightseek.ocr import OCR


@pytest.fixture(scope="session")
def nano() -> OCR:
    return OCR()
