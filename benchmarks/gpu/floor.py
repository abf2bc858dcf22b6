"""The least time that a step can take on the GPU that is there: bytes by bandwidths that are measured, operations by
what its units can do."""

import time
from dataclasses import dataclass

from benchmarks.gpu.step_cost import StepCost
from hypnostream.engine.tensorrt_cuda import DeviceArray, PinnedArray, Stream, call, first_gpu, runtime

BYTES = 256 << 20
ROUNDS = 10
# Fused multiply-adds in float32 of one multiprocessor in one clock, from compute capability 8.6 on; 8.0 has half.
FMA_PER_CLOCK = 128
CLOCK_RATE = "cudaDevAttrClockRate"  # kHz


@dataclass(frozen=True, slots=True)
class Floor:
    """Bytes a second over the bus and in the device's memory, float32 operations a second; of one `cost`."""

    gpu: str
    bus: float
    memory: float
    operations: float
    cost: StepCost

    def seconds(self, beds: int) -> float:
        """Of one step: bus, memory and arithmetic could all go on at once, so the slowest of them."""
        return max(self._parts(beds).values())

    @property
    def words(self) -> str:
        """What bounds a large batch."""
        parts = self._parts(4096)
        bound = max(parts, key=lambda name: parts[name])
        each = ", ".join(f"{name} {1e6 * value:.0f} µs" for name, value in parts.items())
        return (
            f"Measured: {self.bus / 1e9:.0f} GB/s to the device from pinned memory, {self.memory / 1e9:.0f} GB/s in "
            f"its memory; float32 without tensor cores {self.operations / 1e12:.0f} TFLOP/s by its clock. Least time "
            f"of 4096 beds: {each}; so the {bound} bounds it, at {4096 / parts[bound]:,.0f} beds in real time."
        )

    def _parts(self, beds: int) -> dict[str, float]:
        return {
            "bus": beds * self.cost.up / self.bus,
            "memory": (beds * self.cost.moved + self.cost.weights) / self.memory,
            "arithmetic": beds * self.cost.operations / self.operations,
        }


def floor_of(cost: StepCost) -> Floor:
    """Measure this GPU. Raises CudaError when there is none."""
    gpu = first_gpu()
    cuda, stream = runtime(), Stream()
    source, target, host = DeviceArray((BYTES // 4,)), DeviceArray((BYTES // 4,)), PinnedArray((BYTES // 4,))

    def rate(copy: object, *arguments: object) -> float:
        assert callable(copy)
        copy(*arguments)
        stream.wait()
        started = time.perf_counter()
        for _ in range(ROUNDS):
            copy(*arguments)
        stream.wait()
        return ROUNDS * BYTES / (time.perf_counter() - started)

    bus = rate(stream.upload, target.pointer, host.pointer, BYTES)
    across = cuda.cudaMemcpyKind.cudaMemcpyDeviceToDevice
    memory = 2 * rate(  # every byte is read and written
        lambda: call("cudaMemcpyAsync", target.pointer, source.pointer, BYTES, across, stream.handle)
    )
    clock_hz = 1000 * call("cudaDeviceGetAttribute", getattr(cuda.cudaDeviceAttr, CLOCK_RATE), 0)
    processors = call("cudaDeviceGetAttribute", cuda.cudaDeviceAttr.cudaDevAttrMultiProcessorCount, 0)
    for array in (source, target, host):
        array.close()
    stream.close()
    return Floor(gpu.name, bus, memory, 2.0 * FMA_PER_CLOCK * processors * clock_hz, cost)
