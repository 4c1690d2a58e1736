"""Fetching, with programs that hand out what lies beside them instead of the network."""

import io
import json
import lzma
import os
import tarfile
from pathlib import Path

import pytest

from lightseek.data import corpus, fonts
from lightseek.data.packages import each_package, sources
from lightseek.errors import UsageError


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole path: it holds no more than what unpacks archives."""
    folder = tmp_path / "bin"
    folder.mkdir()
    _program(folder / "tar", 'exec tar "$@"')
    monkeypatch.setenv("PATH", str(folder))
    return folder


def _program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\nPATH={os.defpath}\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


def _npm(programs: Path, name: str, files: dict[str, bytes]) -> None:
    """An npm that packs one package of these files, whatever it is asked for."""
    with tarfile.open(programs / "it.tgz", "w:gz") as tar:
        for path, content in files.items():
            entry = tarfile.TarInfo(f"package/{path}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    said = json.dumps([{"name": name, "version": "1.2", "filename": "it-1.2.tgz"}])
    _program(programs / "npm", f"cp '{programs}/it.tgz' it-1.2.tgz\necho '{said}'")


def test_text_is_fetched_from_what_there_is(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("faker")
    monkeypatch.setattr(corpus, "_NUM_RECORDS", 5)
    speech = json.dumps({"text": "Fellow citizens, " + "we meet again. " * 100})
    page = "<p>Un paragraphe</p><p>Un paragraphe</p>"
    files = {
        "data/1.json": speech,
        "LICENSE": "free",
        "html/fr-FR/a.html": page,
        "html/el/a.html": page,
    }
    _npm(programs, "@some/talks", {path: text.encode() for path, text in files.items()})
    messages: list[str] = []
    out = tmp_path / "text"
    assert corpus.fetch_text(out, messages.append) > 1_500
    with lzma.open(out / "en-some-talks.txt.xz", "rt", encoding="utf-8") as file:
        lines = file.read().splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("Fellow citizens, we meet")
    with lzma.open(out / "fr-some-talks.txt.xz", "rt", encoding="utf-8") as file:
        assert file.read() == "Un paragraphe\n"
    assert {path.name.split("-")[0] for path in out.glob("*.xz")} == {"en", *corpus.LOCALES}
    assert (out / "licences" / "some-talks-1.2.txt").read_text(encoding="utf-8") == "free"
    assert messages[0].startswith("apt-get is not installed: going on without")


def test_fonts_are_unpacked_for_the_layout(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = pytest.importorskip("fontTools.ttLib")
    monkeypatch.setattr(fonts, "MIN_FAMILIES", 1)
    web = io.BytesIO()
    with tools.TTFont(fonts.SHIPPED / "Caladea-Regular.ttf") as font:
        font.flavor = "woff"
        font.save(web)
    files = {"files/x-latin-400-normal.woff": web.getvalue(), "LICENSE": b"OFL"}
    _npm(programs, "@fontsource/x", {**files, "files/x-greek-400-normal.woff": b"other script"})
    out = tmp_path / "fonts"
    assert fonts.fetch_fonts(out) == 1
    assert [face.path.name for face in fonts.load_faces(out, "é")] == ["x-latin-400-normal.ttf"]
    assert (out / "licences" / "fontsource-x-1.2.txt").is_file()


def test_a_font_is_fetched_by_the_name_of_its_package(programs: Path, tmp_path: Path) -> None:
    font = (fonts.SHIPPED / "Caladea-Regular.ttf").read_bytes()
    licences = {"LICENSE": b"MIT, of the package", "LICENSE_FONT": b"OFL"}
    _npm(programs, "@fonts/mine", {"400/Mine.ttf": font, **licences})
    out = tmp_path / "fonts"
    assert fonts.fetch_fonts(out, packages=("@fonts/mine",)) == 1
    assert (out / "licences" / "fonts-mine-1.2.txt").read_text(encoding="utf-8") == "OFL"
    _npm(programs, "@fonts/mine", {"readme": b"none here"})
    with pytest.raises(UsageError, match="no font that draws letters in @fonts/mine: look for the"):
        fonts.fetch_fonts(out, packages=("@fonts/mine",))


def test_nothing_to_fetch_with_is_said(programs: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"only 0 font families in .*: install apt-get and npm"):
        fonts.fetch_fonts(tmp_path / "fonts")
    with pytest.raises(UsageError, match="no text could be fetched: install apt-get or npm"):
        corpus.fetch_text(tmp_path / "text")


def test_a_source_that_fails_does_not_stop_the_others(programs: Path, tmp_path: Path) -> None:
    _program(programs / "apt-get", "exit 1")
    _program(programs / "apt-cache", "echo 'no lists here' >&2; exit 100")
    _npm(programs, "words", {"a.txt": b"a"})
    messages: list[str] = []
    names = [p.name for p in each_package(["fonts-x"], ["words"], tmp_path, messages.append)]
    assert names == ["words"]
    assert any("apt-get failed" in message and "no lists here" in message for message in messages)


@pytest.mark.parametrize(
    ("path", "package", "language"),
    [
        ("usr/share/help/C/gnome-help/a.page", "gnome-user-docs", "en"),
        ("usr/share/help/pt_BR/gnome-help/a.page", "gnome-user-docs", "pt"),
        ("usr/share/help/as/gnome-help/a.page", "gnome-user-docs", None),
        ("usr/share/doc/debian-handbook/html/de-DE/a.html", "debian-handbook", "de"),
        ("usr/share/doc/installation-guide-amd64/ja/a.html", "installation-guide-amd64", None),
        ("usr/share/doc/installation-guide-amd64/es/a.html", "installation-guide-amd64", "es"),
        ("usr/share/debian-reference/ch01.it.html", "debian-reference-it", "it"),
        ("usr/share/libreoffice/help/en-US/text/a.html", "libreoffice-help-en-us", "en"),
        ("usr/share/doc/anarchism/html/secA1.html", "anarchism", "en"),
    ],
)
def test_language_of_a_page(path: str, package: str, language: str | None) -> None:
    assert corpus._language(path, package) == language


def test_sources_are_named() -> None:
    assert all(sources()["text"][kind] for kind in ("debian", "npm"))
