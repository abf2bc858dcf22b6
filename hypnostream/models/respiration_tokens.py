"""What heart beats and blood oxygen say of breathing, epoch by epoch, from what came before the epoch's end alone.

An apnea slows the heart and its end speeds it up, so that in a row of them the rate swings with a period of 25 to 100 s
(Guilleminault et al., Lancet 1984: cyclical variation of heart rate); the saturation falls by some percent, seconds
later, and climbs back in few. Each token is of the last five minutes, in the form of spectral tokens
(`token_features`): `shape` as it is, `level` to be centred on the sleeper's own past.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

EPOCH_S, MINUTE_S, LONG_S = 30, 60, 300
HEART_HZ = 2
LONGEST_PAUSE_S = 5.0  # a heart rate older than this is none
LEAST_SHARE = 0.6  # of the last minute must be there
RR_RANGE_S = (0.3, 2.5)
RR_JUMP = 0.35  # an interval further than this from the median of those before it is no beat of the sinus node
PERCENT_RANGE = (50.0, 100.0)
SWING_LAGS_S = (20, 70)  # how far apart apneas of a row are
CYCLIC_HZ = (0.01, 0.04)
VLF_HZ, LF_HZ, HF_HZ = (0.005, 0.04), (0.04, 0.15), (0.15, 0.4)

Floats = NDArray[np.float64]


class Tokens(NamedTuple):
    """A channel's: `shape` (N, 19), `level` (N, 7), both float32 and zero where `there` (N,) is false."""

    shape: NDArray[np.float32]
    level: NDArray[np.float32]
    there: NDArray[np.bool_]


def heart_tokens(beat_s: Floats, rr_s: Floats, epochs: int) -> Tokens:
    """From beats at `beat_s` (n,) seconds, in order, each with the interval that it ends, `rr_s` (n,) seconds.

    `shape`: 0-5 the last minute in steps of 10 s, relative to five minutes' median (10 ln RR); 6, 7 range over 30 and
    60 s; 8 the share of cyclic variation; 9-11 of VLF, LF, HF in the last minute; 12, 13 height and lag of the best
    repetition; 14 what was there; 15 skewness; 16 share of steps that speed up; 17, 18 greatest rise and fall in 15 s.
    `level`: 10 ln RR over 30 s and its least over 60, ln spread, ln RMSSD, ln power: cyclic, LF, HF.
    """
    value = held(beat_s, rr_s, epochs)  # 10 ln RR at 2 Hz, NaN where there is none
    there = _share(_windows(value, MINUTE_S, HEART_HZ, epochs)) >= LEAST_SHARE
    there &= _share(_windows(value, EPOCH_S, HEART_HZ, epochs)) >= LEAST_SHARE
    long, share = _filled(_windows(value, LONG_S, HEART_HZ, epochs))
    minute = long[:, -MINUTE_S * HEART_HZ :]
    half = minute[:, -EPOCH_S * HEART_HZ :]
    middle = np.median(long, axis=1, keepdims=True)
    cyclic, total = _powers(long, (CYCLIC_HZ, (0.0, 0.5)))
    bands = _powers(minute, (VLF_HZ, LF_HZ, HF_HZ))
    whole = np.sum(bands, axis=0) + 1e-6
    height, lag = _repetition(long, HEART_HZ)
    step = np.diff(minute, axis=1)
    centred = minute - minute.mean(1, keepdims=True)
    rise, fall = _climb(minute, 15 * HEART_HZ)
    shape = np.stack(
        [
            *(_parts(minute, 6) - middle).T,
            _range(half),
            _range(minute),
            np.log((cyclic + 1e-6) / (total + 1e-6)),
            *(np.log((band + 1e-6) / whole) for band in bands),
            height,
            lag,
            share,
            (centred**3).mean(1) / (centred.std(1) ** 3 + 1e-2),
            (step < 0).mean(1) / ((step != 0).mean(1) + 1e-2),
            rise,
            fall,
        ],
        axis=1,
    )
    level = np.stack(
        [
            half.mean(1),
            minute.min(1),
            np.log(minute.std(1) + 1e-2),
            np.log(np.sqrt((step**2).mean(1)) + 1e-2),
            np.log(cyclic + 1e-4),
            np.log(bands[1] + 1e-4),
            np.log(bands[2] + 1e-4),
        ],
        axis=1,
    )
    return _tokens(shape, level, there)


def oxygen_tokens(percent: Floats, epochs: int) -> Tokens:
    """From the saturation (n,) in percent, one value a second from the recording's start, NaN where there is none.

    `shape`: 0-5 the last minute in steps of 10 s, 6 the last second, 7 the least, all below the baseline (the 95th
    percentile of five minutes, in units of 2 %); 8, 9 slope of 10 and 30 s; 10, 11 greatest climb and fall in 30 s;
    12 mean change of 12 s means; 13 desaturations that began (by 3 %); 14, 15 time 3 and 4 % below; 16, 17 height and
    lag of the best repetition; 18 what was there. `level`: mean, least and last, mean of five minutes (in units of
    2 %), ln spread of 60 and 300 s, ln path length.
    """
    low, high = PERCENT_RANGE
    with np.errstate(invalid="ignore"):
        value = np.where((percent >= low) & (percent <= high), percent, np.nan) / 2
    value = np.concatenate([value, np.full(max(epochs * EPOCH_S - len(value), 0), np.nan)])
    there = _share(_windows(value, MINUTE_S, 1, epochs)) >= LEAST_SHARE
    there &= _share(_windows(value, EPOCH_S, 1, epochs)) >= LEAST_SHARE
    long, share = _filled(_windows(value, LONG_S, 1, epochs))
    minute = long[:, -MINUTE_S:]
    baseline = np.quantile(long, 0.95, axis=1, keepdims=True)
    below = minute - baseline
    rise, fall = _climb(minute, 30)
    deep = below <= -1.5  # 3 %
    height, lag = _repetition(long, 1)
    shape = np.stack(
        [
            *_parts(below, 6).T,
            below[:, -1],
            below.min(1),
            minute[:, -1] - minute[:, -11],
            minute[:, -1] - minute[:, -31],
            rise,
            fall,
            np.abs(np.diff(_parts(minute, 5), axis=1)).mean(1),
            (deep[:, 1:] & ~deep[:, :-1]).sum(1),
            deep.mean(1),
            (below <= -2).mean(1),
            height,
            lag,
            share,
        ],
        axis=1,
    )
    level = np.stack(
        [
            minute[:, -EPOCH_S:].mean(1),
            minute.min(1),
            minute[:, -1],
            long.mean(1),
            np.log(minute.std(1) + 0.05),
            np.log(long.std(1) + 0.05),
            np.log(np.abs(np.diff(minute, axis=1)).sum(1) + 0.05),
        ],
        axis=1,
    )
    return _tokens(shape, level, there)


