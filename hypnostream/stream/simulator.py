"""A simulated bedside monitor: a whole night with known stages, known respiratory events and known sensor faults."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import ceil

import numpy as np
from numpy.typing import NDArray

from hypnostream.errors import UserError
from hypnostream.stream.simulator_apnea import draw_breathing
from hypnostream.stream.simulator_arousals import ArousalSignals
from hypnostream.stream.simulator_breathing import BreathingSignals, RespiratoryEvent, draw_events, plain_course
from hypnostream.stream.simulator_breathing_truth import Breathing, BreathingSettings
from hypnostream.stream.simulator_course import draw_course
from hypnostream.stream.simulator_faults import Fault, apply_faults, check_faults
from hypnostream.stream.simulator_hypnogram import simulate_hypnogram
from hypnostream.stream.simulator_signals import EegSignals
from hypnostream.stream.simulator_spectra import Sleeper, draw_sleeper
from hypnostream.stream.source import ChannelInfo, Chunk, StreamInfo
from hypnostream.stream.stages import EPOCH_S, STAGES, UNSCORED

RESPIRATION_HZ, SPO2_HZ = 32, 1

Block = Callable[[int], NDArray[np.float32]]  # epoch -> (30 * rate, channels), asked for in order


@dataclass(frozen=True, slots=True, eq=False)
class NightSettings:
    """What a night is like.

    `stages` is a hypnogram to follow (indices into STAGES, one an epoch, unscored ones negative or above; they are
    lived through as the stage before), None to draw one; with it `duration_s` None means its length, else 8 h.
    `events` and `faults` are given, or drawn: `events_per_hour` of sleep, and no faults. `sleeper_spread` is how
    much sleepers differ, from 0 (the median one) to 1 (as people do, some of whom are hard to stage).
    `rate_hz` is of EEG, EOG, EMG and ECG. `breathing` None is a plain night: airflow and events without arousals or
    movement; with BreathingSettings it has physiology, and nasal pressure and a thermistor in place of airflow.
    """

    duration_s: float | None = None
    stages: Sequence[int] | NDArray[np.integer] | None = None
    events: tuple[RespiratoryEvent, ...] | None = None
    events_per_hour: float = 5.0
    breathing: BreathingSettings | None = None
    faults: tuple[Fault, ...] = ()
    sleeper_spread: float = 0.5
    rate_hz: int = 256
    start_utc: datetime = datetime(2026, 1, 1, 22, 0, tzinfo=UTC)

    def __post_init__(self) -> None:
        if self.duration_s is not None and not 0 < self.duration_s < 7 * 86400:
            raise UserError(f"duration_s {self.duration_s} of a simulated night is not between 0 s and a week")
        if not 32 <= self.rate_hz <= 4096 or self.rate_hz != int(self.rate_hz):
            raise UserError(f"rate_hz {self.rate_hz} of a simulated night is not a whole number from 32 to 4096")
        if self.stages is not None and len(self.stages) == 0:
            raise UserError("the hypnogram for a simulated night is empty; give one stage an epoch, or None")


@dataclass(frozen=True, slots=True, eq=False)
class Night:
    """The truth of a simulated night; `SimulatedSource` makes its samples. `stages` (epochs,) are scored all.

    `breathing` are the desaturations, arousals and movements of a night with BreathingSettings; a plain one has None.
    """

    settings: NightSettings
    seed: int
    duration_s: float
    stages: NDArray[np.int8]
    events: tuple[RespiratoryEvent, ...]
    faults: tuple[Fault, ...]
    sleeper: Sleeper = field(repr=False)
    streams: tuple[StreamInfo, ...] = field(repr=False)
    breathing: Breathing | None = field(default=None, repr=False)


def simulate_night(settings: NightSettings | None = None, seed: int = 0) -> Night:
    """A night by its settings; the same seed gives the same night, sample by sample."""
    settings = settings or NightSettings()
    rng = np.random.default_rng((seed, 0))
    if settings.stages is not None:
        given = _scored_throughout(np.asarray(settings.stages))
        duration_s = settings.duration_s or float(len(given) * EPOCH_S)
        epochs = ceil(duration_s / EPOCH_S)
        stages = np.pad(given, (0, max(0, epochs - len(given))), mode="edge")[:epochs]
    else:
        duration_s = settings.duration_s or 8 * 3600.0
        stages = simulate_hypnogram(ceil(duration_s / EPOCH_S), rng)
    sleeper = draw_sleeper(rng, settings.sleeper_spread)
    events, breathing = settings.events, None
    if settings.breathing is not None:
        events, breathing = draw_breathing(settings.breathing, stages, events, settings.events_per_hour, seed)
    elif events is None:
        events = draw_events(stages, settings.events_per_hour, rng)
    streams = _streams(settings.rate_hz, settings.breathing is not None)
    check_faults(settings.faults, streams)
    return Night(settings, seed, duration_s, stages, events, settings.faults, sleeper, streams, breathing)


class SimulatedSource:
    """A night as a Source: each `read` gives the next `chunk_s` seconds of every stream, at once.

    Samples are made an epoch at a time and do not depend on `chunk_s`.
    """

    def __init__(self, night: Night, chunk_s: float = 1.0) -> None:
        if not chunk_s > 0:
            raise UserError(f"chunk_s {chunk_s} of the simulator is not above 0 s")
        self.truth = night
        self.start_s = 0.0
        self.start_utc: datetime | None = night.settings.start_utc
        self.duration_s: float | None = night.duration_s
        self.warnings: list[str] = []
        self._chunk_s = chunk_s
        self._reads = 0
        self._time_s = 0.0
        rate_hz = night.settings.rate_hz
        eeg = EegSignals(night.stages, night.sleeper, rate_hz, night.seed)
        brain: EegSignals | ArousalSignals = eeg
        if night.breathing is None:
            course = plain_course(night.events, len(night.stages))
        else:
            course = draw_course(night.events, night.breathing, len(night.stages), night.seed)
            brain = ArousalSignals(eeg, night.breathing, night.sleeper, rate_hz, night.seed)
        breathing = BreathingSignals(night.stages, course, night.seed)
        blocks: dict[str, Block] = {
            "eeg": brain.block,
            "ecg": lambda epoch: breathing.ecg(epoch, rate_hz),
            "resp": lambda epoch: breathing.respiration(epoch, RESPIRATION_HZ),
            "spo2": breathing.spo2,
        }
        self._stretches = [_Stretches(stream, blocks[stream.stream_id], night) for stream in night.streams]

    @property
    def streams(self) -> tuple[StreamInfo, ...]:
        """The streams "eeg", "ecg", "resp" and "spo2"."""
        return self.truth.streams

    @property
    def exhausted(self) -> bool:
        """True when the night was read to its end."""
        return self._time_s >= self.truth.duration_s

    def read(self, timeout_s: float) -> list[Chunk]:
        """The next `chunk_s` seconds, one chunk for each stream that has a sample in them."""
        self._reads += 1
        self._time_s = min(self._reads * self._chunk_s, self.truth.duration_s)
        chunks = [stretches.until(self._time_s) for stretches in self._stretches]
        return [chunk for chunk in chunks if len(chunk.timestamps)]

    def close(self) -> None:
        """Nothing is held open."""


class _Stretches:
    """One stream's samples, cut from its blocks as they are asked for."""

    def __init__(self, stream: StreamInfo, block: Block, night: Night) -> None:
        self._stream = stream
        self._block = block
        self._faults = night.faults
        self._rate_hz = int(stream.rate_hz)
        self._low = np.array([channel.minimum for channel in stream.channels], dtype=np.float32)
        self._high = np.array([channel.maximum for channel in stream.channels], dtype=np.float32)
        self._epoch = -1
        self._samples = np.zeros((0, len(stream.channels)), dtype=np.float32)
        self._next = 0

    def until(self, time_s: float) -> Chunk:
        """The samples from the last call's end to before `time_s`, faults and gaps in them."""
        end = ceil(round(time_s * self._rate_hz, 6))
        parts = [self._samples[:0]]
        per_block = EPOCH_S * self._rate_hz
        first = self._next
        while self._next < end:
            epoch, offset = divmod(self._next, per_block)
            if epoch != self._epoch:
                self._epoch, self._samples = epoch, np.clip(self._block(epoch), self._low, self._high)
            parts.append(self._samples[offset : min(per_block, offset + end - self._next)])
            self._next += len(parts[-1])
        samples = np.concatenate(parts)
        timestamps = np.arange(first, self._next) / self._rate_hz
        sent = apply_faults(samples, timestamps, self._stream, self._faults)
        return Chunk(self._stream.stream_id, samples[sent], timestamps[sent])


