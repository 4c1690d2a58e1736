"""What holds of the project as a whole: sizes, names, recipes, dependencies, the map of files."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import lightseek
from lightseek.presets import preset_names
from lightseek.train.pages.recipe import load_any

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FILES = sorted(p for name in ("lightseek", "runs", "examples") for p in (ROOT / name).rglob("*.py"))
RECIPES = sorted((ROOT / "configs").glob("*.toml"))
MOST_LINES = 400
MOST_LINES_OF_A_FUNCTION = 60

Function = ast.FunctionDef | ast.AsyncFunctionDef


def place(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", FILES, ids=place)
def test_files_and_functions_stay_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES
    for node in nodes(path):
        if isinstance(node, Function):
            assert node.end_lineno is not None
            length = node.end_lineno - node.lineno + 1
            assert length <= MOST_LINES_OF_A_FUNCTION, f"{node.name} has {length} lines"


def test_what_lightseek_takes_from_its_modules_is_exported_in_order() -> None:
    imported = {
        alias.name
        for node in nodes(ROOT / "lightseek" / "__init__.py")
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("lightseek.")
        for alias in node.names
    }
    # constants, classes, functions: the order that ruff keeps
    in_order = sorted(imported, key=lambda name: (not name.isupper(), name[0].islower(), name))
    assert lightseek.__all__ == in_order
    assert all(hasattr(lightseek, name) for name in lightseek.__all__)


@pytest.mark.parametrize("path", RECIPES, ids=place)
def test_every_recipe_loads_and_names_a_model(path: Path) -> None:
    model = load_any(path).model
    assert model in preset_names() or "/" in model, "neither preset, folder nor hub id"


def names_of(requirements: list[str]) -> set[str]:
    """Distributions, those of our own extras included."""
    found: set[str] = set()
    for requirement in map(Requirement, requirements):
        if requirement.name == PROJECT["name"]:
            for extra in requirement.extras:
                found |= names_of(PROJECT["optional-dependencies"][extra])
        else:
            found.add(canonicalize_name(requirement.name))
    return found


INSTALLED = cache(packages_distributions)


def distributions(module: str) -> set[str]:
    """What brings a module; several may where packages share a name."""
    top = module.partition(".")[0]
    return {canonicalize_name(name) for name in INSTALLED().get(top, [top])}


def third_party(path: Path) -> Iterator[str]:
    for node in nodes(path):
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [str(node.module)]
        for module in modules:
            top = module.partition(".")[0]
            if top not in sys.stdlib_module_names and top != "lightseek":
                yield module


def test_what_is_imported_is_what_is_installed() -> None:
    core = names_of(PROJECT["dependencies"])
    imported = {m for path in (ROOT / "lightseek").rglob("*.py") for m in third_party(path)}
    undeclared = {module for module in imported if not distributions(module) & core}
    assert not undeclared, "import what is optional through lightseek.errors.require"
    unused = core - set().union(*map(distributions, imported))
    assert not unused


def test_the_extra_that_is_named_brings_what_is_missing() -> None:
    calls = re.compile(r'\brequire\("([\w.]+)", extra="(\w+)"\)')
    asked = [
        found
        for path in (ROOT / "lightseek").rglob("*.py")
        for found in calls.findall(path.read_text(encoding="utf-8"))
    ]
    assert asked
    for module, extra in asked:
        brought = names_of(PROJECT["optional-dependencies"][extra] + PROJECT["dependencies"])
        assert distributions(module) & brought, f"[{extra}] does not bring {module}"


def mapped_files() -> set[str]:
    """Python files of the map in the README, by their indentation."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"```text\n(lightseek/\n.*?)```", readme, re.DOTALL)
    assert block is not None
    found, folders = set(), [""]
    for line in block[1].splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        name = line.split()[0]
        folders[depth + 1 :] = [folders[depth] + name]
        if name.endswith(".py"):
            found.add(folders[depth] + name)
    return found


def test_the_map_in_the_readme_names_every_module() -> None:
    assert mapped_files() == {
        place(path) for path in (ROOT / "lightseek").rglob("*.py") if path.name != "__init__.py"
    }


def test_figures_in_the_readme_are_those_of_the_results() -> None:
    marked = re.compile(r"<!-- tables: begin .*? -->(.*?)<!-- tables: end -->", re.DOTALL)
    texts = [(ROOT / page).read_text(encoding="utf-8") for page in ("README.md", "docs/results.md")]
    short, full = (marked.findall(text) for text in texts)
    assert len(short) == len(full) == 1
    assert set(short[0].splitlines()) <= set(full[0].splitlines())
