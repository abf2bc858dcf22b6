"""The nights that step 1 is run on: a folder of signal nights, UCDDB's EEG, or simulated ones.

The latter two are made once and kept beside the run. Who is held out is fixed; none of their nights is trained on.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hypnostream.errors import UserError
from hypnostream.ranges import at_least, between, inside
from hypnostream.stream.simulator import NightSettings
from hypnostream.training.nights.signal_night import SignalNight
from hypnostream.training.nights.signal_nights import (
    HEAD,
    KIND_SIGNALS,
    SIMULATED,
    read_signal_night,
    simulated_signal_night,
    ucddb_signal_night,
    write_signal_night,
)
from hypnostream.training.nights.signal_store import signal_nights_in
from hypnostream.training.nights.splits import split_by_subject
from hypnostream.training.pretraining.pretrain_synthsleepnet import fingerprint, held_out
from hypnostream.training.recordings.sets.ucddb import FOLDER

HELD_OUT = 0.2  # of the people of a folder
UCDDB_HELD_OUT = ("ucddb022", "ucddb006", "ucddb015", "ucddb021")  # 022 is the one with nearly a whole night of EEG


@dataclass(frozen=True, slots=True)
class SimulatedSet:
    """How many simulated nights to train on and to hold out, and what they are like; each is another sleeper."""

    train: int = 5
    held_out: int = 3
    hours: float = 7.0
    sleeper_spread: float = 1.0
    events_per_hour: float = 10.0
    rate_hz: int = 128

    def __post_init__(self) -> None:
        at_least(1, self, "train", "held_out")
        inside(0, 7 * 24, self, "hours")
        at_least(0, self, "sleeper_spread", "events_per_hour")
        between(32, 4096, self, "rate_hz")


@dataclass(frozen=True, slots=True, eq=False)
class NightSet:
    """Nights to train on and those held out, with a fingerprint of each; `words` say what they are."""

    train: tuple[SignalNight, ...]
    held_out: tuple[SignalNight, ...]
    fingerprints: dict[str, str]
    words: str

    def __post_init__(self) -> None:
        both = {night.subject for night in self.train} & {night.subject for night in self.held_out}
        if both:
            raise UserError(f"subjects {sorted(both)} are trained on and held out; a person is on one side only")


def nights_of(kind: str, folder: Path, seed: int) -> NightSet:
    """The nights of a folder that `train signal-nights` made which have a signal of this kind.

    A fifth of the folder's people is held out, for one seed the same in all kinds: step 2 can then hold them out too.
    Raises UserError for an unknown kind, an empty folder, fewer than 3 people, or nobody with this kind on a side.
    """
    _check(kind)
    nights = signal_nights_in(folder)
    away = held_out([night.subject for night in nights], HELD_OUT, seed)
    split = split_by_subject([night for night in nights if _has(night, kind)], lambda night: night.subject in away)
    if not split.train or not split.test:
        raise UserError(
            f"{len(split.train)} nights of {folder} to train on and {len(split.test)} of the people held out "
            f"({', '.join(sorted(away))}) have {kind}; bring more who have it, or give them a folder of their own"
        )
    return NightSet(
        split.train,
        split.test,
        {night.name: fingerprint(night) for night in (*split.train, *split.test)},
        ", ".join(sorted({night.set_name for night in (*split.train, *split.test)})),
    )


def nights_for(
    kind: str,
    data: Path | None,
    folder: Path,
    simulated: SimulatedSet,
    progress: Callable[[int, int, str], None] = lambda *_: None,
) -> NightSet:
    """The nights of a kind, made into `folder` where they are not there yet. Raises UserError for an unknown kind.

    EEG is UCDDB's when `data` is given (UserError when it is not there); all else is simulated, and EEG without `data`.
    """
    _check(kind)
    if kind == "eeg" and data is not None:
        files = sorted((data / FOLDER).glob("ucddb*.npz"))
        if not files:
            raise UserError(
                f"{data} holds no {FOLDER}/ucddb*.npz; name the data folder, or leave --data out to simulate"
            )
        made = {path.stem: (_digest(path), lambda path=path: ucddb_signal_night(path)) for path in files}
        away: Sequence[str] = UCDDB_HELD_OUT
        words = "UCDDB, real EEG C3-A2 (most people's Wake and N3 epochs only)"
    else:
        slots = tuple(slot for slot in SIMULATED if slot.split("_")[0] == kind)
        settings = NightSettings(
            duration_s=simulated.hours * 3600,
            sleeper_spread=simulated.sleeper_spread,
            events_per_hour=simulated.events_per_hour,
            rate_hz=simulated.rate_hz,
        )
        seeds = range(simulated.train + simulated.held_out)
        described = hashlib.sha256(f"{settings} {slots}".encode()).hexdigest()
        made = {
            f"simulated-{kind}-{seed}": (described, lambda seed=seed: simulated_signal_night(settings, seed, slots))
            for seed in seeds
        }
        away = [f"simulated-{kind}-{seed}" for seed in seeds[simulated.train :]]
        words = "simulated nights"
    nights = {}
    for done, (name, (digest, make)) in enumerate(made.items()):
        progress(done, len(made), name)
        nights[name] = _kept(folder / f"{name}-{digest[:12]}", make)
    progress(len(made), len(made), "")
    return NightSet(
        tuple(night for name, night in nights.items() if name not in away),
        tuple(night for name, night in nights.items() if name in away),
        {name: digest for name, (digest, _) in made.items()},
        words,
    )


def _check(kind: str) -> None:
    if kind not in KIND_SIGNALS:
        raise UserError(f"kind {kind!r} is none of {', '.join(KIND_SIGNALS)}")


def _has(night: SignalNight, kind: str) -> bool:
    """Whether a channel of this kind was recorded for a second or more."""
    return any(each == kind and night.valid[:, place].any() for place, each in enumerate(night.kinds))


def _kept(folder: Path, make: Callable[[], SignalNight]) -> SignalNight:
    if not (folder / HEAD).exists():
        write_signal_night(folder, make())
    return read_signal_night(folder)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
