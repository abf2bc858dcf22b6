"""A bed for an hour or more in real time: latency, loss, memory and processor time of everything that it takes.

python -m benchmarks.soak [minutes] [--record]
"""

import json
import multiprocessing
import secrets
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from benchmarks.processes import children, memory_mib, processor_s
from benchmarks.report import heading, quantile, table
from hypnostream.bridges.client import Client
from hypnostream.bridges.lsl_config import use_private_lsl
from hypnostream.bridges.messages import SESSION_ENDED, EpochMessage, HeartbeatMessage, StatusMessage
from hypnostream.bridges.own_process import own_command, own_environment

RATE_HZ = 256
PACKET = 8  # samples, 31 ms
DEVICES = {
    "head": ["Fpz-Cz", "Pz-Oz", "F4-M1", "C4-M1", "O2-M1", "F3-M2", "C3-M2", "O1-M2"],
    "face": ["EOG horizontal", "EOG left", "EOG right", "EMG chin", "EMG 2", "EMG 3", "E1-M2", "E2-M2"],
    "body": ["ECG", "EMG left leg", "EMG right leg", "Snore", "Aux 1", "Aux 2", "Aux 3", "Aux 4"],
    "breath": ["Flow", "Thorax", "Abdomen", "Pressure", "Aux 5", "Aux 6", "Aux 7", "Aux 8"],
}
SAMPLE_S = 10.0
METHOD = """\
Four LSL streams of eight channels at {rate} Hz in packets of 8 samples, sent in real time for {minutes:g} minutes by a
process of its own with LSL's own stamps; `hypnostream run`{record}; a subscriber in another process. The sender notes
when it hands over each packet, the subscriber when each stage is there, both on this machine's monotonic clock. Latency
is from the packet whose samples the stage waited for last (a second's end, and {ahead:.2f} s beyond it for the
resampler) to the subscriber. Memory is VmRSS each {every:g} s, and without mapped files (RssAnon), the slopes straight
lines after the first tenth; CPU is of the engine and of its LSL reader together."""


def send(session_id: str, seconds: float, out: Connection) -> None:
    """The amplifiers' process; at the end it tells when it sent each packet, and its stamp."""
    import pylsl

    use_private_lsl(session_id)
    outlets = []
    for name, labels in DEVICES.items():
        info = pylsl.StreamInfo(name, "EEG", len(labels), RATE_HZ, "float32", f"soak-{name}")
        channels = info.desc().append_child("channels")
        for label in labels:
            channels.append_child("channel").append_child_value("label", label).append_child_value("unit", "uV")
        outlets.append(pylsl.StreamOutlet(info))
    while not all(outlet.have_consumers() for outlet in outlets):
        time.sleep(0.05)
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 20, (RATE_HZ * 60, 8)).astype(np.float32)
    started_s = pylsl.local_clock()
    sent = []
    for packet in range(int(seconds * RATE_HZ / PACKET)):
        last_s = started_s + ((packet + 1) * PACKET - 1) / RATE_HZ
        if (wait_s := last_s - pylsl.local_clock()) > 0:
            time.sleep(wait_s)
        place = packet * PACKET % len(noise)
        stamps = (started_s + (packet * PACKET + np.arange(PACKET)) / RATE_HZ).tolist()
        sent.append((last_s, time.monotonic()))
        for outlet in outlets:
            outlet.push_chunk(noise[place : place + PACKET], stamps)
    time.sleep(5.0)
    out.send_bytes(json.dumps(sent).encode())


def receive(address: str, out: Connection) -> None:
    """The subscriber's process; at the end it tells of every stage that came, and what did not."""
    arrivals: list[tuple[float, float, bool]] = []
    states: dict[str, int] = {}
    lost = missing = beats = 0
    with Client(address) as client:
        for message in client.messages(timeout_s=60.0):
            at_s = time.monotonic()
            if isinstance(message, EpochMessage):
                final = message.status == "final"
                arrivals.append((message.t_start_s + message.seconds, at_s, final))
            elif isinstance(message, HeartbeatMessage):
                beats += 1
            elif isinstance(message, StatusMessage):
                states[message.state] = states.get(message.state, 0) + 1
                if message.state == SESSION_ENDED:
                    break
        lost, missing = client.lost, client.missing
    out.send_bytes(json.dumps([arrivals, lost, missing, beats, states]).encode())


