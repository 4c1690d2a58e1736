"""Type faces: fetch them, keep those that draw letters as letters, know what each can draw.

    fetch_fonts ──> folder of .ttf and .otf ──> load_faces ──> Face ──> split_families
                                                                  └──> unseen_faces

Knows nothing of how a page is drawn.
"""

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from PIL import Image, ImageFont

from lightseek.data.corpus import DRAWN_ONLY, to_label
from lightseek.data.packages import Package, each_package, keep_licence, sources
from lightseek.errors import UsageError, require

SHIPPED = Path(__file__).parent.parent / "assets" / "fonts"
"""A few open faces that come with the package, for tests and examples."""

MIN_FAMILIES = 150

_PX = 40  # size at which a face is examined
_RULES = 4  # raised when `_examine` changes, so that older indexes are made again
_INDEX_FROM = 10  # fewer faces are examined faster than an index is worth
_LARGEST = 1_000_000  # bytes; beyond are faces of many scripts, which say nothing new in Latin
_NOT_TEXT = re.compile(
    r"math|symbol|emoji|dingbat|music|ornament|braille|bar ?code|blank|redact|last ?resort|initial"
    r"|hairline|thin|ultra ?light|outline|inline|shadow(?!s)|small ?cap|smcp|caps|\bsc\b|swash"
    r"|keyboard|ADF Style|D050000L|OCRB[EX]",
    re.IGNORECASE,
)
_TYPEWRITER = re.compile(
    r"typewriter|courier|cutive|elite|cursor|nimbus mono|freemono|ocr|latin modern mono",
    re.IGNORECASE,
)
_BITMAP = re.compile(
    r"bitcount|doto\b|dotgothic|handjet|jersey|press start|sixtyfour|tiny5|vt323|workbench",
    re.IGNORECASE,
)
_VARIANT = re.compile(
    r"(?: (?:thin|extra ?light|light|book|regular|medium|demi|semi ?bold|bold|extra ?bold|black"
    r"|heavy|italic|oblique|slanted|unslanted|dunhill|condensed|cond|cn|narrow|display|caption"
    r"|extra|no ?\d))+$",
    re.IGNORECASE,
)
_CLONE = 0.06  # one design under two names differs by less, two designs by more
_TELLING = "agGQRyt&25"  # letters in which designs differ most
_SIGNS = 2  # ASCII signs that a face may lack: an old typewriter has no &
_ASCII = "".join(map(chr, range(33, 127)))


@dataclass(frozen=True, slots=True)
class Face:
    """One font file that draws every ASCII letter and digit, and nearly every sign."""

    path: Path
    name: str
    """Family and style, as the file says."""
    family: str
    """Without weight, width and slant: no family stands on both sides of a split."""
    covers: frozenset[str]
    """Which of the symbols, and of `DRAWN_ONLY`, it draws so that they can be told apart."""
    bold: bool
    italic: bool
    monospaced: bool
    typewriter: bool
    """Looks like a typewriter: may be drawn with uneven ink."""
    bitmap: bool
    """Made of squares or dots, as the letters of receipt printers are."""


def fetch_fonts(
    out: Path,
    on_progress: Callable[[str], None] = lambda message: None,
    *,
    packages: Sequence[str] = (),
) -> int:
    """Download font packages and keep their text faces, with their licences, in one flat folder.

    Args:
        out: Folder to fill; `out/licences` gets the licence of each package.
        on_progress: Told in a line what happens.
        packages: These alone, of npm where a name begins with @, else of Debian.

    Returns:
        Number of families.

    Raises:
        UsageError: If neither apt-get nor npm brings enough families, or a face of each package.
    """
    out.mkdir(parents=True, exist_ok=True)
    names = sources()["fonts"]
    web = [f"@fontsource/{name}" for name in names["fontsource"]]
    debian = names["debian"]
    if packages:
        web = [name for name in packages if name.startswith("@")]
        debian = [name for name in packages if not name.startswith("@")]
    kept = set()
    with tempfile.TemporaryDirectory() as work:
        for package in each_package(debian, web, Path(work), on_progress):
            if _keep_fonts(package, out):
                keep_licence(package, out / "licences")
                kept.add(package.name)
    if missing := [name for name in packages if name not in kept]:
        raise UsageError(
            f"no font that draws letters in {', '.join(missing)}: look for the name of its package "
            "at npmjs.com or packages.debian.org, or copy .ttf and .otf files to " + str(out)
        )
    families = set()
    with suppress(UsageError):  # not a single font: the message below says more
        families = {face.family for face in load_faces(out, "")}
    if len(families) < MIN_FAMILIES and not packages:
        raise UsageError(
            f"only {len(families)} font families in {out}, {MIN_FAMILIES} are needed: "
            "install apt-get and npm, or copy .ttf and .otf files there"
        )
    on_progress(f"{len(families)} font families in {out}")
    return len(families)


