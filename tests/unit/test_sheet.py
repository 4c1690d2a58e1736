from pathlib import Path

import pytest
from PIL import Image

from lightseek.data import sheet
from lightseek.data.fonts import SHIPPED
from lightseek.errors import UsageError


def test_a_sheet_shows_strips_and_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheet, "KINDS", ("table", "receipt"))
    text = tmp_path / "text"
    text.mkdir()
    lines = [f"The fox saw hound {n} near Exmoor, for €{n}.20." for n in range(200)]
    (text / "en.txt").write_text("\n".join(lines), encoding="utf-8")
    sheet.draw_sheet(tmp_path / "sheet.png", fonts=SHIPPED, text=text, each=3)
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.width > 1500
        assert image.height > 1000
        colours = image.convert("RGB").getcolors(maxcolors=1_000_000)
        assert (255, 255, 255) in {colour for _, colour in colours}


def test_a_folder_without_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=tmp_path.name):
        sheet.draw_sheet(tmp_path / "sheet.png", fonts=SHIPPED, text=tmp_path)
