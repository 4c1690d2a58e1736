"""Files are made here, in memory; what comes out is compared pixel by pixel with what went in."""

import io
import os
import re
import struct
import sys
import threading
import time
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pikepdf
import pypdfium2
import pytest
import typst
from PIL import Image, ImageDraw, TiffImagePlugin

from lightseek import pages as pages_module
from lightseek.errors import PageError, UsageError
from lightseek.pages import PageImage, Pages, UnreadablePage, open_pages, parse_page_range

BLACK, GREY, WHITE = (0, 0, 0), (128, 128, 128), (255, 255, 255)
RED, BLUE = (255, 0, 0), (0, 0, 255)


def encode(image: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def encode_pdf(document: pikepdf.Pdf, **options: object) -> bytes:
    buffer = io.BytesIO()
    document.save(buffer, **options)
    return buffer.getvalue()


def white_png(width: int, height: int) -> bytes:
    """One bit a pixel; Pillow would need a byte for each to make it."""
    rows = (b"\0" + b"\xff" * (width // 8)) * height
    data = b"\x89PNG\r\n\x1a\n"
    for name, body in (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows, 1)),
        (b"IEND", b""),
    ):
        data += struct.pack(">I", len(body)) + name + body
        data += struct.pack(">I", zlib.crc32(name + body))
    return data


def bars(num_pages: int, width: int = 100, height: int = 50) -> pikepdf.Pdf:
    """A PDF whose page k has a black bar of k points at its left."""
    document = pikepdf.new()
    for number in range(1, num_pages + 1):
        page = document.add_blank_page(page_size=(width, height))
        page.obj["/Contents"] = document.make_stream(f"0 0 {number} {height} re f".encode())
    return document


def bar_of(page: PageImage) -> int:
    return int((np.asarray(page.image.convert("L"))[0] < 128).sum())


def only(source: object, **options: object) -> PageImage:
    (page,) = open_pages(source, **options)
    assert isinstance(page, PageImage), page
    assert page.image.mode == "RGB"
    return page


def refused(source: object, **options: object) -> UnreadablePage:
    (page,) = open_pages(source, **options)
    assert isinstance(page, UnreadablePage)
    assert "\n" not in page.reason
    return page


def colours(page: PageImage) -> list[tuple[int, ...]]:
    """Its first row."""
    return [tuple(pixel) for pixel in np.asarray(page.image)[0].tolist()]


def noise(width: int = 120, height: int = 90) -> Image.Image:
    return Image.fromarray(
        np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    )


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the PDF pages that were really rendered."""
    numbers: list[int] = []
    render = pages_module._Pdf.render

    def spy(self: pages_module._Pdf, number: int) -> Image.Image:
        numbers.append(number)
        return render(self, number)

    monkeypatch.setattr(pages_module._Pdf, "render", spy)
    return numbers


class Documents(list[pypdfium2.PdfDocument]):
    """PDF documents that are open at the moment."""

    num_openings = 0


@pytest.fixture
def documents(monkeypatch: pytest.MonkeyPatch) -> Documents:
    documents = Documents()

    class Watched(pypdfium2.PdfDocument):
        def __init__(self, *args: object) -> None:
            super().__init__(*args)
            documents.append(self)
            documents.num_openings += 1

        def close(self) -> None:
            super().close()
            documents.remove(self)

    monkeypatch.setattr(pypdfium2, "PdfDocument", Watched)
    return documents


class TestKindsOfFile:
    @pytest.mark.parametrize(
        "file_format", ["PNG", "BMP", "TIFF", "GIF", "PPM", "WEBP", "JPEG2000"]
    )
    def test_lossless_images_keep_every_pixel(self, file_format: str, tmp_path: Path) -> None:
        picture = noise().quantize(64).convert("RGB")
        path = tmp_path / "page.any"
        path.write_bytes(
            encode(picture, file_format, **({"lossless": True} if file_format == "WEBP" else {}))
        )
        page = only(path)
        assert np.array_equal(np.asarray(page.image), np.asarray(picture))
        assert (page.source, page.number) == (str(path), 1)

    def test_jpeg_looks_the_same(self) -> None:
        assert colours(only(encode(Image.new("RGB", (1, 8), GREY), "JPEG"))) == [GREY]

    def test_the_name_of_a_file_says_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "photo.png").write_bytes(encode_pdf(bars(2)))
        (tmp_path / "scan.pdf").write_bytes(encode(noise(), "JPEG"))
        assert len(open_pages(tmp_path / "photo.png")) == 2
        assert only(str(tmp_path / "scan.pdf")).image.size == (120, 90)

    def test_pdf_may_begin_late(self) -> None:
        assert len(open_pages(b"mail header\n" * 20 + encode_pdf(bars(3)))) == 3

    def test_standard_input(self, monkeypatch: pytest.MonkeyPatch) -> None:
        stream = io.TextIOWrapper(io.BytesIO(encode_pdf(bars(2))))
        monkeypatch.setattr(sys, "stdin", stream)
        sheets = open_pages("-")
        assert [(p.source, p.number) for p in sheets] == [("<stdin>", 1), ("<stdin>", 2)]
        assert len(list(sheets)) == 2  # read once, kept
        with pytest.raises(PageError, match="<stdin> is empty"):
            open_pages("-")

    def test_a_pipe_is_read_whole(self, tmp_path: Path) -> None:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        threading.Thread(target=pipe.write_bytes, args=(encode_pdf(bars(2)),)).start()
        assert [bar_of(page) for page in open_pages(pipe, dpi=72)] == [1, 2]

    def test_smaller_copies_within_a_tiff_are_no_pages(self) -> None:
        sheets = [Image.new("L", (40 // scale, 20), 255) for scale in (1, 2, 1, 4)]
        for number, sheet in enumerate(sheets):
            tags = TiffImagePlugin.ImageFileDirectory_v2()
            tags[254] = number % 2
            sheet.encoderinfo = {"tiffinfo": tags}
        data = encode(sheets[0], "TIFF", save_all=True, append_images=sheets[1:])
        pages = list(open_pages(data))
        assert [page.image.width for page in pages if isinstance(page, PageImage)] == [40, 40]
        assert len(pages) == 2

    @pytest.mark.parametrize("value", [(2, 1), (4, 1), (2, "odd")])
    def test_a_tiff_that_marks_its_pages_wrongly_has_all_of_them(
        self, value: tuple[int, Any]
    ) -> None:
        kind, said = value
        sheets = [Image.new("L", (40, 20), 255) for _ in range(3)]
        for sheet in sheets:
            tags = TiffImagePlugin.ImageFileDirectory_v2()
            tags.tagtype[254] = kind if isinstance(said, str) else 4
            tags[254] = said
            sheet.encoderinfo = {"tiffinfo": tags}
        data = encode(sheets[0], "TIFF", save_all=True, append_images=sheets[1:])
        assert len(open_pages(data)) == 3

    def test_multi_page_tiff_of_several_modes(self) -> None:
        sheets = [
            Image.new("1", (4, 2)),
            Image.new("RGB", (3, 5), RED),
            Image.new("L", (2, 2), 128),
        ]
        data = encode(sheets[0], "TIFF", save_all=True, append_images=sheets[1:])
        found = list(open_pages(data))
        assert [page.number for page in found] == [1, 2, 3]
        assert [page.image.size for page in found] == [(4, 2), (3, 5), (2, 2)]
        assert [colours(page)[0] for page in found] == [BLACK, RED, GREY]
        assert colours(only(data, pages="3"))[0] == GREY

    @pytest.mark.parametrize("file_format", ["GIF", "WEBP", "MPO"])
    def test_animations_and_photos_with_more_give_their_first_picture(
        self, file_format: str
    ) -> None:
        first, second = Image.new("RGB", (9, 9), WHITE), Image.new("RGB", (9, 9), BLACK)
        data = encode(first, file_format, save_all=True, append_images=[second])
        assert colours(only(data))[0] == WHITE


class TestColours:
    """Every kind of pixel ends as the RGB that a viewer shows on white."""

    def test_one_bit(self) -> None:
        image = Image.fromarray(np.array([[0, 1]], bool))
        assert image.mode == "1"
        for data in (encode(image, "PNG"), encode(image, "TIFF", compression="group4")):
            assert colours(only(data)) == [BLACK, WHITE]

    @pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
    def test_sixteen_bit_grey_is_scaled_not_clipped(self, file_format: str) -> None:
        samples = np.array([[0, 0x80FF, 65535]], np.uint16)
        assert colours(only(encode(Image.fromarray(samples), file_format))) == [BLACK, GREY, WHITE]

    @pytest.mark.parametrize(
        ("samples", "expected"),
        [
            (np.array([[0, 32896, 65535]], np.int32), [BLACK, GREY, WHITE]),
            (np.array([[-5, 128, 255]], np.int32), [BLACK, GREY, WHITE]),
            (np.array([[0, 0.5, 1]], np.float32), [BLACK, GREY, WHITE]),
            (np.array([[np.nan, 128, 255]], np.float32), [BLACK, GREY, WHITE]),
            (np.array([[0, 502_000, 1_000_000]], np.float32), [BLACK, GREY, WHITE]),
            (np.zeros((1, 2), np.float32), [BLACK, BLACK]),
        ],
    )
    def test_deep_tiff(self, samples: np.ndarray, expected: list[tuple[int, ...]]) -> None:
        assert colours(only(encode(Image.fromarray(samples), "TIFF"))) == expected

    @pytest.mark.parametrize("file_format", ["PNG", "WEBP", "TIFF"])
    def test_alpha_lies_on_white(self, file_format: str) -> None:
        image = Image.new("RGBA", (3, 1), (0, 0, 0, 0))
        image.putpixel((1, 0), (*RED, 255))
        image.putpixel((2, 0), (0, 0, 0, 127))
        page = only(
            encode(
                image,
                file_format,
                **({"exact": True, "lossless": True} if file_format == "WEBP" else {}),
            )
        )
        assert colours(page) == [WHITE, RED, GREY]

    @pytest.mark.parametrize(("tone", "paper"), [("white", 0), ("black", 255)])
    def test_strokes_on_a_transparent_ground_are_seen(self, tone: str, paper: int) -> None:
        image = Image.new("RGBA", (40, 40), (255, 255, 255, 0))
        ImageDraw.Draw(image).line((5, 20, 35, 20), fill=tone, width=4)
        pixels = np.asarray(only(encode(image, "PNG")).image.convert("L"))
        assert (pixels[0, 0], pixels[20, 20]) == (paper, 255 - paper)

    def test_a_light_page_with_transparent_corners_is_on_white(self) -> None:
        image = Image.new("RGBA", (40, 40), (250, 250, 250, 255))
        image.paste((0, 0, 0, 0), (0, 0, 4, 4))
        assert only(encode(image, "PNG")).image.getpixel((0, 0)) == (255, 255, 255)

    def test_grey_with_alpha(self) -> None:
        image = Image.new("LA", (2, 1), (0, 0))
        image.putpixel((1, 0), (0, 255))
        assert colours(only(encode(image, "PNG"))) == [WHITE, BLACK]

    def test_palette(self) -> None:
        image = Image.new("P", (3, 1))
        image.putpalette([*RED, *BLUE, *BLACK])
        image.putdata([0, 1, 2])
        assert colours(only(encode(image, "PNG"))) == [RED, BLUE, BLACK]
        assert colours(only(encode(image, "PNG", transparency=2))) == [RED, BLUE, WHITE]
        assert colours(only(encode(image, "PNG", transparency=b"\0\xff\0"))) == [WHITE, BLUE, WHITE]

    def test_a_colour_marked_as_transparent(self) -> None:
        image = Image.new("RGB", (2, 1), RED)
        image.putpixel((1, 0), BLACK)
        assert colours(only(encode(image, "PNG", transparency=BLACK))) == [RED, WHITE]

    @pytest.mark.parametrize("file_format", ["JPEG", "TIFF"])
    def test_cmyk(self, file_format: str) -> None:
        for ink, expected in (
            ((0, 0, 0, 255), BLACK),
            ((0, 0, 0, 0), WHITE),
            ((0, 255, 255, 0), RED),
        ):
            (seen,) = colours(only(encode(Image.new("CMYK", (1, 8), ink), file_format)))
            assert np.abs(np.subtract(seen, expected)).max() <= 2

    @pytest.mark.parametrize("turn", range(1, 9))
    @pytest.mark.parametrize(
        ("file_format", "options"),
        [
            ("PNG", {}),
            ("JPEG", {"quality": 100, "subsampling": 0}),
            ("WEBP", {"lossless": True}),
            ("TIFF", {}),
            ("TIFF", {"compression": "tiff_lzw"}),
        ],
    )
    def test_exif_turn(self, file_format: str, options: dict[str, object], turn: int) -> None:
        upright = np.full((24, 16), 255, np.uint8)
        upright[:8, :8], upright[16:, :8] = 0, 128
        stored = {
            1: upright,
            2: upright[:, ::-1],
            3: upright[::-1, ::-1],
            4: upright[::-1],
            5: upright.T,
            6: np.rot90(upright),
            7: upright[::-1, ::-1].T,
            8: np.rot90(upright, -1),
        }[turn]
        exif = Image.Exif()
        exif[0x0112] = turn
        image = Image.fromarray(np.ascontiguousarray(stored)).convert("RGB")
        page = only(encode(image, file_format, exif=exif, **options))
        assert page.image.size == (16, 24)
        seen = np.asarray(page.image.convert("L"), int)
        assert np.abs(seen - upright).max() < 30

    def test_exif_turn_of_deep_grey_and_of_alpha(self) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        for mode in ("I;16", "LA"):
            page = only(encode(Image.new(mode, (4, 2)), "PNG", exif=exif))
            assert page.image.size == (2, 4)


class TestPixelsInMemory:
    @pytest.mark.parametrize(
        ("pixels", "expected"),
        [
            (np.array([[0, 128, 255]], np.uint8), [BLACK, GREY, WHITE]),
            (np.array([[[0], [255]]], np.uint8), [BLACK, WHITE]),
            (np.array([[RED, BLUE]], np.uint8), [RED, BLUE]),
            (np.array([[(0, 0, 0, 0), (*BLUE, 255)]], np.uint8), [WHITE, BLUE]),
            (np.array([[False, True]]), [BLACK, WHITE]),
            (np.array([[0, 0x80FF, 65535]], np.uint16), [BLACK, GREY, WHITE]),
            (np.array([[0, 0x80FF, 65535]], ">u2"), [BLACK, GREY, WHITE]),
            (np.array([[0, 0.5, 1]], np.float64), [BLACK, GREY, WHITE]),
            (np.array([[(1, 0, 0)]], np.float32), [RED]),
        ],
    )
    def test_arrays(self, pixels: np.ndarray, expected: list[tuple[int, ...]]) -> None:
        page = only(pixels)
        assert colours(page) == expected
        assert page.source == "<array>"

    @pytest.mark.parametrize(
        ("pixels", "cure"),
        [
            (np.zeros(5, np.uint8), "height x width"),
            (np.zeros((5, 5, 2), np.uint8), "height x width"),
            (np.zeros((2, 5, 5, 3), np.uint8), "height x width"),
            (np.zeros((0, 5), np.uint8), "height x width"),
            (np.zeros((5, 5), np.int64), "convert it to uint8"),
            (np.zeros((5, 5), np.complex64), "convert it to uint8"),
            (np.full((5, 5), 200.0), "divide"),
            (np.full((5, 5), -0.1), "divide"),
            (np.full((5, 5), np.nan), "divide"),
        ],
    )
    def test_arrays_that_are_no_image(self, pixels: np.ndarray, cure: str) -> None:
        with pytest.raises(PageError, match=cure):
            open_pages(pixels)

    def test_the_image_of_the_caller_is_left_as_it_was(self) -> None:
        image = Image.new("RGB", (4, 2), RED)
        image.info["exif"] = b"broken"
        page = only(image)
        page.image.putpixel((0, 0), BLUE)
        assert image.getpixel((0, 0)) == RED
        assert image.info == {"exif": b"broken"}
        assert page.source == "<image>"
        assert only(image).image.size == (4, 2)  # still open

    def test_an_image_turned_by_exif(self) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        with Image.open(io.BytesIO(encode(Image.new("RGB", (4, 2)), "JPEG", exif=exif))) as image:
            assert only(image).image.size == (2, 4)
            assert image.size == (4, 2)


class TestSizes:
    @pytest.mark.parametrize("shade", [0, 255])
    def test_blank_pages_and_single_pixels_are_pages(self, shade: int) -> None:
        for size in ((1, 1), (300, 200)):
            page = only(encode(Image.new("L", size, shade), "PNG"))
            assert page.image.size == size
            assert page.image.getextrema() == ((shade, shade),) * 3

    def test_a_very_wide_image_is_read(self) -> None:
        assert colours(only(white_png(30_000, 20))) == [WHITE] * 30_000

    def test_too_many_pixels_name_size_and_limit(self) -> None:
        page = refused(white_png(20_000, 20_000))
        assert page.reason.startswith("20000 x 20000 is above the limit of 150 million pixels: ")

    def test_limit_is_ours_and_not_that_of_pillow(self, monkeypatch: pytest.MonkeyPatch) -> None:
        data = encode(Image.new("1", (40, 30)), "TIFF")
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
        with pytest.raises(Image.DecompressionBombError):
            Image.open(io.BytesIO(data))
        assert only(data).image.size == (40, 30)
        assert Image.MAX_IMAGE_PIXELS == 100
        monkeypatch.setattr("lightseek.colours.MAX_PIXELS", 1199)
        assert "40 x 30" in refused(data).reason

    def test_size_of_a_pdf_page_follows_dpi(self) -> None:
        data = encode_pdf(bars(1, width=72, height=36))
        assert only(data).image.size == (200, 100)
        assert only(data, dpi=72).image.size == (72, 36)

    def test_a_huge_pdf_page_is_rendered_at_fewer_dpi(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pages_module, "MAX_PIXELS", 20_000)
        width, height = only(encode_pdf(bars(1, width=7200, height=3600))).image.size
        assert (width, height) == (200, 100)

    def test_a_pdf_page_without_area(self) -> None:
        document = bars(2)
        document.pages[0].obj["/CropBox"] = pikepdf.Array([500, 500, 600, 600])
        first, second = open_pages(encode_pdf(document))
        assert isinstance(first, UnreadablePage)
        assert "no area" in first.reason
        assert isinstance(second, PageImage)

    def test_dpi_must_be_positive(self) -> None:
        with pytest.raises(UsageError, match="0 dpi"):
            open_pages(encode_pdf(bars(1)), dpi=0)


class TestPdf:
    def test_text_is_rendered(self) -> None:
        data = typst.compile(b"#set page(width: 100pt, height: 50pt)\n= Hello", format="pdf")
        dark = np.asarray(only(data).image) < 100
        assert 0.01 < dark.mean() < 0.2

    def test_colours_are_not_swapped(self) -> None:
        document = bars(1)
        document.pages[0].obj["/Contents"] = document.make_stream(b"1 0 0 rg 0 0 100 50 re f")
        assert colours(only(encode_pdf(document)))[0] == RED

    def test_pages_come_in_order(self) -> None:
        found = list(open_pages(encode_pdf(bars(40)), dpi=72))  # more than one opening
        assert [page.number for page in found] == list(range(1, 41))
        assert [bar_of(page) for page in found] == list(range(1, 41))

    def test_filled_in_fields_are_drawn(self) -> None:
        document = pikepdf.new()
        page = document.add_blank_page(page_size=(100, 50))
        ink = document.make_stream(b"0 0 100 50 re f")
        ink.Type, ink.Subtype = pikepdf.Name.XObject, pikepdf.Name.Form
        ink.BBox = pikepdf.Array([0, 0, 100, 50])
        entry = document.make_indirect(
            pikepdf.Dictionary(
                Type=pikepdf.Name.Annot,
                Subtype=pikepdf.Name.Widget,
                FT=pikepdf.Name.Tx,
                T=pikepdf.String("name"),
                V=pikepdf.String("Ada"),
                Rect=pikepdf.Array([0, 0, 100, 50]),
                AP=pikepdf.Dictionary(N=ink),
                F=4,
            )
        )
        page.obj["/Annots"] = pikepdf.Array([entry])
        document.Root.AcroForm = pikepdf.Dictionary(Fields=pikepdf.Array([entry]))
        assert colours(only(encode_pdf(document)))[50] == BLACK

    @pytest.mark.parametrize("lost", [True, False])
    def test_a_broken_page_does_not_stop_the_others(self, lost: bool) -> None:
        document = bars(3)
        document.pages[1].obj["/Type"] = pikepdf.Name.Broken
        data = encode_pdf(document)
        if lost:  # no longer an object that the list of pages could refer to
            data, num_lost = re.subn(rb" obj(?=\n<<[^\n]*/Broken)", b" xxx", data)
            assert num_lost == 1
        first, second, third = open_pages(data, dpi=72)
        assert (bar_of(first), bar_of(third)) == (1, 3)
        assert isinstance(second, UnreadablePage)
        assert second.number == 2
        assert "damaged" in second.reason

    @pytest.mark.parametrize("revision", [3, 4, 6])
    def test_encrypted(self, revision: int, tmp_path: Path) -> None:
        lock = pikepdf.Encryption(
            owner="boss", user="grün", R=revision, aes=revision > 3, metadata=revision > 3
        )
        path = tmp_path / "secret.pdf"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pikepdf on old ciphers
            path.write_bytes(encode_pdf(bars(2), encryption=lock))
        with pytest.raises(PageError, match=r"secret\.pdf cannot .* encrypted: give its password$"):
            open_pages(path)
        with pytest.raises(PageError, match="the password does not open it"):
            open_pages(path, password="wrong")
        for password in ("grün", "boss"):
            assert [bar_of(p) for p in open_pages(path, password=password, dpi=72)] == [1, 2]

    def test_a_password_that_nobody_asked_for(self) -> None:
        assert only(encode_pdf(bars(1)), password="any")

    def test_a_scan_that_cannot_be_decoded_is_no_empty_page(self) -> None:
        scan = encode(noise(), "JPEG", quality=90)
        document = pikepdf.new()
        for _ in range(3):
            page = document.add_blank_page(page_size=(120, 90))
            image = document.make_stream(scan)
            image.Type, image.Subtype = pikepdf.Name.XObject, pikepdf.Name.Image
            image.Width, image.Height, image.BitsPerComponent = 120, 90, 8
            image.ColorSpace, image.Filter = pikepdf.Name.DeviceRGB, pikepdf.Name.DCTDecode
            page.Resources = pikepdf.Dictionary(XObject=pikepdf.Dictionary(Scan=image))
            page.Contents = document.make_stream(b"120 0 0 90 0 0 cm /Scan Do")
        data = encode_pdf(document)
        parts = data.split(scan)
        assert len(parts) == 4
        broken = scan[:2] + bytes(len(scan) - 2)
        pages = list(open_pages(parts[0] + scan + parts[1] + broken + parts[2] + scan + parts[3]))
        assert [type(page) for page in pages] == [PageImage, UnreadablePage, PageImage]
        assert "the image on the page is damaged" in pages[1].reason


class TestLaziness:
    def test_two_thousand_pages(self, rendered: list[int]) -> None:
        data = encode_pdf(bars(2000))
        start = time.perf_counter()
        sheets = open_pages(data, dpi=72)
        assert len(sheets) == 2000
        assert rendered == []
        first = next(iter(sheets))
        assert time.perf_counter() - start < 1
        assert (first.number, rendered) == (1, [1])

    def test_only_chosen_pages_are_rendered(self, rendered: list[int]) -> None:
        found = list(open_pages(encode_pdf(bars(50)), pages="49-,7,3-4,4", dpi=72))
        assert rendered == [3, 4, 7, 49, 50] == [page.number for page in found]
        assert [bar_of(page) for page in found] == rendered

    def test_documents_are_closed(self, documents: Documents) -> None:
        sheets = open_pages(encode_pdf(bars(40)), dpi=9)
        assert len(documents) == 0
        stream: Iterator[object] = iter(sheets)
        next(stream)
        assert len(documents) == 1
        stream.close()  # type: ignore[attr-defined]
        assert len(documents) == 0

    def test_a_document_is_opened_anew_before_it_fills_memory(self, documents: Documents) -> None:
        for _ in open_pages(encode_pdf(bars(40)), dpi=9):
            assert len(documents) == 1
        assert len(documents) == 0
        assert documents.num_openings == 1 + 3  # to count, and for every 16 pages

    @pytest.mark.parametrize("name", ["page.tiff", "page.pdf"])
    def test_a_file_that_is_deleted_after_the_count(self, name: str, tmp_path: Path) -> None:
        path = tmp_path / name
        noise().save(path)
        sheets = open_pages(path)
        assert len(list(sheets)) == 1
        path.unlink()
        with pytest.raises(PageError, match="cannot be opened"):
            list(sheets)

    def test_threads_take_turns(self, monkeypatch: pytest.MonkeyPatch) -> None:
        data = encode_pdf(bars(4))
        inside: list[int] = []
        crowds: list[int] = []
        seen: list[list[int]] = []
        render = pages_module._Pdf.render

        def slow(self: pages_module._Pdf, number: int) -> Image.Image:
            inside.append(number)
            time.sleep(0.002)
            crowds.append(len(inside))
            inside.remove(number)
            return render(self, number)

        def work() -> None:
            seen.append([bar_of(page) for page in open_pages(data, dpi=72)])

        monkeypatch.setattr(pages_module._Pdf, "render", slow)
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert seen == [[1, 2, 3, 4]] * 4
        assert max(crowds) == 1


class TestBadFiles:
    @pytest.mark.parametrize(
        ("name", "content", "cure"),
        [
            ("gone.png", None, "does not exist: check its name"),
            ("empty.pdf", b"", "is empty: copy or export it again"),
            ("text.png", b"Dear Sir or Madam,\n", "is no PDF, PNG.*convert it"),
            ("text.ppm", b"P1 is my favourite racing team\n", "is no PDF, PNG.*convert it"),
            ("junk.pdf", b"%PDF-1.7\nnothing more", "the PDF is damaged"),
            ("no\0name.png", None, "cannot be opened"),
        ],
    )
    def test_whole_file(self, name: str, content: bytes | None, cure: str, tmp_path: Path) -> None:
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(PageError, match=cure) as caught:
            open_pages(path)
        assert str(caught.value).startswith(str(path))
        assert "\n" not in str(caught.value)

    def test_folder(self, tmp_path: Path) -> None:
        with pytest.raises(PageError, match="is a folder: name the files in it"):
            open_pages(tmp_path)

    def test_cut_pdf(self) -> None:
        data = encode_pdf(bars(20))
        with pytest.raises(PageError, match="the PDF is damaged"):
            open_pages(data[: len(data) // 2])

    @pytest.mark.parametrize(
        "file_format", ["PNG", "JPEG", "BMP", "TIFF", "GIF", "PPM", "JPEG2000"]
    )
    def test_a_cut_image_is_never_half_a_page(self, file_format: str) -> None:
        data = encode(noise(), file_format)
        page = refused(data[: len(data) * 2 // 3])
        assert page.reason.startswith("the page is cut off or damaged (")
        assert page.reason.endswith("): export or copy it again")

    @pytest.mark.parametrize("kept", [5, 20, 40])
    @pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "TIFF"])
    def test_an_image_cut_in_its_header(self, file_format: str, kept: int) -> None:
        with pytest.raises(PageError, match="or it is cut off"):
            open_pages(encode(noise(), file_format)[:kept])

    def test_a_cut_tiff_gives_the_pages_before(self) -> None:
        sheets = [Image.new("RGB", (40, 30), shade) for shade in (RED, BLUE, GREY)]
        data = encode(sheets[0], "TIFF", save_all=True, append_images=sheets[1:])
        first, cut, lost = open_pages(data[: len(data) // 2])
        assert colours(first)[0] == RED
        assert isinstance(cut, UnreadablePage)
        assert isinstance(lost, UnreadablePage)

    @pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
    def test_broken_exif_does_not_cost_the_page(self, file_format: str) -> None:
        assert only(encode(noise(), file_format, exif=b"Exif\0\0nonsense")).image.size == (120, 90)

    def test_warnings_of_pillow_do_not_leak(self) -> None:
        sheets = [noise(), noise()]
        data = encode(
            sheets[0], "TIFF", save_all=True, append_images=sheets[1:], compression="tiff_lzw"
        )
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            list(open_pages(data[: len(data) * 3 // 4]))
        assert caught == []


class TestPageRange:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("2", [2]),
            ("1-3,7", [1, 2, 3, 7]),
            ("5-", [5, 6, 7, 8, 9]),
            ("-2", [1, 2]),
            (" 9 , 1 - 2,2", [1, 2, 9]),
            ("4-4", [4]),
            ("1-9", list(range(1, 10))),
        ],
    )
    def test_chosen(self, text: str, expected: list[int]) -> None:
        assert parse_page_range(text, 9) == expected

    @pytest.mark.parametrize(
        "text", ["", "-", "a", "1,,2", "3-1", "0", "0-2", "1-2-3", "1 2", "1.5", "٣"]
    )
    def test_no_range(self, text: str) -> None:
        with pytest.raises(UsageError, match="names no pages: "):
            parse_page_range(text, 9)

    @pytest.mark.parametrize(
        ("text", "page"), [("9", 9), ("2-9", 9), ("5-", 5), ("1,4", 4), ("1-999999999", 999999999)]
    )
    def test_outside(self, text: str, page: int) -> None:
        with pytest.raises(PageError) as caught:
            parse_page_range(text, 3, source="scan.pdf")
        assert str(caught.value) == (
            f"page {page} asked for, but scan.pdf has 3 pages: ask for fewer, or write 1- for all"
        )

    def test_the_first_pages_are_as_many_as_there_are(self) -> None:
        assert parse_page_range("-5", 3) == [1, 2, 3]
        assert parse_page_range("-5", 9) == [1, 2, 3, 4, 5]

    def test_an_image_has_one_page(self, tmp_path: Path) -> None:
        noise().save(tmp_path / "a.png")
        assert len(open_pages(tmp_path / "a.png", pages="1")) == 1
        with pytest.raises(PageError, match=r"page 2 asked for, but .*a\.png has 1 page: "):
            open_pages(tmp_path / "a.png", pages="2")

    def test_pages_is_what_open_pages_returns(self) -> None:
        sheets = open_pages(encode_pdf(bars(5)), pages="2-4")
        assert isinstance(sheets, Pages)
        assert (len(sheets), list(sheets.numbers), sheets.source) == (3, [2, 3, 4], "<bytes>")
