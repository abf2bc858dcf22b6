"""Sensors that fail at known times: what a simulated night suffers, and how it shows in the samples."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hypnostream.errors import UserError
from hypnostream.stream.source import ChannelInfo, StreamInfo

FAULT_KINDS: Final = ("missing", "gap", "flat", "saturated", "mains", "cable", "lead_off", "silent", "mouth_breathing")
# Amplitudes, of the channel's limit.
_MAINS_OF_RANGE: Final = 0.3
_CABLE_OF_RANGE: Final = 0.6
_AMPLIFIER_OF_RANGE: Final = 0.0005
_THROUGH_THE_NOSE: Final = 0.06  # of nasal pressure, of one who breathes through the mouth


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a stream from `start_s` until just before `end_s`.

    `kind`: "missing" (samples are NaN), "gap" (the stream sends nothing; for all its channels), "flat" (one value),
    "saturated" (at the recorder's limit), "mains" (large 50 Hz noise), "cable" (large noise of all frequencies),
    "lead_off" (an electrode hangs free and has drifted off to near the limit; what has no negative values, as an
    oximeter, says its lowest), "silent" (nothing but the amplifier's own noise), "mouth_breathing" (of airflow at the
    nose little is left, though the person breathes; name the channel). `label` names the channel; "" means all.
    """

    kind: str
    stream_id: str
    start_s: float
    end_s: float
    label: str = ""

    def __post_init__(self) -> None:
        if self.kind not in FAULT_KINDS:
            raise UserError(f"fault kind {self.kind!r} is none of {', '.join(FAULT_KINDS)}")
        if not self.end_s > self.start_s:
            raise UserError(f"fault {self.kind!r} ends at {self.end_s} s, not after its start at {self.start_s} s")
        if self.kind == "gap" and self.label:
            raise UserError(f"a gap is a whole stream's; leave out the label {self.label!r} or make it 'missing'")
        if self.kind == "mouth_breathing" and not self.label:
            raise UserError("mouth breathing is a channel's of airflow at the nose; name it, as 'Nasal pressure'")


def typical_faults(duration_s: float, seed: int) -> tuple[Fault, ...]:
    """What goes wrong in a bad night: each kind once, an electrode off for long, spread over `duration_s`."""
    rng = np.random.default_rng((seed, 6))

    def fault(kind: str, stream_id: str, place: float, share: float, label: str = "") -> Fault:
        start_s = round(duration_s * (place + 0.05 * float(rng.random())))
        return Fault(kind, stream_id, start_s, start_s + max(2, round(duration_s * share)), label)

    return (
        fault("missing", "eeg", 0.20, 0.06, "EEG Fpz-Cz"),
        fault("mains", "eeg", 0.35, 0.02, "EEG Pz-Oz"),
        fault("flat", "eeg", 0.45, 0.04, "EOG horizontal"),
        fault("gap", "eeg", 0.60, 0.01),
        fault("saturated", "eeg", 0.70, 0.01, "EEG Fpz-Cz"),
        fault("missing", "spo2", 0.80, 0.03, "SpO2"),
    )


def breathing_faults(duration_s: float, seed: int) -> tuple[Fault, ...]:
    """What befalls the sensors of breathing, a twentieth of `duration_s` each, for a night with BreathingSettings:
    mouth breathing, the cannula off, the thermistor off, each belt off, both belts, the finger out of the oximeter."""
    rng = np.random.default_rng((seed, 12))
    nose, belts = "Nasal pressure", ("Thorax", "Abdomen")
    befall = (
        (("mouth_breathing", "resp", nose),),
        (("silent", "resp", nose),),
        (("silent", "resp", "Thermistor"),),
        *((("silent", "resp", belt),) for belt in belts),
        tuple(("silent", "resp", belt) for belt in belts),
        (("lead_off", "spo2", "SpO2"),),
    )
    starts_s = duration_s * (np.arange(len(befall)) + rng.uniform(0.2, 0.6, len(befall))) / len(befall)
    return tuple(
        Fault(kind, stream_id, float(round(start_s)), float(round(start_s + max(2.0, duration_s / 20))), label)
        for start_s, together in zip(starts_s, befall, strict=True)
        for kind, stream_id, label in together
    )


def check_faults(faults: tuple[Fault, ...], streams: tuple[StreamInfo, ...]) -> None:
    """Raises UserError for a fault of a stream or channel that there is not."""
    labels = {stream.stream_id: {channel.label for channel in stream.channels} for stream in streams}
    for fault in faults:
        if fault.stream_id not in labels:
            raise UserError(f"fault of stream {fault.stream_id!r}: there is {', '.join(labels)}")
        if fault.label and fault.label not in labels[fault.stream_id]:
            known = ", ".join(sorted(labels[fault.stream_id]))
            raise UserError(f"fault of channel {fault.label!r} in stream {fault.stream_id!r}: there is {known}")


def apply_faults(
    samples: NDArray[np.float32], timestamps: NDArray[np.float64], stream: StreamInfo, faults: tuple[Fault, ...]
) -> NDArray[np.bool_]:
    """Spoils `samples` (n, channels) in place and returns which of them (n,) are sent at all."""
    sent = np.ones(len(timestamps), dtype=np.bool_)
    for fault in faults:
        if fault.stream_id != stream.stream_id:
            continue
        first, last = np.searchsorted(timestamps, (fault.start_s, fault.end_s))
        if first == last:
            continue
        if fault.kind == "gap":
            sent[first:last] = False
            continue
        for column, channel in enumerate(stream.channels):
            if fault.label in ("", channel.label):
                _spoil(samples[first:last, column], timestamps[first:last], fault.kind, channel)
    return sent


def _spoil(samples: NDArray[np.float32], timestamps: NDArray[np.float64], kind: str, channel: ChannelInfo) -> None:
    limit = channel.maximum if channel.maximum is not None else 1.0
    lowest = channel.minimum if channel.minimum is not None else -limit
    if kind == "missing":
        samples[:] = np.nan
    elif kind == "flat":
        samples[:] = 0.01 * limit
    elif kind == "saturated":
        samples[:] = limit
    elif kind == "mains":
        mains = _MAINS_OF_RANGE * limit * np.sin(2 * np.pi * 50 * timestamps)
        samples[:] = np.clip(samples + mains, lowest, limit)
    elif kind == "cable":
        samples[:] = np.clip(samples + _CABLE_OF_RANGE * limit * _noise(timestamps), lowest, limit)
    elif kind == "silent":
        samples[:] = _AMPLIFIER_OF_RANGE * limit * _noise(timestamps)
    elif kind == "mouth_breathing":
        samples *= _THROUGH_THE_NOSE
    elif lowest >= 0:
        samples[:] = lowest
    else:
        wander = 0.9 + 0.05 * np.sin(2 * np.pi * 0.3 * timestamps) + 0.005 * np.sin(2 * np.pi * 50 * timestamps)
        samples[:] = limit * wander


def _noise(timestamps: NDArray[np.float64]) -> NDArray[np.float64]:
    """White noise, even between -1 and 1, that depends on the time alone and so not on how samples are cut."""
    scattered = np.sin(timestamps * 1299.8) * 43758.5453
    return 2 * (scattered - np.floor(scattered)) - 1
