"""All that a GPU is for, in one table: the least time of a step, beds by TensorRT and others, mamba-ssm's scan beside
ours. What is not installed, or has no GPU, is left out with the reason.

python -m benchmarks.gpu [steps]

Needs onnx, and for each part what it measures: tensorrt (8.6, 10 or 11) and cuda-bindings, onnxruntime for CUDA, torch,
mamba-ssm. HYPNOSTREAM_TENSORRT names the Python that has TensorRT where that is another one than this.
"""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

import msgspec

from benchmarks.gpu import tensorrt_beds
from benchmarks.gpu.bed_steps import BUNDLE
from benchmarks.gpu.children import NotHereError, lines
from benchmarks.gpu.floor import Rates
from benchmarks.gpu.row import COLUMNS, Row
from benchmarks.report import table
from hypnostream.bridges.bench import machine

PACKAGES = (
    "numpy", "onnx", "onnxruntime", "onnxruntime-gpu", "tensorrt", "cuda-bindings", "torch", "triton", "mamba-ssm"
)  # fmt: skip
SCAN_ROUNDS = 20
METHOD = """Each runtime is measured by a program of its own. Beds: from conditioned samples in host memory to results
there, the first 5 steps not counted; "filling" copies samples to where the runtime takes them from; beds in real
time are beds a second, as each has a stage a second. Engines have passed the gate over a simulated night. "Times the
floor" is by the least time of the same products in the same precision; float32 is without TF32. Scans: one stretch
forward and backward, the first 3 not counted; differences, in float32, are relative to one plus the largest value, and
at most 2e-3 is promised."""


def main(steps: int = 100) -> None:
    """Print the table."""
    left_out = list[str]()
    rates, of, here = _rates(left_out), tensorrt_beds.costs(), machine()
    cost, half = of["float32"], of["fp16"]
    now = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    print(f"\n### On one GPU\n\n{now}; {here['machine']}; {here['system']}; {_versions()}.")
    print(f"\n{'No GPU' if rates is None else rates.words}.\n\n{METHOD}\n")
    print(
        f"Bundle {BUNDLE.hash[:12]}. One step of one bed: {cost.operations / 1e6:.1f} million operations in products, "
        f"in fp16 {half.half_operations / 1e6:.1f} of them in float16; {cost.up / 1e3:.1f} kB to the device, "
        f"{cost.down} B back, {cost.moved / 1e3:.1f} kB read and written there; weights of {cost.weights / 1e6:.1f} MB "
        f"once a batch. {steps} steps, a quarter of them from 4096 beds on.\n"
    )

    def rows() -> Iterator[Row]:
        if rates is not None:
            yield from tensorrt_beds.floors(of, rates)
        yield from tensorrt_beds.rows(steps, of, rates, left_out)
        yield from _scans(left_out)

    table(COLUMNS, (row.cells for row in rows()))
    print("Left out:" if left_out else "Nothing was left out.")
    for reason in left_out:
        print(f"- {reason}")


def _rates(left_out: list[str]) -> Rates | None:
    try:
        return msgspec.json.decode(lines("floor", tensorrt=True)[-1], type=Rates)
    except NotHereError as error:
        left_out.append(f"least times: {error}")
        return None


def _scans(left_out: list[str]) -> Iterator[Row]:
    try:
        yield from (msgspec.json.decode(line, type=Row) for line in lines("mamba_kernels", str(SCAN_ROUNDS)))
    except NotHereError as error:
        left_out.append(f"mamba-ssm's scan: {error}")


def _versions() -> str:
    """Of what this Python has; what another one has is said in its rows."""
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
