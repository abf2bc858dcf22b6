"""Desaturations of settled seconds: a causal baseline, and what falls below it and comes back."""

import math
from dataclasses import dataclass, replace
from typing import Final

from hypnostream.engine.respiration.event import Status
from hypnostream.engine.respiration.saturation import HELD, Settled
from hypnostream.engine.respiration.stable_saturation import StableSaturation

OLDEST_S: Final = 300  # a stable second older than this says nothing of now


@dataclass(frozen=True, slots=True)
class DesaturationSettings:
    """When a fall is a desaturation, and when it is over.

    The baseline is the `baseline_quantile` of the last `baseline_s` stable seconds, none older than OLDEST_S: known
    seconds outside of desaturations, at least `least_baseline_s` of them or there is none. During a desaturation it
    stays as it was.

    A desaturation is a fall of at least `percent[0]` below the baseline (AASM Manual, hypopnea 1A; 1B and CMS ask for
    `percent[1]`). It begins with the first second more than `back_percent` below. It is over when it is back to within
    `back_percent`, or `back_share` of the way; or when it rose by `percent[0]` and fell by as much again, at that peak;
    or after `longest_s`, when the baseline is looked for anew; or when nothing was known for `lost_s`, at the last
    second known. Shorter than `shortest_s` it was none. The manual says how deep, not how a desaturation ends: these
    numbers are ours. Until the saturation is back to within `back_percent` of the baseline, the next one is measured
    from the highest value since the last.

    On HuGCDN2014-OXI a quantile of 0.5, 0.75 and 0.9 gives 1.5, 3.1 and 4.8 desaturations an hour (3 %, median) in
    controls and 38, 45 and 47 in those with apnea and desaturation; the correlation with the share of apnea minutes
    is 0.92 with each. 0.75 leaves half as many without an end as 0.9 does.

    Recorders round, so thresholds are met within `rounding_percent`.
    """

    percent: tuple[float, float] = (3.0, 4.0)
    baseline_quantile: float = 0.75
    baseline_s: int = 120
    least_baseline_s: int = 15
    back_percent: float = 1.0
    back_share: float = 2 / 3
    shortest_s: int = 10
    longest_s: int = 180
    lost_s: int = 15
    rounding_percent: float = 0.05


@dataclass(frozen=True, slots=True)
class Desaturation:
    """One revision of a desaturation; seconds are counted as those of `Seconds` are, `end_s` is the first one after it.

    `baseline_percent` is what it is measured from. `ended` says why it is over: "recovered", "turned", "limit",
    "lost", or, when withdrawn, "short" or "held"; "" while it lasts. `known_s` is how many of its seconds are known.
    """

    number: int
    revision: int
    status: Status
    start_s: int
    nadir_s: int
    end_s: int | None
    baseline_percent: float
    nadir_percent: float
    known_s: int
    ended: str = ""

    @property
    def depth_percent(self) -> float:
        """How far the saturation fell; while it lasts, so far."""
        return self.baseline_percent - self.nadir_percent


@dataclass(slots=True)
class DesaturationState:
    """`stable` are the stable seconds of the last OLDEST_S.

    `ceiling` is the highest value since a desaturation that is not quite over, infinite otherwise; `high_s` the last
    second near the baseline; `unknown_s` how long nothing has been known. `peak` is the highest value since the nadir
    of `current`, last seen at `peak_s`, and `known_to_peak_s` how many of its seconds were known until then.
    """

    stable: StableSaturation
    baseline: float = math.nan
    ceiling: float = math.inf
    high_s: int = -1
    unknown_s: int = 0
    count: int = 0
    current: Desaturation | None = None
    peak: float = math.nan
    peak_s: int = -1
    known_to_peak_s: int = 0

    @property
    def reference(self) -> float:
        """What a fall is measured from now; NaN when there is no baseline."""
        return self.current.baseline_percent if self.current is not None else min(self.baseline, self.ceiling)


def detect(
    state: DesaturationState, second: int, settled: Settled, settings: DesaturationSettings
) -> list[Desaturation]:
    """Take the next settled second; the revisions of desaturations that it makes."""
    if math.isnan(settled.percent):
        return _unknown(state, second, settled.why, settings)
    if state.unknown_s > settings.lost_s:
        state.high_s = second - 1
        state.ceiling = math.inf
    state.unknown_s = 0
    if state.current is None:
        return _stable(state, second, settled.percent, settings)
    return _lasting(state, state.current, second, settled.percent, settings)


def _unknown(state: DesaturationState, second: int, why: str, settings: DesaturationSettings) -> list[Desaturation]:
    state.unknown_s += 1
    if state.current is None:
        _renew_baseline(state, second, settings)
        return []
    if why == HELD:
        return [_close(state, state.current, second, "held", settings)]
    if state.unknown_s > settings.lost_s:
        return [_close(state, state.current, second + 1 - state.unknown_s, "lost", settings)]
    return []


