"""The frames that end with each second of an epoch: the first three reach into the epoch before, so its end is carried.

And how old each channel is in each second: how long ago it had a whole frame. A session knows that for an epoch's end;
within the epoch it follows from the seconds that are valid.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from hypnostream.models.frame_network import FRAME_SAMPLES
from hypnostream.models.imaginator import MAX_AGE_S

EPOCH_S = 30
RATE_HZ = 100
FRAME_S = FRAME_SAMPLES // RATE_HZ
TAIL_S = FRAME_S - 1


class WindowState(NamedTuple):
    """What is carried from epoch to epoch. `left_s` is how much is left of the hour after which a channel is gone for
    good, so that zeros are a night that has not begun."""

    tail: Tensor  # (B, C, 3, 100) the last seconds' signal
    tail_valid: Tensor  # (B, C, 3)
    left_s: Tensor  # (B, C)


class Frames(NamedTuple):
    """Second by second. `there` in 0/1: all four seconds are valid. `age_s` is 0 where a channel is there."""

    frames: Tensor  # (B, L 30, C, 400)
    there: Tensor  # (B, L 30, C)
    age_s: Tensor  # (B, L 30, C)


def initial_window(batch: int, channels: int, like: Tensor) -> WindowState:
    """The state of a night that has not begun; on the device of `like`."""
    tail = like.new_zeros(batch, channels, TAIL_S, RATE_HZ, dtype=torch.float32)
    return WindowState(tail, tail[..., 0].clone(), tail[..., 0, 0].clone())


def framed(signal: Tensor, valid: Tensor, age_s: Tensor, state: WindowState) -> tuple[Frames, WindowState]:
    """A stretch of L epochs: `signal` (B, L, C, 3000), `valid` (B, L, C, 30) in 0/1, `age_s` (B, L, C) at its epochs'
    ends -> all frames that end in it, and the state after it. What lies in invalid seconds is not read."""
    epochs, channels = signal.shape[1], signal.shape[2]
    seconds = signal.reshape(-1, epochs, channels, EPOCH_S, RATE_HZ).transpose(1, 2).flatten(2, 3)  # (B, C, L 30, 100)
    good = valid.transpose(1, 2).flatten(2, 3)  # (B, C, L 30)
    seconds = torch.where(good.unsqueeze(-1) > 0, seconds, torch.zeros_like(seconds))
    seconds = torch.cat([state.tail, seconds], dim=2)  # (B, C, 3 + L 30, 100)
    good = torch.cat([state.tail_valid, good], dim=2)  # (B, C, 3 + L 30)
    count = epochs * EPOCH_S
    frames = torch.cat([seconds[:, :, back : back + count] for back in range(FRAME_S)], dim=-1)  # (B, C, L 30, 400)
    there = good[:, :, :count]
    for back in range(1, FRAME_S):
        there = there * good[:, :, back : back + count]
    age, left_s = _ages(there, age_s, state.left_s)
    found = Frames(frames.transpose(1, 2), there.transpose(1, 2), age.transpose(1, 2))
    return found, WindowState(seconds[:, :, count:], good[:, :, count:], left_s)


def _ages(there: Tensor, age_s: Tensor, left_s: Tensor) -> tuple[Tensor, Tensor]:
    """`there` (B, C, L 30), `age_s` (B, L, C), `left_s` (B, C) before -> ages (B, C, L 30), `left_s` after.

    Until an epoch's first frame a channel is as old as it was, plus the time since. Of an epoch without a frame it is
    the session that says how old: a window that is not on the grid of epochs is then right, too.
    """
    by_epoch = there.reshape(there.shape[0], there.shape[1], -1, EPOCH_S)  # (B, C, L, 30)
    second = torch.arange(1, EPOCH_S + 1, device=there.device, dtype=torch.float32)
    so_far = torch.ones(EPOCH_S, EPOCH_S, device=there.device).tril()
    latest = ((by_epoch * second).unsqueeze(-2) * so_far).amax(-1)  # (B, C, L, 30) 0: none yet
    silent = latest[..., -1] == 0  # (B, C, L)
    told = (age_s.transpose(1, 2) - EPOCH_S).clamp(0, MAX_AGE_S)  # (B, C, L) when the epoch began
    end = torch.where(silent, told, -latest[..., -1]) + EPOCH_S  # (B, C, L)
    before = torch.cat([MAX_AGE_S - left_s.unsqueeze(-1), end[..., :-1]], dim=-1)
    before = torch.where(silent, told, before)
    age = second + torch.where(latest > 0, -latest, before.unsqueeze(-1))
    return age.flatten(2, 3), MAX_AGE_S - end[..., -1].clamp(max=MAX_AGE_S)
