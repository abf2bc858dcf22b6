"""The command line. Each command imports what it needs when it runs, so that `--help` is quick.

Groups of commands are in `commands/`.
"""

import json
from pathlib import Path
from typing import Annotated

import typer

from hypnostream import __version__
from hypnostream.commands.bridge import bridge
from hypnostream.commands.doctor import doctor
from hypnostream.commands.export import export
from hypnostream.commands.keys import keys as keys_commands
from hypnostream.commands.replay import replay
from hypnostream.commands.train import train
from hypnostream.errors import UserError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Sleep stages from live or recorded polysomnography, second by second. Not a medical device.",
)
app.command()(doctor)
app.command()(replay)
app.add_typer(keys_commands, name="keys")
app.add_typer(train, name="train")
app.add_typer(bridge, name="bridge")
app.add_typer(export, name="export")

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
Config = Annotated[Path | None, typer.Option(help="A bed's TOML file.")]
Insecure = Annotated[bool, typer.Option("--insecure", help="Allow an address that other machines reach, without keys.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hypnostream {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    pass


@app.command()
def run(
    config: Annotated[Path, typer.Option(help="A bed's TOML file, or a ward's.")],
    out: Annotated[Path | None, typer.Option(help="The session's folder (default: one in keep.folder).")] = None,
    record: Annotated[bool, typer.Option("--record", help="Keep the raw signals too.")] = False,
    metrics: Annotated[str | None, typer.Option(help="HOST:PORT for Prometheus and health.")] = None,
    log: Annotated[str, typer.Option(help="text or json, on stderr.")] = "text",
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
    insecure: Insecure = False,
) -> None:
    """Stage live from LSL until stopped. One bed, or a ward of them. Ctrl-C and SIGTERM close cleanly, with a report.

    A session that was cut off otherwise goes on when this is run again.
    """
    from msgspec.structs import replace

    from hypnostream.bridges.live import run_live
    from hypnostream.bridges.live_session import LiveOptions
    from hypnostream.bridges.logs import configure_logs, log_line
    from hypnostream.bridges.overseers import overseers_of
    from hypnostream.bridges.terminal import summary_lines
    from hypnostream.config import bed_config, is_ward, read_toml

    configure_logs(log, log_level)
    announce = log_line if log == "json" else lambda line: typer.echo(line, err=True)
    raw = read_toml(config)
    if is_ward(raw):
        from hypnostream.bridges.ward import WardOptions, run_ward

        if out is not None:
            raise UserError("--out is for one bed; in a ward use keep.folder")
        run_ward(WardOptions(config, announce, record, insecure, metrics))
        return
    bed = bed_config(raw, config)
    bed = bed.insecure() if insecure else bed
    if record:
        bed = replace(bed, keep=replace(bed.keep, record=True))
    with overseers_of(bed, metrics) as overseers:
        options = LiveOptions(bed, out, announce, overseers=overseers)
        summary, folder = run_live(options)
    for line in summary_lines(summary, folder):
        typer.echo(line)


@app.command()
def watch(
    address: Annotated[str, typer.Argument(help="Where a session publishes.")] = "tcp://127.0.0.1:5556",
    as_json: Json = False,
    keys: Annotated[Path | None, typer.Option(help="A folder with server.public and one's own secret.")] = None,
) -> None:
    """Show a session as it goes. Hypnogram and sensors as they come; with --json a line each stage and event."""
    from rich.console import Console

    from hypnostream.bridges.curve import client_keys
    from hypnostream.bridges.watch import watch as watch_session

    curve = None if keys is None else client_keys(keys)
    watch_session(address, Console(), json_lines=as_json, curve=curve)


@app.command()
def inspect(
    file: Annotated[Path | None, typer.Argument(help="A recording to look at.")] = None,
    lsl: Annotated[bool, typer.Option("--lsl", help="Look at the LSL streams that are there now.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Say which channel is taken for what. From which label, unit and rate, and why; what is ambiguous or missing."""
    from hypnostream.bridges.breathing import specs_of
    from hypnostream.bridges.inspect import inspect as inspect_source
    from hypnostream.bridges.inspect import to_builtins, to_text
    from hypnostream.bridges.replay import bundle_of
    from hypnostream.bridges.terminal import progress_bar, width
    from hypnostream.config import BedConfig, load_config
    from hypnostream.stream.source import Source

    if (file is None) is not lsl:
        raise UserError("inspect needs either a FILE or --lsl")
    bed = BedConfig() if config is None else load_config(config)
    source: Source
    if file is not None:
        from hypnostream.bridges.recorded import open_recording

        source = open_recording(file)
    else:
        from hypnostream.bridges.lsl import LslSource
        from hypnostream.bridges.surroundings import settings_of

        with progress_bar("looking for LSL streams"):
            source = LslSource(settings_of(bed.lsl))
    try:
        inspection = inspect_source(source, specs_of(bundle_of(bed), bed.breathing), bed.channels)
    finally:
        source.close()
    if as_json:
        typer.echo(json.dumps(to_builtins(inspection), indent=2, ensure_ascii=False))
    else:
        typer.echo(to_text(inspection, width=width()))


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="The report's folder.")] = Path("demo-report"),
    speed: Annotated[float, typer.Option(min=1, max=2000, help="So many times faster than life.")] = 480.0,
    hours: Annotated[float, typer.Option(min=0.1, max=12, help="How long a night to simulate.")] = 8.0,
    seed: Annotated[int, typer.Option(min=0, help="Which sleeper.")] = 1,
    data: Annotated[Path, typer.Option(help="Where real hypnograms may lie.")] = Path("../shared/data"),
) -> None:
    """Stage a simulated night over real LSL. It is streamed, staged, published, watched and reported."""
    from hypnostream.bridges.demo import run_demo

    run_demo(out, speed, hours, seed, data)


@app.command()
def bench(
    backend: Annotated[str, typer.Option(help="auto, onnxruntime or tensorrt.")] = "auto",
    as_json: Json = False,
) -> None:
    """Time this machine. One epoch, one provisional second and a replay of 8 h."""
    from hypnostream.bridges.bench import bench_here

    report = bench_here(backend)
    typer.echo(json.dumps(report, indent=2) if as_json else "\n".join(f"{k:>34}  {v}" for k, v in report.items()))
