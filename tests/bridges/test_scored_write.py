"""A scored night in other programs' formats, and back through the readers of what people score."""

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import edfio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnostream.bridges.edf_write import write_edf
from hypnostream.bridges.reference_events import event_agreement_line, read_reference_events
from hypnostream.bridges.references import read_reference
from hypnostream.bridges.scored_write import ScoredNight, write_luna_annot, write_scored_edf, write_scored_xml
from hypnostream.bridges.scored_xml import read_scored_events
from hypnostream.engine.respiration.event import KINDS
from hypnostream.engine.respiration.event_agreement import event_agreement
from hypnostream.errors import UserError
from hypnostream.stream.source import Annotation
from tests.bridges.respiratory_events import event

START = datetime(2026, 3, 28, 22, 41, 7, tzinfo=UTC)
STAGES = np.array([0, 0, 1, 2, 2, 3, -1, 4], np.int8)
EVERY_KIND = [event(kind, kind=kind, start_s=1000.0 + 25 * i, end_s=1012.5 + 25 * i) for i, kind in enumerate(KINDS)]
NIGHT = ScoredNight(STAGES, EVERY_KIND, t0_s=1000.0, start=START)
WRITERS = {"edf": write_scored_edf, "xml": write_scored_xml}


def written(folder: Path, night: ScoredNight, form: str) -> Path:
    path = folder / f"night.{form}"
    WRITERS[form](path, night)
    return path


def times(events: Any) -> list[tuple[str, float, float]]:
    return [(each.kind, each.start_s, each.end_s) for each in events]


@pytest.mark.parametrize("form", WRITERS)
def test_stages_and_events_come_back_through_our_own_readers(form: str, tmp_path: Path) -> None:
    path = written(tmp_path, NIGHT, form)
    stages = read_reference(path, recording_start_utc=START)
    assert (stages.stages.tolist(), stages.notes) == (STAGES.tolist(), ())
    found = read_reference_events(path, t0_s=1000.0, recording_start_utc=START)
    assert times(found.events) == times(EVERY_KIND)
    assert {each.status for each in found.events} == {"final"}
    assert found.notes == ()


@given(
    stages=st.lists(st.integers(-1, 4), min_size=1, max_size=30).filter(lambda codes: max(codes) >= 0),
    onsets=st.lists(st.integers(0, 900_000), max_size=20, unique=True),
    data=st.data(),
)
@settings(max_examples=30, deadline=None)
@pytest.mark.parametrize("form", WRITERS)
def test_any_night_comes_back_to_the_millisecond(
    tmp_path_factory: pytest.TempPathFactory, form: str, stages: list[int], onsets: list[int], data: st.DataObject
) -> None:
    start = data.draw(st.none() | st.datetimes(datetime(1985, 1, 2), datetime(2084, 12, 30)))
    said = [
        event(str(ms), kind=data.draw(st.sampled_from(KINDS)), start_s=ms / 1000, end_s=ms / 1000 + 10.125)
        for ms in sorted(onsets)
    ]
    night = ScoredNight(np.array(stages, np.int8), said, start=start)
    path = written(tmp_path_factory.getbasetemp(), night, form)
    utc = None if start is None else start.replace(tzinfo=UTC)
    assert read_reference(path, len(stages), recording_start_utc=utc).stages.tolist() == stages
    found = read_reference_events(path, recording_start_utc=utc).events
    assert [each.kind for each in found] == [each.kind for each in said]
    assert [each.start_s for each in found] == pytest.approx([each.start_s for each in said], abs=1e-3)
    assert [each.duration_s for each in found] == pytest.approx([10.125] * len(said), abs=2e-3)


@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize(
    "fields",
    [{"status": "preliminary"}, {"status": "withdrawn"}, {"end_s": None}, {"start_s": 900.0}],
    ids=["may change", "was none", "lasts", "before the night"],
)
def test_what_is_not_settled_is_not_told_to_others(form: str, fields: dict[str, Any], tmp_path: Path) -> None:
    night = ScoredNight(STAGES, [event("a", start_s=1100.0, end_s=1120.0, **{}), event("b", **fields)], t0_s=1000.0)
    found = read_reference_events(written(tmp_path, night, form), t0_s=1000.0)
    assert times(found.events) == [("obstructive_apnea", 1100.0, 1120.0)]


