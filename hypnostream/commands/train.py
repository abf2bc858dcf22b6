"""`hypnostream train`: recordings in, a bundle out."""

from pathlib import Path
from typing import Annotated

import typer

from hypnostream.errors import UserError

train = typer.Typer(no_args_is_help=True, help="Make weights and bundles (needs the 'train' extra).")


@train.callback()
def _training() -> None:
    from importlib.util import find_spec

    absent = [name for name in ("torch", "onnx", "safetensors") if find_spec(name) is None]
    if absent:
        raise UserError(
            f"training needs {', '.join(absent)}, which a bedside install leaves out: `pip install torch==2.13.0`, "
            'then `pip install ".[train]"`'
        )


@train.command("ingest")
def train_ingest(
    data: Annotated[Path, typer.Argument(help="The folder that holds the sets.")],
    out: Annotated[Path, typer.Argument(help="Where the Parquet nights go.")],
) -> None:
    """Turn sets of recordings into nights to train on, one Parquet file each."""
    from hypnostream.training.commands import ingest_command

    ingest_command(data, out)


@train.command("stager")
def train_stager(
    data: Annotated[Path, typer.Option(help="The folder that holds the sets.")],
    out: Annotated[Path, typer.Option(help="Where the run and its bundle go.")] = Path("runs/stager"),
    recipe: Annotated[Path | None, typer.Option(help="A TOML recipe (default: the shipped bundle's).")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Trainings side by side.")] = 2,
) -> None:
    """Train the shipped bundle again from nothing: ingest, fit, export, parity report."""
    from hypnostream.training.commands import stager_command

    stager_command(data, out, recipe, workers)


@train.command("crossvalidate")
def train_crossvalidate(
    data: Annotated[Path, typer.Option(help="The folder that holds the sets.")],
    out: Annotated[Path, typer.Option(help="Where the run goes.")] = Path("runs/crossvalidation"),
    recipe: Annotated[Path | None, typer.Option(help="A TOML recipe (default: the shipped bundle's).")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Trainings side by side.")] = 2,
) -> None:
    """Train with each fold of subjects held out in turn, and write the table of how well each did."""
    from hypnostream.training.commands import crossvalidate_command

    crossvalidate_command(data, out, recipe, workers)
