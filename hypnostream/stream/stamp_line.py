"""Where a stream's samples lie in time: a line through its stamps, fitted as they come.

Sample j of a segment is at `origin_s` + j / rate. A sender's stamps scatter around that line by its jitter, and its
clock runs fast or slow, so that the origin creeps by `rate_error` seconds a second. Both are the state of a Kalman
filter (Kalman 1960) that is updated with the mean error of a block of stamps. Stamps of one packet err together, so
what counts as one observation is a packet: a stretch in which the stamps lie 1 / rate apart.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Errors below this are rounding: stamps of files are exact, and correcting those would only cost time.
EXACT_S = 1e-5
# The first blocks of a segment are an eighth of a second and grow to a second.
BLOCKS_PER_S = 8
# Believed of a clock that nothing is known of yet, and of any: a quartz is within 100 ppm.
_USUAL_RATE_ERROR = 200e-6
_LARGEST_RATE_ERROR = 1e-3
# What a clock wanders: offset in s per root second, rate in 1 per root second.
_OFFSET_WANDER = 5e-5
_RATE_WANDER = 2e-7
# The scatter is a mean over about so many blocks; the largest jitter fades by `_JITTER_FADES` a block.
_SCATTER_BLOCKS = 60
_JITTER_FADES = 0.995
# A block whose mean is off by so many standard errors, and 3/4 of a sample, is a step and no noise.
_STEP_SIGMAS = 5.0


@dataclass(slots=True)
class LineState:
    """Numbers only. `jitter_s` is the largest error of a single stamp of late, `scatter_s2` their variance.

    `drifted_s` is how far the rate error moved the origin since the segment's start. `packets` were told apart so far.
    """

    origin_s: float
    rate_error: float = 0.0
    jitter_s: float = 0.0
    scatter_s2: float = 0.0
    blocks: int = 0
    packets: int = 0
    drifted_s: float = 0.0
    offset_variance: float = 0.0
    covariance: float = 0.0
    rate_variance: float = _USUAL_RATE_ERROR**2


def block_of(count: int, shortest: int) -> tuple[int, int]:
    """The block in which the segment's sample `count` is: as long as what came before it, a second at most."""
    longest = BLOCKS_PER_S * shortest
    if count < shortest:
        return 0, shortest
    if count < longest:
        start = shortest * 2 ** ((count // shortest).bit_length() - 1)
        return start, 2 * start
    return count - count % longest, count - count % longest + longest


def begin(line: LineState, origin_s: float, uncertainty_s: float) -> None:
    """A segment begins with a stamp at `origin_s` that may be off by `uncertainty_s`; the clock is as before."""
    line.origin_s, line.drifted_s = origin_s, 0.0
    line.offset_variance, line.covariance = max(line.jitter_s, uncertainty_s) ** 2, 0.0


def update(
    line: LineState, errors_s: NDArray[np.float64], rate_hz: float, until_next_s: float, learn_rate: bool
) -> bool:
    """Move the line by a block's `errors_s` (n,), and on to the middle of the next block, `until_next_s` later.

    True when the block lies so far off that it is no noise: the line then follows the next blocks at once.
    """
    smallest, largest, n = float(errors_s.min()), float(errors_s.max()), len(errors_s)
    if max(largest, -smallest) <= EXACT_S:
        line.jitter_s *= _JITTER_FADES
        _predict(line, until_next_s)
        return False
    mean = float(errors_s.sum()) / n
    packets = 1 + int(np.count_nonzero(np.abs(errors_s[1:] - errors_s[:-1]) > EXACT_S))
    scatter = float(np.square(errors_s - mean).sum()) / n + max(0.0, mean * mean - line.offset_variance)
    line.blocks = min(line.blocks + 1, _SCATTER_BLOCKS)
    line.scatter_s2 += (scatter - line.scatter_s2) / line.blocks
    line.packets += packets - 1
    noise = max(line.scatter_s2, EXACT_S**2) / packets
    total = line.offset_variance + noise
    stepped = abs(mean) > max(_STEP_SIGMAS * math.sqrt(total), 0.75 / rate_hz)
    if stepped:
        line.offset_variance += mean * mean
        total += mean * mean
    of_offset = line.offset_variance / total
    if learn_rate and mean * mean < 9 * total:
        of_rate = line.covariance / total
        line.rate_error += of_rate * mean
        line.rate_error = min(max(line.rate_error, -_LARGEST_RATE_ERROR), _LARGEST_RATE_ERROR)
        line.rate_variance -= of_rate * line.covariance
    line.offset_variance *= 1 - of_offset
    line.covariance *= 1 - of_offset
    line.origin_s += of_offset * mean
    peak = max(largest - of_offset * mean, of_offset * mean - smallest)
    line.jitter_s = max(peak, line.jitter_s * _JITTER_FADES)
    _predict(line, until_next_s)
    return stepped


def end(line: LineState, errors_s: NDArray[np.float64], rate_hz: float, beyond_s: float) -> None:
    """The segment ends with `errors_s` of its last block, `beyond_s` after that block's middle: the line as of then."""
    moved_s = line.rate_error * beyond_s
    line.origin_s += moved_s
    line.drifted_s += moved_s
    if len(errors_s) and (line.blocks or np.abs(errors_s).max() > EXACT_S):
        update(line, errors_s + (line.rate_error * len(errors_s) / 2 / rate_hz - moved_s), rate_hz, 0.0, False)


def largest_error_s(line: LineState) -> float:
    """The largest error that a single stamp may have and still be jitter.

    Even jitter has an end, at 1.7 standard deviations; the largest of some hundred normal errors is at 3.2, and may be
    surpassed by three quarters; that of errors with a long tail by as much again.
    """
    tail = line.jitter_s / math.sqrt(max(line.scatter_s2, EXACT_S**2))
    surpassed = min(max(1.3 + 0.35 * (tail - 1.73), 1.3), 2.0)
    return surpassed * line.jitter_s + 3 * math.sqrt(line.offset_variance)


def _predict(line: LineState, seconds: float) -> None:
    if line.rate_error == 0.0 and line.blocks == 0:
        return
    moved = line.rate_error * seconds
    line.origin_s += moved
    line.drifted_s += moved
    line.offset_variance += seconds * (2 * line.covariance + seconds * line.rate_variance + _OFFSET_WANDER**2)
    line.covariance += seconds * line.rate_variance
    line.rate_variance = min(line.rate_variance + seconds * _RATE_WANDER**2, _USUAL_RATE_ERROR**2)
