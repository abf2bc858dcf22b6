"""Recordings to nights for the learned model of breathing, by the code that runs live: what it will be given."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hypnostream.engine.bundle import load_bundle
from hypnostream.engine.respiration.airflow import AirflowSettings, fresh_airflow, take_seconds
from hypnostream.engine.respiration.arousal import ArousalDetector, ArousalSettings
from hypnostream.engine.respiration.beats import BeatDetector
from hypnostream.engine.respiration.channels import RESPIRATION_CHANNELS
from hypnostream.engine.respiration.heart_rate import HeartRate
from hypnostream.engine.respiration.history import HISTORY_S, ROW_NAMES
from hypnostream.engine.respiration.oximetry import Oximetry
from hypnostream.engine.respiration.rules import RuleSettings
from hypnostream.engine.respiration.tick_inputs import tick_inputs
from hypnostream.stream.channels import MISSING, OK
from hypnostream.stream.stages import EPOCH_S
from hypnostream.training.breathing.tick_night import MINUTE_S, TickNight, read_tick_night, write_tick_night
from hypnostream.training.nights.conditioned import condition_seconds
from hypnostream.training.nights.scored_breathing import Progress, make_nights
from hypnostream.training.recordings.recording import UNKNOWN, Recording

Floats = NDArray[np.float64]
# Of each second the beats, whether it was good, and, where a device tells them, the intervals.
Beats = tuple[Sequence[Sequence[float]], Sequence[bool], Sequence[Sequence[float]] | None]
_BY_NAME = {spec.name: spec for spec in RESPIRATION_CHANNELS}
_EVENT = "apnea_or_hypopnea"


def tick_night(recording: Recording) -> TickNight | None:
    """A recording second by second; None when it has none of the sensors, or nobody scored breathing."""
    seconds = recording.epochs * EPOCH_S
    second, half_minute, minute = _labels(recording)
    if not any((labels >= 0).any() for labels in (second, half_minute, minute)):
        return None
    left, phase = _airflow(recording)
    percent, baseline = _saturation(recording)
    numbers, mask = tick_inputs(left, phase, percent, baseline, *_heart(recording), _eeg(recording))
    if not mask.any():
        return None
    return TickNight(
        recording.name,
        recording.subject,
        recording.set_name,
        recording.licence,
        recording.source_sha256,
        numbers[:seconds].astype(np.float16),
        mask[:seconds] > 0,
        second,
        half_minute,
        minute,
    )


def make_tick_nights(store: Path, out: Path, progress: Progress = lambda *_: None) -> list[str]:
    """Write the night of each stored recording that is one, where it is not there yet; returns their names.

    Raises UserError when there is no recording, or one cannot be read.
    """
    return make_nights(
        store,
        lambda name: out / f"{name}.safetensors",
        lambda path: read_tick_night(path).source_sha256,
        tick_night,
        lambda night: write_tick_night(out, night),
        progress,
    )


def _labels(recording: Recording) -> tuple[NDArray[np.int8], NDArray[np.int8], NDArray[np.int8]]:
    """Of seconds (T, 2), half minutes and minutes: each is answered by the track that was scored so."""
    seconds = recording.epochs * EPOCH_S
    second = np.full((seconds, 2), UNKNOWN, np.int8)
    parts = {
        EPOCH_S: np.full(recording.epochs, UNKNOWN, np.int8),
        MINUTE_S: np.full(seconds // MINUTE_S, UNKNOWN, np.int8),
    }
    for name in (_EVENT, f"{_EVENT}_60s"):
        track = recording.tracks.get(name)
        if track is not None and track.resolution_s in parts:
            length_s = track.resolution_s
            parts[length_s] = track.values[: len(parts[length_s]) * length_s : length_s].astype(np.int8)
    for column, name in enumerate((_EVENT, "apnea")):
        track = recording.tracks.get(name)
        if track is not None and track.resolution_s == 1:
            second[:, column] = track.values
    return second, parts[EPOCH_S], parts[MINUTE_S]


def _airflow(recording: Recording) -> tuple[Floats, Floats]:
    """What is left of the baseline (T, 5), and the phase of the belts (T,)."""
    seconds = recording.epochs * EPOCH_S
    left, phase = np.full((seconds, 5), np.nan), np.full(seconds, np.nan)
    samples, known, montage = condition_seconds(recording, [_BY_NAME[name] for name in ROW_NAMES])
    if montage.derivations:
        settings = AirflowSettings(rules=RuleSettings(pap=recording.set_name == "CPAP flow"))
        state = fresh_airflow(settings)
        for second, _ in enumerate(take_seconds(state, settings, samples.astype(np.float64), known)):
            left[second] = state.history.left[:, second % HISTORY_S]
            phase[second] = state.history.phase[second % HISTORY_S]
    return left, phase


def _saturation(recording: Recording) -> tuple[Floats, Floats]:
    """The saturation (T,) of each second that is settled as it ends, and its baseline (T,)."""
    seconds = recording.epochs * EPOCH_S
    percent, baseline = np.full(seconds, np.nan), np.full(seconds, np.nan)
    samples, known, montage = condition_seconds(recording, [_BY_NAME["spo2"]])
    if montage.derivations:
        oximetry = Oximetry()
        quality = np.where(known[:, 0], OK, MISSING).astype(np.uint8)
        for second in range(seconds):
            for settled in oximetry.advance(samples[second, 0], quality[second : second + 1]):
                if settled.second == second and settled.percent is not None:
                    percent[second] = settled.percent
                    baseline[second] = np.nan if settled.baseline is None else settled.baseline
    return percent, baseline


def _heart(recording: Recording) -> tuple[Floats, Floats, Floats]:
    """The heart's rate in each second (T,), its usual interval (T,) and cyclic share (T,), by whatever tells of it."""
    seconds = recording.epochs * EPOCH_S
    beats = _given_rates(recording) or _beats(recording)
    if beats is None:
        nothing = np.full(seconds, np.nan)
        return nothing, nothing, nothing
    heart = HeartRate()
    evidence = heart.advance(heart.fresh(), *beats)
    return evidence.now_bpm, evidence.usual_interval_s, evidence.cyclic_share


