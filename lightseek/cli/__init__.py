"""The command line: one thin command a verb. Results on stdout, everything else on stderr.

    read.py       read
    inspect.py    info, eval
    explain.py    explain
    bench.py      bench, quantize
    train.py      train, pause, resume
    study.py      study compression
    synth.py      synth fetch, sheet, pack
    render.py     render, roundtrip
    data.py       data check, data align
    tokenizer.py  tokenizer
    files.py      which files are read, and where results go
    console.py    what they show on stderr

Exit codes: 0 all is well, 1 something could not be read, 2 wrong use, 130 a run was interrupted.
"""

import errno
import io
import sys
from typing import Any

import click

from lightseek import __version__
from lightseek.cli.bench import bench, quantize
from lightseek.cli.data import data
from lightseek.cli.explain import explain
from lightseek.cli.inspect import evaluate, info
from lightseek.cli.read import read
from lightseek.cli.render import render, roundtrip
from lightseek.cli.study import study
from lightseek.cli.synth import synth
from lightseek.cli.tokenizer import tokenizer
from lightseek.cli.train import pause, resume, train
from lightseek.errors import Interrupted, LightSeekError, PageError

__all__ = ["main"]

INTERRUPTED = 130
"""Exit code of a run that was asked to end, as shells have it: what follows it must not begin."""


class WrongUse(click.ClickException):
    """A mistake that the user can cure."""

    exit_code = 2


class OneLineErrors(click.Group):
    """Shows what the user can cure as one line: exit code 2, or 1 of a page or disk at fault."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except Interrupted as ended:
            click.echo(ended, err=True)
            ctx.exit(INTERRUPTED)
        except PageError as error:
            raise click.ClickException(str(error)) from error
        except LightSeekError as error:
            raise WrongUse(str(error)) from error
        except OSError as error:
            if error.errno == errno.EPIPE:  # whoever takes the result has enough of it
                raise
            message = f"{error.filename or 'output'}: {error.strerror or error}"
            raise click.ClickException(message) from error


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lightseek")
def main() -> None:
    """DeepSeek-OCR that people can read, run, train and check."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # what is read has letters of many languages
        sys.stdout.reconfigure(encoding="utf-8")


_COMMANDS = (
    *(read, info, evaluate, explain, bench, quantize),
    *(train, pause, resume, study),
    *(synth, data, tokenizer, render, roundtrip),
)
for _command in _COMMANDS:
    main.add_command(_command)
