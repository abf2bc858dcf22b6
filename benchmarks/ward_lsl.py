"""A ward over real LSL on one machine: what each part costs, and how late results are, beside the senders.

python -m benchmarks.ward_lsl [--breathing-every S] [beds ...]
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import zmq

from benchmarks.processes import children, family, memory_mib, processor_s
from benchmarks.report import heading, quantile, table
from hypnostream.bridges.lsl_config import use_private_lsl

BEDS = (25, 50, 100)
RATE_HZ, PACKET_S = 256, 0.1
LABELS = ("EEG Fpz-Cz", "EEG Pz-Oz", "EOG horizontal", "EMG chin", "ECG", "Airflow", "Thorax", "SpO2")
A_SENDER = 100  # outlets of one process
LISTENED_TO = 50  # beds, at most
SETTLE_S, MEASURED_S, BEGIN_WITHIN_S = 8.0, 25.0, 150.0
METHOD = f"""\
One LSL outlet a bed: {len(LABELS)} channels at {RATE_HZ} Hz in packets of {PACKET_S * 1000:.0f} ms, noise; a process
sends {A_SENDER} of them at most, in real time. `hypnostream run` serves them all with a ward's file: a journal, a
result log and a ZeroMQ address each, a stage each second, breathing scored. A subscriber hears {LISTENED_TO} at most.
Processor time by /proc over {MEASURED_S:g} s, once all sessions are on. "Late" is from when the reader took the
sample to when the message was made, waiting for others included. "Came": the share of the stages of each second that
did; who falls behind says the latest only."""


@dataclass(frozen=True, slots=True)
class Measured:
    """`cores` by part; `late_ms` of each stage that came, `came` their share."""

    begun_s: float
    cores: dict[str, float]
    memory_mib: float
    late_ms: list[float]
    came: float


def send(session: str, first: int, count: int) -> None:
    """Push noise until killed."""
    import pylsl

    use_private_lsl(session)
    outlets = []
    for bed in range(first, first + count):
        info = pylsl.StreamInfo(f"amplifier {bed}", "EEG", len(LABELS), RATE_HZ, "float32", f"serial {bed}")
        channels = info.desc().append_child("channels")
        for label in LABELS:
            channel = channels.append_child("channel")
            channel.append_child_value("label", label)
            channel.append_child_value("unit", "%" if label == "SpO2" else "microvolts")
        outlets.append(pylsl.StreamOutlet(info))
    print("ready", flush=True)
    rng = np.random.default_rng(first)
    noise = (20 * rng.standard_normal((60 * RATE_HZ, len(LABELS)))).astype(np.float32)
    noise[:, LABELS.index("SpO2")] = 96.0
    phases, sent, start_s = rng.uniform(0, PACKET_S, count), [0] * count, pylsl.local_clock()
    while os.getppid() != 1:
        passed_s = pylsl.local_clock() - start_s
        for place, outlet in enumerate(outlets):
            packets = int((passed_s - phases[place]) / PACKET_S)
            due = round(packets * PACKET_S * RATE_HZ)
            if due > sent[place]:
                rows = np.arange(sent[place], due) % len(noise)
                outlet.push_chunk(noise[rows], start_s + phases[place] + (due - 1) / RATE_HZ)
                sent[place] = due
        time.sleep(0.01)


def measure(beds: int, every_s: int) -> Measured:
    """A ward of so many beds, whose breathing is scored in pieces of `every_s`."""
    session = f"ward-{os.getpid()}-{beds}"
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        senders = []
        for first in range(0, beds, A_SENDER):
            command = [sys.executable, "-m", "benchmarks.ward_lsl", "send", session, str(first)]
            command.append(str(min(A_SENDER, beds - first)))
            sender = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE))
            stack.callback(sender.kill)
            senders.append(sender)
        for sender in senders:
            assert sender.stdout is not None
            sender.stdout.readline()
        started_s = time.monotonic()
        command = [sys.executable, "-m", "hypnostream", "run", "--config", str(_ward(folder, session, beds, every_s))]
        with (folder / "log").open("w") as log:
            ward = stack.enter_context(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log))
        stack.callback(ward.kill)
        while (folder / "log").read_text().count("bed_begun") < beds:
            if time.monotonic() > started_s + BEGIN_WITHIN_S or ward.poll() is not None:
                raise SystemExit(f"{beds} beds did not begin: {(folder / 'log').read_text()[-2000:]}")
            time.sleep(0.5)
        begun_s = time.monotonic() - started_s
        context = stack.enter_context(zmq.Context())
        heard = range(0, beds, -(-beds // LISTENED_TO))
        sockets = []
        for bed in heard:
            socket = stack.enter_context(context.socket(zmq.SUB))
            socket.connect(f"ipc://{folder}/bed-{bed}")
            for topic in ("stage.provisional", "epoch"):
                socket.subscribe(topic)
            sockets.append(socket)
        time.sleep(SETTLE_S)
        _taken(sockets)
        parts = {"ward": [ward.pid], "reader": children(ward.pid), "senders": [sender.pid for sender in senders]}
        before = {name: sum(map(processor_s, pids)) for name, pids in parts.items()}
        at_s, late_ms = time.monotonic(), list[float]()
        while (passed_s := time.monotonic() - at_s) < MEASURED_S:
            time.sleep(0.5)
            late_ms += _taken(sockets)
        cores = {n: (sum(map(processor_s, pids)) - before[n]) / passed_s for n, pids in parts.items()}
        memory = sum(memory_mib("VmRSS", pid) for pid in family(ward.pid))
        ward.send_signal(signal.SIGKILL)
        return Measured(begun_s, cores, memory, late_ms, len(late_ms) / (len(heard) * passed_s))


def _ward(folder: Path, session: str, beds: int, every_s: int) -> Path:
    path = folder / "ward.toml"
    tables = [
        f'[[bed]]\nname = "bed {bed}"\nlsl = {{ predicate = "name=\'amplifier {bed}\'" }}\n' for bed in range(beds)
    ]
    path.write_text(
        f"[lsl]\nprivate_session = {json.dumps(session)}\ntimeout_s = {BEGIN_WITHIN_S}\n[publish]\n"
        f'address = "ipc://{folder}/{{bed}}"\n[keep]\nfolder = "{folder}/nights"\n'
        f"[breathing]\nevery_s = {every_s}\n" + "".join(tables)
    )
    return path


def _taken(sockets: Sequence[zmq.Socket[bytes]]) -> list[float]:
    """How late each message was that came by now."""
    late_ms = []
    for socket in sockets:
        while socket.poll(0):
            said = msgspec.msgpack.decode(socket.recv_multipart()[1])
            late_ms.append(1000 * said["latency_s"])
    return late_ms


def main(counts: Sequence[int] = BEDS, every_s: int = 1) -> None:
    """Print the table."""
    heading("A ward over LSL", f"{METHOD} Breathing is scored in pieces of {every_s} s.")
    rows = []
    for count in counts:
        found = measure(count, every_s)
        per_bed = [f"{1000 * found.cores[part] / count:.1f}" for part in ("ward", "reader", "senders")]
        late = [f"{quantile(found.late_ms, share):.0f}" for share in (0.5, 0.99)] if found.late_ms else ["", ""]
        total = f"{sum(found.cores.values()):.2f}"
        rows.append(
            [
                str(count),
                *per_bed,
                total,
                *late,
                f"{100 * found.came:.0f} %",
                f"{found.memory_mib:.0f}",
                f"{found.begun_s:.0f}",
            ]
        )
    columns = ["beds", "ms a bed and second: ward", "reader", "senders", "cores in all", "ms late, p50", "ms late, p99"]
    table([*columns, "came", "MiB", "s until all were on"], rows)


if __name__ == "__main__":
    if sys.argv[1:2] == ["send"]:
        send(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        parser = argparse.ArgumentParser()
        parser.add_argument("beds", type=int, nargs="*")
        parser.add_argument("--breathing-every", type=int, default=1, metavar="S")
        asked = parser.parse_args()
        main(asked.beds or BEDS, asked.breathing_every)
