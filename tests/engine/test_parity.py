"""The gate: what differs too much, or was never compared, is refused in words."""

import re
from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from hypnostream.engine.backend import Backend, OnnxBackend
from hypnostream.engine.bundle import load_bundle
from hypnostream.engine.parity import LIMITS, Limits, Parity, compare, worst
from hypnostream.engine.simulated_steps import side_by_side, simulated_epochs, simulated_ticks
from hypnostream.engine.slots import Arrays
from hypnostream.stream.stages import EPOCH_S

BUNDLE = load_bundle()
SPEC = BUNDLE.content.epoch
BACKEND = OnnxBackend(BUNDLE)
NIGHT = list(simulated_epochs(BUNDLE, 60, seed=2))


class Altered:
    """The real backend, one of its answers changed."""

    name = "altered"

    def __init__(self, output: str, by: float, real: Backend = BACKEND) -> None:
        self._output, self._by, self._real = output, np.float32(by), real

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> Arrays:
        answer = self._real.run(inputs)
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
    assert Parity(1000, 0.0, 0.0, 0.99).refusal(alike) == "decides alike in 99.00% of 1000 steps, 99.9% are needed"


def test_what_is_not_a_number_is_never_good_enough() -> None:
    for found in (None, np.nan, np.inf):
        assert Parity(60, 0.0, found, 1.0).refusal(LIMITS["fp16"]).startswith("states differ by")
        assert Parity(60, found, 0.0, 1.0).refusal(LIMITS["fp16"]).startswith("outputs differ by")
    parity = compare(BACKEND, Altered("next_level_total", np.nan), SPEC, NIGHT[:3])
    assert parity.states is None
    assert re.match("states differ by no finite number|decides", parity.refusal(LIMITS["fp16"]))


def test_the_worst_of_several_is_what_counts() -> None:
    found = [Parity(60, 1e-6, None, 1.0), Parity(480, 2e-6, 1e-5, 0.9)]
    assert worst(found) == Parity(540, 2e-6, None, 0.9)
    assert worst(found[1:]) == found[1]


def test_a_state_is_measured_by_its_own_bed() -> None:
    """One whose numbers are large does not hide another's that are small."""
    state = SPEC.states[0]

    class Scaled(Altered):
        def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> Arrays:
            answer = self._real.run(inputs)
            answer[state.output] = np.zeros_like(answer[state.output])
            answer[state.output][0] = 1e6
            answer[state.output][1] = self._by
            return answer

    two = list(side_by_side(NIGHT[:2], 2))
    assert compare(Scaled("", 0.0), Scaled("", 1.0), SPEC, two).states == pytest.approx(1.0)


def test_nothing_compared_is_refused() -> None:
    assert compare(BACKEND, BACKEND, SPEC, []).refusal(LIMITS["fp32"]) == "nothing was compared"


@pytest.mark.parametrize("name", ["tick", "ticks"])
def test_the_answers_of_breathing_are_compared_one_by_one(name: str) -> None:
    graph = BUNDLE.step_graphs[name]
    night, real = list(simulated_ticks(BUNDLE, graph, 20, seed=1)), OnnxBackend(BUNDLE, graph)
    steps = 20 * EPOCH_S // graph.clock_s
    assert compare(real, OnnxBackend(BUNDLE, graph), graph, night) == Parity(steps, 0.0, 0.0, 1.0)
    worse = compare(real, Altered("probabilities", 0.5, real), graph, night)
    assert worse.refusal(Limits(1.0, 1.0)).startswith("decides alike in")
    assert 0.5 < worse.agreement < 1.0  # most answers are no, and stay so
