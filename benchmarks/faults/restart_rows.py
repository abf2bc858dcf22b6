"""Killed and started again: what is final is neither lost, nor twice, nor another than it would have been."""

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from msgspec import structs

from benchmarks.chaos import kept
from benchmarks.faults.matrix import Seen, row
from benchmarks.faults.parts import Stage
from benchmarks.faults.scene import NEVER, final_since, notice_s, said, scene
from hypnostream.bridges.live_session import bed_of
from hypnostream.bridges.messages import DURABLE_TOPICS, SESSION_RESUMED, EpochMessage
from hypnostream.bridges.recording import read_recording
from hypnostream.bridges.result_log import ResultLog
from hypnostream.bridges.result_messages import epoch_message
from hypnostream.bridges.session_folder import SessionFolder
from hypnostream.engine.backend import OnnxBackend
from hypnostream.engine.bundle import load_bundle
from hypnostream.engine.session import Session

KILLS = 6
LONGEST_LIFE_S = 12.0


def _restarted(stage: Stage, between: str) -> Seen:
    """kill -9 after the first final epoch, what `between` says, start again, until the next one."""
    listener = stage.listener
    if not listener.wait_for(lambda: listener.stages(final=True), 40):
        return Seen(False, "no epoch closed in 40 s", {})
    before = listener.stages(final=True)[-1][1]
    time.sleep(1.0)
    stage.engine.kill()
    if between == "torn":
        log = stage.engine.out / "results.arrows"
        os.truncate(log, log.stat().st_size - 37)
    since = time.time()
    stage.engine.start()
    resumed = listener.wait_for(lambda: listener.statuses(SESSION_RESUMED, since=since), 20)
    final_since(stage, since, 45)
    finals = [m for _, m in listener.stages(final=True)]
    if len(finals) < 2:
        return Seen(False, f"no epoch after the restart; resumed: {bool(resumed)}; {stage.engine.stderr()}", {})
    same = {m.origin.session_id for m in finals} == {before.origin.session_id}
    counts = Counter((m.topic, m.seq) for m in finals)
    seqs = sorted(m.seq for m in finals)
    missing = seqs[-1] - seqs[0] + 1 - len(counts)
    twice = sum(counts.values()) - len(counts)
    kept = same and bool(resumed) and not missing and not twice and listener.lost == 0
    after_s = resumed[0][0] - since if resumed else -1.0
    gap = f", {resumed[0][1].seconds:.1f} s unread" if resumed and resumed[0][1].seconds is not None else ""
    again = said(after_s if resumed else None)
    words = f"resumed after {again}{gap}; same session: {same}; {missing} results missing, {twice} twice"
    return Seen(kept, words, {"resumed_s": after_s, "missing": missing, "twice": twice})


@row("engine killed", "`session_resumed` in the same session; no result missing or twice, unread time is said")
def engine_killed(folder: Path, session: str) -> Seen:
    """kill -9 of all of it."""
    with scene(folder, session) as stage:
        return NEVER if stage is None else _restarted(stage, "")


@row("log torn", "the same with the log's last 37 bytes cut off while it was down")
def log_torn(folder: Path, session: str) -> Seen:
    """As after a loss of power."""
    with scene(folder, session) as stage:
        return NEVER if stage is None else _restarted(stage, "torn")