def _beats(recording: Recording) -> Beats | None:
    """From beats, or else from an ECG."""
    seconds = recording.epochs * EPOCH_S
    points = next((points for points in recording.points if points.kind == "beat"), None)
    if points is not None:
        edges = np.searchsorted(points.time_s, np.arange(seconds + 1)).tolist()
        times, intervals = points.time_s.tolist(), points.value.tolist()
        cuts = [slice(first, last) for first, last in pairwise(edges)]
        return [times[cut] for cut in cuts], [True] * seconds, [intervals[cut] for cut in cuts]
    samples, known, montage = condition_seconds(recording, [_BY_NAME["ecg"]])
    if not montage.derivations:
        return None
    detector = BeatDetector()
    good = known[:, 0]
    return detector.advance(detector.fresh(), samples[:, 0], good), good.tolist(), None


def _given_rates(recording: Recording) -> Beats | None:
    """Where a device says the rate (Santa Fe): as if a beat of that interval ended with each second."""
    place = next((i for i, channel in enumerate(recording.channels) if channel.unit == "bpm"), None)
    if place is None:
        return None
    rate_hz = round(recording.channels[place].rate_hz)
    beats_s, good, intervals_s = list[list[float]](), list[bool](), list[list[float]]()
    for block in recording.blocks():
        each = block.samples[place].reshape(EPOCH_S, rate_hz).mean(axis=1)
        for rate_bpm, valid in zip(each.tolist(), block.valid[place].tolist(), strict=True):
            good.append(valid and rate_bpm > 0)
            beats_s.append([float(len(good))] if good[-1] else [])
            intervals_s.append([60 / rate_bpm] if good[-1] else [])
    return beats_s, good, intervals_s


def _eeg(recording: Recording) -> Floats:
    """The logarithms of the EEG's power in three bands (T, 3)."""
    seconds = recording.epochs * EPOCH_S
    spec = next(spec for spec in load_bundle().channels if spec.kind == "eeg")
    samples, known, montage = condition_seconds(recording, [spec])
    if not montage.derivations:
        return np.full((seconds, 3), np.nan)
    detector = ArousalDetector(ArousalSettings(), spec.rate_hz)
    return detector.powers(detector.fresh(), samples[:, 0], known[:, 0])[:, :3]
