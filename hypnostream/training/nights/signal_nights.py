"""Signal nights made: from the simulator, from a recording, from UCDDB's raw EEG; and kept on disk as plain arrays.

Whatever the origin, samples pass through `StreamConditioner`, the code that runs live. A night on disk is a folder of
`.npy` files that are mapped, not read, so that training on many nights takes no more memory than its batches.
"""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from hypnostream.bounded_file import read_bounded
from hypnostream.errors import UserError
from hypnostream.stream.channels import OK, ChannelSpec, Derivation, Term
from hypnostream.stream.conditioning import StreamConditioner
from hypnostream.stream.simulator import Night, NightSettings, SimulatedSource, simulate_night
from hypnostream.stream.source import ChannelInfo, Chunk, StreamInfo
from hypnostream.stream.stages import EPOCH_S
from hypnostream.stream.units import convert
from hypnostream.training.nights.signal_night import RATE_HZ, SignalNight
from hypnostream.training.recordings.recording import UNKNOWN, Recording
from hypnostream.training.recordings.sets import ucddb

FORMAT = "hypnostream-signal-night-1"
HEAD = "night.json"  # what a folder that is a night holds


@dataclass(frozen=True, slots=True)
class KindSignal:
    """How a kind of sensor is conditioned for the learned front-end, and its usual mean |x| in that unit."""

    unit: str
    highpass_hz: float
    lowpass_hz: float | None
    usual: float


KIND_SIGNALS = {
    "eeg": KindSignal("uV", 0.3, None, 10.0),
    "eog": KindSignal("uV", 0.3, None, 15.0),
    "emg": KindSignal("uV", 10.0, None, 3.0),
    "ecg": KindSignal("mV", 0.5, None, 0.1),
    "flow": KindSignal("", 0.05, 5.0, 0.5),
    "effort": KindSignal("", 0.05, 5.0, 0.5),
}
SIMULATED = {  # slot: the simulator's channel
    "eeg_frontal": "EEG Fpz-Cz",
    "eeg_posterior": "EEG Pz-Oz",
    "eog": "EOG horizontal",
    "emg": "EMG chin",
    "ecg": "ECG",
    "flow": "Airflow",
    "effort_thorax": "Thorax",
    "effort_abdomen": "Abdomen",
}


def signal_spec(slot: str, kind: str) -> ChannelSpec:
    """What the learned front-end asks of a sensor of this kind. Raises UserError for a kind that it has none for."""
    if kind not in KIND_SIGNALS:
        raise UserError(f"kind {kind!r} of {slot!r} has no learned front-end; choose of {', '.join(KIND_SIGNALS)}")
    how = KIND_SIGNALS[kind]
    return ChannelSpec(slot, kind, how.unit, RATE_HZ, (), how.highpass_hz, how.lowpass_hz)


def simulated_signal_night(settings: NightSettings, seed: int, slots: Sequence[str] = tuple(SIMULATED)) -> SignalNight:
    """A simulated night: stages known, apneas and hypopneas by the second. Each seed is another sleeper."""
    night = simulate_night(settings, seed)
    kinds = tuple(slot.split("_")[0] for slot in slots)
    source = SimulatedSource(night, chunk_s=float(EPOCH_S))
    seconds = len(night.stages) * EPOCH_S
    signal, valid = _empty(seconds, len(slots))
    wanted = {SIMULATED[slot]: (place, slot, kind) for place, (slot, kind) in enumerate(zip(slots, kinds, strict=True))}
    conditioners = []
    for info in source.streams:
        found = [(column, wanted[c.label]) for column, c in enumerate(info.channels) if c.label in wanted]
        derivations = [
            Derivation(signal_spec(slot, kind), info.stream_id, (Term(column, 1.0),), slot, "simulated")
            for column, (_, slot, kind) in found
        ]
        if found:
            places = [place for _, (place, _, _) in found]
            conditioners.append(StreamConditioner(info, derivations, places, 0.0))
    while not source.exhausted:
        for chunk in source.read(0.0):
            for conditioner in conditioners:
                if conditioner.info.stream_id == chunk.stream_id:
                    _keep(conditioner, chunk, signal, valid)
    for conditioner in conditioners:
        _keep(conditioner, None, signal, valid)
    name = f"simulated-{seed}"
    tracks = {kind: _events_by_second(night, kind) for kind in ("apnea", "hypopnea")}
    return SignalNight(
        name, f"simulated:{seed}", "simulated", "none", tuple(slots), kinds, signal, valid, night.stages, tracks
    )


def recorded_signal_night(recording: Recording, wanted: dict[str, str]) -> SignalNight:
    """A recording's channels: `wanted` maps slots ("eeg_frontal") to the labels that the recording has.

    A label that is not there leaves its slot invalid throughout. Raises UserError when none is there, or when a
    channel's unit cannot be turned into the front-end's.
    """
    by_label = {channel.label: place for place, channel in enumerate(recording.channels)}
    slots = tuple(wanted)
    if not set(wanted.values()) & set(by_label):
        raise UserError(f"{recording.name} has none of {', '.join(wanted.values())}; it has {', '.join(by_label)}")
    signal, valid = _empty(recording.epochs * EPOCH_S, len(slots))
    kinds, readers = [], []
    for place, (slot, label) in enumerate(wanted.items()):
        column = by_label.get(label)
        kinds.append(recording.channels[column].kind if column is not None else slot.split("_")[0])
        if column is not None:
            channel = recording.channels[column]
            spec = signal_spec(slot, channel.kind)
            conversion = convert(channel.unit, spec.unit, channel.kind)
            if conversion.factor is None:
                raise UserError(f"{recording.name}: {label!r} cannot be had in {spec.unit}: {conversion.remark}")
            info = StreamInfo(slot, channel.rate_hz, (ChannelInfo(label, channel.unit),))
            derivation = Derivation(spec, slot, (Term(0, conversion.factor),), label, "recorded as such")
            readers.append((column, StreamConditioner(info, [derivation], [place], 0.0)))
    for epoch, block in enumerate(recording.blocks()):
        for column, conditioner in readers:
            for chunk in _stretches(conditioner.info, block.samples[column], block.valid[column], epoch):
                _keep(conditioner, chunk, signal, valid)
    for _, conditioner in readers:
        _keep(conditioner, None, signal, valid)
    stages = np.full(recording.epochs, UNKNOWN, np.int8) if recording.stages is None else recording.stages
    tracks = {name: track.values for name, track in recording.tracks.items()}
    return SignalNight(
        recording.name, recording.subject, recording.set_name, recording.licence, slots, tuple(kinds), signal, valid,
        stages, tracks, recording.source_sha256 if recording.sources else "", recording.scoring,
    )  # fmt: skip


