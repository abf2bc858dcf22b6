"""From levels of airflow to events and their revisions, apart from any signal.

Airflow is normal, reduced, absent or unknown, and has been so since some time, which is told a few seconds late. What
is absent for 10 s is an apnea from where it began to be absent; what is reduced for 10 s is a hypopnea, provisionally.
A hypopnea in which airflow then stops becomes the apnea; what stays reduced around an apnea is no event of its own.
Two of a kind with less than 3 s between them are one event, which is open again; two absences that are farther apart
are two, even where breathing between them stays reduced.

    open -> preliminary -> closed -> final -> amended
                             |-> withdrawn (too short, too long, no evidence)
                             |-> preliminary for good (evidence that nobody could see)
"""

from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple, Protocol

from hypnostream.engine.respiration.event import Event, Status
from hypnostream.engine.respiration.rules import (
    SURROGATE_HYPOPNEA,
    Evidence,
    HypopneaRule,
    RuleSettings,
    deniable,
    fell,
    met,
)

UNKNOWN, NORMAL, REDUCED, ABSENT = range(4)
# A level's beginning is told no later than this after it.
TOLD_WITHIN_S: Final = 12.0
LEAST_FALL_PERCENT: Final = 3.0
# A hypopnea before its evidence is worth so much of one that has it,
PROVISIONAL: Final = 0.6
# and one that rests on an arousal of ours no more than such an arousal.
BY_AROUSAL: Final = 0.3


class Airflow(NamedTuple):
    """At `now_s` airflow has this level, since `since_s`."""

    now_s: float
    level: int
    since_s: float


class Verdict(NamedTuple):
    """What an interval of absent or reduced airflow is, as far as the sensors say."""

    kind: str
    rule: str
    confidence: float
    signals: tuple[str, ...]
    reason: str
    hypopnea_rules: tuple[HypopneaRule, ...] = ()


class Judge(Protocol):
    """What is known of an interval by now; asked only of intervals that have begun."""

    def apnea(self, start_s: float, end_s: float) -> Verdict:
        """Which apnea it is."""

    def hypopnea(self, start_s: float, end_s: float) -> Verdict:
        """What a hypopnea rests on, and by which rules it may become final."""

    def evidence(self, start_s: float, end_s: float) -> Evidence:
        """What else happened by now."""


@dataclass(slots=True)
class Record:
    """An event that was said and may still change. `end_s` is None while it lasts."""

    number: int
    apnea: bool
    start_s: float
    end_s: float | None = None
    said: Event | None = None


@dataclass(slots=True)
class Stretch:
    """The last time that airflow was at or under a level, since `from_s`; `until_s` is None while it is.

    `event` is the number of the event that it has had, 0 for none: it has no second one.
    """

    from_s: float
    until_s: float | None = None
    event: int = 0


@dataclass(slots=True)
class LifecycleState:
    """All that is remembered: where airflow stands, and the events that may still change. None begins before `free_s`,
    where the last one ended.
    """

    level: int = UNKNOWN
    reduced: Stretch | None = None
    absent: Stretch | None = None
    records: list[Record] = field(default_factory=list)
    events: int = 0
    free_s: float = float("-inf")


