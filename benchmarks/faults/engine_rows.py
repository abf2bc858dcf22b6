"""Faults of what receives: the engine, its reader, its disk, its subscribers."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.faults.matrix import Seen, row
from benchmarks.faults.parts import Stage
from benchmarks.faults.scene import NEVER, final_since, good_again_s, notice_s, reported_lost, said, scene, taken
from hypnostream.bridges.messages import KEEPING_FAILED, LOG_FAILED, EpochMessage
from hypnostream.stream.source import READER_RESTARTED

CRAMPED_BYTES = 24 * 1024


@row(
    "engine stopped for 6 s",
    "nothing is lost, what came meanwhile is worked off within 3 s",
    short=True,
    peer="consumer_stall",
)
def consumer_stall(folder: Path, session: str) -> Seen:
    """SIGSTOP, SIGCONT; the reader beside it goes on reading."""
    with scene(folder, session) as stage:
        if stage is None:
            return NEVER
        since = time.time()
        stage.engine.signal(signal.SIGSTOP)
        time.sleep(6.0)
        stage.engine.signal(signal.SIGCONT)
        woke_s = time.time()

        def caught_up() -> bool:
            stages = stage.listener.stages(woke_s)
            return (
                bool(stages)
                and stages[-1][1].latency_s is not None
                and stages[-1][0] > woke_s + 0.5
                and stage.flowing(0.1)
            )

        ok = bool(stage.listener.wait_for(caught_up, 5))
        took_s = time.time() - woke_s
        time.sleep(1.0)
        lost = reported_lost(stage, since)
        kept = ok and took_s <= 3.0 and lost == 0
        return Seen(kept, f"in time again after {took_s:.2f} s; {lost} lost", {"caught_up_s": took_s, "lost": lost})


@row("engine stopped until its backlog overflows", "the samples said to be lost are those that were dropped")
def overflow(folder: Path, session: str) -> Seen:
    """SIGSTOP for 9 s, 33 channels, a backlog of 50 kB. What was dropped is what the recorded signals lack."""
    labels = ["EEG Fpz-Cz", *(f"Aux {number}" for number in range(31))]
    with scene(folder, session, backlog_mb=0.05, record=True, labels=labels) as stage:
        if stage is None:
            return NEVER
        since = time.time()
        stage.engine.signal(signal.SIGSTOP)
        time.sleep(9.0)
        stage.engine.signal(signal.SIGCONT)
        woke_s = time.time()
        final_since(stage, woke_s + 1.0, 32)  # it is said with an epoch
        time.sleep(0.5)
        lost = reported_lost(stage, since)
        stage.engine.kill()
        true = int((np.diff(taken(stage)) - 1).sum())
        kept = lost == true and true > 256
        return Seen(kept, f"{lost} said, {true} were", {"lost": lost, "true": true})


@row("reader killed", "results go on; `reader_restarted`, and data again within 3 s", short=True)
def reader_killed(folder: Path, session: str) -> Seen:
    """kill -9 of the child that reads LSL."""
    with scene(folder, session) as stage:
        if stage is None:
            return NEVER
        reader = stage.engine.reader()
        if reader is None:
            return Seen(False, "there is no reader process", {})
        since = time.time()
        os.kill(reader, signal.SIGKILL)
        said_s = notice_s(stage, since, 6, READER_RESTARTED)
        again_s = good_again_s(stage, time.time(), 8.0)
        alive = stage.engine.process.poll() is None
        kept = alive and said_s is not None and said_s <= 3.0 and again_s is not None
        words = f"said after {said(said_s)}; good stages again: {again_s is not None}; engine alive: {alive}"
        return Seen(kept, words, {"said_s": said_s or -1})


def _cramp() -> None:
    """No file may grow beyond this: what a full disk is to a process. Python turns the signal into an error."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (CRAMPED_BYTES, CRAMPED_BYTES))


@row("disk full", "results go on to subscribers; that nothing can be kept is said")
def disk_full(folder: Path, session: str) -> Seen:
    """No file may be larger than 24 KiB."""
    stage = Stage(folder, session, limit=_cramp)
    try:
        if not stage.flowing():
            return Seen(False, f"no stage ever came; {stage.engine.stderr()}", {})
        final = stage.listener.wait_for(lambda: stage.listener.stages(final=True), 40)
        time.sleep(3.0)
        alive, still = stage.engine.process.poll() is None, len(stage.listener.stages(time.time() - 2.5))
        told = [f"{m.state}: {m.detail}" for _, m in stage.listener.statuses(LOG_FAILED, KEEPING_FAILED)]
        kept = alive and bool(final) and still > 0 and bool(told)
        words = f"final stages: {len(final or [])}; alive: {alive}; {told[0] if told else 'nothing said of the disk'}"
        return Seen(kept, words, {"final": len(final or []), "alive": float(alive)})
    finally:
        stage.close()


HUNG = """
import sys, time, zmq
socket = zmq.Context().socket(zmq.SUB)
socket.set(zmq.RCVHWM, 1)
socket.subscribe(b"")
socket.connect(sys.argv[1])
print("listening", flush=True)
time.sleep(600)
"""


@row("subscriber hung", "the others' latency stays as it was, memory is bounded", short=True)
def subscriber_hung(folder: Path, session: str) -> Seen:
    """Four subscribers that never read, stopped."""
    with scene(folder, session) as stage:
        if stage is None:
            return NEVER

        def latencies(since: float) -> list[float]:
            return sorted(
                1000 * (at - m.time.published_utc_s)
                for at, m in stage.listener.stages(since)
                if isinstance(m, EpochMessage)
            )

        since = time.time()
        time.sleep(5.0)
        before, before_mib = latencies(since), stage.engine.resident_mib()
        command = [sys.executable, "-c", HUNG, stage.engine.address]
        hung = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(4)]
        try:
            for process in hung:
                assert process.stdout is not None
                process.stdout.readline()
                process.send_signal(signal.SIGSTOP)
            since = time.time()
            time.sleep(6.0)
            after, after_mib = latencies(since), stage.engine.resident_mib()
        finally:
            for process in hung:
                process.kill()
                process.communicate()
        if not before or not after:
            return Seen(False, "no stages came", {})
        kept = after[-1] < max(before[-1], 10.0) + 10.0 and after_mib - before_mib < 8
        grown_mib = after_mib - before_mib
        words = f"slowest {after[-1]:.1f} ms beside four hung ones, {before[-1]:.1f} before; {grown_mib:+.1f} MiB"
        return Seen(kept, words, {"ms": after[-1], "ms_before": before[-1], "mib": after_mib - before_mib})
