"""The sleep statistics that a report gives (AASM Manual for the Scoring of Sleep, "Parameters to be reported").

They are of the time from lights off to lights on, where these are known. An epoch counts when its middle is in that
time, so one that lights off or on cuts is in or out as a whole; times on the clock count from lights off itself.

The manual knows no epoch without a stage. Here there are some (no sensor had anything to say), and they are counted by
themselves: never as wake, never as sleep, and what happens across one is no transition.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hypnostream.stream.stages import EPOCH_S, STAGES, UNSCORED, check_stage_codes

_WAKE, _REM = STAGES.index("W"), STAGES.index("R")


@dataclass(frozen=True, slots=True)
class SleepStatistics:
    """The statistics from lights off to lights on; a recording's begin and end stand for what is not known of these.

    `epochs` is how many that time has, `epochs_absent` how many of them have no stage, and
    `epochs_absent_before_sleep` how many of those come before the first epoch of sleep: with any, sleep may have begun
    earlier than `sleep_latency_min` says.

    `recording_min` is the whole time (TRT, lights off to lights on), absent epochs included. `answered_min` is that of
    the epochs with a stage.
    `total_sleep_min` is TST, the time in N1, N2, N3 and R; with absent epochs it is what was seen of it.
    `sleep_efficiency_percent` is TST of the answered time (of TRT when no epoch is absent); None with nothing answered.
    `sleep_latency_min` (SOL) is from lights off to the first epoch of any sleep, `rem_latency_min` from there to the
    first epoch of R; both are times on the clock, None when there is no such epoch.
    `wake_after_sleep_onset_min` (WASO) is the time in W after the first epoch of sleep, the wake at the end included;
    None without sleep.
    `stage_min` is the time in each stage, `stage_percent` the share of TST of each stage of sleep, None without sleep.
    `stage_transitions` counts changes between adjacent epochs, `awakenings` those from sleep to W.
    """

    epochs: int
    epochs_absent: int
    epochs_absent_before_sleep: int
    recording_min: float
    answered_min: float
    total_sleep_min: float
    sleep_efficiency_percent: float | None
    sleep_latency_min: float | None
    rem_latency_min: float | None
    wake_after_sleep_onset_min: float | None
    stage_min: dict[str, float]
    stage_percent: dict[str, float | None]
    stage_transitions: int
    awakenings: int


def sleep_statistics(
    hypnogram: NDArray[np.integer], lights_off_s: float | None = None, lights_on_s: float | None = None
) -> SleepStatistics:
    """The statistics of a hypnogram (epochs,) of indices into STAGES, UNSCORED where an epoch has no stage.

    `lights_off_s` and `lights_on_s` are seconds from the beginning of epoch 0. What they leave of the recording is all
    that counts: lights off before its begin or lights on after its end is taken as that begin or end.

    Raises:
        ValueError: a code is neither an index into STAGES nor UNSCORED, or the array is not one-dimensional.
    """
    check_stage_codes(hypnogram, "the hypnogram")
    end_s = float(hypnogram.size * EPOCH_S)
    off_s = min(max(lights_off_s or 0.0, 0.0), end_s)
    on_s = end_s if lights_on_s is None else min(max(lights_on_s, off_s), end_s)
    first, stop = _first_middle_from(off_s), _first_middle_from(on_s)
    hypnogram = hypnogram[first:stop]
    answered = hypnogram != UNSCORED
    asleep = hypnogram > _WAKE
    asleep_count, answered_count = int(asleep.sum()), int(answered.sum())
    onset = int(asleep.argmax()) if asleep_count else None
    first_rem = int((hypnogram == _REM).argmax()) if hypnogram.size else 0
    counts = [int((hypnogram == code).sum()) for code in range(len(STAGES))]

    pairs = answered[:-1] & answered[1:]
    transitions = pairs & (hypnogram[:-1] != hypnogram[1:])
    awakenings = transitions & (hypnogram[1:] == _WAKE)
    return SleepStatistics(
        epochs=hypnogram.size,
        epochs_absent=hypnogram.size - answered_count,
        epochs_absent_before_sleep=int((~answered[:onset]).sum()),
        recording_min=(on_s - off_s) / 60,
        answered_min=_minutes(answered_count),
        total_sleep_min=_minutes(asleep_count),
        sleep_efficiency_percent=100 * asleep_count / answered_count if answered_count else None,
        # sleep in an epoch that lights off cuts has a latency of 0
        sleep_latency_min=None if onset is None else max(0.0, (first + onset) * EPOCH_S - off_s) / 60,
        rem_latency_min=_minutes(first_rem - onset) if onset is not None and counts[_REM] else None,
        wake_after_sleep_onset_min=None if onset is None else _minutes(int((hypnogram[onset:] == _WAKE).sum())),
        stage_min={stage: _minutes(count) for stage, count in zip(STAGES, counts, strict=True)},
        stage_percent={
            stage: 100 * count / asleep_count if asleep_count else None
            for stage, count in zip(STAGES[1:], counts[1:], strict=True)
        },
        stage_transitions=int(transitions.sum()),
        awakenings=int(awakenings.sum()),
    )


def _first_middle_from(at_s: float) -> int:
    """The first epoch whose middle is at or after a time."""
    return math.ceil(at_s / EPOCH_S - 0.5)


def _minutes(epochs: int) -> float:
    return epochs * EPOCH_S / 60
