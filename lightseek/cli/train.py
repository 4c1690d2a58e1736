"""`lightseek train`, `pause` and `resume`."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lightseek.errors import UsageError

if TYPE_CHECKING:
    from lightseek.train.pages.recipe import PageRecipe


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="Run folder; a run that is there goes on from its last checkpoint.",
)
@click.option(
    "--from", "--model", "start", metavar="MODEL", help="Start from the weights of this model."
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change the recipe, such as optimiser.muon_rate=0.003.",
)
@click.option("--device", default=None, help="cpu or cuda. [default: the GPU if there is one]")
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    help="Training processes. [default: one a core, two at most; one on a GPU or on [pages]]",
)
@click.option(
    "--save-minutes", type=float, default=5.0, show_default=True, help="Time between checkpoints."
)
@click.option(
    "--stop-after",
    type=click.IntRange(min=1),
    metavar="STEPS",
    help="Save and stop after so many steps; the same command goes on.",
)
def train(
    recipe: Path,
    output: Path,
    start: str | None,
    overrides: tuple[str, ...],
    device: str | None,
    processes: int | None,
    save_minutes: float,
    stop_after: int | None,
) -> None:
    """Train a model by a recipe; interrupt and repeat the command to go on.

    A recipe with a table [pages] trains on images with text. On several GPUs it is started by
    `accelerate launch -m lightseek train ...`.

    \b
    lightseek train configs/nano.toml -o runs/nano
    lightseek train configs/nano.toml -o runs/more --from nano --set steps=2000
    lightseek pause runs/nano; make test; lightseek resume runs/nano
    lightseek read page.png --model runs/nano/model
    """
    from lightseek.train.pages.recipe import PageRecipe, PartsRecipe, load_any
    from lightseek.weights import find_device

    loaded = load_any(recipe, overrides)
    where = find_device(device)
    if isinstance(loaded, PageRecipe):
        if device and ":" in device:
            raise UsageError(f"of several GPUs CUDA_VISIBLE_DEVICES chooses here, not {device}")
        if start is not None:
            # it has parts of its own
            parts = PartsRecipe(encoder=loaded.parts.encoder)
            loaded = replace(loaded, model=start, parts=parts)
        _train_pages(loaded, output, where.type, processes or 1, save_minutes, stop_after)
        return
    from lightseek.train.run import train as train_strips

    train_strips(
        loaded,
        output,
        device=str(where),
        processes=processes,
        start=start,
        save_minutes=save_minutes,
        stop_after=stop_after,
    )


def _train_pages(
    recipe: "PageRecipe",
    output: Path,
    device: str,
    processes: int,
    save_minutes: float,
    stop_after: int | None,
) -> None:
    from lightseek.train.pages.launch import train_in_processes
    from lightseek.train.pages.loop import train_pages

    if processes == 1:
        train_pages(recipe, output, device=device, save_minutes=save_minutes, stop_after=stop_after)
    elif device == "cpu":
        train_in_processes(
            recipe, output, processes=processes, save_minutes=save_minutes, stop_after=stop_after
        )
    else:
        raise click.UsageError(
            f"start them by accelerate launch --num_processes {processes} -m lightseek train ..."
        )


@click.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True, file_okay=False))
def pause(run: Path) -> None:
    """Let a training run wait after its current step, so that others get the cores.

    \b
    lightseek pause runs/nano
    """
    from lightseek.train.checkpoint import RunFolder

    RunFolder(run).pause_file.touch()


@click.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True, file_okay=False))
def resume(run: Path) -> None:
    """Let a paused training run go on.

    \b
    lightseek resume runs/nano
    """
    from lightseek.train.checkpoint import RunFolder

    RunFolder(run).pause_file.unlink(missing_ok=True)
