"""A graph that knows `reset` and `keep` says what the plain one says, bed for bed, whatever each bed is told."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hypnostream.engine.backend import OnnxBackend
from hypnostream.engine.bundle import load_bundle
from hypnostream.engine.graph_resident import KEEP, RESET, with_controls
from hypnostream.engine.resident import HostResident
from hypnostream.engine.slots import Arrays
from tests.engine.runtimes import GraphOnCpu, graph_of

BUNDLE = load_bundle()
SPEC = BUNDLE.content.epoch
PLAIN = OnnxBackend(BUNDLE)
CONTROLLED = GraphOnCpu(with_controls(graph_of(BUNDLE.graph_bytes()), SPEC))
BEDS = 3

flags = st.lists(st.booleans(), min_size=BEDS, max_size=BEDS)


def epoch(seed: int, beds: int = BEDS) -> Arrays:
    """An epoch of noise, with a sensor missing here and there."""
    rng = np.random.default_rng(seed)
    values = {tensor.name: rng.standard_normal((beds, *tensor.shape)).astype(np.float32) for tensor in SPEC.inputs}
    values["signal"] *= 20
    values["valid"] = (rng.random(values["valid"].shape) > rng.choice([0.0, 1.0], (beds, 3, 1))).astype(np.float32)
    values["age_s"] = np.abs(values["age_s"]) * 100
    return values


def zeros() -> Arrays:
    return {state.input: np.zeros((BEDS, *state.shape), np.float32) for state in SPEC.states}


def told(reset: list[bool], keep: list[bool]) -> dict[str, NDArray[np.float32]]:
    return {RESET: np.array(reset, np.float32), KEEP: np.array(keep, np.float32)}


@settings(max_examples=12, deadline=None)
@given(steps=st.lists(st.tuples(flags, flags), min_size=1, max_size=5))
def test_a_controlled_graph_is_the_plain_one_with_each_bed_s_state_as_it_was_told(
    steps: list[tuple[list[bool], list[bool]]],
) -> None:
    reference, state = HostResident(PLAIN, SPEC, BEDS), zeros()
    for seed, (reset, keep) in enumerate(steps):
        given_inputs, controls = epoch(seed), told(reset, keep)
        for name, value in (given_inputs | controls).items():
            reference.inputs[name][...] = value
        expected = reference.step()
        found = CONTROLLED.run({**given_inputs, **controls, **state})
        state = {each.input: found[each.output] for each in SPEC.states}
        for output in SPEC.outputs:
            np.testing.assert_allclose(found[output.name], expected[output.name], atol=1e-5)
        for bed in range(BEDS):
            for name, value in reference.read(bed).items():
                np.testing.assert_allclose(state[name][bed : bed + 1], value, rtol=1e-4, atol=1e-4)


def test_a_bed_s_garbage_stays_its_own_and_goes_with_its_reset() -> None:
    state, clean = zeros(), told([False] * BEDS, [True] * BEDS)
    spoiled = epoch(1)
    spoiled["signal"][1] = np.nan
    after = CONTROLLED.run({**spoiled, **clean, **state})
    expected = CONTROLLED.run({**epoch(1), **clean, **state})
    for state_spec in SPEC.states:
        for bed in (0, 2):
            np.testing.assert_array_equal(after[state_spec.output][bed], expected[state_spec.output][bed])
    assert any(np.isnan(after[each.output][1]).any() for each in SPEC.states)
    begun = {each.input: after[each.output] for each in SPEC.states}
    again = CONTROLLED.run({**epoch(2), **told([False, True, False], [True] * BEDS), **begun})
    assert all(np.isfinite(again[each.output]).all() for each in SPEC.states)


def test_only_two_inputs_are_new_and_the_others_are_what_they_were() -> None:
    plain = graph_of(BUNDLE.graph_bytes())
    made = with_controls(plain, SPEC)
    assert [value.name for value in made.graph.input] == [*(value.name for value in plain.graph.input), RESET, KEEP]
    assert list(made.graph.input)[:-2] == list(plain.graph.input)
    assert list(made.graph.output) == list(plain.graph.output)
    assert max(each.version for each in made.opset_import) <= 17


def test_states_are_read_and_written_by_bed() -> None:
    resident = HostResident(PLAIN, SPEC, BEDS)
    for name, value in (epoch(3) | told([False] * BEDS, [True] * BEDS)).items():
        resident.inputs[name][...] = value
    resident.step()
    first = resident.read(0)
    assert all(np.array_equal(resident.read(0)[name], value) for name, value in first.items())
    resident.write(2, first)
    assert all(np.array_equal(resident.read(2)[name], value) for name, value in first.items())
    resident.read(1)["level_total"][...] = 7.0
    assert not (resident.read(1)["level_total"] == 7.0).all()
