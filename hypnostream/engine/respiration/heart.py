"""One heart, from the ECG to its rises: beats, rate, and what stands in for arousals where there is no EEG."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hypnostream.engine.respiration.autonomic_arousal import AutonomicSettings, AutonomicState, find
from hypnostream.engine.respiration.beats import BeatDetector, BeatSettings, BeatState
from hypnostream.engine.respiration.event import Event
from hypnostream.engine.respiration.heart_rate import HeartEvidence, HeartRate, HeartRateSettings, HeartRateState


@dataclass(slots=True)
class HeartState:
    """The heart while it is listened to, since second `first`, from which these count."""

    first: int
    beats: BeatState
    rate: HeartRateState


class Heart:
    """The pure processing."""

    def __init__(self, beats: BeatSettings, rate: HeartRateSettings, autonomic: AutonomicSettings) -> None:
        self._beats, self._rate, self._autonomic = BeatDetector(beats), HeartRate(rate), autonomic

    def fresh(self, first: int) -> HeartState:
        """The state before second `first`, the first that is listened to."""
        return HeartState(first, self._beats.fresh(), self._rate.fresh())

    def listen(
        self,
        state: HeartState,
        autonomic: AutonomicState,
        ecg: NDArray[np.float32],
        good: NDArray[np.bool_],
        sees: NDArray[np.bool_],
        stage: int,
    ) -> tuple[HeartEvidence, list[list[Event]]]:
        """The next seconds, all of one `stage`: `ecg` (n, rate) in µV, whether each is `good` (n,), and whether an EEG
        `sees` arousals itself (n,): then the heart says no more than how the last ended that it told of.

        Returns what is known of it, and of each second what it says, in seconds from `first`.
        """
        second = state.rate.next_second
        beats_s = self._beats.advance(state.beats, ecg, good)
        asked = autonomic.current is not None or not sees.all()
        rate = self._rate.advance(state.rate, beats_s, good.tolist(), rises=asked)
        if not asked:
            return rate, [[] for _ in beats_s]
        each = zip(rate.rise.tolist(), rate.normal_share.tolist(), sees.tolist(), strict=True)
        said: list[list[Event]] = []
        for now, (rise, normal_share, others) in enumerate(each, second):
            silent = others and autonomic.current is None
            said.append([] if silent else find(autonomic, now, rise, normal_share, stage, self._autonomic))
        return rate, said
