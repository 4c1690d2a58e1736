"""Code of the package on pages, as it stands in the source today.

A block of this form shows a function, a class, a method or a constant with its line numbers, and a
link to its entry in the reference:

    ```excerpt
    lightseek.encoder.DeepEncoder.forward
    ```

A name that does not exist, or that the reference lacks, ends the build.
"""

import ast
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path

from mkdocs.exceptions import PluginError

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```excerpt\n(?P<name>\S+)\n```$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: object) -> str:
    """Replace every block by the code that it names."""
    return BLOCK.sub(lambda found: show(found["name"]), markdown)


def show(name: str) -> str:
    """The code of an object, as Markdown."""
    path, rest = find_module(name)
    lines = path.read_text(encoding="utf-8").splitlines()
    node = find(ast.parse("\n".join(lines)).body, rest, name)
    decorators = getattr(node, "decorator_list", [])
    first = min([node.lineno, *(each.lineno for each in decorators)])
    code = textwrap.dedent("\n".join(lines[first - 1 : node.end_lineno]))
    place = f"{path.relative_to(ROOT).as_posix()}, lines {first} to {node.end_lineno}"
    return f'```python title="{place}" linenums="{first}"\n{code}\n```\n\n[`{name}`][{name}]'


def find_module(name: str) -> tuple[Path, list[str]]:
    """The file that an object is in, and its name inside."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        path = ROOT.joinpath(*parts[:end])
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                return file, parts[end:]
    raise PluginError(f"excerpt: there is no module {name}")


def find(body: Sequence[ast.stmt], names: list[str], whole: str) -> ast.stmt:
    """The statement that defines a name, in classes one after the other."""
    for node in body:
        if names[0] in defined(node):
            return find(getattr(node, "body", []), names[1:], whole) if names[1:] else node
    raise PluginError(f"excerpt: nothing defines {whole}")


def defined(node: ast.stmt) -> set[str]:
    """The names that a statement gives a meaning."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.AnnAssign):
        return {ast.unparse(node.target)}
    if isinstance(node, ast.Assign):
        return {ast.unparse(target) for target in node.targets}
    return set()
