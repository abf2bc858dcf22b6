"""`hypnostream doctor`: whether a night can be left alone here."""

import json
from pathlib import Path
from typing import Annotated

import typer

from hypnostream.errors import UserError


def doctor(
    peers: Annotated[list[str] | None, typer.Argument(metavar="PEER", help="With --lsl-config: who sends.")] = None,
    config: Annotated[Path | None, typer.Option(help="A bed's TOML file, or a ward's.")] = None,
    lsl_config: Annotated[
        bool, typer.Option("--lsl-config", help="Print an lsl_api.cfg for a network without multicast.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")] = False,
) -> None:
    """Examine this machine before a night. Exit code 1 when there is a problem."""
    from hypnostream.bridges.doctor import PROBLEM, run_doctor, to_text, worst
    from hypnostream.config import BedConfig, bed_config, is_ward, read_toml

    if lsl_config:
        from hypnostream.bridges.lsl_config import lsl_config as lsl_config_for

        if not peers:
            raise UserError("--lsl-config needs the machines that send: `hypnostream doctor --lsl-config 192.0.2.7`")
        typer.echo(lsl_config_for(known_peers=tuple(peers)), nl=False)
        return
    if peers:
        raise UserError(f"doctor takes machines only with --lsl-config, not {' '.join(peers)!r}")
    raw = {} if config is None else read_toml(config)
    if config is not None and is_ward(raw):
        from hypnostream.bridges.doctor_ward import examine_ward

        checks = examine_ward(config)
    else:
        checks = run_doctor(BedConfig() if config is None else bed_config(raw, config))
    if as_json:
        said = [{"name": c.name, "state": c.state, "said": c.said, "todo": c.todo} for c in checks]
        typer.echo(json.dumps({"worst": worst(checks), "checks": said}, indent=2, ensure_ascii=False))
    else:
        typer.echo(to_text(checks))
    if worst(checks) == PROBLEM:
        raise typer.Exit(1)
