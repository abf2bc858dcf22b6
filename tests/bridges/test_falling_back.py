"""A GPU that fails in the night takes nothing with it: onnxruntime goes on from the states that the host has."""

import threading
import time

import numpy as np
import pytest

from hypnostream.bridges.falling_back import FallingBack
from hypnostream.engine.backend import Backend, OnnxBackend
from hypnostream.engine.bundle import load_bundle
from hypnostream.engine.parity import Parity, compare
from hypnostream.engine.resident import HostResident
from hypnostream.engine.simulated_steps import simulated_epochs
from hypnostream.engine.slots import Arrays
from hypnostream.engine.tensorrt_backend import TensorRtBackend
from hypnostream.engine.tensorrt_cuda import CudaError
from tests.engine.runtimes import NEVER, FailingRunner

BUNDLE = load_bundle()
SPEC = BUNDLE.content.epoch
ONNX = OnnxBackend(BUNDLE)
NIGHT = list(simulated_epochs(BUNDLE, 8))
ILLEGAL = CudaError("cudaGraphLaunch: an illegal memory access was encountered")


def on_a_gpu(left: int, where: str = "step", error: Exception = ILLEGAL, rows: int = 1) -> Backend:
    return TensorRtBackend([FailingRunner(ONNX, SPEC, rows, left, where, error)], SPEC)


def beds(count: int, seed: int) -> Arrays:
    """A step of so many beds, each another epoch of the night, from states that are not zero."""
    rng = np.random.default_rng(seed)
    given = [NIGHT[(seed + bed) % len(NIGHT)] for bed in range(count)]
    states = {s.input: np.abs(rng.standard_normal((count, *s.shape))).astype(np.float32) for s in SPEC.states}
    return {name: np.concatenate([each[name] for each in given]) for name in given[0]} | states


def same(found: Arrays, expected: Arrays) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("where", ["write", "step", "read"])
@pytest.mark.parametrize(
    ("error", "said"),
    [(ILLEGAL, str(ILLEGAL)), (MemoryError("no room"), "MemoryError: no room"), (OSError(), "OSError: ")],
)
def test_whenever_it_fails_the_night_is_as_if_it_had_not(
    where: str, error: Exception, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    backend = FallingBack(on_a_gpu(3, where, error), OnnxBackend(BUNDLE))
    assert (backend.name, backend.failure) == ("a GPU", "")
    assert compare(ONNX, backend, SPEC, NIGHT) == Parity(8, 0.0, 0.0, 1.0)
    assert backend.name == ONNX.name
    goes_on = f"{ONNX.name} goes on from the same states, no result is lost"
    assert backend.failure == f"a GPU failed: {said}; {goes_on}"
    assert [record.getMessage() for record in caplog.records] == [backend.failure]


def test_what_no_backend_can_answer_is_the_caller_s_mistake() -> None:
    backend = FallingBack(on_a_gpu(NEVER), OnnxBackend(BUNDLE))
    with pytest.raises(Exception, match=r"(?i)invalid"):
        backend.run({**beds(1, 0), "signal": np.zeros((1, 3, 7), np.float32)})
    assert (backend.name, backend.failure) == ("a GPU", "")
    same(backend.run(beds(1, 1)), ONNX.run(beds(1, 1)))


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_more_beds_than_it_has_rows_for_go_through_in_turn(count: int) -> None:
    backend = on_a_gpu(NEVER, rows=3)
    for step in range(3):  # what other beds left in the rows changes nothing
        same(backend.run(beds(count, step)), ONNX.run(beds(count, step)))


def test_a_batch_that_fails_half_way_is_answered_whole() -> None:
    backend = FallingBack(on_a_gpu(2, rows=3), OnnxBackend(BUNDLE))
    same(backend.run(beds(7, 0)), ONNX.run(beds(7, 0)))
    assert "illegal memory access" in backend.failure


def test_what_a_row_is_told_does_not_depend_on_the_others() -> None:
    backend, together = on_a_gpu(NEVER, rows=4), beds(4, 5)
    answer = backend.run(together)
    for bed in range(4):
        alone = backend.run({name: value[bed : bed + 1] for name, value in together.items()})
        for name, value in alone.items():
            np.testing.assert_array_equal(value, answer[name][bed : bed + 1], err_msg=name)


class Slow(HostResident):
    """Others have time to write into its arrays."""

    def step(self) -> Arrays:
        time.sleep(0.005)
        return super().step()


def test_threads_do_not_take_each_other_s_beds() -> None:
    """As the loop of a ward and a bed that is taken up in its own thread."""
    backend, wrong = TensorRtBackend([Slow(ONNX, SPEC, 1)], SPEC), list[BaseException]()

    def run(seed: int) -> None:
        try:
            for step in range(5):
                same(backend.run(beds(1, seed + step)), ONNX.run(beds(1, seed + step)))
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in (0, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
