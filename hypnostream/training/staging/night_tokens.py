"""A night as its front-end tells it, a token a second and channel: made once, or anew as the encoders learn."""

import copy
import hashlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hypnostream.models.frame_front import FrameFront
from hypnostream.stream.stages import EPOCH_S
from hypnostream.training.nights.scaled_frames import ScaledFrames
from hypnostream.training.nights.signal_night import SignalNight
from hypnostream.training.pretraining.pretrain_synthsleepnet import fingerprint

_BLOCK_S = 128  # seconds encoded at a time


class NightTokens:
    """Frames are scaled causally over the whole night, as `FrameFront` does live."""

    def __init__(self, night: SignalNight, front: FrameFront) -> None:
        self.night, self._front = night, front
        self._channels = [ScaledFrames.of(night, place) for place in range(len(night.kinds))]
        self._kept: NDArray[np.float32] | None = None

    @property
    def epochs(self) -> int:
        """How long it is."""
        return len(self.night.stage)

    def told_by(self, front: FrameFront) -> "NightTokens":
        """The same night by another front-end of the same scale; tokens that are kept stay those that they are."""
        other = copy.copy(self)
        other._front = front
        return other

    @torch.no_grad()
    def keep(self, folder: Path) -> None:
        """Make them all into a file of `folder`, where they are not yet, and read them from it: for encoders that stay
        as they are. The file's name has the hash of the night and of the encoders."""
        mark = hashlib.sha256(fingerprint(self.night).encode())
        for value in self._front.encoders.state_dict().values():
            mark.update(value.cpu().numpy().tobytes())
        path = folder / f"{self.night.name}-{mark.hexdigest()[:16]}.npy"
        if not path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".partial")
            shape = (self.epochs * EPOCH_S, len(self._channels), self._front.width)
            whole = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float32, shape=shape)
            for first in range(0, len(whole), _BLOCK_S):
                count = min(_BLOCK_S, len(whole) - first)
                whole[first : first + count] = self._made(first, count).cpu().numpy()
            whole.flush()
            partial.rename(path)
        self._kept = np.load(path, mmap_mode="r", allow_pickle=False)

    def of(self, first: int, count: int) -> Tensor:
        """`count` seconds from `first` on (count, C, I), zeros after the night's end."""
        there = max(0, min(count, self.epochs * EPOCH_S - first))
        if not there:
            return torch.zeros(count, len(self._channels), self._front.width, device=self._front.scale.prior.device)
        if self._kept is not None:
            tokens = torch.from_numpy(np.array(self._kept[first : first + there]))
        else:
            tokens = self._made(first, there)
        return torch.cat([tokens, tokens.new_zeros(count - there, *tokens.shape[1:])])

    def _made(self, first: int, count: int) -> Tensor:
        seconds = np.arange(first, first + count)
        frames = np.stack([channel.frames(seconds) for channel in self._channels], axis=1)  # (count, C, 400)
        return self._front.encode(torch.from_numpy(frames).unsqueeze(0).to(self._front.scale.prior.device))[0]
