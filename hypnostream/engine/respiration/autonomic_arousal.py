"""A surrogate for arousals where there is no EEG: the heart's sudden rise.

Most arousals come with one, but so do turning over and a deep breath, and some arousals come without (Basner et al.,
Sleep 2007;30:1349). So its rule says that it is a surrogate, its confidence stays low, and no hypopnea by rule may
rest on it. On Apnea-ECG there are some 60 an hour (median of nights) in minutes with apnea and 12 in the others.
"""

from dataclasses import dataclass, replace
from typing import Final

from hypnostream.engine.respiration.event import AROUSAL, Event
from hypnostream.stream.stages import STAGES

RULE: Final = "ours: heart rate surrogate"
_WAKE: Final = STAGES.index("W")


@dataclass(frozen=True, slots=True)
class AutonomicSettings:
    """`rise` of the rate over the half minute before that counts; it is over below `each` of it, or after
    `longest_s`. `normal_share`: where fewer intervals than this are normal, a rise may be an arrhythmia."""

    rise: float = 0.12
    each: float = 0.5
    longest_s: int = 30
    normal_share: float = 0.7
    confidence: float = 0.3


@dataclass(slots=True)
class AutonomicState:
    """The one that lasts, and how many there were."""

    count: int = 0
    current: Event | None = None
    is_over: bool = True  # the rate has come down since the last


def find(
    state: AutonomicState,
    second: int,
    rise: float,
    normal_share: float,
    stage: int,
    settings: AutonomicSettings = AutonomicSettings(),
) -> list[Event]:
    """What the heart says of a `second`, by `HeartEvidence`; `stage` as it is known then, negative for unknown.

    In Wake nothing is looked for, where the stage is unknown the confidence is halved. `state` is changed.
    """
    lasts = rise >= settings.each * settings.rise  # unknown is not
    if state.current is not None:
        too_long = second + 1 - state.current.start_s >= settings.longest_s
        if lasts and not too_long:
            return []
        over = replace(state.current, revision=1, status="final", end_s=float(second + 1 if lasts else second))
        state.current = None
        return [over]
    state.is_over = state.is_over or not lasts
    if not state.is_over or stage == _WAKE:
        return []
    if not (rise >= settings.rise and normal_share >= settings.normal_share):
        return []
    state.current = Event(
        event_id=f"arousal-heart-{state.count}",
        revision=0,
        kind=AROUSAL,
        status="preliminary",
        start_s=float(second),
        end_s=None,
        confidence=settings.confidence * (1.0 if stage >= 0 else 0.5),
        rule=RULE,
        signals=("ecg",),
        reason="" if stage >= 0 else "whether this was sleep is not known",
    )
    state.count += 1
    state.is_over = False
    return [state.current]
