"""How far off the times of detected events are, and how long after its onset an event was first said."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from hypnostream.engine.respiration.event import Event
from hypnostream.engine.respiration.event_agreement import match_events
from hypnostream.engine.respiration.revisions import latest


@dataclass(frozen=True, slots=True)
class EventTiming:
    """Of events of some kinds at one `iou`; what is of no pair at all is None.

    `matched` of `reference` events have a partner among the `detected`, all that hold in the end, those that stay
    preliminary among them. Errors are detected less reference, in seconds: the median, and the median of their size.
    `latency_p50_s` and `latency_p95_s` are from the true onset until the first revision; `false_per_hour` are those
    without a partner.
    """

    iou: float
    reference: int
    detected: int
    matched: int
    onset_error_s: float | None
    onset_absolute_error_s: float | None
    offset_error_s: float | None
    offset_absolute_error_s: float | None
    latency_p50_s: float | None
    latency_p95_s: float | None
    false_per_hour: float


def event_timing(
    reference: Sequence[tuple[float, float]],
    said: Sequence[tuple[float, Event]],
    kinds: Collection[str],
    hours: float,
    iou: float = 0.3,
) -> EventTiming:
    """Compare `reference` (start_s, end_s) with every revision `said`, each with the stream time at which it was.

    Raises:
        ValueError: `hours`, over which false ones are counted, is not above 0.
    """
    if not hours > 0:
        raise ValueError(f"hours {hours} is not above 0")
    ends = [
        (event, event.start_s, event.end_s)
        for event in latest(event for _, event in said)
        if event.kind in kinds and event.status != "withdrawn" and event.end_s is not None
    ]
    theirs = np.array(reference, np.float64).reshape(-1, 2)
    ours = np.array([(start_s, end_s) for _, start_s, end_s in ends], np.float64).reshape(-1, 2)
    pairs = np.array(match_events(theirs, ours, iou), np.int64).reshape(-1, 2)
    first: dict[str, float] = {}
    for at_s, event in said:
        first[event.event_id] = min(at_s, first.get(event.event_id, at_s))
    errors = ours[pairs[:, 1]] - theirs[pairs[:, 0]]  # (pairs, 2)
    latencies = np.array([first[ends[d][0].event_id] - theirs[r, 0] for r, d in pairs.tolist()])
    onset_s, offset_s = (float(each) if len(pairs) else None for each in _medians(errors))
    onset_size_s, offset_size_s = (float(each) if len(pairs) else None for each in _medians(np.abs(errors)))
    return EventTiming(
        iou=iou,
        reference=len(theirs),
        detected=len(ours),
        matched=len(pairs),
        onset_error_s=onset_s,
        onset_absolute_error_s=onset_size_s,
        offset_error_s=offset_s,
        offset_absolute_error_s=offset_size_s,
        latency_p50_s=float(np.percentile(latencies, 50)) if len(pairs) else None,
        latency_p95_s=float(np.percentile(latencies, 95)) if len(pairs) else None,
        false_per_hour=(len(ours) - len(pairs)) / hours,
    )


def _medians(errors: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> list[float]:
    """Of each column; of nothing zeros, which nobody reads."""
    return np.median(errors, axis=0).tolist() if len(errors) else [0.0, 0.0]
