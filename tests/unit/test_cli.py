"""Commands as a shell gives them; most pages are blank, so that there is nothing to read."""

import errno
import json
import os
import subprocess
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image, ImageDraw, ImageFont

from lightseek import cli
from lightseek.cli.files import write_whole
from lightseek.cli.read import read as reading_command
from lightseek.data.fonts import SHIPPED
from lightseek.document import Document, Page, Status
from lightseek.eval.report import Report
from lightseek.ocr import OCR, Reading

TEXT = "Hello world"
CONFIGS = Path(__file__).parents[2] / "configs"

Run = Callable[..., Result]


def image(text: str = "") -> Image.Image:
    font = ImageFont.truetype(SHIPPED / "Inter-Regular.otf", 30)
    sheet = Image.new("L", (240, 80), 255)
    ImageDraw.Draw(sheet).text((20, 20), text, font=font, fill=0)
    return sheet


@pytest.fixture(scope="module")
def ocr() -> OCR:
    return OCR()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a page with text, two without, and a file that is no page."""
    monkeypatch.chdir(tmp_path)
    image(TEXT).save("hello.png")
    image().save("blank.png")
    image().save("blank.tiff")
    Path("notes.txt").write_text("no page")
    return tmp_path


@pytest.fixture
def run(ocr: OCR, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Give a command; the model is loaded already."""
    monkeypatch.setattr("lightseek.cli.console.load_reader", lambda *words: ocr)

    def give(*words: str, stdin: bytes | None = None, **env: str) -> Result:
        result = CliRunner(env=env).invoke(cli.main, words, input=stdin)
        assert result.exc_info is None or result.exc_info[0] is SystemExit, result.exc_info
        return result

    return give


