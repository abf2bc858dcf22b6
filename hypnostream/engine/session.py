"""One bed's model at work: conditioned seconds in, a provisional stage each second and a final one each epoch out.

The session owns all that is remembered (`SessionState`); the backend remembers nothing. What the graph carries lies in
a slot, which is the session's own or one of many of a ward (`slots`). A provisional stage is the
epoch graph run on the last 30 s, its new state thrown away; the final one is the same graph on the whole epoch, its
state kept. So what is said on the way never changes what is said at the end. Where the graph reads stretches, the whole
epochs that come together are one run.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from hypnostream.engine.asking import Asking, alone
from hypnostream.engine.asks import GraphRun, graph_run
from hypnostream.engine.backend import Backend
from hypnostream.engine.bundle import Bundle
from hypnostream.engine.results import ChannelState, StageResult
from hypnostream.engine.slots import Arrays, Slots
from hypnostream.engine.stretch import StretchBackend
from hypnostream.stream.channels import NEVER_PRESENT, OK, QUALITY_NAMES
from hypnostream.stream.seconds import Seconds
from hypnostream.stream.stages import EPOCH_S, STAGES

_Number = TypeVar("_Number", bound=np.generic)
NEVER_S = 1e6  # the age of a channel that was never there; the graph bounds ages far below


@dataclass(slots=True)
class SessionState:
    """All that a session remembers: arrays and two numbers, so that it can be written down and taken up again."""

    next_second: int
    signal: NDArray[np.float32]  # (C, 30, rate) a ring: second s lies at s % 30, so a whole epoch lies in order
    quality: NDArray[np.uint8]  # (C, 30)
    age_s: NDArray[np.float64]  # (C,) since the last good second
    model: Arrays  # by the names of the graph's state inputs, each (1, ...); in a session views of its slot


@dataclass(frozen=True, slots=True)
class _Window:
    """Thirty seconds that a stage is said of; of the epoch that they end in they hold `seconds`."""

    epoch: int
    seconds: int
    signal: NDArray[np.float32]  # (C, 30 rate) of one window a view of the session's ring
    quality: NDArray[np.uint8]  # (C, 30)
    passed: int  # seconds of it that the session has seen: at its start the window is longer than it
    age_s: NDArray[np.float32]  # (C,)


class Session:
    """The pure processing of one bed. `backend` may be shared between any number of sessions, and so may `slots`:
    asks of sessions that share both can be one run (see `scheduler`). None: slots of its own. A `StretchBackend` is one
    for sessions of recordings."""

    def __init__(self, bundle: Bundle, backend: Backend, t0_s: float = 0.0, slots: Slots | None = None) -> None:
        self.bundle, self.backend, self.t0_s = bundle, backend, t0_s
        self._stretches = isinstance(backend, StretchBackend)
        self._most = backend.most if isinstance(backend, StretchBackend) else 1
        self._slot = (Slots(bundle.content.epoch) if slots is None else slots).join()
        count, rate = len(bundle.channels), bundle.channels[0].rate_hz
        # The ring twice over: wherever it begins, thirty seconds lie in order, and need no copy.
        self._ring = np.zeros((count, 2 * EPOCH_S, rate), np.float32)
        self.state = SessionState(
            next_second=0,
            signal=self._ring[:, :EPOCH_S],
            quality=np.full((count, EPOCH_S), NEVER_PRESENT, np.uint8),
            age_s=np.full(count, NEVER_S),
            model=self._slot.states,
        )

    def snapshot(self) -> SessionState:
        """A copy of all that this session remembers."""
        return copy.deepcopy(self.state)

    def restore(self, state: SessionState) -> None:
        """Go on from a snapshot of a session with the same bundle. Raises ValueError when it does not fit."""
        for name in ("signal", "quality", "age_s"):
            theirs, ours = getattr(state, name).shape, getattr(self.state, name).shape
            if theirs != ours:
                raise ValueError(f"a snapshot with {name} {theirs} does not fit a bundle that wants {ours}")
        self._slot.write(state.model)
        self._ring[:] = np.tile(state.signal, (1, 2, 1))
        self.state = replace(copy.deepcopy(state), signal=self._ring[:, :EPOCH_S], model=self._slot.states)

    def move(self, slots: Slots) -> None:
        """Go on in one of these slots, which are of the same graph: among others, or alone again."""
        before, self._slot = self._slot, slots.join()
        before.leave()
        self._slot.write(before.states)
        self.state = replace(self.state, model=self._slot.states)

    def leave(self) -> None:
        """Free the slot for another bed; this session says nothing any more."""
        self._slot.leave()

    def advance(self, seconds: Seconds, provisional: bool = True) -> list[StageResult]:
        """Take consecutive whole seconds of all channels, in the bundle's order; say what follows from them.

        Raises ValueError when a second is skipped or repeated: the grid's promise is broken and time with it.
        """
        return alone(self.asking(seconds, provisional))

    def asking(self, seconds: Seconds, provisional: bool = True) -> Asking[list[StageResult]]:
        """The same, with what the graph is to be run on asked for."""
        state = self.state
        if seconds.start != state.next_second:
            raise ValueError(f"second {seconds.start} came, second {state.next_second} was due")
        results: list[StageResult] = []
        due: list[_Window] = []
        done = 0
        while done < seconds.count:
            place = state.next_second % EPOCH_S
            step = 1 if provisional else min(EPOCH_S - place, seconds.count - done)
            self._take(seconds, done, step, place)
            done += step
            closes = state.next_second % EPOCH_S == 0
            if closes or provisional:
                due.append(self._window(kept=not provisional and self._most > 1))
            if due and (provisional or len(due) == self._most or done == seconds.count):
                results += yield from self._stages(due, final=closes or not provisional)
                due = []
        return results

    def _take(self, seconds: Seconds, first: int, count: int, place: int) -> None:
        """Copy `count` seconds into the window and let the ages grow."""
        state = self.state
        quality = seconds.quality[:, first : first + count]
        for channel, samples in zip(seconds.channels, seconds.samples, strict=True):
            new = samples[first : first + count]
            self._ring[channel, place : place + count] = new
            self._ring[channel, place + EPOCH_S : place + EPOCH_S + count] = new
        rows = list(seconds.channels)
        state.quality[rows, place : place + count] = quality
        good = quality == OK
        since = np.where(good.any(axis=1), np.argmax(good[:, ::-1], axis=1), state.age_s[rows] + count)
        state.age_s[rows] = np.minimum(since, NEVER_S)
        state.next_second += count

    def _window(self, kept: bool) -> _Window:
        """The last 30 s, in order; `kept` while others are taken."""
        state = self.state
        place = state.next_second % EPOCH_S
        signal, quality = self._ring[:, place : place + EPOCH_S], state.quality
        if place:
            quality = np.concatenate((quality[:, place:], quality[:, :place]), axis=1)
        elif kept:
            signal, quality = signal.copy(), quality.copy()
        return _Window(
            epoch=(state.next_second - 1) // EPOCH_S,
            seconds=place or EPOCH_S,
            signal=signal.reshape(len(signal), -1),
            quality=quality,
            passed=min(EPOCH_S, state.next_second),
            age_s=state.age_s.astype(np.float32),
        )

    def _stages(self, windows: Sequence[_Window], final: bool) -> Asking[list[StageResult]]:
        """What the graph says of these: one window, or a stretch of them."""
        valid = _stacked([window.quality == OK for window in windows]).astype(np.float32)  # (L, C, 30)
        inputs = {
            "signal": _stacked([window.signal for window in windows]),
            "valid": valid,
            "age_s": _stacked([window.age_s for window in windows]),
        }
        if self._stretches:
            inputs = {name: each[None] for name, each in inputs.items()}
        outputs, compute_s = yield from graph_run(GraphRun(self.backend, self._slot, inputs, keep=final))
        said = {name: each[0] if self._stretches else each for name, each in outputs.items()}
        usable = valid.sum(axis=2) >= self.bundle.content.min_valid_s
        weights = said["weights"].tolist() if "weights" in said else [[None] * len(self.bundle.channels)] * len(windows)
        return [
            self._result(window, final, p, enough, shares, compute_s / len(windows))
            for window, p, enough, shares in zip(windows, said["probabilities"], usable, weights, strict=True)
        ]

    def _result(
        self,
        window: _Window,
        final: bool,
        probabilities: NDArray[np.float32],
        usable: NDArray[np.bool_],
        weights: Sequence[float | None],
        compute_s: float,
    ) -> StageResult:
        passed = window.quality[:, EPOCH_S - window.passed :]
        good = passed == OK
        if good.all():  # as they mostly are
            worst, shares = [OK] * len(passed), [1.0] * len(passed)
        else:
            worst, shares = _worst(passed), good.mean(axis=1).tolist()
        p_w, p_n1, p_n2, p_n3, p_r = probabilities.tolist()
        some, use_of = bool(usable.any()), usable.tolist()
        return StageResult(
            epoch=window.epoch,
            t_start_s=self.t0_s + window.epoch * EPOCH_S,
            final=final,
            seconds=window.seconds,
            stage=STAGES[int(probabilities.argmax())] if some else None,
            absent_reason=None if some else "no_data",
            probabilities=(p_w, p_n1, p_n2, p_n3, p_r),
            channels=tuple(
                ChannelState(spec.name, QUALITY_NAMES[code], share, not use, weight)
                for spec, code, share, use, weight in zip(
                    self.bundle.channels, worst, shares, use_of, weights, strict=True
                )
            ),
            compute_s=compute_s,
        )


def _stacked(arrays: Sequence[NDArray[_Number]]) -> NDArray[_Number]:
    """With an axis before the others; a view where there is but one, as there is live."""
    return arrays[0][None] if len(arrays) == 1 else np.stack(arrays)


def _worst(codes: NDArray[np.uint8]) -> list[int]:
    """What most seconds of each row (channels, seconds) were; on a tie the smaller code, so that ok wins."""
    counts = (codes == np.arange(len(QUALITY_NAMES), dtype=np.uint8)[:, None, None]).sum(axis=2)  # (codes, channels)
    worst: list[int] = counts.argmax(axis=0).tolist()
    return worst
