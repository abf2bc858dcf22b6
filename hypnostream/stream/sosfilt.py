"""SciPy's compiled filter of second-order sections, without the rest of scipy.signal.

Importing scipy.signal costs 74 MB of memory and most of a second, which is half of what a bed may take; the one
extension module that filters needs 3 MB and 30 ms. Where a future SciPy has moved it, the public way serves.
"""

from collections.abc import Callable
from functools import cache
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# sections (sections, 6), signal (signals, n) and memory (signals, sections, 2); the last two are changed in place.
Sosfilt = Callable[[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]], None]


def sosfilt_in_place(sections: NDArray[np.float64], signal: NDArray[np.float64], memory: NDArray[np.float64]) -> None:
    """Filter `signal` (signals, n) by `sections` (sections, 6) in place and carry `memory` (signals, sections, 2) on.

    All are C-contiguous float64. The same numbers as scipy.signal.sosfilt.
    """
    if signal.size and len(sections):
        _compiled()(sections, signal, memory)


@cache
def _compiled() -> Sosfilt:
    import scipy

    found = PathFinder.find_spec("_sosfilt", [str(Path(scipy.__file__).parent / "signal")])
    if found is None or found.loader is None:
        return public_sosfilt
    module = module_from_spec(found)
    found.loader.exec_module(module)
    compiled: Sosfilt = getattr(module, "_sosfilt", public_sosfilt)
    return compiled


def public_sosfilt(sections: NDArray[np.float64], signal: NDArray[np.float64], memory: NDArray[np.float64]) -> None:
    """The same in place, by scipy.signal.sosfilt."""
    from scipy.signal import sosfilt

    filtered, after = sosfilt(sections, signal, axis=1, zi=memory.swapaxes(0, 1))
    signal[:], memory[:] = filtered, after.swapaxes(0, 1)
