"""Faults of what is sent: clocks, packets that are lost, signals that are none."""

import math
import time
from pathlib import Path
from typing import Any

from benchmarks.faults.matrix import Seen, row
from benchmarks.faults.scene import NEVER, bad_s, good_again_s, reported_lost, said, scene, steps
from hypnostream.stream.source import CLOCK_JUMPED

RECOVERED_S = 5.0  # after its repair; a filter takes a second or two to forget


def _clock_jump(folder: Path, session: str, jump_s: float) -> Seen:
    with scene(folder, session) as stage:
        if stage is None:
            return NEVER
        at_s = stage.sender.do(clock_s=jump_s)["utc_s"]
        found = stage.listener.wait_for(lambda: stage.listener.statuses(CLOCK_JUMPED, since=at_s), 6)
        good_s = good_again_s(stage, time.time(), 6)
        lost = reported_lost(stage, at_s)
        if not found:
            words = f"nothing was said; good stages: {good_s is not None}; {lost} samples said to be lost"
            return Seen(False, words, {"lost": lost})
        said_s = found[0][1].seconds or 0.0
        kept = abs(said_s - jump_s) < 0.05 and good_s is not None and lost == 0
        words = f"{said_s:+.3f} s said after {found[0][0] - at_s:.2f} s; good stages: {good_s is not None}; {lost} lost"
        return Seen(kept, words, {"error_s": said_s - jump_s, "after_s": found[0][0] - at_s, "lost": lost})


@row(
    "clock jumps 100 s ahead",
    "`clock_jumped` by how much; a new segment, results go on, nothing is called lost",
    short=True,
    peer="jump",
)
def jump_ahead(folder: Path, session: str) -> Seen:
    """Its stamps jump, its samples do not."""
    return _clock_jump(folder, session, 100.0)


@row("clock jumps 100 s back", "the same")
def jump_back(folder: Path, session: str) -> Seen:
    """The other way."""
    return _clock_jump(folder, session, -100.0)


def _quiet(folder: Path, session: str, seconds: float, **faults: Any) -> Seen:
    """Nothing to complain of, so nothing is said."""
    with scene(folder, session) as stage:
        if stage is None:
            return NEVER
        since = stage.sender.do(**faults)["utc_s"]
        time.sleep(seconds)
        notices = [m.state for _, m in stage.listener.statuses(since=since + 0.5)]
        good = [each for _, each in steps(stage, since)]
        kept = not notices and len(good) >= seconds - 3 and all(good)
        words = f"{len(good)} stages, {len(good) - sum(good)} of them with a bad second"
        return Seen(kept, f"{words}; notices: {', '.join(notices) or 'none'}", {"notices": len(notices)})


@row("drift of 100 ppm", "nothing is lost and nothing is said")
def drift(folder: Path, session: str) -> Seen:
    """For 10 s; long drifts are a matter of the clock's own tests."""
    return _quiet(folder, session, 10.0, drift_ppm=100.0)


@row("jitter of ±20 ms", "nothing is lost and nothing is said")
def jitter(folder: Path, session: str) -> Seen:
    """Packets leave up to 40 ms late, and are stamped so."""
    return _quiet(folder, session, 8.0, jitter_s=0.04)


def _loss(folder: Path, session: str, share: float) -> Seen:
    with scene(folder, session) as stage:
        if stage is None:
            return NEVER
        since = stage.sender.do(loss=share)["utc_s"]
        time.sleep(7.0)
        true = int(stage.sender.do(loss=0.0)["dropped"])
        stage.listener.wait_for(lambda: reported_lost(stage, since) >= true, 32)  # it is said with each epoch
        lost = reported_lost(stage, since)
        return Seen(lost == true, f"{lost} said, {true} were", {"lost": lost, "true": true})


@row("1 % of packets lost", "the samples said to be lost are those that were")
def loss_1(folder: Path, session: str) -> Seen:
    """Packets of 5 samples."""
    return _loss(folder, session, 0.01)


@row("5 % of packets lost", "the same", peer="loss")
def loss_5(folder: Path, session: str) -> Seen:
    """Packets of 5 samples."""
    return _loss(folder, session, 0.05)


@row("20 % of packets lost", "the same", short=True)
def loss_20(folder: Path, session: str) -> Seen:
    """Packets of 5 samples."""
    return _loss(folder, session, 0.20)


def _quality(folder: Path, session: str, fault: str, name: str) -> Seen:
    with scene(folder, session) as stage:
        if stage is None:
            return NEVER
        broken_s = stage.sender.do(quality=fault)["utc_s"]

        def named() -> list[float]:
            stages = stage.listener.stages(broken_s)
            return [at - broken_s for at, m in stages if m.channels[0].quality == name]

        seen = stage.listener.wait_for(named, 25)
        named_s = seen[0] if seen else None
        repaired_s = stage.sender.do(quality="good")["utc_s"]
        good_s = good_again_s(stage, repaired_s + 1.0, 12)  # the second in which it was repaired is of both
        good_s = None if good_s is None else good_s + 1.0
        stages = [m for _, m in stage.listener.stages(broken_s)]
        finite = all(math.isfinite(p) for m in stages for p in (m.confidence, m.probabilities.w, m.probabilities.n3))
        bad = max((bad_s(m) for m in stages), default=0)
        kept = named_s is not None and finite and good_s is not None and good_s <= RECOVERED_S
        words = f"`{name}` after {said(named_s)}, {bad} s bad; good again {said(good_s)} after its repair"
        return Seen(kept, words, {"after_s": named_s or -1, "recovered_s": good_s or -1})


@row("NaN", "the EEG is `missing` while it lasts, no stage is NaN, good again within 5 s")
def nan(folder: Path, session: str) -> Seen:
    """All samples."""
    return _quality(folder, session, "nan", "missing")


@row("flat", "the EEG is `flat`, good again within 5 s of its repair")
def flat(folder: Path, session: str) -> Seen:
    """All samples the same."""
    return _quality(folder, session, "flat", "flat")


@row("saturation", "the EEG is `saturated`, good again within 5 s of its repair")
def saturation(folder: Path, session: str) -> Seen:
    """All samples at the amplifier's limit."""
    return _quality(folder, session, "saturated", "saturated")
