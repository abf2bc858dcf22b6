"""The rules by which breathing events are scored: names and numbers, nothing else.

American Academy of Sleep Medicine, adults (Berry et al., J Clin Sleep Med 2012;8:597, and the manual since): an apnea
is a fall of the peak excursion by at least 90 % of the baseline for at least 10 s, read from an oronasal thermal
sensor, or from the flow of a PAP device; a hypopnea is a fall by at least 30 % for at least 10 s, read from nasal
pressure, with a desaturation of at least 3 % or an arousal (1A), or with one of at least 4 % (1B, which the CMS pays
by). Either sensor is the substitute of the other. A percentage is of the signal as it is recorded; nasal pressure
goes with the square of flow, so the linearised rule takes the root of what is left of it.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple


class Evidence(NamedTuple):
    """What else happened around an event: the largest fall of SpO2 that belongs to it, and an arousal at its end.

    None where that cannot be known. Unless `fall_known`, the oximeter was away for a part, and it fell by at least so
    much.
    """

    fall_percent: float | None
    fall_known: bool
    arousal: bool | None


@dataclass(frozen=True, slots=True)
class HypopneaRule:
    """What must come with a fall in flow for a hypopnea. A rule that is stricter comes earlier in a list."""

    name: str
    least_fall_percent: float
    arousal_counts: bool


AASM_1A: Final = HypopneaRule("AASM 1A", 3.0, arousal_counts=True)
AASM_1B: Final = HypopneaRule("AASM 1B", 4.0, arousal_counts=False)
# Belts say how much was tried, not how much came in: without a desaturation nothing is said.
SURROGATE_HYPOPNEA: Final = HypopneaRule("surrogate: effort and 3 % desaturation", 3.0, arousal_counts=False)

APNEA_THERMISTOR: Final = "AASM apnea, thermal sensor"
APNEA_NASAL: Final = "AASM apnea, nasal pressure as substitute"
APNEA_PAP: Final = "AASM apnea, PAP flow"
SURROGATE_APNEA: Final = "surrogate: effort"
# A hypopnea whose evidence is not there yet.
HYPOPNEA_FLOW: Final = "AASM hypopnea, flow alone"
SURROGATE_FLOW: Final = "surrogate: effort alone"


@dataclass(frozen=True, slots=True)
class RuleSettings:
    """`absent_below` and `reduced_below` are shares of the baseline that an excursion falls below; times in seconds.

    Events with less than `merge_gap_s` between them are one; one that is longer than `longest_s` is none, but a new
    way of breathing or a sensor that slipped. Evidence is waited for until `evidence_s` after the end. `pap` says that
    `flow` is the flow of a PAP device; `linearise` takes the root of what is left of nasal pressure. `own_arousals`
    lets arousals that were found here support a hypopnea where saturation does not: they are no one's scoring, so it is
    off unless asked for.
    """

    absent_below: float = 0.1
    reduced_below: float = 0.7
    least_s: float = 10.0
    merge_gap_s: float = 3.0
    longest_s: float = 180.0
    evidence_s: float = 50.0
    hypopnea_rules: tuple[HypopneaRule, ...] = (AASM_1B, AASM_1A)
    pap: bool = False
    linearise: bool = False
    own_arousals: bool = False


def met(rules: tuple[HypopneaRule, ...], evidence: Evidence) -> HypopneaRule | None:
    """The first of the rules that the evidence meets."""
    for rule in rules:
        if fell(rule, evidence) or (rule.arousal_counts and evidence.arousal):
            return rule
    return None


def fell(rule: HypopneaRule, evidence: Evidence) -> bool:
    """Whether saturation alone meets the rule."""
    return evidence.fall_percent is not None and evidence.fall_percent >= rule.least_fall_percent


def deniable(rules: tuple[HypopneaRule, ...], evidence: Evidence) -> bool:
    """Whether enough is known to say that none of the rules is met: a fall that nobody could measure may have been.

    No EEG does not hinder it, as scoring at home goes without.
    """
    return evidence.fall_known and met(rules, evidence) is None
