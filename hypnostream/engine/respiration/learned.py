"""The learned model of breathing at work: what it believes of each second, five at a time, and of which events that is.

Its answers are kept apart from the rules: the rules say what an event is, this says how far the model agrees, and
`surrogate.py` says what may be said on the model's word alone. It runs by a clock of its own, as five seconds together
cost little more than one.
"""

import math
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hypnostream.engine.backend import Backend
from hypnostream.engine.bundle import GraphSpec
from hypnostream.engine.respiration.tick_inputs import ANSWERS, LATE_S, NUMBERS, TICK_S, TICK_SENSORS
from hypnostream.engine.slots import Arrays

EVENT_NOW, EVENT_LATE = (ANSWERS.index(name) for name in ("event_now", "event_late"))
_KEPT_S: Final = 600


@dataclass(slots=True)
class LearnedState:
    """All that is remembered; seconds count from the first that came.

    `numbers` (5, 7, 3) and `mask` (5, 7) hold second s at s % 5, `answers` (600, 5) at s % 600, NaN for none.
    """

    model: Arrays
    numbers: NDArray[np.float32] = field(default_factory=lambda: np.zeros((TICK_S, len(TICK_SENSORS), NUMBERS), "f4"))
    mask: NDArray[np.float32] = field(default_factory=lambda: np.zeros((TICK_S, len(TICK_SENSORS)), "f4"))
    answers: NDArray[np.float32] = field(default_factory=lambda: np.full((_KEPT_S, len(ANSWERS)), np.nan, "f4"))
    next_second: int = 0


class LearnedBreathing:
    """The pure processing; any number of beds may share it."""

    def __init__(self, graph: GraphSpec, backend: Backend) -> None:
        self._graph, self._backend = graph, backend

    def fresh(self) -> LearnedState:
        """The state before the first second."""
        return LearnedState({s.input: np.zeros((1, *s.shape), np.float32) for s in self._graph.states})

    def take(self, state: LearnedState, numbers: NDArray[np.float32], mask: NDArray[np.float32]) -> bool:
        """The next second, as `tick_inputs` has it, (7, 3) and (7,); whether there are answers of five seconds more."""
        place = state.next_second % TICK_S
        state.numbers[place], state.mask[place] = numbers, mask
        state.next_second += 1
        if state.next_second % TICK_S:
            return False
        outputs = self._backend.run({"numbers": state.numbers[None], "mask": state.mask[None], **state.model})
        state.model = {s.input: outputs[s.output] for s in self._graph.states}
        at = np.arange(state.next_second - TICK_S, state.next_second) % _KEPT_S
        state.answers[at] = outputs["probabilities"][0]
        return True


def answers_of(state: LearnedState, first: int, last: int) -> NDArray[np.float32]:
    """What was answered as seconds `first` to before `last` ended (n, 5), NaN where nothing was, or it is forgotten."""
    seconds = np.arange(first, last)
    known = (seconds >= max(0, state.next_second - _KEPT_S)) & (seconds < state.next_second)
    return np.where(known[:, None], state.answers[seconds % _KEPT_S], np.float32(np.nan))


def belief(state: LearnedState, start_s: float, end_s: float) -> float | None:
    """How far the model believes, by now, that someone did not breathe well from `start_s` to `end_s`: 0 to 1.

    Of each second what it says late, as far as that is known, else what it said at once; None when it said nothing.
    """
    first = math.floor(start_s)
    last = max(math.ceil(end_s), first + 1)
    late = answers_of(state, first + LATE_S, last + LATE_S)[:, EVENT_LATE]
    now = answers_of(state, first, last)[:, EVENT_NOW]
    each = np.where(np.isnan(late), now, late)
    each = each[~np.isnan(each)]
    return float(each.mean()) if len(each) else None
