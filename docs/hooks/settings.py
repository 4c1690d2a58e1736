"""Tables of all settings, from the dataclasses that hold them and the files that set them.

A block of this form becomes a table of every key that the dataclass has: what it means, and its
value in every preset, or in every recipe of that kind:

    ```settings
    lightseek.config.ModelConfig
    ```
"""

import re
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_type_hints

import griffe

from lightseek.config import ModelConfig
from lightseek.presets import preset, preset_names
from lightseek.train.pages.recipe import load_any

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```settings\n(?P<name>\S+)\n```$", re.MULTILINE)
PACKAGE = griffe.load("lightseek", search_paths=[ROOT])


class Key(NamedTuple):
    """A setting."""

    path: tuple[str, ...]
    meaning: str


def on_page_markdown(markdown: str, **_: object) -> str:
    """Replace every block by its tables."""
    return BLOCK.sub(lambda found: describe(find_class(found["name"])), markdown)


def find_class(name: str) -> type:
    """The dataclass of a name."""
    module, _, own = name.rpartition(".")
    found = getattr(import_module(module), own)
    assert is_dataclass(found)
    assert isinstance(found, type)
    return found


def describe(kind: type) -> str:
    """A table for what stands outside of all tables of a file, and one for each of these."""
    files = holders(kind)
    sections: dict[str, list[Key]] = {}
    for key in keys(kind):
        inside = sections.setdefault(key.path[0] if len(key.path) > 1 else "", [])
        # tables that may stand in each other's place have keys in common
        if key.path not in {other.path for other in inside}:
            inside.append(key)
    parts = [table(inside, files) for inside in sections.values()]
    heads = [f"### `[{section}]`\n\n" if section else "" for section in sections]
    return "\n\n".join(map("".join, zip(heads, parts, strict=True)))


def table(inside: list[Key], files: dict[str, Any]) -> str:
    """Keys that stand together, their names without that of their table."""
    rows = [["key", "meaning", *(f"`{name}`" for name in files)]]
    rows.append(["---"] * len(rows[0]))
    for key in inside:
        own = ".".join(key.path[1:] or key.path)
        values = (shown(held(file, key.path)) for file in files.values())
        rows.append([f"`{own}`", key.meaning, *values])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def holders(kind: type) -> dict[str, Any]:
    """Presets, or recipes of a kind, by name."""
    if kind is ModelConfig:
        return {name: preset(name) for name in preset_names()}
    recipes = {path.stem: load_any(path) for path in sorted((ROOT / "configs").glob("*.toml"))}
    return {name: recipe for name, recipe in recipes.items() if isinstance(recipe, kind)}


def keys(kind: type, above: tuple[str, ...] = ()) -> Iterator[Key]:
    """All keys of a dataclass, and of those inside it."""
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        path = (*above, field.name)
        tables = [*dataclasses_in(hints[field.name])]
        for table in tables:
            yield from keys(table, path)
        if not tables:
            yield Key(path, f"{meaning(kind, field.name)} {default(field)}".strip())


def dataclasses_in(hint: Any) -> Iterator[type]:
    """Dataclasses that an annotation allows."""
    if isinstance(hint, type) and is_dataclass(hint):
        yield hint
    for inner in get_args(hint):
        yield from dataclasses_in(inner)


def meaning(kind: type, name: str) -> str:
    """The docstring of a field, on one line."""
    docstring = PACKAGE[f"{kind.__module__}.{kind.__name__}".partition(".")[2]][name].docstring
    return " ".join(docstring.value.split()).replace("|", r"\|") if docstring else ""


def default(field: "Field[Any]") -> str:
    """What a field is where no file sets it."""
    if field.default is MISSING and field.default_factory is MISSING:
        return ""
    value = field.default if field.default_factory is MISSING else field.default_factory()
    return f"By default {shown(value)}." if value not in (None, (), {}) else "May be left out."


def held(value: Any, path: tuple[str, ...]) -> Any:
    """What a file says under a key; of each table, where there are several."""
    if not path or value is None:
        return value
    if isinstance(value, tuple):
        return [held(each, path) for each in value]
    return held(getattr(value, path[0], None), path[1:])


def shown(value: Any) -> str:
    """A value in a cell of a table."""
    match value:
        case None | ():
            return "–"
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            inner = (f"[{shown(v)}]" if isinstance(v, list | tuple) else shown(v) for v in value)
            return ", ".join(inner) or "–"
        case dict():
            return ", ".join(f"{key} = {shown(each)}" for key, each in value.items()) or "–"
        case float():
            return f"{value:g}"
    return str(value)
