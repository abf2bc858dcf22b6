"""All that a bed says of breathing: the sensors of breathing, the heart, arousals, and the indices of the night so far.

Before a sensor of breathing has sent anything nothing is computed and nothing is remembered but the stages. Within a
second the arousals are told before airflow is judged; the stage of a second is the last that was final before it.

What the model was given and said is heard first; the sensors of breathing may come later.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from hypnostream.engine.respiration.arousal import ArousalDetector, ArousalSettings
from hypnostream.engine.respiration.autonomic_arousal import AutonomicSettings, AutonomicState
from hypnostream.engine.respiration.beats import BeatSettings
from hypnostream.engine.respiration.beliefs import Beliefs, in_stream_time
from hypnostream.engine.respiration.breathing_state import BreathingState, EvidenceState
from hypnostream.engine.respiration.channels import RESPIRATION_CHANNELS
from hypnostream.engine.respiration.event import Event
from hypnostream.engine.respiration.heard import Heard
from hypnostream.engine.respiration.heart import Heart
from hypnostream.engine.respiration.heart_rate import HeartRateSettings
from hypnostream.engine.respiration.history import BY_EFFORT, BY_FLOW, BY_THERMISTOR
from hypnostream.engine.respiration.indices import IndexSettings, Indices, RunningIndices
from hypnostream.engine.respiration.lifecycle import joined
from hypnostream.engine.respiration.sensor_quality import SensorNight, close_epoch, count_seconds, fresh_night
from hypnostream.engine.respiration.session import RespirationSession, RespirationSettings
from hypnostream.stream.channels import NEVER_PRESENT, OK, ChannelSpec
from hypnostream.stream.seconds import Seconds
from hypnostream.stream.stages import EPOCH_S, STAGES, UNSCORED

_UNKNOWN = 255  # as a percentage


@dataclass(frozen=True, slots=True)
class BreathingSettings:
    """All that events and indices follow from beside the signals."""

    respiration: RespirationSettings = field(default_factory=RespirationSettings)
    beats: BeatSettings = field(default_factory=BeatSettings)
    heart: HeartRateSettings = field(default_factory=HeartRateSettings)
    arousal: ArousalSettings = field(default_factory=ArousalSettings)
    autonomic: AutonomicSettings = field(default_factory=AutonomicSettings)
    indices: IndexSettings = field(default_factory=IndexSettings)


class Breathing:
    """The pure processing of one bed; second s begins at stream time `t0_s` + s.

    `inputs` are the model's: of them the first EEG is read, for arousals, and a sensor of breathing that is one of
    them. `sensors` are those of breathing beside them. `beliefs` is the learned model, without which there are the
    rules alone.
    """

    def __init__(
        self,
        inputs: Sequence[ChannelSpec],
        sensors: Sequence[ChannelSpec],
        t0_s: float = 0.0,
        settings: BreathingSettings | None = None,
        beliefs: Beliefs | None = None,
    ) -> None:
        self.t0_s = t0_s
        self._beliefs = beliefs
        self.settings = settings or BreathingSettings()
        eegs = [place for place, spec in enumerate(inputs) if spec.kind == "eeg"]
        shared = [place for place, spec in enumerate(inputs) if spec in RESPIRATION_CHANNELS]
        self._heard = Heard([*eegs[:1], *shared])
        self._specs = specs = (*(inputs[place] for place in self._heard.places), *sensors)
        self._sensors = [place for place, spec in enumerate(specs) if spec in RESPIRATION_CHANNELS]
        self._ecg = next((place for place in self._sensors if specs[place].name == "ecg"), None)
        self._eeg = 0 if eegs else None
        self._heart = Heart(self.settings.beats, self.settings.heart, self.settings.autonomic)
        eeg = None if self._eeg is None else specs[self._eeg]
        self._arousals = ArousalDetector(
            self.settings.arousal, *((eeg.rate_hz, (eeg.name,)) if eeg is not None else ())
        )
        self._indices = RunningIndices(t0_s, self.settings.indices)
        self._next_second, self._stage = 0, UNSCORED
        self._stages: list[int] = []
        self._evidence: EvidenceState | None = None
        self._session: RespirationSession | None = None

    @property
    def begun(self) -> bool:
        """Whether a sensor of breathing was ever there."""
        return self._evidence is not None

    @property
    def indices(self) -> Indices:
        """The indices of the night so far."""
        return self._indices.indices()

    @property
    def saturation(self) -> NDArray[np.float64]:
        """The settled saturation (seconds,) in whole percent, from second 0 on, NaN where unknown."""
        if self._evidence is None:
            return np.zeros(0)
        percent = np.where(self._evidence.percent == _UNKNOWN, np.nan, self._evidence.percent)
        return np.concatenate((np.full(self._evidence.first, np.nan), percent))

    @property
    def good_fraction(self) -> dict[str, float]:
        """The share of good seconds since the night began, by sensor of breathing."""
        good_s = np.zeros(len(self._sensors)) if self._evidence is None else self._evidence.quality.good_s
        return {name: float(good) / max(1, self._next_second) for name, good in zip(self._names(), good_s, strict=True)}

    @property
    def sensors(self) -> tuple[SensorNight, ...]:
        """The state of each sensor of breathing over the epochs that are over; of none before there was any."""
        if self._evidence is None:
            return ()
        night = self._evidence.quality
        return tuple(map(SensorNight, self._names(), night.quality, night.ok_s / EPOCH_S))

    def snapshot(self) -> BreathingState:
        """A copy of all that is remembered."""
        respiration = None if self._session is None else self._session.snapshot()
        evidence = copy.deepcopy(self._evidence)
        return BreathingState(
            self._next_second,
            self._stage,
            self._indices.snapshot(),
            self._heard.snapshot(),
            list(self._stages),
            evidence,
            respiration,
        )

    def restore(self, state: BreathingState) -> None:
        """Go on from a snapshot of one with the same specs, t0 and settings."""
        self._next_second, self._stage = state.next_second, state.stage
        self._indices.restore(state.indices)
        self._heard.restore(state.heard)
        self._stages = list(state.stages)
        self._evidence, self._session = copy.deepcopy(state.evidence), None
        if state.evidence is not None and state.respiration is not None:
            self._session = self._session_from(state.evidence.first)
            self._session.restore(state.respiration)

    def hear(self, seconds: Seconds, stages: Sequence[str | None]) -> None:
        """What the model was given, consecutive whole seconds of its inputs, and the final stages that it said then."""
        self._heard.hear(seconds)
        self._stages += [UNSCORED if stage is None else STAGES.index(stage) for stage in stages]

    def advance(self, sensors: Seconds) -> list[Event]:
        """Take consecutive whole seconds of the sensors of breathing; of what was heard of them, the events.

        Raises ValueError when a second is skipped or repeated, or comes before the model's.
        """
        if sensors.start != self._next_second:
            raise ValueError(f"second {sensors.start} came, second {self._next_second} was due")
        seconds = self._heard.with_these(sensors)
        there = (seconds.quality[self._sensors] != NEVER_PRESENT).any(axis=0)
        events: list[Event] = []
        done = 0
        while done < seconds.count:
            stop = min(seconds.count, done + EPOCH_S - self._next_second % EPOCH_S)
            if self._evidence is None and there[done:stop].any():
                done_before, done = done, done + int(there[done:stop].argmax())
                self._next_second += done - done_before
                self._begin(self._next_second)
            if self._evidence is not None and self._session is not None:
                events += self._seconds(self._evidence, self._session, seconds.part(done, stop))
            self._next_second += stop - done
            done = stop
            if self._next_second % EPOCH_S == 0:
                self._close(self._next_second // EPOCH_S - 1)
        return events

    def finish(self) -> list[Event]:
        """The recording ended: the last that is said of everything that was under way."""
        evidence = self._evidence
        if evidence is None or self._session is None:
            return []
        events = self._in_stream_time(self._over(evidence.arousal.current, evidence.first), evidence.first)
        if evidence.heart is not None:
            first = evidence.heart.first
            events += self._in_stream_time(self._over(evidence.autonomic.current, first), first)
        evidence.arousal.current = evidence.autonomic.current = None
        events = self._session.witnessed(events) + self._session.finish()
        if self._beliefs is not None and evidence.beliefs is not None:
            events = self._beliefs.finish(evidence.beliefs, events, self.t0_s + evidence.first)
        self._indices.hear(events)
        self._indices.measure(self._session.oximetry)
        return events

    def _begin(self, first: int) -> None:
        self._session = self._session_from(first)
        self._evidence = EvidenceState(
            first=first,
            arousal=self._arousals.fresh(),
            autonomic=AutonomicState(),
            percent=np.zeros(0, np.uint8),
            quality=fresh_night(len(self._sensors), first),
            beliefs=None if self._beliefs is None else self._beliefs.fresh(),
        )

    def _session_from(self, first: int) -> RespirationSession:
        return RespirationSession(self._specs, self.t0_s + first, self.settings.respiration)

    def _seconds(self, evidence: EvidenceState, session: RespirationSession, seconds: Seconds) -> list[Event]:
        """Seconds of one epoch."""
        sees = np.zeros(seconds.count, bool) if self._eeg is None else seconds.quality[self._eeg] == OK
        eeg = np.zeros((seconds.count, self._arousals.rate_hz), np.float32)
        if self._eeg is not None:
            eeg[:] = seconds.samples[self._eeg]
        powers = self._arousals.powers(evidence.arousal, eeg, sees)
        heart = np.full((seconds.count, 3), np.nan)  # rate, usual interval, cyclic share
        arousals = self._arousals_of(evidence, seconds, powers, sees, heart)
        events = session.advance(replace(seconds, start=seconds.start - evidence.first), arousals)
        alone = np.zeros(seconds.count, bool)
        if self._beliefs is not None and evidence.beliefs is not None:
            begin_s = self.t0_s + evidence.first
            events, alone = self._beliefs.take(evidence.beliefs, session.seen, heart, powers[:, :3], events, begin_s)
        told_by = session.seen.told_by
        by_flow, by_effort = told_by & (BY_FLOW | BY_THERMISTOR) > 0, told_by & BY_EFFORT > 0
        self._indices.breathed(seconds.start // EPOCH_S, int(by_flow.sum()), int((by_effort | alone).sum()))
        self._indices.saturated(session.settled, evidence.first)
        percent = [_UNKNOWN if each.percent is None else round(each.percent) for each in session.settled]
        evidence.percent = np.append(evidence.percent, np.array(percent, np.uint8))
        count_seconds(evidence.quality, seconds.quality[self._sensors])
        self._indices.hear(events)
        return events

    def _close(self, epoch: int) -> None:
        """An epoch is over and its stage final. The indices take what saturation came of its events then, and only
        then, so that it does not matter how the seconds came."""
        self._stage = self._stages.pop(0)
        self._indices.stage(epoch, None if self._stage == UNSCORED else STAGES[self._stage])
        if self._session is not None:
            self._indices.measure(self._session.oximetry)
        if self._evidence is not None:
            close_epoch(self._evidence.quality)

    def _names(self) -> list[str]:
        return [self._specs[place].name for place in self._sensors]

    def _arousals_of(
        self,
        evidence: EvidenceState,
        seconds: Seconds,
        powers: NDArray[np.float64],
        sees: NDArray[np.bool_],
        heart: NDArray[np.float64],
    ) -> list[tuple[list[Event], bool]]:
        """What the EEG says of each second, or where there is none, the heart; and whether there is an EEG.

        The heart is listened to for the learned model too, whose numbers of it go into `heart` (n, 3).
        """
        said = self._arousals.judge_all(evidence.arousal, powers, self._stage)
        said = [self._in_stream_time(each, evidence.first) for each in said]
        start = 0
        while start < seconds.count:
            stop = self._listens_until(evidence, sees, start)
            if self._ecg is None or stop < 0:
                evidence.heart = None
            else:
                evidence.heart = evidence.heart or self._heart.fresh(seconds.start + start)
                those, ecg = slice(start, stop), self._ecg
                samples, good = seconds.samples[ecg][those], seconds.quality[ecg, those] == OK
                rate, rises = self._heart.listen(
                    evidence.heart, evidence.autonomic, samples, good, sees[those], self._stage
                )
                heart[those] = np.stack((rate.now_bpm, rate.usual_interval_s, rate.cyclic_share), axis=1)
                for place, events in enumerate(rises, start):
                    said[place] += self._in_stream_time(events, evidence.heart.first)
            start = abs(stop)
        return list(zip(said, sees.tolist(), strict=True))

    def _listens_until(self, evidence: EvidenceState, sees: NDArray[np.bool_], start: int) -> int:
        """Up to which of these seconds the heart is listened to from `start` on; negative, up to which it is not.

        It is for the learned model; without one it is where there is no EEG, and while what it said last lasts.
        """
        if self._beliefs is not None:
            return len(sees)
        if sees[start] and evidence.autonomic.current is not None:
            return start + 1
        others = np.flatnonzero(sees[start:] != sees[start])
        stop = start + int(others[0]) if len(others) else len(sees)
        return -stop if sees[start] else stop

    def _over(self, lasts: Event | None, first: int) -> list[Event]:
        """The last revision of an arousal that lasts as the recording ends; its seconds count from `first`."""
        if lasts is None:
            return []
        end_s, why = float(self._next_second - first), joined(lasts.reason, "the recording ended")
        return [replace(lasts, revision=lasts.revision + 1, status="final", end_s=end_s, reason=why)]

    def _in_stream_time(self, events: Sequence[Event], first: int) -> list[Event]:
        return in_stream_time(events, self.t0_s + first)
