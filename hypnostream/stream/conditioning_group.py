"""Channels of one stream that are conditioned alike, and so in one filter call and one matrix product."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from hypnostream.stream.channels import Derivation
from hypnostream.stream.filters import CausalFilter, FilterState, butterworth_sections
from hypnostream.stream.quality import AT_LIMIT, BAD, NEAR_LIMIT, QualityJudge, QualitySettings
from hypnostream.stream.resample import Resampler, ResampleSettings
from hypnostream.stream.source import ChannelInfo, StreamInfo

_Sample = TypeVar("_Sample", bound=np.generic)

# A recorder's limits, as a header says them, are rounded; this share of the range is less than a 16-bit step.
_LIMIT_MARGIN = 1e-5


@dataclass(slots=True)
class GroupState:
    """What a group remembers of its segment; column 0 of the arrays (channels, n) is the segment's sample `first`."""

    filters: FilterState
    first: int
    filtered: NDArray[np.float32]
    raw: NDArray[np.float32]
    flags: NDArray[np.uint8]


class Group:
    """Settings and processing of one group; its state is a `GroupState` that the conditioner keeps.

    `rows` are the places of its channels among the stream's derivations, `terms` what each is the sum of: raw rows and
    weights. By channel, `limits` are the raw rows whose flags it has, each flag with the limits beyond which it is set.
    """

    def __init__(
        self,
        info: StreamInfo,
        rows: Sequence[int],
        derivations: Sequence[Derivation],
        used: Sequence[int],
        resample: ResampleSettings,
        quality: QualitySettings,
    ) -> None:
        spec = derivations[0].spec
        self.rows = tuple(rows)
        self.filters = CausalFilter(butterworth_sections(info.rate_hz, spec.highpass_hz, spec.lowpass_hz))
        self.resampler = Resampler(info.rate_hz, spec.rate_hz, resample)
        self.judged = QualityJudge([derivation.spec for derivation in derivations], info.rate_hz, quality)
        self.absurd = quality.absurd
        self.terms = [[(used.index(term.channel_index), term.weight) for term in d.terms] for d in derivations]
        at_limit = [_limits(info.channels[index]) for index in used]
        near_limit = [_limits(info.channels[index], quality.near_limit) for index in used]
        self.limits = [
            [
                (row, [(NEAR_LIMIT, near_limit[row])] * drifts + [(AT_LIMIT, at_limit[row])] * saturates)
                for row, _ in terms
                if drifts or saturates
            ]
            for terms, saturates, drifts in zip(self.terms, self.judged.saturates, self.judged.drifts, strict=True)
        ]

    @classmethod
    def of(
        cls,
        info: StreamInfo,
        derivations: Sequence[Derivation],
        used: Sequence[int],
        resample: ResampleSettings,
        quality: QualitySettings,
    ) -> "list[Group]":
        """The groups of a stream; `used` are the raw channels in the order in which they will be given."""
        alike: dict[tuple[int, float | None, float | None], list[int]] = {}
        for row, derivation in enumerate(derivations):
            spec = derivation.spec
            alike.setdefault((spec.rate_hz, spec.highpass_hz, spec.lowpass_hz), []).append(row)
        return [cls(info, rows, [derivations[row] for row in rows], used, resample, quality) for rows in alike.values()]

    def fresh(self) -> GroupState:
        """The state at a segment's start: what the look-back will want is there, and takes the first good value."""
        channels, before = len(self.rows), self.resampler.half + 1
        return GroupState(
            self.filters.fresh(channels),
            -before,
            np.zeros((channels, before), np.float32),
            np.zeros((channels, before), np.float32),
            np.zeros((channels, before), np.uint8),
        )

    def filter(self, state: GroupState, raw: NDArray[np.float32]) -> None:
        """Derive and filter the next samples `raw` (raw channels in use, n)."""
        derived, flags = self._derive(raw)
        state.raw = _longer(state.raw, derived)
        restarts = self.filters.run(state.filters, derived, (flags & BAD) != 0)
        end = state.filtered.shape[1]
        state.filtered = _longer(state.filtered, derived)
        state.flags = _longer(state.flags, flags)
        half = self.resampler.half + 1
        for restart in restarts:
            # Within a long silence the first samples stand for what was, the last for what comes: neither the second
            # before nor the one behind sees a step. A short silence is all needed by the second before.
            if restart.silence >= 2 * half:
                at = end + restart.index
                state.filtered[restart.channel, max(0, at - half) : at] = state.filtered[restart.channel, at]

    def judge(
        self, state: GroupState, first: NDArray[np.int64], counts: NDArray[np.int64], window: int
    ) -> NDArray[np.uint8]:
        """Codes (channels, seconds) of seconds that start with the segment's samples `first`."""
        columns = np.maximum(first - state.first, 0)
        short = int(columns[-1]) + window - state.raw.shape[1]
        raw, flags = _held(state.raw, short), _held(state.flags, short)
        return self.judged.judge(_seconds(raw, columns, window), _seconds(flags, columns, window), counts)

    def resample(self, state: GroupState, bases: NDArray[np.int64], phases: NDArray[np.int64]) -> NDArray[np.float32]:
        """(channels, seconds, rate) of the grid; look-ahead that is not there is the last sample, held."""
        columns = np.maximum(bases - state.first, self.resampler.half)
        needed = max(self.resampler.needed(phase) for phase in set(phases.tolist()))
        signal = _held(state.filtered, int(columns[-1]) + needed - state.filtered.shape[1])
        if (phases == phases[0]).all():
            return self.resampler.resample(signal, columns, int(phases[0]))
        conditioned = np.empty((len(signal), len(bases), self.resampler.rate_out_hz), np.float32)
        for phase in set(phases.tolist()):
            these = phases == phase
            conditioned[:, these] = self.resampler.resample(signal, columns[these], phase)
        return conditioned

    def forget(self, state: GroupState, sample: int) -> None:
        """Let go of what no second from the segment's `sample` on can need; the last sample stays to be held."""
        stale = min(sample - self.resampler.half - 1 - state.first, state.filtered.shape[1] - 1)
        if stale > 0:
            state.first += stale
            state.filtered = state.filtered[:, stale:].copy()
            state.raw = state.raw[:, stale:].copy()
            state.flags = state.flags[:, stale:].copy()

    def _derive(self, raw: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
        """The sums of terms (channels, n) in the spec's unit, 0 where bad, and the flags of each sample."""
        derived = np.empty((len(self.rows), raw.shape[1]))
        flags = np.zeros(derived.shape, np.uint8)
        with np.errstate(invalid="ignore", over="ignore"):
            for channel, ((row, weight), *more) in enumerate(self.terms):
                np.multiply(raw[row], np.float64(weight), out=derived[channel])
                for row, weight in more:
                    derived[channel] += raw[row] * np.float64(weight)
        # The extremes say cheaply that all is well; a NaN among the samples makes them NaN and the answer False.
        if not (derived.max() <= self.absurd and derived.min() >= -self.absurd):
            bad = ~(np.abs(derived) <= self.absurd)
            derived[bad] = 0.0
            flags[bad] = BAD
        for channel, limits in enumerate(self.limits):
            for row, flagged in limits:
                smallest, largest = raw[row].min(), raw[row].max()
                for flag, (lowest, highest) in flagged:
                    if not (smallest > lowest and largest < highest):
                        flags[channel, (raw[row] <= lowest) | (raw[row] >= highest)] |= flag
        return derived, flags


def _longer(array: NDArray[_Sample], new: NDArray[np.generic]) -> NDArray[_Sample]:
    """`array` (channels, n) with the columns of `new` behind its own, in the type of `array`."""
    n = array.shape[1]
    longer = np.empty((len(array), n + new.shape[1]), array.dtype)
    longer[:, :n], longer[:, n:] = array, new
    return longer


def _seconds(array: NDArray[_Sample], columns: NDArray[np.int64], window: int) -> NDArray[_Sample]:
    """(channels, seconds, window) of `array` from each of `columns` on; a view where the seconds join."""
    if (np.diff(columns) == window).all():
        return array[:, columns[0] : columns[-1] + window].reshape(len(array), len(columns), window)
    return array.take(columns[:, None] + np.arange(window), axis=1)


def _held(array: NDArray[_Sample], columns: int) -> NDArray[_Sample]:
    """`array` (channels, n) with its last column `columns` times more, where that is positive."""
    return np.concatenate((array, np.repeat(array[:, -1:], columns, axis=1)), axis=1) if columns > 0 else array


def _limits(channel: ChannelInfo, share: float = 1.0) -> tuple[np.float32, np.float32]:
    """Beyond which a raw value is at the recorder's limits, or at `share` of the way there from their middle.

    Infinite where the limits, or for a share one of them, are unknown or make no sense.
    """
    low, high = channel.minimum, channel.maximum
    lowest, highest = (-np.inf if low is None else low), (np.inf if high is None else high)
    both = bool(np.isfinite(highest - lowest))
    if not lowest < highest or (share < 1 and not both):
        return np.float32(-np.inf), np.float32(np.inf)
    margin = ((1 - share) / 2 + _LIMIT_MARGIN) * (highest - lowest) if both else 0.0
    return np.float32(lowest + margin), np.float32(highest - margin)
