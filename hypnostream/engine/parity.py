"""How far two runners of one graph differ over a night, and whether the second may stand for the first."""

from collections.abc import Iterable, Iterator, Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from hypnostream.engine.backend import Backend
from hypnostream.engine.bed import Bed
from hypnostream.engine.bundle import Bundle, GraphSpec
from hypnostream.engine.session import Session
from hypnostream.engine.slots import Arrays
from hypnostream.stream.montage import resolve
from hypnostream.stream.simulator import NightSettings, SimulatedSource, simulate_night
from hypnostream.stream.simulator_faults import typical_faults
from hypnostream.stream.stages import EPOCH_S

NIGHT_EPOCHS = 960
DECISION = "probabilities"  # the output whose largest entry is what is said


class Limits(msgspec.Struct, frozen=True):
    """What is allowed: largest difference of an output, of a state relative to one plus its largest value, and the
    least share of epochs that are decided alike."""

    outputs: float
    states: float
    agreement: float = 0.999


# Rounding grows in a recurrent state (see `training.bundling.export`); float16 keeps 11 bits of each product.
LIMITS = {"fp32": Limits(1e-4, 1e-3), "fp16": Limits(2e-2, 5e-2)}


class Parity(msgspec.Struct, frozen=True):
    """Largest differences over `epochs`, each runner with its own state. States relative to one plus their largest."""

    epochs: int
    outputs: float
    states: float
    agreement: float

    def refusal(self, limits: Limits) -> str:
        """Why this is not good enough, "" when it is. A NaN is never."""
        if not self.epochs:
            return "nothing was compared"
        if not self.agreement >= limits.agreement:
            return f"decides alike in {self.agreement:.2%} of {self.epochs} epochs, {limits.agreement:.1%} are needed"
        for name, found, most in (
            ("outputs", self.outputs, limits.outputs),
            ("states", self.states, limits.states),
        ):
            if not found <= most:
                return f"{name} differ by {found:.1e} over {self.epochs} epochs, at most {most:.0e} is allowed"
        return ""


def compare(
    reference: Backend, candidate: Backend, spec: GraphSpec, inputs: Iterable[Mapping[str, NDArray[np.float32]]]
) -> Parity:
    """Feed both the same `inputs` (all but states, (B, ...) each), one step after the other from states of zero."""
    pair = (reference, candidate)
    carried: list[Arrays] | None = None
    epochs, outputs, states, alike, decided = 0, 0.0, 0.0, 0, 0
    for given in inputs:
        beds = len(next(iter(given.values())))
        if carried is None:
            zeros = {state.input: np.zeros((beds, *state.shape), np.float32) for state in spec.states}
            carried = [zeros, zeros]
        said, other = (each.run({**given, **state}) for each, state in zip(pair, carried, strict=True))
        carried = [{state.input: answer[state.output] for state in spec.states} for answer in (said, other)]
        epochs += beds
        for output in spec.outputs:
            outputs = _larger(outputs, said[output.name] - other[output.name], 1.0)
        for state in spec.states:
            scale = 1 + float(np.abs(said[state.output]).max())
            states = _larger(states, said[state.output] - other[state.output], scale)
        if DECISION in said:
            decided += beds
            alike += int((said[DECISION].argmax(-1) == other[DECISION].argmax(-1)).sum())
    return Parity(epochs, outputs, states, alike / decided if decided else 1.0)


def simulated_epochs(bundle: Bundle, epochs: int = NIGHT_EPOCHS, seed: int = 0) -> Iterator[Arrays]:
    """What a session gives the epoch graph in a simulated night with sensors that fail, states left out."""
    rate_hz, duration_s = bundle.channels[0].rate_hz, float(epochs * EPOCH_S)
    settings = NightSettings(duration_s=duration_s, rate_hz=max(rate_hz, 100), faults=typical_faults(duration_s, seed))
    source = SimulatedSource(simulate_night(settings, seed), chunk_s=float(EPOCH_S))
    listener = _Listener(bundle.content.epoch)
    montage = resolve(source.streams, bundle.channels)
    bed = Bed(source.streams, montage, Session(bundle, listener), provisional=False)
    time_s = 0.0
    while not source.exhausted:
        bed.push(source.read(0.0))
        time_s += EPOCH_S
        bed.advance(time_s)
        yield from listener.heard()
    bed.finish(duration_s)
    yield from listener.heard()


class _Listener:
    """A backend that answers zeros and keeps what it was given."""

    name = "none"

    def __init__(self, spec: GraphSpec) -> None:
        self._spec, self._heard = spec, list[Arrays]()

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> Arrays:
        self._heard.append({tensor.name: inputs[tensor.name].copy() for tensor in self._spec.inputs})
        shapes = {t.name: t.shape for t in self._spec.outputs} | {s.output: s.shape for s in self._spec.states}
        return {name: np.zeros((1, *shape), np.float32) for name, shape in shapes.items()}

    def heard(self) -> list[Arrays]:
        """What came since this was asked last."""
        heard, self._heard = self._heard, []
        return heard


def _larger(worst: float, difference: NDArray[np.float32], scale: float) -> float:
    """The larger of two, NaN if either is."""
    return float(np.maximum(worst, np.abs(difference).max() / scale))
