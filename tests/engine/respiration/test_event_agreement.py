"""Detected events against those of a reference: which are the same, and what follows."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnostream.engine.respiration.event import Event, Status
from hypnostream.engine.respiration.event_agreement import event_agreement, match_events
from hypnostream.engine.respiration.revisions import latest, settled

Interval = tuple[float, float]


def event(start_s: float, end_s: float | None, kind: str = "obstructive_apnea", status: Status = "final") -> Event:
    return Event(f"{kind}-{start_s:g}", 0, kind, status, start_s, end_s, 0.9, "AASM 1A", ("flow",))


def intervals(*pairs: Interval) -> np.ndarray:
    return np.array(pairs, float).reshape(-1, 2)


def disjoint(lengths: list[tuple[float, float]]) -> np.ndarray:
    """Intervals one after the other, of (gap before, length) each."""
    borders = np.cumsum(np.array(lengths, float).reshape(-1))
    return borders.reshape(-1, 2)


spans = st.lists(st.tuples(st.floats(0.5, 40), st.floats(1, 60)), max_size=12).map(disjoint)


def test_a_detection_that_covers_half_is_the_same_event_at_a_half_and_not_above() -> None:
    reference, detected = intervals((100, 120)), intervals((110, 120))
    assert match_events(reference, detected, 0.5) == ((0, 0),)
    assert match_events(reference, detected, 0.51) == ()


def test_each_event_has_one_partner_and_the_best_overlap_comes_first() -> None:
    reference = intervals((100, 140), (150, 170))
    detected = intervals((100, 114), (116, 140), (149, 171), (500, 520))
    assert match_events(reference, detected, 0.3) == ((0, 1), (1, 2))


@given(spans, spans, st.floats(0.05, 1))
@settings(max_examples=100, deadline=None)
def test_pairs_are_true_overlaps_one_to_one_and_the_same_from_either_side(
    reference: np.ndarray, detected: np.ndarray, iou: float
) -> None:
    pairs = match_events(reference, detected, iou)
    assert len({r for r, _ in pairs}) == len({d for _, d in pairs}) == len(pairs)
    for r, d in pairs:
        (a, b), (c, e) = reference[r], detected[d]
        assert min(b, e) - max(a, c) >= iou * (max(b, e) - min(a, c)) - 1e-9
    assert len(match_events(detected, reference, iou)) == len(pairs)


@given(spans, st.floats(0.05, 1))
@settings(max_examples=50, deadline=None)
def test_every_event_is_itself(reference: np.ndarray, iou: float) -> None:
    assert match_events(reference, reference, iou) == tuple((i, i) for i in range(len(reference)))


@pytest.mark.parametrize("iou", [0.0, -1.0, 1.5, math.nan])
def test_an_overlap_that_is_none_is_refused(iou: float) -> None:
    with pytest.raises(ValueError, match="is not above 0"):
        match_events(intervals((0, 1)), intervals((0, 1)), iou)


def test_the_figures_of_a_known_case() -> None:
    reference = [event(100, 120), event(200, 220, "central_apnea"), event(300, 320, "hypopnea")]
    detected = [event(102, 120), event(201, 216, "hypopnea"), event(900, 920), event(950, 960, "desaturation")]
    found = event_agreement(reference, detected, reference_hours=6.0, detected_hours=4.0)
    loose, tight = found.groups["respiratory"]
    assert (loose.iou, tight.iou) == (0.3, 0.5)
    assert (loose.reference, loose.detected, loose.matched) == (3, 3, 2)
    assert (loose.precision, loose.recall, loose.f1) == (2 / 3, 2 / 3, 2 / 3)
    assert (loose.onset_error_s, loose.onset_absolute_error_s) == (1.5, 1.5)
    assert found.same_kind == 0.5
    assert (found.reference_per_hour, found.detected_per_hour) == (0.5, 0.75)
    assert found.groups["apnea"][0].matched == 1
    assert found.groups["hypopnea"][0].f1 == 0.0


def test_what_the_reference_does_not_score_is_not_compared() -> None:
    found = event_agreement([event(100, 120)], [event(100, 120), event(130, 150, "desaturation")])
    assert set(found.groups) == {"respiratory", "apnea"}
    assert found.groups["respiratory"][1].f1 == 1.0


def test_a_figure_of_nothing_is_none_and_not_zero() -> None:
    found = event_agreement([event(100, 120)], [])
    alone = found.groups["respiratory"][0]
    assert (alone.precision, alone.recall, alone.f1, alone.onset_error_s) == (None, 0.0, 0.0, None)
    assert (found.same_kind, found.reference_per_hour, found.detected_per_hour) == (None, None, None)
    assert event_agreement([], [event(1, 20)], detected_hours=1.0).groups == {}


@pytest.mark.parametrize("status", ["preliminary", "withdrawn"])
def test_only_what_is_settled_counts(status: Status) -> None:
    detected = [event(100, 120, status=status), event(300, None)]
    assert event_agreement([event(100, 120)], detected).groups["respiratory"][0].detected == 0


def test_the_latest_revision_counts_and_no_other() -> None:
    first = Event("a", 0, "hypopnea", "preliminary", 100.0, None, 0.5, "AASM 1A", ())
    final = Event("a", 1, "hypopnea", "final", 99.0, 120.0, 0.8, "AASM 1A", ())
    gone = Event("b", 1, "hypopnea", "withdrawn", 10.0, 20.0, 0.8, "AASM 1A", ())
    said = [final, first, Event("b", 0, "hypopnea", "final", 10.0, 20.0, 0.8, "AASM 1A", ()), gone]
    assert latest(said) == (gone, final)
    assert settled(said) == (final,)
