"""Which samples of a stream belong together in time: segments without gaps, free of jitter, duplicates and drift.

Within a segment sample j is at origin + j / rate; the origin follows the stamps (`stamp_line`). Stamps ahead of that
are a gap, which opens a segment; stamps behind are time going backward, and dropped: time on the grid only rises. What
is ahead enough depends on what the sender was seen to do.

- *Clean* stamps (errors under a fifth of a sample): a step of a whole number of samples is a loss, be it one. A step
  that is no whole number is a hiccup of the sender, as nothing is lost in fractions.
- *Jittered* stamps: errors well beyond the largest of late are a gap (`loss` says of how many samples). A loss below
  that is counted, without a segment, when it moves the mean of a second by five standard errors. What is smaller still
  passes for drift: under ±20 ms of packet jitter up to about five samples at 256 Hz.

A sender's clock that was set back has all its samples dropped until they pass the end of what was taken; there a new
segment begins. Every decision depends on the samples' order alone, never on how they were cut into chunks.
"""

import math

import numpy as np
from numpy.typing import NDArray

from hypnostream.stream import loss, stamp_line
from hypnostream.stream.stamp_line import EXACT_S, LineState
from hypnostream.stream.timeline_state import Run, TimelineSettings, TimelineState

# Gaps that are remembered, to tell late samples from repeated ones.
_HOLES = 64
# A jitter is judged from so many packets; before, all that may be jitter is taken for it.
_KNOWN_PACKETS = 32
_WHOLE = 0.01  # of a sample: a clean step is as near to a whole number, or within the sender's own scatter


