import json
import shutil
import tarfile
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from lightseek.data import dataset
from lightseek.data.dataset import Pairs, find_faults, load_pairs
from lightseek.errors import DataError

COUNT = 5


def png(grey: int) -> bytes:
    buffer = BytesIO()
    Image.new("L", (8 + grey, 8), grey).save(buffer, "png")
    return buffer.getvalue()


def text_of(i: int) -> str:
    return f"páge {i}" * (i + 1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "pairs"
    (made / "more").mkdir(parents=True)
    for i in range(COUNT):
        home = made if i < 3 else made / "more"
        (home / f"{i}.png").write_bytes(png(i))
        (home / f"{i}.txt").write_text(text_of(i), encoding="utf-8")
    return made


def write_shard(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, BytesIO(data))
    return path


def shard_files(rows: range) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for i in rows:
        files |= {f"set/{i}.png": png(i), f"set/{i}.txt": text_of(i).encode()}
    return files


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    made = tmp_path / "shards"
    made.mkdir()
    write_shard(made / "a-000.tar", shard_files(range(3)))
    write_shard(made / "a-001.tar", shard_files(range(3, COUNT)))
    return made


def write_lines(path: Path, rows: list[object]) -> Path:
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def assert_all_there(pairs: Pairs) -> None:
    assert len(pairs) == COUNT
    for i in range(COUNT):
        pair = pairs[i]
        assert (pair.text, pair.image.size, pair.image.mode) == (text_of(i), (8 + i, 8), "RGB")
        assert pair.text == pairs.text(i)
    assert list(pairs.lengths) == sorted(pairs.lengths)
    assert list(find_faults(pairs)) == []


def faults(source: str | Path) -> list[str]:
    return list(find_faults(load_pairs(source)))


class TestSources:
    def test_a_folder(self, folder: Path) -> None:
        (folder / "notes.txt").write_text("a text without an image is passed over")
        assert_all_there(load_pairs(folder))

    def test_json_lines(self, folder: Path) -> None:
        homes = [folder if i < 3 else folder / "more" for i in range(COUNT)]
        rows: list[object] = [
            {"image": f"{home.relative_to(folder)}/{i}.png", "text": text_of(i), "id": i}
            for i, home in enumerate(homes)
        ]
        assert_all_there(load_pairs(write_lines(folder / "rows.jsonl", [*rows, ""])))

    def test_a_folder_with_images_and_a_shard(self, folder: Path) -> None:
        write_shard(folder / "backup.tar", shard_files(range(2)))
        with pytest.raises(DataError, match=r"images, such as 0\.png, and shards, such as backup"):
            load_pairs(folder)

    def test_line_ends_of_windows(self, folder: Path) -> None:
        (folder / "0.txt").write_bytes(b"one\r\ntwo\r\n")
        assert load_pairs(folder).text(0) == "one\ntwo\n"
        row = {"image": "0.png", "text": "one\r\ntwo\rthree"}
        assert load_pairs(write_lines(folder / "rows.jsonl", [row])).text(0) == "one\ntwo\nthree"

    def test_shards_by_folder_and_by_name(self, shards: Path) -> None:
        assert_all_there(load_pairs(shards))
        assert len(load_pairs(shards / "a-000.tar")) == 3

    def test_shards_in_braces(self, shards: Path) -> None:
        pytest.importorskip("webdataset")
        assert_all_there(load_pairs(f"{shards}/a-{{000..001}}.tar"))
        with pytest.raises(DataError, match=r"no shard .*a-002\.tar"):
            load_pairs(f"{shards}/a-{{000..002}}.tar")

    def test_remote_shards_are_fetched_once(self, shards: Path, tmp_path: Path) -> None:
        pytest.importorskip("webdataset")
        url = f"pipe:cat {shards}/a-000.tar"
        assert len(load_pairs(url, downloads=tmp_path / "kept")) == 3
        shutil.rmtree(shards)
        assert load_pairs(url, downloads=tmp_path / "kept")[2].text == text_of(2)

    def test_a_remote_shard_that_cannot_be_fetched(self, tmp_path: Path) -> None:
        pytest.importorskip("webdataset")
        with pytest.raises(DataError, match="cannot be fetched"):
            load_pairs(f"pipe:cat {tmp_path}/none.tar 2>/dev/null", downloads=tmp_path / "kept")
        with pytest.raises(DataError, match="check that it is there, a tar file"):
            load_pairs("pipe:echo no tar file", downloads=tmp_path / "kept")
        assert not list((tmp_path / "kept").iterdir())

    def test_what_is_no_source(self, tmp_path: Path) -> None:
        (tmp_path / "book.pdf").touch()
        for name, cause in [("none", "does not exist"), ("book.pdf", "holds no data set")]:
            with pytest.raises(DataError, match=cause):
                load_pairs(tmp_path / name)

    def test_an_empty_one(self, tmp_path: Path) -> None:
        (tmp_path / "rows.jsonl").write_text("\n\n")
        write_shard(tmp_path / "none.tar", {})
        (tmp_path / "folder").mkdir()
        for name in ("rows.jsonl", "none.tar", "folder"):
            with pytest.raises(DataError, match=f"{name} is empty"):
                load_pairs(tmp_path / name)

    def test_the_fingerprint_follows_the_rows_and_not_the_folder(self, folder: Path) -> None:
        before = load_pairs(folder).fingerprint
        moved = folder.rename(folder.with_name("moved"))
        assert load_pairs(moved).fingerprint == before
        (moved / "0.txt").write_text("another text")
        assert load_pairs(moved).fingerprint != before

    def test_the_fingerprint_tells_images_of_one_size_apart(self, tmp_path: Path) -> None:
        for name, shade in (("a", 10), ("b", 200)):
            Image.new("L", (90, 90), shade).save(tmp_path / f"{name}.bmp")
        rows = [{"image": f"{name}.bmp", "text": "same"} for name in "ab"]
        index = tmp_path / "rows.jsonl"
        found = set()
        for order in (rows, rows[::-1]):
            index.write_text("".join(f"{json.dumps(row)}\n" for row in order))
            found.add(load_pairs(index).fingerprint)
        Image.new("L", (90, 90), 11).save(tmp_path / "b.bmp")
        found.add(load_pairs(index).fingerprint)
        assert len(found) == 3

    @pytest.mark.parametrize("suffix", ["bmp", "tif", "png"])
    def test_the_fingerprint_tells_white_pages_by_their_print(
        self, tmp_path: Path, suffix: str
    ) -> None:
        found = set()
        for words in ("", "a line", "A LINE"):
            page = Image.new("L", (1000, 1400), 255)
            for y in range(100, 1300, 30):
                ImageDraw.Draw(page).text((100, y), words * 20, fill=0)
            page.save(tmp_path / f"page.{suffix}")
            (tmp_path / "page.txt").write_text("the same")
            found.add(load_pairs(tmp_path).fingerprint)
        assert len(found) == 3


class TestFaults:
    """Every bad row is named, with what to do, and the good ones stay."""

    def test_of_files(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (folder / "0.txt").unlink()
        (folder / "1.txt").write_text(" \n")
        (folder / "2.png").write_bytes(png(2)[:40])
        (folder / "more/3.txt").write_bytes(b"\xff\xfe1")
        (folder / "more/4.png").write_text("no image")
        (folder / "more/5.png").write_bytes(png(200))
        (folder / "more/5.txt").write_text("too large")
        Image.new("L", (8, 8)).save(
            folder / "more/6.tiff", save_all=True, append_images=[Image.new("L", (8, 8))]
        )
        (folder / "more/6.txt").write_text("two pages")
        (folder / "more/7.png").write_bytes(png(7))
        (folder / "more/7.txt").write_text("long" * 100)
        monkeypatch.setattr(dataset, "MAX_TEXT_BYTES", 100)
        monkeypatch.setattr("lightseek.colours.MAX_PIXELS", 1000)
        named = dict(zip([*range(8)], faults(folder), strict=True))
        for i, words in {
            0: "0.png: it has no text: put 0.txt beside it",
            1: "1.png: its text is empty",
            2: "2.png: ",
            3: "3.png: its text is not UTF-8",
            4: "4.png: its image cannot be opened",
            5: "5.png: 208 x 8 is above the limit",
            6: "6.tiff: its image has 2 pages",
            7: "7.png: 400 bytes of text",
        }.items():
            assert words in named[i]
            assert "\n" not in named[i]

    def test_of_lines(self, folder: Path) -> None:
        good = {"image": "0.png", "text": "good"}
        bad: list[object] = [
            "{broken",
            [1, 2],
            {"text": "no image"},
            {"image": "0.png"},
            {"image": "0.png", "text": None},
            {"image": "9.png", "text": "lost"},
            {"image": "0.png", "text": ""},
            {"image": "0.png", "text": "abc \ud83d"},
            {"image": "i" * 300, "text": "bytes in place of a name"},
            "[" * 100_000,
        ]
        rows = write_lines(folder / "rows.jsonl", [good, *bad, good])
        named = faults(rows)
        causes = ["not JSON", "no image", "no image", "no text", "no text", "not exist", "is empty"]
        causes += ["half a character", "is no path: File name too long", "not JSON"]
        assert len(named) == len(causes)
        for number, (line, cause) in enumerate(zip(named, causes, strict=True), 2):
            assert line.startswith(f"{rows}:{number}: ")
            assert cause in line
        assert load_pairs(rows)[len(bad) + 1].text == "good"

    def test_of_shards(self, shards: Path) -> None:
        files = shard_files(range(3))
        del files["set/1.txt"]
        write_shard(shards / "a-000.tar", files)
        [fault] = faults(shards)
        assert "a-000.tar: set/1: it has no text" in fault

    def test_a_text_of_a_shard_that_no_row_would_show(self, shards: Path) -> None:
        files = shard_files(range(2))
        shard = shards / "a-000.tar"
        write_shard(shard, files)
        with tarfile.open(shard, "a") as opened:
            member = tarfile.TarInfo("set/1.txt")
            opened.addfile(member)
        [twice, *_] = faults(shard)
        assert "set/1: a text of this key was there before" in twice

    def test_images_of_shards_that_no_row_would_show(self, shards: Path) -> None:
        files = shard_files(range(2)) | {"set/1.jpg": png(1), "set/scan.2.png": png(2)}
        write_shard(shards / "a-000.tar", files)
        found = faults(shards / "a-000.tar")
        assert len(found) == 2
        assert "set/1: an image of this key was there before" in found[0]
        assert "set/scan.2.png: its key ends at the first dot" in found[1]
        assert len(load_pairs(shards / "a-000.tar")) == 4

    @pytest.mark.parametrize("kept", [1024 + 3000, 2 * 1024, 10 * 512, 7 * 512 + 100])
    def test_a_shard_that_is_cut_off(self, shards: Path, kept: int) -> None:
        broken = shards / "a-000.tar"
        broken.write_bytes(broken.read_bytes()[:kept])
        *_, last = faults(broken)
        assert f"{broken}: the shard is cut off or damaged after" in last
        assert len(faults(shards)) == len(faults(broken))

    def test_a_shard_with_a_broken_header(self, shards: Path) -> None:
        broken = shards / "a-000.tar"
        data = bytearray(broken.read_bytes())
        data[4 * 512 : 5 * 512] = b"x" * 512
        broken.write_bytes(data)
        *_, last = faults(broken)
        assert "damaged after 2 files" in last
        assert load_pairs(broken)[0].text == text_of(0)

    def test_a_shard_that_is_none(self, shards: Path) -> None:
        (shards / "a-000.tar").write_text("<html>404</html>" * 100)
        [fault] = faults(shards)
        assert fault.startswith(f"{shards}/a-000.tar: it is no tar file")

    def test_a_file_that_changes(self, folder: Path) -> None:
        pairs = load_pairs(folder)
        (folder / "0.png").write_bytes(b"")
        (folder / "1.txt").unlink()
        with pytest.raises(DataError, match="has changed"):
            pairs[0]
        with pytest.raises(DataError, match="cannot be read"):
            pairs[1]