def load_faces(folder: Path, symbols: str) -> list[Face]:
    """The usable faces of a folder, in the order of their file names.

    What was found is kept in `folder/faces.json` and made again when files or symbols change.

    Args:
        folder: Holds .ttf and .otf files.
        symbols: What a reader can write; `Face.covers` says which of them a face draws.

    Raises:
        UsageError: If the folder has no usable face.
    """
    files = sorted(p for p in folder.glob("*") if p.suffix.lower() in (".ttf", ".otf"))
    stamp = [(path.name, path.stat().st_size) for path in files]
    key = hashlib.sha256(json.dumps([_RULES, symbols, stamp]).encode()).hexdigest()
    index = folder / "faces.json"
    faces = _read_index(index, key)
    if faces is None:
        faces = _without_twins(face for path in files if (face := _examine(path, symbols)))
        if len(files) >= _INDEX_FROM:
            _write_index(index, key, faces)
    if not faces:
        raise UsageError(
            f"{folder} has no font that draws letters: put .ttf or .otf files there, "
            "or fetch some with lightseek synth fetch"
        )
    return faces


def split_families(
    faces: Sequence[Face], *, held_out: int, seed: int = 0
) -> tuple[list[Face], list[Face]]:
    """Faces to train on, and faces of families that are never trained on.

    A family keeps its side when others are added or left out, but for those at the border.

    Args:
        faces: All of them.
        held_out: Number of families kept aside.
        seed: Another seed keeps others aside.

    Raises:
        UsageError: If there are no others.
    """

    def rank(family: str) -> bytes:
        return hashlib.sha256(f"{seed}:{family}".encode()).digest()

    families = sorted({face.family for face in faces}, key=rank)
    if len(families) <= held_out:
        raise UsageError(
            f"there are no more than {held_out} font families: keep fewer aside "
            "(data.held_out_families) or add fonts"
        )
    held = set(families[:held_out])
    return (
        [face for face in faces if face.family not in held],
        [face for face in faces if face.family in held],
    )


def unseen_faces(faces: Sequence[Face], *, held_out: int, seed: int) -> list[Face]:
    """Faces kept aside, without those that are trained on under another name.

    Arguments as for `split_families`.

    Raises:
        UsageError: If there are none.
    """
    seen, kept = split_families(faces, held_out=held_out, seed=seed)
    if not (unseen := without_clones(kept, seen)):
        raise UsageError(
            "all font families that are kept aside are there under other names too: keep more "
            "aside (data.held_out_families)"
        )
    return unseen


def without_clones(faces: Sequence[Face], others: Sequence[Face]) -> list[Face]:
    """Faces of the families that no other draws again under another name.

    Args:
        faces: Such as those that are kept aside.
        others: Such as those that are trained on.
    """
    theirs = np.stack([_design(face) for face in others])
    cloned = {
        face.family for face in faces if np.abs(theirs - _design(face)).mean(1).min() < _CLONE
    }
    return [face for face in faces if face.family not in cloned]


def _design(face: Face) -> Float32[np.ndarray, " n"]:
    """What its letters look like, whatever their widths."""
    font = ImageFont.truetype(face.path, _PX, layout_engine=ImageFont.Layout.BASIC)
    drawn = (c for c in _TELLING if c in face.covers)
    boxes = {c: _filled(font, c).ravel() for c in drawn}
    absent = np.zeros(400, np.float32)
    return np.concatenate([boxes.get(c, absent) for c in _TELLING])


def _keep_fonts(package: Package, out: Path) -> bool:
    """Copy the text faces of a package, and say whether it has any."""
    kept = False
    for path in sorted(p for p in package.folder.rglob("*") if p.is_file()):
        web = re.search(r"-latin-(400|700)-(normal|italic)\.woff$", path.name)
        if path.suffix.lower() in (".ttf", ".otf"):
            font = path
        elif web:
            font = path.with_suffix(".ttf")
            _unpack_woff(path, font)
        else:
            continue
        if font.stat().st_size <= _LARGEST and _examine(font, "") is not None:
            shutil.copyfile(font, out / font.name.replace(" ", ""))
            kept = True
    return kept


def _unpack_woff(web: Path, font: Path) -> None:
    tools = require("fontTools.ttLib", extra="synth")
    with tools.TTFont(web) as opened:
        opened.flavor = None
        opened.save(font)


