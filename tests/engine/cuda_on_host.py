"""CUDA and TensorRT as far as a runner uses them, in this machine's memory: a stream does at once what it is asked, an
engine is an ONNX graph that onnxruntime runs. What was given out and not given back is counted."""

# ruff: noqa: N802, N815 - the names are CUDA's

import ctypes
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from tests.engine.runtimes import GraphOnCpu, graph_of

OK, OUT_OF_MEMORY = 0, 2


class HostCuda:
    """What stands for `cuda.bindings.runtime`. `held` counts what is out, by kind; the call number `fails_at` of
    `fails` says that there is no memory."""

    cudaError_t = SimpleNamespace(cudaSuccess=OK)
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)
    cudaStreamNonBlocking, cudaHostAllocDefault = 1, 0

    def __init__(self) -> None:
        self.held = Counter[str]()
        self.fails, self.fails_at = "", 0
        self._calls = Counter[str]()
        self._memory: dict[int, Any] = {}
        self.captured: list[Callable[[], object]] | None = None

    def enqueue(self, work: Callable[[], object]) -> tuple[int]:
        """At once, or into the graph that is captured."""
        if self.captured is None:
            work()
        else:
            self.captured.append(work)
        return (OK,)

    def _given(self, name: str, kind: str, value: Any) -> tuple[int, Any]:
        self._calls[name] += 1
        if name == self.fails and self._calls[name] == self.fails_at:
            return OUT_OF_MEMORY, 0
        self.held[kind] += 1
        return OK, value

    def _back(self, kind: str) -> tuple[int]:
        assert self.held[kind] > 0, f"{kind} given back twice"
        self.held[kind] -= 1
        return (OK,)

    def _allocated(self, name: str, kind: str, size: int) -> tuple[int, int]:
        memory = ctypes.create_string_buffer(b"\x7f" * size, size)  # of any content
        error, pointer = self._given(name, kind, ctypes.addressof(memory))
        if error == OK:
            self._memory[pointer] = memory
        return error, pointer

    def cudaGetErrorString(self, error: int) -> tuple[int, bytes]:
        return OK, b"out of memory"

    def cudaMalloc(self, size: int) -> tuple[int, int]:
        return self._allocated("cudaMalloc", "memory", size)

    def cudaFree(self, pointer: int) -> tuple[int]:
        del self._memory[pointer]
        return self._back("memory")

    def cudaHostAlloc(self, size: int, flags: int) -> tuple[int, int]:
        return self._allocated("cudaHostAlloc", "pinned", size)

    def cudaFreeHost(self, pointer: int) -> tuple[int]:
        del self._memory[pointer]
        return self._back("pinned")

    def cudaMemcpyAsync(self, target: int, source: int, size: int, kind: int, stream: int) -> tuple[int]:
        return self.enqueue(lambda: ctypes.memmove(target, source, size))

    def cudaMemsetAsync(self, target: int, value: int, size: int, stream: int) -> tuple[int]:
        return self.enqueue(lambda: ctypes.memset(target, value, size))

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[int, int]:
        return self._given("cudaStreamCreateWithFlags", "stream", 7)

    def cudaStreamDestroy(self, stream: int) -> tuple[int]:
        return self._back("stream")

    def cudaStreamSynchronize(self, stream: int) -> tuple[int]:
        return (OK,)

    def cudaStreamBeginCapture(self, stream: int, mode: int) -> tuple[int]:
        self.captured = []
        return (OK,)

    def cudaStreamEndCapture(self, stream: int) -> tuple[int, Any]:
        captured, self.captured = self.captured, None
        return self._given("cudaStreamEndCapture", "graph", captured)

    def cudaGraphDestroy(self, graph: Any) -> tuple[int]:
        return self._back("graph")

    def cudaGraphInstantiate(self, graph: Any, flags: int) -> tuple[int, Any]:
        return self._given("cudaGraphInstantiate", "graph at work", graph)

    def cudaGraphLaunch(self, graph: Any, stream: int) -> tuple[int]:
        for work in graph:
            work()
        return (OK,)

    def cudaGraphExecDestroy(self, graph: Any) -> tuple[int]:
        return self._back("graph at work")


class HostTensorRt:
    """What stands for `tensorrt`: a plan is the graph that TensorRT would be given."""

    float32 = "float32"

    def __init__(self, cuda: HostCuda) -> None:
        self._cuda = cuda

    def Runtime(self, log: object) -> Any:
        return SimpleNamespace(deserialize_cuda_engine=lambda plan: _Engine(plan, self._cuda))


class _Engine:
    def __init__(self, plan: bytes, cuda: HostCuda) -> None:
        self._model, self._cuda = graph_of(plan), cuda
        names = [value.name for value in (*self._model.graph.input, *self._model.graph.output)]
        self.num_io_tensors, self.get_tensor_name = len(names), names.__getitem__

    def get_tensor_dtype(self, name: str) -> str:
        return "float32"

    def create_execution_context(self) -> "_Context":
        return _Context(self._model, self._cuda)


class _Context:
    def __init__(self, model: Any, cuda: HostCuda) -> None:
        self._backend, self._cuda = GraphOnCpu(model), cuda
        self._inputs, self._outputs = [v.name for v in model.graph.input], [v.name for v in model.graph.output]
        dims = {v.name: v.type.tensor_type.shape.dim[1:] for v in (*model.graph.input, *model.graph.output)}
        self._rest = {name: tuple(dim.dim_value for dim in each) for name, each in dims.items()}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._shapes[name] = shape
        return shape[1:] == self._rest[name]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (self._shapes[self._inputs[0]][0], *self._rest[name])

    def set_tensor_address(self, name: str, pointer: int) -> None:
        self._addresses[name] = pointer

    def execute_async_v3(self, stream: int) -> bool:
        addresses = dict(self._addresses)

        def array(name: str) -> np.ndarray:
            shape = self.get_tensor_shape(name)
            raw = (ctypes.c_float * int(np.prod(shape))).from_address(addresses[name])
            return np.ctypeslib.as_array(raw).reshape(shape)

        def work() -> None:
            answer = self._backend.run({name: array(name) for name in self._inputs})
            for name in self._outputs:
                array(name)[...] = answer[name]

        self._cuda.enqueue(work)
        return True
