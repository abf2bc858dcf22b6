"""What a second of a sensor is worth, judged on its raw signal in the spec's unit, before any filter."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hypnostream.stream.channels import FLAT, LEAD_OFF, MAINS, MISSING, NOISY, OK, SATURATED, ChannelSpec

# Bits that travel beside the raw samples.
BAD, AT_LIMIT, NEAR_LIMIT = 1, 2, 4

_PER_UV = {"uv": 1.0, "mv": 1e-3, "v": 1e-6}
_PER_PERCENT = {"%": 1.0}
MAINS_HZ: Final = (50.0, 60.0)
# A frequency that is nearer to half the rate than this is not told from others.
_HIGHEST_OF_RATE: Final = 0.48


@dataclass(frozen=True, slots=True)
class QualityLimits:
    """When one kind of sensor is not to be believed; amplitudes in µV, None where the question makes no sense.

    `flat_range_uv`: less than this between the smallest and the largest sample of a second is no living electrode.
    `silent_rms_uv`: less than this around the second's mean is the amplifier's own noise, not a person's.
    `noisy_rms_uv`: more than this around the second's mean is no brain, eye or muscle.
    `humming_rms_uv` with `humming_hz`: at more than this amplitude the root-mean-square frequency must stay below
    `humming_hz`; above it mains or an open electrode is most of the signal.
    `rough_rms_uv` with `rough_hz`: the same for a cable that is pulled, whose noise is larger and of all frequencies.
    `mains_rms_uv`: a line of 50 or 60 Hz of more than this that is also more than half of the power.
    `offset_uv`: a second's mean beyond this is no voltage that an electrode on a skin has.
    `saturates`: whether the recorder's limits mean anything (100 % is a fine oxygen saturation).
    `plausible_percent`: a sample outside of this is what the device says when its sensor is not on the body.
    """

    flat_range_uv: float | None = None
    silent_rms_uv: float | None = None
    noisy_rms_uv: float | None = None
    humming_rms_uv: float | None = None
    humming_hz: float = 40.0
    rough_rms_uv: float | None = None
    rough_hz: float = 20.0
    mains_rms_uv: float | None = None
    offset_uv: float | None = None
    saturates: bool = True
    plausible_percent: tuple[float, float] | None = None


# Flat: a converter's last digit is 0.1 µV or less, so what stays within it is a cable that is off or a recorder that
# repeats itself. Silent: an EEG without any activity over 2 µV, peak to peak, is that of a dead brain (American
# Clinical Neurophysiology Society, guideline 6, J Clin Neurophysiol 2016;33:324), and as a sine has 0.7 µV rms. Inputs
# that are off have 0.2 to 0.5 µV in real recordings, and sleepers 3 and more. A chin in REM sleep may be as quiet as
# its amplifier, and a heart may pause for a second, so EMG and ECG are not asked.
# Noisy: slow waves of the largest kind stay below 150 µV rms, eye movements and turning over below 500; 1000 is an
# electrode that swings free. Wake with tense muscles reaches an rms frequency of 40 Hz, but at 10 to 20 µV; hum of an
# open electrode is at 50 or 60 Hz and far larger. Of 190 000 staged seconds of 20 people (UCDDB) 6 have more than
# 150 µV above 20 Hz, none in sleep. An ECG has 150 to 400 µV rms at 10 to 17 Hz. A muscle's tone is spread over a
# hundred Hz, of which one line is little.
# Offset: 300 mV is what IEC 60601-2-27 asks an ECG amplifier to bear of its electrodes.
_OFFSET_UV = 300e3
_ELECTRODE = QualityLimits(
    flat_range_uv=0.1,
    silent_rms_uv=0.7,
    noisy_rms_uv=1000.0,
    humming_rms_uv=50.0,
    rough_rms_uv=150.0,
    mains_rms_uv=50.0,
    offset_uv=_OFFSET_UV,
)
_LIMITS = {
    "eeg": _ELECTRODE,
    "eog": _ELECTRODE,
    "emg": QualityLimits(flat_range_uv=0.1, noisy_rms_uv=5000.0, mains_rms_uv=25.0, offset_uv=_OFFSET_UV),
    "ecg": QualityLimits(
        flat_range_uv=0.1,
        noisy_rms_uv=5000.0,
        humming_rms_uv=500.0,
        rough_rms_uv=1000.0,
        mains_rms_uv=200.0,
        offset_uv=_OFFSET_UV,
    ),
    # Oximeters say 0 or 127 when there is no finger; deep desaturations of real nights end above 30 %.
    "spo2": QualityLimits(saturates=False, plausible_percent=(20.0, 101.0)),
}


@dataclass(frozen=True, slots=True)
class QualitySettings:
    """`limits` by kind of sensor; a kind that is not there is only judged missing or saturated.

    `saturated_share`: a second with this share of its samples at the recorder's limits has lost its shape.
    `near_limit`: an electrode whose samples are all farther from the middle of the recorder's range than this share
    of its half has drifted off. `drifting_hz`: what is noisy but slower than this is an electrode that swings free.
    `absurd`: a value beyond it, in any unit, is no measurement and counts as missing.
    """

    limits: dict[str, QualityLimits] = field(default_factory=lambda: dict(_LIMITS))
    saturated_share: float = 0.05
    near_limit: float = 0.8
    drifting_hz: float = 3.0
    absurd: float = 1e9


class QualityJudge:
    """Judges whole seconds of some channels that share a rate. It has no state."""

    def __init__(self, specs: Sequence[ChannelSpec], rate_hz: float, settings: QualitySettings) -> None:
        self.settings = settings
        self.rate_hz = rate_hz
        limits = [settings.limits.get(spec.kind, QualityLimits()) for spec in specs]
        self.saturates = tuple(limit.saturates for limit in limits)
        # Only of an electrode is it known that it does not belong near the limits.
        self.drifts = tuple(limit.offset_uv is not None for limit in limits)
        units = [spec.unit.lower().replace("µ", "u").replace("μ", "u") for spec in specs]

        def scaled(values: Sequence[float | None], scales: dict[str, float]) -> NDArray[np.float32]:
            # NaN, for "no limit" and for a unit of another sort, compares as False everywhere below.
            pairs = zip(values, units, strict=True)
            numbers = [math.nan if v is None else v * scales.get(unit, math.nan) for v, unit in pairs]
            return np.array(numbers, np.float32)[:, None]

        # Three samples can agree by chance.
        enough = rate_hz >= 16
        self._flat_range = scaled([limit.flat_range_uv if enough else None for limit in limits], _PER_UV)
        self._silent_rms = scaled([limit.silent_rms_uv if enough else None for limit in limits], _PER_UV)
        self._noisy_rms = scaled([limit.noisy_rms_uv for limit in limits], _PER_UV)
        self._humming_rms = scaled([limit.humming_rms_uv for limit in limits], _PER_UV)
        self._rough_rms = scaled([limit.rough_rms_uv for limit in limits], _PER_UV)
        self._mains_rms = scaled([limit.mains_rms_uv for limit in limits], _PER_UV)
        self._offset = scaled([limit.offset_uv for limit in limits], _PER_UV)
        plausible = [limit.plausible_percent or (None, None) for limit in limits]
        self._lowest = scaled([low for low, _ in plausible], _PER_PERCENT)
        self._highest = scaled([high for _, high in plausible], _PER_PERCENT)
        self._humming = np.array([[self._steepness(limit.humming_hz)] for limit in limits], np.float32)
        self._rough = np.array([[self._steepness(limit.rough_hz)] for limit in limits], np.float32)
        self._drifting = np.float32(self._steepness(settings.drifting_hz))
        self._lines = [hz for hz in MAINS_HZ if hz <= _HIGHEST_OF_RATE * rate_hz]

    def judge(self, raw: NDArray[np.float32], flags: NDArray[np.uint8], counts: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Codes (channels, seconds) from `raw` and `flags` (channels, seconds, samples).

        `flags` are BAD, AT_LIMIT and NEAR_LIMIT; of second k only the first `counts[k]` samples are its own.
        """
        quality = np.full(raw.shape[:2], OK, np.uint8)
        lowest, highest = raw.min(axis=2), raw.max(axis=2)
        off = (lowest < self._lowest) | (highest > self._highest)
        if raw.shape[2] >= 2:
            mean = raw.mean(axis=2, keepdims=True)
            around = raw - mean
            power = np.einsum("cnq,cnq->cn", around, around) / np.float32(raw.shape[2])
            steps = around[:, :, 1:] - around[:, :, :-1]
            step_power = np.einsum("cnq,cnq->cn", steps, steps) / np.float32(steps.shape[2])
            steepness = step_power / np.maximum(power, np.float32(1e-30))
            rms = np.sqrt(power)
            mains = self._mains(around, rms, steepness)
            swings = rms > self._noisy_rms
            noisy = swings | ((rms > self._humming_rms) & (steepness > self._humming))
            quality[noisy | ((rms > self._rough_rms) & (steepness > self._rough))] = NOISY
            quality[mains] = MAINS
            # What is as large as this and slow, or pure hum, hangs in the air; in between it may be a movement.
            off |= swings & (mains | (steepness < self._drifting))
            off |= (rms < self._silent_rms) | (np.abs(mean[:, :, 0]) > self._offset)
            quality[off] = LEAD_OFF
            quality[highest - lowest < self._flat_range] = FLAT
        else:
            quality[off] = LEAD_OFF
        if flags.any():
            own = np.arange(flags.shape[2]) < counts[:, None]
            drifted = (((flags & NEAR_LIMIT) != 0) | ~own).all(axis=2)
            quality[drifted & (quality != FLAT)] = LEAD_OFF
            at_limit = ((flags & AT_LIMIT) != 0) & own
            quality[at_limit.sum(axis=2) >= self.settings.saturated_share * counts] = SATURATED
            quality[(((flags & BAD) != 0) & own).any(axis=2)] = MISSING
        return quality

    def _steepness(self, hz: float) -> float:
        """The power of a sinusoid's steps from sample to sample, as a share of its own: 4 sin²(πf/rate)."""
        return 4 * math.sin(math.pi * min(hz / self.rate_hz, 0.5)) ** 2

    def _mains(
        self, around: NDArray[np.float32], rms: NDArray[np.float32], steepness: NDArray[np.float32]
    ) -> NDArray[np.bool_]:
        """Which seconds (channels, seconds) a line of mains has more than half of, by its Fourier coefficient.

        Only those are looked at that are large and steep enough: in a good night none.
        """
        mains = np.zeros(rms.shape, bool)
        for hz in self._lines:
            could_be = (rms > self._mains_rms) & (steepness > self._steepness(hz) / 2) & ~mains
            if not could_be.any():
                continue
            n = around.shape[2]
            angle = 2 * np.pi * hz / self.rate_hz * np.arange(n)
            wave = np.stack((np.cos(angle), np.sin(angle)), axis=1).astype(np.float32)
            # Summed over the samples in their order, whatever else is judged with them: the same bits in any block.
            sums = (around[could_be][:, :, None] * wave).sum(axis=1)
            power = 2 * (sums**2).sum(axis=1) / np.float32(n) ** 2
            least = np.broadcast_to(self._mains_rms, rms.shape)[could_be] ** 2
            mains[could_be] = (power > least) & (power > rms[could_be] ** 2 / 2)
        return mains
