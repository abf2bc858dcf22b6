"""The night that graphs are compared over is as a bed gives it to them: whole, in order, with sensors that fail."""

from itertools import islice

import numpy as np

from hypnostream.engine.bundle import load_bundle
from hypnostream.engine.simulated_steps import side_by_side, simulated_epochs, simulated_steps, simulated_ticks
from hypnostream.stream.stages import EPOCH_S

BUNDLE = load_bundle()
GRAPHS = BUNDLE.step_graphs


def test_a_night_has_every_epoch_and_sensors_that_fail() -> None:
    night = list(simulated_epochs(BUNDLE, 60, seed=2))
    assert len(night) == 60
    assert {tensor.name: (1, *tensor.shape) for tensor in GRAPHS["epoch"].inputs} == {
        name: value.shape for name, value in night[0].items()
    }
    present = np.array([epoch["valid"].mean() for epoch in night])
    assert present.max() == 1.0
    assert present.min() < 0.7
    assert max(np.abs(epoch["signal"]).max() for epoch in night) > 50  # microvolts


def test_a_night_has_every_tick_and_sensors_that_fail() -> None:
    night = list(simulated_steps(BUNDLE, GRAPHS["tick"], 40, seed=2))
    assert len(night) == 40 * EPOCH_S // GRAPHS["tick"].clock_s
    there = np.concatenate([tick["mask"][0] for tick in night])  # (seconds, sensors)
    assert ((there.mean(axis=0) > 0) & (there.mean(axis=0) < 1)).sum() >= 4
    assert np.concatenate([tick["numbers"][0] for tick in night]).std(axis=0).max() > 0.1


def test_many_ticks_are_the_same_ticks_together() -> None:
    single = simulated_ticks(BUNDLE, GRAPHS["tick"], 12, seed=3)
    several = list(simulated_ticks(BUNDLE, GRAPHS["ticks"], 12, seed=3))
    assert len(several) == 12
    for together in several:
        six = list(islice(single, 6))
        for name, value in together.items():
            np.testing.assert_array_equal(value, np.concatenate([each[name] for each in six], axis=1))
    assert next(single, None) is None


def test_beds_side_by_side_are_at_places_of_the_night_that_differ() -> None:
    night = list(simulated_epochs(BUNDLE, 12, seed=1))
    together = list(side_by_side(night, 4))
    assert len(together) == len(night)
    for name in night[0]:
        for row, begin in enumerate((0, 3, 6, 9)):
            whole = [night[(begin + step) % 12][name][0] for step in range(12)]
            np.testing.assert_array_equal([each[name][row] for each in together], whole)
    assert len({each.tobytes() for each in together[0]["signal"]}) == 4
