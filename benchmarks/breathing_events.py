"""Breathing events as each sensor is lost: the rules alone, the learned model alone, both; and how soon they are said.

    python -m benchmarks.breathing_events [--bundle DIR] [--nights 3] [--first-seed 900] [--data ../shared/data]

Simulated sleepers that nothing was trained on, and the CPAP flow of two real people where the data is there.
"""

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import heading, table
from hypnostream.engine.backend import OnnxBackend
from hypnostream.engine.bed import Bed
from hypnostream.engine.bundle import Bundle, load_bundle
from hypnostream.engine.respiration.airflow import AirflowSettings
from hypnostream.engine.respiration.beliefs import Beliefs, BeliefState
from hypnostream.engine.respiration.breathing import Breathing
from hypnostream.engine.respiration.breathing import BreathingSettings as Scoring
from hypnostream.engine.respiration.channels import respiration_beside, with_respiration
from hypnostream.engine.respiration.event import APNEAS, HYPOPNEA, Event
from hypnostream.engine.respiration.event_agreement import match_events
from hypnostream.engine.respiration.event_timing import event_timing
from hypnostream.engine.respiration.learned import LearnedBreathing
from hypnostream.engine.respiration.revisions import latest
from hypnostream.engine.respiration.rules import RuleSettings
from hypnostream.engine.respiration.session import RespirationSettings, Seen
from hypnostream.engine.session import Session
from hypnostream.stream.channels import Montage
from hypnostream.stream.montage import resolve
from hypnostream.stream.simulator import NightSettings, SimulatedSource, simulate_night
from hypnostream.stream.simulator_breathing_truth import BreathingSettings
from hypnostream.stream.source import ChannelInfo, Chunk, Step, StreamInfo
from hypnostream.training.recordings.sets import cpap

LOST: dict[str, tuple[str, ...]] = {
    "nothing": (),
    "nasal pressure": ("flow",),
    "thermistor": ("thermistor",),
    "one belt": ("abdomen",),
    "both belts": ("thorax", "abdomen"),
    "ECG": ("ecg",),
    "oximeter": ("spo2",),
    "airflow": ("flow", "thermistor"),
    "airflow and belts": ("flow", "thermistor", "thorax", "abdomen"),
    "all but the oximeter": ("flow", "thermistor", "thorax", "abdomen", "ecg"),
    "all but the ECG": ("flow", "thermistor", "thorax", "abdomen", "spo2"),
}
RATES_PER_HOUR = (6.0, 15.0, 30.0)
FIRST_SEED, HOURS, IOU = 900, 4.0, 0.3
BELIEVED = 0.3  # an event of the rules that is believed less is left out where both must agree
_BELIEF = re.compile(r"learned model (\d\.\d+)")
KINDS = (*APNEAS, HYPOPNEA)
Said = list[tuple[float, Event]]


class ModelAlone(Beliefs):
    """The learned model as if no sensor of breathing told anything: its own events throughout."""

    def take(
        self,
        state: BeliefState,
        seen: Seen,
        heart: NDArray[np.float64],
        log_power: NDArray[np.float64],
        events: Sequence[Event],
        begin_s: float,
    ) -> tuple[list[Event], NDArray[np.bool_]]:
        """See `Beliefs.take`."""
        return super().take(
            state, seen._replace(told_by=np.zeros_like(seen.told_by)), heart, log_power, events, begin_s
        )


@dataclass
class Counts:
    """Events of several nights."""

    reference: int = 0
    detected: int = 0
    matched: int = 0

    @property
    def f1(self) -> float:
        """0 where there is nothing."""
        return 2 * self.matched / max(self.reference + self.detected, 1)

    def add(self, reference: Sequence[tuple[float, float]], events: Sequence[Event]) -> None:
        """Another night."""
        theirs = np.array(reference, np.float64).reshape(-1, 2)
        ours = np.array([(e.start_s, e.end_s) for e in events if e.end_s is not None], np.float64).reshape(-1, 2)
        self.reference += len(theirs)
        self.detected += len(ours)
        self.matched += len(match_events(theirs, ours, IOU))


