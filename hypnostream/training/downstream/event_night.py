"""One night for the tasks downstream: its tokens, and for each task a label an epoch; and its two files.

A task is a yes-or-no question of an epoch that has just ended: "event" (apnea or hypopnea), "apnea", "hypopnea", and
"event_minute", of the minute that ends with every other epoch, for sets that were scored by the minute.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from hypnostream.bounded_file import read_bounded
from hypnostream.bridges.atomic import write_atomically
from hypnostream.errors import UserError
from hypnostream.training.nights.token_night import TokenNight, read_token_night, write_token_night

SLOTS = ("eeg", "heart", "spo2")
TASKS = ("event", "event_minute", "apnea", "hypopnea")
RULE = "ten_seconds"  # by which events with exact times become the labels that are learned
_MOST_BYTES = 1 << 24
K = TypeVar("K")


@dataclass(frozen=True, slots=True, eq=False)
class EventNight:
    """`tokens` have a channel a slot of SLOTS. `labels` of TASKS, each (N,) int8 in 1, 0, -1 (nobody said).

    `by_rule` has, where events have exact times, the labels of each of `labels.EPOCH_RULES`, by (rule, task).
    """

    tokens: TokenNight
    labels: dict[str, NDArray[np.int8]]
    by_rule: dict[tuple[str, str], NDArray[np.int8]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def name(self) -> str:
        """Unique in its folder."""
        return self.tokens.name

    @property
    def subject(self) -> str:
        """The person's one name across all sets."""
        return self.tokens.subject

    @property
    def set_name(self) -> str:
        """The set that it is of."""
        return self.tokens.set_name

    @property
    def source_sha256(self) -> str:
        """A hash of all that it was made of."""
        return self.tokens.source_sha256

    @property
    def stage(self) -> NDArray[np.int8]:
        """(N,) 0 where any task has a label, else -1: what `label_share` counts as scored."""
        known = np.any([self.labels[task] >= 0 for task in TASKS], axis=0)
        return np.where(known, 0, -1).astype(np.int8)

    def target(self) -> NDArray[np.int8]:
        """(N, K): the labels of all tasks, in the order of TASKS."""
        return np.stack([self.labels[task] for task in TASKS], axis=1)


def write_event_night(folder: Path, night: EventNight) -> None:
    """Write NAME.labels.safetensors, then NAME.parquet, by whose being there the night is there."""
    from safetensors.numpy import save

    folder.mkdir(parents=True, exist_ok=True)
    arrays = {task: night.labels[task] for task in TASKS}
    arrays |= {f"{rule} {task}": labels for (rule, task), labels in night.by_rule.items()}
    write_atomically(_labels_of(folder / f"{night.name}.parquet"), save(arrays))
    write_token_night(folder / f"{night.name}.parquet", night.tokens)


def read_event_night(path: Path) -> EventNight:
    """Read a night by its Parquet file. Raises UserError when a file is none of ours."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    tokens = read_token_night(path)
    try:
        arrays = load(read_bounded(_labels_of(path), _MOST_BYTES))
        labels = {task: arrays.pop(task) for task in TASKS}
        by_rule = {(name.split()[0], name.split()[1]): values for name, values in arrays.items()}
        for values in (*labels.values(), *by_rule.values()):
            if values.shape != (len(tokens),) or values.dtype != np.int8:
                raise ValueError("its labels are of another length or type")
    except (OSError, ValueError, KeyError, IndexError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{_labels_of(path)} holds no labels of the night: {reason}; make it again") from error
    if tokens.mask.shape[1] != len(SLOTS):
        raise UserError(f"{path} has {tokens.mask.shape[1]} channels, {len(SLOTS)} are needed; make the nights again")
    return EventNight(tokens, labels, by_rule)


def read_event_nights(folder: Path) -> list[EventNight]:
    """All nights of a folder, by name. Raises UserError when it has none."""
    paths = sorted(folder.glob("*.parquet"))
    if not paths:
        raise UserError(f"{folder} holds no nights; name a store with beats, SpO2 or EEG, and apnea labels")
    return [read_event_night(path) for path in paths]


def alone(night: EventNight, slots: Sequence[str]) -> EventNight:
    """The night as if only these sensors had been worn; epochs without any of them have no label."""
    t = night.tokens
    kept = np.array([slot in slots for slot in SLOTS], np.float32)
    mask = t.mask * kept
    seen = mask[..., None]
    tokens = TokenNight(
        t.name, t.subject, t.set_name, t.licence, t.source_sha256, t.shape * seen, t.level * seen, mask, t.stage
    )
    return EventNight(tokens, seen_only(night.labels, mask), seen_only(night.by_rule, mask))


def seen_only(labels: dict[K, NDArray[np.int8]], mask: NDArray[np.float32]) -> dict[K, NDArray[np.int8]]:
    """Labels (N,) each, without those of epochs in which no sensor of `mask` (N, C) was there."""
    return {key: np.where(mask.any(axis=1), values, -1).astype(np.int8) for key, values in labels.items()}


def _labels_of(path: Path) -> Path:
    return path.with_name(f"{path.stem}.labels.safetensors")
