"""The learned model of breathing at work: what it believes of each second, and of which events that is.

Its answers are kept apart from the rules: the rules say what an event is, this says how far the model agrees, and
`surrogate.py` says what may be said on the model's word alone. It runs by a clock of its own, five seconds together, as
these cost little more than one; and only when it is asked, so that where nobody asks half a minute goes through it in
one call. How its seconds are put together changes nothing of its answers: by onnxruntime both graphs say the same to
the last bit, by TensorRT but for rounding.
"""

import math
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hypnostream.engine.backend import Backend
from hypnostream.engine.bundle import GraphSpec
from hypnostream.engine.respiration.tick_inputs import ANSWERS, LATE_S, MANY_S, NUMBERS, TICK_S, TICK_SENSORS
from hypnostream.engine.slots import Arrays

EVENT_NOW, EVENT_LATE = (ANSWERS.index(name) for name in ("event_now", "event_late"))
_KEPT_S: Final = 600


@dataclass(slots=True)
class LearnedState:
    """All that is remembered; seconds count from the first that came.

    `numbers` (n, 7, 3) and `mask` (n, 7) are of the seconds from `answered` on, those that did not go through the model
    yet; `answers` (600, 5) has second s at s % 600, NaN for none.
    """

    model: Arrays
    numbers: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, len(TICK_SENSORS), NUMBERS), "f4"))
    mask: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, len(TICK_SENSORS)), "f4"))
    answers: NDArray[np.float32] = field(default_factory=lambda: np.full((_KEPT_S, len(ANSWERS)), np.nan, "f4"))
    answered: int = 0

    @property
    def next_second(self) -> int:
        """The next that is to come."""
        return self.answered + len(self.mask)


class LearnedBreathing:
    """The pure processing; any number of beds may share it. `many` is the `backend` for MANY_S in a call."""

    def __init__(self, graph: GraphSpec, backend: Backend, many: Backend | None = None) -> None:
        self._graph, self._backend, self._many = graph, backend, many

    def fresh(self) -> LearnedState:
        """The state before the first second."""
        return LearnedState({s.input: np.zeros((1, *s.shape), np.float32) for s in self._graph.states})

    def take(self, state: LearnedState, numbers: NDArray[np.float32], mask: NDArray[np.float32]) -> None:
        """The next seconds, as `tick_inputs` has them, (n, 7, 3) and (n, 7)."""
        state.numbers, state.mask = np.concatenate((state.numbers, numbers)), np.concatenate((state.mask, mask))
        while len(state.mask) >= MANY_S:
            self._run(state)

    def answer(self, state: LearnedState) -> None:
        """Have the answers of every whole tick that has come."""
        while len(state.mask) >= TICK_S:
            self._run(state)

    def _run(self, state: LearnedState) -> None:
        count, backend = TICK_S, self._backend
        if self._many is not None and len(state.mask) >= MANY_S:
            count, backend = MANY_S, self._many
        inputs = {"numbers": state.numbers[None, :count], "mask": state.mask[None, :count]}
        outputs = backend.run({**inputs, **state.model})
        state.model = {s.input: outputs[s.output] for s in self._graph.states}
        state.answers[np.arange(state.answered, state.answered + count) % _KEPT_S] = outputs["probabilities"][0]
        state.numbers, state.mask = state.numbers[count:], state.mask[count:]
        state.answered += count


def answered_by(second: int) -> int:
    """Before which second there are answers when so many seconds have come."""
    return second // TICK_S * TICK_S


def answers_of(state: LearnedState, first: int, last: int, now: int) -> NDArray[np.float32]:
    """What was answered as seconds `first` to before `last` ended (n, 5), when `now` seconds had come, which must have
    been answered; NaN where nothing was, or it is forgotten."""
    seconds = np.arange(first, last)
    known = (seconds >= max(0, now - _KEPT_S + MANY_S)) & (seconds < answered_by(now))
    return np.where(known[:, None], state.answers[seconds % _KEPT_S], np.float32(np.nan))


def belief(state: LearnedState, start_s: float, end_s: float, now: int) -> float | None:
    """How far the model believed, when `now` seconds had come, that someone did not breathe well from `start_s` to
    `end_s`: 0 to 1.

    Of each second what it says late, as far as that is known, else what it said at once; None when it said nothing.
    """
    first = math.floor(start_s)
    last = max(math.ceil(end_s), first + 1)
    late = answers_of(state, first + LATE_S, last + LATE_S, now)[:, EVENT_LATE]
    each = np.where(np.isnan(late), answers_of(state, first, last, now)[:, EVENT_NOW], late)
    each = each[~np.isnan(each)]
    return float(each.mean()) if len(each) else None
