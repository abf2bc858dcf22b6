"""Streams that come late, are of another kind, or leave for good."""

import time
from pathlib import Path

from benchmarks.faults.matrix import Seen, row
from benchmarks.faults.parts import SenderProcess, Stage
from benchmarks.faults.scene import NEVER, SAY_S, notice_s, passed_s, said, scene, slept_until, steps
from hypnostream.stream.source import SOURCE_FOUND, SOURCE_LOST, SOURCE_STALLED

EOG = 2  # its place among the model's channels
LATENESS_S = 2.0


def _second(stage: Stage) -> tuple[SenderProcess, float, float | None, float | None]:
    """An EOG of its own device joins: when, when that was said, and when a stage had it."""
    late = stage.add_sender(name="second", source_id="serial-2", labels=["EOG horizontal"], base_s=stage.base_s)
    time.sleep(2.0)
    since = late.do("start")["utc_s"]
    said_s = notice_s(stage, since, 10, SOURCE_FOUND)

    def used() -> list[float]:
        return [at - since for at, m in stage.listener.stages(since) if m.channels[EOG].ok_fraction > 0]

    found = stage.listener.wait_for(used, 6)
    return late, since, said_s, found[0] if found else None


@row("late join", "a second stream is found and taken up within 3 s")
def late_join(folder: Path, session: str) -> Seen:
    """An EOG of its own device, seconds after the EEG."""
    with scene(folder, session, labels=["EEG Fpz-Cz"]) as stage:
        if stage is None:
            return NEVER
        _, _, said_s, used_s = _second(stage)
        kept = said_s is not None and said_s <= SAY_S and used_s is not None
        return Seen(kept, f"said after {said(said_s)}, in a stage after {said(used_s)}", {"said_s": said_s or -1})


def _delay_s(stage: Stage, since: float, until: float) -> float:
    """The slowest stage of that time: when it came, less the second that it closes, to be compared."""
    stages = stage.listener.stages(since)
    return max((at - passed_s(m) for at, m in stages if at < until), default=float("inf"))


@row(
    "late stream leaves",
    "said within 3 s; the EEG's seconds stay good; stages wait for it for some 2 s, and then no more",
)
def leaves(folder: Path, session: str) -> Seen:
    """The EOG of the row before, killed and never back."""
    with scene(folder, session, labels=["EEG Fpz-Cz"]) as stage:
        if stage is None:
            return NEVER
        late, joined_s, _, used_s = _second(stage)
        if used_s is None:
            return Seen(False, "it was never in a stage", {})
        time.sleep(3.0)
        gone_s = late.do()["last_sent_utc_s"]
        late.kill()
        said_s = notice_s(stage, gone_s, 6, SOURCE_LOST, SOURCE_STALLED)
        slept_until(gone_s + 10.0)
        eeg = [good for _, good in steps(stage, gone_s + 0.5)]
        eog = [good for _, good in steps(stage, gone_s + 2.5, EOG)]
        usual_s = _delay_s(stage, joined_s + used_s, gone_s)
        waited_s = _delay_s(stage, gone_s, gone_s + 6.0) - usual_s
        later_s = _delay_s(stage, gone_s + 6.0, time.time()) - usual_s
        kept = said_s is not None and said_s <= SAY_S and len(eeg) >= 5 and all(eeg) and not any(eog)
        words = f"said after {said(said_s)}; {sum(eeg)} of {len(eeg)} seconds of EEG good, {sum(eog)} of EOG"
        return Seen(
            kept and waited_s < LATENESS_S + 0.5 and later_s < 0.3,
            f"{words}; stages came {max(0.0, waited_s):.2f} s later at most, {max(0.0, later_s):.2f} s in the end",
            {"said_s": said_s or -1, "waited_s": waited_s, "later_s": later_s},
        )


@row("irregular stream joins", "found and said within 3 s; the EEG's seconds stay good, and nothing waits for it")
def irregular(folder: Path, session: str) -> Seen:
    """An oximeter without a rate, a value each second or so."""
    with scene(folder, session) as stage:
        if stage is None:
            return NEVER
        oximeter = stage.add_sender(
            name="oximeter", source_id="serial-3", labels=["SpO2"], unit="%", rate_hz=0.8, irregular=True
        )
        time.sleep(2.0)
        since = oximeter.do("start")["utc_s"]
        said_s = notice_s(stage, since, 10, SOURCE_FOUND)
        slept_until(since + 7.0)
        sent = oximeter.do()["sent"]
        found = [m.detail for _, m in stage.listener.statuses(SOURCE_FOUND, since=since)]
        good = [each for _, each in steps(stage, since)]
        waited_s = _delay_s(stage, since + 1.5, time.time()) - _delay_s(stage, since - 2.0, since)
        kept = said_s is not None and said_s <= SAY_S and sent >= 3 and len(good) >= 4 and all(good)
        words = f"said after {said(said_s)} ({found[0].split(':')[0] if found else 'nothing'})"
        return Seen(
            kept and waited_s < 0.5,
            f"{words}; {sum(good)} of {len(good)} seconds of EEG good; a stage waited {max(0.0, waited_s):.2f} s more",
            {"said_s": said_s or -1, "waited_s": waited_s},
        )