def _stable(
    state: DesaturationState, second: int, percent: float, settings: DesaturationSettings
) -> list[Desaturation]:
    reference = state.reference
    if reference - percent >= settings.percent[0] - settings.rounding_percent:
        start = max(state.high_s + 1, second - settings.longest_s + 1)
        known_s = state.stable.take_back(start) + 1
        return [_open(state, start, second, percent, reference, known_s)]
    if not reference - percent > settings.back_percent + settings.rounding_percent:  # also where there is no baseline
        state.high_s = second
    if state.ceiling < math.inf:
        higher = max(state.ceiling, percent)
        back = higher >= state.baseline - settings.back_percent - settings.rounding_percent
        state.ceiling = math.inf if back else higher
    state.stable.append(second, percent)
    _renew_baseline(state, second, settings)
    return []


def _lasting(
    state: DesaturationState, current: Desaturation, second: int, percent: float, settings: DesaturationSettings
) -> list[Desaturation]:
    slack = settings.rounding_percent
    known_s = current.known_s + 1
    least = settings.percent[0] - slack
    if state.peak - current.nadir_percent >= least and state.peak - percent >= least:
        start, before_s = state.peak_s + 1, state.known_to_peak_s
        ended = _close(state, replace(current, known_s=before_s), start, "turned", settings)
        return [ended, _open(state, start, second, percent, state.peak, known_s - before_s)]
    if percent < current.nadir_percent:
        return _deeper(state, current, second, percent, settings)
    state.current = current = replace(current, known_s=known_s)
    if percent >= state.peak:
        state.peak, state.peak_s, state.known_to_peak_s = percent, second, known_s
    near = percent >= current.baseline_percent - settings.back_percent - slack
    if near or percent - current.nadir_percent >= settings.back_share * current.depth_percent - slack:
        state.high_s = second
        # until the baseline itself is reached, the next is measured from here
        state.ceiling = math.inf if percent >= state.baseline - settings.back_percent - slack else percent
        return [_close(state, replace(current, known_s=known_s - 1), second, "recovered", settings)]
    return _limited(state, current, second, settings)


def _deeper(
    state: DesaturationState, current: Desaturation, second: int, percent: float, settings: DesaturationSettings
) -> list[Desaturation]:
    """A new nadir; worth a revision when it is the first at the second of the depths."""
    known_s = current.known_s + 1
    deeper = replace(current, nadir_s=second, nadir_percent=percent, known_s=known_s)
    deep = settings.percent[1] - settings.rounding_percent
    said: list[Desaturation] = []
    if current.depth_percent < deep <= deeper.depth_percent:
        deeper = replace(deeper, revision=current.revision + 1)
        said.append(deeper)
    state.current, state.peak, state.peak_s, state.known_to_peak_s = deeper, percent, second, known_s
    return said + _limited(state, deeper, second, settings)


def _limited(
    state: DesaturationState, current: Desaturation, second: int, settings: DesaturationSettings
) -> list[Desaturation]:
    """What lasts too long is the new level: it ends, and the baseline begins anew."""
    if second + 1 - current.start_s < settings.longest_s:
        return []
    state.high_s = second
    state.ceiling = math.inf
    state.stable.clear()
    state.baseline = math.nan
    return [_close(state, current, second + 1, "limit", settings)]


def _open(
    state: DesaturationState, start: int, second: int, percent: float, reference: float, known_s: int
) -> Desaturation:
    """A desaturation that began at `start` and was seen to be one at `second`."""
    state.current = Desaturation(
        number=state.count,
        revision=0,
        status="preliminary",
        start_s=start,
        nadir_s=second,
        end_s=None,
        baseline_percent=reference,
        nadir_percent=percent,
        known_s=known_s,
    )
    state.count += 1
    state.peak, state.peak_s, state.known_to_peak_s = percent, second, known_s
    return state.current


def _close(
    state: DesaturationState, current: Desaturation, end: int, why: str, settings: DesaturationSettings
) -> Desaturation:
    if end - current.start_s < settings.shortest_s and why != "held":
        why = "short"
    state.current = None
    status: Status = "withdrawn" if why in ("short", "held") else "final"
    return replace(current, revision=current.revision + 1, status=status, end_s=end, ended=why)


def _renew_baseline(state: DesaturationState, second: int, settings: DesaturationSettings) -> None:
    """The quantile of the last stable seconds, NaN when they are too few; `second` is the newest."""
    state.stable.forget_before(second + 1 - OLDEST_S)
    enough = len(state.stable.ordered) >= settings.least_baseline_s
    state.baseline = state.stable.quantile(settings.baseline_quantile) if enough else math.nan