def _read_index(index: Path, key: str) -> list[Face] | None:
    """What an index says, unless it is missing, broken or about other files."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        content = json.loads(index.read_text(encoding="utf-8"))
        if content["key"] == key:
            return [
                Face(
                    **{
                        **record,
                        "path": index.parent / record["path"],
                        "covers": frozenset(record["covers"]),
                    }
                )
                for record in content["faces"]
            ]
    return None


def _write_index(index: Path, key: str, faces: Sequence[Face]) -> None:
    """Keep what was found; paths without their folder, so that it can be moved."""
    records = [
        {**asdict(face), "path": face.path.name, "covers": "".join(sorted(face.covers))}
        for face in faces
    ]
    with suppress(OSError):  # a folder that cannot be written is examined each time
        text = json.dumps({"key": key, "faces": records}, ensure_ascii=False, indent=0)
        index.write_text(text, encoding="utf-8")


def _examine(path: Path, symbols: str) -> Face | None:
    """What a face is and draws, or None if letters drawn with it would teach nonsense."""
    try:
        font = ImageFont.truetype(path, _PX, layout_engine=ImageFont.Layout.BASIC)
        family, style = (name or "" for name in font.getname())
        words = f"{family} {style} {path.stem}"
        if _NOT_TEXT.search(words) or not _draws_letters(font):
            return None
        covers = _distinct(font, _ASCII + symbols + DRAWN_ONLY)
    except OSError:  # not a font, or one that FreeType cannot draw
        return None
    return Face(
        path=path,
        name=f"{family} {style}",
        family=_VARIANT.sub("", family),
        covers=frozenset(covers),
        bold=bool(re.search(r"bold|black|heavy|demi|700", words, re.IGNORECASE)),
        italic=bool(re.search(r"italic|oblique|slant", words, re.IGNORECASE)),
        monospaced=len({font.getlength(c) for c in "iMW.0"}) == 1,
        typewriter=bool(_TYPEWRITER.search(words)),
        bitmap=bool(_BITMAP.search(words)),
    )


def _draws_letters(font: ImageFont.FreeTypeFont) -> bool:
    """Whether ASCII is all there, with two cases and a body of ordinary size."""
    lacking = set(_ASCII) - set(_distinct(font, _ASCII))
    if len(lacking) > _SIGNS or any(c.isalnum() for c in lacking):
        return False
    if min(font.getlength(c) for c in _ASCII + " ") <= 0:
        return False
    _, top, _, bottom = font.getbbox("x")
    if bottom - top < _PX / 4:
        return False
    one_case = sum(_unlikeness(font, a, b) < 0.11 for a, b in ("aA", "eE", "gG", "rR"))
    return one_case < 3 and all(_unlikeness(font, a, b) > 0.02 for a, b in ("AB", "ab"))


def _distinct(font: ImageFont.FreeTypeFont, symbols: str) -> str:
    """The symbols that a face draws, without those that look the same as another it draws."""
    absent = _drawn(font, "\uffff")
    seen: dict[tuple[bytes, tuple[int, int]], str] = {}
    covers = []
    for c in dict.fromkeys(symbols):
        drawn = _drawn(font, c)
        if not any(drawn[0]) or drawn == absent:
            continue
        if seen.setdefault(drawn, to_label(c)) == to_label(c) or c in _ASCII:
            covers.append(c)
    return "".join(covers)


def _drawn(font: ImageFont.FreeTypeFont, c: str) -> tuple[bytes, tuple[int, int]]:
    """The pixels of a character and where they lie."""
    mask, at = font.getmask2(c, "L")
    return bytes(mask), at


def _unlikeness(font: ImageFont.FreeTypeFont, a: str, b: str) -> float:
    """Mean difference of two characters blown up to the same box, 0 to 1."""
    one, other = (_filled(font, c) for c in (a, b))
    return float(np.abs(one - other).mean())


def _filled(font: ImageFont.FreeTypeFont, c: str) -> Float32[np.ndarray, "20 20"]:
    mask = font.getmask(c, "L")
    image = Image.frombytes("L", mask.size, bytes(mask))
    return np.asarray(image.crop(image.getbbox()).resize((20, 20)), np.float32) / 255


def _without_twins(faces: Iterable[Face]) -> list[Face]:
    """One face a name, the one that draws most."""
    best: dict[str, Face] = {}
    for face in faces:
        name = face.name.lower()
        if name not in best or len(face.covers) > len(best[name].covers):
            best[name] = face
    return sorted(best.values(), key=lambda face: face.path.name)
