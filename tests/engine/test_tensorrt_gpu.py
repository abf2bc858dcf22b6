"""TensorRT on a real GPU: it says what onnxruntime says, holds states as the host does, and is not built twice.

Skipped, with the reason, where TensorRT cannot be used.
"""

import logging
from pathlib import Path

import numpy as np
import pytest

from hypnostream.bridges.engine_cache import StoredEngine
from hypnostream.bridges.tensorrt_engines import judged_engine, tensorrt_backend
from hypnostream.engine.backend import OnnxBackend
from hypnostream.engine.bundle import load_bundle
from hypnostream.engine.graph_resident import KEEP, RESET
from hypnostream.engine.parity import LIMITS, compare
from hypnostream.engine.resident import HostResident
from hypnostream.engine.simulated_steps import simulated_epochs, simulated_steps
from hypnostream.engine.tensorrt_backend import TensorRtBackend
from hypnostream.engine.tensorrt_build import Profile
from hypnostream.engine.tensorrt_device import Precision, TensorRtError, device
from hypnostream.engine.tensorrt_runner import TensorRtRunner

BUNDLE = load_bundle()
SPEC = BUNDLE.content.epoch
PROFILE = Profile(1, 8, 64)

try:
    HERE = device()
except TensorRtError as error:
    pytest.skip(f"TensorRT cannot be used: {error}", allow_module_level=True)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module", params=["fp32", "fp16"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Precision, StoredEngine]:
    """An engine that was built here and passed the gate."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        return request.param, judged_engine(BUNDLE, SPEC, HERE, request.param, PROFILE)


def test_an_engine_decides_as_onnxruntime_does(engine: tuple[Precision, StoredEngine]) -> None:
    precision, stored = engine
    candidate = TensorRtBackend([TensorRtRunner(stored.plan, SPEC, 4, "TensorRT")], SPEC)
    parity = compare(OnnxBackend(BUNDLE), candidate, SPEC, simulated_epochs(BUNDLE, 240, seed=8))
    assert parity.refusal(LIMITS[precision]) == ""


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", ["tick", "ticks"])
def test_the_graphs_of_breathing_answer_as_onnxruntime_does(
    name: str, precision: Precision, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    graph = BUNDLE.step_graphs[name]
    candidate = tensorrt_backend(BUNDLE, graph, HERE, precision)
    night = simulated_steps(BUNDLE, graph, 240, seed=8)
    parity = compare(OnnxBackend(BUNDLE, graph), candidate, graph, night)
    assert parity.refusal(LIMITS[precision]) == ""


def test_an_engine_of_a_few_shapes_serves_any_number_of_beds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    backend, epochs = tensorrt_backend(BUNDLE, SPEC, HERE, "fp32", beds=3), list(simulated_epochs(BUNDLE, 11))
    states = {s.input: np.zeros((11, *s.shape), np.float32) for s in SPEC.states}
    together = {name: np.concatenate([each[name] for each in epochs]) for name in epochs[0]} | states
    expected = OnnxBackend(BUNDLE).run(together)
    for count in (1, 7, 11):  # of a runner of one row and one of eight
        found = backend.run({name: value[:count] for name, value in together.items()})
        for output in SPEC.outputs:
            np.testing.assert_allclose(found[output.name], expected[output.name][:count], atol=LIMITS["fp32"].outputs)


@pytest.mark.parametrize("beds", [1, 3, 8, 64])
def test_states_on_the_device_go_the_way_of_those_on_the_host(
    engine: tuple[Precision, StoredEngine], beds: int
) -> None:
    precision, stored = engine
    ours = TensorRtRunner(stored.plan, SPEC, beds, "TensorRT")
    host = HostResident(OnnxBackend(BUNDLE), SPEC, beds)
    rng = np.random.default_rng(beds)
    for step in range(12):
        values = {t.name: rng.standard_normal((beds, *t.shape)).astype(np.float32) for t in SPEC.inputs}
        values |= {"valid": np.ones_like(values["valid"]), "age_s": np.zeros_like(values["age_s"])}
        values |= {
            RESET: (rng.random(beds) < 0.2).astype(np.float32),
            KEEP: rng.integers(0, 2, beds).astype(np.float32),
        }
        values["signal"] *= 20
        for resident in (ours, host):
            for name, value in values.items():
                resident.inputs[name][...] = value
        found, expected = ours.step(), host.step()
        for name in expected:
            np.testing.assert_allclose(found[name], expected[name], atol=LIMITS[precision].outputs, err_msg=str(step))
        for bed in range(min(beds, 4)):
            for name, state in host.read(bed).items():
                scale = 1 + np.abs(state).max()
                assert np.abs(ours.read(bed)[name] - state).max() <= LIMITS[precision].states * scale, (step, bed, name)
    ours.close()


def test_a_state_that_is_written_is_read_again(engine: tuple[Precision, StoredEngine]) -> None:
    runner = TensorRtRunner(engine[1].plan, SPEC, 3, "TensorRT")
    state = {s.input: np.full((1, *s.shape), 0.5, np.float32) for s in SPEC.states}
    runner.write(1, state)
    assert all(np.array_equal(runner.read(1)[name], value) for name, value in state.items())
    assert all((value == 0).all() for bed in (0, 2) for value in runner.read(bed).values())
    with pytest.raises(ValueError, match="does not fit 3 beds"):
        runner.write(3, state)
    runner.close()


def test_more_beds_than_it_was_built_for_are_refused(engine: tuple[Precision, StoredEngine]) -> None:
    with pytest.raises(TensorRtError, match="was not built for 128 beds"):
        TensorRtRunner(engine[1].plan, SPEC, 128, "TensorRT")


def test_it_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    caplog.set_level(logging.INFO, "hypnostream.tensorrt")
    first = judged_engine(BUNDLE, SPEC, HERE, "fp32", PROFILE)
    caplog.clear()
    assert judged_engine(BUNDLE, SPEC, HERE, "fp32", PROFILE) == first
    assert "building" not in caplog.text
