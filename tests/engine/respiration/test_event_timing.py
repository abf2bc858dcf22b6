"""How late and how far off events are: by events whose times are known."""

import pytest

from hypnostream.engine.respiration.event import APNEA, HYPOPNEA, Event, Status
from hypnostream.engine.respiration.event_timing import event_timing


def event(number: int, revision: int, status: Status, start_s: float, end_s: float | None, kind: str = APNEA) -> Event:
    return Event(f"e-{number}", revision, kind, status, start_s, end_s, 0.9, "rule", ("flow",))


def test_latency_is_to_the_first_revision_and_errors_are_of_the_last() -> None:
    said = [
        (111.0, event(1, 1, "preliminary", 99.0, None)),
        (125.0, event(1, 2, "final", 101.0, 121.0)),
        (215.0, event(2, 1, "preliminary", 203.0, 219.0)),
    ]
    timing = event_timing([(100.0, 120.0), (200.0, 220.0), (400.0, 420.0)], said, (APNEA,), 0.5)
    assert (timing.reference, timing.detected, timing.matched) == (3, 2, 2)
    assert (timing.onset_error_s, timing.onset_absolute_error_s) == (2.0, 2.0)
    assert (timing.offset_error_s, timing.offset_absolute_error_s) == (0.0, 1.0)
    assert (timing.latency_p50_s, timing.latency_p95_s) == pytest.approx((13.0, 14.8))
    assert timing.false_per_hour == 0.0


def test_what_was_withdrawn_or_is_of_another_kind_does_not_count_and_what_has_no_partner_is_false() -> None:
    said = [
        (111.0, event(1, 1, "preliminary", 100.0, None)),
        (125.0, event(1, 2, "withdrawn", 100.0, 105.0)),
        (225.0, event(2, 1, "final", 200.0, 220.0, HYPOPNEA)),
        (325.0, event(3, 1, "final", 300.0, 320.0)),
    ]
    timing = event_timing([(100.0, 120.0)], said, (APNEA,), 0.5)
    assert (timing.matched, timing.onset_error_s, timing.latency_p95_s, timing.false_per_hour) == (0, None, None, 2.0)
    with pytest.raises(ValueError, match="hours 0"):
        event_timing([], [], (APNEA,), 0)
