"""What others do to a subscriber's latency: those who ask for everything over and over, and those who hang.

python -m benchmarks.disturbed
"""

import multiprocessing
import os
import signal
import tempfile
import time
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path

import zmq

from benchmarks.chaos import free_ports
from benchmarks.report import heading, quantile, table
from hypnostream.bridges.client import Client
from hypnostream.bridges.messages import PROVISIONAL_TOPIC, SESSION_ENDED, STATUS_TOPIC, EpochMessage
from hypnostream.bridges.publisher import Publisher
from hypnostream.bridges.replay_messages import ReplayRequest, encode
from hypnostream.bridges.result_log import ResultLog
from hypnostream.engine.results import ChannelState, StageResult

SESSION = "disturbed"
NIGHT_EPOCHS = 960
MESSAGES = 1000
EVERY_S = 0.008
METHOD = f"""\
A publisher with a night of {NIGHT_EPOCHS} epochs in its log says {MESSAGES} provisional stages of four channels, one
each {1000 * EVERY_S:g} ms; a subscriber in another process notes when each is there. Beside it: two processes that ask
for the whole night over and over, as fast as they are answered; two that ask as fast as they can and never read; four
subscribers stopped with SIGSTOP. CPU is the publisher's process, all threads."""


def result(epoch: int, final: bool) -> StageResult:
    """A result like any other."""
    channels = tuple(ChannelState(f"eeg_{number}", "ok", 1.0, False) for number in range(4))
    return StageResult(epoch, epoch * 30.0, final, 30 if final else 10, "N2", None, (0.2,) * 5, channels)


def subscribe(address: str, replay: str, out: Connection) -> None:
    """Notes how late each provisional stage is."""
    late_s: list[float] = []
    with Client(address, topics=(PROVISIONAL_TOPIC, STATUS_TOPIC)) as client:
        out.send("here")
        for message in client:
            if isinstance(message, EpochMessage):
                late_s.append(time.time() - message.time.published_utc_s)
            elif message.topic == STATUS_TOPIC:
                break
    out.send(late_s)


def ask(address: str, replay: str) -> None:
    """Asks for everything, again and again."""
    _ask(replay, read=True)


def flood(address: str, replay: str) -> None:
    """Asks and never reads."""
    _ask(replay, read=False)


def hang(address: str, replay: str) -> None:
    """Subscribes and is stopped."""
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.subscribe("")
        socket.connect(address)
        socket.recv()
        os.kill(os.getpid(), signal.SIGSTOP)


def _ask(replay: str, read: bool) -> None:
    request = encode(ReplayRequest(session_id=SESSION, topic="epoch", from_seq=0, to_seq=NIGHT_EPOCHS))
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.connect(replay)
        while True:
            socket.send(request)
            if read:
                socket.recv()


def main() -> None:
    """Print the table."""
    heading("Latency beside others", METHOD)
    spawn = multiprocessing.get_context("spawn")
    rows = []
    for name, others in (
        ("no one else", []),
        ("two who ask for everything", [ask] * 2),
        ("two who ask and never read", [flood] * 2),
        ("four that hang", [hang] * 4),
    ):
        with tempfile.TemporaryDirectory(prefix="hypnostream-") as folder, ExitStack() as stack:
            address, replay = (f"tcp://127.0.0.1:{port}" for port in free_ports(2))
            log = stack.enter_context(ResultLog(Path(folder) / "results.arrows"))
            publisher = stack.enter_context(
                Publisher(address, model_hash="0", backend="none", session_id=SESSION, log=log, replay_address=replay)
            )
            for epoch in range(NIGHT_EPOCHS):
                publisher.publish(result(epoch, True), 0.0)
            came, out = spawn.Pipe(duplex=False)
            processes = [spawn.Process(target=subscribe, args=(address, replay, out), daemon=True)]
            processes += [spawn.Process(target=other, args=(address, replay), daemon=True) for other in others]
            for process in processes:
                process.start()
                stack.callback(process.kill)
            came.recv()
            time.sleep(2.0)
            began_s, began_cpu_s = time.monotonic(), time.process_time()
            for number in range(MESSAGES):
                publisher.publish(result(NIGHT_EPOCHS, False), 0.0)
                time.sleep(EVERY_S)
                if number % 100 == 0:
                    publisher.heartbeat(0.0)
            cpu = (time.process_time() - began_cpu_s) / (time.monotonic() - began_s)
            publisher.status(SESSION_ENDED, 0.0)
            late_ms = [1000 * late_s for late_s in came.recv()]
            figures = [quantile(late_ms, 0.5), quantile(late_ms, 0.99), max(late_ms)]
            rows.append([name, str(len(late_ms)), *(f"{figure:.2f}" for figure in figures), f"{cpu:.0%}"])
    table(["beside", "n", "ms, median", "ms, p99", "ms, largest", "CPU of one core"], rows)


if __name__ == "__main__":
    main()
