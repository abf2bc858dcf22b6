"""What a bundle says of recordings, by the engine that runs at the bedside, sample by sample and second by second."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from hypnostream.bridges.run import drive, finish
from hypnostream.engine.backend import Backend, OnnxBackend
from hypnostream.engine.bed import Bed
from hypnostream.engine.bundle import Bundle, load_bundle
from hypnostream.engine.respiration.event import Event
from hypnostream.engine.results import StageResult
from hypnostream.engine.session import Session
from hypnostream.errors import UserError
from hypnostream.stream.montage import resolve
from hypnostream.stream.source import Notice
from hypnostream.stream.stages import EPOCH_S, STAGES
from hypnostream.training.evaluation.predictions import NightPrediction
from hypnostream.training.evaluation.recording_steps import steps_of, streams_of
from hypnostream.training.evaluation.store import PredictionSet
from hypnostream.training.recordings.recording import UNKNOWN, Recording
from hypnostream.training.recordings.recording_file import read_recording_file
from hypnostream.training.recordings.store import read_recording, recordings_in
from hypnostream.training.recordings.store_tables import STAGES_TABLE
from hypnostream.training.running.many import Failed, run_each

Told = Callable[[int, int, str], None]


class SaidSeconds:
    """A sink that keeps what is said of `epochs` epochs after each second: (epochs, 30, 5), NaN for nothing."""

    def __init__(self, epochs: int) -> None:
        self.probabilities = np.full((epochs, EPOCH_S, len(STAGES)), np.nan, np.float32)

    def publish(self, result: StageResult, now_s: float, latency_s: float | None = None) -> None:
        """Keep it, if there was anything to say."""
        if result.stage is not None and 0 <= result.epoch < len(self.probabilities):
            self.probabilities[result.epoch, result.seconds - 1] = result.probabilities

    def event(self, event: Event, now_s: float, latency_s: float | None = None) -> None:
        """Not kept."""

    def notice(self, notice: Notice) -> None:
        """Not kept."""

    def heartbeat(self, now_s: float) -> None:
        """Not kept."""


def from_bundle(recording: Recording, bundle: Bundle, backend: Backend | None = None) -> NightPrediction:
    """One night. Seconds that the engine closes together, as after a gap begins, are said of by the last one only.

    Raises UserError when none of its channels serves the bundle, or it holds no signal."""
    if not recording.channels:
        raise UserError(f"{recording.name} holds no signal; a bundle needs raw signals")
    streams = streams_of(recording)
    montage = resolve(streams, bundle.channels, {})
    if not montage.derivations:
        labels = ", ".join(repr(channel.label) for channel in recording.channels[:12])
        wanted = ", ".join(spec.name for spec in bundle.channels)
        raise UserError(f"{recording.name}: no channel serves this model ({wanted}); it has {labels}")
    session = Session(bundle, backend or OnnxBackend(bundle))
    bed = Bed(streams, montage, session, provisional=True)
    said = SaidSeconds(recording.epochs)
    outcome = drive(steps_of(recording), bed, [said], timed=False)
    end_s = float(recording.epochs * EPOCH_S)
    finish(bed, [said], outcome, end_s, end_s, timed=False)
    stages = np.full(recording.epochs, UNKNOWN, np.int8)
    if recording.stages is not None:
        known = recording.stages[: recording.epochs]
        stages[: len(known)] = known
    return NightPrediction(
        name=recording.name,
        subject=recording.subject,
        set_name=recording.set_name,
        reference=stages,
        probabilities=said.probabilities[:, -1].copy(),
        provisional=said.probabilities,
    )


def from_stored(
    bundle_path: Path | None, recordings: Path, workers: int, ray: bool, told: Told
) -> tuple[PredictionSet, list[str]]:
    """A bundle (None: the shipped one) over the stored recordings of a folder, side by side.

    Those without signals, or that nobody staged, have nothing to compare and are left out.

    Returns what was said, and a line for each recording that could not be predicted.
    Raises UserError when there is no recording, or every one failed.
    """
    bundle = load_bundle(bundle_path)
    folders = [folder for folder in recordings_in(recordings) if _is_staged_signal(folder)]
    if not folders:
        raise UserError(f"{recordings} holds no recording with both signals and stages; ingest one there first")
    nights: dict[int, NightPrediction] = {}
    failed = []
    for place, result in run_each(partial(_of_folder, bundle_path), folders, workers, ray):
        if isinstance(result, Failed):
            failed.append(f"{folders[place].name}: {result.message}")
        else:
            nights[place] = result
        told(len(nights) + len(failed), len(folders), folders[place].name)
    if not nights:
        raise UserError(f"none of the {len(folders)} recordings in {recordings} could be predicted; {failed[0]}")
    ordered = tuple(nights[place] for place in sorted(nights))
    return PredictionSet(ordered, f"{bundle.content.name} {bundle.content.version} {bundle.hash[:8]}"), sorted(failed)


def _is_staged_signal(folder: Path) -> bool:
    """Whether there is something to compare; what cannot be read is not left out here, so that it is told."""
    try:
        content = read_recording_file(folder)
    except UserError:
        return True
    return bool(content.channels) and STAGES_TABLE in content.tables


def _of_folder(bundle_path: Path | None, folder: Path) -> NightPrediction:
    return from_bundle(read_recording(folder), load_bundle(bundle_path))
