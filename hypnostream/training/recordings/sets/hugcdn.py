"""HuGCDN2014-OXI (`hugcdn2014_oxi`): whole nights of SpO2 and heart beats, an apnea label each minute and half minute.

The signals begin two minutes after the labels' clock, and the labels run on behind them. Whether labels and signals
tell of the same night is checked: in minutes with apnea the saturation swings. Labels that do not fit are kept
apart, in tracks whose name begins with DOUBTED.
"""

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hypnostream.errors import UserError
from hypnostream.stream.stages import EPOCH_S
from hypnostream.training.recordings.beats import beats_of
from hypnostream.training.recordings.blocks import blocks_of
from hypnostream.training.recordings.job import Job
from hypnostream.training.recordings.labels import repeated
from hypnostream.training.recordings.recording import DOUBTED, UNKNOWN, Channel, Recording, Track
from hypnostream.training.recordings.sets.files import read_arrays, set_folder, sources
from hypnostream.training.recordings.sets.minutes import agreement_at, best_shift, restlessness, swing
from hypnostream.training.recordings.subjects import person

FOLDER = "hugcdn2014_oxi"
MINUTE_S = 60
MOST_SHIFT = 3  # minutes that the beats may be off the saturation
CLEARLY = 0.1  # how much better another shift must agree to be believed
LEAST_SHARE, LEAST_AGREEMENT = 0.1, 0.2  # with so much apnea, labels that agree less with the saturation are not its


def found(data: Path) -> list[Job]:
    """A job a night."""
    folder = set_folder(data, FOLDER)
    if folder is None:
        return []
    return [
        Job(f"hugcdn-{path.stem}", partial(read, path), (path,), "hugcdn 2") for path in sorted(folder.glob("*.npz"))
    ]


def read(path: Path) -> Recording:
    """One night, cut to the shortest of saturation, beats and labels."""
    raw, quarters, minutes, each_minute, each_half = read_arrays(
        path, "spo2_1hz", "rr_ms_x4", "rr_minute", "apnea_1min", "apnea_30s"
    )
    if len(quarters) != len(minutes) or len(minutes) == 0 or (np.diff(minutes.astype(int)) < 0).any():
        raise UserError(f"{path}: its beats are not in order; copy it again")
    percent = np.where(raw > 0, raw.astype(np.float32) / 100, np.nan).astype(np.float32)
    beats_s = beat_times(quarters / 4000.0, minutes.astype(np.int64))
    notes: list[str] = []
    saturation = swing(percent)
    heart = restlessness(beats_s)
    shift, gain = best_shift(saturation, heart, MOST_SHIFT)
    if gain >= CLEARLY:
        beats_s = beats_s + shift * MINUTE_S
        notes.append(f"beats moved by {shift} min, where they agree with the saturation")
    ends_s = [len(raw), int(beats_s[-1]) + 1, len(each_minute) * MINUTE_S, len(each_half) * EPOCH_S]
    epochs = min(ends_s) // EPOCH_S
    if max(ends_s) - min(ends_s) > MINUTE_S:
        names = "saturation", "beats", "minutes", "half minutes"
        said = ", ".join(f"{name} {end / 60:.1f}" for name, end in zip(names, ends_s, strict=True))
        notes.append(f"cut to the shortest ({said} min)")
    seconds = epochs * EPOCH_S
    tracks = {
        "apnea_or_hypopnea": repeated(each_half, EPOCH_S, seconds),
        "apnea_or_hypopnea_60s": repeated(each_minute, MINUTE_S, seconds),
    }
    agreement = agreement_at(saturation, each_minute.astype(np.float64))
    if each_minute.mean() >= LEAST_SHARE and agreement < LEAST_AGREEMENT:
        notes.append(f"labels agree with the saturation by r = {agreement:.2f} only: not believed")
        doubted = {f"{DOUBTED}{name}": track for name, track in tracks.items()}
        tracks = {name: Track(np.full(seconds, UNKNOWN, np.int8), t.resolution_s) for name, t in tracks.items()}
        tracks |= doubted
    notes.append("the set's word is apnea; it does not tell hypopnea apart")
    return Recording(
        name=f"hugcdn-{path.stem}",
        subject=person("hugcdn", path.stem),
        set_name="HuGCDN2014-OXI",
        licence="CC BY 4.0",
        sources=sources(path),
        epochs=epochs,
        channels=(Channel("SpO2", "spo2", "%", 1.0),),
        blocks=partial(blocks_of, [(percent, np.isfinite(percent))], epochs),
        tracks=tracks,
        points=(beats_of(beats_s, seconds),),
        notes=tuple(notes),
    )


def beat_times(rr_s: NDArray[np.float64], minute: NDArray[np.int64]) -> NDArray[np.float64]:
    """When each beat was (n,), in seconds, from the intervals and the minute that each is said to be in.

    The intervals add up to the time, but for what was left out of them: up to 20 s a night. So the sum is moved,
    slowly, to where the minutes are: by the median over half an hour of how far their beats lie off their middles.
    """
    summed = minute[0] * 60.0 + np.cumsum(rr_s)
    those, place = np.unique(minute, return_inverse=True)
    middle = np.bincount(place, summed) / np.bincount(place)
    off = (those + 0.5) * 60 - middle
    padded = np.pad(off, 15, mode="reflect" if len(off) > 15 else "edge")
    slow = np.median(np.lib.stride_tricks.sliding_window_view(padded, 31), axis=1)
    return np.asarray(np.maximum.accumulate(summed + np.interp(summed, middle, slow)), np.float64)
