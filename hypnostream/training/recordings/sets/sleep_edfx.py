"""Sleep-EDF Expanded as features an epoch (`sleep_edfx_features`): 34 of Fpz-Cz, band powers of three channels.

The cassette nights (SC) are staged. The telemetry nights (ST) have labels that drift: they are never read.
"""

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hypnostream.errors import UserError
from hypnostream.training.recordings.job import Job
from hypnostream.training.recordings.recording import UNKNOWN, Recording
from hypnostream.training.recordings.sets.files import read_arrays, set_folder, sources
from hypnostream.training.recordings.subjects import sleep_edf_person

FOLDER = "sleep_edfx_features"
SET = "Sleep-EDF Expanded"
WAVELET = "eeg_fpzcz34"  # features: (N, 34); NaN where there is no row
BANDS = "bandpower"  # features: (N, 3, 10)
NOT_SCORED = -100


def found(data: Path) -> list[Job]:
    """A job a night."""
    folder = set_folder(data, FOLDER)
    if folder is None:
        return []
    return [Job(path.stem[:7], partial(read, path), (path,), "sleep_edfx 1") for path in sorted(folder.glob("S*.npz"))]


def read(path: Path) -> Recording:
    """One night of features, with stages when it is a cassette night."""
    (wavelet,) = read_arrays(path, WAVELET)
    telemetry = path.stem.startswith("ST")
    stages, epochs, notes = None, len(wavelet), ["trimmed to 30 min around sleep"]
    features: dict[str, NDArray[np.float32]] = {}
    if telemetry:
        notes = ["its labels drift and are not read"]
    else:
        labels, bands = read_arrays(path, "labels", BANDS)
        stages = np.where(labels == NOT_SCORED, UNKNOWN, labels).astype(np.int8)
        epochs = len(stages)
        features[BANDS] = bands.astype(np.float32)
        if len(bands) != epochs or len(wavelet) > epochs:
            raise UserError(f"{path}: {epochs} labels, {len(bands)} and {len(wavelet)} rows of features; copy it again")
    missing = epochs - len(wavelet)
    if missing:  # the rows that are not there are the last
        notes.append(f"the last {missing} epochs have no row of {WAVELET}")
    rows = np.full((epochs, wavelet.shape[1]), np.nan, np.float32)
    rows[: len(wavelet)] = wavelet
    return Recording(
        name=path.stem[:7],
        subject=sleep_edf_person(path.stem),
        set_name=SET,
        licence="ODC-By 1.0",
        sources=sources(path),
        epochs=epochs,
        scoring="" if telemetry else "R&K",
        stages=stages,
        features={WAVELET: rows, **features},
        notes=tuple(notes),
    )
