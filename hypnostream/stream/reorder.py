"""Chunks that overtook one another are put back in order, before the timeline takes what is late for lost.

A chunk that begins ahead of what comes next is held until the missing samples are there, or for `wait_s`; so is what
comes after it. A chunk in which samples lie out of order is cut where they do. A stream in which nothing is missing
passes untouched and at once.

Jitter looks like disorder, so steps up to one and a half times the largest of late pass. The first ones of a jittered
sender hold it up for `wait_s`. Steps of whole samples are no jitter but losses.
"""

import copy
import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hypnostream.stream.source import Chunk

# A longer gap is none that a late packet fills: nothing is held for it.
_LONGEST_S = 1.0
# Samples that are held at most: so many seconds' worth.
_MOST_S = 5.0
# Of a sample: the step that is none, and how near to a whole number that of a loss is.
_NEXT = 0.5
_WHOLE = 0.02
# The largest jitter fades by this from chunk to chunk, and is no larger than that.
_JITTER_FADES = 0.995
_LARGEST_JITTER_S = 0.06


@dataclass(slots=True)
class Held:
    """A chunk that waits, until `until_s` of the session's clock at most."""

    samples: NDArray[np.float32]  # (n, channels)
    timestamps: NDArray[np.float64]  # (n,)
    until_s: float


@dataclass(slots=True)
class ReorderState:
    """Arrays, numbers and the stream's name. `reordered` chunks were put before later ones that had come already."""

    stream_id: str = ""
    next_s: float = math.nan
    jitter_s: float = 0.0
    reordered: int = 0
    held: list[Held] = field(default_factory=list)


class Reorder:
    """Puts the chunks of one stream of `rate_hz` in order, within `wait_s` of the session's clock.

    An irregular stream (0.0) passes as it is: nobody knows what comes next in it.
    """

    def __init__(self, rate_hz: float, wait_s: float = 0.3) -> None:
        self.rate_hz = rate_hz
        self.wait_s = wait_s
        self._state = ReorderState()

    @property
    def reordered(self) -> int:
        """Chunks that came late and were put where they belong."""
        return self._state.reordered

    @property
    def held_samples(self) -> int:
        """How many samples wait for others."""
        return sum(len(held.timestamps) for held in self._state.held)

    def snapshot(self) -> ReorderState:
        """A copy of all that is remembered, the chunks that wait among it."""
        return copy.deepcopy(self._state)

    def restore(self, state: ReorderState) -> None:
        """Go on from a snapshot."""
        self._state = copy.deepcopy(state)

    def push(self, chunk: Chunk, now_s: float) -> list[Chunk]:
        """Take the next chunk; what can go on, in order."""
        if not len(chunk.timestamps) or not self.rate_hz > 0:
            return [chunk]
        state = self._state
        state.stream_id = chunk.stream_id
        out: list[Chunk] = []
        for piece in self._pieces(chunk):
            if not state.held and not self._waits(float(piece.timestamps[0])):
                out.append(self._passed(piece))
                continue
            # It belongs before what it does not reach into; a late stamp alone makes no disorder.
            end_s = piece.timestamps[-1] + _NEXT / self.rate_hz
            place = next((i for i, held in enumerate(state.held) if end_s < held.timestamps[0]), len(state.held))
            state.reordered += place < len(state.held)
            state.held.insert(place, Held(piece.samples, piece.timestamps, now_s + self.wait_s))
            out += self._contiguous()
            while self.held_samples > max(1, _MOST_S * self.rate_hz):
                out += self._first_held()
        return out + self.release(now_s) if state.held else out

    def release(self, now_s: float) -> list[Chunk]:
        """What has waited long enough by `now_s`, and what comes next after it."""
        out: list[Chunk] = []
        if not self._state.held:
            return out
        while any(held.until_s <= now_s for held in self._state.held):
            out += self._first_held()
        return out

    def _waits(self, first_s: float) -> bool:
        """Whether samples are missing before a chunk that begins with `first_s`, and may still come."""
        ahead_s = first_s - self._state.next_s
        return max(_NEXT / self.rate_hz, 1.5 * self._state.jitter_s) < ahead_s <= _LONGEST_S

    def _pieces(self, chunk: Chunk) -> list[Chunk]:
        """`chunk`, cut where its stamps leap ahead or back; itself when they do not."""
        stamps = chunk.timestamps
        steps = stamps[1:] - stamps[:-1] - 1 / self.rate_hz
        limit = max(_NEXT / self.rate_hz, 1.5 * self._state.jitter_s)
        if not len(steps) or steps.min() >= -limit or not (back := steps < -limit).any():
            return [chunk]
        cuts = np.flatnonzero(back | (steps > limit)) + 1
        rows = zip([0, *cuts.tolist()], [*cuts.tolist(), len(chunk.timestamps)], strict=True)
        return [Chunk(chunk.stream_id, chunk.samples[a:b], chunk.timestamps[a:b]) for a, b in rows]

    def _passed(self, chunk: Chunk) -> Chunk:
        """`chunk` goes on: what comes next, and what its step says of the sender's jitter."""
        state = self._state
        step_s = float(chunk.timestamps[0]) - state.next_s
        state.jitter_s *= _JITTER_FADES
        if state.jitter_s < abs(step_s) <= _LARGEST_JITTER_S and _is_jitter(step_s * self.rate_hz):
            state.jitter_s = abs(step_s)
        end_s = float(chunk.timestamps[-1]) + 1 / self.rate_hz
        # What is behind by more than jitter is a repetition or too late; what comes next does not change with it.
        behind = -_LONGEST_S < step_s < -_LARGEST_JITTER_S and not end_s > state.next_s
        if math.isfinite(end_s) and not behind:
            state.next_s = end_s
        return chunk

    def _first_held(self) -> list[Chunk]:
        held = self._state.held.pop(0)
        return [self._passed(Chunk(self._state.stream_id, held.samples, held.timestamps)), *self._contiguous()]

    def _contiguous(self) -> list[Chunk]:
        out: list[Chunk] = []
        state = self._state
        while state.held and not self._waits(float(state.held[0].timestamps[0])):
            held = state.held.pop(0)
            out.append(self._passed(Chunk(self._state.stream_id, held.samples, held.timestamps)))
        return out


def _is_jitter(samples: float) -> bool:
    return abs(samples - round(samples)) > _WHOLE
