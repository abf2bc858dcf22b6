"""How many beds one GPU holds: TensorRT beside onnxruntime's CUDA and torch.compile, and what bounds it.

python -m benchmarks.gpu.tensorrt_beds [steps]

A step is a stage of every bed, provisional or final, as is due each second; so beds in real time are beds a second. It
begins with conditioned samples in host memory and ends with results in host memory. Engines are built first, which
takes minutes, and pass the gate of `hypnostream.engine.parity` or are left out with the reason. TensorRT's fp32 is
without TF32; its fp16 allows TF32 to what stays float32.

Needs tensorrt (8.6, 10 or 11), cuda-bindings and onnx; what else is there is measured beside it. HYPNOSTREAM_TENSORRT
names the Python that has TensorRT where that is another one than this.
"""

import os
import statistics
import subprocess
import sys
from collections.abc import Sequence

import msgspec

from benchmarks.gpu.bed_steps import BUNDLE, MOST_BEDS, RUNTIMES, SPEC, Measured
from benchmarks.gpu.floor import Floor, floor_of
from benchmarks.gpu.step_cost import step_cost
from hypnostream.bridges.bench import machine
from hypnostream.engine.tensorrt_cuda import CudaError

BATCHES = (1, 64, 1024, 4096, MOST_BEDS)
MOST_ON_CPU = 64  # a bed costs the same from there on, and a step takes seconds
LIMIT_S = 1800  # building an engine is part of it
COLUMNS = ("runtime", "beds", "median ms", "p99 ms", "of it filling ms", "beds in real time", "times the floor")


def measured(runtime: str, beds: int, steps: int) -> Measured | None:
    """By a process of its own; None, and the reason on stderr, when it cannot be."""
    python = os.environ.get("HYPNOSTREAM_TENSORRT", sys.executable) if "tensorrt" in runtime else sys.executable
    command = [python, "-W", "ignore", "-m", "benchmarks.gpu.bed_steps", runtime, str(beds), str(steps)]
    try:
        ran = subprocess.run(command, capture_output=True, check=False, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        print(f"{runtime}, {beds} beds: not done within {LIMIT_S} s", file=sys.stderr)
        return None
    if ran.returncode:
        lines = ran.stderr.decode(errors="replace").strip().splitlines()
        print(f"{runtime}, {beds} beds: {lines[-1] if lines else ran.returncode}", file=sys.stderr)
        return None
    return msgspec.json.decode(ran.stdout.splitlines()[-1], type=Measured)


def row(found: Measured, floor: Floor | None) -> list[str]:
    """A line of the table."""
    median_s, ranked = statistics.median(found.step_s), sorted(found.step_s)
    p99_s = ranked[min(len(ranked) - 1, int(0.99 * len(ranked)))]
    bound = "" if floor is None else f"{median_s / floor.seconds(found.beds):.1f}"
    fill_ms = f"{1000 * statistics.median(found.fill_s):.2f}"
    beds = f"{found.beds / median_s:,.0f}"
    return [found.name, str(found.beds), f"{1000 * median_s:.2f}", f"{1000 * p99_s:.2f}", fill_ms, beds, bound]


def main(steps: int = 100, runtimes: Sequence[str] = tuple(RUNTIMES), batches: Sequence[int] = BATCHES) -> None:
    """Print the table."""
    here, cost = machine(), step_cost(BUNDLE.graph_bytes(), SPEC)
    floor: Floor | None
    try:
        floor = floor_of(cost)
        device = f"{floor.gpu}; "
    except CudaError as error:
        floor, device = None, f"no GPU ({error}); "
    print(f"\n### Beds on one GPU\n\n{device}{here['machine']}; {here['system']}.\n")
    print(
        f"Bundle {BUNDLE.hash[:12]}. One step of one bed: {cost.operations / 1e6:.1f} million operations in products, "
        f"{cost.up / 1e3:.1f} kB to the device, {cost.down} B back, {cost.moved / 1e3:.1f} kB read and written there; "
        f"weights of {cost.weights / 1e6:.1f} MB once a batch. {steps} steps.\n"
    )
    if floor is not None:
        print(f"{floor.words}\n")
    print(f"| {' | '.join(COLUMNS)} |\n|---|{'---:|' * (len(COLUMNS) - 1)}")
    notes = dict[str, str]()
    for runtime in runtimes:
        for beds in batches:
            if runtime == "onnxruntime-cpu" and beds > MOST_ON_CPU:
                continue
            found = measured(runtime, beds, steps if beds <= 1024 else max(5, steps // 4))
            if found is None:
                break  # more beds will not be there either
            print(f"| {' | '.join(row(found, floor))} |", flush=True)
            if found.note:
                notes[found.name] = found.note
    for name, note in notes.items():
        print(f"\n{name}: {note}.")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
