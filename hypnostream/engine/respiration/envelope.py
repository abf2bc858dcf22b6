"""How large breaths are: the peak-to-trough excursion of each breathing channel over about one breath, five times a s.

A tick is 0.2 s. The signal of a tick is the mean of the last second, which takes out what beats once a second, the
heart and the 4 Hz pulses by which PAP devices probe the airway, and leaves breaths: 90 % of a breath at 15 a minute,
and as baseline and event lose the same share, their ratio stays. The excursion is the largest less the smallest of
such values over a window a little longer than a breath of this person, so that it needs no breath to be found before
one can be missed, and what drifts more slowly than breaths does not count.
"""

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hypnostream.engine.respiration.channels import RESPIRATION_HZ
from hypnostream.engine.respiration.windows import last_windows

TICKS: Final = 5  # a second
TICK_S: Final = 1 / TICKS
# The mean of the last second is the signal of half a second ago.
DELAY_S: Final = 0.5
KEPT_S: Final = 40
_STEP: Final = RESPIRATION_HZ // TICKS
_CARRIED: Final = RESPIRATION_HZ - _STEP


@dataclass(frozen=True, slots=True)
class EnvelopeSettings:
    """The window over which an excursion is taken is `breaths` breaths, at least and at most so many seconds.

    `known_share` of a window must be there for an excursion to be known. A breath is counted when it passes
    `crossing_share` of the usual excursion on both sides of zero.
    """

    breaths: float = 1.25
    shortest_window_s: float = 3.0
    longest_window_s: float = 7.0
    first_period_s: float = 4.0
    known_share: float = 0.75
    crossing_share: float = 0.12


@dataclass(slots=True)
class EnvelopeState:
    """`carried` (rows, 20) are the last samples, `smooth` (rows and derived, 200) the last 40 s, NaN unknown."""

    carried: NDArray[np.float64]
    whole: NDArray[np.bool_]  # (rows,) the last second was there
    smooth: NDArray[np.float64]
    window_ticks: int


def fresh_envelope(rows: int, settings: EnvelopeSettings, derived: int = 0) -> EnvelopeState:
    """The state before the first second of so many channels, and so many more rows of ticks made of theirs."""
    return EnvelopeState(
        np.zeros((rows, _CARRIED)),
        np.zeros(rows, bool),
        np.full((rows + derived, KEPT_S * TICKS), np.nan),
        window_ticks(settings, settings.first_period_s),
    )


def window_ticks(settings: EnvelopeSettings, period_s: float) -> int:
    """The window for breaths of this length, in ticks."""
    window_s = min(max(settings.breaths * period_s, settings.shortest_window_s), settings.longest_window_s)
    return round(window_s * TICKS)


def smoothed(state: EnvelopeState, samples: NDArray[np.float64], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The ticks (rows, 5 n) of the next seconds, from their `samples` (n, rows, 25) and whether each is `known`
    (n, rows); NaN where a second or the one before is not known."""
    seconds, rows = known.shape
    windows = np.empty((seconds, rows, _CARRIED + RESPIRATION_HZ))
    windows[:, :, _CARRIED:] = samples
    windows[0, :, :_CARRIED] = state.carried
    windows[1:, :, :_CARRIED] = samples[:-1, :, _STEP:]
    # One product of the same shape for each second: the same sums in the same order whatever n is.
    ticks: NDArray[np.float64] = np.matmul(windows, _running_mean())
    whole = known.copy()
    whole[0] &= state.whole
    whole[1:] &= known[:-1]
    ticks[~whole] = np.nan
    state.carried, state.whole = windows[-1, :, RESPIRATION_HZ:].copy(), known[-1].copy()
    return ticks.swapaxes(0, 1).reshape(rows, -1)


def excursions(
    state: EnvelopeState, settings: EnvelopeSettings, ticks: NDArray[np.float64], derived: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Take the next seconds' `ticks` (rows, 5 n) and those `derived` (5 n,) of them; the excursion at each (rows and
    derived, 5 n), NaN where it is not known."""
    count, window = ticks.shape[1], state.window_ticks
    state.smooth[:, :-count] = state.smooth[:, count:]
    state.smooth[:-1, -count:], state.smooth[-1, -count:] = ticks, derived
    recent = state.smooth[:, 1 - count - window :]
    windows = last_windows(state.smooth, count, window).transpose(2, 0, 1)  # a window's values last is slower
    excursion: NDArray[np.float64] = np.fmax.reduce(windows) - np.fmin.reduce(windows)
    unknown = recent != recent
    if unknown.any():
        passed = np.zeros((len(recent), recent.shape[1] + 1))
        np.cumsum(unknown, axis=1, out=passed[:, 1:])
        known_share = 1 - (passed[:, window:] - passed[:, :-window]) / window
        excursion[(known_share < settings.known_share) | unknown[:, -count:]] = np.nan
    return excursion


def breath_period_s(smooth: NDArray[np.float64], usual: float, settings: EnvelopeSettings) -> float | None:
    """The median length of the breaths in `smooth` (ticks,), whose usual excursion is `usual`; None under 4 breaths."""
    clear = np.flatnonzero(np.abs(smooth) > settings.crossing_share * usual)
    above = smooth[clear] > 0
    starts = clear[1:][above[1:] & ~above[:-1]]
    if len(starts) < 4:
        return None
    lengths = np.sort(starts[1:] - starts[:-1])
    return float(lengths[len(lengths) // 2]) * TICK_S


@cache
def _running_mean() -> NDArray[np.float64]:
    """Weights (45, 5) that make of 45 samples the means of 25 that end with every fifth of the last 25."""
    weights = np.zeros((_CARRIED + RESPIRATION_HZ, TICKS))
    for tick in range(TICKS):
        weights[tick * _STEP : tick * _STEP + RESPIRATION_HZ, tick] = 1 / RESPIRATION_HZ
    return weights
