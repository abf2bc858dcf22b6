"""`hypnostream replay`: a recorded night, a recorded session, or a folder of nights."""

import json
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hypnostream.errors import UserError

if TYPE_CHECKING:
    from hypnostream.config import BedConfig


def replay(
    file: Annotated[Path, typer.Argument(help="A recording in EDF, EDF+ or XDF, or a folder of them.")],
    out: Annotated[Path | None, typer.Option(help="The report's folder (default: a new one beside you).")] = None,
    config: Annotated[Path | None, typer.Option(help="A bed's TOML file.")] = None,
    speed: Annotated[str, typer.Option(help="max, realtime, or so many times real time.")] = "max",
    reference: Annotated[Path | None, typer.Option(help="A hypnogram to compare with: EDF+, NSRR XML or CSV.")] = None,
    publish: Annotated[str | None, typer.Option(help="Publish on this ZeroMQ address while it runs.")] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Allow an address that other machines reach, without keys.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Nights of a folder side by side (default: cores).")
    ] = None,
    ray: Annotated[bool, typer.Option("--ray", help="A folder over Ray: the cluster of RAY_ADDRESS, or here.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")] = False,
) -> None:
    """Stage a recorded night. It takes the same path as a live one, and its report goes into a folder.

    A folder of nights is staged on all cores; nights that have their report are left as they are.
    """
    from hypnostream.bridges.replay import ReplayOptions
    from hypnostream.bridges.replay import replay as replay_night
    from hypnostream.bridges.terminal import progress_bar, summary_lines
    from hypnostream.config import BedConfig, load_config

    bed = BedConfig() if config is None else load_config(config)
    bed = bed.insecure() if insecure else bed
    if file.is_dir() and not _is_session(file):
        for given, name in ((reference, "--reference"), (publish, "--publish"), (_speed(speed), "--speed")):
            if given is not None:
                raise UserError(f"{name} is for one night, and {file} is a folder: replay its nights one by one")
        _replay_folder(file, out or Path(f"{file.resolve().name}-reports"), bed, workers, ray, as_json)
        return
    if ray or workers is not None:
        raise UserError(f"{file} is one night: --workers and --ray are for a folder of nights")
    options = ReplayOptions(out=out, config=bed, speed=_speed(speed), reference=reference, publish=publish)
    summary, folder = replay_night(file, options, progress_bar)
    if as_json:
        from hypnostream.bridges.summary import encode_summary

        typer.echo(encode_summary(summary).decode(), nl=False)
    else:
        for line in summary_lines(summary, folder):
            typer.echo(line)


def _is_session(path: Path) -> bool:
    from hypnostream.bridges.replay_folder import is_session

    return is_session(path)


def _replay_folder(folder: Path, out: Path, config: "BedConfig", workers: int | None, ray: bool, as_json: bool) -> None:
    """A line for each night as it is done, on stderr for one that failed: then the exit code is 1."""
    from hypnostream.bridges.cores import usable_cores
    from hypnostream.bridges.picture import statistics_line
    from hypnostream.bridges.replay_folder import is_reported, nights_in, stage_night, take_settings
    from hypnostream.training.running.many import Failed, run_each

    nights = nights_in(folder, out)
    settings = take_settings(out, config)
    due = [night for night in nights if not is_reported(night, settings)]
    if workers is None:  # a cluster gives each night a processor of its own as it has them
        everywhere = ray and os.environ.get("RAY_ADDRESS")
        workers = max(1, len(due)) if everywhere else usable_cores()
    failed: dict[str, str] = {}
    root = folder.resolve()
    for place, found in run_each(partial(stage_night, config), due, workers, ray):
        name = str(due[place].recording.relative_to(root))
        if isinstance(found, Failed):
            failed[name] = found.message.removeprefix("UserError: ")
            typer.echo(f"failed {name}: {failed[name]}", err=True)
        elif not as_json:
            typer.echo(f"{name}: {found.epochs.total} epochs; {statistics_line(found.sleep)}")
    staged, kept = len(due) - len(failed), len(nights) - len(due)
    if as_json:
        typer.echo(json.dumps({"out": str(out), "staged": staged, "kept": kept, "failed": failed}, ensure_ascii=False))
    else:
        typer.echo(f"{staged} nights staged, {kept} had their report in {out}/. Not a medical device.")
    if failed:
        raise SystemExit(1)


def _speed(text: str) -> float | None:
    """ "max" -> None, "realtime" -> 1.0, a positive number -> itself."""
    if text == "max":
        return None
    try:
        speed = 1.0 if text == "realtime" else float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < 1e6:
        raise UserError(f"--speed {text} is neither max, realtime nor a positive number such as 60")
    return speed
