"""Breathing from end to end: what a replay writes, what is published, and that a kill changes neither."""

import json
from dataclasses import replace
from functools import lru_cache
from io import StringIO
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from hypnostream.bridges.breathing import IndicesSink, breathing_of, specs_of
from hypnostream.bridges.edf import read_annotations
from hypnostream.bridges.edf_write import EdfSignal, write_edf
from hypnostream.bridges.events_table import read_events_table
from hypnostream.bridges.messages import EventMessage, Message, Moment, Origin, StatusMessage
from hypnostream.bridges.publisher import Publisher
from hypnostream.bridges.replay import ReplayOptions, replay
from hypnostream.bridges.result_log import ResultLog
from hypnostream.bridges.result_messages import event_message, indices_message
from hypnostream.bridges.run import drive
from hypnostream.bridges.said_before import said_before
from hypnostream.bridges.summary import read_summary
from hypnostream.bridges.terminal import summary_lines
from hypnostream.bridges.watch_view import WatchState, render
from hypnostream.config import BedConfig, BreathingSection, load_config
from hypnostream.engine.backend import OnnxBackend
from hypnostream.engine.bed import Bed
from hypnostream.engine.bundle import load_bundle
from hypnostream.engine.respiration.event import Event
from hypnostream.engine.respiration.revisions import latest
from hypnostream.engine.session import Session
from hypnostream.errors import UserError
from hypnostream.stream.channels import Montage
from hypnostream.stream.simulator import NightSettings, SimulatedSource, simulate_night
from hypnostream.stream.simulator_breathing import RespiratoryEvent
from hypnostream.stream.simulator_breathing_truth import BreathingSettings
from hypnostream.stream.source import Chunk, Step, StreamInfo

BUNDLE = load_bundle()
BACKEND = OnnxBackend(BUNDLE)
END_S = 480.0
ON = BreathingSection()
OFF = BedConfig(breathing=BreathingSection(enabled=False))


@lru_cache(maxsize=1)
def night() -> tuple[tuple[StreamInfo, ...], tuple[Chunk, ...]]:
    """Eight minutes of N2 with an apnea and a hypopnea."""
    breathing = BreathingSettings(circulation_s=12.0, spontaneous_arousals_per_hour=0.0, movements_per_hour=0.0)
    events = (RespiratoryEvent("obstructive apnea", 200.0, 25.0), RespiratoryEvent("hypopnea", 300.0, 25.0, fall=5.0))
    settings = NightSettings(stages=[2] * 16, events=events, breathing=breathing, rate_hz=128)
    source = SimulatedSource(simulate_night(settings, 3), END_S)
    return source.streams, tuple(source.read(0.0))


