"""Which runtime runs a graph here: TensorRT where it is asked for and can be used, onnxruntime everywhere else."""

import logging
from dataclasses import dataclass

from hypnostream.bridges.falling_back import FallingBack, one_line
from hypnostream.config import ModelSection
from hypnostream.engine.backend import Backend, OnnxBackend
from hypnostream.engine.bundle import Bundle, GraphSpec
from hypnostream.engine.stretch import StretchBackend
from hypnostream.engine.tensorrt_device import TensorRtError, device, is_installed
from hypnostream.errors import UserError

_logger = logging.getLogger("hypnostream.tensorrt")


@dataclass(frozen=True, slots=True)
class Chosen:
    """What runs a graph, and why it is not what was asked for from the beginning ("" when it is)."""

    backend: Backend
    fallback: str = ""

    @property
    def reason(self) -> str:
        """Why something else runs than was asked for, from the beginning or by now; "" when it does not."""
        return self.fallback or (self.backend.failure if isinstance(self.backend, FallingBack) else "")


def asks_tensorrt(bundle: Bundle, model: ModelSection, graph: GraphSpec) -> bool:
    """Whether a bed's configuration asks TensorRT to run this step graph.

    "auto" asks for the epoch graph alone. Those of breathing are run a bed at a time, once in some 17 s, and take a
    core 0.1 to 0.4 ms then: a GPU has nothing to win there.
    """
    return model.backend == "tensorrt" or (
        model.backend == "auto" and graph.file == bundle.content.epoch.file and is_installed()
    )


def choose_backend(
    bundle: Bundle,
    model: ModelSection,
    graph: GraphSpec | None = None,
    *,
    stretches: bool = False,
    beds: int = 1,
) -> Chosen:
    """What a bed's configuration asks for to run a step graph of the bundle (default: the epoch graph).

    With `stretches` it reads many epochs in one run, where the bundle has a graph for it and onnxruntime runs. It is
    made for so many `beds`: an engine has room for them, and for more than one onnxruntime keeps memory between runs.
    What cannot be had is replaced by onnxruntime, with the reason. Building an engine takes minutes, once. Raises
    UserError when the graph runs nowhere.
    """
    graph = graph or bundle.content.epoch
    reason = ""
    if asks_tensorrt(bundle, model, graph):
        try:
            return Chosen(_by_tensorrt(bundle, model, graph, beds))
        except _CannotBeHadError as error:
            reason = str(error)
            _logger.warning("%s; onnxruntime runs %s", reason, graph.file)
    if stretches and bundle.content.stretch and graph == bundle.content.epoch:
        return Chosen(StretchBackend(bundle), reason)
    return Chosen(_by_onnxruntime(bundle, graph, beds), reason)


class _CannotBeHadError(Exception):
    """Why TensorRT does not run a graph, for people."""


def _by_tensorrt(bundle: Bundle, model: ModelSection, graph: GraphSpec, beds: int) -> FallingBack:
    """Raises _CannotBeHadError."""
    from hypnostream.bridges.tensorrt_engines import tensorrt_backend

    try:
        here = device()
    except TensorRtError as error:
        raise _CannotBeHadError(f"TensorRT is not used: {error}") from error
    try:
        backend = tensorrt_backend(bundle, graph, here, model.precision, beds)
    except UserError:
        raise
    except Exception as error:  # whatever it is, of TensorRT's or of what makes its graph: the night begins
        raise _CannotBeHadError(f"TensorRT is not used for {graph.file}: {one_line(error)}") from error
    return FallingBack(backend, _by_onnxruntime(bundle, graph, beds))


def _by_onnxruntime(bundle: Bundle, graph: GraphSpec, beds: int) -> OnnxBackend:
    return OnnxBackend(bundle, graph, keeps_memory=beds > 1 or graph == bundle.content.ticks)
