"""How many beds one GPU holds: TensorRT beside onnxruntime's CUDA and torch.compile, and what bounds it.

A step is a stage of every bed, provisional or final, as is due each second; so beds in real time are beds a second. It
begins with conditioned samples in host memory and ends with results in host memory. Engines are built first, which
takes minutes, and pass the gate of `hypnostream.engine.parity` or are left out with the reason. What is float32 is
without TF32, in all of them.
"""

from collections.abc import Iterator, Sequence

import msgspec

from benchmarks.gpu.bed_steps import BUNDLE, MOST_BEDS, RUNTIMES, SPEC, Measured
from benchmarks.gpu.children import NotHereError, lines
from benchmarks.gpu.floor import Floor, Rates
from benchmarks.gpu.row import Row
from benchmarks.gpu.step_cost import StepCost, all_products, products_in_half, step_cost

BATCHES = (1, 64, 1024, 4096, MOST_BEDS)
MOST_ON_CPU = 64  # a bed costs the same from there on, and a step takes seconds
COST_OF = {"tensorrt-fp16": "fp16", "torch-compile-fp16": "autocast"}  # of others float32


def costs() -> dict[str, StepCost]:
    """What a step of one bed costs, by what is in float16 of it: nothing, the products that TensorRT is given so, or,
    as autocast has it, all."""
    graph = BUNDLE.graph_bytes()
    return {
        "float32": step_cost(graph, SPEC),
        "fp16": step_cost(graph, SPEC, products_in_half(graph, SPEC)),
        "autocast": step_cost(graph, SPEC, all_products(graph)),
    }


def floor_of(runtime: str, of: dict[str, StepCost], rates: Rates | None) -> Floor | None:
    """What a runtime's steps are measured by, None for one that is not on the GPU or a GPU that is not there."""
    if rates is None or runtime == "onnxruntime-cpu":
        return None
    return Floor(rates, of[COST_OF.get(runtime, "float32")])


def floors(of: dict[str, StepCost], rates: Rates, batches: Sequence[int] = BATCHES) -> Iterator[Row]:
    """The least time of each batch, in TensorRT's two precisions."""
    for name in ("float32", "fp16"):
        floor = Floor(rates, of[name])
        for beds in batches:
            took_s = floor.seconds(beds)
            yield Row(f"least time, {name}", _size(beds), [took_s], beds, note=f"bound by the {floor.bound(beds)}")


def rows(
    steps: int,
    of: dict[str, StepCost],
    rates: Rates | None,
    left_out: list[str],
    runtimes: Sequence[str] = tuple(RUNTIMES),
    batches: Sequence[int] = BATCHES,
) -> Iterator[Row]:
    """Each runtime with each number of beds; `left_out` is told what cannot be measured, and why."""
    for runtime in runtimes:
        floor = floor_of(runtime, of, rates)
        for beds in batches:
            if runtime == "onnxruntime-cpu" and beds > MOST_ON_CPU:
                continue
            count = steps if beds <= 1024 else max(5, steps // 4)
            try:
                said = lines("bed_steps", runtime, str(beds), str(count), tensorrt="tensorrt" in runtime)
            except NotHereError as error:
                left_out.append(f"{runtime}, {_size(beds)} and more: {error}")
                break
            found = msgspec.json.decode(said[-1], type=Measured)
            least_s = None if floor is None else floor.seconds(beds)
            yield Row(found.name, _size(beds), found.step_s, beds, least_s, found.fill_s, found.note)


def _size(beds: int) -> str:
    return f"{beds} bed{'s' * (beds != 1)}"
