"""A folder with which training runs on another machine: fonts, text, recipe and the package.

    PACK/run.sh           starts the run, or goes on with it
    PACK/lightseek/       the package, without weights
    PACK/<recipe>.toml    as it is; the fonts and the text lie where it says
    PACK/start/           the model whose weights the run begins with, if it does

Knows nothing of how training works.
"""

import lzma
import shlex
import shutil
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path

from lightseek.config import read_toml
from lightseek.data.corpus import needed_text
from lightseek.data.fonts import Face, load_faces
from lightseek.data.strips import by_family
from lightseek.errors import UsageError
from lightseek.lora import SETTINGS
from lightseek.presets import liked, preset, preset_names
from lightseek.tokenizer import LATIN
from lightseek.train.recipe import load_recipe
from lightseek.weights import find_model

_MB = 1e6
_PACKAGE = Path(__file__).parents[1]
_TEXT_SHARE = 0.35
"""Of the room, at most; the fonts get the rest."""
_RUN = """#!/usr/bin/env bash
# Trains here, without a network; start it again to go on. It takes the options of lightseek train.
# Python 3.11 or newer is needed, with what pip install '.[train]' brings.
set -euo pipefail
cd "$(dirname "$0")"
export PYTHONPATH="$PWD"
exec python -c "from lightseek.cli import main; main(prog_name='lightseek')" \\
    train {recipe} -o run{start} "$@"
"""


def make_pack(
    recipe: Path,
    out: Path,
    *,
    start: str | None = None,
    max_mb: float = 60,
    on_progress: Callable[[str], None] = lambda message: None,
) -> None:
    """Gather what a training run needs.

    Where not all fits, text is thinned out evenly, and families lose faces, but none is left out:
    the same families are kept for evaluation.

    Args:
        recipe: Names its folders from where training starts, without leaving it.
        out: Folder to make.
        start: Model to start from: a shipped one, a folder, or a hub id.
        max_mb: Its size in millions of bytes, at most.
        on_progress: Told in a line what happens.

    Raises:
        UsageError: If a folder lies elsewhere or is empty, if `out` is there already, or if all
            that cannot be left out is too large.
        ModelError: If there is no model to start from.
    """
    wanted = load_recipe(recipe)
    data = wanted.data
    fonts, text = _inside(data.fonts), _inside(data.text)
    if out.exists():
        raise UsageError(f"{out} is there already: name a folder that is not")
    families = by_family(load_faces(fonts, LATIN))
    files = {path: Path("lightseek", path.relative_to(_PACKAGE)) for path in _sources()}
    files |= {path: path for folder in (fonts, text) for path in folder.glob("licences/*")}
    whole = [data.lines.folder] if data.lines else []
    whole += [data.new.fonts, data.new.text] if data.new else []
    files |= {path: path for name in whole for path in _inside(name).rglob("*") if path.is_file()}
    preset(wanted.model)  # or it could not be trained there
    files |= {path: path for path in _presets(wanted.model)}
    files |= {path: Path("start", path.name) for path in _begun(start)}
    files[recipe] = Path(recipe.name)
    run = _RUN.format(recipe=shlex.quote(recipe.name), start=" --from start" if start else "")
    room = max_mb * _MB - sum(map(_size, files)) - len(run)

    on_progress("packing text")
    packed = _packed(text, _TEXT_SHARE * room)
    faces = _chosen(families, room - sum(map(len, packed.values())))
    files |= {face.path: fonts / face.path.name for face in faces}
    for source, target in files.items():
        (out / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, out / target)
    (out / text).mkdir(parents=True, exist_ok=True)
    for name, content in packed.items():
        (out / text / name).write_bytes(content)
    (out / "run.sh").write_text(run, encoding="utf-8")
    (out / "run.sh").chmod(0o755)
    size = sum(_size(path) for path in out.rglob("*") if path.is_file())
    on_progress(f"{len(faces)} faces of {len(families)} families, {size / _MB:.1f} MB in all")


def _presets(name: str | None) -> Iterator[Path]:
    """The file of a preset of one's own, and those that it is like."""
    while name is not None and name not in preset_names():
        path = _inside(name)
        yield path
        name = liked(name, read_toml(path))


def _begun(start: str | None) -> list[Path]:
    """Files of the model that training starts from, if any."""
    if start is None:
        return []
    folder = find_model(start)
    if (folder / SETTINGS).is_file():
        raise UsageError(
            f"{start} holds adapters, and names a model of this machine: merge both by "
            "load_model, keep that by save_model, and start from it"
        )
    return [path for path in folder.iterdir() if path.is_file()]


def _inside(name: str) -> Path:
    """A folder or file that a recipe names, if it means the same in a pack."""
    path = Path(name)
    if path.is_absolute() or ".." in path.parts:
        raise UsageError(
            f"the recipe names {name}: let it name what lies below where training starts"
        )
    return path


def _packed(folder: Path, room: float) -> dict[str, bytes]:
    """Files of text that fit into so many bytes."""
    share, packed, size = 1.0, dict[str, bytes](), 0
    while share > 0.001:
        packed = {
            f"{name.removesuffix('.xz')}.xz": lzma.compress(text.encode())
            for name, text in needed_text(folder, share)
        }
        size = sum(map(len, packed.values()))
        if size <= room:
            break
        share *= 0.95 * max(0.0, room / size)
    if not packed or size > room:
        raise UsageError(
            f"{folder} has no text that fits into {max(0.0, room) / _MB:.1f} MB: "
            "put .txt files there, or allow a larger pack"
        )
    return packed


def _chosen(families: Sequence[Sequence[Face]], room: float) -> list[Face]:
    """An upright face of every family, then more faces, small files first, while there is room."""
    first = [
        min(family, key=lambda face: (face.bold or face.italic, _size(face.path)))
        for family in families
    ]
    needed = sum(_size(face.path) for face in first)
    if needed > room:
        raise UsageError(
            f"a face of each of the {len(families)} font families takes {needed / _MB:.1f} MB, but "
            f"beside the package and the text there is room for {max(0.0, room) / _MB:.1f} MB: "
            "allow a larger pack"
        )
    rest = {face for family in families for face in family} - set(first)
    by_size = sorted(rest, key=lambda face: (_size(face.path), face.path))
    ends = accumulate((_size(face.path) for face in by_size), initial=needed)
    return first + [face for face, end in zip(by_size, list(ends)[1:], strict=True) if end <= room]


def _sources() -> list[Path]:
    """Files of the package, but for weights and what Python keeps beside them."""
    found = (path for path in _PACKAGE.rglob("*") if "__pycache__" not in path.parts)
    return [path for path in found if path.is_file() and path.suffix != ".safetensors"]


def _size(path: Path) -> int:
    return path.stat().st_size