def main(minutes: float = 60.0, record: bool = False) -> None:
    """Print the table."""
    import subprocess

    seconds, ahead_s = 60.0 * minutes, 58 / RATE_HZ
    method = METHOD.format(
        rate=RATE_HZ, minutes=minutes, record=" --record" if record else "", ahead=ahead_s, every=SAMPLE_S
    )
    heading("Soak", method)
    spawn = multiprocessing.get_context("spawn")
    session_id = f"soak-{secrets.token_hex(4)}"
    with tempfile.TemporaryDirectory(prefix="hypnostream-") as folder, ThreadPoolExecutor() as pool:
        address = f"ipc://{folder}/results"
        config = Path(folder) / "bed.toml"
        config.write_text(
            f'[lsl]\nminimum = 4\ntimeout_s = 30.0\nmax_silence_s = 3.0\nprivate_session = "{session_id}"\n'
            f'[publish]\naddress = "{address}"\n'
        )
        sent_out, sent_in = spawn.Pipe(duplex=False)
        came_out, came_in = spawn.Pipe(duplex=False)
        subscriber = spawn.Process(target=receive, args=(address, came_in), daemon=True)
        sender = spawn.Process(target=send, args=(session_id, seconds, sent_in), daemon=True)
        subscriber.start()
        sender.start()
        out = str(Path(folder) / "night")
        command = own_command("hypnostream", "run", "--config", str(config), "--out", out)
        engine = subprocess.Popen(
            [*command, *(["--record"] if record else [])],
            env=own_environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        sent_later = pool.submit(sent_out.recv_bytes)
        came_later = pool.submit(came_out.recv_bytes)
        samples: list[tuple[float, ...]] = []
        time.sleep(10.0)
        while engine.poll() is None and sender.is_alive():
            try:
                reader = children(engine.pid)[:1]
                if len(reader) == 1:
                    samples.append(
                        (
                            time.monotonic(),
                            memory_mib("VmRSS", engine.pid),
                            memory_mib("VmRSS", reader[0]),
                            processor_s(engine.pid),
                            processor_s(reader[0]),
                            memory_mib("RssAnon", engine.pid),
                            memory_mib("RssAnon", reader[0]),
                        )
                    )
            except (OSError, StopIteration):
                break
            if sent_later.done():
                break
            time.sleep(SAMPLE_S)
        sent = np.array(json.loads(sent_later.result()))
        arrivals, lost, missing, beats, states = json.loads(came_later.result())
        engine.wait()
    stamps, sent_s = sent[:, 0], sent[:, 1]
    ms: dict[bool, list[float]] = {False: [], True: []}
    for end_s, at_s, final in arrivals:
        needed = int(np.searchsorted(stamps, end_s + ahead_s))
        if needed < len(stamps):
            ms[final].append(1000 * (at_s - sent_s[needed]))
    rows = [
        [name, str(len(ms[final])), *(f"{quantile(ms[final], q):.1f}" for q in (0.5, 0.95, 0.99, 1.0))]
        for name, final in (("provisional stage", False), ("final stage", True))
        if ms[final]
    ]
    table(["", "n", "ms, median", "ms, p95", "ms, p99", "ms, largest"], rows)
    measured = np.array(samples)
    settled = measured[len(measured) // 10 :]
    hours = (settled[:, 0] - settled[0, 0]) / 3600
    rows = []
    for name, rss, cpu, own in (("engine", 1, 3, 5), ("its LSL reader", 2, 4, 6)):
        slope, own_slope = (np.polyfit(hours, settled[:, column], 1)[0] for column in (rss, own))
        share = 100 * (settled[-1, cpu] - settled[0, cpu]) / (settled[-1, 0] - settled[0, 0])
        rows.append(
            [
                name,
                f"{settled[0, rss]:.1f}",
                f"{settled[-1, rss]:.1f}",
                f"{slope:+.2f}",
                f"{own_slope:+.2f}",
                f"{share:.2f}",
            ]
        )
    print()
    table(["", "MiB at first", "MiB at last", "MiB an hour", "without files", "% of one core"], rows)
    print()
    sixths = np.array_split(measured, 6)
    minutes_passed = [f"{(part[-1, 0] - measured[0, 0]) / 60:.0f} min" for part in sixths]
    rows = [
        [name, *(f"{np.median(part[:, own]):.1f}" for part in sixths)]
        for name, own in (("engine", 5), ("its LSL reader", 6))
    ]
    table(["MiB without files, median until", *minutes_passed], rows)
    seconds_said = len(ms[False]) + len(ms[True])
    print(
        f"\n{seconds_said} stages for {seconds:g} s, {beats} heartbeats; lost to the subscriber {lost}, "
        f"missing {missing}; notices: {json.dumps(states)}."
    )


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    main(float(words[0]) if words else 60.0, "--record" in sys.argv)
