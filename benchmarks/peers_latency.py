"""How old the newest sample is when its user has it: ours, mne-lsl and timeflux on the same four streams.

python -m benchmarks.peers_latency [minutes]
"""

import json
import multiprocessing
import os
import secrets
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peer import lsl_environment, peer_command, peer_python, quiet, talking
from benchmarks.processes import family, processor_s
from benchmarks.report import heading, quantile, table
from benchmarks.soak import DEVICES, PACKET, RATE_HZ, receive, send
from hypnostream.bridges.lsl import LslSource
from hypnostream.bridges.lsl_settings import LslSettings
from hypnostream.bridges.own_process import own_command, own_environment
from hypnostream.stream.source import Chunk

# Newest samples as they came: the monotonic clock, and the sample's stamp on LSL's clock.
Arrivals = Mapping[str, Sequence[Sequence[float]]]

LOOK_AHEAD_S = 58 / RATE_HZ  # of the resampler, beyond a second's end
WARM_UP_S = 15.0  # liblsl learns the clock, dejitters settle
MNE_LSL_DELAYS_S = (0.001, 0.01)
TIMEFLUX_RATES_HZ = (100, 0)
METHOD = """\
The streams and the sender of the soak: four streams of eight channels at {rate} Hz in packets of {packet} samples with
LSL's own stamps, sent in real time for {minutes:g} minutes, once for each program. Latency of a packet is from its
handing over to LSL until a sample as new as its last one is at the user, both on this machine's monotonic clock; the
first {warm_up:g} s do not count. CPU is of all processes that stand between LSL and the user, the user's own only where
it is the reader itself.

The rows do not do the same. The first two of ours, mne-lsl and timeflux hand over samples. The other two of ours are
`hypnostream run` with all that it does: dejitter, journal, filters, resampling, quality, staging each second, result
log, checkpoints, publishing, and a `Client` in another process. They count from the packet that a second waits for last
(its end and {ahead:.2f} s beyond it for the resampler). `LslSource` looks all the time (each 5 ms) as long as nobody
says when seconds begin; a bed says so, then it looks often when a packet is due that completes a second, and else ten
times a second, since nothing waits for it.

mne-lsl: a `StreamLSL` for each stream, `processing_flags="all"`, acquisition each 1 ms (its default) or 10 ms; its user
looks each 1 ms whether something is new and reads it. timeflux: one graph with a `Receive` and a `Pub` node for each
stream, at 100 turns a second or without a pause (rate 0); the subscriber binds, so there is no broker between. All read
with the liblsl of our pylsl."""


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured: ms by packet, % of one core."""

    name: str
    ms: Sequence[float]
    cpu: float


@contextmanager
def sending(seconds: float) -> Iterator[tuple[str, Callable[[], NDArray[np.float64]]]]:
    """The amplifiers; they begin when all four have a reader. The session, and what waits for (stamp, sent at)."""
    spawn = multiprocessing.get_context("spawn")
    session = f"peers-{secrets.token_hex(4)}"
    sent_out, sent_in = spawn.Pipe(duplex=False)
    sender = spawn.Process(target=send, args=(session, seconds, sent_in), daemon=True)
    sender.start()

    def sent() -> NDArray[np.float64]:
        if not sent_out.poll(seconds + 90.0):
            raise SystemExit("the sender waited for readers in vain")
        return np.array(json.loads(sent_out.recv_bytes()))

    try:
        yield session, sent
    finally:
        sender.kill()
        sender.join()


def ages_ms(sent: NDArray[np.float64], arrivals: Arrivals, wanted: NDArray[np.bool_] | None = None) -> list[float]:
    """For each packet (of those wanted): until a sample as new as its last one was there, in each stream."""
    stamps, sent_s = sent[:, 0], sent[:, 1]
    settled = sent_s > sent_s[0] + WARM_UP_S
    wanted = settled if wanted is None else settled & wanted
    ages: list[float] = []
    for each in arrivals.values():
        came = np.array(each)
        newest = np.maximum.accumulate(came[:, 1])
        first = np.searchsorted(newest, stamps - 0.5 * PACKET / RATE_HZ)  # stamps that were smoothed are a little off
        there = wanted & (first < len(came))
        ages += (1000 * (came[first[there], 0] - sent_s[there])).tolist()
    return ages


class Meter:
    """% of one core that processes take, from now until it is read."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._pids, self._began_s = pids, time.monotonic()
        self._cpu_s = sum(map(processor_s, pids))

    def read(self) -> float:
        """All of them together."""
        return 100 * (sum(map(processor_s, self._pids)) - self._cpu_s) / (time.monotonic() - self._began_s)


