"""Signals that are there and bad: noise, a flat line, drift, lost packets.

Signals are (..., S) tensors, the last axis is time; each is damaged by itself. All chance is the caller's generator's.
"""

import math

import torch
from torch import Tensor

SNR_DB = (20.0, 10.0, 5.0, 0.0)
PACKET_LOSS = (0.01, 0.02, 0.05, 0.1)


def noisy(signal: Tensor, snr_db: float, generator: torch.Generator) -> Tensor:
    """With white noise at exactly this ratio of powers about their means; a signal without power gets none."""
    noise = torch.randn(signal.shape, generator=generator)
    noise = noise - noise.mean(-1, keepdim=True)
    power = (signal - signal.mean(-1, keepdim=True)).square().mean(-1, keepdim=True)
    wanted = power / 10 ** (snr_db / 10)
    return signal + noise * (wanted / noise.square().mean(-1, keepdim=True).clamp(min=1e-12)).sqrt()


def flat(signal: Tensor, start: int, stop: int) -> Tensor:
    """From sample `start` to before `stop` it stays at what it last was, as a stuck amplifier does."""
    if not 0 <= start < stop <= signal.shape[-1]:
        raise ValueError(f"samples {start} to {stop} are not within 0 to {signal.shape[-1]}; choose some that are")
    stuck = signal.clone()
    stuck[..., start:stop] = signal[..., max(start - 1, 0) : max(start, 1)]
    return stuck


def drifting(signal: Tensor, times: float, period: int, generator: torch.Generator) -> Tensor:
    """With a slow wave of about `period` samples and random phase, of `times` the signal's own deviation."""
    phase = torch.rand(*signal.shape[:-1], 1, generator=generator) * 2 * math.pi
    wave = torch.sin(torch.arange(signal.shape[-1]) * (2 * math.pi / period) + phase) * math.sqrt(2)
    return signal + wave * times * signal.std(-1, keepdim=True, correction=0)


def packets_lost(signal: Tensor, rate: float, packet: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Exactly the nearest count to `rate` of its packets, of `packet` samples, are lost: zeros, and what was received.

    (B, ..., S) -> the signal and a mask in 0/1, (B, ..., S) each. A packet holds all channels: each of B has its own.
    """
    if signal.shape[-1] % packet:
        raise ValueError(f"{signal.shape[-1]} samples are no whole number of packets of {packet}; cut the signal")
    count = signal.shape[-1] // packet
    order = torch.rand(signal.shape[0], count, generator=generator).argsort(1).argsort(1)
    received = (order >= round(rate * count)).repeat_interleave(packet, 1)  # (B, S)
    received = received.reshape(signal.shape[0], *(1,) * (signal.ndim - 2), -1).expand_as(signal).to(signal.dtype)
    return signal * received, received
