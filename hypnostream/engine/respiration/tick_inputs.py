"""What the learned model of breathing is given of a second: three numbers for each sensor, and which sensors there are.

All of it is what the rules see too, made relative to the sleeper's own past as they do it. A sensor that is not there
is zeros and a mask of 0: nothing is filled in.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from hypnostream.engine.respiration.history import ABDOMEN, FLOW, THERMISTOR, THORAX

TICK_SENSORS: Final = ("flow", "thermistor", "thorax", "abdomen", "spo2", "heart", "eeg")
NUMBERS: Final = 3
TICK_S: Final = 5  # seconds that go through the model together,
MANY_S: Final = 30  # or so many, where as many have come
ANSWERS: Final = ("event_now", "apnea_now", "event_late", "event_in_half_minute", "event_in_minute")
LATE_S: Final = 60  # how long after it `event_late` is said of a second, and the last two of their stretch
_SPO2, _HEART, _EEG = (TICK_SENSORS.index(name) for name in ("spo2", "heart", "eeg"))
_USUAL_PERCENT, _USUAL_BPM = 95.0, 65.0
_USUAL_LOG_POWER = np.array([5.0, 3.0, 2.0])  # slow, alpha, fast: of sleep
_MOST: Final = 6.0

Values = NDArray[np.float64]


def tick_inputs(
    left: Values,
    phase_degrees: Values,
    percent: Values,
    baseline_percent: Values,
    rate_bpm: Values,
    usual_interval_s: Values,
    cyclic_share: Values,
    log_power: Values,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Of n seconds, what is known at the end of each; NaN is unknown.

    `left` (n, 5) of airflow and effort as a share of the baseline, `phase_degrees` (n,) between the belts, saturation
    (n,) and its baseline, heart rate (n,), the interval that is usual
    and the share of its variation that is cyclic, `log_power` (n, 3) of the EEG.
    Returns the numbers (n, 7, 3) and the mask (n, 7) in 0/1.
    """
    out = np.full((len(left), len(TICK_SENSORS), NUMBERS), np.nan)
    rows = [FLOW, THERMISTOR, THORAX, ABDOMEN]
    out[:, : len(rows), 0] = 2 * (np.minimum(left[:, rows], 2.0) - 1)
    together = np.cos(np.radians(phase_degrees))
    out[:, THORAX, 1], out[:, ABDOMEN, 1] = together, together
    out[:, _SPO2, 0], out[:, _SPO2, 1] = (percent - baseline_percent) / 3, (percent - _USUAL_PERCENT) / 4
    out[:, _SPO2, 0][np.isnan(baseline_percent)] = 0
    out[:, _HEART, 0], out[:, _HEART, 1] = (
        8 * np.log(rate_bpm * usual_interval_s / 60),
        3 * np.log(rate_bpm / _USUAL_BPM),
    )
    out[:, _HEART, 2] = 4 * cyclic_share - 1
    out[:, _EEG] = log_power - _USUAL_LOG_POWER
    # What a sensor is there for; its other numbers may be unknown for themselves.
    there = ~np.isnan(np.stack([*(out[:, row, 0] for row in rows), percent, rate_bpm, log_power[:, 0]], axis=1))
    numbers = np.clip(np.nan_to_num(out), -_MOST, _MOST) * there[..., None]
    return numbers.astype(np.float32), there.astype(np.float32)
