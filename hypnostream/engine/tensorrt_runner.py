"""An engine at work: states on the device in two sets that change places, one stream, one CUDA graph for each set.

A step is one launch: inputs from pinned memory, the engine, outputs into pinned memory. States never leave the device
but when they are asked for.
"""

from collections.abc import Mapping
from contextlib import ExitStack, closing, suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnostream.engine.bundle import GraphSpec
from hypnostream.engine.graph_resident import CONTROLS
from hypnostream.engine.slots import Arrays
from hypnostream.engine.tensorrt_build import last_error, logger
from hypnostream.engine.tensorrt_cuda import CudaError, DeviceArray, Graph, PinnedArray, Stream
from hypnostream.engine.tensorrt_device import TensorRtError


class TensorRtRunner:
    """`beds` rows of one engine; see `ResidentBackend`. Raises TensorRtError when the engine does not run here, and
    holds nothing then."""

    def __init__(self, plan: bytes, spec: GraphSpec, beds: int, name: str) -> None:
        import tensorrt as trt

        self._spec, self.beds, self.name = spec, beds, name
        # One deserialized engine a runner: 8.6 lets a profile serve one context at a time.
        self._runtime = trt.Runtime(logger())
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise TensorRtError(f"the engine does not load: {last_error()}")
        self._check(trt)
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise TensorRtError(f"no room for {beds} beds on the GPU: {last_error()}")
        self._made = ExitStack()  # all that CUDA gave, the last first
        try:
            self._prepare()
        except BaseException:
            with suppress(CudaError):  # of a device that is lost nothing can be given back; the reason is the first
                self._made.close()
            raise

    def _prepare(self) -> None:
        """Memory for one shape, and a graph for each way between the two sets of states."""
        beds, spec, keep = self.beds, self._spec, self._made.enter_context
        given = {tensor.name: (beds, *tensor.shape) for tensor in (*spec.inputs, *CONTROLS)}
        said = {tensor.name: (beds, *tensor.shape) for tensor in spec.outputs}
        self._stream = keep(closing(Stream()))
        self._pinned = {name: keep(closing(PinnedArray(shape))) for name, shape in (given | said).items()}
        self._device = {name: keep(closing(DeviceArray(shape))) for name, shape in (given | said).items()}
        self._states = tuple(
            {s.input: keep(closing(DeviceArray((beds, *s.shape)))) for s in spec.states} for _ in range(2)
        )
        self._made.callback(self._stream.wait)  # what runs still writes there
        self.inputs: Arrays = {name: self._pinned[name].array for name in given}
        self._outputs: Arrays = {name: self._pinned[name].array for name in said}
        self._current = 0
        for held in self._states[0].values():
            self._stream.clear(held)
        self._shape(given, said)
        self._graphs = [keep(closing(self._captured(current))) for current in (0, 1)]
        for held in self._states[0].values():  # the runs before capturing wrote there
            self._stream.clear(held)
        self._stream.wait()

    def step(self) -> Arrays:
        """See `ResidentBackend.step`."""
        self._graphs[self._current].launch()
        self._stream.wait()
        self._current = 1 - self._current
        return self._outputs

    def read(self, first: int, rows: int = 1) -> Arrays:
        """See `ResidentBackend.read`."""
        answer = {s.input: np.empty((rows, *s.shape), np.float32) for s in self._spec.states}
        for name, read in answer.items():
            held = self._states[self._current][name]
            self._stream.download(read.ctypes.data, held.pointer + first * held.row_bytes, read.nbytes)
        self._stream.wait()
        return answer

    def write(self, first: int, state: Mapping[str, NDArray[np.float32]]) -> None:
        """See `ResidentBackend.write`."""
        given = {s.input: np.ascontiguousarray(state[s.input], np.float32) for s in self._spec.states}
        for spec in self._spec.states:
            rows, held = given[spec.input], self._states[self._current][spec.input]
            if rows.shape[1:] != spec.shape or not 0 <= first <= first + len(rows) <= self.beds:
                raise ValueError(f"state {spec.input} {rows.shape} from bed {first} does not fit {self.beds} beds")
            self._stream.upload(held.pointer + first * held.row_bytes, rows.ctypes.data, rows.nbytes)
        self._stream.wait()  # what was `given` may go away after this

    def close(self) -> None:
        """Give everything back; the runner and its arrays must not be used any more."""
        self.inputs, self._outputs = {}, {}
        self._made.close()
        del self._context, self._engine, self._runtime  # in this order

    def _check(self, trt: Any) -> None:
        """The engine must have the tensors that the bundle promises, all float32."""
        count = self._engine.num_io_tensors
        found = {self._engine.get_tensor_name(index) for index in range(count)}
        promised = {tensor.name for tensor in (*self._spec.inputs, *CONTROLS, *self._spec.outputs)}
        promised |= {name for state in self._spec.states for name in (state.input, state.output)}
        if found != promised:
            raise TensorRtError(f"the engine's tensors differ at {', '.join(sorted(found ^ promised)[:3])}")
        if any(self._engine.get_tensor_dtype(name) != trt.float32 for name in found):
            raise TensorRtError("the engine has inputs or outputs that are not float32")

    def _shape(self, given: Mapping[str, tuple[int, ...]], said: Mapping[str, tuple[int, ...]]) -> None:
        """So many beds; what follows for the outputs must be what the buffers have room for."""
        before = {state.input: (self.beds, *state.shape) for state in self._spec.states}
        after = {state.output: (self.beds, *state.shape) for state in self._spec.states}
        for name, shape in (*given.items(), *before.items()):
            if not self._context.set_input_shape(name, shape):
                raise TensorRtError(f"the engine was not built for {self.beds} beds ({name} {shape}): {last_error()}")
        for name, shape in (*said.items(), *after.items()):
            found = tuple(self._context.get_tensor_shape(name))
            if found != shape:
                raise TensorRtError(f"the engine gives {name} as {found}, the bundle promises {shape}")

    def _captured(self, current: int) -> Graph:
        """The graph of a step from state set `current` to the other; run once before, as TensorRT wants it."""
        before, after = self._states[current], self._states[1 - current]
        addresses = {name: held.pointer for name, held in self._device.items()}
        addresses |= {s.input: before[s.input].pointer for s in self._spec.states}
        addresses |= {s.output: after[s.input].pointer for s in self._spec.states}
        for name, pointer in addresses.items():
            self._context.set_tensor_address(name, pointer)
        self._enqueue()
        self._stream.wait()
        return self._stream.captured(self._enqueue)

    def _enqueue(self) -> None:
        for name in self.inputs:
            self._stream.upload(self._device[name].pointer, self._pinned[name].pointer, self._pinned[name].bytes)
        if not self._context.execute_async_v3(int(self._stream.handle)):
            raise TensorRtError(f"the engine does not run: {last_error()}")
        for name in self._outputs:
            self._stream.download(self._pinned[name].pointer, self._device[name].pointer, self._pinned[name].bytes)