def take(session: str, seconds: float, expecting: bool, out: Connection) -> None:
    """A user of `LslSource` alone, in a process of its own."""
    settings = LslSettings(minimum=len(DEVICES), resolve_timeout_s=30.0, private_session=session)
    source = LslSource(settings)
    arrivals: dict[str, list[tuple[float, float]]] = {}
    t0_s = source.now_s
    if expecting:
        source.expect(t0_s)
    meter, until_s = Meter([os.getpid(), source.reader_pid]), time.monotonic() + seconds
    while time.monotonic() < until_s:
        for arrival in source.take(0.2):
            if isinstance(arrival, Chunk):
                arrivals.setdefault(arrival.stream_id, []).append((time.monotonic(), float(arrival.timestamps[-1])))
    cpu = meter.read()
    out.send_bytes(json.dumps([t0_s, cpu, arrivals]).encode())
    source.close()


def our_source(seconds: float, expecting: bool) -> Row:
    """From a sample's push until `LslSource.take` gives it."""
    spawn = multiprocessing.get_context("spawn")
    with sending(seconds) as (session, sent_of):
        came_out, came_in = spawn.Pipe(duplex=False)
        reader = spawn.Process(target=take, args=(session, seconds - 2.0, expecting, came_in))
        reader.start()
        t0_s, cpu, arrivals = json.loads(came_out.recv_bytes())
        reader.join()
        sent = sent_of()
    if not expecting:
        return Row("hypnostream, samples at `LslSource.take`", ages_ms(sent, arrivals), cpu)
    seconds_done = np.floor(sent[:, 0] - t0_s + 1.02 / RATE_HZ)
    completes = np.diff(seconds_done, prepend=seconds_done[0]) > 0
    return Row(
        "hypnostream, the same for a bed: samples that complete a second", ages_ms(sent, arrivals, completes), cpu
    )


def our_bed(seconds: float) -> list[Row]:
    """From the last packet that a stage waits for until the subscriber has the stage."""
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="hypnostream-") as folder, sending(seconds) as (session, sent_of):
        address, config = f"ipc://{folder}/results", Path(folder) / "bed.toml"
        config.write_text(
            f'[lsl]\nminimum = {len(DEVICES)}\ntimeout_s = 30.0\nmax_silence_s = 3.0\nprivate_session = "{session}"\n'
            f'[publish]\naddress = "{address}"\n'
        )
        came_out, came_in = spawn.Pipe(duplex=False)
        subscriber = spawn.Process(target=receive, args=(address, came_in), daemon=True)
        subscriber.start()
        command = own_command("hypnostream", "run", "--config", str(config), "--out", f"{folder}/night")
        with quiet(command, own_environment()) as engine:
            time.sleep(WARM_UP_S)
            meter = Meter(family(engine.pid))
            time.sleep(max(0.0, seconds - WARM_UP_S - 5.0))
            cpu = meter.read()
            sent = sent_of()
            arrivals = json.loads(came_out.recv_bytes())[0]
            engine.wait(60)
        subscriber.join()
    ms: dict[bool, list[float]] = {False: [], True: []}
    for end_s, at_s, final in arrivals:
        needed = int(np.searchsorted(sent[:, 0], end_s + LOOK_AHEAD_S))
        if needed < len(sent) and sent[needed, 1] > sent[0, 1] + WARM_UP_S:
            ms[final].append(1000 * (at_s - sent[needed, 1]))
    return [
        Row("hypnostream, provisional stages at a subscriber", ms[False], cpu),
        Row("hypnostream, final stages at a subscriber", ms[True], cpu),
    ]


