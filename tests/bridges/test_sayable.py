"""What a sender's garbage makes of a notice can still be said."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypnostream.bridges.messages import MessageError
from hypnostream.bridges.publisher import Publisher
from hypnostream.bridges.sayable import sayable
from hypnostream.stream.source import CLOCK_JUMPED, Notice


def test_a_clock_that_jumped_by_more_than_a_message_holds_does_not_end_the_session() -> None:
    jumped = Notice(CLOCK_JUMPED, "EEG", 12.0, "its sender counts in microseconds now", seconds=1.7e15)
    with Publisher("inproc://sayable", model_hash="9f2c", backend="onnxruntime", utc_offset_s=1.8e9) as publisher:
        with pytest.raises(MessageError):
            publisher.notice(jumped)
        publisher.notice(sayable(jumped))


@given(st.floats(), st.floats() | st.none(), st.text(max_size=300), st.integers(0, 100_000))
def test_whatever_is_in_a_notice_it_makes_a_message(
    at_s: float, seconds: float | None, subject: str, length: int
) -> None:
    notice = sayable(Notice(CLOCK_JUMPED, subject, at_s, "ä" * length, seconds))
    with Publisher("inproc://sayable", model_hash="9f2c", backend="onnxruntime", utc_offset_s=1.8e9) as publisher:
        publisher.notice(notice)
    assert math.isfinite(notice.at_s)


def test_what_a_message_holds_stays_as_it_is() -> None:
    notice = Notice(CLOCK_JUMPED, "EEG", 12.0, "set by an hour", seconds=-3600.0, samples=3)
    assert sayable(notice) == notice
