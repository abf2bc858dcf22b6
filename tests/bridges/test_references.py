"""Hypnograms that people scored, from each format, on the recording's grid."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnostream.bridges.edf import EdfSource
from hypnostream.bridges.edf_write import EdfSignal, write_edf
from hypnostream.bridges.references import read_reference
from hypnostream.errors import UserError
from hypnostream.stream.source import Annotation

W, N1, N2, N3, R, U = 0, 1, 2, 3, 4, -1
START = datetime(1989, 4, 24, 16, 13)


def write_hypnogram(path: Path, *scored: tuple[float, float, str], start: datetime | None = START) -> Path:
    write_edf(path, [], annotations=[Annotation(*stretch) for stretch in scored], start=start)
    return path


def write_xml(path: Path, body: str, prolog: str = '<?xml version="1.0"?>') -> Path:
    path.write_text(f"{prolog}\n<PSGAnnotation>\n{body}\n</PSGAnnotation>\n")
    return path


def event(concept: str, start: object, duration: object, kind: str = "Stages|Stages") -> str:
    return (
        f"<ScoredEvent><EventType>{kind}</EventType><EventConcept>{concept}</EventConcept>\n"
        f"<Start>{start}</Start><Duration>{duration}</Duration></ScoredEvent>"
    )


# EDF+ annotations


def test_a_sleep_edf_hypnogram_is_expanded_to_epochs(tmp_path: Path) -> None:
    names = ("W", "1", "2", "3", "4", "R", "?")
    scored = [(60.0 * i, 60.0, f"Sleep stage {name}") for i, name in enumerate(names)]
    path = write_hypnogram(tmp_path / "h.edf", *scored, (420.0, 30.0, "Movement time"))
    reference = read_reference(path)
    assert reference.stages.dtype == np.int8
    assert reference.stages.tolist() == [W, W, N1, N1, N2, N2, N3, N3, N3, N3, R, R, U, U, U]
    assert reference.kind == "EDF+ annotations"
    assert reference.notes == ()


def test_stages_among_other_annotations_of_the_recording_itself(tmp_path: Path) -> None:
    annotations = [
        Annotation(0.0, 0.0, "Lights off"),
        Annotation(0.0, 30.0, "Sleep stage W"),
        Annotation(30.0, 30.0, "Sleep stage N2"),
        Annotation(41.0, 12.0, "Obstructive apnea"),
    ]
    write_edf(tmp_path / "a.edf", [EdfSignal("EEG", np.arange(600.0), 10)], record_s=30, annotations=annotations)
    assert read_reference(tmp_path / "a.edf", epochs=2).stages.tolist() == [W, N2]


def test_markers_without_a_duration_last_until_the_next(tmp_path: Path) -> None:
    path = write_hypnogram(tmp_path / "h.edf", (0.0, 0.0, "WAKE"), (90.0, 0.0, "N1"), (120.0, 0.0, "REM"))
    assert read_reference(path).stages.tolist() == [W, W, W, N1, R]


def test_an_edf_hypnogram_is_shifted_by_the_difference_of_the_starts(tmp_path: Path) -> None:
    path = write_hypnogram(tmp_path / "h.edf", (0.0, 60.0, "Sleep stage 2"), (60.0, 30.0, "Sleep stage R"))
    recording = (START - timedelta(seconds=62)).replace(tzinfo=UTC)
    reference = read_reference(path, epochs=6, recording_start_utc=recording)
    assert reference.stages.tolist() == [U, U, N2, N2, R, U]
    assert "62 s" in reference.notes[0]


def test_a_hypnogram_that_starts_first_loses_its_beginning(tmp_path: Path) -> None:
    path = write_hypnogram(tmp_path / "h.edf", (0.0, 60.0, "Sleep stage 2"), (60.0, 30.0, "Sleep stage R"))
    recording = (START + timedelta(seconds=30)).replace(tzinfo=UTC)
    assert read_reference(path, recording_start_utc=recording).stages.tolist() == [N2, R]


def test_starts_of_different_days_are_not_believed(tmp_path: Path) -> None:
    path = write_hypnogram(tmp_path / "h.edf", (0.0, 30.0, "Sleep stage 2"))
    reference = read_reference(path, recording_start_utc=datetime(2020, 1, 1, tzinfo=UTC))
    assert reference.stages.tolist() == [N2]
    assert "days" in reference.notes[0]


def test_the_start_that_an_edf_source_gives_serves(tmp_path: Path) -> None:
    write_edf(tmp_path / "a.edf", [EdfSignal("EEG", np.arange(900.0), 10)], record_s=30, start=START)
    path = write_hypnogram(tmp_path / "h.edf", (0.0, 30.0, "N3"), start=START + timedelta(seconds=60))
    start_utc = EdfSource(tmp_path / "a.edf").start_utc
    assert read_reference(path, epochs=3, recording_start_utc=start_utc).stages.tolist() == [U, U, N3]


@given(
    stages=st.lists(st.sampled_from(["W", "N1", "N2", "N3", "R"]), min_size=1, max_size=20),
    offset_s=st.floats(-200, 200),
)
@settings(max_examples=50, deadline=None)
def test_an_epoch_gets_the_stage_that_covers_most_of_it(
    tmp_path_factory: pytest.TempPathFactory, stages: list[str], offset_s: float
) -> None:
    path = tmp_path_factory.getbasetemp() / "offset.csv"
    path.write_text("\n".join(stages))
    middles = (np.arange(15) + 0.5) * 30 - offset_s  # an epoch's middle is in the stretch that covers half or more
    places = np.floor(middles / 30).astype(int)
    distance = np.abs(middles / 30 - np.round(middles / 30))
    try:
        found = read_reference(path, epochs=15, offset_s=offset_s).stages
    except UserError:
        assert not np.any((places >= 0) & (places < len(stages)) & (distance > 1e-6))
        return
    for place, far, stage in zip(places.tolist(), distance.tolist(), found.tolist(), strict=True):
        if far > 1e-6:  # exactly half and half may go either way
            expected = ["W", "N1", "N2", "N3", "R"].index(stages[place]) if 0 <= place < len(stages) else U
            # a stage that takes the halves on both sides of a middle stretch covers no less
            assert stage == expected or stage in _neighbours(stages, place)


def _neighbours(stages: list[str], place: int) -> list[int]:
    around = [stages[i] for i in (place - 1, place + 1) if 0 <= i < len(stages)]
    return [["W", "N1", "N2", "N3", "R"].index(stage) for stage in around if around.count(stage) == 2]


# NSRR XML


def test_nsrr_scored_events_are_read(tmp_path: Path) -> None:
    body = "\n".join(
        [
            "<EpochLength>30</EpochLength><ScoredEvents>",
            event("Recording Start Time", 0, 300, kind=""),
            event("Wake|0", 0, 60.0),
            event("Stage 1 sleep|1", 60, 30),
            event("Stage 2 sleep|2", 90, 30),
            event("Stage 3 sleep|3", 120, 30),
            event("Stage 4 sleep|4", 150, 30),
            event("REM sleep|5", 180, 30),
            event("Hypopnea|Hypopnea", 95.3, 20.1, kind="Respiratory|Respiratory"),
            event("Unscored|9", 210, 30),
            "</ScoredEvents>",
        ]
    )
    reference = read_reference(write_xml(tmp_path / "a.xml", body))
    assert reference.stages.tolist() == [W, W, N1, N2, N3, N3, R, U]
    assert reference.kind == "NSRR XML"
    assert reference.notes == ()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_compumedics_list_of_stages_is_read(tmp_path: Path, encoding: str) -> None:
    text = "<CMPStudyConfig><SleepStages>" + "".join(f"<SleepStage>{n}</SleepStage>\n" for n in (0, 1, 2, 3, 4, 5, 9))
    (tmp_path / "a.xml").write_text(text + "</SleepStages></CMPStudyConfig>", encoding=encoding)
    assert read_reference(tmp_path / "a.xml").stages.tolist() == [W, N1, N2, N3, N3, R, U]


def test_epochs_of_another_length_are_put_on_the_grid(tmp_path: Path) -> None:
    stages = "".join(f"<SleepStage>{n}</SleepStage>" for n in (0, 0, 0, 2, 2, 2))
    path = write_xml(tmp_path / "a.xml", f"<EpochLength>20</EpochLength><SleepStages>{stages}</SleepStages>")
    assert read_reference(path).stages.tolist() == [W, W, N2, N2]


def test_an_unknown_stage_in_xml_is_left_unscored_and_said(tmp_path: Path) -> None:
    path = write_xml(tmp_path / "a.xml", event("Wake|0", 0, 30) + event("Daydream|11", 30, 30))
    reference = read_reference(path)
    assert reference.stages.tolist() == [W, U]
    assert "Daydream" in reference.notes[0]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (event("Wake|0", 0, 30) + "\n" + event("Wake|0", "soon", 30), "line 6: Start 'soon'"),
        (event("Wake|0", 0, "inf"), "line 4: Duration 'inf'"),
        (event("Wake|0", -30, 30), "Start '-30'"),
        ("<SleepStages>\n<SleepStage>17</SleepStage></SleepStages>", "line 4: SleepStage '17'"),
        ("<SleepStages>", "line 4"),
        (event("Wake|0", 0, 1e9), "more than a week"),
        ("<Nothing/>", "scores no sleep stage"),
    ],
)
def test_errors_in_xml_name_the_line(tmp_path: Path, body: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_reference(write_xml(tmp_path / "a.xml", body))
    assert "a.xml" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize(
    "declared", ['<!ENTITY a "aaaa">', '<!ENTITY a SYSTEM "file:///etc/hostname">', '<!ENTITY % a "">', ""]
)
def test_xml_with_a_doctype_is_refused_before_any_entity(tmp_path: Path, declared: str, encoding: str) -> None:
    text = f"<!DOCTYPE PSGAnnotation [{declared}]>\n<PSGAnnotation>&a;</PSGAnnotation>"
    (tmp_path / "a.xml").write_text(text, encoding=encoding)
    with pytest.raises(UserError, match="line 1: has a DOCTYPE"):
        read_reference(tmp_path / "a.xml")


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_a_hypnogram_or_one_clear_line(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    for prefix in (b"", b"<", b"W\nN1\n", b'<?xml version="1.0" encoding="'):
        path.write_bytes(prefix + raw)
        try:
            stages = read_reference(path).stages
        except UserError:
            continue
        assert np.any(stages >= 0)


# CSV


@pytest.mark.parametrize(
    ("text", "stages"),
    [
        ("W\nN1\nN2\nN3\nR\n?\n", [W, N1, N2, N3, R, U]),
        ("stage\r\nWake\r\nREM\r\nn2\r\n", [W, R, N2]),
        ("\ufeffSleep stage W\nSleep stage 2\nSleep stage R\n", [W, N2, R]),
        ("# scored by A\n0\n1\n2\n3\n", [W, N1, N2, N3]),
        ("0\n1\n2\n3\n4\n5\n6\n9\n-1\n", [W, N1, N2, N3, N3, R, U, U, U]),
        ("stage_aasm\n0\n4\n", [W, R]),
        ("stage_rk\n0\n4\n", [W, N3]),
        ("0.000e+00\n5.000e+00\n?\n", [W, R, U]),
        ("epoch,stage,p\n0,W,0.9\n1,N2,0.8\n", [W, N2]),
        ("epoch;Stage\n0;0\n1;5\n", [W, R]),
        ('"W"\n"REM"\n', [W, R]),
        ("\n\n\n".join(["W"]) + "\n\n\n", [W]),
    ],
)
def test_a_csv_of_one_stage_a_line_is_read(tmp_path: Path, text: str, stages: list[int]) -> None:
    (tmp_path / "a.csv").write_text(text, encoding="utf-8", newline="")
    assert read_reference(tmp_path / "a.csv").stages.tolist() == stages


def test_the_kind_says_which_numbers_were_meant(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("0\n5\n")
    assert read_reference(tmp_path / "a.csv").kind == "CSV of numbers (R&K: 0 W, 1-4 S1-S4, 5 REM)"
    (tmp_path / "a.csv").write_text("0\n4\n")
    assert read_reference(tmp_path / "a.csv", numbering="aasm").stages.tolist() == [W, R]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("W\nN1\nasleep\n", "line 3: 'asleep'"),
        ("W\n\nN1\n", "line 2: ''"),
        ("0\n1\n4\n4\n", "line 3: 4 is REM to the AASM's numbers and S4"),
        ("0\n5\n12\n", "line 3: 12 is no stage"),
        ("stage_aasm\n0\n5\n", "line 3: 5 is no stage"),
        ("0\nN2\n5\n", "line 2: 'N2' is a name"),
        ("Wke\nN1\n", "line 1: 'Wke'"),
        ("0,W\n1,W\n", "line 1: has 2 columns"),
        ("stage,stage\nW,W\n", "line 1: has 2 columns"),
        ("epoch,stage\n0,W\n1\n", "line 3"),
        ("", "scores no sleep stage"),
        ("?\n?\n", "scores no sleep stage"),
        ("W\0\n", "neither EDF"),
        ("W\n" * 20161, "more than a week"),
    ],
)
def test_errors_in_a_csv_name_the_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        read_reference(tmp_path / "a.csv")
    assert "a.csv" in str(caught.value)


def test_a_hypnogram_of_another_length_is_cut_or_filled_and_said(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("W\nN1\nN2\n")
    longer, shorter = (read_reference(tmp_path / "a.csv", epochs=n) for n in (5, 2))
    assert longer.stages.tolist() == [W, N1, N2, U, U]
    assert shorter.stages.tolist() == [W, N1]
    assert "ends after 3 epochs, the recording after 5" in longer.notes[0]
    assert len(shorter.notes) == 1


def test_epochs_scored_twice_are_said(tmp_path: Path) -> None:
    path = write_hypnogram(tmp_path / "h.edf", (0.0, 30.0, "N2"), (0.0, 30.0, "N3"), (30.0, 30.0, "W"))
    assert "1 epochs are scored more than once" in read_reference(path).notes[0]


# files that are none


def test_what_is_no_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not there"):
        read_reference(tmp_path / "none.csv")
    with pytest.raises(UserError, match="a folder"):
        read_reference(tmp_path)
    with pytest.raises(UserError, match="names no sleep stage"):
        read_reference(write_hypnogram(tmp_path / "h.edf", (0.0, 30.0, "Lights off")))
    (tmp_path / "a.csv").write_text("W\n")
    with pytest.raises(UserError, match="numbering 'x'"):
        read_reference(tmp_path / "a.csv", numbering="x")
