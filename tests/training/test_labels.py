"""Labels from events: to the second, whatever the pieces; three rules an epoch; what nobody scored is unknown."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypnostream.training.recordings.labels import (
    EPOCH_RULES,
    RESPIRATORY,
    epoch_labels,
    painted,
    repeated,
    tracks_of,
    with_desaturation,
)
from hypnostream.training.recordings.recording import UNKNOWN, Event

SECONDS = 120


def _event(onset_s: float, duration_s: float, kind: str = "hypopnea", value: float | None = None) -> Event:
    return Event(onset_s, duration_s, kind, kind, value=value)


EVENTS = st.lists(
    st.builds(
        _event,
        st.floats(-50, SECONDS + 50),
        st.floats(0, 60),
        st.sampled_from(["hypopnea", "apnea_central", "arousal"]),
    ),
    max_size=8,
)


def test_an_event_marks_the_seconds_that_it_covers() -> None:
    values = painted([_event(10, 12)], ("hypopnea",), 0, 40)
    assert np.flatnonzero(values).tolist() == list(range(10, 22))
    assert np.flatnonzero(painted([_event(10.6, 2.0)], ("hypopnea",), 0, 40)).tolist() == [11, 12]
    assert not painted([_event(10, 0)], ("hypopnea",), 0, 40).any()
    assert not painted([_event(10, 12)], ("arousal",), 0, 40).any()


@given(EVENTS, st.lists(st.integers(1, SECONDS - 1), max_size=5))
def test_painting_in_any_pieces_is_painting_the_whole(events: list[Event], cuts: list[int]) -> None:
    whole = painted(events, ("hypopnea",), 0, SECONDS)
    edges = [0, *sorted(set(cuts)), SECONDS]
    pieces = [painted(events, ("hypopnea",), a, b - a) for a, b in pairwise(edges)]
    assert np.array_equal(np.concatenate(pieces), whole)


@given(EVENTS)
def test_nothing_is_painted_outside_of_events(events: list[Event]) -> None:
    for second in np.flatnonzero(painted(events, ("hypopnea",), 0, SECONDS)).tolist():
        middle = second + 0.5
        assert any(e.kind == "hypopnea" and e.onset_s <= middle < e.onset_s + e.duration_s for e in events)


def test_tracks_hold_what_was_looked_for_and_nothing_else() -> None:
    events = [_event(5, 10, "apnea_central"), _event(40, 10), _event(50, 10, "artefact")]
    known = np.ones(60, np.bool_)
    known[:3] = False
    tracks = tracks_of(events, 2, RESPIRATORY, known)
    assert set(tracks) == set(RESPIRATORY)  # no arousal track: nobody scored arousals
    assert tracks["apnea"].values[[0, 4, 5, 14, 15, 49]].tolist() == [UNKNOWN, 0, 1, 1, 0, 0]
    assert tracks["apnea_or_hypopnea"].values[[5, 45]].tolist() == [1, 1]
    assert (tracks["hypopnea"].values[50:] == UNKNOWN).all()
    assert not (tracks["apnea_obstructive"].values == 1).any()


@pytest.mark.parametrize(("duration_s", "lost"), [(10, 0.67), (12, 0.60), (15, 0.50), (20, 0.33), (25, 0.17), (30, 0)])
def test_the_midpoint_rule_loses_the_share_of_events_that_was_measured_of_it(duration_s: float, lost: float) -> None:
    onsets = 60 + np.arange(0, 30, 0.05)
    marked = [epoch_labels([_event(o, duration_s)], ("hypopnea",), 6, "midpoint").any() for o in onsets]
    assert 1 - np.mean(marked) == pytest.approx(lost, abs=0.01)
    assert all(epoch_labels([_event(o, duration_s)], ("hypopnea",), 6, "any").any() for o in onsets)


def test_the_three_rules_differ_where_they_should() -> None:
    def of(rule: str, *events: Event) -> list[int]:
        return [int(label) for label in epoch_labels(events, ("hypopnea",), 3, rule)]

    assert [of(rule, _event(22, 12)) for rule in EPOCH_RULES] == [[0, 0, 0], [1, 1, 0], [0, 0, 0]]
    assert [of(rule, _event(10, 12)) for rule in EPOCH_RULES] == [[1, 0, 0], [1, 0, 0], [1, 0, 0]]
    assert [of(rule, _event(18, 12)) for rule in EPOCH_RULES] == [[0, 0, 0], [1, 0, 0], [1, 0, 0]]
    assert of("ten_seconds", _event(0, 6), _event(20, 4)) == [1, 0, 0]
    assert of("ten_seconds", _event(0, 6), _event(2, 6)) == [0, 0, 0]  # what they share counts once
    assert of("any", _event(30, 0)) == [0, 0, 0]
    with pytest.raises(ValueError, match="midway"):
        of("midway")


def test_an_epoch_that_was_not_scored_throughout_is_no_negative() -> None:
    known = np.ones(90, np.bool_)
    known[[5, 65]] = False
    assert epoch_labels([_event(70, 15)], ("hypopnea",), 3, "any", known).tolist() == [UNKNOWN, 0, 1]


def test_a_hypopnea_counts_with_a_desaturation_of_its_own() -> None:
    hypopneas = [_event(100, 15), _event(200, 15), _event(300, 15), _event(400, 15)]
    events = [
        *hypopneas,
        _event(110, 20, "desaturation", 4.2),
        _event(225, 20, "desaturation", 3.1),
        _event(376, 20, "desaturation", 9.0),  # begins 61 s after the third has ended
        _event(420, 12, "apnea_obstructive"),
        _event(440, 20, "desaturation", 5.0),  # the apnea's
        _event(205, 20, "desaturation"),  # nobody said how deep
    ]
    assert with_desaturation(events, 3) == (hypopneas[0], hypopneas[1])
    assert with_desaturation(events, 4) == (hypopneas[0],)


def test_coarse_labels_become_seconds_and_end_as_unknown() -> None:
    track = repeated([1, 0], 30, 90)
    assert (track.resolution_s, len(track.values)) == (30, 90)
    assert track.values[[0, 29, 30, 59, 60]].tolist() == [1, 1, 0, 0, UNKNOWN]
    assert len(repeated([1, 0, 1], 60, 90).values) == 90
