"""Faults of what sends: silence, death, and another life that may be a different one."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faults.matrix import Seen, row
from benchmarks.faults.parts import Stage
from benchmarks.faults.scene import NEVER, SAY_S, good_again_s, notice_s, said, scene, slept_until, steps, taken
from hypnostream.stream.source import (
    SAMPLES_LOST,
    SOURCE_CHANGED,
    SOURCE_LOST,
    SOURCE_REFUSED,
    SOURCE_RESUMED,
    SOURCE_STALLED,
)


@row(
    "stall",
    "`source_stalled` within 3 s of the last sample, `source_resumed` with the gap's length",
    short=True,
    peer="stall",
)
def stall(folder: Path, session: str) -> Seen:
    """Silent for 5 s, then on again."""
    with scene(folder, session) as stage:
        if stage is None:
            return NEVER
        last_s = stage.sender.do(silent=True)["last_sent_utc_s"]
        said_s = notice_s(stage, last_s, 6, SOURCE_STALLED)
        slept_until(last_s + 5)
        gap_s = stage.sender.do(silent=False)["dropped"] / 256
        resumed = stage.listener.wait_for(lambda: stage.listener.statuses(SOURCE_RESUMED, since=last_s), 4)
        reported_s = (resumed[0][1].seconds or 0.0) if resumed else 0.0
        kept = said_s is not None and said_s <= SAY_S and abs(reported_s - gap_s) < 0.05
        words = f"said after {said(said_s)}; gap said {reported_s:.2f} s, true {gap_s:.2f}"
        return Seen(kept, words, {"stalled_s": said_s or -1, "gap_error_s": reported_s - gap_s})


@row("sender killed", "said within 3 s; results go on, and say that the sensor is missing", peer="kill")
def killed(folder: Path, session: str) -> Seen:
    """SIGKILL, and never back."""
    with scene(folder, session) as stage:
        if stage is None:
            return NEVER
        last_s = stage.sender.do()["last_sent_utc_s"]
        stage.sender.kill()
        said_s = notice_s(stage, last_s, 6, SOURCE_STALLED, SOURCE_LOST)
        slept_until(last_s + 8.5)
        good = [each for _, each in steps(stage, last_s + 2.5)]
        kept = said_s is not None and said_s <= SAY_S and len(good) >= 3 and not any(good)
        words = f"said after {said(said_s)}; {len(good)} stages in the next seconds, {sum(good)} of them good"
        return Seen(kept, words, {"said_s": said_s or -1})


def _reborn(folder: Path, session: str, judge: Callable[[Stage, float], Seen], **settings: Any) -> Seen:
    with scene(folder, session, record=True) as stage:
        if stage is None:
            return NEVER
        other = stage.add_sender(base_s=stage.base_s, **settings)
        stage.sender.kill()
        time.sleep(2.0)
        return judge(stage, other.do("start")["utc_s"])


@row(
    "sender reborn", "data flows again within 1 s of its rebirth, the gap's length is said", short=True, peer="rebirth"
)
def reborn(folder: Path, session: str) -> Seen:
    """SIGKILL, and 2 s later another process with the same description."""

    def judge(stage: Stage, born_s: float) -> Seen:
        again_s = notice_s(stage, born_s, 12, SOURCE_RESUMED, SOURCE_CHANGED, SAMPLES_LOST)
        told = [m for _, m in stage.listener.statuses(SOURCE_RESUMED, SAMPLES_LOST, since=born_s)]
        gap_s = sum(m.seconds or (m.samples or 0) / 256 for m in told)
        true_s = float(np.diff(taken(stage)).max()) / 256  # what was sent before it was connected was not taken
        kept = again_s is not None and again_s <= 1.0 and abs(gap_s - true_s) < 0.05
        words = f"data after {said(again_s)}; gap said {gap_s:.2f} s, true {true_s:.2f}"
        return Seen(kept, words, {"again_s": again_s or -1, "gap_error_s": gap_s - true_s})

    return _reborn(folder, session, judge)


def _changed(stage: Stage, born_s: float) -> Seen:
    listener = stage.listener
    found = listener.wait_for(lambda: listener.statuses(SOURCE_CHANGED, SOURCE_REFUSED, since=born_s), 12)
    good_s = good_again_s(stage, born_s, 8)
    if not found:
        return Seen(False, f"nothing was said; good stages after {said(good_s)}", {})
    at, message = found[0]
    kept = message.state == SOURCE_CHANGED and good_s is not None and bool(message.detail)
    words = f"{message.state} after {at - born_s:.2f} s: {message.detail}; good stages after {said(good_s)}"
    return Seen(kept, words, {"said_s": at - born_s, "good_s": good_s or -1})


@row("reborn with another rate", "`source_changed`, a new segment at the new rate", peer="rebirth_rate")
def other_rate(folder: Path, session: str) -> Seen:
    """256 Hz, then 128 Hz."""
    return _reborn(folder, session, _changed, rate_hz=128.0)


@row("reborn with other labels", "`source_changed`, channels chosen anew", peer="rebirth_labels")
def other_labels(folder: Path, session: str) -> Seen:
    """Two channels, the other way round."""
    return _reborn(folder, session, _changed, labels=["EOG horizontal", "EEG Fpz-Cz"])


@row("reborn with another unit", "`source_changed`, amplitudes as before")
def other_unit(folder: Path, session: str) -> Seen:
    """Microvolts, then millivolts."""
    return _reborn(folder, session, _changed, unit="millivolts")


@row("reborn with another format", "`source_changed`", peer="rebirth_format")
def other_format(folder: Path, session: str) -> Seen:
    """float32, then int16."""
    return _reborn(folder, session, _changed, format="int16")


@row("reborn as text", "`source_refused`, with the reason; no second of it counts")
def text_format(folder: Path, session: str) -> Seen:
    """float32, then strings."""

    def judge(stage: Stage, born_s: float) -> Seen:
        found = stage.listener.wait_for(lambda: stage.listener.statuses(SOURCE_REFUSED, since=born_s), 8)
        slept_until(born_s + 6.0)
        good = [each for _, each in steps(stage, born_s + 1.0)]
        words = f"{found[0][1].state}: {found[0][1].detail}" if found else "nothing was said"
        kept = bool(found) and len(good) >= 3 and not any(good)
        return Seen(kept, f"{words}; {len(good)} stages in the next seconds, {sum(good)} of them good", {})

    return _reborn(folder, session, judge, format="string")
