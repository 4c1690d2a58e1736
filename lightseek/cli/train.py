"""`lightseek train`, `pause` and `resume`."""

from pathlib import Path

import click


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
@click.option("--from", "start", metavar="MODEL", help="Start from the weights of this model.")
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
    help="Training processes. [default: one a core, two at most; one on a GPU]",
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

    \b
    lightseek train configs/nano.toml -o runs/nano
    lightseek train configs/nano.toml -o runs/more --from nano --set steps=2000
    lightseek pause runs/nano; make test; lightseek resume runs/nano
    lightseek read page.png --model runs/nano/model
    """
    from lightseek.train.recipe import load_recipe
    from lightseek.train.run import train as run
    from lightseek.weights import default_device, find_model

    run(
        load_recipe(recipe, overrides),
        output,
        device=device or default_device().type,
        processes=processes,
        start=find_model(start) if start else None,
        save_minutes=save_minutes,
        stop_after=stop_after,
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