def test_the_edf_is_one_that_edfio_reads(tmp_path: Path) -> None:
    later = START.replace(microsecond=250_000)
    path = written(tmp_path, ScoredNight(STAGES, EVERY_KIND, t0_s=1000.0, start=later), "edf")
    file = edfio.read_edf(path)
    assert file.startdatetime == later.replace(tzinfo=None)
    texts = [(each.onset, each.duration, each.text) for each in file.annotations]
    assert (0.0, 60.0, "Sleep stage W") in texts
    assert (180.0, 30.0, "Sleep stage ?") in texts
    assert (0.0, 12.5, "Obstructive apnea") in texts
    assert {text for *_, text in texts} >= {"Central apnea", "Hypopnea", "SpO2 desaturation", "EEG arousal", "Apnea"}


def test_an_edf_of_a_recording_that_began_before_is_where_it_belongs(tmp_path: Path) -> None:
    path = written(tmp_path, ScoredNight(STAGES, [event(start_s=5.0, end_s=20.0)], start=START), "edf")
    found = read_reference_events(path, recording_start_utc=START - timedelta(seconds=62))
    assert times(found.events) == [("obstructive_apnea", 67.0, 82.0)]
    assert "62 s" in found.notes[0]


@pytest.mark.parametrize("year", [1984, 2085])
def test_a_year_that_edf_cannot_write_is_left_out(year: int, tmp_path: Path) -> None:
    path = written(tmp_path, ScoredNight(STAGES, EVERY_KIND, t0_s=1000.0, start=START.replace(year=year)), "edf")
    assert times(read_reference_events(path, t0_s=1000.0).events) == times(EVERY_KIND)


def test_the_xml_speaks_as_the_nsrr_does(tmp_path: Path) -> None:
    path = written(tmp_path, NIGHT, "xml")
    text = path.read_text(encoding="utf-8")
    events, _ = read_scored_events(path.read_bytes(), path.name)
    assert [(each.group, each.concept) for each in events] == [
        ("", "Recording Start Time"),
        ("Respiratory|Respiratory", "Obstructive apnea|Obstructive Apnea"),
        ("Respiratory|Respiratory", "Central apnea|Central Apnea"),
        ("Respiratory|Respiratory", "Mixed apnea|Mixed Apnea"),
        ("Respiratory|Respiratory", "Apnea|Apnea"),
        ("Respiratory|Respiratory", "Hypopnea|Hypopnea"),
        ("Respiratory|Respiratory", "SpO2 desaturation|SpO2 desaturation"),
        ("Arousals|Arousals", "Arousal|Arousal ()"),
    ]
    assert events[1].channel == "flow, thorax"
    assert events[0].texts["ClockTime"] == "28.03.26 22.41.07"
    assert "<EventConcept>REM sleep|5</EventConcept>" in text
    assert "<EpochLength>30</EpochLength>" in text


def test_no_name_of_a_channel_breaks_a_file(tmp_path: Path) -> None:
    odd = event(signals=("a<b>&\x01", "t\ta;b=c|d\n"), rule="AASM\t1A", event_id="x y\tz")
    night = ScoredNight(STAGES, [odd])
    assert len(read_reference_events(written(tmp_path, night, "xml")).events) == 1
    write_luna_annot(tmp_path / "a.annot", night)
    rows = (tmp_path / "a.annot").read_text(encoding="utf-8").splitlines()
    assert {row.count("\t") for row in rows} == {5}
    assert not set("=;|") & set(rows[-1].split("\t")[2])


