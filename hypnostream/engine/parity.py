"""How far two runners of one graph differ over a night, and whether the second may stand for the first."""

import math
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from hypnostream.engine.backend import Backend
from hypnostream.engine.bundle import GraphSpec
from hypnostream.engine.slots import Arrays

DECISION = "probabilities"  # the output that what is said follows from


class Limits(msgspec.Struct, frozen=True):
    """What is allowed: largest difference of an output, of a state relative to one plus its largest value, and the
    least share of what is decided that is decided alike."""

    outputs: float
    states: float
    agreement: float = 0.999


# Rounding grows in a recurrent state (see `training.bundling.export`); float16 keeps 11 bits of each product.
LIMITS = {"fp32": Limits(1e-4, 1e-3), "fp16": Limits(2e-2, 5e-2)}


class Parity(msgspec.Struct, frozen=True):
    """Largest differences over `steps` of a bed each, each runner with its own state. States relative to one plus their
    largest. None is a difference that is no finite number, which JSON cannot say otherwise."""

    steps: int
    outputs: float | None
    states: float | None
    agreement: float

    @property
    def words(self) -> str:
        """The differences, for people."""
        return f"outputs {_said(self.outputs)}, states {_said(self.states)}, decided alike {self.agreement:.2%}"

    def refusal(self, limits: Limits) -> str:
        """Why this is not good enough, "" when it is. What is not finite is never."""
        if not self.steps:
            return "nothing was compared"
        if not self.agreement >= limits.agreement:
            return f"decides alike in {self.agreement:.2%} of {self.steps} steps, {limits.agreement:.1%} are needed"
        for name, found, most in (
            ("outputs", self.outputs, limits.outputs),
            ("states", self.states, limits.states),
        ):
            if found is None or not found <= most:
                return f"{name} differ by {_said(found)} over {self.steps} steps, at most {most:.0e} is allowed"
        return ""


def worst(found: Sequence[Parity]) -> Parity:
    """Of several comparisons: all steps, the largest differences, the least agreement."""
    outputs, states = [each.outputs for each in found], [each.states for each in found]
    return Parity(
        sum(each.steps for each in found), _largest(outputs), _largest(states), min(each.agreement for each in found)
    )


def compare(
    reference: Backend, candidate: Backend, spec: GraphSpec, inputs: Iterable[Mapping[str, NDArray[np.float32]]]
) -> Parity:
    """Feed both the same `inputs` (all but states, (B, ...) each), one step after the other from states of zero."""
    pair = (reference, candidate)
    carried: list[Arrays] | None = None
    steps, outputs, states, alike, decided = 0, 0.0, 0.0, 0, 0
    for given in inputs:
        beds = len(next(iter(given.values())))
        if carried is None:
            zeros = {state.input: np.zeros((beds, *state.shape), np.float32) for state in spec.states}
            carried = [zeros, zeros]
        said, other = (each.run({**given, **state}) for each, state in zip(pair, carried, strict=True))
        carried = [{state.input: answer[state.output] for state in spec.states} for answer in (said, other)]
        steps += beds
        for output in spec.outputs:
            outputs = _larger(outputs, _rows(said[output.name] - other[output.name]))
        for state in spec.states:
            far = _rows(said[state.output] - other[state.output])
            states = _larger(states, far / (1 + _rows(said[state.output])))
        if DECISION in said:
            ours, theirs = (_decided(answer[DECISION]) for answer in (said, other))
            decided += ours.size
            alike += int((ours == theirs).sum())
    return Parity(steps, _finite(outputs), _finite(states), alike / decided if decided else 1.0)


def _decided(probabilities: NDArray[np.float32]) -> NDArray[np.integer] | NDArray[np.bool_]:
    """What follows: of an epoch's (B, stages) the likeliest, of a tick's (B, seconds, answers) each for itself."""
    return probabilities.argmax(-1) if probabilities.ndim == 2 else probabilities >= 0.5


def _rows(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The largest size in each bed's row (B, ...), NaN where one is."""
    largest: NDArray[np.float32] = np.abs(values).reshape(len(values), -1).max(axis=1)
    return largest


def _larger(so_far: float, rows: NDArray[np.float32]) -> float:
    """The largest of all, NaN if one is."""
    return float(np.maximum(so_far, rows.max()))


def _finite(difference: float) -> float | None:
    return difference if math.isfinite(difference) else None


def _largest(differences: Sequence[float | None]) -> float | None:
    finite = [each for each in differences if each is not None]
    return max(finite) if len(finite) == len(differences) else None


def _said(difference: float | None) -> str:
    return "no finite number" if difference is None else f"{difference:.1e}"
