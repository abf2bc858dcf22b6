"""Which runtime runs a bundle here: TensorRT where it is asked for and can be used, onnxruntime everywhere else."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hypnostream.config import ModelSection
from hypnostream.engine.backend import Backend, OnnxBackend
from hypnostream.engine.bundle import Bundle
from hypnostream.engine.slots import Arrays
from hypnostream.engine.stretch import StretchBackend
from hypnostream.engine.tensorrt_device import TensorRtError, is_installed

_logger = logging.getLogger("hypnostream.tensorrt")


@dataclass(frozen=True, slots=True)
class Chosen:
    """What runs, and why it is not what was asked for ("" when it is)."""

    backend: Backend
    fallback: str = ""


def choose_backend(bundle: Bundle, model: ModelSection, *, stretches: bool = False, many: bool = False) -> Chosen:
    """The backend that a bed's configuration asks for. "auto" is TensorRT where its package is installed.

    With `stretches` it reads many epochs in one run, where the bundle has a graph for it and onnxruntime runs; for
    `many` beds it keeps memory between runs. What cannot be had is replaced by onnxruntime, with the reason. Building
    an engine takes minutes, once. Raises UserError when the bundle runs nowhere.
    """
    if model.backend == "onnxruntime" or (model.backend == "auto" and not is_installed()):
        if stretches and bundle.content.stretch:
            return Chosen(StretchBackend(bundle))
        return Chosen(OnnxBackend(bundle, keeps_memory=many))
    from hypnostream.bridges.tensorrt_engines import tensorrt_backend

    try:
        return Chosen(FallingBack(bundle, tensorrt_backend(bundle, model.precision)))
    except TensorRtError as error:
        reason = f"TensorRT is not used: {error}"
        _logger.warning("%s; onnxruntime is", reason)
        return Chosen(OnnxBackend(bundle, keeps_memory=many), reason)


class FallingBack:
    """A backend that may fail in the night, as a GPU does; then onnxruntime goes on with the same states.

    The states come with each call, so nothing is lost but the time of one.
    """

    def __init__(self, bundle: Bundle, backend: Backend) -> None:
        self._bundle, self._backend = bundle, backend

    @property
    def name(self) -> str:
        """Of what runs now."""
        return self._backend.name

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> Arrays:
        """See `Backend.run`."""
        try:
            return self._backend.run(inputs)
        except TensorRtError as error:
            _logger.warning("%s failed, onnxruntime goes on: %s", self._backend.name, error)
            self._backend = OnnxBackend(self._bundle)
            return self._backend.run(inputs)