def test_the_annot_has_lunas_columns_and_classes(tmp_path: Path) -> None:
    write_luna_annot(tmp_path / "night.annot", NIGHT)
    with (tmp_path / "night.annot").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert list(rows[0]) == ["class", "instance", "channel", "start", "stop", "meta"]
    assert [(row["class"], row["start"], row["stop"]) for row in rows[:3]] == [
        ("W", "0.000", "60.000"),
        ("N1", "60.000", "90.000"),
        ("N2", "90.000", "150.000"),
    ]
    assert [row["class"] for row in rows[6:]] == [
        *("apnea_obstructive", "apnea_central", "apnea_mixed", "apnea", "hypopnea", "desat", "arousal")
    ]
    assert rows[6]["meta"] == "status=final;confidence=0.750;rule=AASM_1A"
    assert rows[6]["channel"] == "flow,thorax"


def test_a_night_without_epochs_or_events_is_a_file_all_the_same(tmp_path: Path) -> None:
    nothing = ScoredNight(np.zeros(0, np.int8))
    for form in WRITERS:
        assert read_reference_events(written(tmp_path, nothing, form)).events == ()
    write_luna_annot(tmp_path / "a.annot", nothing)
    assert (tmp_path / "a.annot").read_text() == "class\tinstance\tchannel\tstart\tstop\tmeta\n"


# References


def test_words_of_other_recorders_are_understood_and_what_is_no_event_is_left(tmp_path: Path) -> None:
    texts = ("Apnea, obstructive", "apnoea central", "Hypopnoea", "Desaturation", "RERA", "Sleep stage N2", "PLM")
    write_edf(tmp_path / "a.edf", [], annotations=[Annotation(10.0 * i, 9.0, t) for i, t in enumerate(texts)])
    kinds = [each.kind for each in read_reference_events(tmp_path / "a.edf").events]
    assert kinds == ["obstructive_apnea", "central_apnea", "hypopnea", "desaturation"]


def test_events_without_a_duration_are_left_out_and_said(tmp_path: Path) -> None:
    write_edf(tmp_path / "a.edf", [], annotations=[Annotation(5.0, 0.0, "Hypopnea"), Annotation(50.0, 12.0, "Apnea")])
    found = read_reference_events(tmp_path / "a.edf")
    assert times(found.events) == [("apnea", 50.0, 62.0)]
    assert found.notes == ("1 reference events have no duration; left out",)


def test_a_hypnogram_alone_has_nothing_to_compare_with(tmp_path: Path) -> None:
    (tmp_path / "h.csv").write_text("W\nN1\nN2\n")
    assert read_reference_events(tmp_path / "h.csv").events == ()
    found = read_reference_events(written(tmp_path, ScoredNight(STAGES), "xml"))
    assert found.events == ()
    assert "no event is compared" in found.notes[0]


def test_a_file_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone.edf is not there"):
        read_reference_events(tmp_path / "gone.edf")
    (tmp_path / "bad.xml").write_text("<PSGAnnotation><ScoredEvents>")
    with pytest.raises(UserError, match=r"bad.xml is no well-formed XML"):
        read_reference_events(tmp_path / "bad.xml")


@pytest.mark.parametrize("form", WRITERS)
def test_our_events_against_a_reference_file_from_end_to_end(form: str, tmp_path: Path) -> None:
    scored = [event(str(i), start_s=100.0 * i, end_s=100.0 * i + 20) for i in range(1, 11)]
    reference = read_reference_events(written(tmp_path, ScoredNight(STAGES, scored), form))
    ours = [event(str(i), start_s=100.0 * i + 4, end_s=100.0 * i + 22) for i in range(1, 9)]
    found = event_agreement(reference.events, ours, reference_hours=2.0, detected_hours=2.0)
    assert [match.f1 for match in found.groups["respiratory"]] == [8 / 9, 8 / 9]
    assert found.groups["respiratory"][0].onset_error_s == pytest.approx(4.0)
    line = event_agreement_line(found)
    assert line == (
        "events against the reference:   F1 0.89 at IoU 0.3   F1 0.89 at IoU 0.5   index 4.0, reference 5.0 /h"
    )
    assert event_agreement_line(event_agreement([], [])).endswith("index –, reference – /h")
