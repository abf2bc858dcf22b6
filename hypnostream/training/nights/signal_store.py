"""`hypnostream train signal-nights`: a store's recordings as signal nights, which steps 1 and 2 are trained on.

Raw signals go through the montage resolver and the conditioning that run live. All nights of a store have the same
slots, those that at least one recording can serve; where a recording cannot, its slot is never valid. A night is left
alone when it was made of files of the same hashes; one that fails is named, and is not there.
"""

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from hypnostream.bridges.folder_lock import is_locked, locked
from hypnostream.errors import UserError
from hypnostream.stream.channels import ChannelSpec
from hypnostream.stream.montage import resolve
from hypnostream.training.nights.conditioned import condition_seconds, recorded_streams
from hypnostream.training.nights.frame_channels import frame_specs
from hypnostream.training.nights.signal_night import FRAME_S, SignalNight
from hypnostream.training.nights.signal_nights import HEAD, SIMULATED, read_signal_night, write_signal_night
from hypnostream.training.recordings.recording import UNKNOWN, Recording, one_hash
from hypnostream.training.recordings.recording_file import RecordingFile, read_recording_file
from hypnostream.training.recordings.store import read_recording, recordings_in
from hypnostream.training.running.many import Failed, run_each
from hypnostream.training.running.progress import told

# The sensors of the simulator are those that the learned front-end knows.
SPECS = frame_specs(tuple(SIMULATED), tuple(slot.split("_")[0] for slot in SIMULATED))

_USUAL_FILES = 1024
_MOST_NAMED = 20  # of those that are no failure


@dataclass(frozen=True, slots=True)
class Brought:
    """What became of a recording: whether its night was `made` anew, and each slot's valid `seconds`; none at all:
    there is no night."""

    made: bool
    seconds: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SignalStore:
    """What became of a store, by recordings' names. `served` is each slot's nights and hours, in the nights' order.

    `nothing` has no signal that the front-end takes, `failed` says why, `others` are nights of no recording in it.
    """

    made: tuple[str, ...]
    kept: tuple[str, ...]
    nothing: tuple[str, ...]
    failed: tuple[str, ...]
    others: tuple[str, ...]
    served: dict[str, tuple[int, float]]


def signal_nights_command(store: Path, out: Path, workers: int) -> None:
    """See `make_signal_nights`; says what there is of each sensor, and names what is no night. Exit code 1 on failure.

    Raises UserError when no recording has a signal to learn from.
    """
    with told("signal nights") as progress:
        found = make_signal_nights(store, out, workers, progress)
    for line in found.failed:
        print(f"failed {line}")
    if found.nothing:
        print(f"{len(found.nothing)} have no signal that the front-end takes: {_some(found.nothing)}")
    if found.others:
        print(f"{len(found.others)} nights there are of no recording in {store}: {_some(found.others)}")
    for slot, (nights, hours) in found.served.items():
        print(f"{slot}: {nights} nights, {hours:.1f} h")
    print(f"{len(found.made)} signal nights written to {out}, {len(found.kept)} were there already")
    if found.failed:
        raise SystemExit(1)
    if not found.served:
        raise UserError(
            f"no recording of {store} has raw {', '.join(dict.fromkeys(spec.kind for spec in SPECS))} under a label "
            "that is known (`hypnostream inspect FILE` says how labels are read)"
        )


def make_signal_nights(
    store: Path, out: Path, workers: int = 1, progress: Callable[[int, int, str], None] = lambda *_: None
) -> SignalStore:
    """Turn each stored recording into the night `out`/NAME where it is not that already, `workers` side by side.

    Raises UserError when there is no recording, `out` is the store, or another process is at work in `out`.
    """
    folders = recordings_in(store)
    if not folders:
        raise UserError(f"{store} holds no stored recording; make them with `hypnostream train ingest`")
    if out.resolve() == store.resolve():
        raise UserError(f"{out} is the store itself; nights need a folder of their own")
    if is_locked(out):
        raise UserError(f"another process is at work in {out}; wait for it, or choose another folder")
    with locked(out):
        for left in out.glob("*.partial"):  # by a start that was killed
            shutil.rmtree(left, ignore_errors=True)
        return _make(folders, out, workers, progress)


