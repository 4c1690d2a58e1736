"""Packages of Debian and npm, downloaded and unpacked into a folder; nothing is installed.

Knows nothing of what is inside them.
"""

import json
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote


@dataclass(frozen=True, slots=True)
class Package:
    """An unpacked package."""

    name: str
    version: str
    folder: Path
    """Holds its files as they would be installed."""


def sources() -> dict[str, dict[str, list[str]]]:
    """Names of the packages, by what they are for and where they come from: `sources.toml`."""
    return tomllib.loads(Path(__file__).with_name("sources.toml").read_text(encoding="utf-8"))


def each_package(
    debian: Sequence[str], npm: Sequence[str], work: Path, on_progress: Callable[[str], None]
) -> Iterator[Package]:
    """Download and unpack packages, one after the other, with those programs that are installed.

    Args:
        debian: Names of Debian packages; those that the distribution lacks are left out.
        npm: Names of npm packages, with their scope.
        work: Empty folder for the downloads; a package leaves it when the next one is taken.
        on_progress: Told in a line what happens.
    """
    for program, names, fetch in (("apt-get", debian, _debian), ("npm", npm, _npm)):
        if not names:
            continue
        if shutil.which(program) is None:
            on_progress(f"{program} is not installed: going on without its {len(names)} packages")
            continue
        on_progress(f"{program}: downloading {len(names)} packages")
        try:
            yield from fetch(names, work)
        except subprocess.CalledProcessError as error:
            reason = (error.stderr.strip() or str(error)).splitlines()[-1]
            on_progress(f"{program} failed, going on without the rest of its packages: {reason}")


def keep_licence(package: Package, folder: Path) -> None:
    """Copy the licence of a package to `folder/<package>-<version>.txt`."""
    found = [
        p
        for name in ("copyright", "LICENSE_FONT", "LICENSE")
        for p in sorted(package.folder.rglob(name))
    ]
    if found:
        folder.mkdir(parents=True, exist_ok=True)
        name = package.name.removeprefix("@").replace("/", "-")
        shutil.copyfile(found[0], folder / f"{name}-{package.version}.txt")


def _debian(names: Sequence[str], work: Path) -> Iterator[Package]:
    known = set(_run(["apt-cache", "pkgnames"], work).split())
    wanted = [name for name in names if name in known]
    if wanted:
        _run(["apt-get", "download", "-qq", *wanted], work)
    for archive in sorted(work.glob("*.deb")):
        name, version, _ = unquote(archive.stem).split("_")
        folder = work / name
        _run(["dpkg-deb", "-x", archive.name, folder.name], work)
        archive.unlink()
        yield Package(name, version, folder)
        shutil.rmtree(folder)


def _npm(names: Sequence[str], work: Path) -> Iterator[Package]:
    for packed in json.loads(_run(["npm", "pack", "--json", *names], work)):
        archive = work / packed["filename"]
        folder = work / archive.stem
        folder.mkdir()
        # the program, for Python's own unpacks safely only from 3.11.4 on
        _run(["tar", "-xzf", archive.name, "-C", folder.name], work)
        archive.unlink()
        yield Package(packed["name"], packed["version"], folder)
        shutil.rmtree(folder)


def _run(command: Sequence[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout
