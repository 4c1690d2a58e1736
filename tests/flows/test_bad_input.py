"""Bad input through the command line: one line that says what to do, and nothing else is lost."""

import io
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pikepdf
import pytest
from click.testing import CliRunner, Result
from PIL import Image, ImageDraw, ImageFont
from safetensors.torch import load_file, save_file

from lightseek import cli
from lightseek.config import ModelConfig
from lightseek.data.fonts import SHIPPED
from lightseek.document import Document, Status
from lightseek.model import LightSeekOCR
from lightseek.ocr import OCR
from lightseek.tokenizer import Tokenizer
from lightseek.weights import CONFIG, TOKENIZER, WEIGHTS, save_model

FONT = ImageFont.truetype(SHIPPED / "Caladea-Regular.ttf", 30)

Read = Callable[..., Result]


def sheet(text: str) -> Image.Image:
    image = Image.new("L", (180, 70), 255)
    ImageDraw.Draw(image).text((20, 18), text, font=FONT, fill=0)
    return image


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def white_png(side: int) -> bytes:
    """One bit a pixel; Pillow would need a byte for each to make it."""
    rows = zlib.compress((b"\0" + b"\xff" * (side // 8)) * side, 1)
    data = b"\x89PNG\r\n\x1a\n"
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    for name, body in ((b"IHDR", head), (b"IDAT", rows), (b"IEND", b"")):
        data += struct.pack(">I", len(body)) + name + body
        data += struct.pack(">I", zlib.crc32(name + body))
    return data


def pdf(*texts: str) -> pikepdf.Pdf:
    buffer = io.BytesIO()
    first, *others = (sheet(text) for text in texts)
    first.save(buffer, "PDF", save_all=True, append_images=others, resolution=72)
    return pikepdf.open(buffer)


@pytest.fixture
def read(nano: OCR, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    """Read files of the current folder by the command line; the model is loaded already."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lightseek.cli.console.load_reader", lambda *words: nano)
    return lambda *words: CliRunner(catch_exceptions=False).invoke(cli.main, ["read", *words])


NO_FILES = {
    "missing.png": (None, "missing.png does not exist: check its name and folder"),
    "empty.png": (b"", "empty.png is empty: copy or export it again"),
    "text.png": (b"Dear Sir,\n", "text.png cannot be opened: .*; convert it .* or copy it again"),
    "cut.png": (png(sheet("north"))[:150], "the page is cut off or damaged .*copy it again"),
    "head.png": (png(sheet("north"))[:12], "head.png cannot be opened: .* copy it again"),
    "cut.pdf": (b"%PDF-1.7\n1 0 obj\n<<", "cut.pdf cannot be opened: .*export or copy it again"),
    "huge.png": (white_png(20_000), "20000 x 20000 is above the limit .*: scale it down"),
}


class TestOneLine:
    @pytest.mark.parametrize("name", NO_FILES)
    def test_a_bad_file_costs_itself(self, read: Read, name: str) -> None:
        content, message = NO_FILES[name]
        if content is not None:
            Path(name).write_bytes(content)
        sheet("north").save("good.png")
        result = read("good.png", name, "good.png", "--format", "text")
        assert result.exit_code == 1
        assert result.stdout == "north\n\nnorth\n"
        assert_one_line(result, f"{name}.*{message}" if name not in message else message)

    def test_a_folder_without_pages(self, read: Read, tmp_path: Path) -> None:
        result = read(str(tmp_path))
        assert result.exit_code == 2
        assert_one_line(result, "holds no images and no PDFs: name files, or another folder")

    def test_each_of_several_has_a_line(self, read: Read) -> None:
        for name, (content, _) in NO_FILES.items():
            if content is not None:
                Path(name).write_bytes(content)
        result = read(*NO_FILES, "-o", "out")
        assert (result.exit_code, result.stdout) == (1, "")
        for line, name in zip(result.stderr.splitlines(), NO_FILES, strict=True):
            assert line.startswith(name)
        assert list(Path("out").iterdir()) == []


def assert_one_line(result: Result, pattern: str) -> None:
    assert "Traceback" not in result.output
    [line] = result.stderr.splitlines()
    assert re.search(pattern, line), line


class TestOddPages:
    """Pages that are no mistake."""

    @pytest.mark.parametrize(
        "image",
        [
            pytest.param(Image.new("L", (1, 1), 0), id="one pixel"),
            pytest.param(Image.new("1", (1, 1), 1), id="one white pixel"),
            pytest.param(Image.new("L", (1, 3000), 128), id="one column"),
            pytest.param(Image.new("L", (3000, 1), 128), id="one row"),
            pytest.param(Image.new("L", (850, 1100), 255), id="white"),
            pytest.param(Image.new("L", (850, 1100), 0), id="black"),
            pytest.param(Image.new("RGB", (850, 1100), "red"), id="red"),
        ],
    )
    def test_nothing_is_on_them(self, read: Read, image: Image.Image) -> None:
        image.save("page.png")
        result = read("page.png", "--format", "json")
        assert (result.exit_code, result.stderr) == (0, "")
        [page] = Document.from_json(result.stdout).pages
        assert (page.status, page.regions) == (Status.OK, ())
        assert (page.width, page.height) == image.size

    def test_noise(self, read: Read) -> None:
        Image.effect_noise((300, 300), 200).save("page.png")
        result = read("page.png", "--format", "json")
        assert result.exit_code == 0
        [page] = Document.from_json(result.stdout).pages
        assert page.status is Status.OK
        assert bool(page.words) is ("no print that the model knows" in result.stderr)

    def test_white_on_black(self, read: Read) -> None:
        Image.eval(sheet("north"), lambda value: 255 - value).save("page.png")
        assert read("page.png").stdout == "north\n"


class TestPdf:
    def test_a_broken_page_costs_itself(self, read: Read) -> None:
        document = pdf("north", "middle", "south")
        document.pages[1].obj["/Type"] = pikepdf.Name.Broken
        document.save("three.pdf")
        result = read("three.pdf", "--format", "json", "--dpi", "72")
        assert result.exit_code == 1
        assert_one_line(result, "^three.pdf page 2: failed: .*damaged")
        pages = Document.from_json(result.stdout).pages
        assert [page.status for page in pages] == [Status.OK, Status.FAILED, Status.OK]
        assert [page.text for page in pages] == ["north", "", "south"]
        text = read("three.pdf", "--dpi", "72").stdout
        assert "<!-- page 2 -->\n\n<!-- failed: " in text

    def test_what_is_left_of_a_broken_file_is_written(self, read: Read) -> None:
        document = pdf("north", "south")
        document.pages[1].obj["/Type"] = pikepdf.Name.Broken
        document.save("two.pdf")
        assert read("two.pdf", "--dpi", "72", "-o", "out").exit_code == 1
        assert "north" in Path("out/two.md").read_text()

    def test_encrypted(self, read: Read) -> None:
        pdf("north").save("secret.pdf", encryption=pikepdf.Encryption(user="sesame", owner="o"))
        locked = read("secret.pdf")
        assert locked.exit_code == 1
        assert_one_line(locked, "secret.pdf cannot be opened: it is encrypted: give its password")
        wrong = read("secret.pdf", "--password", "simsim")
        assert wrong.exit_code == 1
        assert_one_line(wrong, "secret.pdf cannot be opened: .*check the password")
        opened = read("secret.pdf", "--password", "sesame", "--dpi", "72")
        assert (opened.exit_code, opened.stdout, opened.stderr) == (0, "north\n", "")

    def test_pages_outside(self, read: Read) -> None:
        pdf("north", "south").save("two.pdf")
        pdf("one", "two", "three").save("three.pdf")
        result = read("two.pdf", "three.pdf", "--pages", "3", "--dpi", "72", "-f", "text")
        assert (result.exit_code, result.stdout) == (1, "\nthree\n")
        assert_one_line(result, "page 3 asked for, but two.pdf has 2 pages")


class TestModelFolder:
    @pytest.fixture
    def folder(self, tmp_path: Path, tiny_model: LightSeekOCR, tiny_tokenizer: Tokenizer) -> Path:
        save_model(tmp_path / "model", tiny_model, tiny_tokenizer)
        Image.new("L", (9, 9), 255).save(tmp_path / "page.png")
        return tmp_path / "model"

    def test_whole(self, folder: Path) -> None:
        result = read_with(folder)
        assert (result.exit_code, result.output) == (0, "\n")

    def test_not_there(self, folder: Path) -> None:
        shutil.rmtree(folder)
        assert_refused(read_with(folder), "no model .*: give one of nano, a folder with config")

    @pytest.mark.parametrize("name", [CONFIG, TOKENIZER, WEIGHTS])
    def test_without_a_file(self, folder: Path, name: str) -> None:
        (folder / name).unlink()
        assert_refused(read_with(folder), name)

    @pytest.mark.parametrize("name", [CONFIG, TOKENIZER, WEIGHTS])
    @pytest.mark.parametrize("content", [b"", b"{", b"\0\xff" * 40])
    def test_with_a_broken_file(self, folder: Path, name: str, content: bytes) -> None:
        (folder / name).write_bytes(content)
        assert_refused(read_with(folder), name)

    def test_with_weights_that_are_cut_off(self, folder: Path) -> None:
        data = (folder / WEIGHTS).read_bytes()
        (folder / WEIGHTS).write_bytes(data[: len(data) // 2])
        assert_refused(read_with(folder), "broken or cut off, get it again")

    def test_of_a_wrong_shape(self, folder: Path, tiny_config: ModelConfig) -> None:
        config = json.loads((folder / CONFIG).read_text())
        config["decoder"]["mlp_dim"] += 8
        (folder / CONFIG).write_text(json.dumps(config))
        wanted = tiny_config.decoder.mlp_dim + 8
        assert_refused(read_with(folder), rf"does not fit its config: misshapen: .* {wanted}")

    def test_without_a_tensor(self, folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS)
        name, _ = tensors.popitem()
        save_file(tensors, folder / WEIGHTS)
        assert_refused(read_with(folder), rf"does not fit its config: missing: {name}")

    def test_with_a_size_that_does_not_exist(self, folder: Path) -> None:
        config = json.loads((folder / CONFIG).read_text())
        config["decoder"]["depht"] = config["decoder"].pop("depth")
        (folder / CONFIG).write_text(json.dumps(config))
        assert_refused(read_with(folder), "config.json does not fit: .*decoder.depht")


def read_with(folder: Path) -> Result:
    page = folder.parent / "page.png"
    return CliRunner().invoke(cli.main, ["read", str(page), "--model", str(folder)])


def assert_refused(result: Result, pattern: str) -> None:
    assert (result.exit_code, result.stdout) == (2, "")
    assert_one_line(result, pattern)


COMMAND = [sys.executable, "-c", "from lightseek.cli import main; main()", "read"]


class TestAProcess:
    """As a shell starts it."""

    def test_streams_and_exit_code(self, tmp_path: Path) -> None:
        command = [*COMMAND, "missing.png", "-", "--format", "text"]
        done = subprocess.run(
            command, input=png(sheet("north")), capture_output=True, cwd=tmp_path, check=False
        )
        assert done.returncode == 1
        assert done.stdout == b"\nnorth\n"
        assert done.stderr == b"missing.png does not exist: check its name and folder\n"

    @pytest.mark.slow
    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
    def test_full_disk(self, tmp_path: Path) -> None:
        Image.new("L", (9, 9), 255).save(tmp_path / "page.png")
        with Path("/dev/full").open("wb") as full:
            done = subprocess.run(
                [*COMMAND, "page.png"],
                stdout=full,
                stderr=subprocess.PIPE,
                cwd=tmp_path,
                check=False,
            )
        assert done.returncode == 1
        assert done.stderr == b"Error: output: No space left on device\n"

    @pytest.mark.slow
    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
    def test_interrupted(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        process = subprocess.Popen(
            [*COMMAND, "pipe"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path
        )
        with (tmp_path / "pipe").open("wb"):  # waits until the other end is opened
            process.send_signal(signal.SIGINT)
            stdout, stderr = process.communicate()
        assert (process.returncode, stdout, stderr.strip()) == (1, b"", b"Aborted!")
