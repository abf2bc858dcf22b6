"""`train signal-nights`: a laboratory's raw recordings reach steps 1 and 2, and nothing is lost in silence."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hypnostream.bridges.edf_write import EdfSignal, write_edf
from hypnostream.errors import UserError
from hypnostream.models.channel_encoder import ChannelEncoderSettings
from hypnostream.training.nights.conditioned import condition
from hypnostream.training.nights.signal_nights import read_signal_night, write_signal_night
from hypnostream.training.nights.signal_store import SPECS, make_signal_nights, signal_nights_in
from hypnostream.training.pretraining.channel_weights import people_met
from hypnostream.training.pretraining.neuronet_nights import nights_of
from hypnostream.training.pretraining.neuronet_run import NeuroNetRecipe, pretrain
from hypnostream.training.pretraining.pretrain_neuronet import NeuroNetObjective
from hypnostream.training.pretraining.synthsleepnet_run import nights_in
from hypnostream.training.pretraining.synthsleepnet_run import pretrain as pretrain_several
from hypnostream.training.recordings.ingest import ingest
from hypnostream.training.recordings.store import read_recording
from hypnostream.training.running.loop import LoopSettings
from tests.command_line import Cli, assert_one_line
from tests.models.test_neuronet import SMALL
from tests.training.nsrr_files import START, event, write_xml
from tests.training.test_synthsleepnet_run import SMALL as SEVERAL

# As SHHS names them, with its rates and units; what no front-end takes is beside them.
SHHS = (
    ("EEG", 125.0, "uV", 20.0),
    ("EEG(sec)", 125.0, "uV", 20.0),
    ("EOG(L)", 50.0, "uV", 40.0),
    ("NEW AIR", 10.0, "", 0.5),
    ("SaO2", 1.0, "%", 1.0),
)
STAGES = [0, 2, 3, 5, 2, 0]
SLOTS = ("eeg_frontal", "eeg_posterior", "eog", "flow")
STEP_1 = NeuroNetRecipe(SMALL, NeuroNetObjective(batch=8), LoopSettings(passes=1, warmup_steps=2))
STEP_2 = replace(SEVERAL, encoder=ChannelEncoderSettings(SMALL.frame), loop=LoopSettings(passes=1, warmup_steps=2))


def write_psg(path: Path, seed: int = 0, left_out: tuple[str, ...] = ()) -> None:
    """Waves of 10 Hz in each epoch that is Wake, slow and larger ones else; breaths in the flow."""
    rng = np.random.default_rng(seed)
    signals = []
    for label, rate_hz, unit, size in SHHS:
        time_s = np.arange(round(30 * len(STAGES) * rate_hz)) / rate_hz
        deep = np.repeat(np.array(STAGES) > 0, round(30 * rate_hz))
        frequency_hz = 0.25 if unit == "" else np.where(deep, 1.0, 4.0)
        wave = size * (np.sin(2 * np.pi * frequency_hz * time_s) * (1 + deep) + rng.normal(0, 0.3, len(time_s)))
        if label not in left_out:
            signals.append(EdfSignal(label, wave, rate_hz, unit, -5 * size, 5 * size))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_edf(path, signals, record_s=10.0, start=START)


def write_person(data: Path, number: int, left_out: tuple[str, ...] = (), *, scored: bool = True) -> str:
    name = f"shhs1-20000{number}"
    write_psg(data / f"{name}.edf", number, left_out)
    if scored:
        events = [event("Hypopnea|Hypopnea", 40, 15), event("Obstructive apnea|Obstructive Apnea", 100, 12)]
        write_xml(data / f"{name}-nsrr.xml", STAGES, events)
    return name


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """data/, its store and its nights: four people, one without an EOG; only read, never written to."""
    folder = tmp_path_factory.mktemp("laboratory")
    for number in range(4):
        write_person(folder / "data", number, ("EOG(L)",) if number == 1 else ())
    assert not ingest(folder / "data", folder / "store").skipped
    found = make_signal_nights(folder / "store", folder / "nights", 2)
    assert len(found.made) == 4
    assert {slot: nights for slot, (nights, _) in found.served.items()} == {
        "eeg_frontal": 4,
        "eeg_posterior": 4,
        "eog": 3,
        "flow": 4,
    }
    assert found.served["flow"][1] == pytest.approx(4 * 180 / 3600, rel=0.1)
    return folder


def test_a_night_is_the_recording_as_it_is_conditioned_live_with_all_labels(made: Path) -> None:
    recording = read_recording(made / "store" / "shhs1-200000")
    night = read_signal_night(made / "nights" / "shhs1-200000")
    specs = [spec for spec in SPECS if spec.name in SLOTS]
    signal, valid, montage = condition(recording, specs)
    assert {each.label for each in montage.derivations} >= {"C4-M1", "C3-M2"}
    by_second = signal.reshape(6, 4, 30, 100).transpose(0, 2, 1, 3).reshape(180, 4, 100)
    assert np.array_equal(night.signal, by_second)
    assert np.array_equal(night.valid, valid.transpose(0, 2, 1).reshape(180, 4) > 0)
    assert night.valid[10:].mean() > 0.95
    assert 10 < np.abs(night.signal[20:, 0]).mean() < 60  # uV
    assert isinstance(night.signal, np.memmap)
    assert night.stage.tolist() == [0, 2, 3, 4, 2, 0]
    assert np.flatnonzero(night.tracks["hypopnea"] == 1).tolist() == list(range(40, 55))
    assert np.flatnonzero(night.tracks["apnea"] == 1).tolist() == list(range(100, 112))
    assert (night.subject, night.source_sha256) == (recording.subject, recording.source_sha256)


def test_all_nights_have_the_same_slots_and_what_one_lacks_is_never_valid(made: Path) -> None:
    nights = {night.name: night for night in signal_nights_in(made / "nights")}
    assert {night.channels for night in nights.values()} == {SLOTS}
    lacking = nights["shhs1-200001"]
    assert not lacking.valid[:, SLOTS.index("eog")].any()
    assert not lacking.signal[:, SLOTS.index("eog")].any()
    assert nights["shhs1-200000"].valid[:, SLOTS.index("eog")].any()


@pytest.mark.slow
def test_from_a_folder_of_recordings_through_both_steps(made: Path, tmp_path: Path) -> None:
    nights = nights_of("eeg", made / "nights", STEP_1.loop.seed)
    away = {night.subject for night in nights.held_out}
    assert len(away) == 1
    first = pretrain("eeg", nights, tmp_path / "encoders" / "eeg", STEP_1)
    assert {"untrained, held-out people", "trained, held-out people"} <= set(first["probes"])
    record = json.loads((tmp_path / "encoders" / "eeg" / "run.json").read_text())
    assert record["config"]["held_out"] == sorted(away)
    assert record["data"] == {night.name: night.source_sha256 for night in nights_in(made / "nights")}
    assert people_met(tmp_path / "encoders").isdisjoint(away)
    second = pretrain_several(nights_in(made / "nights"), tmp_path / "run", STEP_2, tmp_path / "encoders")
    assert set(second["probes"]) == {"untrained", "trained"}
    held = json.loads((tmp_path / "run" / "run.json").read_text())["config"]["held_out"]
    assert held == sorted(away)  # whoever was a stranger to step 1 still is one


def test_who_is_held_out_is_the_same_for_every_kind_and_a_kind_nobody_has_is_refused(made: Path) -> None:
    every = {kind: {n.subject for n in nights_of(kind, made / "nights", 5).held_out} for kind in ("eeg", "flow")}
    assert every["eeg"] == every["flow"]
    with pytest.raises(UserError, match=r"0 nights .* have ecg"):
        nights_of("ecg", made / "nights", 5)
    with pytest.raises(UserError, match="kind 'snore'"):
        nights_of("snore", made / "nights", 5)
    with pytest.raises(UserError, match="train signal-nights"):
        nights_of("eeg", made / "data", 5)


def test_a_kind_is_learned_from_those_who_have_it(made: Path) -> None:
    seed = next(s for s in range(50) if nights_of("eeg", made / "nights", s).held_out[0].name != "shhs1-200001")
    nights = nights_of("eog", made / "nights", seed)
    assert "shhs1-200001" not in {night.name for night in (*nights.train, *nights.held_out)}
    assert len(nights.train) == 2


def test_recordings_that_nobody_scored_are_trained_on_and_no_probe_is_asked(tmp_path: Path) -> None:
    for number in range(3):
        write_person(tmp_path / "data", number, scored=False)
    ingest(tmp_path / "data", tmp_path / "store")
    make_signal_nights(tmp_path / "store", tmp_path / "nights", 2)
    first = pretrain("eeg", nights_of("eeg", tmp_path / "nights", 0), tmp_path / "encoders" / "eeg", STEP_1)
    assert first["probes"] == {}
    assert first["collapse"]["trained"]["effective_rank"] > 1
    second = pretrain_several(nights_in(tmp_path / "nights"), tmp_path / "run", STEP_2, tmp_path / "encoders")
    assert second["probes"] == {}
    assert second["collapse"]["trained"]["effective_rank"] > 1


@pytest.mark.skipif(sys.platform == "win32", reason="has no such limit")
def test_more_nights_are_read_than_files_may_be_open(made: Path) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with (made / "data" / "shhs1-200000.edf").open("rb") as file:
        few = file.fileno() + 4
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, before[1]))
    try:
        nights = signal_nights_in(made / "nights")
        assert [len(night.signal) for night in nights] == [180] * 4
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_what_is_there_stays_and_what_changed_is_made_again(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "l"
    shutil.copytree(made, folder)
    before = {path: path.stat().st_mtime_ns for path in folder.glob("nights/*/signal.npy")}
    write_xml(folder / "data" / "shhs1-200002-nsrr.xml", [0] * 6)
    ingest(folder / "data", folder / "store")
    shutil.rmtree(folder / "nights" / "shhs1-200003")
    (folder / "nights" / "shhs1-200003.partial").mkdir()  # as a kill leaves it
    found = make_signal_nights(folder / "store", folder / "nights")
    assert (found.made, found.kept) == (("shhs1-200002", "shhs1-200003"), ("shhs1-200000", "shhs1-200001"))
    assert read_signal_night(folder / "nights" / "shhs1-200002").stage.tolist() == [0] * 6
    changed = {path.parent.name for path, when in before.items() if path.stat().st_mtime_ns != when}
    assert changed == {"shhs1-200002", "shhs1-200003"}
    assert not list(folder.glob("nights/*.partial"))
    again = make_signal_nights(folder / "store", folder / "nights")
    assert (again.made, len(again.kept), again.served) == ((), 4, found.served)


def test_a_sensor_that_a_new_recording_brings_is_a_slot_of_all(made: Path, tmp_path: Path) -> None:
    for number in (0, 1):
        shutil.copytree(made / "store" / f"shhs1-20000{number}", tmp_path / "store" / f"shhs1-20000{number}")
    shutil.rmtree(tmp_path / "store" / "shhs1-200000")
    found = make_signal_nights(tmp_path / "store", tmp_path / "nights")
    assert tuple(found.served) == ("eeg_frontal", "eeg_posterior", "flow")
    shutil.copytree(made / "store" / "shhs1-200000", tmp_path / "store" / "shhs1-200000")
    found = make_signal_nights(tmp_path / "store", tmp_path / "nights")
    assert len(found.made) == 2
    assert {night.channels for night in signal_nights_in(tmp_path / "nights")} == {SLOTS}


def test_a_failure_is_named_its_old_night_is_gone_and_the_exit_code_is_1(made: Path, tmp_path: Path, cli: Cli) -> None:
    store, nights = tmp_path / "store", tmp_path / "nights"
    shutil.copytree(made / "store", store)
    shutil.copytree(made / "nights", nights)
    shutil.copytree(nights / "shhs1-200000", nights / "elsewhere")
    head = read_signal_night(nights / "shhs1-200003")
    write_signal_night(nights / "shhs1-200003", replace(head, source_sha256="older"))
    parquet = store / "shhs1-200003" / "signals.parquet"
    parquet.write_bytes(parquet.read_bytes()[:-100])
    (store / "shhs1-200002" / "recording.json").write_text("{")
    said = cli("train", "signal-nights", store, nights, "--workers", 2)
    assert said.code == 1
    assert "Traceback" not in said.out + said.err
    assert "failed shhs1-200003: " in said.out
    assert "failed shhs1-200002: " in said.out
    assert "1 nights there are of no recording in" in said.out
    assert "0 signal nights written" in said.out
    assert "eog: 1 nights" in said.out
    assert sorted(path.name for path in nights.iterdir()) == ["elsewhere", "shhs1-200000", "shhs1-200001"]


def test_a_recording_without_such_signals_is_no_night_and_no_failure(tmp_path: Path, cli: Cli) -> None:
    write_person(tmp_path / "data", 0)
    write_person(tmp_path / "data", 1, tuple(label for label, *_ in SHHS if label != "SaO2"))
    ingest(tmp_path / "data", tmp_path / "store")
    found = make_signal_nights(tmp_path / "store", tmp_path / "nights")
    assert (found.made, found.nothing, found.failed) == (("shhs1-200000",), ("shhs1-200001",), ())
    shutil.rmtree(tmp_path / "store" / "shhs1-200000")
    said = cli("train", "signal-nights", tmp_path / "store", tmp_path / "none")
    assert said.code == 2
    assert "has raw eeg, eog" in said.err


def test_nothing_that_is_no_night_is_written_over(made: Path, tmp_path: Path, cli: Cli) -> None:
    shutil.copytree(made / "store", tmp_path / "store")
    assert_one_line(cli("train", "signal-nights", tmp_path / "store", tmp_path / "store"), "is the store itself")
    (tmp_path / "out" / "shhs1-200000").mkdir(parents=True)
    (tmp_path / "out" / "shhs1-200000" / "thesis.txt").write_text("years of work")
    found = make_signal_nights(tmp_path / "store", tmp_path / "out")
    assert len(found.made) == 3
    assert [each.split(":")[0] for each in found.failed] == ["shhs1-200000"]
    assert (tmp_path / "out" / "shhs1-200000" / "thesis.txt").read_text() == "years of work"
    assert_one_line(cli("train", "signal-nights", made / "data", tmp_path / "x"), "hypnostream train ingest")


def test_step_1_takes_one_source_of_nights(made: Path, tmp_path: Path, cli: Cli) -> None:
    both = ("--nights", made / "nights", "--data", made / "data")
    said = cli("train", "neuronet", "--kind", "eeg", "--out", tmp_path / "run", *both)
    assert_one_line(said, "--nights and --data", "give one")
