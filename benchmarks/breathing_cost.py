"""What breathing costs: a night in long pieces and second by second, by the rules alone and with the learned model.

python -m benchmarks.breathing_cost [rounds]
"""

import sys
import time

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import heading, quantile, spread, table
from hypnostream.engine.backend import OnnxBackend
from hypnostream.engine.bundle import Bundle, GraphSpec, load_bundle
from hypnostream.engine.respiration.beliefs import beliefs_of
from hypnostream.engine.respiration.breathing import Breathing
from hypnostream.engine.respiration.channels import respiration_beside
from hypnostream.stream.channels import MISSING, OK
from hypnostream.stream.seconds import Seconds
from hypnostream.stream.stages import EPOCH_S
from hypnostream.training.breathing.tick_run import sleeper
from hypnostream.training.nights.conditioned import condition_seconds
from hypnostream.training.recordings.simulated import simulated_recording

HOURS, NIGHT_H, PIECE_S, BEDS = 1.0, 8.0, 60, 64
METHOD = f"""\
One thread; {HOURS:g} h of a simulated sleeper with apnea, one EEG and all six sensors of breathing, conditioned
beforehand: what is timed is `Breathing` alone, in process CPU time, the rules and both in turn in each round. "A night"
is that hour in pieces of {PIECE_S} s, as a replay has them, times {NIGHT_H:g}. "A second" is one second at a time, as
live. Then the graph of the learned model alone: a tick of 5 s of one bed, half a minute in one call, and a tick of
{BEDS} beds in one call, per bed. Medians over the rounds and their range; p99 of all seconds together."""


def heard(bundle: Bundle) -> tuple[Seconds, Seconds]:
    """The night of one bed: what the model's EEG was given, and the sensors of breathing."""
    recording = simulated_recording(sleeper(HOURS, 20), 7)
    eeg = next(spec for spec in bundle.channels if spec.kind == "eeg")
    parts = [condition_seconds(recording, [spec]) for spec in (eeg, *respiration_beside(bundle.channels))]
    blocks = [
        Seconds(0, (0,), (samples[:, 0],), np.where(known.T, OK, MISSING).astype(np.uint8))
        for samples, known, _ in parts
    ]
    sensors = blocks[1:]
    quality = np.concatenate([block.quality for block in sensors])
    return blocks[0], Seconds(0, tuple(range(len(sensors))), tuple(block.samples[0] for block in sensors), quality)


def played(bundle: Bundle, eeg: Seconds, sensors: Seconds, learned: bool, piece_s: int) -> list[float]:
    """CPU seconds of each piece of the night."""
    inputs = [spec for spec in bundle.channels if spec.kind == "eeg"][:1]
    breathing = Breathing(
        inputs, respiration_beside(bundle.channels), 0.0, None, beliefs_of(bundle) if learned else None
    )
    took: list[float] = []
    for start in range(0, sensors.count, piece_s):
        stop = min(start + piece_s, sensors.count)
        started = time.process_time()
        breathing.hear(eeg.part(start, stop), ["N2"] * (stop // EPOCH_S - start // EPOCH_S))
        breathing.advance(sensors.part(start, stop))
        took.append(time.process_time() - started)
    return took


def graph_ms(bundle: Bundle, graph: GraphSpec, beds: int, runs: int) -> float:
    """Milliseconds of one call."""
    backend = OnnxBackend(bundle, graph, keeps_memory=True)
    rng = np.random.default_rng(0)
    shapes = {t.name: t.shape for t in graph.inputs} | {s.input: s.shape for s in graph.states}
    inputs: dict[str, NDArray[np.float32]] = {
        name: rng.standard_normal((beds, *shape)).astype(np.float32) for name, shape in shapes.items()
    }
    backend.run(inputs)
    started = time.process_time()
    for _ in range(runs):
        backend.run(inputs)
    return 1000 * (time.process_time() - started) / runs


def main(rounds: int = 5) -> None:
    """Print the tables."""
    bundle = load_bundle()
    tick, ticks = bundle.content.tick, bundle.content.ticks
    if tick is None or ticks is None:
        raise SystemExit("this bundle has no model of breathing; name one that `hypnostream train breathing` made")
    heading("Breathing of one bed", METHOD)
    eeg, sensors = heard(bundle)
    nights: dict[bool, list[float]] = {False: [], True: []}
    seconds: dict[bool, list[list[float]]] = {False: [], True: []}
    calls: list[tuple[float, float, float]] = []
    for _ in range(rounds):
        for learned in (False, True):
            nights[learned].append(sum(played(bundle, eeg, sensors, learned, PIECE_S)) * NIGHT_H / HOURS)
            seconds[learned].append([1000 * each for each in played(bundle, eeg, sensors, learned, 1)])
        one, many, batch = ((tick, 1, 400), (ticks, 1, 200), (tick, BEDS, 20))
        calls.append((graph_ms(bundle, *one), graph_ms(bundle, *many), graph_ms(bundle, *batch) / BEDS))
    table(
        ["", f"a night of {NIGHT_H:g} h, s", "a second, ms, mean", "a second, ms, p99"],
        [
            [
                name,
                spread(nights[learned]),
                spread([sum(each) / len(each) for each in seconds[learned]], 3),
                f"{quantile([one for each in seconds[learned] for one in each], 0.99):.2f}",
            ]
            for name, learned in (("rules", False), ("rules and learned model", True))
        ],
    )
    tick_ms, ticks_ms, batch_ms = zip(*calls, strict=True)
    table(
        ["the learned model's graph", "ms"],
        [
            ["a tick of 5 s, one bed", spread(tick_ms, 3)],
            ["half a minute in one call, one bed", spread(ticks_ms, 3)],
            [f"a tick of 5 s, {BEDS} beds in one call, per bed", spread(batch_ms, 3)],
        ],
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
