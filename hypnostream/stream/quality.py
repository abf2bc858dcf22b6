"""What a second of a sensor is worth, judged on its raw signal in the spec's unit, before any filter."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hypnostream.stream.channels import FLAT, MISSING, NOISY, OK, SATURATED, ChannelSpec

# Bits that travel beside the raw samples.
BAD, AT_LIMIT = 1, 2

_PER_UV = {"uv": 1.0, "mv": 1e-3, "v": 1e-6}


@dataclass(frozen=True, slots=True)
class QualityLimits:
    """When one kind of sensor is not to be believed; amplitudes in µV, None where the question makes no sense.

    `flat_range_uv`: less than this between the smallest and the largest sample of a second is no living electrode.
    `noisy_rms_uv`: more than this around the second's mean is no brain, eye or muscle.
    `humming_rms_uv` with `humming_hz`: at more than this amplitude the root-mean-square frequency must stay below
    `humming_hz`; above it mains or an open electrode is most of the signal.
    `saturates`: whether the recorder's limits mean anything (100 % is a fine oxygen saturation).
    """

    flat_range_uv: float | None = None
    noisy_rms_uv: float | None = None
    humming_rms_uv: float | None = None
    humming_hz: float = 40.0
    saturates: bool = True


# An amplifier's own noise is 0.5 µV or more, so less than 0.1 µV between all samples of a second is a cable that is
# off or a recorder that repeats itself. Slow waves of the largest kind stay below 150 µV rms, eye movements and
# turning over below 500; 1000 is an electrode that swings free. Wake with tense muscles reaches an rms frequency of
# 40 Hz, but at 10 to 20 µV; hum of an open electrode is at 50 or 60 Hz and far larger.
_ELECTRODE = QualityLimits(flat_range_uv=0.1, noisy_rms_uv=1000.0, humming_rms_uv=50.0)
_LIMITS = {
    "eeg": _ELECTRODE,
    "eog": _ELECTRODE,
    "emg": QualityLimits(flat_range_uv=0.1, noisy_rms_uv=5000.0),
    "ecg": QualityLimits(flat_range_uv=0.1),
    "spo2": QualityLimits(saturates=False),
}


@dataclass(frozen=True, slots=True)
class QualitySettings:
    """`limits` by kind of sensor; a kind that is not there is only judged missing or saturated.

    `saturated_share`: a second with this share of its samples at the recorder's limits has lost its shape.
    `absurd`: a value beyond it, in any unit, is no measurement and counts as missing.
    """

    limits: dict[str, QualityLimits] = field(default_factory=lambda: dict(_LIMITS))
    saturated_share: float = 0.05
    absurd: float = 1e9


class QualityJudge:
    """Judges whole seconds of some channels that share a rate. It has no state."""

    def __init__(self, specs: Sequence[ChannelSpec], rate_hz: float, settings: QualitySettings) -> None:
        self.settings = settings
        self.rate_hz = rate_hz
        limits = [settings.limits.get(spec.kind, QualityLimits()) for spec in specs]
        self.saturates = tuple(limit.saturates for limit in limits)
        scales = [_PER_UV.get(spec.unit.lower().replace("µ", "u").replace("μ", "u"), math.nan) for spec in specs]

        def scaled(values: Sequence[float | None]) -> NDArray[np.float32]:
            # NaN, for "no limit" and for a unit that is no voltage, compares as False everywhere below.
            pairs = zip(values, scales, strict=True)
            return np.array([[math.nan if value is None else value * scale] for value, scale in pairs], np.float32)

        # Three samples can agree by chance.
        enough = rate_hz >= 16
        self._flat_range = scaled([limit.flat_range_uv if enough else None for limit in limits])
        self._noisy_rms = scaled([limit.noisy_rms_uv for limit in limits])
        self._humming_rms = scaled([limit.humming_rms_uv for limit in limits])
        self._humming_hz = np.array([[limit.humming_hz] for limit in limits], np.float32)

    def judge(self, raw: NDArray[np.float32], flags: NDArray[np.uint8], counts: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Codes (channels, seconds) from `raw` and `flags` (channels, seconds, samples).

        `flags` are BAD and AT_LIMIT; of second k only the first `counts[k]` samples are its own.
        """
        quality = np.full(raw.shape[:2], OK, np.uint8)
        if raw.shape[2] >= 2:
            span = raw.max(axis=2) - raw.min(axis=2)
            around = raw - raw.mean(axis=2, keepdims=True)
            power = np.einsum("cnq,cnq->cn", around, around) / np.float32(raw.shape[2])
            steps = around[:, :, 1:] - around[:, :, :-1]
            # A sinusoid of frequency f has steps of 4 sin²(πf/rate) times its power.
            step_power = np.einsum("cnq,cnq->cn", steps, steps) / np.float32(steps.shape[2])
            ratio = step_power / np.maximum(power, np.float32(1e-30))
            hum = 4 * np.sin(np.pi * np.minimum(self._humming_hz / self.rate_hz, 0.5)) ** 2
            rms = np.sqrt(power)
            quality[(rms > self._noisy_rms) | ((rms > self._humming_rms) & (ratio > hum))] = NOISY
            quality[span < self._flat_range] = FLAT
        if flags.any():
            own = np.arange(flags.shape[2]) < counts[:, None]
            at_limit = ((flags & AT_LIMIT) != 0) & own
            quality[at_limit.sum(axis=2) >= self.settings.saturated_share * counts] = SATURATED
            quality[(((flags & BAD) != 0) & own).any(axis=2)] = MISSING
        return quality
