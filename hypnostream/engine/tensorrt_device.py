"""Whether TensorRT can be used in this process, and on what; asked in an order in which nothing can crash.

TensorRT 8.6's `Runtime` ends the process where there is no driver, so CUDA is asked before TensorRT is touched.
"""

from importlib.util import find_spec
from typing import Literal

import msgspec

Precision = Literal["fp32", "fp16"]
OLDEST = (8, 6)
PACKAGES = {"tensorrt": "tensorrt", "cuda.bindings": "cuda-bindings", "onnx": "onnx"}  # module -> what to install


class TensorRtError(Exception):
    """Why TensorRT does not serve here, in one line; whoever meets it goes on with onnxruntime."""


class BrokenPackageError(TensorRtError):
    """A package that TensorRT needs is installed and does not load, or is not what it seems; its user can mend that."""


class Device(msgspec.Struct, frozen=True):
    """The GPU that is used (the first one) and the TensorRT that would use it."""

    gpu: str
    compute_capability: str
    memory_bytes: int
    tensorrt: str


def is_installed() -> bool:
    """Whether someone meant to use it: a machine without the package has nothing to be told."""
    return find_spec("tensorrt") is not None


def device() -> Device:
    """What there is. Raises TensorRtError with the reason when it cannot be used, and nothing else."""
    missing = [package for module, package in PACKAGES.items() if not _is_there(module)]
    if missing:
        raise TensorRtError(f"{', '.join(missing)} not installed")
    from hypnostream.engine.tensorrt_cuda import first_gpu

    try:
        gpu = first_gpu()
    except TensorRtError:
        raise
    except Exception as error:  # its functions are others, or answer otherwise
        raise BrokenPackageError(f"cuda-bindings do not serve: {loading(error)}") from error
    try:
        import tensorrt

        version = str(tensorrt.__version__)
        number = version_of(version)
    except Exception as error:  # its libraries are others' and may be missing or damaged
        raise BrokenPackageError(f"tensorrt does not load: {loading(error)}") from error
    if number < OLDEST:
        raise TensorRtError(f"TensorRT {version} is too old; {OLDEST[0]}.{OLDEST[1]} or newer is needed")
    return Device(gpu.name, gpu.compute_capability, gpu.memory_bytes, version)


def version_of(text: str) -> tuple[int, int]:
    """ "10.3.0.26" -> (10, 3)."""
    major, minor = text.split(".")[:2]
    return int(major), int(minor)


def loading(error: Exception) -> str:
    """What went wrong while a package was loaded, in one line."""
    said = (str(error).splitlines() or [""])[0]
    return said if said and isinstance(error, ImportError | OSError) else f"{type(error).__name__}: {said}"


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its parent is not there
        return False
    except Exception:  # its parent is there, and what is wrong with it shows when it is loaded
        return True
