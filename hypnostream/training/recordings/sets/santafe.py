"""Santa Fe data set B (`santafe_slp60`): 2 Hz heart rate, chest volume and oxygen of the patient of slpdb's slp60."""

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hypnostream.stream.stages import EPOCH_S
from hypnostream.training.recordings.blocks import Signal, blocks_of
from hypnostream.training.recordings.job import Job
from hypnostream.training.recordings.labels import repeated
from hypnostream.training.recordings.recording import Channel, Recording
from hypnostream.training.recordings.sets.files import read_arrays, set_folder, sources
from hypnostream.training.recordings.sets.slpdb_words import read_words
from hypnostream.training.recordings.subjects import person

FOLDER = "santafe_slp60"
RATE_HZ = 2
LOWEST_BPM = 20.0
# Oxygen in raw counts: the body of the values is between 3000 and 8300, and drop-outs fall to 0 and far below.
LOWEST_COUNT = 1000.0


def found(data: Path) -> list[Job]:
    """One job."""
    folder = set_folder(data, FOLDER)
    path = folder / "santafe_b_slp60_2hz.npz" if folder else None
    return [Job("santafe-slp60", partial(read, path), (path,), "santafe 1")] if path and path.is_file() else []


def read(path: Path) -> Recording:
    """The recording on slp60's clock, cut to what is both labelled and recorded."""
    rate_bpm, chest, oxygen, begin_s, times_s, words = read_arrays(
        path, "hr_bpm", "chest_volume", "spo2_raw", "t0_s_in_slp60", "epoch_t_s", "epoch_label"
    )
    before = round(float(begin_s) * RATE_HZ)  # the signals begin a sample after the labels' clock
    which = [round(float(time) / EPOCH_S) for time in times_s]
    epochs = min((len(chest) + before) // (EPOCH_S * RATE_HZ), max(which) + 1)
    stages, tracks, notes = read_words([str(text) for text in words], which, epochs)
    signals = [
        _signal(rate_bpm, rate_bpm >= LOWEST_BPM, before),
        _signal(chest, np.ones(len(chest), np.bool_), before),
        _signal(oxygen, oxygen >= LOWEST_COUNT, before),
    ]
    return Recording(
        name="santafe-slp60",
        subject=person("santafe", "slp60"),
        set_name="Santa Fe B",
        licence="ODC-By 1.0",
        sources=sources(path),
        epochs=epochs,
        scoring="R&K",
        channels=(
            Channel("heart rate", "other", "bpm", RATE_HZ),
            Channel("chest volume", "effort", "counts", RATE_HZ),
            Channel("SpO2", "spo2", "counts", RATE_HZ),
        ),
        blocks=partial(blocks_of, signals, epochs),
        stages=stages,
        tracks={name: repeated(values, EPOCH_S, epochs * EPOCH_S) for name, values in tracks.items()},
        notes=("the signals have lost their units", *notes),
    )


def _signal(values: NDArray[np.float32], good: NDArray[np.bool_], before: int) -> Signal:
    """The samples on the labels' clock, and the whole seconds in which all are good."""
    samples = np.concatenate([np.zeros(before, np.float32), values.astype(np.float32)])
    there = np.concatenate([np.zeros(before, np.bool_), good])
    seconds = len(samples) // RATE_HZ
    whole = there[: seconds * RATE_HZ].reshape(seconds, RATE_HZ).all(axis=1)
    return samples[: seconds * RATE_HZ].astype(np.float32), np.asarray(whole, np.bool_)
