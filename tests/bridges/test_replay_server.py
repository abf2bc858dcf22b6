"""What was missed is given again: publisher, log, replay address and client together."""

import asyncio
import dataclasses
import threading
import time

import pytest
import zmq

from hypnostream.bridges.client import Client
from hypnostream.bridges.messages import (
    LOG_FAILED,
    LOG_RESTORED,
    SESSION_RESUMED,
    EpochMessage,
    HeartbeatMessage,
    Message,
    Moment,
    StatusMessage,
)
from hypnostream.bridges.publisher import Publisher
from hypnostream.bridges.replay_messages import PAGE_MESSAGES
from hypnostream.engine.respiration.event import Event
from tests.bridges.hearing import heard_until
from tests.bridges.replayed_session import ANY_PORT, SOON_S, Session, result
from tests.bridges.test_result_log import full_disk


def epochs_of(session: Session, client: Client, count: int) -> list[int]:
    """The epochs that a client is given while the session's heart beats."""
    epochs: list[int] = []
    deadline_s = time.monotonic() + SOON_S
    while len(epochs) < count and time.monotonic() < deadline_s:
        session.publisher.heartbeat(0.0)
        epochs += [message.epoch for message in client.messages(0.03) if isinstance(message, EpochMessage)]
    return epochs


def test_who_joins_late_is_given_the_newest_of_each_topic(session: Session) -> None:
    session.say(0, 1, 2)
    session.publisher.publish(result(3, final=False), 95.0)
    session.publisher.status("source_stalled", 95.0, subject="belt", seconds=3.0, samples=7)
    with Client(session.address) as client:
        assert session.publisher.wait_for_subscriber(SOON_S)
        session.publisher.heartbeat(96.0)
        said = [client.receive(SOON_S) for _ in range(4)]
        assert {(message.topic, message.seq) for message in said if message is not None} == {
            ("heartbeat", 0),
            ("epoch", 2),
            ("stage.provisional", 0),
            ("status", 0),
        }
        session.say(3)
        assert epochs_of(session, client, 1) == [3]
        assert (client.lost, client.ledger.repeated) == (0, 0)


def test_history_is_the_night_so_far_and_then_the_night(session: Session) -> None:
    session.say(*range(PAGE_MESSAGES + 50))
    with Client(session.address, topics=("epoch",), history=True) as client:
        assert session.publisher.wait_for_subscriber(SOON_S, "epoch")
        session.say(PAGE_MESSAGES + 50)
        count = PAGE_MESSAGES + 51
        assert epochs_of(session, client, count) == list(range(count))
        assert (client.lost, client.refilled) == (0, count - 1)


def test_who_was_away_goes_on_after_the_last_key(session: Session) -> None:
    session.say(*range(10))
    key = ("epoch", 4)
    with Client(session.address, since=dict([key]), session_id=session.publisher.origin.session_id) as client:
        assert epochs_of(session, client, 5) == [5, 6, 7, 8, 9]
        assert (client.lost, client.ledger.restarts) == (0, 0)


def test_a_publisher_that_was_killed_is_taken_up_again_and_nothing_final_is_missing(session: Session) -> None:
    with Client(session.address) as client:
        assert session.publisher.wait_for_subscriber(SOON_S)
        session.say(0, 1)
        assert epochs_of(session, client, 2) == [0, 1]
        checkpoint = session.publisher.last_seq
        boot = session.publisher.origin
        session.log.append(*logged_only(session, 2))  # on disk, and then the process died
        session.end()
        publisher = session.start(checkpoint)
        assert publisher.origin.session_id == boot.session_id
        assert publisher.origin.boot_id != boot.boot_id
        publisher.status(SESSION_RESUMED, 90.0, seconds=4.0)
        session.say(2, 3)  # computed again, and new
        assert epochs_of(session, client, 2) == [2, 3]
        assert client.ledger.restarts == 1
    assert [message.seq for message in session.log.messages() if message.topic == "epoch"] == [0, 1, 2, 3]