class Lifecycle:
    """The pure processing; `state` is all that it remembers. `prefix` begins every event id."""

    def __init__(self, settings: RuleSettings, prefix: str = "respiratory") -> None:
        self.settings, self.prefix = settings, prefix
        self._any_rule = (*settings.hypopnea_rules, SURROGATE_HYPOPNEA)
        self.state = LifecycleState()

    def rests(self, level: int) -> bool:
        """Whether nothing follows from a level of airflow, nor from the time that passes."""
        return level == self.state.level and level < REDUCED and not self.state.records

    def step(self, airflow: Airflow, judge: Judge) -> list[Event]:
        """Take what airflow is now, in order of time; what follows from it, and from the time that passed."""
        events: list[Event] = []
        if airflow.level != self.state.level:
            events += self._change(airflow, judge)
        if airflow.level >= REDUCED:
            events += self._grow(airflow, judge)
        for record in list(self.state.records):
            events += self._settle(record, airflow.now_s, judge)
        return events

    def finish(self, now_s: float, judge: Judge) -> list[Event]:
        """The recording ended at `now_s`: the last that is said of everything."""
        events = self.step(Airflow(now_s, UNKNOWN, now_s), judge)
        for record in list(self.state.records):
            events += self._settle(record, now_s, judge, ended=True)
        return events

    def _change(self, airflow: Airflow, judge: Judge) -> list[Event]:
        """Stretches end and begin."""
        state, level = self.state, airflow.level
        before, state.level = state.level, level
        at_s = min(max(airflow.since_s, airflow.now_s - TOLD_WITHIN_S), airflow.now_s)
        events: list[Event] = []
        if before == ABSENT and state.absent is not None:
            events += self._leave(state.absent, at_s, True, judge)
        if before >= REDUCED > level and state.reduced is not None:
            events += self._leave(state.reduced, at_s, False, judge)
        if level >= REDUCED > before:
            state.reduced = self._enter(state.reduced, at_s, False)
        if level == ABSENT:
            state.absent = self._enter(state.absent, at_s, True)
        return events

    def _leave(self, stretch: Stretch, at_s: float, absent: bool, judge: Judge) -> list[Event]:
        stretch.until_s = max(at_s, stretch.from_s)
        record = self._record(stretch.event)
        if not stretch.event and not absent and stretch.until_s - stretch.from_s >= self.settings.least_s:
            record = self._begin(stretch, False)  # it was not said while it could still become an apnea
        if record is None or record.apnea != absent or record.end_s is not None:
            return []
        record.end_s = stretch.until_s
        if record.end_s - record.start_s < self.settings.least_s:
            for its in (stretch, self.state.reduced):
                if its is not None and its.event == record.number:
                    its.event = 0
            return self._withdraw(record, f"it ended before {self.settings.least_s:g} s", judge)
        self.state.free_s = record.end_s
        return self._say(record, "preliminary", self._verdict(record, record.end_s, judge))

    def _enter(self, last: Stretch | None, at_s: float, absent: bool) -> Stretch:
        """A stretch begins, unless the last one goes on, and its event with it."""
        if last is None or last.until_s is None or at_s - last.until_s >= self.settings.merge_gap_s:
            return Stretch(max(at_s, self.state.free_s))
        last.until_s = None
        record = self._record(last.event)
        if record is not None and record.apnea == absent:
            record.end_s = None
        return last

    def _grow(self, airflow: Airflow, judge: Judge) -> list[Event]:
        """What has lasted long enough by now becomes an event; what has lasted too long is none."""
        state, now_s = self.state, airflow.now_s
        absent = airflow.level == ABSENT
        stretch = state.absent if absent else state.reduced
        if stretch is None or state.reduced is None:
            return []
        record = self._record(stretch.event)
        if record is not None and record.end_s is None:
            return self._too_long(record, now_s, judge) if now_s - record.start_s > self.settings.longest_s else []
        if stretch.event or now_s - stretch.from_s < self.settings.least_s:
            return []
        hypopnea = self._record(state.reduced.event)
        if hypopnea is not None and not hypopnea.apnea and hypopnea.end_s is None:
            record = hypopnea
            record.apnea, record.start_s = True, stretch.from_s
        else:
            record = self._begin(stretch, absent)
        stretch.event = record.number
        state.reduced.event = state.reduced.event or record.number
        return self._say(record, "preliminary", self._verdict(record, now_s, judge))

    def _too_long(self, record: Record, now_s: float, judge: Judge) -> list[Event]:
        """Nobody goes without breath for so long and keeps his saturation: the sensor slipped, or this is usual now."""
        evidence = judge.evidence(record.start_s, now_s)
        record.end_s = self.state.free_s = now_s
        if evidence.fall_percent is None or evidence.fall_percent < LEAST_FALL_PERCENT:
            return self._withdraw(record, f"longer than {self.settings.longest_s:g} s without a desaturation", judge)
        return self._say(record, "preliminary", self._verdict(record, now_s, judge))

    def _settle(self, record: Record, now_s: float, judge: Judge, ended: bool = False) -> list[Event]:
        """An event that is over becomes final once no other can be merged into it, a hypopnea with its evidence."""
        if record.end_s is None or record.said is None:
            return []
        if now_s < record.end_s + self.settings.merge_gap_s + TOLD_WITHIN_S and not ended:
            return []
        if record.apnea:
            self.state.records.remove(record)
            return self._say(record, "final", self._verdict(record, record.end_s, judge))
        evidence = judge.evidence(record.start_s, record.end_s)
        seen = now_s >= record.end_s + self.settings.evidence_s
        if not (seen or ended or met(self._any_rule, evidence)):
            return []
        verdict = self._verdict(record, record.end_s, judge)
        rules = verdict.hypopnea_rules
        rule = met(rules, evidence)
        if seen or ended or (rule is not None and rule == rules[0]):
            self.state.records.remove(record)
        said_final = record.said.status != "preliminary"
        if rule is not None:
            if said_final and record.said.rule == rule.name:
                return []
            verdict = verdict._replace(rule=rule.name, reason=joined(verdict.reason, self._words(evidence)))
            if not fell(rule, evidence):
                verdict = verdict._replace(confidence=min(verdict.confidence, BY_AROUSAL))
            return self._say(record, "amended" if said_final else "final", verdict)
        if said_final or not (seen or ended):
            return []
        if seen and deniable(rules, evidence):
            return self._withdraw(record, f"no evidence: {self._words(evidence)}", judge)
        why = "SpO2 not known, so it stays preliminary" if seen else "the recording ended before its evidence"
        return self._say(record, "preliminary", verdict._replace(reason=joined(verdict.reason, why)))

    def _words(self, evidence: Evidence) -> str:
        fall = "SpO2 not known" if evidence.fall_percent is None else f"SpO2 fell by {evidence.fall_percent:.1f} %"
        if not self.settings.own_arousals:
            return f"{fall}, arousals not counted"
        arousal = {True: "an arousal (ours: EEG frequency shift)", False: "no arousal", None: "arousals not known"}
        return f"{fall}, {arousal[evidence.arousal]}"

    def _begin(self, stretch: Stretch, absent: bool) -> Record:
        self.state.events += 1
        record = Record(self.state.events, absent, stretch.from_s)
        stretch.event = record.number
        self.state.records.append(record)
        return record

    def _record(self, number: int) -> Record | None:
        return next((record for record in self.state.records if record.number == number), None)

    def _verdict(self, record: Record, end_s: float, judge: Judge) -> Verdict:
        return (judge.apnea if record.apnea else judge.hypopnea)(record.start_s, end_s)

    def _withdraw(self, record: Record, why: str, judge: Judge) -> list[Event]:
        if record in self.state.records:
            self.state.records.remove(record)
        verdict = self._verdict(record, record.start_s if record.end_s is None else record.end_s, judge)
        return self._say(record, "withdrawn", verdict._replace(confidence=0.0, reason=why))

    def _say(self, record: Record, status: Status, verdict: Verdict) -> list[Event]:
        """The next revision of an event, unless it says nothing new."""
        before = record.said
        event = Event(
            f"{self.prefix}-{record.number}",
            1 if before is None else before.revision + 1,
            verdict.kind,
            status,
            round(float(record.start_s), 2),
            None if record.end_s is None else round(float(record.end_s), 2),
            round(
                float(verdict.confidence) * (PROVISIONAL if status == "preliminary" and not record.apnea else 1.0), 3
            ),
            verdict.rule,
            verdict.signals,
            verdict.reason,
        )
        if before is not None and event == replace(before, revision=event.revision):
            return []
        record.said = event
        return [event]


def joined(*clauses: str) -> str:
    """Clauses for people as one."""
    return "; ".join(clause for clause in clauses if clause)
