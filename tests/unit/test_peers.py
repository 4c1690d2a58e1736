import subprocess
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from PIL import Image

from lightseek.document import Status
from lightseek.errors import MissingExtraError
from lightseek.eval import peers
from lightseek.eval.peers import Kind, Peer, find_kind, rapidocr, tesseract, tesseract_by_page
from lightseek.eval.suite import Engine


class Program:
    """Stands for Tesseract: says the height of each image, and stops at one of 13 px."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.environments: list[dict[str, str]] = []

    def __call__(
        self, words: Sequence[str], *, env: dict[str, str], **options: object
    ) -> subprocess.CompletedProcess[str]:
        self.calls.append(list(words[1:]))
        self.environments.append(env)
        if words[1] == "--list-langs":
            return self._done("List of languages (3):\nfra\neng\nosd\n")
        if words[1] == "--version":
            return self._done("tesseract 9.8.7\n leptonica\n")
        texts = []
        listed = Path(words[1])
        for name in [listed] if listed.suffix == ".png" else listed.read_text().splitlines():
            with Image.open(name) as image:
                height = image.height
            if height == 13:
                return self._done("\f".join(texts), returncode=1)
            texts.append(f"{height} px\n")
        return self._done("\f".join(texts))

    @staticmethod
    def _done(stdout: str, returncode: int = 0) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], returncode, stdout=stdout)


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Program:
    program = Program()
    monkeypatch.setattr(subprocess, "run", program)
    return program


def save(folder: Path, *heights: int) -> list[Path]:
    files = [folder / f"{i}-{heights[i]}.png" for i in range(len(heights))]
    for file, height in zip(files, heights, strict=True):
        Image.new("RGB", (20, height)).save(file)
    return files


def test_the_median_height_says_what_a_set_holds() -> None:
    assert find_kind([30, 40, 700]) is Kind.LINE
    assert find_kind([90, 300, 400]) is Kind.PARAGRAPH
    assert find_kind([90, 1600, 2200]) is Kind.PAGE


@pytest.mark.parametrize(
    ("make", "threads"), [(tesseract, 1), (tesseract, 2), (tesseract, 3), (tesseract_by_page, 2)]
)
def test_tesseract_reads_all_in_order_whatever_fails(
    program: Program, tmp_path: Path, make: Callable[[int], Peer], threads: int
) -> None:
    files = save(tmp_path, 30, 31, 13, 33, 34)
    files.insert(1, tmp_path / "missing.png")
    documents = list(make(threads).read_all(files))
    assert [d.source for d in documents] == list(map(str, files))
    pages = [page for document in documents for page in document.pages]
    assert [page.text for page in pages] == ["30 px\n", "", "31 px\n", "", "33 px\n", "34 px\n"]
    failed = [page.reason for page in pages if page.status is Status.FAILED]
    assert len(failed) == 2
    assert "missing.png" in str(failed[0])
    assert failed[1] == "the engine gave it up"


def test_tesseract_knows_our_languages_and_what_the_images_are(
    program: Program, tmp_path: Path
) -> None:
    peer = tesseract(1)
    list(peer.read_all(save(tmp_path, 30)))
    assert peer.name == "tesseract 9.8.7"
    assert program.calls[-1][2:] == ["-l", "eng+fra", "--psm", "7"]


def test_tesseract_as_people_call_it_has_a_process_and_its_own_threads_for_each_image(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", "10000")
    list(tesseract(2).read_all(save(tmp_path, 30, 31)))
    assert program.environments[-1]["OMP_THREAD_LIMIT"] == "1"
    peer, before = tesseract_by_page(2), len(program.calls)
    list(peer.read_all(save(tmp_path, 30, 31)))
    assert peer.name == "tesseract 9.8.7 by page"
    assert len(program.calls) - before == 2
    assert not {"OMP_THREAD_LIMIT", "GOMP_SPINCOUNT"} & program.environments[-1].keys()


def test_few_images_are_held_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "IMAGES_AT_ONCE", 2)
    sizes: list[int] = []

    def read(images: Sequence[Image.Image], kind: Kind) -> list[str | None]:
        sizes.append(len(images))
        return ["x"] * len(images)

    documents = list(Peer("fake", read).read_all(save(tmp_path, 9, 9, 9, 9, 9)))
    assert sizes == [2, 2, 1]
    assert all(document.text == "x\n" for document in documents)


def test_a_peer_is_an_engine() -> None:
    assert isinstance(Peer("fake", lambda images, kind: []), Engine)


def test_tesseract_without_a_language_of_ours(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "LANGUAGES", ("deu",))
    with pytest.raises(MissingExtraError, match="apt-get install"):
        tesseract(1)


def test_rapidocr_looks_for_lines_where_there_may_be_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Fake:
        def __init__(self, params: dict[str, object]) -> None:
            assert params["EngineConfig.onnxruntime.intra_op_num_threads"] == 1

        def __call__(self, image: Image.Image, **switches: bool) -> types.SimpleNamespace:
            texts = (str(image.height), str(switches["use_det"])) if image.height > 9 else None
            return types.SimpleNamespace(txts=texts)

    package = types.ModuleType("rapidocr")
    package.RapidOCR = Fake  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "rapidocr", package)
    monkeypatch.setitem(sys.modules, "onnxruntime", types.ModuleType("onnxruntime"))
    monkeypatch.setattr(peers, "version", lambda name: "1.2")
    peer = rapidocr(2)
    assert peer.name == "rapidocr 1.2"
    lines, page = save(tmp_path, 9, 10, 11), save(tmp_path, 700)
    assert [d.text for d in peer.read_all(lines)] == ["\n", "10\nFalse\n", "11\nFalse\n"]
    assert [d.text for d in peer.read_all(page)] == ["700\nTrue\n"]