class Timeline:
    """Sorts the stamps of one stream into runs; all it remembers, and its counters, are in `state`.

    `tolerance_s` is the most by which an origin is set right at once.
    """

    def __init__(self, rate_hz: float, t0_s: float, settings: TimelineSettings | None = None) -> None:
        self.settings = settings or TimelineSettings()
        self.rate_hz = rate_hz
        self.tolerance_s = max(2 * self.settings.jitter_s, 0.5 / rate_hz)
        self._shortest = max(1, round(rate_hz / stamp_line.BLOCKS_PER_S))
        self._remembered = math.ceil(self.tolerance_s * rate_hz) + 2
        self.state = TimelineState(LineState(t0_s))

    def accept(self, timestamps: NDArray[np.float64]) -> list[Run]:
        """Sort `timestamps` (n,) of the next samples into runs, oldest first; what is in no run is dropped."""
        if (run := self._as_exact_as_before(timestamps)) is not None:
            return [run]
        state = self.state
        finite = np.isfinite(timestamps)
        kept = None if finite.all() else np.flatnonzero(finite)
        stamps = timestamps if kept is None else timestamps[kept]
        state.received += len(timestamps)
        state.dropped += len(timestamps) - len(stamps)
        spans: list[tuple[int, int, float, bool]] = []
        i = 0
        while i < len(stamps):
            if not state.started or state.stale >= self.rate_hz:
                i += self._begin_anew(stamps[i:])
                continue
            good, off, errors = self._judge(stamps[i:])
            if good:
                origin_s, opens = state.origin_s, state.count == 0
                if spans and not opens and spans[-1][1:3] == (i, origin_s):
                    spans[-1] = (spans[-1][0], i + good, *spans[-1][2:])
                else:
                    spans.append((i, i + good, origin_s, opens))
                self._take(stamps[i : i + good], errors[:good])
                i += good
            elif off > 0:
                i += self._gap(stamps[i:])
            else:
                i += self._drop(stamps[i:], -self.tolerance_s)
        return [Run(slice(a, b) if kept is None else kept[a:b], origin, opens) for a, b, origin, opens in spans]

    def _as_exact_as_before(self, stamps: NDArray[np.float64]) -> Run | None:
        """All of these in one run, where the segment was exact so far and goes on so: nearly always, and soon told."""
        state = self.state
        if not state.count or not len(stamps) or state.stale >= self.rate_hz or not self._exact:
            return None
        errors = self._errors(stamps)
        if not max(errors.max(), -errors.min()) <= EXACT_S:  # nor where one is no number
            return None
        state.received += (n := len(stamps))
        state.count += n
        state.stale = state.leaping = 0
        kept = state.count - stamp_line.block_of(state.count, self._shortest)[0]
        state.errors_s = errors[n - kept :] if kept <= n else np.concatenate((state.errors_s, errors))[-kept:]
        self._remember(stamps)
        return Run(slice(0, n), state.origin_s, opens_segment=False)

    @property
    def _expected_s(self) -> float:
        return self.state.origin_s + self.state.count / self.rate_hz

    @property
    def _exact(self) -> bool:
        """Whether nothing can be learnt of any stamp so far, so that a block need not end."""
        state = self.state
        return not (state.line.blocks or state.ragged or (np.abs(state.errors_s) > EXACT_S).any())

    @property
    def _slack(self) -> float:
        """How far from a whole number of samples the steps of this sender's stamps are when nothing is lost."""
        return max(_WHOLE, 2.5 * self.state.line.jitter_s * self.rate_hz)

    def _errors(self, stamps: NDArray[np.float64]) -> NDArray[np.float64]:
        count = self.state.count
        return stamps - (self.state.origin_s + np.arange(count, count + len(stamps)) / self.rate_hz)

    def _judge(self, stamps: NDArray[np.float64]) -> tuple[int, int, NDArray[np.float64]]:
        """How many of `stamps` go on in the segment, of one block at most; 1 if the next is ahead, -1 if behind.

        With them their errors, or of more.
        """
        state = self.state
        if self._exact:
            errors = self._errors(stamps)
            if good := _until(~(np.abs(errors) <= EXACT_S)):
                return good, 0, errors
        stamps = stamps[: stamp_line.block_of(state.count, self._shortest)[1] - state.count]
        errors = self._errors(stamps)
        steps = np.empty(len(stamps))
        steps[0] = stamps[0] - (stamps[0] - 1 / self.rate_hz if state.count == 0 else state.recent_s[-1])
        np.subtract(stamps[1:], stamps[:-1], out=steps[1:])
        steps *= self.rate_hz
        steps -= 1
        shortest, longest = float(steps.min()), float(steps.max())
        slack, limit = self._slack, self.tolerance_s
        if slack >= 0.5 and state.line.packets >= _KNOWN_PACKETS:
            limit = min(max(stamp_line.largest_error_s(state.line), 0.5 / self.rate_hz), limit)
        repeated = shortest <= -1 or bool(state.count and stamps.min() <= state.recent_s.max())
        near = errors.max() <= limit and errors.min() >= -self.tolerance_s
        if near and not repeated and (slack >= 0.5 or (shortest > -0.5 and longest < 0.5)):
            # As most blocks are: what follows would find the same.
            state.ragged |= slack < 0.5 and max(longest, -shortest) > slack
            return len(stamps), 0, errors
        off = np.zeros(len(stamps), np.int8)
        if slack < 0.5:
            whole = np.rint(steps)
            ragged = (np.abs(steps - whole) > slack) | (whole < 0)
            since = 0 if state.ragged else _until(ragged)
            off[:since][whole[:since] >= 1] = 1
            ragged[:since] = False
        off[errors > limit] = 1
        off[errors < -self.tolerance_s] = -1
        if repeated:
            off[self._repeated(stamps)] = -1
        good = _until(off != 0)
        if slack < 0.5 and good:
            state.ragged |= bool(ragged[:good].any())
        return good, int(off[good]) if good < len(off) else 0, errors

    def _repeated(self, stamps: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which of `stamps` are those of samples that came just before."""
        known = np.concatenate((self.state.recent_s, stamps))
        first = np.zeros(len(known), bool)
        first[np.unique(known, return_index=True)[1]] = True
        return ~first[len(known) - len(stamps) :]

    def _take(self, stamps: NDArray[np.float64], errors: NDArray[np.float64]) -> None:
        """The segment's next samples, which do not go beyond the block unless they are exact."""
        state = self.state
        errors = np.concatenate((state.errors_s, errors))
        state.count += len(stamps)
        state.stale = state.leaping = 0
        self._remember(stamps)
        start = stamp_line.block_of(state.count, self._shortest)[0]
        state.errors_s = errors[len(errors) - (state.count - start) :]
        ended = errors[: len(errors) - len(state.errors_s)]
        if len(ended) and (state.line.blocks or max(ended.max(), -ended.min()) > EXACT_S):
            self._end_block(ended)

    def _remember(self, stamps: NDArray[np.float64]) -> None:
        most = self._remembered
        if len(stamps) >= most:
            self.state.recent_s = stamps[-most:].copy()
        else:
            self.state.recent_s = np.concatenate((self.state.recent_s, stamps))[-most:]

    def _end_block(self, errors: NDArray[np.float64]) -> None:
        state, line = self.state, self.state.line
        start, end = stamp_line.block_of(state.count, self._shortest)
        until_next_s = (len(errors) + end - start) / 2 / self.rate_hz
        clean = self._slack < 0.5
        learn_rate = clean or state.count >= self.settings.settle_s * self.rate_hz
        before_s = line.origin_s - line.drifted_s
        stepped = stamp_line.update(line, errors, self.rate_hz, until_next_s, learn_rate)
        state.ragged = False
        if stepped and state.loss.settled and not clean:
            loss.begin(state.loss, before_s, state.count)
        if not state.loss.settled:
            self._count_loss(state.count - state.loss.begins >= self.settings.settle_s * self.rate_hz)

    def _count_loss(self, settled: bool) -> None:
        state, line_s = self.state, self.state.origin_s - self.state.line.drifted_s
        jittered = self._slack >= 0.5
        if jittered:
            loss.count(state.loss, line_s, self.rate_hz)
        if settled:
            loss.settle(state.loss, line_s, self.rate_hz, self.tolerance_s if jittered else 0.0)

    def _gap(self, stamps: NDArray[np.float64]) -> int:
        """`stamps[0]` is ahead: how many to drop for not believing it, or 0 when a segment begins with it."""
        state = self.state
        late_s = stamps - self._expected_s
        if late_s[0] > self.settings.longest_gap_s:
            state.dropped += (n := _until(late_s <= self.settings.longest_gap_s))
            return n
        if late_s[0] > self.settings.leap_s:
            agrees = 0 < stamps[0] - state.leapt_s < 1 + 2 / self.rate_hz
            state.leaping = state.leaping + 1 if agrees else 1
            state.leapt_s = float(stamps[0])
            if state.leaping < self.rate_hz:
                state.dropped += 1
                return 1
            state.jumps += 1
        self._open(float(stamps[0]))
        return 0

    def _open(self, stamp_s: float) -> None:
        state, line = self.state, self.state.line
        start, end = stamp_line.block_of(state.count, self._shortest)
        beyond_s = (state.count - (start + end) / 2) / self.rate_hz
        stamp_line.end(line, state.errors_s, self.rate_hz, beyond_s)
        if not state.loss.settled:
            self._count_loss(settled=True)
        ended_s = self._expected_s
        ended_s += line.rate_error * (stamp_s - ended_s)
        first = not state.started
        uncertainty_s = self.settings.jitter_s if first else 0.5 / self.rate_hz
        stamp_line.begin(line, stamp_s, uncertainty_s)
        state.started, state.count, state.errors_s, state.ragged = True, 0, np.zeros(0), False
        state.stale = state.leaping = 0
        state.segments += 1
        if not first:
            loss.begin(state.loss, ended_s, 0)
            loss.count(state.loss, stamp_s, self.rate_hz)
            state.holes_s = np.concatenate((state.holes_s, [[ended_s, stamp_s]]))[-_HOLES:]

    def _begin_anew(self, stamps: NDArray[np.float64]) -> int:
        """The first samples of all, or those after a second's worth that was behind: how many to drop."""
        error_s = float(stamps[0]) - self._expected_s
        if self.state.started and error_s < -0.5 / self.rate_hz:
            return self._drop(stamps, -0.5 / self.rate_hz)
        if self.state.started and abs(error_s) <= EXACT_S:
            self.state.stale = 0
            return 0
        return self._gap(stamps)

    def _drop(self, stamps: NDArray[np.float64], behind_s: float) -> int:
        """Drop the stamps that were there already or are behind by more than `-behind_s`; at least the first."""
        state = self.state
        passes = stamps >= self._expected_s + behind_s
        if len(state.recent_s):
            passes &= ~np.isin(stamps, state.recent_s)
        passes[0] = False
        state.dropped += (n := _until(passes))
        late = ((stamps[:n, None] >= state.holes_s[:, 0]) & (stamps[:n, None] < state.holes_s[:, 1])).any(axis=1)
        state.out_of_order += int(late.sum())
        state.duplicated += n - int(late.sum())
        state.jumps += state.stale < self.rate_hz <= state.stale + n
        state.stale += n
        return n


def _until(mask: NDArray[np.bool_]) -> int:
    """How many come before the first that is true."""
    return int(mask.argmax()) if mask.any() else len(mask)
