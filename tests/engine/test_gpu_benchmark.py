"""The GPU's table without a GPU: it says what is left out and why, and its floor is by the units that do the work."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu.bed_steps import BUNDLE, SPEC
from benchmarks.gpu.children import NotHereError, lines, own_environment
from benchmarks.gpu.floor import FLOAT32_PER_CLOCK, HALF_PER_CLOCK, Floor, Rates, per_second
from benchmarks.gpu.step_cost import products_in_half
from benchmarks.gpu.tensorrt_beds import costs, floor_of, floors
from hypnostream.engine.tensorrt_device import TensorRtError, device
from tests.documentation import ROOT

H100 = Rates("H100", 50e9, 3e12, 67e12, 989e12)


@pytest.mark.slow
def test_without_a_gpu_one_command_says_what_it_left_out() -> None:
    try:
        device()
    except TensorRtError:
        pass
    else:
        pytest.skip("there is a GPU here")
    command = [sys.executable, "-m", "benchmarks.gpu", "2"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=170)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.count("|---|") == 1
    assert "| onnxruntime " in ran.stdout
    reasons = ran.stdout.partition("Left out:\n")[2].splitlines()
    for what in ("least times", "tensorrt-fp32, 1 bed", "tensorrt-fp16, 1 bed", "mamba-ssm's scan"):
        (reason,) = (line for line in reasons if line.startswith(f"- {what}"))
        assert reason.partition(": ")[2]


def test_what_is_in_float16_is_counted_by_what_does_it() -> None:
    of = costs()
    whole = of["float32"].operations
    assert of["float32"].half_operations == of["autocast"].operations == 0
    assert of["fp16"].operations + of["fp16"].half_operations == of["autocast"].half_operations == whole
    assert 0 < of["fp16"].half_operations < whole
    assert len(products_in_half(BUNDLE.graph_bytes(), SPEC)) > 10
    assert of["float32"].weights > of["fp16"].weights > of["autocast"].weights


def test_the_floor_of_half_is_that_of_its_tensor_cores() -> None:
    of, fast = costs(), Rates("", 1e18, 1e18, 67e12, 989e12)  # where arithmetic alone bounds
    float32, autocast = (Floor(fast, of[name]).seconds(4096) for name in ("float32", "autocast"))
    assert float32 / autocast == pytest.approx(989 / 67)
    assert Floor(fast, of["fp16"]).seconds(4096) < float32
    assert floor_of("torch-compile-fp16", of, fast) == Floor(fast, of["autocast"])
    assert floor_of("tensorrt-fp16", of, fast) == Floor(fast, of["fp16"])
    assert floor_of("onnxruntime-cpu", of, fast) is None
    assert {row.note for row in floors(of, H100, (4096,))} == {"bound by the bus"}


def test_rates_are_those_that_nvidia_writes() -> None:
    """H100 SXM: 989 TFLOP/s dense in float16, 67 in float32 at 1.98 GHz; A100: 312 and 19.5."""
    assert per_second(HALF_PER_CLOCK, "9.0", 132, 1.83e9) == pytest.approx(989e12, rel=0.01)
    assert per_second(FLOAT32_PER_CLOCK, "9.0", 132, 1.98e9) == pytest.approx(67e12, rel=0.01)
    assert per_second(HALF_PER_CLOCK, "8.0", 108, 1.41e9) == pytest.approx(312e12, rel=0.01)
    assert per_second(FLOAT32_PER_CLOCK, "8.0", 108, 1.41e9) == pytest.approx(19.5e12, rel=0.01)
    assert per_second(HALF_PER_CLOCK, "99.0", 1, 1.0) == 2 * max(HALF_PER_CLOCK.values())


def test_another_python_s_home_does_not_reach_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As unpacking TensorRT for a Python of its own leaves it behind."""
    monkeypatch.delenv("HYPNOSTREAM_TENSORRT", raising=False)
    monkeypatch.setenv("PYTHONHOME", str(tmp_path))
    assert b"onnxruntime" in lines("bed_steps", "onnxruntime-cpu", "1", "2")[-1]
    monkeypatch.setenv("PYTHONHOME", sys.base_prefix)
    assert own_environment()["PYTHONHOME"] == sys.base_prefix


def test_the_python_that_has_tensorrt_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "python"
    other.write_text('#!/bin/sh\necho "$PYTHONHOME $*"\n')
    other.chmod(0o755)
    monkeypatch.setenv("HYPNOSTREAM_TENSORRT", str(other))
    monkeypatch.setenv("PYTHONHOME", str(tmp_path))
    said = f"{tmp_path} -W ignore -m benchmarks.gpu.floor".encode()
    assert lines("floor", tensorrt=True) == [said]
    other.unlink()
    with pytest.raises(NotHereError, match="does not start: No such file"):
        lines("floor", tensorrt=True)
