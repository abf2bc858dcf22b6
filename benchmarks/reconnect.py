"""How soon samples flow again when an amplifier died and is back: ours and mne-lsl on the same stream.

python -m benchmarks.reconnect [rebirths]
"""

import json
import multiprocessing
import secrets
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection

from benchmarks.faults.parts import SenderProcess
from benchmarks.peer import lsl_environment, peer_command, talking
from benchmarks.report import heading, quantile, table
from hypnostream.bridges.lsl import LslSource
from hypnostream.bridges.lsl_settings import LslSettings
from hypnostream.stream.source import Chunk

DEAD_S = 2.0
ALIVE_S = 6.0
METHOD = """\
A stream of three channels at 256 Hz in packets of 20 ms, its sender killed with SIGKILL {rebirths} times; {dead:g} s
later another process makes an outlet with the same name and serial number, and lives for {alive:g} s. Two readers in
processes of their own, side by side: `LslSource` as a bed has it, and mne-lsl's `StreamLSL` with
`processing_flags="all"` and acquisition each 1 ms, whose user looks each 1 ms. The time is from just before the new
outlet is made until the first sample of it is at the reader's user, by the sample's number (channel 0), both on this
machine's monotonic clock. Both read with the liblsl of our pylsl; ours sets it to look around more often. "Not back"
is not within {alive:g} s."""


def read(session: str, out: Connection) -> None:
    """A user of `LslSource`, until it is told to stop: when something new was there, and its newest sample's number."""
    source = LslSource(LslSettings(resolve_timeout_s=30.0, private_session=session))
    source.expect(source.now_s)
    out.send_bytes(b"connected")
    stop = threading.Event()

    def obey() -> None:
        out.recv_bytes()
        stop.set()

    threading.Thread(target=obey, daemon=True).start()
    arrivals = []
    while not stop.is_set():
        for arrival in source.take(0.2):
            if isinstance(arrival, Chunk):
                arrivals.append((time.monotonic(), float(arrival.samples[-1, 0])))
    out.send_bytes(json.dumps(arrivals).encode())
    source.close()


def back_s(lives: Sequence[tuple[float, float]], arrivals: Sequence[tuple[float, float]]) -> list[float | None]:
    """For each life, (from when, its first sample's number): until one of its samples was there."""
    waits: list[float | None] = []
    for began_s, first in lives:
        waits.append(next((at - began_s for at, n in arrivals if n >= first and 0 < at - began_s < ALIVE_S), None))
    return waits


def main(rebirths: int = 20) -> None:
    """Print the table."""
    heading("Reconnect", METHOD.format(rebirths=rebirths, dead=DEAD_S, alive=ALIVE_S))
    session = f"reconnect-{secrets.token_hex(4)}"  # the stream's name too: no other sender is mistaken for it
    spawn = multiprocessing.get_context("spawn")
    lives: list[tuple[float, float]] = []
    waits: dict[str, list[float | None]] = {}
    with ExitStack() as stack:
        sender = SenderProcess(session=session, name=session, source_id=session)
        stack.callback(lambda: sender.kill())
        base_s = sender.do("start")["base_s"]
        ours, theirs = spawn.Pipe()
        reader = spawn.Process(target=read, args=(session, theirs), daemon=True)
        reader.start()
        command = peer_command("mne_lsl_newest.py", "0.001", session)
        ask = None
        if command is not None:
            environment = stack.enter_context(lsl_environment(session))
            ask = stack.enter_context(talking(command, "connected", environment))
        ours.recv_bytes()
        time.sleep(DEAD_S)
        for _ in range(rebirths):
            sender.kill()
            sender = SenderProcess(session=session, name=session, source_id=session, base_s=base_s)
            time.sleep(DEAD_S)
            began_s = time.monotonic()
            sender.do("start")
            time.sleep(ALIVE_S)
            lives.append((began_s, float(sender.do()["first"])))
        ours.send_bytes(b"stop")
        waits["hypnostream"] = back_s(lives, json.loads(ours.recv_bytes()))
        if ask is not None:
            report = ask()
            waits["mne-lsl"] = back_s(lives, [(at, number) for at, _, number in report["arrivals"][session]])
    rows = []
    for name, each in waits.items():
        back = [wait for wait in each if wait is not None]
        figures = [f"{quantile(back, share):.2f}" for share in (0.0, 0.5, 1.0)] if back else ["", "", ""]
        rows.append([name, *figures, f"{len(each) - len(back)} of {len(each)}"])
    table(["", "s, least", "s, median", "s, largest", "not back"], rows)
    if "mne-lsl" in waits:
        print(f"Peer: {report['versions']}.\n")
    else:
        print("no environment for mne-lsl; benchmarks/README.md says how to make it", file=sys.stderr)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
