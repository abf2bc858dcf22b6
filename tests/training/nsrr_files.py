"""EDF and XML files as NSRR and Sleep-EDF have them, of short simulated nights, for the tests of ingest."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from hypnostream.bridges.edf_write import EdfSignal, write_edf
from hypnostream.stream.source import Annotation

START = datetime(1995, 3, 1, 22, 0, 0)
# As SHHS names its channels, at the rates that it has them; one channel at less than 1 Hz beside them.
CHANNELS = (
    ("EEG", 125.0, "uV"),
    ("EOG(L)", 50.0, "uV"),
    ("NEW AIR", 10.0, ""),
    ("SaO2", 1.0, "%"),
    ("POSITION", 0.2, ""),
)
NAMES = {0: "Wake|0", 1: "Stage 1 sleep|1", 2: "Stage 2 sleep|2", 3: "Stage 3 sleep|3", 4: "Stage 4 sleep|4",
         5: "REM sleep|5", 9: "Unscored|9"}  # fmt: skip


def signals(seconds: int, seed: int = 0, channels: Sequence[tuple[str, float, str]] = CHANNELS) -> list[EdfSignal]:
    rng = np.random.default_rng(seed)
    return [
        EdfSignal(label, rng.normal(size=round(rate * seconds)), rate, unit, -6.0, 6.0)
        for label, rate, unit in channels
    ]


def write_psg(path: Path, seconds: int, seed: int = 0, annotations: Sequence[Annotation] = ()) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_edf(path, signals(seconds, seed), record_s=10.0, start=START, annotations=annotations)
    return path


def event(
    concept: str, start_s: object, duration_s: object, group: str = "Respiratory|Respiratory", more: str = ""
) -> str:
    return (
        f"<ScoredEvent><EventType>{group}</EventType><EventConcept>{concept}</EventConcept>"
        f"<Start>{start_s}</Start><Duration>{duration_s}</Duration>{more}</ScoredEvent>"
    )


def write_xml(path: Path, stages: Sequence[int], events: Sequence[str] = (), length_s: float | None = None) -> Path:
    """`stages` are Rechtschaffen and Kales's numbers, 9 is unscored; a run of one stage is one event, as in NSRR."""
    path.parent.mkdir(parents=True, exist_ok=True)
    length_s = 30.0 * len(stages) if length_s is None else length_s
    rows = [event("Recording Start Time", 0, length_s, "")]
    first = 0
    for place in range(1, len(stages) + 1):
        if place == len(stages) or stages[place] != stages[first]:
            rows.append(event(NAMES[stages[first]], first * 30.0, (place - first) * 30.0, "Stages|Stages"))
            first = place
    content = "".join([*rows, *events])
    path.write_text(
        "<?xml version='1.0' encoding='UTF-8'?><PSGAnnotation><EpochLength>30</EpochLength>"
        f"<ScoredEvents>{content}</ScoredEvents></PSGAnnotation>"
    )
    return path
