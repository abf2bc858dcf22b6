"""A publisher and a subscriber, killed at random and started again: is anything final lost?

python -m benchmarks.chaos --kills 1000
"""

import argparse
import json
import multiprocessing
import os
import random
import signal
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from benchmarks.report import heading, table
from hypnostream.bridges.atomic import write_atomically
from hypnostream.bridges.client import Client
from hypnostream.bridges.messages import DURABLE_TOPICS, SESSION_RESUMED, EpochMessage
from hypnostream.bridges.publisher import Publisher
from hypnostream.bridges.result_log import ResultLog
from hypnostream.engine.results import ChannelState, StageResult
from hypnostream.stream.stages import STAGES

SESSION = "chaos"
EPOCHS_A_SECOND = 500.0
CHECKPOINT_EPOCHS = 7
HEARTBEAT_S = 0.05
LONGEST_LIFE_S = 0.4
SETTLE_S = 60.0
METHOD = """\
A publisher computes numbered results, {rate:g} a second, logs and publishes them, and writes a checkpoint each
{checkpoint} of them; a subscriber writes the key of each that it was given to a file. Both, or one of them, are killed
with SIGKILL at random instants up to {life:g} s apart and started again at once: the publisher on its log, computing
again from its checkpoint, the subscriber from the last keys in its file. At the end both are left alone until the
subscriber has caught up."""


@dataclass(slots=True)
class Outcome:
    """What was left in the end. `missing`, `repeated`, `disordered` and `wrong` count keys in the subscriber's file."""

    kills: Counter[str] = field(default_factory=Counter)
    said: int = 0
    missing: int = 0
    repeated: int = 0
    disordered: int = 0
    wrong: int = 0
    repaired: int = 0
    wall_s: float = 0.0


def stage_of(epoch: int) -> str:
    """What is computed for an epoch, each time the same."""
    return STAGES[epoch * 7 % 11 % len(STAGES)]


def publish(folder: Path, address: str, replay: str) -> None:
    """The publisher's process: goes on from what is in `folder`, until killed; after a file "stop" it only lives."""
    checkpoint = folder / "checkpoint.json"
    saved: dict[str, Any] = json.loads(checkpoint.read_text()) if checkpoint.exists() else {"epoch": 0, "last_seq": {}}
    epoch = int(saved["epoch"])
    channels = (ChannelState("eeg_frontal", "ok", 1.0, False),)
    with (
        ResultLog(folder / "results.arrows") as log,
        Publisher(
            address,
            model_hash="0",
            backend="none",
            session_id=SESSION,
            heartbeat_interval_s=HEARTBEAT_S,
            log=log,
            last_seq=saved["last_seq"],
            replay_address=replay,
        ) as publisher,
    ):
        if log.repaired:
            with (folder / "repaired").open("a") as file:
                file.write(log.repaired + "\n")
        publisher.status(SESSION_RESUMED, epoch * 30.0)
        beat_s = 0.0
        while True:
            if time.monotonic() >= beat_s:
                publisher.heartbeat(epoch * 30.0)
                beat_s = time.monotonic() + HEARTBEAT_S
            if (folder / "stop").exists():
                time.sleep(HEARTBEAT_S)
                continue
            probabilities = (0.2, 0.2, 0.2, 0.2, 0.2)
            for final in (False, True):
                publisher.publish(
                    StageResult(epoch, epoch * 30.0, final, 30, stage_of(epoch), None, probabilities, channels),
                    epoch * 30.0 + 30.0,
                )
            if epoch % 5 == 0:
                publisher.status("position", epoch * 30.0, detail=stage_of(epoch))
            epoch += 1
            if epoch % CHECKPOINT_EPOCHS == 0:
                content = {"epoch": epoch, "last_seq": publisher.last_seq}
                write_atomically(checkpoint, json.dumps(content).encode())
            time.sleep(1.0 / EPOCHS_A_SECOND)


def subscribe(folder: Path, address: str, session_id: str = SESSION) -> None:
    """The subscriber's process: goes on after the last keys in its file, until killed."""
    keys = folder / "keys"
    since = {topic: seq for topic, seq, _ in kept(keys)}
    if keys.exists() and not keys.read_bytes().endswith(b"\n"):
        os.truncate(keys, keys.read_bytes().rfind(b"\n") + 1)
    with keys.open("ab", buffering=0) as file, Client(address, since=since, session_id=session_id) as client:
        for message in client:
            if message.topic in DURABLE_TOPICS:
                said = message.stage if isinstance(message, EpochMessage) else "-"
                file.write(f"{message.topic} {message.seq} {said}\n".encode())


