"""A runner beside the host's, on a CUDA of this machine's memory: what it answers, and that it gives everything back,
also when it cannot be made. On a real GPU: test_tensorrt_gpu.py."""

import sys
from typing import Any

import numpy as np
import pytest

from hypnostream.engine import tensorrt_runner
from hypnostream.engine.backend import OnnxBackend
from hypnostream.engine.bundle import load_bundle
from hypnostream.engine.graph_resident import KEEP, RESET
from hypnostream.engine.resident import HostResident
from hypnostream.engine.simulated_steps import side_by_side, simulated_epochs
from hypnostream.engine.tensorrt_build import engine_graph
from hypnostream.engine.tensorrt_cuda import CudaError
from hypnostream.engine.tensorrt_runner import TensorRtRunner
from tests.engine.cuda_on_host import HostCuda, HostTensorRt

BUNDLE = load_bundle()
SPEC = BUNDLE.content.epoch
PLAN = engine_graph(BUNDLE.graph_bytes(), SPEC, "fp32")


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> HostCuda:
    made = HostCuda()
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", made)
    monkeypatch.setitem(sys.modules, "tensorrt", HostTensorRt(made))
    monkeypatch.setattr(tensorrt_runner, "logger", lambda: None)
    return made


@pytest.mark.parametrize("beds", [1, 3])
def test_it_answers_and_holds_states_as_the_host_does(cuda: HostCuda, beds: int) -> None:
    ours, host = TensorRtRunner(PLAN, SPEC, beds, "TensorRT"), HostResident(OnnxBackend(BUNDLE), SPEC, beds)
    rng = np.random.default_rng(beds)
    for given in side_by_side(list(simulated_epochs(BUNDLE, 8)), beds):
        controls = {RESET: rng.integers(0, 2, beds), KEEP: rng.integers(0, 2, beds)}
        for resident in (ours, host):
            for name, value in (given | controls).items():
                resident.inputs[name][...] = value
        found, expected = ours.step(), host.step()
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, atol=1e-5, err_msg=name)
        for name, value in host.read(0, beds).items():
            np.testing.assert_allclose(ours.read(0, beds)[name], value, rtol=1e-4, atol=1e-4, err_msg=name)
    ours.write(beds - 1, {s.input: np.full((1, *s.shape), 0.5, np.float32) for s in SPEC.states})
    assert all((value == 0.5).all() for value in ours.read(beds - 1).values())
    ours.close()


def test_all_is_given_back(cuda: HostCuda) -> None:
    runner = TensorRtRunner(PLAN, SPEC, 2, "TensorRT")
    assert cuda.held["graph at work"] == 2
    assert all(cuda.held[kind] for kind in ("stream", "pinned", "memory"))
    runner.close()
    assert +cuda.held == {}


@pytest.mark.parametrize(
    ("fails", "at"),
    [
        ("cudaStreamCreateWithFlags", 1),
        ("cudaHostAlloc", 3),
        ("cudaMalloc", 1),
        ("cudaMalloc", 20),
        ("cudaStreamEndCapture", 1),
        ("cudaGraphInstantiate", 1),
        ("cudaGraphInstantiate", 2),
    ],
)
def test_one_that_cannot_be_made_holds_nothing_and_says_why(cuda: HostCuda, fails: str, at: int) -> None:
    cuda.fails, cuda.fails_at = fails, at
    with pytest.raises(CudaError, match=f"^{fails}: out of memory$"):
        TensorRtRunner(PLAN, SPEC, 2, "TensorRT")
    assert +cuda.held == {}


def test_an_engine_that_does_not_run_while_it_is_captured_leaves_nothing(
    cuda: HostCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    enqueue: Any = TensorRtRunner._enqueue

    def only_at_once(runner: TensorRtRunner) -> None:
        if cuda.captured is not None:
            raise RuntimeError("not in a graph")
        enqueue(runner)

    monkeypatch.setattr(TensorRtRunner, "_enqueue", only_at_once)
    with pytest.raises(RuntimeError, match="not in a graph"):
        TensorRtRunner(PLAN, SPEC, 1, "TensorRT")
    assert +cuda.held == {}
    assert cuda.captured is None
