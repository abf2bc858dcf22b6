"""Packages of TensorRT that are installed and do not load: the night begins without, and who asks is told why."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from hypnostream.bridges import doctor_software
from hypnostream.bridges.backends import choose_backend
from hypnostream.bridges.doctor import PROBLEM, WARNING
from hypnostream.config import BedConfig, ModelSection
from hypnostream.engine.bundle import load_bundle

A_GPU = """
from types import SimpleNamespace
cudaError_t = SimpleNamespace(cudaSuccess=0)
def cudaDriverGetVersion(): return 0, 12090
def cudaGetDeviceCount(): return 0, 1
def cudaGetDeviceProperties(index): return 0, SimpleNamespace(name=b"a GPU", major=9, minor=0, totalGlobalMem=1 << 30)
"""
TENSORRT = "tensorrt does not load: "
CUDA = "cuda-bindings do not load: "
BROKEN = {  # what the packages say -> the reason
    (A_GPU, "import nothing_of_this_name"): TENSORRT + "No module named 'nothing_of_this_name'",
    (A_GPU, "raise OSError('libnvinfer.so.10: cannot open')"): TENSORRT + "libnvinfer.so.10: cannot open",
    (A_GPU, "raise RuntimeError('versions differ\\nby two')"): TENSORRT + "RuntimeError: versions differ",
    (A_GPU, "import sys; sys.no_such_thing"): TENSORRT
    + "AttributeError: module 'sys' has no attribute 'no_such_thing'",
    (A_GPU, ""): TENSORRT + "AttributeError: module 'tensorrt' has no attribute '__version__'",
    (A_GPU, "__version__ = 'of today'"): TENSORRT + "ValueError: ",
    ("raise AttributeError('no cyruntime')", ""): CUDA + "AttributeError: no cyruntime",
    ("raise ImportError()", ""): CUDA + "ImportError: ",
    ("", ""): "cuda-bindings do not serve: AttributeError: module 'cuda.bindings.runtime' has no attribute ",
}
NAMES = ("tensorrt", "cuda")


def install(folder: Path, runtime: str, tensorrt: str) -> None:
    for name, content in {
        "cuda/__init__.py": "",
        "cuda/bindings/__init__.py": "",
        "cuda/bindings/runtime.py": runtime,
        "tensorrt/__init__.py": tensorrt,
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


@pytest.fixture(params=BROKEN, ids=lambda each: BROKEN[each])
def reason(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """With packages that are broken so."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in sys.modules if name.split(".")[0] in NAMES]:
            patch.delitem(sys.modules, name)
        install(tmp_path, *request.param)
        patch.syspath_prepend(tmp_path)
        yield BROKEN[request.param]
        for name in [name for name in sys.modules if name.split(".")[0] in NAMES]:
            del sys.modules[name]


@pytest.mark.parametrize(("backend", "state"), [("auto", WARNING), ("tensorrt", PROBLEM)])
def test_the_night_begins_without_it_and_says_why(
    reason: str, backend: Literal["auto", "tensorrt"], state: str
) -> None:
    model = ModelSection(backend=backend)
    chosen = choose_backend(load_bundle(), model)
    assert chosen.backend.name.startswith("onnxruntime")
    assert chosen.fallback.startswith(f"TensorRT is not used: {reason}")
    assert "\n" not in chosen.fallback
    _, check = doctor_software.tensorrt(BedConfig(model=model))
    assert check.state == state