def _make(folders: Sequence[Path], out: Path, workers: int, progress: Callable[[int, int, str], None]) -> SignalStore:
    served, brought, failed = dict[Path, set[str]](), dict[str, Brought](), dict[str, str]()
    for folder in folders:
        try:
            served[folder] = served_slots(read_recording_file(folder))
        except UserError as error:
            failed[folder.name] = str(error)
    specs = tuple(spec for spec in SPECS if any(spec.name in slots for slots in served.values()))
    able = [folder for folder, slots in served.items() if slots]
    progress(0, len(able), "")
    for done, (place, result) in enumerate(run_each(partial(bring, out, specs), able, workers), 1):
        name = able[place].name
        if isinstance(result, Failed):
            failed[name] = result.message.removeprefix("UserError: ")
        else:
            brought[name] = result
        progress(done, len(able), name)
    nights = {name: each for name, each in sorted(brought.items()) if any(each.seconds)}
    names = [folder.name for folder in folders]
    for name in names:
        if name not in nights:
            _remove(out / name)
    of_slots = zip(*(each.seconds for each in nights.values()), strict=True)
    return SignalStore(
        made=tuple(name for name, each in nights.items() if each.made),
        kept=tuple(name for name, each in nights.items() if not each.made),
        nothing=tuple(name for name in names if name not in nights and name not in failed),
        failed=tuple(f"{name}: {reason}" for name, reason in sorted(failed.items())),
        others=tuple(sorted(path.parent.name for path in out.glob(f"*/{HEAD}") if path.parent.name not in names)),
        served={
            spec.name: (sum(each > 0 for each in seconds), sum(seconds) / 3600)
            for spec, seconds in zip(specs, of_slots, strict=bool(nights))
        },
    )


def served_slots(content: RecordingFile) -> set[str]:
    """The slots that a recording's channels can serve, by their labels, units and rates alone."""
    streams, _ = recorded_streams(content.channels)
    return {derivation.spec.name for derivation in resolve(streams, SPECS).derivations}


def bring(out: Path, specs: Sequence[ChannelSpec], folder: Path) -> Brought:
    """One recording's night into `out`, if it is not there as it would come out.

    Raises UserError when the recording cannot be read, or something else lies in the night's place.
    """
    content, target = read_recording_file(folder), out / folder.name
    if target.exists() and not (target / HEAD).is_file():
        raise UserError(f"{target} is no signal night; choose another folder for the nights, or remove it")
    night = _there(target, content, specs)
    if night is not None:
        return _brought(False, night)
    night = stored_signal_night(read_recording(folder), specs)
    there = _brought(True, night)
    if any(there.seconds):
        write_signal_night(target, night)
    return there


def stored_signal_night(recording: Recording, specs: Sequence[ChannelSpec]) -> SignalNight:
    """A recording as the learned front-end sees it, with a channel for each of `specs`, and all labels."""
    signal, valid, _ = condition_seconds(recording, specs)
    stages = np.full(recording.epochs, UNKNOWN, np.int8) if recording.stages is None else recording.stages
    return SignalNight(
        recording.name,
        recording.subject,
        recording.set_name,
        recording.licence,
        tuple(spec.name for spec in specs),
        tuple(spec.kind for spec in specs),
        signal,
        valid,
        stages,
        {name: track.values for name, track in recording.tracks.items()},
        recording.source_sha256 if recording.sources else "",
        recording.scoring,
    )


def signal_nights_in(folder: Path) -> list[SignalNight]:
    """The signal nights of a folder, in order of their names, signals mapped. Raises UserError when there is none."""
    heads = sorted(folder.glob(f"*/{HEAD}"))
    if not heads:
        raise UserError(f"{folder} holds no signal night; make them with `hypnostream train signal-nights`")
    _allow_open_files(len(heads))
    return [read_signal_night(head.parent) for head in heads]


def _allow_open_files(count: int) -> None:
    """So many beside the usual: each mapped signal is an open file, and most systems begin with a limit of 1024."""
    if sys.platform != "win32":
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = count + _USUAL_FILES if hard == resource.RLIM_INFINITY else min(count + _USUAL_FILES, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _there(target: Path, content: RecordingFile, specs: Sequence[ChannelSpec]) -> SignalNight | None:
    """The night that is there, if it is of these files, this person, this scoring rule and these slots."""
    try:
        night = read_signal_night(target)
    except UserError:
        return None
    asked = one_hash(content.sources), content.subject, content.scoring, tuple(spec.name for spec in specs)
    return night if (night.source_sha256, night.subject, night.scoring, night.channels) == asked else None


def _brought(made: bool, night: SignalNight) -> Brought:
    """Valid seconds; all 0 where not even one frame is whole."""
    whole = len(night.valid) >= FRAME_S and sliding_window_view(night.valid, FRAME_S, axis=0).all(-1).any()
    return Brought(made, tuple((night.valid.sum(0) * bool(whole)).tolist()))


def _some(names: Sequence[str]) -> str:
    """The first of them, and that there are more."""
    return ", ".join(names[:_MOST_NAMED]) + (" ..." if len(names) > _MOST_NAMED else "")


def _remove(target: Path) -> None:
    """A night of what is no more, if that is what lies there: nobody shall train on it."""
    if (target / HEAD).is_file():
        shutil.rmtree(target, ignore_errors=True)
