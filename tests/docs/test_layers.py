"""Imports point one way. This is the one place where the order is written."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

LAYERS = (
    "errors whole",
    "config document linear names ngrams official_fields shards",
    "colours hub presets",
    "pages tokenizer views blocks grounding official",
    "data eval readings",
    "assembly attention cuts fusion memory sequences turned",
    "relative",
    "encoder decoder language",
    "cross",
    "model",
    "lora generate",
    "weights",
    "reader info published quantize",
    "ocr figures bench",
    "lightseek",
    "train explain study",
    "cli",
    "__main__",
)
"""Modules and packages of lightseek from the bottom up; none imports its own layer or a higher one.

`lightseek` is `lightseek/__init__.py`. Data and measuring stand below the model: they know none.
"""

HEIGHT = {part: height for height, layer in enumerate(LAYERS) for part in layer.split()}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in sorted((ROOT / "lightseek").rglob("*.py"))}


def part(module: str) -> str:
    """The module or package right below lightseek that a module belongs to."""
    return module.split(".")[1] if "." in module else module


def imports(path: Path) -> Iterator[str]:
    """Modules of lightseek that a file imports anywhere, within functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relative to itself"
            assert node.module is not None
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if inner in MODULES or node.module in MODULES:
                    yield inner if inner in MODULES else node.module


def test_every_module_has_its_layer() -> None:
    assert {part(module) for module in MODULES} == set(HEIGHT)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_lies_below(module: str) -> None:
    own = part(module)
    for imported in imports(MODULES[module]):
        other = part(imported)
        is_inside = own == other and own != "lightseek"
        assert is_inside or HEIGHT[other] < HEIGHT[own], f"{module} imports {imported}"


def test_no_module_imports_itself_in_a_circle() -> None:
    # the facade hands out OCR on demand, below which nothing imports it
    graph = {module: set(imports(path)) for module, path in MODULES.items()}
    TopologicalSorter(graph).prepare()


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    heavy = "{'torch', 'cv2', 'numpy', 'PIL', 'tokenizers'} & sys.modules.keys()"
    code = f"import sys, lightseek.cli; print({heavy} or 'nothing')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "nothing"
