"""What an interval without breath was, by all that the sensors told: its kind, its rule, and what goes with it."""

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from hypnostream.engine.respiration import rules as r
from hypnostream.engine.respiration.effort import EffortSettings, apnea_kind
from hypnostream.engine.respiration.event import HYPOPNEA
from hypnostream.engine.respiration.history import (
    ABDOMEN,
    BY_EFFORT,
    BY_FLOW,
    BY_THERMISTOR,
    EFFORT_SUM,
    FLOW,
    ROW_NAMES,
    THERMISTOR,
    THORAX,
    History,
    within,
)
from hypnostream.engine.respiration.lifecycle import Verdict
from hypnostream.engine.respiration.oximetry import Fall

# How far each way of knowing is trusted; what a sensor that is off does to an event is seen in the share of seconds.
_TRUST: Final = {
    r.APNEA_THERMISTOR: 0.95,
    r.APNEA_PAP: 0.95,
    r.APNEA_NASAL: 0.85,
    r.HYPOPNEA_FLOW: 0.9,
    r.SURROGATE_APNEA: 0.5,
    r.SURROGATE_FLOW: 0.4,
}
# Of the time of a fall in saturation so much must have been seen to say that there was none.
_SEEN_SHARE: Final = 0.8


class SaturationEvidence(Protocol):
    """What an oximeter tells of an event, in stream seconds; `Oximetry` is one."""

    def fall_after(self, start_s: float, end_s: float) -> Fall:
        """The largest fall of the saturation that belongs to an event."""


class ArousalEvidence(Protocol):
    """What an EEG tells of an event, in stream seconds."""

    def arousal_near(self, t_s: float) -> bool | None:
        """Whether there was an arousal at the end of an event; None when that is not known."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The judge of one moment. Intervals are in stream seconds; the history's second s begins at `t0_s` + s."""

    history: History
    rules: r.RuleSettings
    effort: EffortSettings
    t0_s: float
    saturation: SaturationEvidence | None = None
    arousals: ArousalEvidence | None = None

    def apnea(self, start_s: float, end_s: float) -> Verdict:
        """Which apnea it is."""
        history, sensors = self.history, self._sensors(start_s, end_s)
        if sensors & BY_THERMISTOR and not self.rules.pap:
            rule = r.APNEA_THERMISTOR
        elif sensors & (BY_FLOW | BY_THERMISTOR):
            rule = r.APNEA_PAP if self.rules.pap else r.APNEA_NASAL
        else:
            rule = r.SURROGATE_APNEA
        # What a belt did over a window says something of the event once the window lies in it.
        places = within(history, start_s - self.t0_s + history.window_s, end_s - self.t0_s)
        kind, sure, why = apnea_kind(history.left[THORAX : ABDOMEN + 1, places], history.phase[places], self.effort)
        belts = self._belts(start_s, end_s)
        return Verdict(kind, rule, sure * self._confidence(rule, start_s, end_s), self._names(sensors) + belts, why)

    def hypopnea(self, start_s: float, end_s: float) -> Verdict:
        """What a hypopnea rests on; without airflow it can only be a surrogate."""
        sensors = self._sensors(start_s, end_s)
        surrogate = not sensors & (BY_FLOW | BY_THERMISTOR)
        rule = r.SURROGATE_FLOW if surrogate else r.HYPOPNEA_FLOW
        left = self._left(sensors, start_s, end_s)
        evidence = ("spo2",) if self.evidence(start_s, end_s).fall_percent is not None else ()
        return Verdict(
            HYPOPNEA,
            rule,
            self._confidence(rule, start_s, end_s),
            (self._belts(start_s, end_s) if surrogate else self._names(sensors)) + evidence,
            "" if np.isnan(left) else f"{'effort' if surrogate else 'flow'} down to {100 * left:.0f} %",
            (r.SURROGATE_HYPOPNEA,) if surrogate else self.rules.hypopnea_rules,
        )

    def evidence(self, start_s: float, end_s: float) -> r.Evidence:
        """The fall of saturation and the arousal that belong to it, as far as they are known by now."""
        fall = None if self.saturation is None else self.saturation.fall_after(start_s, end_s)
        percent = None if fall is None else fall.percent
        known = fall is not None and percent is not None and fall.settled and fall.known_fraction >= _SEEN_SHARE
        asked = self.arousals if self.rules.own_arousals else None
        arousal = None if asked is None else asked.arousal_near(end_s)
        return r.Evidence(percent, known, arousal)

    def _sensors(self, start_s: float, end_s: float) -> int:
        places = within(self.history, start_s - self.t0_s, end_s - self.t0_s)
        return int(np.bitwise_or.reduce(self.history.sensors[places])) if len(places) else 0

    def _names(self, sensors: int) -> tuple[str, ...]:
        return tuple(ROW_NAMES[row] for row, bit in ((FLOW, BY_FLOW), (THERMISTOR, BY_THERMISTOR)) if sensors & bit)

    def _belts(self, start_s: float, end_s: float) -> tuple[str, ...]:
        places = within(self.history, start_s - self.t0_s, end_s - self.t0_s)
        left = self.history.left[:, places]
        return tuple(ROW_NAMES[row] for row in (THORAX, ABDOMEN) if not np.isnan(left[row]).all())

    def _left(self, sensors: int, start_s: float, end_s: float) -> float:
        """The least that was left of the signal that tells of airflow; NaN when that is not known."""
        row = FLOW if sensors & BY_FLOW else THERMISTOR if sensors & BY_THERMISTOR else EFFORT_SUM
        left = self.history.left[row, within(self.history, start_s - self.t0_s, end_s - self.t0_s)]
        return float(left[~np.isnan(left)].min()) if not np.isnan(left).all() else float("nan")

    def _confidence(self, rule: str, start_s: float, end_s: float) -> float:
        """The trust in the sensors, times the share of seconds in which one of them told of airflow."""
        places = within(self.history, start_s - self.t0_s, end_s - self.t0_s)
        by = BY_EFFORT if rule.startswith("surrogate") else BY_FLOW | BY_THERMISTOR
        told = np.count_nonzero(self.history.sensors[places] & np.uint8(by))
        return _TRUST[rule] * told / len(places) if len(places) else 0.0
