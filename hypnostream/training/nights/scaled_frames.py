"""One channel of a signal night as the frames that the learned front-end sees: scaled causally, by the second."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from hypnostream.models.frame_scale import FrameScale
from hypnostream.stream.stages import EPOCH_S
from hypnostream.training.nights.signal_night import FRAME_S, SignalNight
from hypnostream.training.nights.signal_nights import KIND_SIGNALS


@dataclass(frozen=True, slots=True, eq=False)
class ScaledFrames:
    """`level` (T,) is what the frame that ends with a second is divided by; `valid` (T,) whether there is such a frame.

    Nothing is held but these: frames are cut from the night, which may be on disk, when they are asked for.
    """

    night: SignalNight
    place: int
    level: NDArray[np.float32]
    valid: NDArray[np.bool_]
    limit: float

    @classmethod
    def of(cls, night: SignalNight, place: int) -> "ScaledFrames":
        """Run the scale over the night. Equal to `FrameScale` step by step."""
        scale = FrameScale([KIND_SIGNALS[night.kinds[place]].usual])
        second = np.abs(night.signal[:, place]).mean(-1)  # (T,)
        back = np.arange(len(second))[:, None] + np.arange(1 - FRAME_S, 1)  # (T, 4)
        valid = (night.valid[np.maximum(back, 0), place] & (back >= 0)).all(1)
        mean_abs = second[np.maximum(back, 0)].mean(1) * valid
        shape = (1, -1, 1)
        given = torch.from_numpy(mean_abs.astype(np.float32)).reshape(shape)
        level = scale.levels(given, torch.from_numpy(valid).reshape(shape).float()).reshape(-1)
        return cls(night, place, level.numpy(), valid, scale.limit)

    def frames(self, seconds: NDArray[np.int64]) -> NDArray[np.float32]:
        """The frames that end with these seconds (...,) -> (..., 400); zero where there is none."""
        flat = seconds.ravel()
        back = np.maximum(flat[:, None] + np.arange(1 - FRAME_S, 1), 0)  # (K, 4)
        samples = FRAME_S * self.night.signal.shape[-1]
        frames = self.night.signal[back, self.place].reshape(len(flat), samples) / self.level[flat, None]
        kept: NDArray[np.float32] = np.clip(frames, -self.limit, self.limit) * self.valid[flat, None]
        return kept.reshape(*seconds.shape, samples)

    def some(self, most: int) -> NDArray[np.float32]:
        """At most so many of the frames there are, evenly chosen: (n, 400)."""
        seconds = np.flatnonzero(self.valid)
        return self.frames(seconds[np.linspace(0, len(seconds) - 1, min(len(seconds), most)).astype(np.int64)])

    def window_starts(self, length: int) -> NDArray[np.int64]:
        """The seconds from which `length` seconds on each have a frame."""
        whole = np.concatenate(([0], np.cumsum(self.valid)))
        return np.flatnonzero(whole[length:] - whole[:-length] == length)

    def scored_epochs(self, least: int = 15) -> NDArray[np.int64]:
        """The epochs that have a stage and at least `least` frames."""
        count = self.valid.reshape(-1, EPOCH_S).sum(1)
        return np.flatnonzero((self.night.stage >= 0) & (count >= least))


def frames_of_kind(nights: Sequence[SignalNight], kind: str) -> Iterator[ScaledFrames]:
    """Every channel of this kind of every night that has a frame: they share one encoder."""
    for night in nights:
        for place, each in enumerate(night.kinds):
            if each == kind:
                found = ScaledFrames.of(night, place)
                if found.valid.any():
                    yield found