@pytest.fixture(scope="module")
def edf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The night as a file."""
    path = tmp_path_factory.mktemp("breathing") / "night.edf"
    signals = [
        EdfSignal(each.label, chunk.samples[:, column], info.rate_hz, each.unit, each.minimum, each.maximum)
        for info, chunk in zip(*night(), strict=True)
        for column, each in enumerate(info.channels)
    ]
    write_edf(path, signals)
    return path


def steps() -> list[Step]:
    """What comes, two seconds a step."""
    infos, chunks = night()
    made = [Step(0.0, infos)]
    for at_s in range(0, int(END_S), 2):
        parts = []
        for info, chunk in zip(infos, chunks, strict=True):
            rows = slice(round(at_s * info.rate_hz), round((at_s + 2) * info.rate_hz))
            parts.append(Chunk(chunk.stream_id, chunk.samples[rows], chunk.timestamps[rows]))
        made.append(Step(at_s + 2.0, tuple(parts)))
    return made


def bed() -> Bed:
    specs = specs_of(BUNDLE, ON)
    session = Session(BUNDLE, BACKEND)
    return Bed((), Montage(specs, ()), session, provisional=False, breathing=breathing_of(BUNDLE, ON, 0.0))


def publisher(log: ResultLog) -> Publisher:
    return Publisher("tcp://127.0.0.1:*", model_hash="9f", backend="none", session_id="5e55", log=log)


def words(messages: list[Message]) -> list[tuple[str, int, object]]:
    return [(m.topic, m.seq, (m.event_id, m.revision, m.status)) for m in messages if isinstance(m, EventMessage)]


def test_a_replay_writes_events_and_indices_for_people_and_for_programs(edf: Path, tmp_path: Path) -> None:
    summary, folder = replay(edf, ReplayOptions(out=tmp_path))
    _, rows = read_events_table(folder / "events.parquet")
    said = {row.event.kind: row for row in rows if row.event.status == "final"}
    assert {"obstructive_apnea", "hypopnea", "desaturation"} <= set(said)
    assert said["hypopnea"].revisions >= 2
    assert said["hypopnea"].event.rule == "AASM 1B"
    assert summary == read_summary(folder / "summary.json")
    assert summary.breathing is not None
    first = summary.breathing.indices[0]
    assert (first.name, first.rule, first.numerator) == ("AHI", "AASM 1A", 2)
    assert first.value == pytest.approx(2 / first.hours)
    assert summary.breathing.severity is None  # of eight minutes
    assert [each.name for each in summary.breathing.sensors] == [
        "flow", "thermistor", "thorax", "abdomen", "spo2", "ecg"
    ]  # fmt: skip
    assert [each.name for each in summary.channels] == [spec.name for spec in BUNDLE.channels]
    annotations, _, _ = read_annotations(folder / "scored.edf")
    assert {"Obstructive apnea", "Hypopnea", "SpO2 desaturation"} <= {each.text for each in annotations}
    assert "Obstructive apnea" in (folder / "scored.xml").read_text()
    assert "apnea_obstructive" in (folder / "scored.annot").read_text()
    lines = "\n".join(summary_lines(summary, folder))
    assert "1 apneas, 1 hypopneas" in lines
    assert "AHI AASM 1A" in lines


def test_a_night_without_breathing_leaves_none_of_an_earlier_one_s(edf: Path, tmp_path: Path) -> None:
    replay(edf, ReplayOptions(out=tmp_path))
    (tmp_path / "events.parquet").write_bytes(b"an earlier night's")
    replay(edf, ReplayOptions(out=tmp_path))
    assert len(read_events_table(tmp_path / "events.parquet")[1]) > 2
    summary, _ = replay(edf, ReplayOptions(out=tmp_path, config=OFF))
    assert summary.breathing is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epochs.parquet", "hypnogram.png", "summary.json"]


def test_the_rule_that_is_asked_for_comes_first(edf: Path, tmp_path: Path) -> None:
    config = BedConfig(breathing=BreathingSection(rule="1B"))
    summary, _ = replay(edf, ReplayOptions(out=tmp_path, config=config))
    assert summary.breathing is not None
    assert [each.rule for each in summary.breathing.indices[:4:2]] == ["AASM 1B", "AASM 1A"]
    bad = tmp_path / "bed.toml"
    bad.write_text('[breathing]\nrule = "1C"\n')
    with pytest.raises(UserError, match="1C"):
        load_config(bad)


def test_events_are_compared_with_those_of_a_reference(edf: Path, tmp_path: Path) -> None:
    _, folder = replay(edf, ReplayOptions(out=tmp_path / "ours"))
    summary, _ = replay(edf, ReplayOptions(out=tmp_path / "again", reference=folder / "scored.edf"))
    assert summary.breathing is not None
    assert summary.breathing.agreement is not None
    assert [match.f1 for match in summary.breathing.agreement.groups["respiratory"]] == [1.0, 1.0]
    assert "events against the reference" in "\n".join(summary_lines(summary, folder))


@pytest.mark.parametrize("killed_at", [30, 116, 131, 170, 239])
def test_killed_at_any_step_nothing_is_said_twice_and_all_is_said(tmp_path: Path, killed_at: int) -> None:
    some = steps()
    with ResultLog(tmp_path / "whole.arrows") as log, publisher(log) as told:
        one = bed()
        drive(some, one, [told, IndicesSink(one, told)], timed=False)
        expected = words(list(log.messages()))
        events = said_before(log).events
    assert {event.kind for event in latest(events)} >= {"obstructive_apnea", "hypopnea"}
    path = tmp_path / "cut.arrows"
    kept = (0, bed().snapshot(), dict[str, int]())
    with ResultLog(path) as log, publisher(log) as told:
        one = bed()
        for number, step in enumerate(some[:killed_at], 1):
            outcome = drive([step], one, [told], timed=False)
            if outcome.final:
                kept = (number, one.snapshot(), told.last_seq)
    taken, state, last_seq = kept
    with ResultLog(path) as log, publisher(log) as told:
        one = bed()
        one.restore(state)
        told.restore(last_seq)
        drive(some[taken:], one, [told], timed=False)
        assert told.differing == 0
        assert words(list(log.messages())) == expected
        assert said_before(log).events == events


def test_indices_are_published_with_each_final_stage_once_there_is_breathing() -> None:
    heard: list[StatusMessage] = []

    class Listening(Publisher):
        def _say(self, message: Message) -> None:
            if isinstance(message, StatusMessage):
                heard.append(message)
            super()._say(message)

    with Listening("tcp://127.0.0.1:*", model_hash="9f", backend="none") as told:
        one = bed()
        drive(steps()[:100], one, [IndicesSink(one, told)], timed=False)
    assert [(m.topic, m.seq, m.state) for m in heard] == [("indices", n, "breathing_indices") for n in range(6)]
    assert isinstance(heard[-1].indices, tuple)
    assert {"AHI", "REI", "ODI"} <= {each.name for each in heard[-1].indices}
    json.dumps(msgspec.to_builtins(heard[-1]), allow_nan=False)


def test_who_watches_sees_the_last_events_and_the_indices() -> None:
    origin = Origin(session_id="5e55", boot_id="b", model_hash="9f", backend="none")
    moment = Moment(stream_s=0.0, utc_s=None, utc_uncertainty_s=None, published_utc_s=0.0)
    state, one = WatchState(), bed()
    outcome = drive(steps(), one, [], timed=False)
    event = Event("e", 1, "central_apnea", "preliminary", 40.0, 55.0, 0.5, "AASM apnea, thermal sensor", ("flow",))
    for seq, each in enumerate([event, replace(event, event_id="f"), *outcome.events, replace(event, status="final")]):
        state.update(event_message(each, seq=seq, origin=origin, time=moment))
    assert one.breathing is not None
    state.update(indices_message(one.breathing.indices, seq=0, origin=origin, time=moment))
    state.update(event_message(replace(event, revision=2), seq=99, origin=origin, time=moment))
    state.update(event_message(replace(event, event_id="x", status="withdrawn"), seq=99, origin=origin, time=moment))
    written = StringIO()
    Console(width=140, file=written).print(render(state, 140))
    text = written.getvalue()
    assert "central apnea 15 s" in text
    assert "AHI AASM 1A" in text
    assert len(state.events) == 3
    assert "x" not in state.events
    assert not state.notices  # indices are no notice
