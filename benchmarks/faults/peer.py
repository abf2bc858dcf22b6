"""The same faults beside mne-lsl, by the Python of the peers' environment."""

import json
import os
import subprocess
import time
from typing import Any

from benchmarks.faults.parts import SenderProcess
from benchmarks.peer import ONE_THREAD, peer_command

NOT_CONNECTED = "found no stream within 10 s"
REBORN: dict[str, dict[str, Any]] = {
    "rebirth": {},
    "rebirth_rate": {"rate_hz": 128.0},
    "rebirth_labels": {"labels": ["EOG horizontal", "EEG Fpz-Cz"]},
    "rebirth_format": {"format": "int16"},
}
SETTINGS: dict[str, dict[str, Any]] = {"stall": {"silent": True}, "loss": {"loss": 0.05}, "jump": {"clock_s": 100.0}}


def ask_mne_lsl(fault: str, session: str, base_port: int) -> str | None:
    """What mne-lsl said and did, in words; None without an environment that has it.

    `base_port` is where LSL's 32 ports begin for the two: where they are used up, it finds no stream.
    """
    command = peer_command("mne_lsl_faults.py", session, str(base_port))
    if command is None:
        return None
    sender = SenderProcess(session=session, base_port=base_port)
    other: SenderProcess | None = None
    base_s = sender.do("start")["base_s"]
    peer = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **ONE_THREAD},
    )
    assert peer.stdin is not None
    assert peer.stdout is not None
    try:
        if not any(line.strip() == "connected" for line in iter(peer.stdout.readline, "")):  # its log is there too
            return NOT_CONNECTED
        time.sleep(2.0)
        at_s, first = time.time(), 0
        if fault in ("stall", "loss", "jump"):
            sender.do(**SETTINGS[fault])
            time.sleep(5.0)
            sender.do(silent=False, loss=0.0)
        elif fault in REBORN or fault == "kill":
            if fault in REBORN:
                other = SenderProcess(session=session, base_port=base_port, base_s=base_s, **REBORN[fault])
            sender.kill()
            time.sleep(2.0)
            if other is not None:
                at_s = other.do("start")["utc_s"]
            time.sleep(6.0)
            if other is not None:
                first = int(other.do()["first"])
        elif fault == "consumer_stall":
            peer.stdin.write("sleep\n")
            peer.stdin.flush()
            time.sleep(5.0)
        time.sleep(2.0)
        try:
            out, _ = peer.communicate("stop\n", timeout=15)
        except subprocess.TimeoutExpired:
            return "hung at the end"
        reports = [line for line in out.splitlines() if line.startswith('{"arrivals"')]  # its log is there too
        return _in_words(fault, json.loads(reports[-1]) if reports else None, at_s, first)
    finally:
        for process in (peer, sender.process, *([other.process] if other else [])):
            process.kill()
            process.communicate()


def _in_words(fault: str, report: dict[str, Any] | None, at_s: float, first: int) -> str:
    if report is None:
        return "the process died"
    said = "; ".join(dict.fromkeys(report["said"])) or "says nothing"
    after = [at for at, number in report["arrivals"] if at > at_s and number >= first]
    numbers = f"{report['lost']} samples missing"
    if fault in REBORN:
        again = f"data after {after[0] - at_s:.2f} s" if after else "no data again in 8 s"
        return f"{again}; rate said {report['rate_hz']:g} Hz, labels {', '.join(report['labels'])}; {said}"
    if fault == "consumer_stall":
        numbers += " (its buffer holds 4 s, its reader slept for 5)"
    if fault == "jump":
        return f"{said}; largest step between stamps {report['largest_step_s']:.1f} s"
    unseen = f"{report['stepless']} of them without a jump in its stamps"
    return f"{numbers}, {unseen}; {said}; connected: {report['connected']}"
