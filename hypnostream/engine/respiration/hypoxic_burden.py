"""Hypoxic burden: the area that each breathing event takes from the saturation (Azarbarzin et al. 2019), causally."""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

AROUND_S: Final = 120  # an event's saturation is looked at from so long before its end to so long after
_LAGS: Final = 2 * AROUND_S + 1


@dataclass(frozen=True, slots=True)
class HypoxicBurdenSettings:
    """The definition of Azarbarzin et al. (Eur Heart J 2019;40:1149), made causal where it looks at the whole night.

    The area of an event is what the saturation lacks, within a window around the event's end, to its highest value in
    the `baseline_s` before that end. The burden is the sum of the areas an hour, in %min/h.

    The window is the subject's own: between the two peaks around the dip of the mean saturation of all events, laid
    over one another at their ends. The paper takes the mean over the night. Here it is the mean over the events so far,
    the event itself included, and an area once said stays; until there are `least_events`, the window is `window_s`,
    which is ours. The dip's lowest point is looked for from an event's end to `latest_dip_s` after it, the peaks at
    most `widest_s` from it. Unknown seconds add no area; an event with fewer than `least_known` of its window known has
    none.
    """

    baseline_s: int = 100
    window_s: tuple[int, int] = (-5, 45)
    least_events: int = 10
    latest_dip_s: int = 60
    widest_s: int = 60
    smoothed_s: int = 5
    least_known: float = 0.5


@dataclass(slots=True)
class HypoxicBurdenState:
    """`total` and `known` (2 AROUND_S + 1,) are the sum of the saturation of all events and of how many it is.

    `area` is that of each event in %min, by its id.
    """

    events: int = 0
    total: NDArray[np.float64] = field(default_factory=lambda: np.zeros(_LAGS))
    known: NDArray[np.int64] = field(default_factory=lambda: np.zeros(_LAGS, np.int64))
    area: dict[str, float] = field(default_factory=dict)


def measure(
    state: HypoxicBurdenState, event_id: str, saturation: NDArray[np.float32], settings: HypoxicBurdenSettings
) -> None:
    """Take an event's saturation in percent, NaN where unknown: (2 AROUND_S + 1,), its end in the middle.

    Raises:
        ValueError: it is of another length.
    """
    if saturation.shape != (_LAGS,):
        raise ValueError(f"a saturation of {saturation.shape} seconds around an event's end where ({_LAGS},) belong")
    seen = ~np.isnan(saturation)
    state.events += 1
    state.total += np.where(seen, saturation, 0)
    state.known += seen
    first, last = search_window(state, settings)
    window = saturation[AROUND_S + first : AROUND_S + last + 1]
    before = saturation[AROUND_S - settings.baseline_s : AROUND_S + 1]
    inside = ~np.isnan(window)
    if np.isnan(before).all() or inside.mean() < settings.least_known:
        return
    lack = float(np.nanmax(before)) - window[inside].astype(np.float64)
    state.area[event_id] = float(np.maximum(lack, 0).sum()) / 60


def search_window(state: HypoxicBurdenState, settings: HypoxicBurdenSettings) -> tuple[int, int]:
    """The first and the last second of the window, counted from an event's end, after the events so far."""
    if state.events < settings.least_events or not state.known.all():
        return settings.window_s
    mean = state.total / state.known
    side = settings.smoothed_s // 2
    padded = np.pad(mean, side, mode="edge")
    smooth = np.convolve(padded, np.full(2 * side + 1, 1 / (2 * side + 1)), mode="valid")
    dip = AROUND_S + int(smooth[AROUND_S : AROUND_S + settings.latest_dip_s + 1].argmin())
    left = max(0, dip - settings.widest_s)
    first = dip - int(smooth[left : dip + 1][::-1].argmax())
    last = dip + int(smooth[dip : dip + settings.widest_s + 1].argmax())
    return first - AROUND_S, last - AROUND_S
