"""One night for the learned model of breathing: what it is given each second, and what somebody said of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hypnostream.bridges.atomic import write_atomically
from hypnostream.engine.respiration.tick_inputs import NUMBERS, TICK_SENSORS
from hypnostream.errors import UserError
from hypnostream.models.breathing_detector import LATE_S, QUESTIONS
from hypnostream.stream.stages import EPOCH_S

MINUTE_S = 60
_MOST_BYTES = 1 << 26
_ARRAYS = ("numbers", "mask", "second", "half_minute", "minute")


@dataclass(frozen=True, slots=True, eq=False)
class TickNight:
    """`numbers` (T, 7, 3) float16 and `mask` (T, 7) bool as `tick_inputs` has them; labels are 1, 0, -1 (nobody said).

    `second` (T, 2) int8: an event, an apnea is in it; `half_minute` (T // 30,) and `minute` (T // 60,) have an event.
    """

    name: str
    subject: str
    set_name: str
    licence: str
    source_sha256: str
    numbers: NDArray[np.float16]
    mask: NDArray[np.bool_]
    second: NDArray[np.int8]
    half_minute: NDArray[np.int8]
    minute: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.mask)

    def target(self) -> NDArray[np.int8]:
        """(T, Q): each of QUESTIONS as its second ends; the last two are asked once a stretch."""
        out = np.full((len(self), len(QUESTIONS)), -1, np.int8)
        out[:, :2] = self.second
        out[LATE_S:, 2] = self.second[:-LATE_S, 0]
        for column, labels, length_s in ((3, self.half_minute, EPOCH_S), (4, self.minute, MINUTE_S)):
            asked = asked_at(len(labels), length_s)
            asked = asked[asked < len(self)]
            out[asked, column] = labels[: len(asked)]
        return out

    def with_sensors(self, sensors: Sequence[str]) -> "TickNight":
        """The night as if only these sensors had been worn; while none of them is there nobody says anything."""
        kept = np.array([name in sensors for name in TICK_SENSORS])
        mask = self.mask & kept
        return replace(self, mask=mask, numbers=self.numbers * mask[..., None])

    def has(self, sensors: Sequence[str]) -> bool:
        """Whether each of the sensors is there at some time."""
        return all(self.mask[:, TICK_SENSORS.index(name)].any() for name in sensors)


def asked_at(count: int, length_s: int) -> NDArray[np.int64]:
    """The second as which ends it is asked whether an event was in each of `count` stretches (count,)."""
    return (np.arange(count) + 1) * length_s + LATE_S - 1


def write_tick_night(folder: Path, night: TickNight) -> None:
    """Write NAME.safetensors."""
    from safetensors.numpy import save

    folder.mkdir(parents=True, exist_ok=True)
    who = {key: getattr(night, key) for key in ("name", "subject", "set_name", "licence", "source_sha256")}
    data = save({key: np.ascontiguousarray(getattr(night, key)) for key in _ARRAYS}, metadata=who)
    write_atomically(folder / f"{night.name}.safetensors", data)


def read_tick_night(path: Path) -> TickNight:
    """Read one. Raises UserError when the file is none of ours."""
    from safetensors import SafetensorError, safe_open

    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"it has {path.stat().st_size} bytes, more than {_MOST_BYTES}")
        with safe_open(str(path), framework="numpy") as file:
            who = dict(file.metadata() or {})
            arrays = {key: file.get_tensor(key) for key in _ARRAYS}
        seconds = len(arrays["mask"])
        shapes = {
            "numbers": (seconds, len(TICK_SENSORS), NUMBERS),
            "mask": (seconds, len(TICK_SENSORS)),
            "second": (seconds, 2),
        }
        for key, shape in shapes.items():
            if arrays[key].shape != shape:
                raise ValueError(f"{key} has the shape {arrays[key].shape}, {shape} was due")
        return TickNight(**who, **arrays)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} holds no night of breathing: {reason}; make it again") from error


def read_tick_nights(folder: Path) -> list[TickNight]:
    """All nights of a folder, by name. Raises UserError when it has none."""
    paths = sorted(folder.glob("*.safetensors"))
    if not paths:
        raise UserError(f"{folder} holds no nights; name a store whose recordings were scored for apnea")
    return [read_tick_night(path) for path in paths]
