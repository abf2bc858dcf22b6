"""The gate: what differs too much, or was never compared, is refused in words."""

import re
from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from hypnostream.engine.backend import OnnxBackend
from hypnostream.engine.bundle import load_bundle
from hypnostream.engine.parity import LIMITS, Limits, Parity, compare, simulated_epochs
from hypnostream.engine.slots import Arrays
from hypnostream.stream.stages import EPOCH_S

BUNDLE = load_bundle()
SPEC = BUNDLE.content.epoch
BACKEND = OnnxBackend(BUNDLE)
NIGHT = list(simulated_epochs(BUNDLE, 60, seed=2))


class Altered:
    """The real backend, one of its answers changed."""

    name = "altered"

    def __init__(self, output: str, by: float) -> None:
        self._output, self._by = output, np.float32(by)

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> Arrays:
        answer = BACKEND.run(inputs)
        answer[self._output] = answer[self._output] * self._by
        return answer


def test_a_runner_equals_itself() -> None:
    parity = compare(BACKEND, OnnxBackend(BUNDLE), SPEC, NIGHT)
    assert parity == Parity(60, 0.0, 0.0, 1.0)
    assert parity.refusal(LIMITS["fp32"]) == ""


@pytest.mark.parametrize(
    ("output", "by", "said"),
    [
        ("probabilities", 0.8, "outputs differ by"),
        ("probabilities", -1.0, "decides alike in"),
        ("next_layers_1_ssm", 1.2, "(states differ by|decides alike in)"),
        ("next_level_total", np.nan, "decides alike in"),
    ],
)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_runner_that_differs_is_refused_with_what_differs(output: str, by: float, said: str, precision: str) -> None:
    assert re.match(said, compare(BACKEND, Altered(output, by), SPEC, NIGHT).refusal(LIMITS[precision]))


def test_one_decision_in_a_hundred_is_too_many() -> None:
    alike = Limits(1.0, 1.0)
    assert Parity(1000, 0.0, 0.0, 0.999).refusal(alike) == ""
    assert Parity(1000, 0.0, 0.0, 0.99).refusal(alike) == "decides alike in 99.00% of 1000 epochs, 99.9% are needed"


def test_what_is_not_a_number_is_never_good_enough() -> None:
    assert Parity(60, 0.0, np.nan, 1.0).refusal(LIMITS["fp16"]).startswith("states differ by nan")
    assert Parity(60, np.nan, 0.0, 1.0).refusal(LIMITS["fp16"]).startswith("outputs differ by nan")


def test_nothing_compared_is_refused() -> None:
    assert compare(BACKEND, BACKEND, SPEC, []).refusal(LIMITS["fp32"]) == "nothing was compared"


def test_the_simulated_night_has_every_epoch_and_sensors_that_fail() -> None:
    assert len(NIGHT) == 60
    assert {tensor.name for tensor in SPEC.inputs} == set(NIGHT[0])
    assert all(epoch["valid"].shape == (1, len(BUNDLE.channels), EPOCH_S) for epoch in NIGHT)
    present = np.array([epoch["valid"].mean() for epoch in NIGHT])
    assert present.max() == 1.0
    assert present.min() < 0.7
    assert max(np.abs(epoch["signal"]).max() for epoch in NIGHT) > 50  # microvolts
