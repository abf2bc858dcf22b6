"""Memory, copies, a stream and graphs of the first GPU by cuda-bindings: all of CUDA that a runner needs, no torch."""

import ctypes
import math
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hypnostream.engine.tensorrt_device import BrokenPackageError, TensorRtError, loading


class CudaError(TensorRtError):
    """A call of CUDA that failed, in one line."""


class Gpu(NamedTuple):
    """The first GPU."""

    name: str
    compute_capability: str  # "9.0"
    memory_bytes: int


def runtime() -> ModuleType:
    """CUDA's runtime API. Raises BrokenPackageError when it does not load."""
    try:
        return import_module("cuda.bindings.runtime")
    except Exception as error:  # its libraries are others' and may be missing or damaged
        raise BrokenPackageError(f"cuda-bindings do not load: {loading(error)}") from error


def call(name: str, *arguments: Any) -> Any:
    """Call CUDA: what it returns beside its error code (none, one value, or a tuple). Raises CudaError."""
    cuda = runtime()
    try:
        error, *values = getattr(cuda, name)(*arguments)
    except RuntimeError as failed:  # the driver's library is not there at all
        raise CudaError(f"{name}: {failed}") from failed
    if error != cuda.cudaError_t.cudaSuccess:
        _, text = cuda.cudaGetErrorString(error)
        raise CudaError(f"{name}: {text.decode()}")
    return values[0] if len(values) == 1 else tuple(values)


def first_gpu() -> Gpu:
    """Raises CudaError when there is no GPU, or none that this CUDA can use."""
    if not call("cudaDriverGetVersion"):
        raise CudaError("there is no NVIDIA driver here")
    if not call("cudaGetDeviceCount"):
        raise CudaError("there is no GPU here")
    properties = call("cudaGetDeviceProperties", 0)
    name = properties.name.decode().rstrip("\0")
    return Gpu(name, f"{properties.major}.{properties.minor}", int(properties.totalGlobalMem))


class DeviceArray:
    """Float32 on the GPU, of any content at first: `pointer`, its `bytes` and those of a row."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.bytes = 4 * math.prod(shape)
        self.row_bytes = 4 * math.prod(shape[1:])
        self.pointer = int(call("cudaMalloc", max(self.bytes, 4)))

    def close(self) -> None:
        """Give it back."""
        call("cudaFree", self.pointer)


class PinnedArray:
    """Float32 in host memory that the GPU reads and writes by itself, zeros at first: `array` is a view of it."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.bytes = 4 * math.prod(shape)
        self.pointer = int(call("cudaHostAlloc", max(self.bytes, 4), runtime().cudaHostAllocDefault))
        raw = (ctypes.c_float * math.prod(shape)).from_address(self.pointer)
        self.array: NDArray[np.float32] = np.ctypeslib.as_array(raw).reshape(shape)
        self.array[...] = 0.0

    def close(self) -> None:
        """Give it back; `array` must not be used any more."""
        call("cudaFreeHost", self.pointer)


class Stream:
    """One stream of work, in order."""

    def __init__(self) -> None:
        self._cuda = runtime()
        self.handle = call("cudaStreamCreateWithFlags", self._cuda.cudaStreamNonBlocking)

    def upload(self, target: int, source: int, size: int) -> None:
        """Host to device, not waited for."""
        call("cudaMemcpyAsync", target, source, size, self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice, self.handle)

    def download(self, target: int, source: int, size: int) -> None:
        """Device to host, not waited for."""
        call("cudaMemcpyAsync", target, source, size, self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost, self.handle)

    def clear(self, array: DeviceArray) -> None:
        """Zeros, not waited for."""
        call("cudaMemsetAsync", array.pointer, 0, array.bytes, self.handle)

    def wait(self) -> None:
        """Until all that was asked for is done."""
        call("cudaStreamSynchronize", self.handle)

    def captured(self, work: Callable[[], None]) -> "Graph":
        """What `work` asks of this stream, as a graph that one call starts again."""
        mode = self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        call("cudaStreamBeginCapture", self.handle, mode)
        try:
            work()
        except BaseException:
            with suppress(CudaError):  # what went wrong is said by who asked for it
                call("cudaGraphDestroy", call("cudaStreamEndCapture", self.handle))
            raise
        graph = call("cudaStreamEndCapture", self.handle)
        try:
            return Graph(call("cudaGraphInstantiate", graph, 0), self.handle)
        finally:
            call("cudaGraphDestroy", graph)

    def close(self) -> None:
        """Give it back."""
        call("cudaStreamDestroy", self.handle)


class Graph:
    """What a stream was asked for, kept on the device."""

    def __init__(self, instance: Any, stream: Any) -> None:
        self._instance, self._stream = instance, stream

    def launch(self) -> None:
        """Start it on its stream, not waited for."""
        call("cudaGraphLaunch", self._instance, self._stream)

    def close(self) -> None:
        """Give it back."""
        call("cudaGraphExecDestroy", self._instance)