def ucddb_signal_night(path: Path) -> SignalNight:
    """One night of UCDDB's raw EEG C3-A2; epochs that the file does not hold are a gap. Raises UserError."""
    return recorded_signal_night(ucddb.read(path), {"eeg": "C3-A2"})


class _Head(msgspec.Struct, forbid_unknown_fields=True):
    format: str
    name: str
    subject: str
    set_name: str
    licence: str
    channels: tuple[str, ...]
    kinds: tuple[str, ...]
    tracks: tuple[str, ...]
    source_sha256: str = ""
    scoring: str = ""


def write_signal_night(folder: Path, night: SignalNight) -> None:
    """The night as a folder; whole or not at all."""
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    np.save(partial / "signal.npy", np.asarray(night.signal, np.float32))
    np.save(partial / "valid.npy", night.valid)
    np.save(partial / "stage.npy", night.stage)
    for name, values in night.tracks.items():
        np.save(partial / f"track_{name}.npy", values)
    head = _Head(
        FORMAT, night.name, night.subject, night.set_name, night.licence, night.channels, night.kinds,
        tuple(night.tracks), night.source_sha256, night.scoring,
    )  # fmt: skip
    (partial / HEAD).write_bytes(msgspec.json.encode(head))
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def read_signal_night(folder: Path) -> SignalNight:
    """The night with its signal mapped from disk. Raises UserError when the folder is none of ours.

    Its other arrays are small and read: each mapped file is an open one, and of those a process may have few.
    """
    try:
        head = msgspec.json.decode(read_bounded(folder / HEAD, 1 << 20), type=_Head)
        if head.format != FORMAT:
            raise UserError(f"{folder}: format is {head.format!r}, {FORMAT!r} is needed. Make the night again.")
        if not all(name.isidentifier() for name in head.tracks):
            raise UserError(f"{folder}: a track of {list(head.tracks)} has a name that no track has")
        arrays = {
            name: np.load(folder / f"{name}.npy", mmap_mode="r" if name == "signal" else None, allow_pickle=False)
            for name in ("signal", "valid", "stage", *(f"track_{track}" for track in head.tracks))
        }
    except (OSError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise UserError(f"{folder} holds no signal night: {error}. Make it again.") from error
    signal, stage = arrays["signal"], arrays["stage"]
    expected = (len(stage) * EPOCH_S, len(head.channels), RATE_HZ)
    if signal.shape != expected or arrays["valid"].shape != expected[:2] or len(head.kinds) != len(head.channels):
        raise UserError(f"{folder}: a signal of {signal.shape} does not fit {len(stage)} epochs. Make it again.")
    return SignalNight(
        head.name, head.subject, head.set_name, head.licence, head.channels, head.kinds, signal, arrays["valid"],
        stage, {track: arrays[f"track_{track}"] for track in head.tracks}, head.source_sha256, head.scoring,
    )  # fmt: skip


def _empty(seconds: int, channels: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    return np.zeros((seconds, channels, RATE_HZ), np.float32), np.zeros((seconds, channels), np.bool_)


def _keep(
    conditioner: StreamConditioner, chunk: Chunk | None, signal: NDArray[np.float32], valid: NDArray[np.bool_]
) -> None:
    """Push a chunk (None: the end), and put the seconds that come out where they belong."""
    blocks = conditioner.flush(len(signal)) if chunk is None else conditioner.push(chunk)
    for block in blocks:
        part = block.part(max(0, -block.start), max(0, min(block.count, len(signal) - block.start)))
        first = max(block.start, 0)
        for row, place in enumerate(part.channels):
            signal[first : first + part.count, place] = part.samples[row]
            valid[first : first + part.count, place] = part.quality[row] == OK


def _stretches(info: StreamInfo, samples: NDArray[np.float32], valid: NDArray[np.bool_], epoch: int) -> Iterable[Chunk]:
    """An epoch's valid seconds as chunks, one for each run of them."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], valid.astype(np.int8), [0]))))
    for first_s, end_s in edges.reshape(-1, 2):
        first, end = (min(round(float(each) * info.rate_hz), len(samples)) for each in (first_s, end_s))
        stamps = epoch * EPOCH_S + np.arange(first, end) / info.rate_hz
        yield Chunk(info.stream_id, np.ascontiguousarray(samples[first:end, None]), stamps)


def _events_by_second(night: Night, kind: str) -> NDArray[np.int8]:
    """1 in each second that an event of this kind covers by half or more."""
    track = np.zeros(len(night.stages) * EPOCH_S, np.int8)
    for event in night.events:
        if event.kind.endswith(kind):
            track[round(event.start_s) : round(event.start_s + event.duration_s)] = 1
    return track