def played(source_streams: Sequence[StreamInfo], chunks: Sequence[Chunk], lost: Sequence[str], bundle: Bundle,
           beliefs: type[Beliefs], end_s: float, pap: bool = False, step_s: float = 30.0) -> Said:  # fmt: skip
    """What a bed says of a night without some sensors, each revision with when it was said."""
    specs = with_respiration(bundle.channels)
    montage = resolve(source_streams, specs)
    kept = Montage(specs, tuple(d for d in montage.derivations if d.spec.name not in lost))
    tick = bundle.content.tick
    if tick is None:
        raise SystemExit("this bundle has no model of breathing; name one that `hypnostream train breathing` made")
    learned = beliefs(LearnedBreathing(tick, OnnxBackend(bundle, tick)))
    scoring = Scoring(respiration=RespirationSettings(airflow=AirflowSettings(rules=RuleSettings(pap=pap))))
    breathing = Breathing(bundle.channels, respiration_beside(bundle.channels), 0.0, scoring, learned)
    bed = Bed(source_streams, kept, Session(bundle, OnnxBackend(bundle)), 2.0, False, breathing=breathing)
    said: Said = []
    places = dict.fromkeys((chunk.stream_id for chunk in chunks), 0)
    for now_s in np.arange(step_s, end_s + step_s, step_s):
        parts = []
        for chunk in chunks:
            first = places[chunk.stream_id]
            last = int(np.searchsorted(chunk.timestamps, now_s - 1e-9))
            places[chunk.stream_id] = last
            if last > first:
                parts.append(Chunk(chunk.stream_id, chunk.samples[first:last], chunk.timestamps[first:last]))
        said += [(float(now_s), event) for event in bed.step(Step(float(now_s), tuple(parts))).events]
    return said + [(end_s, event) for event in bed.end(end_s).events]


def of_rules(said: Said) -> list[Event]:
    """Final events of the rules."""
    held = latest(event for _, event in said if not event.event_id.startswith("learned"))
    return [e for e in held if e.kind in KINDS and e.status in ("final", "amended")]


def believed(event: Event) -> bool:
    """Whether the model believes in an event of the rules, or has said nothing of it."""
    found = _BELIEF.search(event.reason)
    return found is None or float(found.group(1)) >= BELIEVED


