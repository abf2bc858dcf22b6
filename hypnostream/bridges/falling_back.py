"""A backend that may fail in the night, as a GPU does, and one that goes on then."""

import logging
import threading
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from hypnostream.engine.backend import Backend
from hypnostream.engine.slots import Arrays
from hypnostream.engine.tensorrt_device import TensorRtError

_logger = logging.getLogger("hypnostream.tensorrt")


class FallingBack:
    """`backend` until it fails once, then `standby` for good; see `Backend`. Any thread uses it.

    States come with each call and go with its answer, so the call that failed is answered by `standby` from the states
    after the one before: no result and no state is lost. What `standby` cannot answer either is the caller's mistake.
    """

    def __init__(self, backend: Backend, standby: Backend) -> None:
        self._backend, self._standby = backend, standby  # made before the night: its files may be others by then
        self._failing = threading.Lock()
        self.failure = ""  # what happened, in a line for people; "" while nothing did

    @property
    def name(self) -> str:
        """Of what runs now."""
        return self._standby.name if self.failure else self._backend.name

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> Arrays:
        """See `Backend.run`."""
        if self.failure:
            return self._standby.run(inputs)
        try:
            return self._backend.run(inputs)
        except Exception as error:  # TensorRT's, CUDA's, or memory that is not there
            answer = self._standby.run(inputs)
            self._fail(error)
            return answer

    def _fail(self, error: Exception) -> None:
        with self._failing:
            if self.failure:
                return
            self.failure = (
                f"{self._backend.name} failed: {one_line(error)}; {self._standby.name} goes on from the same states, "
                f"no result is lost"
            )
        _logger.warning("%s", self.failure)


def one_line(error: Exception) -> str:
    """What went wrong, for people."""
    said = (str(error).splitlines() or [""])[0]
    return said if isinstance(error, TensorRtError) else f"{type(error).__name__}: {said}"