@row(
    "engine killed at random moments",
    "every stage, final or provisional, is the one that an uninterrupted run of the same samples gives",
)
def killed_often(folder: Path, session: str) -> Seen:
    """kill -9 six times in about a minute; then the recorded session is run in one go and compared."""
    moments = random.Random()  # noqa: S311
    with scene(folder, session, record=True) as stage:
        if stage is None:
            return NEVER
        listener, lives = stage.listener, []
        for _ in range(KILLS):
            lives.append(moments.uniform(0.0, LONGEST_LIFE_S))
            time.sleep(lives[-1])
            stage.engine.kill()
            since = time.time()
            stage.engine.start()
            if notice_s(stage, since, 20, SESSION_RESUMED) is None:
                return Seen(False, f"not resumed; {stage.engine.stderr()}", {})
        since = time.time()
        final_since(stage, since, 35)
        time.sleep(moments.uniform(0.0, 3.0))
        code = stage.engine.stop()
        if code:
            return Seen(False, f"it ended with {code}; {stage.engine.stderr()}", {})
        heard = [m for _, m in (*listener.stages(), *listener.stages(final=True))]
        again = {_place(m): _said(m, heard[0]) for m in _uninterrupted(stage.engine.out, heard[0])}
        other = sum(again.get(_place(m)) != _said(m, heard[0]) for m in heard)
        finals = [m.seq for m in heard if m.status == "final"]
        whole = sorted(finals) == list(range(len(finals))) and listener.lost == 0
        note = _replayed(stage.engine.out, folder / "replay")
        words = f"{len(heard)} stages, {len(finals)} of them final: {other} differ; `replay`: {note}"
        killed = ", ".join(f"{life:.1f}" for life in lives)
        agreed = note.startswith(f"{len(finals)} of {len(finals)} ")
        return Seen(
            not other and whole and agreed and len(finals) >= 2,
            f"killed after {killed} s; {words}",
            {"stages": len(heard), "differ": other},
        )


def _place(message: EpochMessage) -> tuple[int, int, str]:
    return message.epoch, message.seconds, message.status


def _said(message: EpochMessage, like: EpochMessage) -> EpochMessage:
    """What it says, apart from when, how late and as which message."""
    return structs.replace(message, seq=0, origin=like.origin, time=like.time, latency_s=None)


def _uninterrupted(out: Path, like: EpochMessage) -> Iterator[EpochMessage]:
    """The stages of the recorded session, from its first sample to its last in one go."""
    record, bundle = SessionFolder(out).read(), load_bundle()
    bed = bed_of(record, Session(bundle, OnnxBackend(bundle), record.t0_s))
    results = [result for step in read_recording(out / "signals") for result in bed.step(step).results]
    for result in (*results, *bed.finish(bed.reached_s)):
        yield epoch_message(result, seq=0, origin=like.origin, time=like.time)


def _replayed(out: Path, report: Path) -> str:
    """What `hypnostream replay` of the session says of how it compares."""
    command = [sys.executable, "-m", "hypnostream", "replay", str(out), "--out", str(report)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        return f"failed: {ran.stderr.strip()[-200:]}"
    return "; ".join(json.loads((report / "summary.json").read_text())["notes"])


SUBSCRIBER = """
import sys
from pathlib import Path
from benchmarks.chaos import subscribe
subscribe(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
"""


@row("engine and subscriber killed", "what is in the log is in the subscriber's file: all of it, once, in its order")
def both_killed(folder: Path, session: str) -> Seen:
    """kill -9 of both at one moment, twice; each is started again on what it had written down."""
    with scene(folder, session) as stage:
        if stage is None:
            return NEVER
        session_id = stage.listener.stages()[0][1].origin.session_id
        command = [sys.executable, "-c", SUBSCRIBER, str(folder), stage.engine.address, session_id]
        subscriber = subprocess.Popen(command)
        try:
            for _ in range(2):
                final_since(stage, time.time(), 40)
                time.sleep(random.uniform(0.0, 2.0))  # noqa: S311
                subscriber.kill()
                stage.engine.kill()
                subscriber.wait()
                stage.engine.start()
                subscriber = subprocess.Popen(command)
            final_since(stage, time.time(), 45)
            time.sleep(2.0)
        finally:
            subscriber.kill()
            subscriber.wait()
        stage.engine.kill()
        with ResultLog(stage.engine.out / "results.arrows") as log:
            logged = [(m.topic, m.seq) for m in log.messages() if m.topic in DURABLE_TOPICS]
        taken = [(topic, seq) for topic, seq, _ in kept(folder / "keys")]
        missing, twice = len(set(logged) - set(taken)), len(taken) - len(set(taken))
        disorder = sum(
            after < before
            for name in DURABLE_TOPICS
            for before, after in pairwise([seq for topic, seq in taken if topic == name])
        )
        words = f"{len(logged)} in the log, {sum(t == 'epoch' for t, _ in logged)} of them final stages"
        return Seen(
            bool(logged) and not missing and not twice and not disorder,
            f"{words}: {missing} missing, {twice} twice, {disorder} out of order",
            {"logged": len(logged), "missing": missing, "twice": twice},
        )
