"""All that the breathing of a bed remembers between seconds."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hypnostream.engine.respiration.arousal import ArousalState
from hypnostream.engine.respiration.autonomic_arousal import AutonomicState
from hypnostream.engine.respiration.beliefs import BeliefState
from hypnostream.engine.respiration.heard import HeardState
from hypnostream.engine.respiration.heart import HeartState
from hypnostream.engine.respiration.indices import IndicesState
from hypnostream.engine.respiration.sensor_quality import NightQuality
from hypnostream.engine.respiration.session import RespirationState


@dataclass(slots=True)
class EvidenceState:
    """What is remembered once a sensor of breathing was there, for the first time in second `first`, from which these
    count their seconds. `percent` (seconds,) is the settled saturation, rounded, 255 where it is unknown; `quality`
    has the sensors in their order.
    """

    first: int
    arousal: ArousalState
    autonomic: AutonomicState
    percent: NDArray[np.uint8]
    quality: NightQuality
    heart: HeartState | None = None
    beliefs: BeliefState | None = None


@dataclass(slots=True)
class BreathingState:
    """All that is remembered. `stage` is the last final one, an index into STAGES or UNSCORED; the last two are there
    together or not at all. `heard` is what was heard of seconds whose breathing is still to come, `stages` of epochs.
    """

    next_second: int
    stage: int
    indices: IndicesState
    heard: HeardState
    stages: list[int]
    evidence: EvidenceState | None = None
    respiration: RespirationState | None = None
