"""What runs the model is what was asked for, or onnxruntime with the reason said."""

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hypnostream.bridges.backends import FallingBack, choose_backend
from hypnostream.bridges.bench import bench_here
from hypnostream.bridges.doctor import OK, WARNING
from hypnostream.bridges.doctor_software import backends
from hypnostream.bridges.replay import ReplayOptions, replay
from hypnostream.config import BedConfig, ModelSection, load_config
from hypnostream.engine.backend import OnnxBackend
from hypnostream.engine.bundle import load_bundle
from hypnostream.engine.parity import Parity, compare, simulated_epochs
from hypnostream.engine.slots import Arrays
from hypnostream.engine.tensorrt_cuda import CudaError
from hypnostream.engine.tensorrt_device import TensorRtError, device
from hypnostream.errors import UserError
from tests.recordings import write_night


def reason() -> str:
    """Why TensorRT cannot be used here; skips where it can."""
    try:
        device()
    except TensorRtError as error:
        return str(error)
    pytest.skip("TensorRT can be used here")


def test_onnxruntime_is_what_it_says() -> None:
    chosen = choose_backend(load_bundle(), ModelSection(backend="onnxruntime"))
    assert chosen.backend.name.startswith("onnxruntime")
    assert chosen.fallback == ""


def test_tensorrt_that_cannot_be_used_is_replaced_and_the_reason_said(caplog: pytest.LogCaptureFixture) -> None:
    why = reason()
    chosen = choose_backend(load_bundle(), ModelSection(backend="tensorrt"))
    assert chosen.backend.name.startswith("onnxruntime")
    assert chosen.fallback == f"TensorRT is not used: {why}"
    assert why in caplog.text


def test_without_its_package_nothing_is_said_of_it(caplog: pytest.LogCaptureFixture) -> None:
    if find_spec("tensorrt") is not None:
        pytest.skip("TensorRT is installed here")
    assert choose_backend(load_bundle(), ModelSection()).fallback == ""
    assert caplog.text == ""


class FailsLater:
    """The real backend, until it fails as a GPU would."""

    name = "a GPU"

    def __init__(self, after: int) -> None:
        self._onnx, self._left = OnnxBackend(load_bundle()), after

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> Arrays:
        self._left -= 1
        if self._left < 0:
            raise CudaError("cudaGraphLaunch: an illegal memory access was encountered")
        return self._onnx.run(inputs)


def test_a_gpu_that_fails_in_the_night_is_replaced_and_no_state_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    bundle = load_bundle()
    backend = FallingBack(bundle, FailsLater(after=3))
    night = list(simulated_epochs(bundle, 8))
    assert backend.name == "a GPU"
    assert compare(OnnxBackend(bundle), backend, bundle.content.epoch, night) == Parity(8, 0.0, 0.0, 1.0)
    assert backend.name.startswith("onnxruntime")
    assert caplog.text.count("a GPU failed, onnxruntime goes on: cudaGraphLaunch: an illegal memory access") == 1


def test_a_report_says_what_ran_instead(tmp_path: Path) -> None:
    why = reason()
    write_night(tmp_path / "night.edf", 2)
    (tmp_path / "bed.toml").write_text('[model]\nbackend = "tensorrt"\n')
    options = ReplayOptions(out=tmp_path / "report", config=load_config(tmp_path / "bed.toml"))
    _, folder = replay(tmp_path / "night.edf", options)
    assert f"TensorRT is not used: {why}" in json.loads((folder / "summary.json").read_text())["warnings"]


@pytest.mark.parametrize("choice", ["auto", "onnxruntime", "tensorrt"])
def test_the_doctor_says_whether_it_can_be_used(choice: str, tmp_path: Path) -> None:
    why = reason()
    (tmp_path / "bed.toml").write_text(f'[model]\nbackend = "{choice}"\n')
    found = next(check for check in backends(load_config(tmp_path / "bed.toml")) if check.name == "TensorRT")
    if choice == "tensorrt" or (choice == "auto" and find_spec("tensorrt") is not None):
        assert found.state == WARNING
        assert why in found.said
        assert "model.backend" in found.todo
    else:
        assert found.state == OK


def test_another_backend_is_refused() -> None:
    with pytest.raises(UserError, match="auto, onnxruntime, tensorrt"):
        bench_here("cuda")
    assert BedConfig().model.backend == "auto"
