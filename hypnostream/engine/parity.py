"""How far two runners of one graph differ over a night, and whether the second may stand for the first."""

from collections.abc import Iterable, Mapping

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
    """Largest differences over `steps`, each runner with its own state. States relative to one plus their largest."""

    steps: int
    outputs: float
    states: float
    agreement: float

    def refusal(self, limits: Limits) -> str:
        """Why this is not good enough, "" when it is. A NaN is never."""
        if not self.steps:
            return "nothing was compared"
        if not self.agreement >= limits.agreement:
            return f"decides alike in {self.agreement:.2%} of {self.steps} steps, {limits.agreement:.1%} are needed"
        for name, found, most in (
            ("outputs", self.outputs, limits.outputs),
            ("states", self.states, limits.states),
        ):
            if not found <= most:
                return f"{name} differ by {found:.1e} over {self.steps} steps, at most {most:.0e} is allowed"
        return ""


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
            outputs = _larger(outputs, said[output.name] - other[output.name], 1.0)
        for state in spec.states:
            scale = 1 + float(np.abs(said[state.output]).max())
            states = _larger(states, said[state.output] - other[state.output], scale)
        if DECISION in said:
            ours, theirs = (_decided(answer[DECISION]) for answer in (said, other))
            decided += ours.size
            alike += int((ours == theirs).sum())
    return Parity(steps, outputs, states, alike / decided if decided else 1.0)


def _decided(probabilities: NDArray[np.float32]) -> NDArray[np.integer] | NDArray[np.bool_]:
    """What follows: of an epoch's (B, stages) the likeliest, of a tick's (B, seconds, answers) each for itself."""
    return probabilities.argmax(-1) if probabilities.ndim == 2 else probabilities >= 0.5


def _larger(worst: float, difference: NDArray[np.float32], scale: float) -> float:
    """The larger of two, NaN if either is."""
    return float(np.maximum(worst, np.abs(difference).max() / scale))
