"""From the last sample in to the message out at a subscriber, over real LSL and real ZeroMQ.

python -m benchmarks.latency [seconds] [speed]
"""

import json
import multiprocessing
import secrets
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.report import heading, quantile, table
from hypnostream.bridges.bench_process import measure
from hypnostream.bridges.client import Client
from hypnostream.bridges.lsl_config import use_private_lsl
from hypnostream.bridges.lsl_outlet import LslOutlets
from hypnostream.bridges.messages import SESSION_ENDED, EpochMessage, StatusMessage
from hypnostream.bridges.own_process import own_command, own_environment
from hypnostream.engine.backend import OnnxBackend
from hypnostream.engine.bed import Bed
from hypnostream.engine.bundle import load_bundle
from hypnostream.engine.session import Session
from hypnostream.stream.clock import RealTimeClock
from hypnostream.stream.montage import resolve
from hypnostream.stream.simulator import NightSettings, SimulatedSource, simulate_night

PACKET_S = 0.02
JOIN_S = 30.0
METHOD = """\
Three processes beside this one: a simulated monitor that sends four LSL streams in packets of 20 ms, at {speed:g} times
the speed of life, for {seconds:g} s of stream time; `hypnostream run`; a subscriber. The monitor notes when it hands
over each packet, the subscriber when each message is there, both on this machine's monotonic clock. Which packet
completes a second is found by pushing the same packets through a `Bed` by itself (the resampler looks 0.23 s beyond a
second's end); the time is taken from that packet, the last that the stage waited for."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A stage at the subscriber. `engine_s` is what the engine says of its own share, from reading to sending."""

    epoch: int
    seconds: int
    final: bool
    t0_s: float
    at_s: float
    engine_s: float


class NotingClock(RealTimeClock):
    """The monitor's clock; it notes when each packet was due and came."""

    def __init__(self, speed: float) -> None:
        super().__init__(speed)
        self.sent_s: list[float] = []

    def wait_until(self, t_s: float) -> None:
        """Wait, and note the moment."""
        super().wait_until(t_s)
        self.sent_s.append(time.monotonic())


def night_source(seconds: float) -> SimulatedSource:
    """What is sent: the same samples in the same packets each time."""
    return SimulatedSource(simulate_night(NightSettings(duration_s=seconds), seed=1), PACKET_S)


def send(session_id: str, seconds: float, speed: float, out: Connection) -> None:
    """The monitor's process; at the end it tells when it sent each packet."""
    use_private_lsl(session_id)
    outlets = LslOutlets(night_source(seconds), speed)
    outlets.wait_for_consumers(JOIN_S)
    clock = NotingClock(speed)
    outlets.run(clock)
    outlets.linger(JOIN_S)
    outlets.close()
    out.send_bytes(json.dumps(clock.sent_s).encode())


def receive(address: str, out: Connection) -> None:
    """The subscriber's process; at the end it tells of every stage that came."""
    arrivals: list[list[float]] = []
    with Client(address) as client:
        for message in client.messages(timeout_s=2 * JOIN_S):
            at_s = time.monotonic()
            if isinstance(message, EpochMessage):
                t0_s = message.t_start_s - 30 * message.epoch
                arrival = [
                    message.epoch,
                    message.seconds,
                    message.status == "final",
                    t0_s,
                    at_s,
                    message.latency_s or 0,
                ]
                arrivals.append(arrival)
            elif isinstance(message, StatusMessage) and message.state == SESSION_ENDED:
                break
    out.send_bytes(json.dumps(arrivals).encode())


def completing_packets(seconds: float, t0_s: float) -> dict[tuple[int, int], int]:
    """For each stage, by its epoch and its seconds: the number of the packet that completes it."""
    bundle, source = load_bundle(), night_source(seconds)
    session = Session(bundle, OnnxBackend(bundle), t0_s)
    bed = Bed(source.streams, resolve(source.streams, bundle.channels), session)
    packets: dict[tuple[int, int], int] = {}
    packet = 0
    while not source.exhausted:
        chunks = source.read(0.0)
        bed.push(chunks)
        for result in bed.advance(max(float(chunk.timestamps[-1]) for chunk in chunks)):
            packets[result.epoch, result.seconds] = packet
        packet += 1
    return packets


def main(seconds: float = 180.0, speed: float = 1.0) -> None:
    """Print the table."""
    heading("Latency", METHOD.format(speed=speed, seconds=seconds))
    spawn = multiprocessing.get_context("spawn")
    session_id = f"benchmark-{secrets.token_hex(4)}"
    with tempfile.TemporaryDirectory(prefix="hypnostream-") as folder, ThreadPoolExecutor() as pool:
        address = f"ipc://{folder}/results"
        config = Path(folder) / "bed.toml"
        config.write_text(
            f'[lsl]\nminimum = 4\ntimeout_s = {JOIN_S}\nprivate_session = "{session_id}"\n'
            f'[publish]\naddress = "{address}"\n'
        )
        sent_out, sent_in = spawn.Pipe(duplex=False)
        came_out, came_in = spawn.Pipe(duplex=False)
        monitor = spawn.Process(target=send, args=(session_id, seconds, speed, sent_in), daemon=True)
        subscriber = spawn.Process(target=receive, args=(address, came_in), daemon=True)
        subscriber.start()
        monitor.start()
        command = own_command("hypnostream", "run", "--config", str(config), "--out", str(Path(folder) / "report"))
        engine = pool.submit(measure, command, own_environment())
        arrivals = [Arrival(*fields) for fields in json.loads(came_out.recv_bytes())]
        sent_s: list[float] = json.loads(sent_out.recv_bytes())
        cost = engine.result()
    completes = completing_packets(seconds, arrivals[0].t0_s)
    timed = [a for a in arrivals if (a.epoch, a.seconds) in completes]  # not those that the end of it all released
    final = [a for a in timed if a.final]
    rows = []
    for name, some in (("provisional stage", [a for a in timed if not a.final]), ("final stage", final)):
        if some:
            whole = [1000 * (a.at_s - sent_s[completes[a.epoch, a.seconds]]) for a in some]
            engine_ms = [1000 * a.engine_s for a in some]
            figures = [quantile(whole, 0.5), quantile(whole, 0.99), max(whole), quantile(engine_ms, 0.5)]
            rows.append([name, str(len(some)), *(f"{figure:.1f}" for figure in figures)])
    table(["", "n", "ms, median", "ms, p99", "ms, largest", "of which in the engine, median"], rows)
    print(
        f"The engine, from start to report: {cost.cpu_s:.1f} s of CPU in {cost.wall_s:.0f} s "
        f"({cost.cpu_s / cost.wall_s:.1%} of a core), {cost.peak_mib:.0f} MiB resident at most.\n"
    )


if __name__ == "__main__":
    main(*(float(argument) for argument in sys.argv[1:3]))
