"""What the graphs of a bundle are given, step by step, in a simulated night with sensors that fail; states left out."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from hypnostream.engine.bed import Bed
from hypnostream.engine.bundle import Bundle, GraphSpec
from hypnostream.engine.respiration.beliefs import Beliefs
from hypnostream.engine.respiration.breathing import Breathing
from hypnostream.engine.respiration.channels import respiration_beside
from hypnostream.engine.respiration.learned import LearnedBreathing
from hypnostream.engine.session import Session
from hypnostream.engine.slots import Arrays
from hypnostream.stream.montage import resolve
from hypnostream.stream.simulator import NightSettings, SimulatedSource, simulate_night
from hypnostream.stream.simulator_breathing_truth import BreathingSettings
from hypnostream.stream.simulator_faults import breathing_faults, typical_faults
from hypnostream.stream.stages import EPOCH_S

NIGHT_EPOCHS = 960
ECG_HZ = 200  # as its conditioning wants it, and more than any EEG's


def simulated_steps(bundle: Bundle, graph: GraphSpec, epochs: int = NIGHT_EPOCHS, seed: int = 0) -> Iterator[Arrays]:
    """The steps of any graph that goes step by step, each (1, ...)."""
    if graph.file == bundle.content.epoch.file:
        return simulated_epochs(bundle, epochs, seed)
    return simulated_ticks(bundle, graph, epochs, seed)


def side_by_side(night: Sequence[Arrays], rows: int) -> Iterator[Arrays]:
    """The steps of `night` (1, ...) for so many beds at once, (rows, ...): each bed begins at another place of it, as
    far from the next as can be, and goes through all of it, round its end."""
    begins = [row * len(night) // rows for row in range(rows)]
    for step in range(len(night)):
        beds = [night[(begin + step) % len(night)] for begin in begins]
        yield {name: np.concatenate([bed[name] for bed in beds]) for name in beds[0]}


def simulated_epochs(bundle: Bundle, epochs: int = NIGHT_EPOCHS, seed: int = 0) -> Iterator[Arrays]:
    """What a session gives the epoch graph."""
    rate_hz, duration_s = bundle.channels[0].rate_hz, float(epochs * EPOCH_S)
    settings = NightSettings(duration_s=duration_s, rate_hz=max(rate_hz, 100), faults=typical_faults(duration_s, seed))
    source = SimulatedSource(simulate_night(settings, seed), chunk_s=float(EPOCH_S))
    listener = _Listener(bundle.content.epoch)
    montage = resolve(source.streams, bundle.channels)
    yield from _heard(Bed(source.streams, montage, Session(bundle, listener), provisional=False), source, listener)


def simulated_ticks(bundle: Bundle, graph: GraphSpec, epochs: int = NIGHT_EPOCHS, seed: int = 0) -> Iterator[Arrays]:
    """What a bed gives the model of breathing, in pieces of the graph's clock: `tick` or `ticks`.

    Of someone with apnea, whose every sensor of breathing is there but for what fails.
    """
    tick = bundle.content.tick
    if tick is None:
        raise ValueError(f"{bundle.path} has no model of breathing")
    duration_s = float(epochs * EPOCH_S)
    settings = NightSettings(
        duration_s=duration_s,
        events_per_hour=20.0,
        breathing=BreathingSettings(),
        rate_hz=ECG_HZ,
        faults=(*typical_faults(duration_s, seed), *breathing_faults(duration_s, seed)),
    )
    source = SimulatedSource(simulate_night(settings, seed), chunk_s=float(EPOCH_S))
    listener, sensors = _Listener(tick), respiration_beside(bundle.channels)
    montage = resolve(source.streams, (*bundle.channels, *sensors))
    session = Session(bundle, _Listener(bundle.content.epoch))
    breathing = Breathing(bundle.channels, sensors, beliefs=Beliefs(LearnedBreathing(tick, listener)))
    bed = Bed(source.streams, montage, session, provisional=False, breathing=breathing)
    ticks = _heard(bed, source, listener)
    together = graph.clock_s // tick.clock_s
    while len(several := list(islice(ticks, together))) == together:
        yield {name: np.concatenate([each[name] for each in several], axis=1) for name in several[0]}


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


def _heard(bed: Bed, source: SimulatedSource, listener: _Listener) -> Iterator[Arrays]:
    """Play all of `source` to the bed."""
    time_s = 0.0
    while not source.exhausted:
        bed.push(source.read(0.0))
        time_s += EPOCH_S
        bed.advance(time_s)
        yield from listener.heard()
    bed.finish(time_s)
    yield from listener.heard()