def logged_only(session: Session, epoch: int) -> tuple[Message, bytes]:
    from hypnostream.bridges.messages import encode as encoded
    from hypnostream.bridges.result_messages import epoch_message

    time = Moment(stream_s=0.0, utc_s=None, utc_uncertainty_s=None, published_utc_s=0.0)
    message = epoch_message(result(epoch), seq=epoch, origin=session.publisher.origin, time=time)
    return message, encoded(message)


def test_what_is_computed_again_is_said_as_it_was_and_a_difference_is_noticed(
    session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    session.say(0, 1, 2)
    logged = session.log_path.read_bytes()
    session.publisher.restore({"epoch": 0})
    session.publisher.publish(result(1), 60.0, latency_s=0.5)
    assert session.publisher.differing == 0
    session.publisher.publish(result(2, "R"), 90.0)
    assert session.publisher.differing == 1
    assert "epoch 2, computed again, differs" in caplog.text
    assert session.log_path.read_bytes() == logged
    assert session.publisher.last_seq == {"epoch": 2}


def test_a_notice_that_is_none_of_those_that_were_said_is_said_after_them(session: Session) -> None:
    for stream in ("EEG", "SpO2"):
        session.publisher.status("source_stalled", 1.0, subject=stream)
    session.publisher.restore({"status": 0})  # the steps in which SpO2 stalled were lost with the power
    session.publisher.status("source_lost", 2.0, subject="EEG")
    session.publisher.status("source_found", 3.0, subject="EEG")
    said = [(each.seq, each.state) for each in session.log.messages() if isinstance(each, StatusMessage)]
    assert said == [(0, "source_stalled"), (1, "source_stalled"), (2, "source_lost"), (3, "source_found")]


def test_notices_of_a_process_are_no_part_of_what_is_computed_again(session: Session) -> None:
    session.publisher.status("source_stalled", 1.0)
    session.publisher.status(SESSION_RESUMED, 2.0)
    session.publisher.restore({})
    session.publisher.status("source_stalled", 1.0)
    session.publisher.status(SESSION_RESUMED, 3.0)
    assert session.log.last_seq == {"status": 0, "status.process": 1}
    assert session.publisher.differing == 0


def test_an_event_is_numbered_logged_and_given_again(session: Session) -> None:
    event = Event("e1", 0, "apnea", "preliminary", 1.0, None, 0.5, "AASM apnea, thermal sensor", ("thermistor",))
    session.publisher.event(event, 5.0)
    session.publisher.event(dataclasses.replace(event, revision=1), 6.0)
    assert [(message.seq, message.time.stream_s) for message in session.log.messages()] == [(0, 5.0), (1, 6.0)]


def test_a_full_disk_is_said_and_what_it_did_not_take_is_given_again_all_the_same(
    session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    session.say(0)
    with Client(session.address, history=True) as client:
        with full_disk(session.log_path, 100):
            session.say(1, 2)
            assert session.publisher.log_failed
            session.publisher.heartbeat(0.0)
            assert session.publisher.wait_for_subscriber(SOON_S)
            assert epochs_of(session, client, 3) == [0, 1, 2]
        session.publisher.heartbeat(0.0)
        assert session.log.failure is None
    states = [message.state for message in session.log.messages() if isinstance(message, StatusMessage)]
    assert states == [LOG_FAILED, LOG_RESTORED]
    assert not session.publisher.log_failed
    assert [f"{session.log.path}: {state}" in line for state, line in zip(states, caplog.messages, strict=True)] == [
        True,
        True,
    ]


def test_without_a_log_what_was_missed_is_lost_and_said_so() -> None:
    with Publisher(ANY_PORT, model_hash="9f", backend="none", replay_address=ANY_PORT) as publisher:
        publisher.publish(result(0), 30.0)
        publisher.publish(result(1), 60.0)
        with Client(publisher.address, since={"epoch": -1}) as client:
            assert publisher.wait_for_subscriber(SOON_S)
            publisher.heartbeat(61.0)
            publisher.publish(result(2), 90.0)
            messages = heard_until(client, lambda message: isinstance(message, EpochMessage))
            assert ([m.epoch for m in messages if isinstance(m, EpochMessage)], client.lost) == ([2], 2)
            assert list(client.messages(0.03)) == []  # neither of those that were said before


def test_a_replay_address_that_does_not_answer_is_given_up_only_while_the_publisher_lives() -> None:
    now_s = [0.0]
    with (
        zmq.Context() as context,
        context.socket(zmq.ROUTER) as deaf,
        Publisher(ANY_PORT, model_hash="9f", backend="none") as publisher,
    ):
        port = deaf.bind_to_random_port("tcp://127.0.0.1")
        with Client(
            publisher.address, history=True, replay=f"tcp://127.0.0.1:{port}", clock=lambda: now_s[0]
        ) as client:
            assert publisher.wait_for_subscriber(SOON_S)
            publisher.publish(result(0), 30.0)
            publisher._last_seq["epoch"] = 4
            publisher.publish(result(5), 60.0)
            began_s = time.monotonic()
            got: list[int] = []
            while not got and time.monotonic() - began_s < SOON_S:
                got = [message.epoch for message in client.messages(0.0) if isinstance(message, EpochMessage)]
            for _ in range(60):  # a minute in which the publisher says nothing
                now_s[0] += 1.0
                assert client.receive(0.0) is None
            assert client.lost == 0
            for _ in range(30):
                now_s[0] += 1.5
                publisher.heartbeat(61.0)
                deadline_s = time.monotonic() + SOON_S
                while time.monotonic() < deadline_s:
                    message = client.receive(0.0)
                    if isinstance(message, EpochMessage):
                        got.append(message.epoch)
                    if isinstance(message, HeartbeatMessage):
                        break
            got += [message.epoch for message in client.messages(0.0) if isinstance(message, EpochMessage)]
    assert (sorted(got), client.lost) == ([0, 5], 4)


def test_asynchronously_too_the_night_comes_whole(session: Session) -> None:
    session.say(*range(250))
    done = threading.Event()

    async def listen(client: Client) -> list[int]:
        epochs: list[int] = []
        async for message in client:
            epochs += [message.epoch] if isinstance(message, EpochMessage) else []
            if len(epochs) == 251:
                break
            if len(epochs) == 250 and message.topic == "epoch":
                done.set()  # the publisher is another thread's no more
                heart.join()
                session.say(250)
        return epochs

    with Client(session.address, history=True) as client:
        heart = threading.Thread(target=session.beat_until, args=(done,))
        heart.start()
        try:
            assert asyncio.run(asyncio.wait_for(listen(client), SOON_S)) == list(range(251))
        finally:
            done.set()
            heart.join()


def test_a_client_says_when_it_is_behind() -> None:
    now_s = [1000.0]
    with (
        Publisher(ANY_PORT, model_hash="9f", backend="none") as publisher,
        Client(publisher.address, clock=lambda: now_s[0], utc=lambda: time.time() + 3600 + now_s[0] - 1000) as client,
    ):
        assert publisher.wait_for_subscriber(SOON_S)
        publisher.heartbeat(0.0)
        assert client.receive(SOON_S) is not None
        assert client.behind_s < 0.5  # an hour between two clocks is no delay
        publisher.heartbeat(1.0)
        now_s[0] += 8.0  # it lies unread
        assert client.late
        assert client.receive(SOON_S) is not None
        assert (client.late_s, client.late) == (0.0, True)
        assert 7.5 < client.behind_s < 8.5
        publisher.heartbeat(2.0)
        now_s[0] -= 8.0  # as fresh as the first
        assert client.receive(SOON_S) is not None
        assert not client.late
