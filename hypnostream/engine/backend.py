"""What runs a graph: `(inputs, mask, age, state) -> (outputs, state')`, batch first, nothing remembered meanwhile."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hypnostream.engine.bundle import Bundle, GraphSpec
from hypnostream.engine.slots import Arrays
from hypnostream.errors import UserError


class Backend(Protocol):
    """A stateless runner of one graph of a bundle; it may serve any number of beds."""

    @property
    def name(self) -> str:
        """For messages and reports: "onnxruntime 1.31.1 cpu"."""
        ...

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> Arrays:
        """All inputs and states by name -> all outputs and new states by name. Inputs are left as they are."""
        ...


class OnnxBackend:
    """onnxruntime on one CPU thread that sleeps between calls: a bedside machine is idle most of the time.

    `graph` is one of the bundle's; default: the epoch graph. `keeps_memory` between runs, for those of many beds: else
    the system clears a few megabytes for each anew. `free_axes` stand before the shapes that the graph's inputs and
    outputs are said to have: the batch, and whatever else; before those of states stands the batch alone.
    """

    def __init__(
        self, bundle: Bundle, graph: GraphSpec | None = None, keeps_memory: bool = False, free_axes: int = 1
    ) -> None:
        import onnxruntime as ort

        graph = graph or bundle.content.epoch

        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        options.log_severity_level = 4  # what is wrong comes as an exception
        # A graph may name files to take weights from. What is no folder has none, so such a graph is refused.
        nowhere = str(bundle.path / graph.file)
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", nowhere)
        # The arena keeps its largest block for ever; one small graph does not need it.
        options.enable_cpu_mem_arena = keeps_memory
        # To plan which results may lie where others lay takes half of the start, and one bed's are small.
        options.enable_mem_reuse = keeps_memory
        with _refusing(bundle, graph):
            self._session = ort.InferenceSession(
                bundle.graph_bytes(graph), options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
        self._outputs = [output.name for output in self._session.get_outputs()]
        self.name = f"onnxruntime {ort.__version__} cpu"
        self._check(bundle, graph, free_axes)
        with _refusing(bundle, graph):  # a number type or an operator that does not fit shows now, not in the night
            shapes = {t.name: (*(1,) * free_axes, *t.shape) for t in graph.inputs}
            shapes |= {s.input: (1, *s.shape) for s in graph.states}
            self.run({name: np.zeros(shape, np.float32) for name, shape in shapes.items()})

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> Arrays:
        """See `Backend.run`."""
        values = self._session.run(self._outputs, dict(inputs))
        return dict(zip(self._outputs, values, strict=True))

    def _check(self, bundle: Bundle, graph: GraphSpec, free_axes: int) -> None:
        """The graph must have the inputs and outputs that bundle.json promises."""
        promised_in = {t.name: t.shape for t in graph.inputs} | {s.input: s.shape for s in graph.states}
        promised_out = {t.name: t.shape for t in graph.outputs} | {s.output: s.shape for s in graph.states}
        carried = {name for state in graph.states for name in (state.input, state.output)}
        found_in, found_out = (
            {each.name: tuple(each.shape[1 if each.name in carried else free_axes :]) for each in side}
            for side in (self._session.get_inputs(), self._session.get_outputs())
        )
        for side, promised, found in (("inputs", promised_in, found_in), ("outputs", promised_out, found_out)):
            for name in sorted(promised.keys() | found.keys()):
                if promised.get(name) != found.get(name):
                    raise UserError(
                        f"{bundle.path}: {side} differ at {name!r}: bundle.json says {promised.get(name)}, "
                        f"{graph.file} has {found.get(name)}. Export the bundle again."
                    )


@contextmanager
def _refusing(bundle: Bundle, graph: GraphSpec) -> Iterator[None]:
    """What onnxruntime says of a graph, as a UserError of one line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # onnxruntime's exceptions share no base class of their own
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{bundle.path / graph.file} is no graph that runs here: {reason}") from error
