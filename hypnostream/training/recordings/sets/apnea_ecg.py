"""Apnea-ECG (`apnea_ecg`): heart beats of 59 nights, 24 of them with a label a minute, and the ECG of a part of one.

The 70 records of the whole set are of 32 people (Penzel et al., "The Apnea-ECG Database", Computers in Cardiology
2000;27:255-258), and who is who is not said: `additional-information.txt` of PhysioNet's copy gives each record's age,
sex, height and weight, by which a05 and a10 are alike. So all bear one subject's name: none of them can be on two sides
of a split. A copy of PhysioNet's, whatever its folder is called, is known by its .apn files.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from hypnostream.stream.stages import EPOCH_S
from hypnostream.training.recordings.beats import beats_of
from hypnostream.training.recordings.job import Job
from hypnostream.training.recordings.labels import repeated
from hypnostream.training.recordings.recording import Block, Channel, Recording
from hypnostream.training.recordings.sets.files import set_folder, sources
from hypnostream.training.recordings.subjects import person
from hypnostream.training.recordings.wfdb import (
    BEATS,
    frames_there,
    read_wfdb_annotations,
    read_wfdb_header,
    read_wfdb_signals,
)
from hypnostream.training.recordings.wfdb_header import WfdbHeader

FOLDER = "apnea_ecg"
MINUTE_S = 60
_RECORD = "[abcx][0-9][0-9]"
_LABELLED = "[abc][0-9][0-9].apn"


def found(data: Path) -> list[Job]:
    """A job a record; the labels and the ECG are there for some.

    What PhysioNet has of a record's respiration and SpO2 (a01r, and a01er for all together) is that record's too: it is
    not read, and it is nobody else's night.
    """
    own = set_folder(data, FOLDER)
    folders = {path.parent for path in data.rglob(_LABELLED)} | ({own} if own else set())
    jobs = []
    for header in sorted(path for folder in folders for path in folder.glob(f"{_RECORD}.hea")):
        files = [p for end in (".qrs", ".apn", ".dat") if (p := header.with_suffix(end)).is_file()]
        files += sorted(p for end in ("r", "er") for p in header.parent.glob(f"{header.stem}{end}.*"))
        jobs.append(Job(f"apnea_ecg-{header.stem}", partial(read, header), (header, *files), "apnea_ecg 1"))
    return jobs


def read(header_path: Path) -> Recording:
    """One record, as long as its labels or, without any, its beats."""
    header = read_wfdb_header(header_path)
    beat_path, label_path, signal_path = (header_path.with_suffix(end) for end in (".qrs", ".apn", ".dat"))
    beats = np.array([beat.time_s for beat in read_wfdb_annotations(beat_path) if beat.symbol in BEATS])
    labels = read_wfdb_annotations(label_path) if label_path.is_file() else []
    until_s = labels[-1].time_s + MINUTE_S if labels else float(beats.max(initial=0.0))
    epochs = int(until_s // EPOCH_S)
    files, notes = [header_path, beat_path], ["who of the set's 32 people this is, is not said: split it as one person"]
    tracks = {}
    if labels:
        files.append(label_path)
        minutes = np.full(int(until_s // MINUTE_S), -1, np.int8)
        for label in labels:
            minutes[int(label.time_s // MINUTE_S)] = {"A": 1, "N": 0}.get(label.symbol, -1)
        tracks["apnea_or_hypopnea"] = repeated(minutes, MINUTE_S, epochs * EPOCH_S)
        notes.append("a minute is positive when apnea or hypopnea was in progress as it began")
    if header_path.with_name(f"{header_path.stem}r.hea").is_file():
        notes.append(f"its respiration and SpO2 ({header_path.stem}r) are not read")
    there = frames_there(header)
    if there:
        files.append(signal_path)
        if header.frames and there < header.frames:
            notes.append(f"{there} samples of ECG are there, the header promises {header.frames}")
    return Recording(
        name=f"apnea_ecg-{header_path.stem}",
        subject=person("apnea_ecg", "one of 32"),
        set_name="Apnea-ECG",
        licence="ODC-By 1.0",
        sources=sources(*files),
        epochs=epochs,
        channels=tuple(Channel("ECG", "ecg", signal.unit, header.rate_hz) for signal in header.signals[:1] if there),
        blocks=partial(_blocks, header, epochs) if there else lambda: iter(()),
        tracks=tracks,
        points=(beats_of(beats, epochs * EPOCH_S),),
        notes=tuple(notes),
    )


def _blocks(header: WfdbHeader, epochs: int) -> Iterator[Block]:
    """The ECG epoch by epoch as far as the file goes, invalid from there on."""
    rate = round(header.rate_hz)
    for epoch in range(epochs):
        samples = np.zeros(EPOCH_S * rate, np.float32)
        there, *_ = read_wfdb_signals(header, epoch * len(samples), len(samples))
        samples[: len(there)] = np.nan_to_num(there)
        valid = np.zeros(EPOCH_S, np.bool_)
        whole = len(there) // rate
        valid[:whole] = np.isfinite(there[: whole * rate]).reshape(whole, rate).all(axis=1)
        samples.reshape(EPOCH_S, rate)[~valid] = 0
        yield Block((samples,), (valid,))
