"""The sleep statistics that a report gives (AASM Manual for the Scoring of Sleep, "Parameters to be reported").

The manual knows no epoch without a stage. Here there are some (no sensor had anything to say), and they are counted by
themselves: never as wake, never as sleep, and what happens across one is no transition.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hypnostream.stream.stages import EPOCH_S, STAGES, UNSCORED, check_stage_codes

_WAKE, _REM = STAGES.index("W"), STAGES.index("R")


@dataclass(frozen=True, slots=True)
class SleepStatistics:
    """The statistics of one recording; its first epoch stands for lights off and its last for lights on.

    `epochs` is how many the recording has, `epochs_absent` how many of them have no stage, and
    `epochs_absent_before_sleep` how many of those come before the first epoch of sleep: with any, sleep may have begun
    earlier than `sleep_latency_min` says.

    `recording_min` is the whole time (TRT, time in bed), absent epochs included. `answered_min` is without them.
    `total_sleep_min` is TST, the time in N1, N2, N3 and R; with absent epochs it is what was seen of it.
    `sleep_efficiency_percent` is TST of the answered time (of TRT when no epoch is absent); None with nothing answered.
    `sleep_latency_min` (SOL) is from the start to the first epoch of any sleep, `rem_latency_min` from there to the
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


def sleep_statistics(hypnogram: NDArray[np.integer]) -> SleepStatistics:
    """The statistics of a hypnogram (epochs,) of indices into STAGES, UNSCORED where an epoch has no stage.

    Raises:
        ValueError: a code is neither an index into STAGES nor UNSCORED, or the array is not one-dimensional.
    """
    check_stage_codes(hypnogram, "the hypnogram")
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
        recording_min=_minutes(hypnogram.size),
        answered_min=_minutes(answered_count),
        total_sleep_min=_minutes(asleep_count),
        sleep_efficiency_percent=100 * asleep_count / answered_count if answered_count else None,
        sleep_latency_min=None if onset is None else _minutes(onset),
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


def _minutes(epochs: int) -> float:
    return epochs * EPOCH_S / 60
