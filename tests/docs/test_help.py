"""The help of every command, as people see it."""

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

import lightseek
from lightseek.cli import main


def verbs(group: click.Group = main, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from verbs(command, (*path, name))
        else:
            yield (*path, name)


@pytest.mark.parametrize("path", [*verbs()], ids=" ".join)
def test_every_verb_shows_an_example_on_a_line_of_its_own(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, [*path, "--help"], prog_name="lightseek")
    assert result.exit_code == 0
    assert "\\b" not in result.output, "the mark of lines that stay as they are is no raw string"
    before, _, _ = result.output.partition("Options:")
    lines = [line.strip() for line in before.splitlines()]
    assert any(line.startswith(f"lightseek {' '.join(path)} ") for line in lines)


def test_version() -> None:
    result = CliRunner().invoke(main, ["--version"])
    assert result.output == f"lightseek, version {lightseek.__version__}\n"


def test_a_command_that_does_not_exist_is_wrong_use() -> None:
    assert CliRunner().invoke(main, ["reed"]).exit_code == 2
