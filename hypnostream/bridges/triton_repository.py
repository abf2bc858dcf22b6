"""A bundle as a model repository of NVIDIA Triton Inference Server, for those who run one already.

    OUT/NAME/config.pbtxt     the model's configuration, in protobuf's text format
    OUT/NAME/1/model.onnx     the bundle's graph, byte for byte
    OUT/NAME/labels.txt       the stages, in the order of the probabilities

One sequence is one bed. Its state is Triton's implicit state: zeros where a request has `sequence_start`, then what the
graph gave. So the graph needs no control inputs: which request belongs to which bed, starts it or ends it is Triton's
to know (correlation id, start, end), and with the oldest-first strategy no slot is ever run empty, so none is needed to
say which are ready.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from hypnostream.bridges.atomic import write_atomically
from hypnostream.engine.bundle import Bundle, GraphSpec
from hypnostream.errors import UserError

MOST_BEDS_A_BATCH = 256
IDLE_S = 600  # Triton forgets a sequence that says nothing for longer; an epoch comes each 30 s
MOST_BEDS = 4096
DELAY_US = 5000  # how long a request may wait for others
LABELS = "labels.txt"


def export_triton(bundle: Bundle, out: Path, most_beds: int = MOST_BEDS) -> Path:
    """Write the repository into `out`, which need not be there; returns the model's folder.

    Raises UserError when that model is there already, the disk does not take it, or Triton would mix up its states.
    """
    if most_beds < 1:
        raise UserError(f"--beds {most_beds} is not at least 1")
    _check_order(bundle.content.epoch)
    model = out / bundle.content.name
    if model.exists():
        raise UserError(f"{model} is there already; name another folder, or remove it")
    try:
        (model / "1").mkdir(parents=True)
        write_atomically(model / "1" / "model.onnx", bundle.graph_bytes())
        write_atomically(model / LABELS, "".join(f"{stage}\n" for stage in bundle.content.stages).encode())
        write_atomically(model / "config.pbtxt", triton_config(bundle, most_beds).encode())
    except OSError as error:
        raise UserError(f"{model} cannot be written: {error.strerror or error}; name another folder") from error
    return model


def triton_config(bundle: Bundle, most_beds: int = MOST_BEDS) -> str:
    """The text of config.pbtxt; `most_beds` is how many sequences may be open at a time."""
    spec = bundle.content.epoch
    parts = [
        f"# {bundle.content.name} {bundle.content.version}, bundle {bundle.hash[:12]}; one sequence is one bed.\n"
        f"# The first request of a bed has sequence_start; a request each {spec.clock_s} s; no medical device.",
        f'name: "{bundle.content.name}"',
        'backend: "onnxruntime"',
        f"max_batch_size: {min(MOST_BEDS_A_BATCH, most_beds)}",
        _list("input", (_tensor(tensor.name, tensor.shape) for tensor in spec.inputs)),
        _list("output", (_tensor(tensor.name, tensor.shape, _labels(tensor.name)) for tensor in spec.outputs)),
        _sequences(spec, most_beds),
    ]
    return "\n".join(parts) + "\n"


def _check_order(spec: GraphSpec) -> None:
    """Triton (25.12, github.com/triton-inference-server/server/issues/8586) pairs the input and output states by their
    alphabetical order, whatever the configuration says."""
    by_input = sorted(spec.states, key=lambda state: state.input)
    by_output = sorted(spec.states, key=lambda state: state.output)
    for one, other in zip(by_input, by_output, strict=True):
        if one != other:
            raise UserError(
                f"{spec.file}: in alphabetical order state input {one.input!r} meets output {other.output!r}, by which "
                f"Triton would pair them; export the bundle again with outputs named as inputs are, with a prefix"
            )


def _sequences(spec: GraphSpec, most_beds: int) -> str:
    states = (
        f'input_name: "{state.input}" output_name: "{state.output}" {_typed(state.shape)}\n'
        f'      initial_state {{ name: "{state.name} at the beginning" {_typed(state.shape)} zero_data: true }}'
        for state in spec.states
    )
    body = [
        f"max_sequence_idle_microseconds: {IDLE_S * 1_000_000}",
        f"oldest {{ max_candidate_sequences: {most_beds} max_queue_delay_microseconds: {DELAY_US} }}",
        _list("state", states, "  "),
    ]
    return "sequence_batching {\n" + "\n".join(f"  {line}" for line in body) + "\n}"


def _tensor(name: str, shape: Sequence[int], more: str = "") -> str:
    return f'name: "{name}" {_typed(shape)}{more}'


def _labels(name: str) -> str:
    return f' label_filename: "{LABELS}"' if name == "probabilities" else ""


def _typed(shape: Sequence[int]) -> str:
    return f"data_type: TYPE_FP32 dims: [ {', '.join(map(str, shape))} ]"


def _list(field: str, entries: Iterable[str], indent: str = "") -> str:
    inner = ",\n".join(f"{indent}  {{ {entry} }}" for entry in entries)
    return f"{field} [\n{inner}\n{indent}]"