def held(beat_s: Floats, rr_s: Floats, epochs: int) -> Floats:
    """10 ln RR at 2 Hz (60 epochs,): at each moment that of the last good beat, NaN after 5 s without one."""
    good = (rr_s >= RR_RANGE_S[0]) & (rr_s <= RR_RANGE_S[1])
    beat_s, rr_s = beat_s[good], rr_s[good]
    if len(rr_s) > 1:
        before = np.lib.stride_tricks.sliding_window_view(np.concatenate([np.full(9, rr_s[0]), rr_s]), 9)[: len(rr_s)]
        usual = np.abs(rr_s / np.median(before, axis=1) - 1) <= RR_JUMP
        beat_s, rr_s = beat_s[usual], rr_s[usual]
    moments = (np.arange(epochs * EPOCH_S * HEART_HZ) + 1) / HEART_HZ
    out = np.full(len(moments), np.nan)
    if len(rr_s):
        last = np.searchsorted(beat_s, moments, side="right") - 1
        known = (last >= 0) & (moments - beat_s[last.clip(0)] <= LONGEST_PAUSE_S)
        out[known] = 10 * np.log(rr_s[last[known]])
    return out


def _tokens(shape: Floats, level: Floats, there: NDArray[np.bool_]) -> Tokens:
    seen = there[:, None]
    return Tokens(np.where(seen, shape, 0).astype(np.float32), np.where(seen, level, 0).astype(np.float32), there)


def _windows(value: Floats, length_s: int, rate_hz: int, epochs: int) -> Floats:
    """The last `length_s` at each epoch's end (N, length); NaN before the recording's start."""
    size, step = length_s * rate_hz, EPOCH_S * rate_hz
    padded = np.concatenate([np.full(size, np.nan), value[: epochs * step]])
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, size)[step::step][:epochs], np.float64)


def _share(windows: Floats) -> Floats:
    """How much of each is there (N,)."""
    return np.asarray(np.isfinite(windows).mean(1), np.float64)


def _filled(windows: Floats) -> tuple[Floats, Floats]:
    """Gaps filled with the last value before, or the window's first after; and what share was there."""
    known = np.isfinite(windows)
    place = np.where(known, np.arange(windows.shape[1]), -1)
    last = np.maximum.accumulate(place, axis=1)
    last = np.where(last < 0, known.argmax(1)[:, None], last)
    return np.nan_to_num(np.take_along_axis(windows, last, axis=1)), _share(windows)


def _parts(windows: Floats, count: int) -> Floats:
    """Means of equal parts (N, count)."""
    return np.asarray(windows.reshape(len(windows), count, windows.shape[1] // count).mean(2), np.float64)


def _range(windows: Floats) -> Floats:
    low, high = np.quantile(windows, (0.05, 0.95), axis=1)
    return np.asarray(high - low, np.float64)


def _climb(windows: Floats, within: int) -> tuple[Floats, Floats]:
    """The greatest rise and the greatest fall between two samples `within` apart at most (N,)."""
    reach = range(1, within + 1, max(within // 10, 1))
    steps = [windows[:, apart:] - windows[:, :-apart] for apart in reach]
    return np.max([s.max(1) for s in steps], axis=0), -np.min([s.min(1) for s in steps], axis=0)


def _powers(windows: Floats, bands: tuple[tuple[float, float], ...]) -> list[Floats]:
    """Power in each band (N,), of a Hann window on 2 Hz samples."""
    size = windows.shape[1]
    taper = np.hanning(size)
    spectrum = np.abs(np.fft.rfft((windows - windows.mean(1, keepdims=True)) * taper)) ** 2 / (taper**2).sum() / size
    frequency = np.fft.rfftfreq(size, 1 / HEART_HZ)
    return [2 * spectrum[:, (frequency >= low) & (frequency < high)].sum(1) for low, high in bands]


def _repetition(windows: Floats, rate_hz: int) -> tuple[Floats, Floats]:
    """The highest autocorrelation at the lags of a row of apneas, and that lag in minutes (N,)."""
    count, size = windows.shape
    windows = windows.reshape(count, size // rate_hz, rate_hz).mean(2)  # a value a second is enough
    centred = windows - windows.mean(1, keepdims=True)
    spectrum = np.abs(np.fft.rfft(centred, 2 * size // rate_hz)) ** 2
    correlation = np.fft.irfft(spectrum)[:, : SWING_LAGS_S[1] + 1]
    swing = correlation[:, SWING_LAGS_S[0] :] / (correlation[:, :1] + 1e-3)
    return swing.max(1), (swing.argmax(1) + SWING_LAGS_S[0]) / 60
