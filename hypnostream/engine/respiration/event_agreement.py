"""How well detected events agree with those of a reference, event by event.

A reference and a detection are the same event when they overlap by enough of what the two cover together
(intersection over union, IoU). Each has at most one partner: the pairs are taken in the order of their IoU, best first,
as in detection of objects (Everingham et al. 2010) and of sleep's micro-events (DOSED, Chambon et al. 2019).

What is 0/0 (the precision of nothing detected) is None, never NaN: an undefined figure must not look like a bad one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hypnostream.engine.respiration.event import APNEAS, AROUSAL, DESATURATION, HYPOPNEA, Event
from hypnostream.engine.respiration.revisions import settled

IOUS: Final = (0.3, 0.5)
# What is compared: apneas and hypopneas together whatever they are called, which is what the AHI counts, then each.
GROUPS: Final = {
    "respiratory": (*APNEAS, HYPOPNEA),
    "apnea": APNEAS,
    "hypopnea": (HYPOPNEA,),
    "desaturation": (DESATURATION,),
    "arousal": (AROUSAL,),
}


@dataclass(frozen=True, slots=True)
class MatchAgreement:
    """Events of one group at one `iou`.

    `matched` of the `reference` events have a partner among the `detected` ones. `precision` is matched of detected,
    `recall` matched of reference, `f1` the harmonic mean of the two. `onset_error_s` is the median of detected less
    reference onset of the pairs (above 0: late), `onset_absolute_error_s` the median of its size.
    """

    iou: float
    reference: int
    detected: int
    matched: int
    precision: float | None
    recall: float | None
    f1: float | None
    onset_error_s: float | None
    onset_absolute_error_s: float | None


@dataclass(frozen=True, slots=True)
class EventAgreement:
    """Agreement by group of GROUPS, and in each at every IoU of IOUS; a group that the reference does not score is
    not there.

    `same_kind` is the share of the respiratory pairs at the lowest IoU whose kinds are the same. The indices are apneas
    and hypopneas an hour, over the hours that were handed over for each; None where these are not known.
    """

    groups: dict[str, tuple[MatchAgreement, ...]]
    same_kind: float | None
    reference_hours: float | None
    detected_hours: float | None
    reference_per_hour: float | None
    detected_per_hour: float | None


def event_agreement(
    reference: Sequence[Event],
    detected: Sequence[Event],
    reference_hours: float | None = None,
    detected_hours: float | None = None,
) -> EventAgreement:
    """Compare events that are over and settled; withdrawn, preliminary and lasting ones of either side do not count.

    `reference_hours` and `detected_hours` are what each side's index is over: hours of sleep by its own stages, or of
    recording; say which where it is shown.
    """
    references, detections = settled(reference), settled(detected)
    groups = {}
    for name, kinds in GROUPS.items():
        theirs = [event for event in references if event.kind in kinds]
        ours = [event for event in detections if event.kind in kinds]
        if theirs:
            groups[name] = tuple(_agreement(theirs, ours, iou) for iou in IOUS)
    theirs = [event for event in references if event.kind in GROUPS["respiratory"]]
    ours = [event for event in detections if event.kind in GROUPS["respiratory"]]
    pairs = match_events(_intervals(theirs), _intervals(ours), IOUS[0])
    return EventAgreement(
        groups=groups,
        same_kind=_ratio(sum(theirs[r].kind == ours[d].kind for r, d in pairs), len(pairs)),
        reference_hours=reference_hours,
        detected_hours=detected_hours,
        reference_per_hour=_ratio(len(theirs), reference_hours or 0),
        detected_per_hour=_ratio(len(ours), detected_hours or 0),
    )


def match_events(
    reference: NDArray[np.float64], detected: NDArray[np.float64], iou: float
) -> tuple[tuple[int, int], ...]:
    """The pairs (index of reference, index of detection) of intervals (n, 2) and (m, 2) of starts and ends in seconds.

    Raises:
        ValueError: `iou` is not above 0 and at most 1.
    """
    if not 0 < iou <= 1:
        raise ValueError(f"iou {iou} is not above 0 and at most 1")
    shared = _overlaps(reference, detected)  # (n, m)
    r, d = np.nonzero(shared >= iou)
    pairs: list[tuple[int, int]] = []
    free_r, free_d = np.ones(len(reference), bool), np.ones(len(detected), bool)
    for place in np.argsort(-shared[r, d], kind="stable").tolist():
        if free_r[r[place]] and free_d[d[place]]:
            free_r[r[place]] = free_d[d[place]] = False
            pairs.append((int(r[place]), int(d[place])))
    return tuple(sorted(pairs))


def _overlaps(reference: NDArray[np.float64], detected: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of each with each, (n, m)."""
    start = np.maximum(reference[:, None, 0], detected[None, :, 0])
    end = np.minimum(reference[:, None, 1], detected[None, :, 1])
    intersection = np.maximum(end - start, 0.0)
    union = np.diff(reference, axis=1) + np.diff(detected, axis=1).T - intersection
    shared: NDArray[np.float64] = np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)
    return shared


def _agreement(reference: Sequence[Event], detected: Sequence[Event], iou: float) -> MatchAgreement:
    pairs = match_events(_intervals(reference), _intervals(detected), iou)
    errors_s = np.array([detected[d].start_s - reference[r].start_s for r, d in pairs])
    return MatchAgreement(
        iou=iou,
        reference=len(reference),
        detected=len(detected),
        matched=len(pairs),
        precision=_ratio(len(pairs), len(detected)),
        recall=_ratio(len(pairs), len(reference)),
        f1=_ratio(2 * len(pairs), len(reference) + len(detected)),
        onset_error_s=float(np.median(errors_s)) if pairs else None,
        onset_absolute_error_s=float(np.median(np.abs(errors_s))) if pairs else None,
    )


def _intervals(events: Sequence[Event]) -> NDArray[np.float64]:
    """(events, 2) of starts and ends."""
    return np.array([(event.start_s, event.end_s) for event in events], np.float64).reshape(-1, 2)


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
