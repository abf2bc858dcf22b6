"""`hypnostream export`: a bundle in the form that other servers want."""

from pathlib import Path
from typing import Annotated

import typer

export = typer.Typer(no_args_is_help=True, help="Write a bundle for other servers.")


@export.callback()
def _export() -> None:
    pass


@export.command()
def triton(
    bundle: Annotated[Path, typer.Argument(help="A bundle's folder, or `shipped`.")],
    out: Annotated[Path, typer.Argument(help="The model repository; the model gets a folder in it.")],
    beds: Annotated[int, typer.Option(min=1, help="How many beds may be open at a time.")] = 4096,
) -> None:
    """Write a model repository for NVIDIA Triton. One sequence is one bed, and Triton keeps its state."""
    from hypnostream.bridges.triton_repository import export_triton
    from hypnostream.engine.bundle import load_bundle

    loaded = load_bundle(None if str(bundle) == "shipped" else bundle)
    typer.echo(f"wrote {export_triton(loaded, out, beds)}")
