"""Readers: every form of night comes out with its samples in their seconds, its stages, its events, and its person."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hypnostream.bridges.edf_write import write_edf
from hypnostream.bridges.event_names import event_kind
from hypnostream.errors import UserError
from hypnostream.stream.source import Annotation
from hypnostream.training.recordings.edf_night import read_edf_night
from hypnostream.training.recordings.epoch_grid import Stretch, on_epoch_grid
from hypnostream.training.recordings.nsrr import subject_of
from hypnostream.training.recordings.readers import found
from hypnostream.training.recordings.recording import Recording, epoch_samples
from tests.training.nsrr_files import CHANNELS, START, event, signals, write_psg, write_xml
from tests.training.test_wfdb import NORMAL, NOTE, annotation_bytes

DATA = Path(__file__).parents[2].parent / "shared" / "data"
STAGES = [0, 0, 1, 2, 3, 4, 5, 9]


def read(data: Path, name: str) -> Recording:
    return next(job for job in found(data) if job.name == name).read()


def whole(recording: Recording, channel: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    blocks = list(recording.blocks())
    assert len(blocks) == recording.epochs
    return (
        np.concatenate([block.samples[channel] for block in blocks]),
        np.concatenate([block.valid[channel] for block in blocks]),
    )


def test_an_nsrr_night_is_paired_across_folders_with_stages_and_events(tmp_path: Path) -> None:
    write_psg(tmp_path / "polysomnography/edfs/shhs1/shhs1-200001.edf", 240)
    rows = [
        event("Obstructive apnea|Obstructive Apnea", 31.5, 12.25, more="<SignalLocation>NEW AIR</SignalLocation>"),
        event("Hypopnea|Hypopnea", 70, 20),
        event("SpO2 desaturation|SpO2 desaturation", 95.0, 30.0,
              more="<SpO2Nadir>91</SpO2Nadir><SpO2Baseline>95.5</SpO2Baseline>"),
        event("Arousal|Arousal ()", 44, 5.5, "Arousals|Arousals"),
        event("Hypopnea|Hypopnea", "soon", 20),
    ]  # fmt: skip
    write_xml(tmp_path / "polysomnography/annotations-events-nsrr/shhs1/shhs1-200001-nsrr.xml", STAGES, rows)
    write_xml(tmp_path / "polysomnography/annotations-events-profusion/shhs1/shhs1-200001-profusion.xml", [5] * 8)
    night = read(tmp_path, "shhs1-200001")
    assert night.stages is not None
    assert night.stages.tolist() == [0, 0, 1, 2, 3, 3, 4, -1]
    assert (night.epochs, night.scoring, night.subject, night.set_name) == (8, "R&K", "shhs:200001", "NSRR SHHS")
    assert night.start_utc.startswith("1995-03-01T22:00:00")
    assert [(c.label, c.kind, c.rate_hz) for c in night.channels] == [
        ("EEG", "eeg", 125.0), ("EOG(L)", "eog", 50.0), ("NEW AIR", "flow", 10.0), ("SaO2", "spo2", 1.0),
        ("POSITION", "other", 0.2),
    ]  # fmt: skip
    said = [(e.onset_s, e.duration_s, e.kind, e.label, e.channel, e.value) for e in night.events]
    assert said == [
        (0.0, 240.0, "other", "Recording Start Time", "", None),
        (31.5, 12.25, "apnea_obstructive", "Obstructive apnea|Obstructive Apnea", "NEW AIR", None),
        (44.0, 5.5, "arousal", "Arousal|Arousal ()", "", None),
        (70.0, 20.0, "hypopnea", "Hypopnea|Hypopnea", "", None),
        (95.0, 30.0, "desaturation", "SpO2 desaturation|SpO2 desaturation", "", 4.5),
    ]
    assert any("1 events have no onset" in note for note in night.notes)
    for channel, (signal, (_, rate, _)) in enumerate(zip(signals(240), CHANNELS, strict=True)):
        samples, valid = whole(night, channel)
        assert valid.all()
        assert samples.shape == (8 * epoch_samples(rate),)
        np.testing.assert_allclose(samples, signal.samples, atol=2e-4)


def test_what_nobody_scored_is_unknown_and_never_wake_or_free_of_apnea(tmp_path: Path) -> None:
    write_psg(tmp_path / "shhs1-1.edf", 300)  # two epochs more than were scored
    write_xml(tmp_path / "shhs1-1-nsrr.xml", STAGES)
    night = read(tmp_path, "shhs1-1")
    assert night.stages is not None
    assert night.stages[7:].tolist() == [-1, -1, -1]
    assert set(night.tracks) >= {"apnea", "hypopnea"}
    assert "arousal" not in night.tracks
    track = night.tracks["apnea"].values
    assert (track[: 7 * 30] == 0).all()
    assert (track[7 * 30 :] == -1).all()


def test_a_scoring_of_another_length_never_passes_silently(tmp_path: Path) -> None:
    write_psg(tmp_path / "shhs1-1.edf", 310)  # no multiple of 30 s either
    write_xml(tmp_path / "shhs1-1-nsrr.xml", STAGES, [event("Hypopnea|Hypopnea", 400, 10)])
    night = read(tmp_path, "shhs1-1")
    said = " ".join(night.notes)
    assert night.epochs == 11
    assert "the scoring is of 240 s, the recording has 310 s" in said
    assert "the hypnogram ends after 8 epochs, the recording after 11" in said
    assert "1 of 2 events begin after the recording's end" in said
    _, valid = whole(night, 0)
    assert valid.tolist() == [True] * 310 + [False] * 20


def test_all_visits_of_a_person_have_one_name() -> None:
    assert subject_of("shhs1-200001") == subject_of("shhs2-200001") == "shhs:200001"
    assert subject_of("mesa-sleep-0001") == "mesa:0001"
    assert subject_of("cfs-visit5-800002") == "cfs:800002"
    assert subject_of("shhs1-200002") != subject_of("shhs1-200001")


def test_a_scoring_without_its_recording_is_said(tmp_path: Path) -> None:
    write_psg(tmp_path / "shhs1-1.edf", 60)
    write_xml(tmp_path / "shhs1-2-nsrr.xml", STAGES)
    with pytest.raises(UserError, match=r"shhs1-2\.edf is not there"):
        read(tmp_path, "shhs1-2-nsrr")
    assert read(tmp_path, "shhs1-1").stages is None


def test_gaps_of_a_discontinuous_file_are_invalid_seconds_with_samples_in_place(tmp_path: Path) -> None:
    seconds = np.r_[0:20, 47:60, 95:100].astype(np.float64)  # a gap within an epoch, one over an epoch's end
    parts = [replace(s, samples=s.samples.reshape(100, -1)[seconds.astype(int)].ravel()) for s in signals(100)[:4]]
    write_edf(tmp_path / "n.edf", parts, record_onsets_s=seconds, start=START)
    night = read_edf_night(tmp_path / "n.edf", subject="x", set_name="x", licence="")
    for channel in range(4):
        samples, valid = whole(night, channel)
        assert np.flatnonzero(valid).tolist() == seconds.astype(int).tolist()
        here = samples.reshape(120, -1)
        np.testing.assert_allclose(here[valid].ravel(), parts[channel].samples, atol=2e-4)
        assert not here[~valid].any()


def test_a_sleep_edf_night_has_its_hypnogram_moved_to_its_start(tmp_path: Path) -> None:
    write_psg(tmp_path / "SC4001E0-PSG.edf", 240)
    rows = [Annotation(0.0, 60.0, "Sleep stage W"), Annotation(60.0, 30.0, "Sleep stage 4"),
            Annotation(90.0, 30.0, "Movement time"), Annotation(120.0, 90.0, "Sleep stage ?")]  # fmt: skip
    write_edf(tmp_path / "SC4001EC-Hypnogram.edf", [], annotations=rows, start=START.replace(second=30))
    write_psg(tmp_path / "SC4002E0-PSG.edf", 60, 1)
    night = read(tmp_path, "SC4001E0-PSG")
    assert night.stages is not None
    assert night.stages.tolist() == [-1, 0, 0, 3, -1, -1, -1, -1]
    assert night.subject == read(tmp_path, "SC4002E0-PSG").subject == "sleepedf:SC00"
    assert any("shifted" in note for note in night.notes)
    assert read(tmp_path, "SC4002E0-PSG").stages is None


def test_a_laboratory_gives_csv_with_a_rate_a_file_stages_and_events(tmp_path: Path) -> None:
    times = np.arange(0, 64 * 75) / 64
    times = times[(times < 40) | (times >= 50)]
    wave = np.sin(times)
    rows = "".join(f"{t:.3f},{v:.6f},\n" for t, v in zip(times, wave, strict=True))
    (tmp_path / "n1.signals.csv").write_text(f"time_s,EEG C4-M1 [uV],EMG chin [uV]\n{rows}")
    (tmp_path / "n1.signals.slow.csv").write_text(
        "time_s,SpO2 [%]\n" + "".join(f"{t},{95 + t % 2}\n" for t in range(70))
    )
    (tmp_path / "n1.stages.csv").write_text("stage\nW\nN2\n?\n")
    (tmp_path / "n1.events.csv").write_text("onset_s,duration_s,label\n12,11.5,Central apnea\n")
    (tmp_path / "subjects.csv").write_text("recording,subject\nn1,Anna\n")
    night = read(tmp_path, "n1")
    assert [(c.label, c.unit, c.kind, c.rate_hz) for c in night.channels] == [
        ("EEG C4-M1", "uV", "eeg", 64.0), ("EMG chin", "uV", "emg", 64.0), ("SpO2", "%", "spo2", 1.0)
    ]  # fmt: skip
    assert night.subject.endswith(":Anna")
    assert night.stages is not None
    assert night.stages.tolist() == [0, 2, -1]
    assert night.events[0].kind == "apnea_central"
    assert int((night.tracks["apnea_central"].values == 1).sum()) in (11, 12)
    samples, valid = whole(night, 0)
    assert np.flatnonzero(~valid).tolist() == [*range(40, 50), *range(75, 90)]
    np.testing.assert_allclose(samples[: 40 * 64], wave[: 40 * 64], atol=1e-5)
    assert not whole(night, 1)[1].any()  # a column of empty cells
    assert whole(night, 2)[1].tolist() == [True] * 70 + [False] * 20


def test_a_recording_nobody_named_is_its_own_person_and_says_so(tmp_path: Path) -> None:
    write_psg(tmp_path / "a.edf", 60)
    write_psg(tmp_path / "b.edf", 60, 1)
    a, b = read(tmp_path, "a"), read(tmp_path, "b")
    assert a.subject != b.subject
    assert "person of its own" in a.notes[-1]


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("t,EEG\n0,1\n1,2\n", "first line must be time_s"),
        ("time_s,EEG,EEG\n0,1,1\n1,2,2\n", "none twice"),
        ("time_s,EEG\n0,1\n", "no rate"),
        ("time_s,EEG\n0,1\n1,two\n", "no CSV of signals"),
        ("time_s,EEG\n0,1\n1,2\n2,3\n1,4\n", "does not go on"),
        ("time_s,EEG\n0,1\n,2\n", "without time_s"),
        ("time_s,EEG\n0,1\n1e9,2\n", "to a week"),
    ],
)
def test_a_bad_csv_of_signals_is_one_line(tmp_path: Path, content: str, names: str) -> None:
    (tmp_path / "n1.signals.csv").write_text(content)
    with pytest.raises(UserError, match=r"n1\.signals\.csv") as error:
        read(tmp_path, "n1")
    assert names in str(error.value)


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("Obstructive apnea", "apnea_obstructive"), ("Central Apnea", "apnea_central"), ("Mixed apnoea", "apnea_mixed"),
        ("Apnea", "apnea"), ("Obstructive Hypopnea", "hypopnea"), ("SpO2 desaturation", "desaturation"),
        ("SpO2 artifact", "artefact"), ("ASDA arousal", "arousal"), ("Arousal (ARO RES)", "arousal"), ("RERA", "other"),
        ("Periodic leg movement - left", "limb_movement"), ("PLM (Left)", "limb_movement"), ("Lights off", "other"),
    ],
)  # fmt: skip
def test_event_words_have_their_kind(words: str, kind: str) -> None:
    assert event_kind(words) == kind


def test_xml_that_declares_entities_is_refused(tmp_path: Path) -> None:
    write_psg(tmp_path / "shhs1-1.edf", 60)
    (tmp_path / "shhs1-1-nsrr.xml").write_text("<!DOCTYPE x [<!ENTITY a 'b'>]><PSGAnnotation/>")
    with pytest.raises(UserError, match="DOCTYPE"):
        read(tmp_path, "shhs1-1")


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([0.2, 0.5, 1.0, 1.05, 10.0, 12.5, 33.3, 128.0]),
    st.floats(0, 0.4),
    st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 900)), max_size=4),
    st.integers(1, 4000),
)
def test_any_cutting_and_any_gaps_give_each_sample_its_place(
    rate: float, shift: float, gaps: list[tuple[int, int]], cut: int
) -> None:
    count = int(95 * rate)
    numbers = np.arange(count)
    kept = np.ones(count, bool)
    for first, length in gaps:
        kept[first : first + length] = False
    numbers = numbers[kept]
    times = ((numbers + shift) / rate).astype(np.float64)
    values = (numbers + 1).astype(np.float32)[:, None]
    parts = [Stretch(0, values[i : i + cut], times[i : i + cut]) for i in range(0, len(numbers), cut)]
    blocks = list(on_epoch_grid([(rate, 1)], parts, 4))
    found = np.concatenate([block.samples[0] for block in blocks])
    assert found[found > 0].tolist() == values.ravel().tolist()
    for epoch, block in enumerate(blocks):
        inside = numbers[(numbers / rate >= epoch * 30 - 1e-9) & (numbers / rate < epoch * 30 + 30 - 1e-9)]
        assert block.samples[0][block.samples[0] > 0].tolist() == (inside + 1).tolist()
        if rate >= 1:
            places = np.arange(int(130 * rate))
            second = np.floor((places + 1e-6) / rate).astype(int) - epoch * 30
            missing = {int(s) for s in second[(second >= 0) & (second < 30) & ~np.isin(places, inside)]}
            assert np.flatnonzero(~block.valid[0]).tolist() == sorted(missing)


def test_a_folder_with_nothing_in_it_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing that can be read"):
        found(tmp_path)
    with pytest.raises(UserError, match="no folder"):
        found(tmp_path / "nowhere")


def test_a_wfdb_record_has_its_signals_beats_stages_and_breathing(tmp_path: Path) -> None:
    wave = (1000 * np.sin(np.arange(100 * 65) / 50)).astype("<i2")
    wave[150] = -32768  # not recorded
    (tmp_path / "slp99.dat").write_bytes(np.stack([wave, wave // 2], axis=1).tobytes())
    (tmp_path / "slp99.hea").write_text(
        "slp99 2 100 9000 23:07:00 19/1/1989\nslp99.dat 16 200/mV 16 0 0 0 0 ECG\n"
        "slp99.dat 16 100/mV 16 0 0 0 0 EEG (C4-A1)\n"
    )
    (tmp_path / "slp99.st").write_bytes(annotation_bytes([(1, NOTE, "2 HA"), (3000, NOTE, "R"), (6000, NOTE, "W")]))
    (tmp_path / "slp99.ecg").write_bytes(annotation_bytes([(50, NORMAL, ""), (150, NORMAL, ""), (240, NORMAL, "")]))
    night = read(tmp_path, "slp99")
    assert (night.epochs, night.subject) == (3, "slpdb:slp99")
    assert [(c.label, c.kind, c.rate_hz) for c in night.channels] == [("ECG", "ecg", 100), ("EEG (C4-A1)", "eeg", 100)]
    assert night.stages is not None
    assert night.stages.tolist() == [2, 4, 0]
    assert night.tracks["hypopnea"].values[::30].tolist() == [1, 0, 0]
    np.testing.assert_allclose(night.points[0].value, [1.0, 0.9])
    assert "6500 frames are there, the header promises 9000" in night.notes
    samples, valid = whole(night, 0)
    assert np.flatnonzero(~valid).tolist() == [1, *range(65, 90)]
    np.testing.assert_allclose(samples[200:6500], wave[200:] / 200, rtol=1e-6)


@pytest.mark.skipif(not (DATA / "psg_snippets").exists(), reason="../shared/data is not here")
def test_real_snippets_come_out_whole_with_mixed_rates() -> None:
    jobs = found(DATA / "psg_snippets")
    assert len(jobs) == 2
    nox, sleep_edf = sorted((job.read() for job in jobs), key=lambda night: -len(night.channels))
    assert (sleep_edf.epochs, len(sleep_edf.channels), nox.epochs) == (10, 7, 4)
    assert len(nox.channels) > 80
    assert {c.rate_hz for c in nox.channels} >= {1.0, 200.0}
    for night in (nox, sleep_edf):
        for block in night.blocks():
            assert all(valid.all() for valid in block.valid)
            assert [len(s) for s in block.samples] == [epoch_samples(c.rate_hz) for c in night.channels]
