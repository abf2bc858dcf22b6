"""The ledger: what is handed on, what is asked for, what is gone."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnostream.bridges.ledger import MOST_HELD, MOST_TOPICS, Gap, Ledger
from hypnostream.bridges.messages import HeartbeatMessage, Message, Moment, Origin, StatusMessage, decode, encode
from hypnostream.bridges.replay_messages import ReplayReply, SnapshotReply

ORIGIN = Origin(session_id="5e55", boot_id="b007", model_hash="9f2c", backend="onnxruntime")
OTHER_BOOT = msgspec.structs.replace(ORIGIN, boot_id="b008")
OTHER_SESSION = msgspec.structs.replace(ORIGIN, session_id="5e56", boot_id="b009")
MOMENT = Moment(stream_s=0.0, utc_s=None, utc_uncertainty_s=None, published_utc_s=0.0)


def heartbeat(seq: int, last_seq: dict[str, int] | None = None, origin: Origin = ORIGIN) -> HeartbeatMessage:
    return HeartbeatMessage(
        topic="heartbeat", seq=seq, origin=origin, time=MOMENT, interval_s=1.0, last_seq=last_seq or {}
    )


def status(seq: int, topic: str = "status", origin: Origin = ORIGIN) -> StatusMessage:
    return StatusMessage(topic=topic, seq=seq, origin=origin, time=MOMENT, state="source_stalled")


def enter(ledger: Ledger, *messages: Message) -> list[tuple[str, int]]:
    """Enters messages; the topic and seq of what was handed on, heartbeats left out."""
    ready = [each for message in messages for each in ledger.enter([message.topic.encode(), encode(message)])]
    return [(message.topic, message.seq) for message in ready if message.kind != "heartbeat"]


def entered(*messages: Message, topics: tuple[str, ...] = ("",), can_refill: bool | None = False) -> Ledger:
    ledger = Ledger(topics, can_refill=can_refill)
    enter(ledger, *messages)
    return ledger


def page(*seqs: int, next_seq: int, topic: str = "status", more: bool = False, session: str = "5e55") -> ReplayReply:
    bodies = tuple(encode(status(seq, topic)) for seq in seqs)
    return ReplayReply(session_id=session, topic=topic, next_seq=next_seq, more=more, messages=bodies)


def refilled(ledger: Ledger, reply: ReplayReply) -> list[int]:
    return [message.seq for message in ledger.refill(reply)]


@pytest.mark.parametrize(
    ("messages", "lost"),
    [
        ([status(5), status(6)], 0),  # who joins late has lost nothing
        ([status(5), status(9)], 3),
        ([status(0), heartbeat(0), status(1), heartbeat(2)], 1),  # each topic has numbers of its own
        ([status(0), heartbeat(0, {"status": 4})], 4),  # the last ones, which leave no gap
        ([status(0), heartbeat(0, {"status": 4}), status(5)], 0 + 4),  # counted once
        ([heartbeat(7, {"status": 4}), status(6)], 1),  # the heartbeat says what came before us
        ([status(0), heartbeat(0, {"epoch": 9}), heartbeat(1, {"epoch": 9})], 0),
        ([heartbeat(0, {"epoch": 9}), status(1)], 1),  # a topic that began since then began with 0
    ],
)
def test_what_cannot_be_asked_for_is_counted_once(messages: list[Message], lost: int) -> None:
    assert entered(*messages).lost == lost


def test_topics_that_were_not_subscribed_are_not_missed() -> None:
    topics = ("status", "heartbeat")
    assert entered(heartbeat(0), heartbeat(1, {"epoch": 3}), topics=topics).lost == 0
    assert entered(status(0), heartbeat(1, {"epoch": 3, "status": 1}), topics=topics).lost == 1


def test_what_came_before_is_not_handed_on_again() -> None:
    ledger = entered(status(3), status(4))
    assert enter(ledger, status(4)) == []
    assert (ledger.repeated, ledger.lost) == (1, 0)


def test_another_session_starts_new_numbers_from_nought() -> None:
    ledger = entered(status(100), status(2, origin=OTHER_SESSION))
    assert (ledger.restarts, ledger.lost, ledger.repeated) == (1, 2, 0)


def test_another_process_of_the_session_goes_on_where_it_was() -> None:
    ledger = Ledger(can_refill=False)
    assert enter(ledger, status(4), heartbeat(70)) == [("status", 4)]
    again: list[Message] = [heartbeat(2, origin=OTHER_BOOT), status(4, origin=OTHER_BOOT), status(5, origin=OTHER_BOOT)]
    assert enter(ledger, *again) == [("status", 5)]
    assert (ledger.restarts, ledger.lost, ledger.repeated) == (1, 0, 1)


def test_a_publisher_of_endless_topics_does_not_fill_the_memory() -> None:
    assert entered(*(status(0, topic=f"t{n}") for n in range(MOST_TOPICS + 10))).malformed == 10


def test_what_is_missing_is_asked_for_and_comes_before_what_follows_it() -> None:
    ledger = Ledger(can_refill=True)
    assert enter(ledger, status(3), status(7), status(8)) == [("status", 3)]
    assert (ledger.wanted(), ledger.missing) == (Gap("status", 4, 6), 3)
    assert refilled(ledger, page(4, 5, next_seq=6, more=True)) == [4, 5]
    assert ledger.wanted() == Gap("status", 6, 6)
    assert refilled(ledger, page(6, next_seq=7)) == [6, 7, 8]
    assert ledger.wanted() is None
    assert (ledger.lost, ledger.missing, ledger.refilled, ledger.repeated) == (0, 0, 3, 0)


def test_until_a_heartbeat_says_whether_it_can_be_had_a_gap_is_neither_lost_nor_asked_for() -> None:
    ledger = Ledger()
    assert enter(ledger, status(3), status(5)) == [("status", 3)]
    assert (ledger.wanted(), ledger.lost) == (None, 0)
    assert [message.seq for message in ledger.hear_of_replay(False)] == [5]
    assert ledger.lost == 1


def test_a_last_message_that_did_not_come_is_asked_for_too() -> None:
    ledger = entered(status(3), heartbeat(0, {"status": 5}), can_refill=True)
    assert ledger.wanted() == Gap("status", 4, 5)
    assert refilled(ledger, page(4, 5, next_seq=6)) == [4, 5]


def test_ephemeral_stages_wait_for_nothing() -> None:
    ledger = Ledger(can_refill=True)
    ephemeral = [status(seq, "stage.provisional") for seq in (1, 4)]
    assert enter(ledger, *ephemeral) == [("stage.provisional", 1), ("stage.provisional", 4)]
    assert (ledger.lost, ledger.wanted()) == (2, None)


def test_what_the_log_has_not_is_lost_and_the_rest_comes() -> None:
    ledger = entered(status(3), status(8), can_refill=True)
    assert refilled(ledger, page(5, next_seq=8)) == [5, 8]
    assert ledger.lost == 3  # 4, 6 and 7


def test_a_page_that_says_nothing_changes_nothing() -> None:
    ledger = entered(status(3), status(8), can_refill=True)
    assert refilled(ledger, page(next_seq=4)) == []
    assert refilled(ledger, page(4, next_seq=99, session="5e99")) == []
    assert refilled(ledger, page(4, next_seq=99, topic="nothing")) == []
    garbage = ReplayReply(
        session_id="5e55", topic="status", next_seq=4, more=False, messages=(b"", encode(heartbeat(4)))
    )
    assert refilled(ledger, garbage) == []
    assert (ledger.wanted(), ledger.lost) == (Gap("status", 4, 7), 0)


def test_giving_up_hands_on_what_was_held_back_in_its_order() -> None:
    ledger = entered(status(3), status(9), status(6), heartbeat(0, {"status": 11}), can_refill=True)
    assert [message.seq for message in ledger.give_up()] == [6, 9]
    assert (ledger.lost, ledger.missing, ledger.wanted()) == (2 + 2 + 2, 0, None)
    assert enter(ledger, status(12)) == [("status", 12)]


def test_another_session_releases_what_was_held_back_of_the_one_before() -> None:
    ledger = entered(status(3), status(5), can_refill=True)
    handed = enter(ledger, status(0, origin=OTHER_SESSION))
    assert handed == [("status", 5), ("status", 0)]
    assert ledger.lost == 1


def test_held_messages_are_bounded() -> None:
    ledger = Ledger(can_refill=True)
    handed = enter(ledger, status(0), *(status(seq) for seq in range(2, MOST_HELD + 4)))
    assert len(handed) > MOST_HELD
    assert ledger.lost == 1


def test_history_is_everything_durable_from_the_beginning() -> None:
    ledger = Ledger(history=True)
    assert enter(ledger, status(2), heartbeat(9, {"epoch": 1, "status": 2, "stage.provisional": 50})) == []
    ledger.hear_of_replay(True)
    assert ledger.wanted() == Gap("status", 0, 1)
    assert refilled(ledger, page(0, 1, next_seq=2)) == [0, 1, 2]
    assert ledger.wanted() == Gap("epoch", 0, 1)
    assert ledger.lost == 0


def test_a_history_that_no_one_keeps_is_not_lost() -> None:
    ledger = Ledger(history=True)
    enter(ledger, status(2), heartbeat(9, {"epoch": 1, "status": 2}))
    assert [message.seq for message in ledger.hear_of_replay(False)] == [2]
    assert ledger.lost == 0


def test_since_goes_on_after_the_last_one_worked_off() -> None:
    ledger = Ledger(since={"status": 4}, session_id="5e55", can_refill=True)
    assert enter(ledger, heartbeat(9, {"status": 6, "epoch": 0})) == []
    assert ledger.wanted() == Gap("status", 5, 6)
    assert refilled(ledger, page(5, 6, next_seq=7)) == [5, 6]
    assert ledger.wanted() == Gap("epoch", 0, 0)
    lost = Ledger(since={"status": 4}, session_id="5e55", can_refill=False)
    enter(lost, heartbeat(9, {"status": 6}))
    assert lost.lost == 2


def test_since_of_another_session_starts_afresh_and_says_so() -> None:
    ledger = Ledger(since={"status": 4}, session_id="5e00", can_refill=True)
    enter(ledger, heartbeat(9, {"status": 6}))
    assert (ledger.wanted(), ledger.restarts) == (Gap("status", 0, 6), 1)


def test_a_snapshot_gives_the_newest_of_each_topic_unless_something_newer_came() -> None:
    ledger = entered(heartbeat(0, {"status": 6, "epoch": 3}), status(7), can_refill=True)
    bodies = tuple(
        encode(status(seq, topic)) for topic, seq in (("status", 7), ("epoch", 3), ("stage.provisional", 80))
    )
    reply = SnapshotReply(
        session_id="5e55", boot_id="b007", last_seq={"status": 7, "epoch": 3, "stage.provisional": 80}, messages=bodies
    )
    assert [(m.topic, m.seq) for m in ledger.snapshot(reply)] == [("epoch", 3), ("stage.provisional", 80)]
    assert ledger.snapshot(reply) == []
    assert enter(ledger, status(81, "stage.provisional"), status(4, "epoch")) == [
        ("stage.provisional", 81),
        ("epoch", 4),
    ]
    assert ledger.lost == 0


def test_a_snapshot_does_not_give_again_what_was_worked_off() -> None:
    ledger = Ledger(since={"status": 4}, session_id="5e55", can_refill=True)
    enter(ledger, heartbeat(0, {"status": 4}))
    reply = SnapshotReply(session_id="5e55", boot_id="b007", last_seq={"status": 5}, messages=(encode(status(4)),))
    assert ledger.snapshot(reply) == []
    assert ledger.wanted() == Gap("status", 5, 5)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_whatever_is_dropped_repeated_or_answered_late_every_message_comes_once_and_in_order(
    data: st.DataObject,
) -> None:
    said = [status(seq) for seq in range(data.draw(st.integers(1, 30)))]
    ledger, handed = Ledger(history=True, can_refill=True), list[int]()
    for number, message in enumerate(said):
        for _ in range(data.draw(st.integers(0, 2))):  # not at all, once, twice
            handed += [seq for _, seq in enter(ledger, message)]
        gap = ledger.wanted()
        if gap is not None and data.draw(st.booleans()):
            until = min(data.draw(st.integers(gap.from_seq, gap.to_seq)), number)
            handed += refilled(ledger, page(*range(gap.from_seq, until + 1), next_seq=until + 1))
    handed += [seq for _, seq in enter(ledger, heartbeat(0, {"status": said[-1].seq}))]
    while (gap := ledger.wanted()) is not None:
        handed += refilled(ledger, page(*range(gap.from_seq, gap.to_seq + 1), next_seq=gap.to_seq + 1))
    assert handed == list(range(len(said)))
    assert ledger.lost == 0


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["status", "epoch", "x"]), st.integers(0, 2**63), st.booleans()), max_size=20)
)
def test_no_numbers_of_a_hostile_publisher_stop_the_ledger(said: list[tuple[str, int, bool]]) -> None:
    ledger = Ledger(history=True, can_refill=True)
    for name, seq, is_page in said:
        if is_page:
            ledger.refill(ReplayReply(session_id="5e55", topic=name, next_seq=seq, more=True, messages=()))
        else:
            enter(ledger, decode(encode(heartbeat(0, {name: seq}))), status(seq, name))
    ledger.give_up()
    assert ledger.wanted() is None
