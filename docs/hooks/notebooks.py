"""Notebooks, kept as scripts in `notebooks/`, are run and become pages of the documentation.

What a notebook printed and drew is kept in `build/notebooks` and used again while neither it nor
the package changes. A cell that fails ends the build.
"""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import jupytext
import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from nbclient import NotebookClient
from nbconvert import MarkdownExporter
from traitlets.config import Config

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "build" / "notebooks"
AT_ONCE = 2
"""Notebooks that run side by side, each on one core."""
LONGEST_CELL_S = 1800


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page, and its pictures, for every notebook."""
    scripts = sorted((ROOT / "notebooks").glob("*.py"))
    os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for script, notebook in zip(scripts, pool.map(run_once, scripts), strict=True):
            for path, content in to_page(notebook, script.stem).items():
                files.append(File.generated(config, f"notebooks/{path}", content=content))
    return files


def run_once(script: Path) -> nbformat.NotebookNode:
    """A notebook with all that it printed and drew."""
    kept = KEPT / f"{script.stem}-{fingerprint(script)}.ipynb"
    if not kept.exists():
        notebook = jupytext.read(script, fmt="py:percent")
        with TemporaryDirectory() as sockets:
            # a kernel behind a port would be open to all on this machine
            behind = {"transport": "ipc", "ip": f"{sockets}/kernel"}
            NotebookClient(
                notebook,
                timeout=LONGEST_CELL_S,
                kernel_name="python3",
                coalesce_streams=True,
                config=Config({"KernelManager": behind}),
                resources={"metadata": {"path": str(ROOT)}},
            ).execute()
        KEPT.mkdir(parents=True, exist_ok=True)
        for old in KEPT.glob(f"{script.stem}-*.ipynb"):
            old.unlink()
        nbformat.write(notebook, kept)
    return nbformat.read(kept, as_version=4)


def fingerprint(script: Path) -> str:
    """Of everything that may change what a notebook says."""
    folders = (ROOT / "lightseek", ROOT / "examples")
    sources = (path for folder in folders for path in folder.rglob("*") if path.is_file())
    sources = [path for path in sources if path.suffix != ".pyc"]
    digest = hashlib.sha256()
    for path in [script, *sorted(sources)]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def to_page(notebook: nbformat.NotebookNode, name: str) -> dict[str, str | bytes]:
    """Its page in Markdown and its pictures, by their paths."""
    exporter = MarkdownExporter()
    text, resources = exporter.from_notebook_node(notebook, {"unique_key": name})
    source = f"This page is `notebooks/{name}.py`, run when the documentation was built.\n"
    # what can be shown in two formats is shown in one
    pictures = {path: data for path, data in resources["outputs"].items() if path in text}
    return {f"{name}.md": f"{text}\n{source}", **pictures}
