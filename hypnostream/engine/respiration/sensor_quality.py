"""The state of the sensors of breathing: over the night, an epoch at a time, and lately, a second at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hypnostream.engine.results import ChannelState
from hypnostream.stream.channels import NEVER_PRESENT, OK, QUALITY_NAMES
from hypnostream.stream.stages import EPOCH_S

RECENT_S: Final = 600  # longer than an event, and what settles it, may take


class SensorNight(NamedTuple):
    """One sensor, by epoch: the code that most seconds had (epochs,), and the share of good ones (epochs,)."""

    name: str
    quality: NDArray[np.uint8]
    ok_fraction: NDArray[np.float64]


@dataclass(slots=True)
class NightQuality:
    """`seconds` (sensors, codes) are counts of the epoch under way, the others (sensors, epochs) of those over."""

    seconds: NDArray[np.int64]
    quality: NDArray[np.uint8]
    ok_s: NDArray[np.uint8]

    @property
    def good_s(self) -> NDArray[np.int64]:
        """How many seconds of each sensor were good since the night began (sensors,)."""
        good_s: NDArray[np.int64] = self.ok_s.sum(axis=1, dtype=np.int64) + self.seconds[:, OK]
        return good_s


def fresh_night(sensors: int, second: int) -> NightQuality:
    """Of sensors that were never there before `second`."""
    epochs, begun_s = divmod(second, EPOCH_S)
    night = NightQuality(
        np.zeros((sensors, len(QUALITY_NAMES)), np.int64),
        np.full((sensors, epochs), NEVER_PRESENT, np.uint8),
        np.zeros((sensors, epochs), np.uint8),
    )
    night.seconds[:, NEVER_PRESENT] = begun_s
    return night


def count_seconds(night: NightQuality, codes: NDArray[np.uint8]) -> None:
    """Take the next seconds' `codes` (sensors, n); they are of one epoch."""
    night.seconds += (codes[:, :, None] == np.arange(len(QUALITY_NAMES))).sum(axis=1)


def close_epoch(night: NightQuality) -> None:
    """The epoch is over; of codes that are as frequent the smaller holds, so that ok wins."""
    night.quality = np.column_stack((night.quality, night.seconds.argmax(axis=1).astype(np.uint8)))
    night.ok_s = np.column_stack((night.ok_s, night.seconds[:, OK].astype(np.uint8)))
    night.seconds[:] = 0


def states_of(names: Sequence[str], codes: NDArray[np.uint8]) -> tuple[ChannelState, ...]:
    """What the sensors were over some seconds, by their `codes` (sensors, n); those never there are left out.

    Nothing of them is ever imputed.
    """
    return tuple(
        ChannelState(name, QUALITY_NAMES[int(np.bincount(row).argmax())], float((row == OK).mean()), imputed=False)
        for name, row in zip(names, codes, strict=True)
        if len(row) and (row != NEVER_PRESENT).any()
    )
