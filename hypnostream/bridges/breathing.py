"""Breathing at a bed: by its configuration, and its indices as they are published."""

from hypnostream.bridges.publisher import Publisher
from hypnostream.config import BreathingSection
from hypnostream.engine.bed import Bed
from hypnostream.engine.bundle import Bundle
from hypnostream.engine.respiration.airflow import AirflowSettings
from hypnostream.engine.respiration.beliefs import Beliefs, beliefs_of
from hypnostream.engine.respiration.breathing import Breathing, BreathingSettings
from hypnostream.engine.respiration.channels import respiration_beside, with_respiration
from hypnostream.engine.respiration.event import Event
from hypnostream.engine.respiration.indices import IndexSettings
from hypnostream.engine.respiration.rules import AASM_1A, AASM_1B, RuleSettings
from hypnostream.engine.respiration.session import RespirationSettings
from hypnostream.engine.results import StageResult
from hypnostream.stream.channels import ChannelSpec
from hypnostream.stream.source import Notice


def specs_of(bundle: Bundle, section: BreathingSection | None) -> tuple[ChannelSpec, ...]:
    """What a bed looks for: the model's inputs, then the sensors of breathing where that is on."""
    return with_respiration(bundle.channels) if is_scored(section) else tuple(bundle.channels)


def is_scored(section: BreathingSection | None) -> bool:
    """Whether breathing is scored at this bed."""
    return section is not None and section.enabled


def breathing_of(
    bundle: Bundle, section: BreathingSection | None, t0_s: float, beliefs: Beliefs | None = None
) -> Breathing | None:
    """What scores breathing on the grid of `specs_of`, None where that is off. `beliefs` are the bundle's, which beds
    may share; None: loaded here."""
    if section is None or not section.enabled:
        return None
    rules = RuleSettings(pap=section.pap, own_arousals=section.arousals)
    settings = BreathingSettings(
        respiration=RespirationSettings(airflow=AirflowSettings(rules=rules)),
        indices=IndexSettings(rule={"1A": AASM_1A, "1B": AASM_1B}[section.rule].name),
    )
    beliefs = beliefs or beliefs_of(bundle)
    return Breathing(bundle.channels, respiration_beside(bundle.channels), t0_s, settings, beliefs)


class IndicesSink:
    """A sink that publishes the indices of the night so far with each final stage, once there is breathing."""

    def __init__(self, bed: Bed, publisher: Publisher) -> None:
        self._bed, self._publisher = bed, publisher

    def publish(self, result: StageResult, now_s: float, latency_s: float | None = None) -> None:
        """An epoch is over: say how things stand, as far as breathing has come; it is about a second behind."""
        breathing = self._bed.breathing
        if result.final and breathing is not None and breathing.begun:
            self._publisher.indices(breathing.indices, now_s)

    def event(self, event: Event, now_s: float, latency_s: float | None = None) -> None:
        """It is in the indices when the next epoch is over."""

    def notice(self, notice: Notice) -> None:
        """Nothing to say."""

    def heartbeat(self, now_s: float) -> None:
        """Nothing to say."""
