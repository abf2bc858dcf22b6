"""Who is in which part: people are on one side of a split, which is written down before anything is trained.

Whatever is split, recordings or token nights, goes by `subject`, a person's one name across all sets. Nothing depends
on the order in which files were found: people are put in order by a hash of the seed and their name.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from hypnostream.bounded_file import read_bounded
from hypnostream.errors import UserError

_LARGEST_BYTES = 64 * 2**20
FORMAT = "hypnostream-split-1"


class Night(Protocol):
    """What a split must know of a recording or a token night."""

    @property
    def name(self) -> str:
        """Unique in its folder."""
        ...

    @property
    def subject(self) -> str:
        """The person's one name across all sets."""
        ...

    @property
    def set_name(self) -> str:
        """The set that it is of."""
        ...

    @property
    def source_sha256(self) -> str:
        """A hash of all that it was made of."""
        ...


N = TypeVar("N", bound=Night)
Manifest = dict[str, list[dict[str, str]]]


@dataclass(frozen=True, slots=True)
class Split(Generic[N]):
    """Nights to train on, to test on and, where something is chosen by it, to validate on.

    No subject is on two sides and no name is there twice: checked when it is made, UserError names them.
    """

    train: tuple[N, ...]
    test: tuple[N, ...]
    validation: tuple[N, ...] = ()

    def __post_init__(self) -> None:
        sides: dict[str, str] = {}
        names: set[str] = set()
        for side, nights in self.sides().items():
            for night in nights:
                if sides.setdefault(night.subject, side) != side:
                    raise UserError(
                        f"subject {night.subject} is in {sides[night.subject]} and in {side}; "
                        "a subject may be on one side only."
                    )
                if night.name in names:
                    raise UserError(f"night {night.name} is twice in the split; name each once.")
                names.add(night.name)

    def sides(self) -> dict[str, tuple[N, ...]]:
        """The parts by name; "validation" only where there is one."""
        return {"train": self.train, "test": self.test, **({"validation": self.validation} if self.validation else {})}

    def manifest(self) -> Manifest:
        """What a run writes beside its weights."""
        return {
            side: [
                {"night": n.name, "subject": n.subject, "set": n.set_name, "sha256": n.source_sha256} for n in nights
            ]
            for side, nights in self.sides().items()
        }


def split_by_subject(nights: Sequence[N], is_test: Callable[[N], bool]) -> Split[N]:
    """Nights for which `is_test` holds against the others."""
    return Split(tuple(n for n in nights if not is_test(n)), tuple(n for n in nights if is_test(n)))


def folds(
    nights: Sequence[N],
    count: int,
    seed: int,
    stratum: Callable[[N], str] = lambda night: night.set_name,
    validation_share: float = 0.0,
) -> tuple[Split[N], ...]:
    """`count` splits in which each subject is tested once, each stratum spread over the folds as evenly as it goes.

    `stratum` names a night's kind (its set, or how ill the sleeper is); a subject's is that of the first of its nights
    by name. `validation_share` of the training subjects of each fold, at least one, validate. Raises UserError when
    there are fewer subjects than folds.
    """
    of = _by_subject(nights)
    if not 2 <= count <= len(of):
        raise UserError(f"{count} folds of {len(of)} subjects cannot be made; choose 2 to {len(of)}.")
    if not 0 <= validation_share < 1:
        raise UserError(f"validation share is {validation_share}; choose one from 0 to below 1.")
    strata: dict[str, list[str]] = defaultdict(list)
    for subject in in_order_of_chance(of, seed):
        strata[stratum(of[subject][0])].append(subject)
    # One deal after another, not each from the first fold on: so the folds come out equally large.
    dealt = [subject for name in sorted(strata) for subject in strata[name]]
    out = []
    for fold in range(count):
        test = dealt[fold::count]
        rest = [subject for subject in dealt if subject not in set(test)]
        held = max(1, round(validation_share * len(rest))) if validation_share else 0
        validation = set(in_order_of_chance(rest, seed, f"validation {fold}")[:held])
        train = [subject for subject in rest if subject not in validation]
        out.append(Split(*(_nights_of(of, part) for part in (train, test, sorted(validation)))))
    return tuple(out)


def in_order_of_chance(subjects: Sequence[str] | Mapping[str, object], seed: int, purpose: str = "") -> list[str]:
    """The subjects in an order that only the seed, the purpose and their names decide."""
    return sorted(subjects, key=lambda name: hashlib.sha256(f"{seed}|{purpose}|{name}".encode()).digest())


def write_split(path: Path, split: Split[N]) -> None:
    """Write down who is where, with hashes; an existing file must say the same.

    Raises UserError when it says otherwise: a run's split does not change after the fact.
    """
    content = json.dumps({"format": FORMAT, **split.manifest()}, indent=2)
    if path.exists():
        if path.read_text() != content:
            raise UserError(f"{path} names another split; give the run another folder, or remove the file.")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def read_split(path: Path, nights: Sequence[N]) -> Split[N]:
    """The split that was written down, made of these nights.

    Raises UserError when one of its nights is not there, is of other files or of another subject than was written.
    """
    by_name = {night.name: night for night in nights}
    try:
        content = json.loads(read_bounded(path, _LARGEST_BYTES))
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']!r}")
        sides = {
            side: tuple(_as_written(entry, by_name, path) for entry in content.get(side, []))
            for side in ("train", "test", "validation")
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} is no split that was written here: {error}.") from error
    return Split(**sides)


def sleep_edf_fold(night: Night) -> int | None:
    """The cross-validation fold of a Sleep-EDF SC night, its subject number modulo 5; None for other sets."""
    prefix = "sleepedf:SC"
    return int(night.subject.removeprefix(prefix)) % 5 if night.subject.startswith(prefix) else None


def _as_written(entry: Mapping[str, str], by_name: Mapping[str, N], path: Path) -> N:
    night = by_name.get(entry["night"])
    if night is None:
        raise UserError(f"{path}: night {entry['night']} is not there; ingest its set.")
    if (night.subject, night.source_sha256) != (entry["subject"], entry["sha256"]):
        raise UserError(f"{path}: night {night.name} is not the one that was split; its files or its subject differ.")
    return night


def _by_subject(nights: Sequence[N]) -> dict[str, list[N]]:
    """Subjects by name, the nights of each by name."""
    out: dict[str, list[N]] = defaultdict(list)
    for night in sorted(nights, key=lambda night: night.name):
        out[night.subject].append(night)
    return dict(sorted(out.items()))


def _nights_of(of: Mapping[str, Sequence[N]], subjects: Sequence[str]) -> tuple[N, ...]:
    chosen = [night for subject in subjects for night in of[subject]]
    return tuple(sorted(chosen, key=lambda night: night.name))
