"""`hypnostream keys`: who may listen from another machine."""

import json
from pathlib import Path
from typing import Annotated

import typer

keys = typer.Typer(no_args_is_help=True, help="Make keys, and say which may listen from another machine.")

Folder = Annotated[Path, typer.Option(help="The folder of the keys.")]


@keys.command("new")
def keys_new(
    name: Annotated[str, typer.Argument(help="server for a bed's own, any other name for one who listens.")],
    folder: Folder = Path("keys"),
) -> None:
    """Make a pair of keys. NAME.secret stays on this machine, NAME.public is for the other one."""
    from hypnostream.bridges.key_files import SERVER, new_keys

    secret, public = new_keys(folder, name)
    typer.echo(f"{secret}: keep it on this machine and show it to no one")
    if name == SERVER:
        typer.echo(f"{public}: copy it into the keys folder of each who listens")
    else:
        typer.echo(f"{public}: take it to the bed, there `hypnostream keys allow {public.name}`")


@keys.command("allow")
def keys_allow(
    file: Annotated[Path, typer.Argument(help="The public key of one who may listen.")],
    folder: Folder = Path("keys"),
    name: Annotated[str | None, typer.Option(help="Whose it is (default: the file's name).")] = None,
) -> None:
    """Let the holder of a key listen. A session that runs takes it up at once."""
    from hypnostream.bridges.key_files import allow

    typer.echo(f"{allow(folder, file, name)}: may listen")


@keys.command("remove")
def keys_remove(
    name: Annotated[str, typer.Argument(help="Whose key, as `keys list` has it.")], folder: Folder = Path("keys")
) -> None:
    """Let the holder of a key connect no more. A connection that is open stays until it breaks."""
    from hypnostream.bridges.key_files import remove

    remove(folder, name)
    typer.echo(f"{name} may connect no more; what is connected now stays so until the session is started again")


@keys.command("list")
def keys_list(
    folder: Folder = Path("keys"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")] = False,
) -> None:
    """List who may listen. Files that are no keys are named on stderr."""
    from hypnostream.bridges.key_files import read_allowed

    allowed = read_allowed(folder)
    by_name = {name: key.decode() for key, name in allowed.names.items()}
    if as_json:
        typer.echo(json.dumps(by_name, indent=2))
    else:
        for name, key in by_name.items():
            typer.echo(f"{name:24} {key}")
        if not by_name:
            typer.echo(f"no one: {folder} allows no key")
    for problem in allowed.problems:
        typer.echo(problem, err=True)
