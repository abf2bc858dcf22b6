"""Draw the pictures of README.md: a simulated night over LSL, and what `hypnostream watch` shows of it after 7 h.

    python docs/images/make_pictures.py
    chromium --headless --hide-scrollbars --window-size=1336,514 --screenshot=docs/images/watch.png watch.svg

The engine runs as `hypnostream run` does and the terminal is drawn as `hypnostream watch` draws it.
"""

import argparse
import multiprocessing
import secrets
import shutil
import tempfile
from io import StringIO
from pathlib import Path

from rich.console import Console

from hypnostream.bridges.demo import PATIENCE_WALL_S
from hypnostream.bridges.live import run_live
from hypnostream.bridges.live_session import LiveOptions
from hypnostream.bridges.lsl_outlet import stream_simulated_night
from hypnostream.bridges.watch import WatchState, render, watch
from hypnostream.config import BedConfig, GridSection, LslSection, PublishSection
from hypnostream.stream.simulator import NightSettings
from hypnostream.stream.simulator_faults import typical_faults

HERE = Path(__file__).parent
NIGHT_S, SPEED, SHOWN_S, WIDTH = 8 * 3600.0, 480.0, 7 * 3600.0, 108


def main() -> None:
    """Simulate, stage and watch one night; write hypnogram.png beside this file and watch.svg where you are."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seed", type=int, default=1)
    seed: int = arguments.parse_args().seed
    settings = NightSettings(duration_s=NIGHT_S, faults=typical_faults(NIGHT_S, seed))
    lsl_session, spawn = f"pictures-{secrets.token_hex(4)}", multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="hypnostream-") as scratch:
        report, address = Path(scratch) / "report", f"ipc://{scratch}/results"
        bed = BedConfig(
            name=f"simulated night, seed {seed}",
            lsl=LslSection(minimum=4, timeout_s=30.0, private_session=lsl_session),
            publish=PublishSection(address=address),
            grid=GridSection(lateness_s=SPEED * PATIENCE_WALL_S),
        )
        processes = (
            spawn.Process(target=stream_simulated_night, args=(settings, SPEED, lsl_session, seed), daemon=True),
            spawn.Process(target=run_live, args=(LiveOptions(bed, report, wait_for_subscriber_s=20.0),), daemon=True),
        )
        for process in processes:
            process.start()
        picture = Console(record=True, width=WIDTH, file=StringIO(), force_terminal=True, color_system="truecolor")
        quiet = Console(file=StringIO())
        seen = watch(address, quiet, until=_late_in_the_night)
        seen.address = "tcp://127.0.0.1:5556"
        picture.print(render(seen, WIDTH))
        watch(address, quiet, until=lambda state: state.ended or not processes[1].is_alive())
        for process in processes:
            process.join(60.0)
        shutil.copy(report / "hypnogram.png", HERE / "hypnogram.png")
    picture.save_svg("watch.svg", title="hypnostream watch")


def _late_in_the_night(state: WatchState) -> bool:
    forming = state.provisional
    return forming is not None and forming.t_start_s >= SHOWN_S and forming.seconds >= 20


if __name__ == "__main__":
    main()