class TestRead:
    def test_what_python_reads(self, run: Run, ocr: OCR) -> None:
        document = ocr.read("hello.png")
        assert document.text == f"{TEXT}\n"
        assert run("read", "hello.png").stdout == document.markdown
        assert run("read", "hello.png", "--format", "text").stdout == document.text
        result = run("read", "hello.png", "-f", "json")
        assert Document.from_json(result.stdout).text == document.text
        assert (result.exit_code, result.stderr) == (0, "")

    def test_pages_that_lie_wrong_or_are_doubtful_are_named(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sheet = Image.new("L", (240, 240), 255)
        for row in range(3):
            sheet.paste(image("A letter came"), (0, 70 * row))
        sheet.rotate(180).save("turned.png")
        result = run("read", "turned.png")
        assert (result.exit_code, result.stdout.split()) == (0, ["A", "letter", "came"] * 3)
        assert result.stderr == "turned.png page 1: read turned by 180 degrees clockwise\n"
        monkeypatch.setattr("lightseek.turned.DOUBTFUL", 1.1)
        result = run("read", "hello.png")
        assert result.exit_code == 0
        assert result.stderr.startswith("hello.png page 1: confidence 0.9")

    def test_standard_input(self, run: Run, folder: Path) -> None:
        result = run("read", "-", stdin=(folder / "hello.png").read_bytes())
        assert (result.exit_code, result.stdout, result.stderr) == (0, f"{TEXT}\n", "")

    def test_files_in_order(self, run: Run) -> None:
        result = run("read", "blank.png", "hello.png", "blank.tiff", "-f", "text")
        assert result.stdout == f"\n{TEXT}\n\n"

    def test_json_of_one_file_is_for_people_of_more_a_line_each(self, run: Run) -> None:
        alone = run("read", "hello.png", "-f", "json").stdout
        assert len(alone.splitlines()) > 10
        files = ["blank.png", "notes.txt", "hello.png"]
        lines = run("read", *files, "-f", "json").stdout.splitlines()
        documents = [Document.from_json(line) for line in lines]
        assert [document.source for document in documents] == files
        assert [document.ok for document in documents] == [True, False, True]

    def test_options_reach_the_pages(self, run: Run) -> None:
        sheets = [Image.new("L", (72, 72), 255)] * 5
        sheets[0].save("five.pdf", save_all=True, append_images=sheets[1:], resolution=72)
        result = run("read", "five.pdf", "--pages", "1,4-", "--dpi", "100", "-f", "json")
        pages = Document.from_json(result.stdout).pages
        assert [(page.number, page.width) for page in pages] == [(1, 100), (4, 100), (5, 100)]

    def test_mode(self, run: Run) -> None:
        assert run("read", "blank.png", "--mode", "blocks").exit_code == 0
        assert_refused(run("read", "blank.png", "--mode", "tiny"), "leave the mode out")


def test_what_is_not_asked_is_as_from_python() -> None:
    given = reading_command.make_context("read", ["page.png"]).params
    assert Reading(**{field.name: given[field.name] for field in fields(Reading)}) == Reading()


class TestStreams:
    """Results and nothing else on stdout, everything else on stderr."""

    def test_failures(self, run: Run) -> None:
        result = run("read", "hello.png", "notes.txt", "-f", "text")
        assert result.stdout == f"{TEXT}\n\n"
        assert result.stderr.startswith("notes.txt cannot be opened: ")
        assert result.stderr.count("\n") == 1

    def test_progress_on_a_terminal(self, run: Run) -> None:
        result = run("read", "hello.png", "notes.txt", "-f", "text", FORCE_COLOR="1")
        assert result.stdout == f"{TEXT}\n\n"
        assert "2/2" in result.stderr
        assert "notes.txt cannot be opened" in result.stderr

    def test_names_are_no_markup(self, run: Run) -> None:
        image().save("a[red]b[.png")
        result = run("read", "a[red]b[.png", "c[.png", FORCE_COLOR="1")
        assert "a[red]b[.png page 1" in result.stderr
        assert "c[.png does not exist" in result.stderr

    def test_a_model_name_is_no_markup(self, folder: Path) -> None:
        result = CliRunner().invoke(cli.main, ["read", "blank.png", "--model", "[/m]"])
        assert_refused(result, "no model [/m]")

    def test_text_is_utf8_whatever_the_locale(
        self, run: Run, ocr: OCR, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        text = Document(source="s", pages=(failed("Łódź “a”"),))
        monkeypatch.setattr(ocr, "read_all", lambda *args, **options: [text])
        result = CliRunner(charset="latin-1").invoke(cli.main, ["read", "blank.png"])
        assert result.stdout_bytes.decode() == "<!-- failed: Łódź “a” -->\n"

    def test_a_truncated_page_is_read_and_reported(
        self, run: Run, ocr: OCR, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        page = failed("no end").model_copy(update={"status": Status.TRUNCATED})
        found = Document(source="s.png", pages=(page,))
        monkeypatch.setattr(ocr, "read_all", lambda *args, **options: [found])
        result = run("read", "blank.png")
        assert (result.exit_code, result.stderr) == (0, "s.png page 1: truncated: no end\n")


def failed(reason: str) -> Page:
    return Page(number=1, width=9, height=9, status=Status.FAILED, reason=reason)


def assert_refused(result: Result, message: str) -> None:
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


class TestExitCodes:
    def test_all_read(self, run: Run) -> None:
        assert run("read", "hello.png", "blank.png").exit_code == 0

    def test_some_failed(self, run: Run) -> None:
        assert run("read", "notes.txt", "blank.png").exit_code == 1
        assert run("read", "notes.txt").exit_code == 1

    @pytest.mark.parametrize(
        "words",
        [
            ["read"],
            ["read", "blank.png", "--format", "xml"],
            ["read", "blank.png", "--dpi", "0"],
            ["read", "blank.png", "--pages", "one"],
            ["read", "blank.png", "--pages", "0"],
            ["read", "blank.png", "--nonsense"],
            ["nonsense"],
            ["eval"],
        ],
    )
    def test_wrong_use(self, run: Run, words: list[str]) -> None:
        result = run(*words)
        assert result.exit_code == 2
        assert result.stdout == ""
        assert result.stderr.splitlines()[-1].startswith("Error: ")

    def test_a_page_that_cannot_be_explained(self, run: Run) -> None:
        result = run("explain", "notes.txt")
        assert (result.exit_code, result.stdout) == (1, "")
        assert "notes.txt cannot be opened" in result.stderr

    def test_interrupted(self, run: Run, ocr: OCR, monkeypatch: pytest.MonkeyPatch) -> None:
        """What was read before Ctrl-C stays."""
        whole = Document(source="hello.png", pages=())

        def interrupt(*args: object, **options: object) -> Iterator[Document]:
            yield whole
            raise KeyboardInterrupt

        monkeypatch.setattr(ocr, "read_all", interrupt)
        result = run("read", "hello.png", "blank.png", "-f", "json", "-o", "out")
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.strip() == "Aborted!"
        assert Document.from_json(Path("out/hello.json").read_text()) == whole


class TestOutputFolder:
    @pytest.mark.parametrize(
        ("format_", "name"),
        [("markdown", "hello.md"), ("text", "hello.txt"), ("json", "hello.json")],
    )
    def test_each_format_has_its_suffix(self, run: Run, format_: str, name: str) -> None:
        result = run("read", "hello.png", "blank.png", "-f", format_, "-o", "new/out")
        assert (result.exit_code, result.output) == (0, "")
        names = sorted(path.name for path in Path("new/out").iterdir())
        assert names == [f"blank{Path(name).suffix}", name]
        assert TEXT in Path("new/out", name).read_text() or format_ == "json"

    def test_json_in_a_file_is_for_people(self, run: Run) -> None:
        run("read", "hello.png", "blank.png", "-f", "json", "-o", ".")
        text = Path("hello.json").read_text()
        assert len(text.splitlines()) > 10
        assert Document.from_json(text).text == f"{TEXT}\n"

    def test_a_folder_keeps_its_sub_folders(self, run: Run, folder: Path) -> None:
        for name in ("scans/v1/p.png", "scans/v2/p.png", "scans/v2/p.tiff", "scans/notes.txt"):
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_bytes((folder / "blank.png").read_bytes())
        result = run("read", "scans", "hello.png", "-o", "out")
        assert (result.exit_code, result.output) == (0, "")
        made = sorted(str(p.relative_to("out")) for p in Path("out").rglob("*") if p.is_file())
        assert made == ["hello.md", "v1/p.md", "v2/p.png.md", "v2/p.tiff.md"]
        lines = run("read", "scans", "-f", "json").stdout.splitlines()
        assert [json.loads(line)["source"] for line in lines] == [
            *("scans/v1/p.png", "scans/v2/p.png", "scans/v2/p.tiff"),
        ]

    def test_what_a_folder_holds_besides_is_told(self, run: Run, folder: Path) -> None:
        Path("scans").mkdir()
        for name in ("a.jfif", "b.heic", "notes.txt"):
            (Path("scans") / name).write_bytes((folder / "blank.png").read_bytes())
        result = run("read", "scans", "-o", "out")
        assert result.exit_code == 0
        told = "scans: 1 passed over, such as b.heic: save as PNG, JPEG or PDF\n"
        assert result.stderr == told
        assert [path.name for path in Path("out").iterdir()] == ["a.md"]

    def test_a_folder_without_pages(self, run: Run) -> None:
        Path("scans").mkdir()
        Path("scans/._page.png").write_bytes(b"what a Mac keeps beside a page")
        assert_refused(run("read", "scans"), "scans holds no images and no PDFs")
        assert_refused(run("read", ""), "a file without a name")

    def test_a_folder_with_links_and_what_is_hidden(self, run: Run) -> None:
        for name in ("scans/one", "scans/.thumbs", "elsewhere"):
            Path(name).mkdir(parents=True)
        for name in ("scans/one/a.png", "scans/.thumbs/a.png", "elsewhere/b.jpx"):
            Path(name).write_bytes(Path("blank.png").read_bytes())
        Path("scans/link").symlink_to(Path("elsewhere").resolve())
        Path("scans/another").symlink_to(Path("scans/one").resolve())
        os.mkfifo("scans/pipe.png")
        Path("scans/one/back").symlink_to(Path("scans").resolve())
        Path("scans/gone.png").symlink_to("nowhere.png")
        result = run("read", "scans", "-o", "out")
        assert result.exit_code == 1
        assert "scans/gone.png does not exist" in result.stderr
        found = {path.relative_to("out").as_posix() for path in Path("out").rglob("*.md")}
        assert found == {"one/a.md", "link/b.md"}

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="may read anything")
    def test_a_folder_that_may_not_be_looked_into_is_named(self, run: Run) -> None:
        Path("scans/closed").mkdir(parents=True)
        Path("scans/a.png").write_bytes(Path("blank.png").read_bytes())
        Path("scans/closed").chmod(0)
        result = run("read", "scans", "-o", "out")
        assert "scans/closed is passed over: Permission denied" in result.stderr

    def test_figures_of_a_model_that_finds_none(self, run: Run) -> None:
        assert_refused(run("read", "hello.png", "--figures", "figures"), "nano finds no figures")

    def test_figures_among_the_pages(self, run: Run) -> None:
        result = run("read", ".", "--figures", "figures")
        assert_refused(result, "figures in . would be read as pages")

    def test_what_has_a_result_is_passed_over(self, run: Run) -> None:
        asked = ("read", "hello.png", "blank.png", "notes.txt", "-o", "out", "--skip-existing")
        Path("out").mkdir()
        Path("out/hello.md").write_text("before")
        result = run(*asked)
        assert result.exit_code == 1, "notes.txt is no page"
        assert "1 of 3 files have a result, 2 are read" in result.stderr
        assert Path("out/hello.md").read_text() == "before"
        again = run(*asked)
        assert "2 of 3 files have a result, 1 are read" in again.stderr
        done = run("read", "hello.png", "-o", "out", "--skip-existing")
        assert (done.exit_code, done.stdout) == (0, "")
        assert_refused(run("read", "hello.png", "--skip-existing"), "name a folder by -o")

    def test_shards_are_all_of_it_and_none_twice(self, run: Run) -> None:
        given = ("hello.png", "blank.png", "blank.tiff")
        read: list[list[str]] = []
        for shard in ("1/2", "2/2"):
            result = run("read", *given, "-f", "json", "--shard", shard)
            read.append([json.loads(line)["source"] for line in result.stdout.splitlines()])
        assert sorted([*read[0], *read[1]]) == sorted(given)
        again = run("read", *given[1:], "-f", "json", "--shard", "1/2").stdout.splitlines()
        left = [name for name in read[0] if name != "hello.png"]
        assert [json.loads(line)["source"] for line in again] == left, "whatever else there is"
        for wrong in ("0/2", "3/2", "2", "a/b"):
            assert_refused(run("read", *given, "--shard", wrong), "write K/N")

    def test_a_killed_run_leaves_no_half_of_a_result(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Path("out").mkdir()
        Path("out/hello.md").write_text("before")

        def die(path: Path, target: Path) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(Path, "replace", die)
        with pytest.raises(KeyboardInterrupt):
            write_whole(Path("out/hello.md"), "half")
        assert Path("out/hello.md").read_text() == "before"

    def test_files_of_one_stem_keep_their_suffix(self, run: Run) -> None:
        run("read", "blank.png", "hello.png", "blank.tiff", "-o", "out")
        names = sorted(path.name for path in Path("out").iterdir())
        assert names == ["blank.png.md", "blank.tiff.md", "hello.md"]

    def test_a_name_with_two_suffixes_meets_no_other(self, run: Run) -> None:
        for name in ("a.png", "a.jpg", "a.png.tiff"):
            Path(name).write_bytes(Path("blank.png").read_bytes())
        assert run("read", "a.png", "a.jpg", "a.png.tiff", "-o", "out").exit_code == 0
        names = sorted(path.name for path in Path("out").iterdir())
        assert names == ["a.jpg.md", "a.png.md", "a.png.tiff.md"]

    def test_standard_input_is_called_so(self, run: Run, folder: Path) -> None:
        run("read", "-", "-o", "out", stdin=(folder / "blank.png").read_bytes())
        assert [path.name for path in Path("out").iterdir()] == ["stdin.md"]

    def test_files_of_one_name_are_refused(self, run: Run) -> None:
        Path("sub").mkdir()
        result = run("read", "blank.png", "sub/blank.png", "-o", "out")
        assert_refused(result, "blank.png is given twice: ")

    @pytest.mark.parametrize("folder_", ["notes.txt", "notes.txt/out"])
    def test_a_file_is_no_folder(self, run: Run, folder_: str) -> None:
        assert_refused(run("read", "blank.png", "-o", folder_), f"{folder_} cannot be made: ")
        assert Path("notes.txt").read_text() == "no page"

    def test_what_was_read_before_stays(self, run: Run) -> None:
        Path("out").mkdir()
        Path("out/other.md").write_text("kept")
        Path("out/hello.md").write_text("old")
        Path("out/notes.md").write_text("kept")
        assert run("read", "hello.png", "notes.txt", "-o", "out").exit_code == 1
        texts = {path.name: path.read_text() for path in Path("out").iterdir()}
        assert texts == {"other.md": "kept", "hello.md": f"{TEXT}\n", "notes.md": "kept"}

    def test_a_full_disk_ends_the_run(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        def write(path: Path, text: str, encoding: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(Path, "write_text", write)
        result = run("read", "blank.png", "hello.png", "-o", "out")
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith("Error: out/blank.md: No space left on device; make room")
        assert result.stderr.count("No space") == 1
        assert not list(Path("out").iterdir())

    def test_a_name_that_cannot_be_written_costs_one_file(self, run: Run) -> None:
        Path("a" * 250 + ".png").write_bytes(Path("hello.png").read_bytes())
        Path("b" * 253 + ".j").symlink_to("hello.png")
        long = ("a" * 250 + ".png", "b" * 253 + ".j")
        result = run("read", *long, "hello.png", "-o", "out")
        assert result.exit_code == 1
        assert result.stderr.count("cannot be written: File name too long") == 1
        names = sorted(path.name for path in Path("out").iterdir())
        assert names == ["a" * 250 + ".md", "hello.md"]

    def test_a_folder_in_the_place_of_a_file(self, run: Run) -> None:
        Path("out/blank.md").mkdir(parents=True)
        result = run("read", "blank.png", "hello.png", "-o", "out")
        assert result.exit_code == 1
        assert "out/blank.md cannot be written: Is a directory" in result.stderr
        assert Path("out/hello.md").exists()


class TestEval:
    @pytest.fixture
    def scans(self, folder: Path) -> Path:
        for name, truth in (("a set of a rather long name", TEXT), ("other", "Hello there")):
            (folder / "scans" / name).mkdir(parents=True)
            image(TEXT).save(folder / "scans" / name / "page.png")
            (folder / "scans" / name / "page.txt").write_text(truth)
        return folder / "scans"

    def test_table_with_every_figure_whole(self, run: Run, scans: Path) -> None:
        result = run("eval", "scans", COLUMNS="40")
        assert (result.exit_code, result.stderr) == (0, "")
        assert "…" not in result.stdout
        [row] = [line for line in result.stdout.splitlines() if "a set of a rather" in line]
        assert row.split("│")[6].strip() == "0.00"
        assert "caseless %" in result.stdout

    def test_json(self, run: Run, scans: Path) -> None:
        result = run("eval", "scans", "--json", "--engine", "mine", "--engine", "other")
        assert (result.exit_code, result.stderr) == (0, "")
        report = Report.from_json(result.stdout)
        assert [figures.engine for figures in report.sets[0].figures] == ["mine", "other"]
        assert [s.name for s in report.sets] == ["a set of a rather long name", "other"]
        assert [item.readings[1].text for item in report.items] == [TEXT, TEXT]
        assert report.sets[0].figures[0].cer == 0 < report.sets[1].figures[0].cer

    def test_worst_files(self, run: Run, scans: Path) -> None:
        result = run("eval", "scans", "--worst", "1", "--limit", "1")
        assert "other/page.png\n  truth 'Hello there'\n  nano: CER " in result.stdout
        assert "name/page.png\n" not in result.stdout

    def test_a_page_that_cannot_be_read_is_told(self, run: Run, scans: Path) -> None:
        (scans / "other" / "page.png").write_bytes(b"")
        result = run("eval", "scans")
        assert result.exit_code == 1
        assert result.stderr.startswith("other/page.png: nano: ")
        assert "a set of a rather long name" in result.stdout

    def test_a_peer_that_is_not_installed_is_one_line(
        self, run: Run, scans: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "rapidocr", None)
        monkeypatch.setitem(sys.modules, "onnxruntime", types.ModuleType("onnxruntime"))
        result = run("eval", "scans", "--engine", "rapidocr")
        assert_refused(result, "pip install '.[peers]'")
        result = run("eval", "scans", "--engine", "tesseract", PATH="/nowhere")
        assert_refused(result, "apt-get install tesseract-ocr")

    def test_a_folder_without_truths(self, run: Run, folder: Path) -> None:
        assert_refused(run("eval", "."), "put the true text beside each image")
        # before a model is loaded
        assert_refused(run("eval", "nowhere", "--model", "gone"), "nowhere is not a folder")

    def test_a_missing_extra_is_one_line(
        self, run: Run, scans: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "rapidfuzz", None)
        assert_refused(run("eval", "scans"), "pip install '.[eval]'")


class TestOtherVerbs:
    def test_pause_and_resume(self, run: Run) -> None:
        from lightseek.train.checkpoint import RunFolder

        Path("run").mkdir()
        assert run("pause", "run").exit_code == 0
        assert RunFolder(Path("run")).pause_file.exists()
        assert run("resume", "run").exit_code == 0
        assert run("resume", "run").exit_code == 0
        assert not RunFolder(Path("run")).pause_file.exists()
        assert run("pause", "nowhere").exit_code == 2

    def test_every_option_reaches_the_run(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        told: dict[str, object] = {}
        monkeypatch.setattr(
            "lightseek.train.run.train",
            lambda recipe, out, **options: told.update(options, units=recipe.units, out=out),
        )
        words = "--from nano --set units=77 --device cpu --processes 3 --save-minutes 9"
        path = str(CONFIGS / "nano.toml")
        assert run("train", path, "-o", "out", *words.split(), "--stop-after", "5").exit_code == 0
        assert told == {
            "device": "cpu",
            "processes": 3,
            "start": "nano",
            "save_minutes": 9.0,
            "stop_after": 5,
            "units": 77,
            "out": Path("out"),
        }

    def test_a_device_that_is_not_there(self, run: Run) -> None:
        for recipe in ("nano", "stage2"):
            path = str(CONFIGS / f"{recipe}.toml")
            assert_refused(run("train", path, "-o", "out", "--device", "cud"), "no device cud")

    def test_a_recipe_that_is_not_there(self, run: Run) -> None:
        assert_refused(run("train", "nowhere.toml", "-o", "out"), "nowhere.toml")

    @pytest.mark.parametrize(
        ("wanted", "fetched"), [("--no-text", "fonts"), ("--no-fonts", "text")]
    )
    def test_fetch(
        self, run: Run, monkeypatch: pytest.MonkeyPatch, wanted: str, fetched: str
    ) -> None:
        folders: list[str] = []

        def fetch(
            folder: Path, on_progress: Callable[[str], None], packages: Sequence[str] = ()
        ) -> int:
            assert not packages
            folders.append(str(folder))
            on_progress("7 of them")
            return 7

        monkeypatch.setattr("lightseek.data.fonts.fetch_fonts", fetch)
        monkeypatch.setattr("lightseek.data.corpus.fetch_text", fetch)
        result = run("synth", "fetch", "-o", "data", wanted)
        assert folders == [f"data/{fetched}"]
        assert (result.exit_code, result.stdout) == (0, "")
        assert result.stderr.startswith("7 ")


def test_help_needs_no_torch() -> None:
    """It would take seconds."""
    code = "import sys, lightseek.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
