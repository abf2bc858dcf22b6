"""Why TensorRT cannot be used is said in a line; nothing crashes on the way."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

from hypnostream.engine.scheduler import BatchSettings
from hypnostream.engine.tensorrt_build import Profile, profile_for, row_counts
from hypnostream.engine.tensorrt_device import TensorRtError, device, version_of


def test_a_machine_without_it_says_what_is_missing() -> None:
    if find_spec("tensorrt") is not None:
        pytest.skip("TensorRT is installed here")
    with pytest.raises(TensorRtError, match=r"tensorrt.* not installed"):
        device()


def test_a_machine_without_a_gpu_says_so_and_lives() -> None:
    pytest.importorskip("tensorrt", reason="needs TensorRT's own bindings")
    pytest.importorskip("cuda.bindings", reason="needs cuda-bindings")
    code = (
        "from hypnostream.engine.tensorrt_device import TensorRtError, device\n"
        "try:\n    print(device())\nexcept TensorRtError as error:\n    print('reason:', error)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout
    assert said.startswith(("Device(", "reason: there is no"))


@pytest.mark.parametrize(("text", "version"), [("8.6.1", (8, 6)), ("10.3.0.26", (10, 3)), ("11.0", (11, 0))])
def test_versions_compare_as_numbers(text: str, version: tuple[int, int]) -> None:
    assert version_of(text) == version


@pytest.mark.parametrize(
    ("beds", "rows"), [(1, 1), (2, 4), (3, 8), (4, 8), (5, 16), (16, 32), (17, 64), (200, 64), (4096, 64)]
)
def test_a_profile_has_room_for_its_beds_and_no_more_than_a_batch_has(beds: int, rows: int) -> None:
    assert profile_for(beds) == Profile(1, rows, rows)
    assert BatchSettings().most == 64


@pytest.mark.parametrize(
    ("profile", "counts"),
    [
        (Profile(1, 1, 1), (1,)),
        (Profile(1, 4, 4), (1, 4)),
        (Profile(1, 8, 8), (1, 8)),
        (Profile(1, 64, 64), (1, 8, 64)),
        (Profile(1, 4096, 16384), (1, 8, 64)),
        (Profile(4, 32, 32), (8, 32)),
    ],
)
def test_an_engine_is_run_in_a_few_shapes(profile: Profile, counts: tuple[int, ...]) -> None:
    assert row_counts(profile) == counts


@pytest.mark.parametrize("beds", [(0, 1, 2), (2, 1, 4), (1, 8, 4)])
def test_a_profile_must_rise(beds: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="rises from 1"):
        Profile(*beds)