def _streams(rate_hz: int, thermistor: bool) -> tuple[StreamInfo, ...]:
    def channel(label: str, unit: str, low: float, high: float) -> ChannelInfo:
        return ChannelInfo(label, unit, low, high, transducer="simulated")

    airflow = ("Nasal pressure", "Thermistor") if thermistor else ("Airflow",)
    return (
        StreamInfo(
            "eeg",
            float(rate_hz),
            (
                channel("EEG Fpz-Cz", "uV", -500, 500),
                channel("EEG Pz-Oz", "uV", -500, 500),
                channel("EOG horizontal", "uV", -1000, 1000),
                channel("EMG chin", "uV", -250, 250),
            ),
            name="eeg",
        ),
        StreamInfo("ecg", float(rate_hz), (channel("ECG", "mV", -5, 5),), name="ecg"),
        StreamInfo(
            "resp",
            float(RESPIRATION_HZ),
            tuple(channel(label, "", -5, 5) for label in (*airflow, "Thorax", "Abdomen")),
            name="resp",
        ),
        StreamInfo("spo2", float(SPO2_HZ), (channel("SpO2", "%", 0, 100),), name="spo2"),
    )


def _scored_throughout(stages: NDArray[np.integer]) -> NDArray[np.int8]:
    """Unscored epochs take the stage before them; before the first scored one the sleeper is awake."""
    scored = np.where((stages >= 0) & (stages < len(STAGES)), stages, UNSCORED).astype(np.int8)
    if scored.ndim != 1:
        raise UserError(f"the hypnogram for a simulated night has {scored.ndim} dimensions; give one stage an epoch")
    last = np.maximum.accumulate(np.where(scored == UNSCORED, -1, np.arange(len(scored))))
    return np.where(last < 0, np.int8(0), scored[last]).astype(np.int8)
