"""Apneas of two people on CPAP: the device's own flags with their exact times, against what is found in its flow."""

import csv
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hypnostream.engine.respiration.airflow import AirflowSettings
from hypnostream.engine.respiration.channels import RESPIRATION_CHANNELS
from hypnostream.engine.respiration.event import APNEAS
from hypnostream.engine.respiration.event_agreement import match_events
from hypnostream.engine.respiration.rules import RuleSettings
from hypnostream.engine.respiration.session import RespirationSession, RespirationSettings
from hypnostream.stream.filters import CausalFilter, butterworth_sections
from hypnostream.stream.seconds import Seconds
from tests.engine.respiration.breathing_nights import holding

CPAP = Path(__file__).parents[3].parent / "shared" / "data" / "cpap_flow"
PAP = RespirationSettings(airflow=AirflowSettings(rules=RuleSettings(pap=True)))

pytestmark = pytest.mark.skipif(not CPAP.is_dir(), reason="the CPAP flow of ../shared/data is not there")


def session_seconds(path: Path) -> Seconds:
    """The flow as a bed conditions it."""
    with np.load(path, allow_pickle=False) as file:
        flow = (file["flow_i16"] * float(file["flow_gain"])).astype(np.float64)
    count = len(flow) // 25
    highpass = CausalFilter(butterworth_sections(25.0, 0.05, None))
    signal = flow[None, : count * 25].copy()
    highpass.run(highpass.fresh(1), signal, np.zeros(signal.shape, bool))
    return Seconds(0, (0,), (signal.reshape(count, 25).astype(np.float32),), np.zeros((1, count), np.uint8))


def found_and_false(path: Path) -> tuple[int, int, int]:
    """How many apneas were flagged, how many of them are found at IoU 0.3, and how many others."""
    with (CPAP / "events.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["session"] == path.name and "Apnea" in row["event"]]
    flagged: NDArray[np.float64] = np.array(
        [(float(row["end_s"]) - float(row["duration_s"]), float(row["end_s"])) for row in rows]
    ).reshape(-1, 2)
    session = RespirationSession(RESPIRATION_CHANNELS, settings=PAP)
    apneas = holding(session.advance(session_seconds(path)) + session.finish(), *APNEAS)
    ours = np.array([(event.start_s, event.end_s or np.inf) for event in apneas]).reshape(-1, 2)
    matched = len(match_events(flagged, ours, 0.3))
    return len(flagged), matched, len(ours) - matched


def test_all_nine_apneas_of_the_worst_hour_are_found() -> None:
    flagged, found, false = found_and_false(CPAP / "CascadePass_20250203_050623.npz")
    assert (flagged, found) == (9, 9)
    assert false <= 2


@pytest.mark.slow
def test_twelve_of_thirteen_apneas_are_found_and_few_others_in_43_hours() -> None:
    counts = np.array([found_and_false(path) for path in sorted(CPAP.glob("*.npz"))]).sum(axis=0)
    flagged, found, false = counts.tolist()
    assert flagged == 13
    assert found >= 12
    assert false <= 6