def kept(keys: Path) -> Iterator[tuple[str, int, str]]:
    """The whole lines of the subscriber's file: topic, seq, stage."""
    for line in keys.read_bytes().split(b"\n")[:-1] if keys.exists() else []:
        topic, seq, said = line.decode().split()
        yield topic, int(seq), said


def chaos(folder: Path, kills: int, seed: int = 0) -> Outcome:
    """Kill `kills` times; what is left."""
    began_s, rng, outcome = time.monotonic(), random.Random(seed), Outcome()  # noqa: S311
    forks = multiprocessing.get_context("forkserver")  # a process that has imported all, so that lives are long enough
    forks.set_forkserver_preload(["hypnostream.bridges.publisher", "hypnostream.bridges.client", "pyarrow"])
    address, replay = (f"tcp://127.0.0.1:{port}" for port in free_ports(2))

    def start(name: str) -> BaseProcess:
        if name == "publisher":
            process = forks.Process(target=publish, args=(folder, address, replay), daemon=True)
        else:
            process = forks.Process(target=subscribe, args=(folder, address), daemon=True)
        process.start()
        return process

    living: dict[str, BaseProcess] = {name: start(name) for name in ("publisher", "subscriber")}
    try:
        while outcome.kills.total() < kills:
            time.sleep(rng.uniform(0.0, LONGEST_LIFE_S))
            for name in rng.choice((["publisher"], ["subscriber"], ["publisher", "subscriber"])):
                outcome.kills[name] += 1
                os.kill(living[name].pid or 0, signal.SIGKILL)
                living[name].join()
                living[name] = start(name)
        (folder / "stop").touch()
        _await_all(folder)
    finally:
        for process in living.values():
            process.kill()
            process.join()
    _count(folder, outcome)
    outcome.wall_s = time.monotonic() - began_s
    return outcome


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nothing uses."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _await_all(folder: Path) -> None:
    """Until the subscriber has what was said, or makes no progress."""
    deadline_s, size = time.monotonic() + SETTLE_S, -1
    while time.monotonic() < deadline_s:
        time.sleep(1.0)
        now = (folder / "keys").stat().st_size + (folder / "results.arrows").stat().st_size
        if now == size and not _missing(folder):
            return
        size = now


def _said(folder: Path) -> set[tuple[str, int]]:
    with ResultLog(folder / "results.arrows") as log:
        return {(message.topic, message.seq) for message in log.messages()}


def _missing(folder: Path) -> set[tuple[str, int]]:
    return _said(folder) - {(topic, seq) for topic, seq, _ in kept(folder / "keys")}


def _count(folder: Path, outcome: Outcome) -> None:
    said, lines = _said(folder), list(kept(folder / "keys"))
    last = {topic: max(seq for name, seq in said if name == topic) for topic, _ in said}
    outcome.said = len(said)
    every = {(topic, seq) for topic, seq_ in last.items() for seq in range(seq_ + 1)}  # holes in the log count too
    outcome.missing = len(every - {(topic, seq) for topic, seq, _ in lines})
    outcome.repeated = len(lines) - len({(topic, seq) for topic, seq, _ in lines})
    reached: dict[str, int] = {}
    for topic, seq, stage in lines:
        outcome.disordered += seq < reached.get(topic, -1)
        outcome.wrong += topic == "epoch" and stage != stage_of(seq)
        reached[topic] = seq
    repaired = folder / "repaired"
    outcome.repaired = len(repaired.read_text().splitlines()) if repaired.exists() else 0


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos")
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    heading(
        "Chaos",
        METHOD.format(rate=EPOCHS_A_SECOND, checkpoint=CHECKPOINT_EPOCHS, life=LONGEST_LIFE_S),
    )
    with tempfile.TemporaryDirectory(prefix="hypnostream-") as folder:
        outcome = chaos(Path(folder), options.kills, options.seed)
    killed = " + ".join(f"{count} {name}s" for name, count in sorted(outcome.kills.items()))
    figures = (outcome.said, outcome.missing, outcome.repeated, outcome.disordered, outcome.wrong, outcome.repaired)
    table(
        ["killed", "final messages said", "lost", "given twice", "out of order", "with other content", "logs repaired"],
        [[killed, *map(str, figures)]],
    )
    print(f"It took {outcome.wall_s:.0f} s.\n")


if __name__ == "__main__":
    main()
