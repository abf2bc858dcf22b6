import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest

from hypnostream.bridges.annotations import MOST, PositionTime, night_annotations, write_annotations
from hypnostream.bridges.edf_write import write_edf
from hypnostream.bridges.replay import ReplayOptions, replay
from hypnostream.bridges.summary import read_summary
from hypnostream.stream.source import Annotation
from hypnostream.stream.stages import stage_codes
from tests.recordings import simulated_signals

T0_S = 1000.0
HYPNOGRAM = stage_codes(["W"] * 4 + ["N2"] * 6)


def at(seconds: float, text: str, origin: str = "") -> Annotation:
    return Annotation(T0_S + seconds, 0.0, text, origin)


def test_lights_are_stream_time_in_the_report_and_the_night_s_own_for_its_statistics() -> None:
    annotated = night_annotations([at(270, "lights on"), at(60, "Lights off")], HYPNOGRAM, T0_S)
    assert (annotated.lights_off_s, annotated.lights_on_s) == (T0_S + 60, T0_S + 270)
    assert annotated.from_start == (60, 270)
    assert [each.meaning for each in annotated.listed] == ["lights_off", "lights_on"]
    assert [each.epoch for each in annotated.listed] == [2, 9]


@pytest.mark.parametrize(("text", "seconds"), [("lights off", -5.0), ("lights off", 300.0), ("lights on", -5.0)])
def test_lights_outside_of_the_recording_are_said_and_not_used(text: str, seconds: float) -> None:
    annotated = night_annotations([at(seconds, text)], HYPNOGRAM, T0_S)
    assert annotated.from_start == (None, None)
    assert "lights o" in annotated.warnings[0]
    assert annotated.listed[0].epoch is None


def test_an_epoch_is_of_the_position_at_its_middle_between_lights_off_and_on() -> None:
    said = [at(0, "supine"), at(100, "left side"), at(200, "supine"), at(30, "lights off"), at(285, "lights on")]
    annotated = night_annotations(said, HYPNOGRAM, T0_S)
    # left: epochs 3 to 6; supine: 1, 2, 7 and 8. Epoch 0 is before lights off, epoch 9 has its middle at lights on.
    assert annotated.position_min == {
        "left": PositionTime(total_min=2.0, sleep_min=1.5),
        "supine": PositionTime(total_min=2.0, sleep_min=1.0),
    }


def test_the_table_has_every_annotation_and_goes_when_there_is_none(tmp_path: Path) -> None:
    path = tmp_path / "annotations.parquet"
    said = [at(31, "mask\nleaks", "notes"), at(2, "left", "position"), at(-9, "calibration")]
    write_annotations(path, night_annotations(said, HYPNOGRAM, T0_S))
    assert parquet.read_table(path).select(["onset_s", "epoch", "meaning", "position", "text"]).to_pylist() == [
        {"onset_s": 991.0, "epoch": None, "meaning": "note", "position": None, "text": "calibration"},
        {"onset_s": 1002.0, "epoch": 0, "meaning": "position", "position": "left", "text": "left"},
        {"onset_s": 1031.0, "epoch": 1, "meaning": "note", "position": None, "text": "mask leaks"},
    ]
    write_annotations(path, night_annotations([], HYPNOGRAM, T0_S))
    assert not path.exists()


def test_hostile_annotations_are_bounded_and_left_out_where_they_are_no_times() -> None:
    said = [at(math.nan, "lights off"), at(math.inf, "lights on"), at(1, "x" * 10**6), *[at(2, "y")] * MOST]
    annotated = night_annotations(said, HYPNOGRAM, T0_S)
    assert annotated.from_start == (None, None)
    assert len(annotated.listed) <= MOST
    assert max(len(each.text) for each in annotated.listed) == 200
    assert "left out" in annotated.warnings[0]


def test_a_night_without_an_epoch_may_have_annotations() -> None:
    annotated = night_annotations([at(0, "lights off"), at(0, "supine")], np.zeros(0, np.int8), T0_S)
    assert annotated.position_min == {"supine": PositionTime(total_min=0.0, sleep_min=0.0)}


def test_stages_and_lights_are_no_notes_of_the_picture() -> None:
    said = [
        at(1, "Sleep stage N2"),
        at(2, "lights off"),
        at(3, "Body position: left"),
        at(4, "toilet"),
        at(-1, "early"),
    ]
    assert night_annotations(said, HYPNOGRAM, T0_S).notes == ((3.0, "left"), (4.0, "toilet"))


def test_lights_of_an_edf_plus_file_are_the_time_base_of_its_report(tmp_path: Path) -> None:
    signals = simulated_signals(8)
    said = [Annotation(40.0, 0.0, "Lights off"), Annotation(200.0, 0.0, "Lights on"), Annotation(50.0, 0.0, "supine")]
    write_edf(tmp_path / "night.edf", signals, annotations=said)
    summary, folder = replay(tmp_path / "night.edf", ReplayOptions(out=tmp_path / "report"))
    assert (summary.lights_off_s, summary.lights_on_s) == (40.0, 200.0)
    assert summary.sleep.recording_min == pytest.approx(160 / 60)
    assert summary.sleep.epochs == 6
    assert [each.text for each in summary.annotations] == ["Lights off", "supine", "Lights on"]
    assert parquet.read_table(folder / "annotations.parquet").num_rows == 3
    assert summary.position_min["supine"].total_min == 2.5
    assert read_summary(folder / "summary.json") == summary
