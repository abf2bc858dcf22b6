"""One bed's breathing: conditioned seconds in, events and their revisions out, each as soon as its rule allows."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hypnostream.engine.respiration.airflow import AirflowSettings, AirflowState, fresh_airflow, take_seconds
from hypnostream.engine.respiration.arousal_memory import ArousalMemory
from hypnostream.engine.respiration.channels import RESPIRATION_CHANNELS, RESPIRATION_HZ
from hypnostream.engine.respiration.desaturation_events import desaturation_event
from hypnostream.engine.respiration.effort import EffortSettings
from hypnostream.engine.respiration.event import Event
from hypnostream.engine.respiration.history import HISTORY_S, ROW_NAMES
from hypnostream.engine.respiration.judgement import Judgement
from hypnostream.engine.respiration.lifecycle import Lifecycle, LifecycleState
from hypnostream.engine.respiration.oximetry import (
    Oximetry,
    OximetrySecond,
    OximetrySettings,
    OximetryState,
    as_known,
)
from hypnostream.engine.respiration.sensor_quality import RECENT_S, states_of
from hypnostream.stream.channels import MISSING, NEVER_PRESENT, OK, ChannelSpec
from hypnostream.stream.seconds import Seconds


@dataclass(frozen=True, slots=True)
class RespirationSettings:
    """All that the breathing of a bed is judged by."""

    airflow: AirflowSettings = field(default_factory=AirflowSettings)
    effort: EffortSettings = field(default_factory=EffortSettings)
    oximetry: OximetrySettings = field(default_factory=OximetrySettings)


@dataclass(slots=True)
class RespirationState:
    """All that is remembered."""

    next_second: int
    airflow: AirflowState
    lifecycle: LifecycleState
    oximetry: OximetryState
    arousals: ArousalMemory
    quality: NDArray[np.uint8]  # (channels, RECENT_S) of the last seconds, the oldest first


class Seen(NamedTuple):
    """Seconds as they ended (n,): which sensors told of airflow, as bits (history.py); what was `left` (n, 5) of the
    baseline of each; the phase between the belts in degrees; the saturation, where that second was settled at once, and
    its baseline; NaN is unknown. `events` is how many there were by then of those that `advance` returns.
    """

    told_by: NDArray[np.uint8]
    left: NDArray[np.float64]
    phase: NDArray[np.float64]
    percent: NDArray[np.float64]
    baseline: NDArray[np.float64]
    events: list[int]


def _nothing_seen(count: int) -> Seen:
    phase, percent, baseline = np.full((3, count), np.nan)
    left = np.full((count, len(ROW_NAMES) + 1), np.nan)
    return Seen(np.zeros(count, np.uint8), left, phase, percent, baseline, [])


class RespirationSession:
    """The pure processing of one bed; second s begins at stream time `t0_s` + s.

    `channels` are the specs that the `channels` of the seconds are indices into; those of RESPIRATION_CHANNELS are
    read, the others are passed over, and one that never comes is unknown throughout. Of the last call of
    `advance`, `settled` are the seconds of the oximeter that it settled, and `seen` what was seen as each second ended.
    """

    def __init__(
        self, channels: Sequence[ChannelSpec], t0_s: float = 0.0, settings: RespirationSettings | None = None
    ) -> None:
        self.t0_s = t0_s
        self.settings = settings or RespirationSettings()
        names = {i: spec.name for i, spec in enumerate(channels) if spec in RESPIRATION_CHANNELS}
        self._names = tuple(spec.name for spec in channels)
        self._quality = np.full((len(self._names), RECENT_S), NEVER_PRESENT, np.uint8)
        self._row_of = {i: ROW_NAMES.index(name) for i, name in names.items() if name in ROW_NAMES}
        self._spo2 = next((i for i, name in names.items() if name == "spo2"), None)
        self.settled: list[OximetrySecond] = []
        self.seen = _nothing_seen(0)
        self._next_second = 0
        self._airflow = fresh_airflow(self.settings.airflow)
        self._lifecycle = Lifecycle(self.settings.airflow.rules)
        self._oximetry = Oximetry(t0_s, self.settings.oximetry)
        self._arousals = ArousalMemory(t0_s)

    @property
    def oximetry(self) -> Oximetry:
        """The oximeter as evidence."""
        return self._oximetry

    def snapshot(self) -> RespirationState:
        """A copy of all that this session remembers."""
        return copy.deepcopy(
            RespirationState(
                self._next_second,
                self._airflow,
                self._lifecycle.state,
                self._oximetry.state,
                self._arousals,
                self._quality,
            )
        )

    def restore(self, state: RespirationState) -> None:
        """Go on from a snapshot of a session with the same t0 and settings."""
        state = copy.deepcopy(state)
        self._next_second, self._airflow, self._arousals = state.next_second, state.airflow, state.arousals
        self._lifecycle.state, self._quality = state.lifecycle, state.quality
        self._oximetry.restore(state.oximetry)

    def tell_arousals(self, events: Sequence[Event], known: bool) -> None:
        """What the EEG said with the next second that will come: its arousals, and whether it was there to see any.

        Call it once before each second that is advanced; a second for which it was not called is not known.
        """
        while self._arousals.next_second < self._next_second:
            self._arousals.tell((), False)
        if self._arousals.next_second > self._next_second:
            raise ValueError(f"second {self._next_second} was told of twice")
        self._arousals.tell(events, known)

    def advance(self, seconds: Seconds, arousals: Sequence[tuple[Sequence[Event], bool]] = ()) -> list[Event]:
        """Take consecutive whole seconds; the revisions of events that follow from them, second by second.

        Where `arousals` are given, one a second, they are told as by `tell_arousals` and are among what is returned.
        Raises ValueError when a second is skipped or repeated: the grid's promise is broken and time with it.
        """
        if seconds.start != self._next_second:
            raise ValueError(f"second {seconds.start} came, second {self._next_second} was due")
        samples = np.zeros((seconds.count, len(ROW_NAMES), RESPIRATION_HZ))
        known = np.zeros((seconds.count, len(ROW_NAMES)), bool)
        percent = np.zeros((seconds.count, 1), np.float32)
        percent_quality = np.full(seconds.count, MISSING, np.uint8)
        for place, channel in enumerate(seconds.channels):
            if channel in self._row_of:
                samples[:, self._row_of[channel]] = seconds.samples[place]
                known[:, self._row_of[channel]] = seconds.quality[place] == OK
            elif channel == self._spo2:
                percent, percent_quality = seconds.samples[place], seconds.quality[place]
        events: list[Event] = []
        self.settled, self.seen = [], _nothing_seen(seconds.count)
        coming = take_seconds(self._airflow, self.settings.airflow, samples, known)
        history, lifecycle, judgement = self._airflow.history, self._lifecycle, self._judgement()
        saturation = as_known(percent, percent_quality)
        quality = np.full((len(self._names), seconds.count), NEVER_PRESENT, np.uint8)
        quality[list(seconds.channels)] = seconds.quality
        recent = np.concatenate((self._quality, quality), axis=1)
        for i in range(seconds.count):
            said_before = len(events)
            if arousals:
                self.tell_arousals(*arousals[i])
                events += arousals[i][0]
            for settled in self._oximetry.second(saturation[i]):
                events += [desaturation_event(each, self.t0_s) for each in settled.desaturations]
                self.settled.append(settled)
                if settled.second == self._next_second and settled.percent is not None:
                    self.seen.percent[i] = settled.percent
                    self.seen.baseline[i] = math.nan if settled.baseline is None else settled.baseline
            for airflow in next(coming):
                if not lifecycle.rests(airflow.level):
                    since_s, now_s = self.t0_s + airflow.since_s, self.t0_s + airflow.now_s
                    events += lifecycle.step(airflow._replace(now_s=now_s, since_s=since_s), judgement)
            place = self._next_second % HISTORY_S
            self.seen.left[i], self.seen.phase[i] = history.left[:, place], history.phase[place]
            self.seen.told_by[i] = history.sensors[place]
            self._next_second += 1
            if len(events) > said_before:
                self._quality = recent[:, i + 1 : i + 1 + RECENT_S]
                events[said_before:] = self.witnessed(events[said_before:])
            self.seen.events.append(len(events))
        self._quality = recent[:, -RECENT_S:].copy()
        return events

    def finish(self) -> list[Event]:
        """The recording ended: the last that is said of everything that was under way."""
        return self.witnessed(self._lifecycle.finish(self.t0_s + self._next_second, self._judgement()))

    def witnessed(self, events: Sequence[Event]) -> list[Event]:
        """Events of now with the state of the channels while they lasted."""
        return [replace(event, channels=states_of(self._names, self._during(event))) for event in events]

    def _during(self, event: Event) -> NDArray[np.uint8]:
        """The codes of the seconds in which an event lies, those that are remembered."""
        start_s, end_s = event.start_s - self.t0_s, self._next_second
        first = max(math.floor(start_s), self._next_second - RECENT_S, 0)
        if event.end_s is not None:
            end_s = min(end_s, max(math.ceil(event.end_s - self.t0_s), first + 1))
        oldest = self._next_second - RECENT_S
        return self._quality[:, first - oldest : end_s - oldest]

    def _judgement(self) -> Judgement:
        rules, effort = self.settings.airflow.rules, self.settings.effort
        return Judgement(self._airflow.history, rules, effort, self.t0_s, self._oximetry, self._arousals)