def simulated(bundle: Bundle, nights: int, first_seed: int) -> None:
    """The table of sensors lost, and how soon events are said."""
    heading(
        "Simulated nights, each sensor lost",
        f"{nights} sleepers of {HOURS:g} h with physiology, {', '.join(f'{r:g}' for r in RATES_PER_HOUR)} events an "
        f"hour, seeds from {first_seed} on; truth: apneas, and hypopneas with 3 % of desaturation or an arousal. F1 at "
        f"an IoU of {IOU}; rules: final events; model: its own events throughout; both: the rules' that the model "
        f"believes by {BELIEVED} and more, and the model's where neither airflow nor a belt tells.",
    )
    counts = {name: {arm: Counts() for arm in ("rules", "model", "both")} for name in LOST}
    early: Said = []
    truth: list[tuple[float, float]] = []
    for number in range(nights):
        rate = RATES_PER_HOUR[number % len(RATES_PER_HOUR)]
        physiology = NightSettings(HOURS * 3600, events_per_hour=rate, breathing=BreathingSettings(), rate_hz=200)
        night = simulate_night(physiology, first_seed + number)
        source = SimulatedSource(night, HOURS * 3600)
        chunks = source.read(0.0)
        reference = [
            (e.start_s, e.end_s)
            for e in night.events
            if e.kind != "hypopnea" or max(e.fall or 0, e.arousal_s or 0) >= 3
        ]
        for name, lost in LOST.items():
            said = played(source.streams, chunks, lost, bundle, Beliefs, night.duration_s, step_s=30.0 if lost else 1.0)
            rules = of_rules(said)
            own = [e for e in latest(e for _, e in said) if e.event_id.startswith("learned") and e.status == "final"]
            alone = played(source.streams, chunks, lost, bundle, ModelAlone, night.duration_s)
            model = [e for e in latest(e for _, e in alone) if e.event_id.startswith("learned") and e.status == "final"]
            counts[name]["rules"].add(reference, rules)
            counts[name]["model"].add(reference, model)
            counts[name]["both"].add(reference, [*(e for e in rules if believed(e)), *own])
            if not lost:
                shift = number * 1e5
                truth += [(start + shift, end + shift) for start, end in reference]
                early += [(at + shift, _moved(event, shift, number)) for at, event in said]
    columns = ("lost", "rules: found of true, false", "F1", "model: found, false", "F1", "both: found, false", "F1")
    rows = []
    for name, arms in counts.items():
        row = [name]
        for each in arms.values():
            row += [f"{each.matched} of {each.reference}, {each.detected - each.matched}", f"{each.f1:.2f}"]
        rows.append(row)
    table(columns, rows)
    timing = event_timing(truth, early, KINDS, nights * HOURS)
    print(
        f"With all sensors, from true onset to the first word: p50 {timing.latency_p50_s:.1f} s, p95 "
        f"{timing.latency_p95_s:.1f} s; onset off by {timing.onset_absolute_error_s:.1f} s (median size).\n"
    )


def _moved(event: Event, by_s: float, number: int) -> Event:
    end_s = None if event.end_s is None else event.end_s + by_s
    return replace(event, event_id=f"{number}-{event.event_id}", start_s=event.start_s + by_s, end_s=end_s)


def real_flow(bundle: Bundle, data: Path) -> None:
    """CPAP flow: flagged apneas found, and others an hour, by the rules and by both."""
    folder = data / "cpap_flow"
    if not folder.is_dir():
        print(f"{folder} is not there, so nothing real is in this table.")
        return
    heading("CPAP flow, real", "Two people on therapy; the device's 13 flagged apneas with exact intervals; IoU 0.3.")
    found = {"rules": Counts(), "both": Counts()}
    hours = 0.0
    for path in sorted(folder.glob("*.npz")):
        recording = cpap.read(path, folder / "events.csv")
        with np.load(path, allow_pickle=False) as file:
            flow = file["flow_i16"].astype(np.float32)[:, None] * np.float32(file["flow_gain"])
            rate_hz = float(file["fs"])
        info = StreamInfo("flow", rate_hz, (ChannelInfo("Airflow", ""),), name="flow")
        end_s = len(flow) / rate_hz
        hours += end_s / 3600
        chunk = Chunk("flow", flow, np.arange(len(flow)) / rate_hz)
        said = played([info], [chunk], (), bundle, Beliefs, float(int(end_s)), pap=True)
        apneas = [e for e in of_rules(said) if e.kind in APNEAS]
        truth = [(e.onset_s, e.onset_s + e.duration_s) for e in recording.events if "apnea" in e.kind and e.duration_s]
        found["rules"].add(truth, apneas)
        found["both"].add(truth, [e for e in apneas if believed(e)])
    rows = [
        (arm, f"{c.matched} of {c.reference}", f"{c.detected - c.matched}", f"{(c.detected - c.matched) / hours:.2f}")
        for arm, c in found.items()
    ]
    table(("arm", "found", "others", f"others an hour of {hours:.1f} h"), rows)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--bundle", type=Path, help="default: the shipped one")
    parser.add_argument("--nights", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    arguments = parser.parse_args()
    bundle = load_bundle(arguments.bundle)
    simulated(bundle, arguments.nights, arguments.first_seed)
    real_flow(bundle, arguments.data)


if __name__ == "__main__":
    main()
