"""Faults of what sends: silence, death, rebirth, clocks, loss, sensors."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.faults.matrix import Seen, row
from benchmarks.faults.parts import Stage
from hypnostream.stream.source import (
    CLOCK_JUMPED,
    SAMPLES_LOST,
    SOURCE_CHANGED,
    SOURCE_FOUND,
    SOURCE_LOST,
    SOURCE_REFUSED,
    SOURCE_RESUMED,
    SOURCE_STALLED,
)
from hypnostream.stream.stages import EPOCH_S

SAY_S = 3.0  # within so long of the last sample a stall is said
NEVER = Seen(False, "no stage ever came", {})


@contextmanager
def scene(folder: Path, session: str, **settings: Any) -> Iterator[Stage | None]:
    """A bed at work; None where it never got there."""
    stage = Stage(folder, session, **settings)
    try:
        yield stage if stage.flowing() else None
    finally:
        stage.close()


def _reported_lost(stage: Stage, since: float) -> int:
    return sum(message.samples or 0 for _, message in stage.listener.statuses(SAMPLES_LOST, since=since))


def _notice_s(stage: Stage, since: float, within_s: float, *states: str) -> float | None:
    """How long after `since` one of these notices came."""
    found = stage.listener.wait_for(lambda: stage.listener.statuses(*states, since=since), within_s)
    return found[0][0] - since if found else None


def _said(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.2f} s"


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
        said_s = _notice_s(stage, last_s, 6, SOURCE_STALLED)
        time.sleep(max(0.0, last_s + 5 - time.time()))
        dropped = stage.sender.do(silent=False)["dropped"]
        gap_s = dropped / 256
        resumed = stage.listener.wait_for(lambda: stage.listener.statuses(SOURCE_RESUMED, since=last_s), 4)
        reported_s = (resumed[0][1].seconds or 0.0) if resumed else 0.0
        kept = said_s is not None and said_s <= SAY_S and abs(reported_s - gap_s) < 0.05
        words = f"said after {_said(said_s)}; gap said {reported_s:.2f} s, true {gap_s:.2f}"
        return Seen(kept, words, {"stalled_s": said_s or -1, "gap_error_s": reported_s - gap_s})


@row("sender killed", "said within 3 s; results go on, and say that the sensor is missing", peer="kill")
def killed(folder: Path, session: str) -> Seen:
    """SIGKILL, and never back."""
    with scene(folder, session) as stage:
        if stage is None:
            return NEVER
        last_s = stage.sender.do()["last_sent_utc_s"]
        stage.sender.kill()
        said_s = _notice_s(stage, last_s, 6, SOURCE_STALLED, SOURCE_LOST)
        time.sleep(max(0.0, last_s + 6.5 - time.time()))
        after = stage.listener.stages(last_s + 3.0)
        good_s = [m.channels[0].ok_fraction * EPOCH_S for _, m in after]
        missing = bool(after) and max(good_s) - min(good_s) < 0.5  # no second more of it is good
        kept = said_s is not None and said_s <= SAY_S and len(after) >= 2 and missing
        return Seen(
            kept,
            f"said after {_said(said_s)}; {len(after)} stages after 3 s, missing: {missing}",
            {"said_s": said_s or -1},
        )


def _reborn(folder: Path, session: str, judge: Callable[[Stage, float, int], Seen], **settings: Any) -> Seen:
    with scene(folder, session) as stage:
        if stage is None:
            return NEVER
        other = stage.add_sender(base_s=stage.base_s, **settings)
        last = int(stage.sender.do()["last"])  # a packet or none may follow until it dies
        stage.sender.kill()
        time.sleep(2.0)
        return judge(stage, other.do("start")["utc_s"], last)


def _flows_again(stage: Stage, born_s: float) -> float | None:
    """How long after its rebirth a stream is heard: the notice that its first sample makes."""
    return _notice_s(stage, born_s, 12, SOURCE_RESUMED, SOURCE_CHANGED, SAMPLES_LOST)


@row(
    "sender reborn", "data flows again within 1 s of its rebirth, the gap's length is said", short=True, peer="rebirth"
)
def reborn(folder: Path, session: str) -> Seen:
    """SIGKILL, and 2 s later another process with the same description."""

    def judge(stage: Stage, born_s: float, last: int) -> Seen:
        again_s = _flows_again(stage, born_s)
        told = [m for _, m in stage.listener.statuses(SOURCE_RESUMED, SAMPLES_LOST, since=born_s)]
        gap_s = sum(m.seconds or (m.samples or 0) / 256 for m in told)
        true_s = (stage.senders[-1].do()["first"] - last) / 256
        kept = again_s is not None and again_s <= 1.0 and abs(gap_s - true_s) < 0.05
        words = f"data after {_said(again_s)}; gap said {gap_s:.2f} s, true {true_s:.2f}"
        return Seen(kept, words, {"again_s": again_s or -1, "gap_error_s": gap_s - true_s})

    return _reborn(folder, session, judge)


def _changed(stage: Stage, born_s: float, last: int) -> Seen:
    found = stage.listener.wait_for(lambda: stage.listener.statuses(SOURCE_CHANGED, SOURCE_REFUSED, since=born_s), 12)
    flowing = stage.flowing(4.0)
    if not found:
        return Seen(False, f"nothing was said; stages come: {flowing}", {})
    at, message = found[0]
    kept = flowing and bool(message.detail)
    return Seen(
        kept,
        f"{message.state} after {at - born_s:.2f} s: {message.detail}; stages come: {flowing}",
        {"said_s": at - born_s},
    )


@row("reborn with another rate", "`source_changed`, a new segment at the new rate", peer="rebirth_rate")
def other_rate(folder: Path, session: str) -> Seen:
    """256 Hz, then 128 Hz."""
    return _reborn(folder, session, _changed, rate_hz=128.0)


@row("reborn with other labels", "`source_changed`, channels chosen anew", peer="rebirth_labels")
def other_labels(folder: Path, session: str) -> Seen:
    """Two channels, the other way round."""
    return _reborn(folder, session, _changed, labels=["EOG horizontal", "EEG Fpz-Cz"])


@row("reborn with another format", "`source_changed`", peer="rebirth_format")
def other_format(folder: Path, session: str) -> Seen:
    """float32, then int16."""
    return _reborn(folder, session, _changed, format="int16")


@row("reborn as text", "refused, with the reason")
def text_format(folder: Path, session: str) -> Seen:
    """float32, then strings."""

    def judge(stage: Stage, born_s: float, last: int) -> Seen:
        found = stage.listener.wait_for(lambda: stage.listener.statuses(SOURCE_REFUSED, since=born_s), 8)
        beats = [at for at, message in stage.listener.heard if message.kind == "heartbeat" and at > time.time() - 2.5]
        words = f"{found[0][1].state}: {found[0][1].detail}" if found else "nothing was said"
        return Seen(bool(found) and bool(beats), words, {})

    return _reborn(folder, session, judge, format="string")


def _clock_jump(folder: Path, session: str, jump_s: float) -> Seen:
    with scene(folder, session) as stage:
        if stage is None:
            return NEVER
        at_s = stage.sender.do(clock_s=jump_s)["utc_s"]
        found = stage.listener.wait_for(lambda: stage.listener.statuses(CLOCK_JUMPED, since=at_s), 6)
        time.sleep(2.0)
        flowing = stage.flowing(4.0)
        lost = _reported_lost(stage, at_s)
        if not found:
            return Seen(
                False, f"nothing was said; stages come: {flowing}; {lost} samples said to be lost", {"lost": lost}
            )
        said_s = found[0][1].seconds or 0.0
        kept = abs(said_s - jump_s) < 0.05 and flowing and lost == 0
        words = f"{said_s:+.3f} s said after {found[0][0] - at_s:.2f} s; stages come: {flowing}; {lost} lost"
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
        said = [m.state for _, m in stage.listener.statuses(since=since + 0.5)]
        stages = stage.listener.stages(since + 2)
        bad_s = {round(m.seconds - m.channels[0].ok_fraction * EPOCH_S) for _, m in stages}  # of the epoch so far
        kept = not said and len(stages) >= seconds - 4 and len(bad_s) == 1
        words = f"{len(stages)} stages, seconds lost: {max(bad_s, default=0) - min(bad_s, default=0)}"
        return Seen(kept, f"{words}; notices: {', '.join(said) or 'none'}", {"notices": len(said)})


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
        stage.listener.wait_for(lambda: _reported_lost(stage, since) >= true, 32)  # it is said with each epoch
        lost = _reported_lost(stage, since)
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

        def quality(wanted: str, since: float) -> float | None:
            def find() -> list[float]:
                stages = stage.listener.stages(since)
                return [at - since for at, m in stages if m.channels[0].quality == wanted]

            found = stage.listener.wait_for(find, 25)
            return found[0] if found else None

        broken_s = quality(name, stage.sender.do(quality=fault)["utc_s"])
        good_s = stage.sender.do(quality="good")["utc_s"]
        stage.flowing(4.0)
        kept = broken_s is not None
        _ = good_s
        return Seen(kept, f"`{name}` after {_said(broken_s)}", {"after_s": broken_s or -1})


@row("NaN", "the EEG is `missing` while it lasts, no stage is NaN")
def nan(folder: Path, session: str) -> Seen:
    """All samples."""
    return _quality(folder, session, "nan", "missing")


@row("flat", "the EEG is `flat`")
def flat(folder: Path, session: str) -> Seen:
    """All samples the same."""
    return _quality(folder, session, "flat", "flat")


@row("saturation", "the EEG is `saturated`")
def saturation(folder: Path, session: str) -> Seen:
    """All samples at the amplifier's limit."""
    return _quality(folder, session, "saturated", "saturated")


@row("late join", "a second stream is found and taken up within 3 s")
def late_join(folder: Path, session: str) -> Seen:
    """An EOG of its own device, 2 s after the EEG."""
    with scene(folder, session, labels=["EEG Fpz-Cz"]) as stage:
        if stage is None:
            return NEVER
        late = stage.add_sender(name="second", source_id="serial-2", labels=["EOG horizontal"], base_s=stage.base_s)
        time.sleep(2.0)
        since = late.do("start")["utc_s"]
        said_s = _notice_s(stage, since, 10, SOURCE_FOUND)

        def eog() -> list[float]:
            stages = stage.listener.stages(since)
            return [at - since for at, m in stages for c in m.channels if c.name == "eog" and c.ok_fraction > 0]

        used = stage.listener.wait_for(eog, 6)
        kept = said_s is not None and said_s <= 3.0 and bool(used)
        return Seen(
            kept,
            f"said after {_said(said_s)}, in a stage after {_said(used[0] if used else None)}",
            {"said_s": said_s or -1},
        )
