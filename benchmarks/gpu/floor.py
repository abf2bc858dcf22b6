"""The least time that a step can take on the GPU that is there: bytes by bandwidths that are measured, operations by
what its units can do.

python -m benchmarks.gpu.floor

It measures the first GPU and prints one line of JSON, `Rates`. Exit code 2, and the reason on stderr, without one.
"""

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from benchmarks.gpu.step_cost import StepCost
from hypnostream.engine.tensorrt_cuda import DeviceArray, PinnedArray, Stream, call, first_gpu, runtime
from hypnostream.engine.tensorrt_device import TensorRtError

BYTES = 256 << 20
ROUNDS = 10
# Fused multiply-adds of one multiprocessor in one clock, by compute capability; of others the most, as it is a floor.
# From NVIDIA's whitepapers of each architecture (V100, Turing, A100, GA102, Ada, H100) and Blackwell's data sheets:
# dense products of float16 with tensor cores, as in H100's 989 TFLOP/s = 132 x 1.83 GHz x 2 x 2048.
FLOAT32_PER_CLOCK = {"7.0": 64, "7.5": 64, "8.0": 64, "8.6": 128, "8.9": 128, "9.0": 128, "10.0": 128, "12.0": 128}
HALF_PER_CLOCK = {"7.0": 512, "7.5": 512, "8.0": 1024, "8.6": 512, "8.9": 512, "9.0": 2048, "10.0": 4096, "12.0": 512}
CLOCK_RATE = "cudaDevAttrClockRate"  # kHz


class Rates(msgspec.Struct, frozen=True):
    """Bytes a second over the bus and in the device's memory; operations a second in float32 without tensor cores, and
    in float16 with them."""

    gpu: str
    bus: float
    memory: float
    float32: float
    half: float

    @property
    def words(self) -> str:
        """For people."""
        return (
            f"{self.gpu}: measured {self.bus / 1e9:.0f} GB/s to the device from pinned memory, {self.memory / 1e9:.0f} "
            f"GB/s in its memory; by its highest clock and NVIDIA's whitepapers at most {self.float32 / 1e12:.0f} "
            f"TFLOP/s in float32 without tensor cores, {self.half / 1e12:.0f} in float16 with them"
        )


@dataclass(frozen=True, slots=True)
class Floor:
    """The least time of steps of `cost` on a GPU of these rates."""

    rates: Rates
    cost: StepCost

    def seconds(self, beds: int) -> float:
        """Of one step: all could go on at once, so the slowest of them."""
        return max(self.parts(beds).values())

    def bound(self, beds: int) -> str:
        """What is the slowest."""
        parts = self.parts(beds)
        return max(parts, key=lambda name: parts[name])

    def parts(self, beds: int) -> Mapping[str, float]:
        """Seconds of each."""
        return {
            "bus": beds * self.cost.up / self.rates.bus,
            "memory": (beds * self.cost.moved + self.cost.weights) / self.rates.memory,
            "float32": beds * self.cost.operations / self.rates.float32,
            "tensor cores": beds * self.cost.half_operations / self.rates.half,
        }


def per_second(table: Mapping[str, int], compute_capability: str, processors: int, clock_hz: float) -> float:
    """Operations, two a multiply-add."""
    return 2.0 * table.get(compute_capability, max(table.values())) * processors * clock_hz


def measured() -> Rates:
    """Of this GPU. Raises TensorRtError when there is none."""
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
    for each in (source, target, host, stream):
        each.close()
    clock_hz = 1000.0 * call("cudaDeviceGetAttribute", getattr(cuda.cudaDeviceAttr, CLOCK_RATE), 0)
    processors = call("cudaDeviceGetAttribute", cuda.cudaDeviceAttr.cudaDevAttrMultiProcessorCount, 0)
    float32, half = (
        per_second(table, gpu.compute_capability, processors, clock_hz) for table in (FLOAT32_PER_CLOCK, HALF_PER_CLOCK)
    )
    return Rates(gpu.name, bus, memory, float32, half)


if __name__ == "__main__":
    try:
        print(msgspec.json.encode(measured()).decode())
    except TensorRtError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from error
