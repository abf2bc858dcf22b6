"""Which runtime runs a bundle here: TensorRT where it is asked for and can be used, onnxruntime everywhere else."""

import logging
from dataclasses import dataclass

from hypnostream.config import ModelSection
from hypnostream.engine.backend import Backend, OnnxBackend
from hypnostream.engine.bundle import Bundle
from hypnostream.engine.tensorrt_device import TensorRtError, is_installed

_logger = logging.getLogger("hypnostream.tensorrt")


@dataclass(frozen=True, slots=True)
class Chosen:
    """What runs, and why it is not what was asked for ("" when it is)."""

    backend: Backend
    fallback: str = ""


def choose_backend(bundle: Bundle, model: ModelSection) -> Chosen:
    """The backend that a bed's configuration asks for. "auto" is TensorRT where its package is installed.

    What cannot be had is replaced by onnxruntime, with the reason. Building an engine takes minutes, once. Raises
    UserError when the bundle runs nowhere.
    """
    if model.backend == "onnxruntime" or (model.backend == "auto" and not is_installed()):
        return Chosen(OnnxBackend(bundle))
    from hypnostream.bridges.tensorrt_engines import tensorrt_backend

    try:
        return Chosen(tensorrt_backend(bundle, model.precision))
    except TensorRtError as error:
        reason = f"TensorRT is not used: {error}"
        _logger.warning("%s; onnxruntime is", reason)
        return Chosen(OnnxBackend(bundle), reason)
