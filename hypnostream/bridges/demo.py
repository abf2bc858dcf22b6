"""The demo: three processes on one machine that meet as they would in a bedroom.

A simulated bedside monitor sends a night over real LSL, faster than life; the engine stages it and publishes over
ZeroMQ; this process subscribes and shows. Nothing leaves the machine.
"""

import multiprocessing
import secrets
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from hypnostream.bridges.live import run_live
from hypnostream.bridges.live_session import LiveOptions
from hypnostream.bridges.lsl_outlet import stream_simulated_night
from hypnostream.bridges.real_hypnograms import real_hypnogram
from hypnostream.bridges.summary import read_summary
from hypnostream.bridges.terminal import summary_lines
from hypnostream.bridges.watch import watch
from hypnostream.config import BedConfig, GridSection, LslSection, PublishSection
from hypnostream.engine.agreement import agreement
from hypnostream.errors import UserError
from hypnostream.stream.simulator import NightSettings, simulate_night
from hypnostream.stream.simulator_faults import typical_faults

END_TIMEOUT_S = 60.0
PATIENCE_WALL_S = 10.0


def run_demo(out: Path, speed: float, hours: float, seed: int, data: Path) -> None:
    """Simulate, stream, stage, watch and report one night. Raises UserError when the engine gave up.

    The simulated sleeper follows a real hypnogram where `data` has one, as long as it lasts, else a drawn one.
    """
    settings, follows = night_settings(hours, seed, data)
    session = f"demo-{secrets.token_hex(4)}"
    console = Console()
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="hypnostream-") as scratch:
        address = f"ipc://{scratch}/results"
        config = BedConfig(
            name=f"simulated night, seed {seed}",
            lsl=LslSection(minimum=4, timeout_s=30.0, private_session=session, stall_s=speed * PATIENCE_WALL_S),
            publish=PublishSection(address=address),
            # At 480 times the speed of life 2 s are 4 ms on the wall: any busy machine would seem to lose its sensors.
            grid=GridSection(lateness_s=speed * PATIENCE_WALL_S),
        )
        monitor = spawn.Process(target=stream_simulated_night, args=(settings, speed, session, seed), daemon=True)
        engine = spawn.Process(target=_engine, args=(config, out), daemon=True)
        monitor.start()
        engine.start()
        length_h = (settings.duration_s or 0.0) / 3600
        console.print(f"a simulated monitor streams {length_h:.3g} h over LSL at {speed:g} times the speed of life")
        console.print(f"its sleeper follows {follows}")
        try:
            watch(address, console, until=lambda state: state.ended or not engine.is_alive())
            engine.join(END_TIMEOUT_S)
        finally:
            for process in (monitor, engine):
                if process.is_alive():
                    process.terminate()
                process.join(5.0)
    if engine.exitcode != 0:
        raise UserError("the demo's engine stopped early; what it said is above")
    summary = read_summary(out / "summary.json")
    for line in summary_lines(summary, out):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    _compare_with_truth(out, settings, seed, console)


def night_settings(hours: float, seed: int, data: Path) -> tuple[NightSettings, str]:
    """The simulated night, `hours` long at most, and in words what its hypnogram is."""
    epochs, real = round(hours * 120), real_hypnogram(data, seed)
    if real is None:
        duration_s, stages, follows = epochs * 30.0, None, f"a hypnogram drawn by chance, seed {seed}"
    else:
        name, stages = real[0], real[1][:epochs]
        duration_s, follows = len(stages) * 30.0, f"the hypnogram of a real night, BOAS {name} (CC0)"
    faults = typical_faults(duration_s, seed)
    return NightSettings(duration_s=duration_s, stages=stages, faults=faults), follows


def _engine(config: BedConfig, out: Path) -> None:
    """The engine's process."""
    try:
        run_live(LiveOptions(config, out, wait_for_subscriber_s=20.0))
    except UserError as error:
        print(f"hypnostream: {error}", file=sys.stderr)
        sys.exit(2)


def _compare_with_truth(out: Path, settings: NightSettings, seed: int, console: Console) -> None:
    """A simulation knows its stages: say how many of them the engine found."""
    from hypnostream.bridges.tables import read_epochs
    from hypnostream.stream.stages import stage_codes

    _, results = read_epochs(out / "epochs.parquet")
    truth = simulate_night(settings, seed).stages
    found = agreement(truth, stage_codes(result.stage for result in results))
    if found.accuracy is not None and found.kappa is not None:
        console.print(
            f"of the simulation's own stages {found.accuracy:.0%} were found (kappa {found.kappa:.2f}), sensor faults "
            "included. A simulation is a rough likeness; for figures on people see benchmarks/README.md.",
            highlight=False,
            soft_wrap=True,
        )
