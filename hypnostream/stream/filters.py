"""Causal Butterworth filters as second-order sections that carry their memory from chunk to chunk."""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from hypnostream.errors import UserError
from hypnostream.stream.sosfilt import sosfilt_in_place

HIGHPASS_ORDER = 2
LOWPASS_ORDER = 4
# A lowpass above this share of the rate would do little but ring; the anti-alias filter is there anyway.
LOWPASS_LIMIT = 0.45


def butterworth_sections(rate_hz: float, highpass_hz: float | None, lowpass_hz: float | None) -> NDArray[np.float64]:
    """Second-order sections (sections, 6) at `rate_hz`; (0, 6) when there is nothing to filter.

    Raises UserError for a cutoff that the rate cannot have.
    """
    sections = [np.zeros((0, 6))]
    if highpass_hz is not None:
        if not 0 < highpass_hz < rate_hz / 2:
            raise UserError(f"a highpass of {highpass_hz:g} Hz needs more than the {rate_hz:g} Hz that this stream has")
        sections.append(_butterworth(HIGHPASS_ORDER, highpass_hz / rate_hz, highpass=True))
    if lowpass_hz is not None and lowpass_hz < LOWPASS_LIMIT * rate_hz:
        if lowpass_hz <= 0:
            raise UserError(f"a lowpass of {lowpass_hz:g} Hz lets nothing pass: give a positive frequency, or none")
        sections.append(_butterworth(LOWPASS_ORDER, lowpass_hz / rate_hz, highpass=False))
    return np.concatenate(sections)


def _butterworth(order: int, cutoff: float, highpass: bool) -> NDArray[np.float64]:
    """Even orders by the bilinear transform with the cutoff (share of the rate) prewarped, one pole pair a section.

    Pole pair i of the analog prototype has 1/Q = 2 sin(π(2i + 1) / 2N) (Butterworth 1930; Oppenheim & Schafer 7.2).
    """
    k = math.tan(math.pi * cutoff)
    numerator = np.array([1.0, -2.0, 1.0]) if highpass else k * k * np.array([1.0, 2.0, 1.0])
    sections = []
    for i in range(order // 2):
        damping = 2 * math.sin(math.pi * (2 * i + 1) / (2 * order)) * k
        norm = 1 + damping + k * k
        denominator = np.array([1.0, 2 * (k * k - 1) / norm, (1 - damping + k * k) / norm])
        sections.append(np.concatenate((numerator / norm, denominator)))
    return np.array(sections)


def step_memory(sections: NDArray[np.float64]) -> NDArray[np.float64]:
    """The memory (sections, 2) of a cascade (transposed direct form II) that has had the input 1 for ever."""
    memory = np.zeros((len(sections), 2))
    level = 1.0
    for i, (b0, b1, b2, _, a1, a2) in enumerate(sections.tolist()):
        after = level * (b0 + b1 + b2) / (1 + a1 + a2)
        memory[i, 1] = b2 * level - a2 * after
        memory[i, 0] = b1 * level - a1 * after + memory[i, 1]
        level = after
    return memory


@dataclass(frozen=True, slots=True)
class Restart:
    """A channel's first good sample after a silence: its index in the block, and how many samples were silent."""

    channel: int
    index: int
    silence: int


@dataclass(slots=True)
class FilterState:
    """`memory` (channels, sections, 2); per channel the samples since its last good one, and its last output."""

    memory: NDArray[np.float64]
    silence: NDArray[np.int64]
    held: NDArray[np.float64]


class CausalFilter:
    """Filters (channels, n) blocks; the same bits come out however a signal is cut into blocks."""

    # Longer than any silence: a channel that never spoke.
    FOREVER = 1 << 40

    def __init__(self, sections: NDArray[np.float64]) -> None:
        self.sections = np.ascontiguousarray(sections)
        self._step = step_memory(self.sections)

    def fresh(self, channels: int) -> FilterState:
        """The state at a segment's start."""
        return FilterState(
            np.zeros((channels, len(self.sections), 2)),
            np.full(channels, self.FOREVER, np.int64),
            np.zeros(channels),
        )

    def run(self, state: FilterState, signal: NDArray[np.float64], bad: NDArray[np.bool_]) -> list[Restart]:
        """Filter `signal` (channels, n >= 1) in place; where `bad` (the same shape) the last output is held.

        After bad samples a channel's memory starts anew, as if its first good sample had always been there: an
        offset makes no transient.
        """
        restarts: list[Restart] = []
        if state.silence.any() or bad.any():
            for channel in range(len(signal)):
                restarts += self._run_broken(state, channel, signal[channel], bad[channel])
        else:
            sosfilt_in_place(self.sections, signal, state.memory)
            state.held = signal[:, -1].copy()
        return restarts

    def _run_broken(
        self, state: FilterState, channel: int, signal: NDArray[np.float64], bad: NDArray[np.bool_]
    ) -> list[Restart]:
        restarts: list[Restart] = []
        borders = [0, *(np.flatnonzero(bad[1:] != bad[:-1]) + 1).tolist(), len(signal)]
        for start, stop in pairwise(borders):
            if bad[start]:
                signal[start:stop] = state.held[channel]
                state.silence[channel] += stop - start
                continue
            if state.silence[channel]:
                restarts.append(Restart(channel, start, int(state.silence[channel])))
                state.memory[channel] = self._step * signal[start]
                state.silence[channel] = 0
            sosfilt_in_place(self.sections, signal[None, start:stop], state.memory[channel : channel + 1])
            state.held[channel] = signal[stop - 1]
        return restarts