def mne_lsl(seconds: float, delay_s: float) -> tuple[Row, str] | None:
    """mne-lsl's user."""
    with sending(seconds) as (session, sent_of):
        command = peer_command("mne_lsl_newest.py", f"{delay_s:g}", *DEVICES)
        if command is None:
            return None
        with lsl_environment(session) as environment, talking(command, "connected", environment) as ask:
            sent = sent_of()
            report = ask()
    name = f"mne-lsl, samples at its user, acquisition each {1000 * delay_s:g} ms"
    return Row(name, ages_ms(sent, report["arrivals"]), 100 * report["cpu"]), report["versions"]


def timeflux(seconds: float, rate_hz: int) -> tuple[Row, str] | None:
    """timeflux's subscriber."""
    python = peer_python("timeflux")
    if python is None:
        return None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    nodes: list[dict[str, Any]] = []
    for name in DEVICES:
        receiving = {"prop": "name", "value": name, "timeout": 30}
        publishing = {"topic": name, "address": f"tcp://127.0.0.1:{port}"}
        nodes.append({"id": name, "module": "timeflux.nodes.lsl", "class": "Receive", "params": receiving})
        nodes.append({"id": f"{name}_out", "module": "timeflux.nodes.zmq", "class": "Pub", "params": publishing})
    edges = [{"source": name, "target": f"{name}_out"} for name in DEVICES]
    with tempfile.TemporaryDirectory(prefix="hypnostream-") as folder, ExitStack() as stack:
        session, sent_of = stack.enter_context(sending(seconds))
        app = Path(folder) / "app.json"
        app.write_text(json.dumps({"graphs": [{"id": "bed", "rate": rate_hz, "nodes": nodes, "edges": edges}]}))
        environment = stack.enter_context(lsl_environment(session))
        subscriber = [str(python), "-W", "ignore", str(Path(__file__).parent / "peers" / "timeflux_newest.py")]
        ask = stack.enter_context(talking([*subscriber, str(port), *DEVICES], "bound", environment))
        graph = stack.enter_context(quiet([str(python), "-W", "ignore", "-m", "timeflux", str(app)], environment))
        time.sleep(WARM_UP_S)
        meter = Meter(family(graph.pid))
        time.sleep(max(0.0, seconds - WARM_UP_S - 5.0))
        cpu = meter.read()
        sent = sent_of()
        report = ask()
    pace = f"{rate_hz} turns a second" if rate_hz else "without a pause"
    return Row(f"timeflux, samples at a subscriber, {pace}", ages_ms(sent, report["arrivals"]), cpu), report["versions"]


def main(minutes: float = 3.0) -> None:
    """Print the table."""
    heading(
        "Latency beside mne-lsl and timeflux",
        METHOD.format(rate=RATE_HZ, packet=PACKET, minutes=minutes, warm_up=WARM_UP_S, ahead=LOOK_AHEAD_S),
    )
    seconds = 60 * minutes
    rows = [our_source(seconds, expecting=False), our_source(seconds, expecting=True), *our_bed(seconds)]
    versions: set[str] = set()
    for found in (
        *(mne_lsl(seconds, delay_s) for delay_s in MNE_LSL_DELAYS_S),
        *(timeflux(seconds, rate_hz) for rate_hz in TIMEFLUX_RATES_HZ),
    ):
        if found is None:
            print("no environment for a peer; benchmarks/README.md says how to make it", file=sys.stderr)
        else:
            rows.append(found[0])
            versions.add(found[1])
    columns = ["", "n", "ms, median", "ms, p95", "ms, p99", "ms, largest", "% of one core"]
    table(
        columns,
        [
            [
                row.name,
                str(len(row.ms)),
                *(f"{quantile(row.ms, q):.1f}" for q in (0.5, 0.95, 0.99, 1.0)),
                f"{row.cpu:.1f}",
            ]
            for row in rows
        ],
    )
    if versions:
        print(f"Peers: {'; '.join(sorted(versions))}.\n")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 3.0)
