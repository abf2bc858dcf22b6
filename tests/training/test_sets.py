"""The public sets: each reader against a small set of its own making, and its traps against the real one."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hypnostream.errors import UserError
from hypnostream.training.recordings.readers import found
from hypnostream.training.recordings.recording import DOUBTED, UNKNOWN, Recording
from hypnostream.training.recordings.sets import apnea_ecg, boas, cpap, hugcdn, santafe, sleep_edfx, slpdb, ucddb
from hypnostream.training.recordings.sets.slpdb_words import read_words

DATA = Path(__file__).parents[2].parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="../shared/data is not here")


def _npz(path: Path, **arrays: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)
    return path


def _signal(recording: Recording, channel: int = 0) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    blocks = list(recording.blocks())
    return (
        np.concatenate([block.samples[channel] for block in blocks]),
        np.concatenate([block.valid[channel] for block in blocks]),
    )


# Sleep-EDF features


def _features(epochs: int = 40, missing: int = 3) -> dict[str, Any]:
    labels = (np.arange(epochs) % 5).astype(np.int8)
    labels[3] = -100
    return {
        "labels": labels,
        "eeg_fpzcz34": np.full((epochs - missing, 34), 2.0, np.float32),
        "bandpower": np.full((epochs, 3, 10), -1.0, np.float32),
        "onset_s": np.arange(epochs) * 30.0,
    }


def test_sleep_edf_rows_that_are_missing_are_the_last_and_unscored_is_not_wake(tmp_path: Path) -> None:
    recording = sleep_edfx.read(_npz(tmp_path / "SC4012E0.npz", **_features()))
    assert (recording.name, recording.subject, recording.epochs) == ("SC4012E", "sleepedf:SC01", 40)
    wavelet = recording.features[sleep_edfx.WAVELET]
    assert np.isfinite(wavelet).all(axis=1).tolist() == [True] * 37 + [False] * 3
    assert recording.stages is not None
    assert recording.stages[:5].tolist() == [0, 1, 2, UNKNOWN, 4]
    assert "the last 3 epochs" in recording.notes[-1]


def test_sleep_edf_telemetry_labels_are_never_read(tmp_path: Path) -> None:
    arrays = {"eeg_fpzcz34": np.ones((9, 34), np.float32), "labels_unaligned": np.zeros(9, np.int8)}
    recording = sleep_edfx.read(_npz(tmp_path / "ST7021J0.npz", **arrays))
    assert recording.stages is None
    assert recording.subject == "sleepedf:ST02"
    with_labels = sleep_edfx.read(_npz(tmp_path / "ST7022J0.npz", labels=np.zeros(9, np.int8), **arrays))
    assert with_labels.stages is None


def test_sleep_edf_rows_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    arrays = _features(missing=0)
    arrays["labels"] = arrays["labels"][:30]
    with pytest.raises(UserError, match=r"SC4012E0\.npz: 30 labels"):
        sleep_edfx.read(_npz(tmp_path / "SC4012E0.npz", **arrays))
    with pytest.raises(UserError, match="bandpower"):
        sleep_edfx.read(_npz(tmp_path / "SC4012E0.npz", labels=np.zeros(3), eeg_fpzcz34=np.zeros((3, 34))))
    (tmp_path / "SC4011E0.npz").write_bytes(b"PK nonsense")
    with pytest.raises(UserError, match=r"SC4011E0\.npz"):
        sleep_edfx.read(tmp_path / "SC4011E0.npz")


def test_an_array_of_objects_is_refused_not_run(tmp_path: Path) -> None:
    path = tmp_path / "SC4012E0.npz"
    np.savez(path, eeg_fpzcz34=np.array([{"a": 1}], dtype=object))
    with pytest.raises(UserError, match=r"SC4012E0\.npz"):
        sleep_edfx.read(path)


# UCDDB

HEAD = "record_id,epoch_id,start_sec,end_sec,sleep_stage,n_events,event_types,event_start_sec,event_duration_sec\n"


def _ucddb(folder: Path, table: str | None) -> Path:
    if table is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ucddb.EVENTS).write_bytes(gzip.compress((HEAD + table).encode()))
    raw = np.full((3, 3840), 1000, np.int16)
    return _npz(
        folder / "ucddb002.npz",
        eeg_i16=raw,
        epoch_index=np.array([0, 1, 3], np.int16),
        scale=np.float32(1e-4),
        stage=np.array([0, 1, 2, 5, 8], np.int8),
        fs=np.int64(128),
    )


TABLE = """ucddb002,0,0,30,0.0,1,APNEA-C,25,20
ucddb002,1,30,60,1.0,2,APNEA-C; HYP-O,25; 50,20; 12
ucddb002,2,60,90,2.0,1,HYP-O,50,12
ucddb002,3,90,120,4.0,0,,,
ucddb002,4,120,150,8.0,0,,,
ucddb002,5,150,180,,0,,,
ucddb005,0,0,30,0.0,1,HYP-M,3,20
"""


def test_ucddb_events_are_distinct_and_stages_that_two_files_dispute_are_unscored(tmp_path: Path) -> None:
    recording = ucddb.read(_ucddb(tmp_path, TABLE))
    assert [(e.kind, e.onset_s, e.duration_s) for e in recording.events] == [
        ("apnea_central", 25.0, 20.0),
        ("hypopnea", 50.0, 12.0),
    ]
    assert recording.stages is not None
    assert recording.stages.tolist() == [0, 4, 1, UNKNOWN, UNKNOWN]
    assert any("1 stages are others" in note for note in recording.notes)
    assert any("the table lists 6" in note for note in recording.notes)
    apnea = recording.tracks["apnea"].values
    assert np.flatnonzero(apnea == 1).tolist() == list(range(25, 45))
    assert (apnea[90:] == UNKNOWN).all()


def test_ucddb_epochs_without_eeg_are_invalid_and_keep_their_stage(tmp_path: Path) -> None:
    recording = ucddb.read(_ucddb(tmp_path, None))
    samples, valid = _signal(recording)
    assert valid.reshape(5, 30).all(axis=1).tolist() == [True, True, False, True, False]
    assert samples.reshape(5, -1)[0, 0] == pytest.approx(10.0)  # uV
    assert recording.stages is not None
    assert recording.stages.tolist() == [0, 4, 1, 3, UNKNOWN]
    assert recording.tracks == {}
    assert any("no events" in note for note in recording.notes)


def test_ucddb_events_that_cannot_be_read_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        ucddb.read(_ucddb(tmp_path, "ucddb002,0,0,30,0.0,1,APNEA-C; HYP-O,25,20\n"))


# HuGCDN


def _hugcdn(path: Path, minutes: int = 120, labels: int = 123, lag: int = 0, believed: bool = True) -> Path:
    """A night with apnea in blocks of ten minutes: saturation and heart swing in them."""
    rng = np.random.default_rng(0)
    ill = (np.arange(labels) // 10) % 2
    told = ill if believed else rng.permutation(ill)
    spo2 = np.full(minutes * 60, 9600)
    spo2[: 2 * 60] = -1
    rr: list[float] = []
    minute: list[int] = []
    for m in range(2, minutes - 1):
        swings = ill[min(max(m - lag, 0), labels - 1)]
        spo2[m * 60 : (m + 1) * 60] -= (ill[m] * 600 * (np.sin(np.arange(60) / 6) > 0)).astype(int)
        beats = 1 + (0.2 if swings else 0.01) * np.sin(np.arange(60) / 6)
        rr += list(beats * 60 / beats.sum())
        minute += [m] * 60
    return _npz(
        path,
        spo2_1hz=spo2.astype(np.int16),
        rr_ms_x4=np.round(np.array(rr) * 4000).astype(np.uint16),
        rr_minute=np.array(minute, np.uint16),
        apnea_1min=told.astype(np.uint8),
        apnea_30s=np.repeat(told, 2).astype(np.uint8),
    )


def test_hugcdn_is_cut_to_the_shortest_and_lost_signal_is_invalid(tmp_path: Path) -> None:
    recording = hugcdn.read(_hugcdn(tmp_path / "D1.npz"))
    assert recording.epochs == 119 * 2  # the beats end first
    assert any("cut to the shortest" in note for note in recording.notes)
    samples, valid = _signal(recording)
    assert valid.tolist() == [False] * 120 + [True] * (119 * 60 - 120)
    assert samples[121] == 96.0
    half, whole = recording.tracks["apnea_or_hypopnea"], recording.tracks["apnea_or_hypopnea_60s"]
    assert (half.resolution_s, whole.resolution_s) == (30, 60)
    assert np.array_equal(half.values, whole.values)
    assert half.values[[599, 600]].tolist() == [0, 1]


def test_hugcdn_beats_lie_in_their_minutes_and_those_that_are_off_are_moved(tmp_path: Path) -> None:
    beats = hugcdn.read(_hugcdn(tmp_path / "D1.npz")).points[0]
    assert (np.diff(beats.time_s) > 0).all()
    assert beats.time_s[0] == pytest.approx(122, abs=2)
    moved = hugcdn.read(_hugcdn(tmp_path / "D2.npz", lag=2))
    assert any("beats moved by -2 min" in note for note in moved.notes)
    assert not any("moved" in note for note in hugcdn.read(tmp_path / "D1.npz").notes)


def test_hugcdn_beat_times_do_not_drift_where_intervals_were_left_out() -> None:
    rr = np.full(60 * 100, 0.998)  # 100 minutes that add up to 12 s less
    times = hugcdn.beat_times(rr, np.repeat(np.arange(100), 60))
    assert np.abs(times - np.arange(1, 6001)).max() < 2.5


def test_hugcdn_labels_that_are_of_another_night_are_not_believed(tmp_path: Path) -> None:
    recording = hugcdn.read(_hugcdn(tmp_path / "ND5.npz", believed=False))
    assert all((t.values == UNKNOWN).all() for name, t in recording.tracks.items() if not name.startswith(DOUBTED))
    assert (recording.tracks[f"{DOUBTED}apnea_or_hypopnea"].values >= 0).all()  # kept, and nobody learns from them
    assert any("not believed" in note for note in recording.notes)


# MIT-BIH Polysomnographic, Apnea-ECG


def _annotations(path: Path, marks: list[tuple[int, int, str]]) -> None:
    """(sample, code, text) in MIT format; each distance by a SKIP, as long as it may be."""
    out, before = bytearray(), 0
    for sample, code, text in marks:
        apart = sample - before
        out += (59 << 10).to_bytes(2, "little") + (apart >> 16).to_bytes(2, "little")
        out += (apart & 0xFFFF).to_bytes(2, "little") + (code << 10).to_bytes(2, "little")
        if text:
            raw = text.encode()
            out += ((63 << 10) | len(raw)).to_bytes(2, "little") + raw + b"\0" * (len(raw) % 2)
        before = sample
    path.write_bytes(bytes(out) + b"\0\0")


def test_slpdb_labels_belong_to_the_epoch_of_their_time_and_a_p_wave_is_no_beat(tmp_path: Path) -> None:
    (tmp_path / "slp01b.hea").write_text("slp01b 1 250 37500\nslp01b.dat 212 200/mV 12 0 0 0 0 ECG\n")
    _annotations(tmp_path / "slp01b.st", [(7500, 22, "2 X"), (15000, 22, "W"), (22500, 22, "MT"), (30000, 22, "R LL")])
    _annotations(tmp_path / "slp01b.ecg", [(250, 1, ""), (500, 37, ""), (600, 1, ""), (10**6, 1, "")])
    recording = slpdb.read(tmp_path / "slp01b.hea")
    assert recording.stages is not None
    assert recording.stages.tolist() == [UNKNOWN, 2, 0, UNKNOWN, 4]
    assert recording.tracks["apnea_obstructive"].values[::30].tolist() == [UNKNOWN, 1, 0, 0, 0]
    assert recording.tracks["arousal"].resolution_s == 30
    assert recording.points[0].time_s.tolist() == [2.4]
    assert recording.points[0].value.tolist() == pytest.approx([1.4])
    assert recording.notes == ("1 epochs have no label",)


def test_slpdb_words_that_are_not_known_are_noted() -> None:
    stages, tracks, notes = read_words(["1 HA", "4 CAA", "R OA ZZ"], [0, 1, 2], 3)
    assert stages.tolist() == [1, 3, 4]
    assert tracks["apnea_central"].tolist() == [0, 1, 0]
    assert tracks["hypopnea"].tolist() == [1, 0, 0]
    assert tracks["arousal"].tolist() == [1, 1, 0]
    assert notes == ["label 'ZZ' is not known"]


def test_apnea_ecg_is_as_long_as_its_file_not_as_its_header_says(tmp_path: Path) -> None:
    (tmp_path / "a01.hea").write_text("a01 1 100 12000\na01.dat 16 200 12 0 0 0 0 ECG\n")
    np.arange(4550, dtype="<i2").tofile(tmp_path / "a01.dat")
    _annotations(tmp_path / "a01.apn", [(0, 1, ""), (6000, 8, "")])
    _annotations(tmp_path / "a01.qrs", [(100, 1, ""), (200, 1, "")])
    recording = apnea_ecg.read(tmp_path / "a01.hea")
    samples, valid = _signal(recording)
    assert recording.epochs == 4
    assert np.flatnonzero(valid).tolist() == list(range(45))
    assert samples[4499] == pytest.approx(4499 / 200)
    assert not samples[4500:].any()
    assert recording.tracks["apnea_or_hypopnea"].values[[0, 59, 60]].tolist() == [0, 0, 1]
    assert any("4550 samples" in note for note in recording.notes)


@pytest.mark.parametrize("folder", ["apnea-ecg-database-1.0.0", "apnea-ecg/1.0.0", "mine"])
def test_a_copy_of_physionets_apnea_ecg_is_one_person_whatever_its_folder_is_called(
    tmp_path: Path, folder: str
) -> None:
    data = tmp_path / "data" / folder
    data.mkdir(parents=True)
    for name in ("a01", "a05", "a10", "x03"):
        (data / f"{name}.hea").write_text(f"{name} 1 100 12000\n{name}.dat 16 200 12 0 0 0 0 ECG\n")
        np.zeros(12000, "<i2").tofile(data / f"{name}.dat")
        _annotations(data / f"{name}.qrs", [(100, 1, ""), (200, 1, "")])
        if name != "x03":
            _annotations(data / f"{name}.apn", [(0, 1, ""), (6000, 8, "")])
    (data / "a01r.hea").write_text("a01r 1 100 12000\na01r.dat 16 200 12 0 0 0 0 Resp C\n")
    np.zeros(12000, "<i2").tofile(data / "a01r.dat")
    (data / "a01er.hea").write_text("a01er 1 100 12000\na01.dat 16 200 12 0 0 0 0 ECG\n")
    recordings = [job.read() for job in found(tmp_path / "data")]
    assert [each.name for each in recordings] == [f"apnea_ecg-{name}" for name in ("a01", "a05", "a10", "x03")]
    assert {each.subject for each in recordings} == {"apnea_ecg:one of 32"}
    assert {each.set_name for each in recordings} == {"Apnea-ECG"}
    assert any("a01r" in note for note in recordings[0].notes)
    assert set(recordings[0].tracks) == {"apnea_or_hypopnea"}


# The rest


def test_santa_fe_is_the_person_of_slp60_and_drop_outs_are_invalid(tmp_path: Path) -> None:
    oxygen = np.full(200, 7000, np.float32)
    oxygen[[10, 11]] = -27600
    path = _npz(
        tmp_path / "santafe_b_slp60_2hz.npz",
        hr_bpm=np.full(200, 70, np.float32),
        chest_volume=np.ones(200, np.float32),
        spo2_raw=oxygen,
        t0_s_in_slp60=np.float64(0.5),
        epoch_t_s=np.array([0.004, 30, 60, 90], np.float32),
        epoch_label=np.array(["W", "1 H", "2 X", "2"]),
    )
    recording = santafe.read(path)
    assert recording.subject == "slpdb:slp60"
    assert recording.epochs == 3
    _, valid = _signal(recording, 2)
    assert np.flatnonzero(~valid).tolist() == [0, 5, 6]  # half a second late, and the drop-out lies in two seconds


def test_an_apnea_of_a_device_lasted_until_it_was_flagged_and_hypopneas_have_no_length(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text(
        "session,end_s,duration_s,event\nA_1.npz,200,12,Central Apnea\nA_1.npz,400,0,Hypopnea\nB_1.npz,9,5,Apnea\n"
    )
    path = _npz(
        tmp_path / "A_1.npz",
        flow_i16=np.full(25 * 610, 100, np.int16),
        flow_gain=np.float32(0.002),
        flow_unit=np.array(["L/s"]),
        fs=np.float64(25),
        press_1hz=np.ones(605, np.float32),
        start=np.array(["20240101"]),
    )
    recording = cpap.read(path, tmp_path / "events.csv")
    assert (recording.epochs, recording.subject) == (20, "cpap:A")
    assert [(e.onset_s, e.duration_s, e.by) for e in recording.events] == [(188, 12, "device"), (400, 0, "device")]
    assert np.flatnonzero(recording.tracks["apnea_central"].values == 1).tolist() == list(range(188, 200))
    either = recording.tracks["apnea_or_hypopnea"].values
    assert (either[311:401] == UNKNOWN).all()
    assert either[[310, 401]].tolist() == [0, 0]
    assert _signal(recording)[0][0] == pytest.approx(0.2)


def test_boas_nights_of_one_person_bear_one_name_and_the_algorithm_is_not_read(tmp_path: Path) -> None:
    folder = tmp_path / boas.FOLDER
    night = np.array([[0, 3], [8, 3], [2, 3], [-2, 3]], np.int8)
    _npz(folder / "boas_hypnograms.npz", **{"sub-1": night, "sub-2": night})
    (folder / "participants.tsv").write_text("participant_id\tage\tpid\nsub-1\t27\t89\nsub-2\t27\t89\n")
    recordings = [job.read() for job in boas.found(tmp_path)]
    assert [r.subject for r in recordings] == ["boas:89", "boas:89"]
    assert recordings[0].stages is not None
    assert recordings[0].stages.tolist() == [0, UNKNOWN, 2, UNKNOWN]
    (folder / "participants.tsv").write_text("participant_id\tage\tpid\n")
    with pytest.raises(UserError, match="sub-1"):
        boas.found(tmp_path)[0].read()


def test_a_set_is_found_by_its_folder_or_in_the_folder_of_sets(tmp_path: Path) -> None:
    _npz(tmp_path / "data" / sleep_edfx.FOLDER / "SC4012E0.npz", **_features())
    _npz(tmp_path / "data" / sleep_edfx.FOLDER / "SC4011E0.npz", **_features())
    for data in (tmp_path / "data", tmp_path / "data" / sleep_edfx.FOLDER):
        assert [job.name for job in found(data)] == ["SC4011E", "SC4012E"]
        assert {job.read().subject for job in found(data)} == {"sleepedf:SC01"}


# The real ones


@needs_data
def test_the_real_sets_are_all_found_and_nobody_has_two_names() -> None:
    jobs = found(DATA)
    by_set = {job.reader.partition(" ")[0] for job in jobs}
    assert {"sleep_edfx", "ucddb", "hugcdn", "slpdb", "apnea_ecg", "santafe", "cpap", "boas", "snippets"} <= by_set
    read = {job.name: job.read() for job in jobs if job.name in ("slp60", "santafe-slp60", "SC4001E", "sleepedf_5min")}
    assert read["slp60"].subject == read["santafe-slp60"].subject
    assert read["SC4001E"].subject == read["sleepedf_5min"].subject


@needs_data
def test_the_real_santa_fe_and_slp60_are_scored_alike() -> None:
    one = santafe.read(DATA / "santafe_slp60" / "santafe_b_slp60_2hz.npz")
    other = slpdb.read(DATA / "slpdb_labels" / "slp60.hea")
    assert one.stages is not None
    assert other.stages is not None
    assert np.array_equal(one.stages, other.stages[: one.epochs])


@needs_data
def test_the_real_ucddb_table_and_nights_agree() -> None:
    recording = ucddb.read(DATA / "ucddb_c3a2" / "ucddb002.npz")
    assert not any("others" in note for note in recording.notes)
    assert recording.stages is not None
    assert np.bincount(recording.stages, minlength=5).tolist() == [121, 213, 172, 87, 155]
    assert len(recording.events) == len({(e.label, e.onset_s) for e in recording.events}) > 100


@needs_data
@pytest.mark.parametrize(("name", "believed"), [("D1", True), ("C1", True), ("ND5", False), ("D23", False)])
def test_real_labels_that_do_not_fit_the_saturation_are_found(name: str, believed: bool) -> None:
    recording = hugcdn.read(DATA / "hugcdn2014_oxi" / f"{name}.npz")
    values = recording.tracks["apnea_or_hypopnea"].values
    assert bool((values == UNKNOWN).all()) != believed
    assert not any("moved" in note for note in recording.notes)


@needs_data
def test_the_real_ecg_ends_where_the_file_does() -> None:
    recording = apnea_ecg.read(DATA / "apnea_ecg" / "a01.hea")
    last = [block.valid[0].sum() for block in recording.blocks()]
    assert sum(last) == 1570816 // 100
    assert recording.epochs == 489 * 2
