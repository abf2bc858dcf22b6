"""Whatever is in a file that the engine reads: a reading or one clear line, soon, and in bounded memory."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hypnostream.bridges.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from hypnostream.bridges.edf_write import EdfSignal, write_edf
from hypnostream.bridges.journal import Journal, journaled_steps, segment_path
from hypnostream.bridges.key_files import new_keys, read_allowed
from hypnostream.bridges.messages import Moment, Origin, StatusMessage, decode, encode
from hypnostream.bridges.recorded import open_recording
from hypnostream.bridges.recording import read_recording, write_recording
from hypnostream.bridges.references import read_reference
from hypnostream.bridges.result_log import ResultLog
from hypnostream.bridges.session_folder import SessionFolder, SessionRecord
from hypnostream.bridges.step_bytes import read_step, write_step
from hypnostream.bridges.summary import read_summary
from hypnostream.bridges.ward_config import load_ward
from hypnostream.config import load_config
from hypnostream.engine.backend import OnnxBackend
from hypnostream.engine.bed import Bed
from hypnostream.engine.bundle import default_bundle_path, load_bundle
from hypnostream.engine.session import Session
from hypnostream.errors import UserError
from hypnostream.stream.montage import resolve
from hypnostream.stream.source import Annotation, ChannelInfo, Chunk, Notice, Source, Step, StreamInfo
from tests.damage import ALLOWANCE_BYTES, MANY, QUICK, assert_harmless, damaged
from tests.documentation import blocks
from tests.recordings import night
from tests.xdf_files import SenderClock, recording

WITHIN_MS = 10_000
EEG = StreamInfo("EEG", 8.0, (ChannelInfo("C3", "uV", -100.0, 100.0), ChannelInfo("C4", "uV")))


def chunk(second: int) -> Chunk:
    return Chunk("EEG", np.full((8, 2), second, np.float32), second + np.arange(8) / 8)


STEPS = [
    Step(0.0, (EEG, Notice("source_found", "EEG", 0.0, "there"))),
    Step(1.0, (chunk(0), Annotation(0.5, 0.0, "lights off", "notes"))),
    Step(2.0, (chunk(1), chunk(2))),
    Step(3.0, (Notice("samples_lost", "EEG", 2.5, samples=3, seconds=0.4),)),
]


def write_edf_plus(folder: Path) -> Path:
    signals = [EdfSignal("EEG C3", np.arange(32.0), 4, "uV", -100, 100), EdfSignal("SpO2", np.arange(8.0), 1)]
    stages = [Annotation(0.0, 30.0, "Sleep stage W"), Annotation(30.0, 30.0, "Sleep stage N2")]
    write_edf(folder / "night.edf", signals, annotations=stages)
    return folder / "night.edf"


def write_xdf(folder: Path) -> Path:
    path = folder / "night.xdf"
    sent = Chunk("EEG", np.ones((64, 2), np.float32), np.arange(64) / 8)
    path.write_bytes(recording([EEG], [sent], [SenderClock(100.0)], markers=[(2.0, "lights off")]))
    return path


def write_file(name: str, content: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_text(content)
        return folder / name

    return write


def write_log(folder: Path) -> Path:
    origin = Origin(session_id="5e55", boot_id="b007", model_hash="9f2c", backend="none")
    moment = Moment(stream_s=1.0, utc_s=None, utc_uncertainty_s=None, published_utc_s=1.8e9)
    with ResultLog(folder / "results.arrows", fsync=False) as log:
        for seq in range(4):
            said = StatusMessage(topic="status", seq=seq, origin=origin, time=moment, state="source_stalled")
            log.append(said, encode(said))
    return folder / "results.arrows"


def read_log(path: Path) -> None:
    with ResultLog(path, fsync=False) as log:
        assert all(decode(encode(message)) == message for message in log.messages())


def write_journal(folder: Path) -> Path:
    journal = Journal(folder, 0)
    for step in STEPS:
        journal.append(step)
    journal.close()
    return segment_path(folder, 0)


def write_signals(folder: Path) -> Path:
    write_journal(folder / "journal")
    write_recording(folder / "journal", folder / "signals")
    return folder / "signals" / "EEG.parquet"


def write_a_checkpoint(folder: Path) -> Path:
    streams, _ = night(1)
    bundle = load_bundle()
    bed = Bed(streams, resolve(streams, bundle.channels), Session(bundle, OnnxBackend(bundle), 0.0))
    write_checkpoint(folder / "checkpoint", Checkpoint("5e55", 0, 0.0, 1.8e9, {"epoch": 1}, bed.snapshot()))
    return folder / "checkpoint"


def write_session(folder: Path) -> Path:
    SessionFolder(folder).write(
        SessionRecord(
            session_id="5e55",
            name="bed 3",
            model_hash="9f2c",
            t0_s=0.0,
            start_utc=None,
            lateness_s=2.0,
            stall_s=3.0,
            provisional=True,
            channels={"eog": "EOG"},
        )
    )
    return folder / "session.json"


def write_bundle_json(folder: Path) -> Path:
    for file in default_bundle_path().iterdir():
        (folder / file.name).write_bytes(file.read_bytes() if file.name == "bundle.json" else b"")
    return folder / "bundle.json"


def write_key(folder: Path) -> Path:
    new_keys(folder, "server")
    _, public = new_keys(folder, "a")
    listed = folder / "allowed" / "a.public"
    listed.write_bytes(public.read_bytes())
    return listed


def read_all(path: Path) -> None:
    source: Source = open_recording(path, chunk_s=1e6)
    try:
        while not source.exhausted:
            for part in source.read(0.0):
                assert np.all(np.isfinite(part.timestamps))
    finally:
        source.close()


@dataclass(frozen=True)
class Reader:
    """A file as it should be, and what reads it."""

    write: Callable[[Path], Path]
    read: Callable[[Path], object]
    errors: tuple[type[Exception], ...] = (UserError,)
    allowance: int = ALLOWANCE_BYTES


XML = """<?xml version="1.0"?><PSGAnnotation><EpochLength>30</EpochLength><ScoredEvents>
<ScoredEvent><EventType>Stages|Stages</EventType><EventConcept>Wake|0</EventConcept><Start>0</Start>
<Duration>60.5</Duration></ScoredEvent></ScoredEvents></PSGAnnotation>"""
WARD = """beds = "beds"
[publish]
address = "ipc:///run/{bed}"
[[bed]]
name = "bed 1"
lsl = { predicate = "name='a'", timeout_s = 3.0 }
[[bed]]
name = "bed 2"
channels = { eog = "E1" }
"""
BED = "\n".join(block.text for block in blocks("toml") if block.page == "README.md")
READERS = {
    "bed.toml": Reader(write_file("bed.toml", BED), load_config),
    "ward.toml": Reader(write_file("ward.toml", WARD), load_ward),
    "bundle.json": Reader(write_bundle_json, lambda path: load_bundle(path.parent)),
    "EDF+": Reader(write_edf_plus, read_all),
    "XDF": Reader(write_xdf, read_all),
    "hypnogram in EDF+": Reader(write_edf_plus, lambda path: read_reference(path, epochs=960)),
    "hypnogram in XML": Reader(write_file("h.xml", XML), lambda path: read_reference(path, epochs=960)),
    "hypnogram in CSV": Reader(write_file("h.csv", "epoch,stage\n0,W\n1,N1\n2,N2\n"), read_reference),
    "result log": Reader(write_log, read_log),
    "journal": Reader(write_journal, lambda path: list(journaled_steps(path.parent))),
    "recorded signals": Reader(write_signals, lambda path: list(read_recording(path.parent))),
    "checkpoint": Reader(write_a_checkpoint, read_checkpoint, (ValueError, OSError)),
    "session.json": Reader(write_session, lambda path: SessionFolder(path.parent).read()),
    "summary.json": Reader(write_file("summary.json", '{"schema": "hypnostream.summary"}'), read_summary),
    "key": Reader(write_key, lambda path: read_allowed(path.parents[1])),
}


def read_damaged(name: str, path: Path, sound: bytes, data: st.DataObject) -> None:
    reader = READERS[name]
    path.write_bytes(data.draw(damaged(sound) | st.binary(max_size=600)))
    assert_harmless(lambda: reader.read(path), reader.errors, reader.allowance)


def fuzz(examples: int, name: str, path: Path) -> None:
    sound = path.read_bytes()

    @settings(max_examples=examples, deadline=WITHIN_MS, suppress_health_check=list(HealthCheck), database=None)
    @given(data=st.data())
    def run(data: st.DataObject) -> None:
        read_damaged(name, path, sound, data)

    run()


@pytest.mark.parametrize("name", READERS)
def test_what_is_sound_is_read(name: str, tmp_path: Path) -> None:
    path = READERS[name].write(tmp_path)
    if name in ("bundle.json", "summary.json"):  # its graph is empty here, and a whole summary is large
        with pytest.raises(UserError):
            READERS[name].read(path)
    else:
        READERS[name].read(path)


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_a_reading_or_one_line(name: str, tmp_path: Path) -> None:
    fuzz(QUICK, name, READERS[name].write(tmp_path))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", READERS)
def test_no_damage_of_thousands_does_harm(name: str, tmp_path: Path) -> None:
    fuzz(MANY, name, READERS[name].write(tmp_path))


@settings(max_examples=200, deadline=WITHIN_MS)
@given(data=st.data())
def test_a_garbled_step_with_a_right_checksum_is_refused(data: st.DataObject) -> None:
    body = write_step(data.draw(st.sampled_from(STEPS)))[8:]
    garbled = data.draw(damaged(body))
    assert_harmless(lambda: read_step(garbled), (ValueError,), ALLOWANCE_BYTES)


@pytest.mark.skipif(os.name != "posix", reason="needs named pipes and /dev/zero")
@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("kind", ["pipe", "endless"])
@pytest.mark.timeout(30)
def test_what_is_no_file_neither_hangs_nor_grows(kind: str, name: str, tmp_path: Path) -> None:
    if kind == "pipe" and name == "bed.toml":
        pytest.skip("a bed's file may come through a pipe")
    reader = READERS[name]
    path = reader.write(tmp_path)
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    assert_harmless(lambda: reader.read(path), (*reader.errors, OSError), reader.allowance)


def test_a_bed_that_is_nested_too_deeply_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "bed.toml").write_text("name = " + "[" * 5000)
    with pytest.raises(UserError, match="nested too deeply"):
        load_config(tmp_path / "bed.toml")
