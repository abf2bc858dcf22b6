"""A recording of breathing alone, as a home apnea test is: events and indices, and no stage that no one could see."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from hypnostream.bridges.beginning import first_arrivals
from hypnostream.bridges.edf_write import EdfSignal, write_edf
from hypnostream.bridges.events_table import read_events_table
from hypnostream.bridges.night_report import NO_STAGES
from hypnostream.bridges.replay import ReplayOptions, replay
from hypnostream.bridges.tables import read_epochs
from hypnostream.bridges.terminal import summary_lines
from hypnostream.config import BedConfig, BreathingSection
from hypnostream.engine.bundle import load_bundle
from hypnostream.engine.respiration.channels import respiration_beside
from hypnostream.engine.respiration.event import APNEAS
from hypnostream.engine.respiration.event_agreement import match_events
from hypnostream.errors import UserError
from hypnostream.stream.simulator import NightSettings, SimulatedSource, simulate_night
from hypnostream.stream.simulator_breathing import RespiratoryEvent
from hypnostream.stream.simulator_breathing_truth import BreathingSettings
from hypnostream.stream.source import Arrival, ChannelInfo, Chunk, ListSource, StreamInfo

BUNDLE = load_bundle()
BESIDES = respiration_beside(BUNDLE.channels)
CPAP = Path(__file__).parents[2].parent / "shared" / "data" / "cpap_flow"
SENSORS = ("Nasal pressure", "Thorax", "Abdomen", "SpO2", "ECG")
FLOW = StreamInfo("belt", 25.0, (ChannelInfo("Airflow"),))
HEAD = StreamInfo("head", 100.0, (ChannelInfo("EEG Fpz-Cz", "uV"),))


@pytest.fixture
def home_test(tmp_path: Path) -> Path:
    """Eight minutes with an apnea and a hypopnea, from the sensors of a home apnea test."""
    events = (RespiratoryEvent("obstructive apnea", 200.0, 25.0), RespiratoryEvent("hypopnea", 300.0, 25.0, fall=5.0))
    breathing = BreathingSettings(circulation_s=12.0, spontaneous_arousals_per_hour=0.0, movements_per_hour=0.0)
    night = simulate_night(NightSettings(stages=[2] * 16, events=events, breathing=breathing, rate_hz=128), 3)
    source = SimulatedSource(night, 480.0)
    signals = [
        EdfSignal(each.label, chunk.samples[:, column], info.rate_hz, each.unit, each.minimum, each.maximum)
        for info, chunk in zip(source.streams, source.read(0.0), strict=True)
        for column, each in enumerate(info.channels)
        if each.label in SENSORS
    ]
    write_edf(tmp_path / "home.edf", signals)
    return tmp_path / "home.edf"


def test_events_and_indices_come_by_recording_time_and_no_stage_is_invented(home_test: Path, tmp_path: Path) -> None:
    summary, folder = replay(home_test, ReplayOptions(out=tmp_path / "report"))
    _, rows = read_events_table(folder / "events.parquet")
    final = [row.event for row in rows if row.event.status == "final"]
    assert {"obstructive_apnea", "hypopnea", "desaturation"} <= {event.kind for event in final}
    _, epochs = read_epochs(folder / "epochs.parquet")
    assert [(each.stage, each.absent_reason) for each in epochs] == [(None, "no_data")] * 16
    assert summary.epochs.staged == 0
    assert summary.breathing is not None
    indices = {(each.name, each.rule): each for each in summary.breathing.indices}
    assert indices["AHI", "AASM 1A"].value is None
    rei = indices["REI", "AASM 1A"]
    assert rei.numerator == 2
    assert rei.value == pytest.approx(2 / rei.hours)
    assert rei.hours == pytest.approx(480 / 3600, rel=0.1)
    assert NO_STAGES in summary.warnings
    lines = "\n".join(summary_lines(summary, folder))
    assert "by recording time" in lines
    assert "no stages: no answer in any of 16 epochs" in lines
    assert "sleep 0 min" not in lines


@pytest.mark.skipif(not CPAP.is_dir(), reason="the CPAP flow of ../shared/data is not there")
def test_the_flow_of_a_pap_device_alone_gives_its_apneas(tmp_path: Path) -> None:
    name = "CascadePass_20250203_050623.npz"
    with np.load(CPAP / name, allow_pickle=False) as file:
        flow = file["flow_i16"][: len(file["flow_i16"]) // 25 * 25] * np.float32(file["flow_gain"])
    with (CPAP / "events.csv").open(encoding="utf-8") as table:
        rows = [row for row in csv.DictReader(table) if row["session"] == name and "Apnea" in row["event"]]
    flagged = np.array([(float(row["end_s"]) - float(row["duration_s"]), float(row["end_s"])) for row in rows])
    write_edf(tmp_path / "cpap.edf", [EdfSignal("Flow", flow, 25.0, "L/s", -3.0, 3.0)])
    config = BedConfig(breathing=BreathingSection(pap=True))
    summary, folder = replay(tmp_path / "cpap.edf", ReplayOptions(out=tmp_path / "report", config=config))
    said = [row.event for row in read_events_table(folder / "events.parquet")[1]]
    apneas = [(e.start_s, e.end_s or np.inf) for e in said if e.kind in APNEAS and e.status != "withdrawn"]
    assert len(match_events(flagged, np.array(apneas), 0.3)) == len(flagged) == 9
    assert summary.breathing is not None
    assert summary.breathing.recorded_hours == pytest.approx(len(flow) / 25 / 3600, rel=0.05)


class Arriving(ListSource):
    """A live source of what is given, one piece a call; it does not end."""

    speed = 1.0
    exhausted = False
    here_s = None

    def __init__(self, *pieces: Sequence[Arrival]) -> None:
        super().__init__((), [])
        self._pieces = list(pieces)

    def take(self, timeout_s: float) -> list[Arrival]:
        return list(self._pieces.pop(0)) if self._pieces else []


def chunk(info: StreamInfo) -> Chunk:
    return Chunk(info.stream_id, np.zeros((5, 1), np.float32), np.arange(5) / info.rate_hz)


def test_a_live_session_begins_with_breathing_alone_when_no_more_has_come_in_time() -> None:
    source = Arriving([FLOW], [chunk(FLOW)])
    first = first_arrivals(source, BUNDLE.channels, {}, lambda: False, 0.05, BESIDES)
    assert [type(each) for each in first] == [StreamInfo, Chunk]


def test_within_that_time_it_waits_for_the_model_and_loses_nothing() -> None:
    source = Arriving([FLOW], [chunk(FLOW)], [HEAD], [chunk(HEAD)])
    first = first_arrivals(source, BUNDLE.channels, {}, lambda: False, 60.0, BESIDES)
    assert [each.stream_id for each in first if isinstance(each, Chunk)] == ["belt", "head"]


def test_where_breathing_is_off_its_sensors_begin_nothing() -> None:
    with pytest.raises(UserError, match="no channel serves this model"):
        first_arrivals(Arriving([FLOW], [chunk(FLOW)]), BUNDLE.channels, {}, lambda: False, 0.05)
