"""What each reader of a feed gets: the settled past, the live, and what a slow one loses first."""

import asyncio
import json

import pytest

from hypnostream.bridges.feed import Feed, Reader
from hypnostream.bridges.messages import (
    EPOCH_TOPIC,
    HEARTBEAT_TOPIC,
    PROVISIONAL_TOPIC,
    STATUS_TOPIC,
    Message,
    Moment,
    Origin,
    StatusMessage,
)


def said(topic: str, seq: int, session_id: str = "night") -> Message:
    """A message of a topic; a feed does not look at its kind."""
    moment = Moment(stream_s=0.0, utc_s=None, utc_uncertainty_s=None, published_utc_s=0.0)
    origin = Origin(session_id=session_id, boot_id="boot", model_hash="0", backend="none")
    return StatusMessage(topic=topic, seq=seq, origin=origin, time=moment, state="session_started")


def taken(reader: Reader) -> list[tuple[str, int]]:
    """Topic and seq of all that waits for a reader."""

    async def take_all() -> list[tuple[str, int]]:
        messages = []
        while True:
            try:
                messages.append(json.loads(await asyncio.wait_for(reader.take(), 0.01)))
            except TimeoutError:
                return [(message["topic"], message["seq"]) for message in messages]

    return asyncio.run(take_all())


def test_who_comes_late_gets_what_is_settled_then_what_comes() -> None:
    feed = Feed()
    for seq in range(3):
        for topic in (EPOCH_TOPIC, PROVISIONAL_TOPIC, HEARTBEAT_TOPIC):
            feed.enter(said(topic, seq))
    reader = feed.join(("",))
    feed.enter(said(PROVISIONAL_TOPIC, 3))
    feed.enter(said(EPOCH_TOPIC, 3))
    past = [(EPOCH_TOPIC, seq) for seq in range(3)]
    assert taken(reader) == [*past, (PROVISIONAL_TOPIC, 3), (EPOCH_TOPIC, 3)]


def test_a_reader_gets_its_topics_only() -> None:
    feed = Feed()
    feed.enter(said(EPOCH_TOPIC, 0))
    feed.enter(said(STATUS_TOPIC, 0))
    reader = feed.join((STATUS_TOPIC,))
    feed.enter(said(EPOCH_TOPIC, 1))
    feed.enter(said(STATUS_TOPIC, 1))
    assert taken(reader) == [(STATUS_TOPIC, 0), (STATUS_TOPIC, 1)]


def test_another_session_forgets_the_one_before() -> None:
    feed = Feed()
    feed.enter(said(EPOCH_TOPIC, 0, "monday"))
    feed.enter(said(EPOCH_TOPIC, 0, "tuesday"))
    (line,) = feed.join(("",)).past
    assert json.loads(line.text)["origin"]["session_id"] == "tuesday"


def test_what_is_said_twice_is_sent_once() -> None:
    feed = Feed()
    reader = feed.join(("",))
    feed.enter(said(EPOCH_TOPIC, 0))
    feed.enter(said(EPOCH_TOPIC, 0))
    assert taken(reader) == [(EPOCH_TOPIC, 0)]


def test_a_slow_reader_loses_the_passing_first_and_costs_the_others_nothing() -> None:
    feed = Feed(most_waiting=4)
    slow = feed.join(("",))
    for seq in range(4):
        feed.enter(said(PROVISIONAL_TOPIC, seq))
        feed.enter(said(EPOCH_TOPIC, seq))
    assert not slow.too_slow.is_set()
    assert slow.skipped == 4
    assert taken(slow) == [(EPOCH_TOPIC, seq) for seq in range(4)]


def test_who_would_lose_what_is_final_is_told_to_go() -> None:
    feed = Feed(most_waiting=3)
    slow, other = feed.join(("",)), feed.join((STATUS_TOPIC,))
    for seq in range(5):
        feed.enter(said(EPOCH_TOPIC, seq))
    feed.enter(said(STATUS_TOPIC, 0))
    assert slow.too_slow.is_set()
    assert taken(slow) == []
    assert not other.too_slow.is_set()
    assert taken(other) == [(STATUS_TOPIC, 0)]


def test_a_long_session_forgets_its_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hypnostream.bridges.feed.MOST_KEPT", 2)
    feed = Feed()
    for seq in range(5):
        feed.enter(said(EPOCH_TOPIC, seq))
    assert taken(feed.join(("",))) == [(EPOCH_TOPIC, 3), (EPOCH_TOPIC, 4)]
