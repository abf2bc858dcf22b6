"""What was missed is given again: publisher, log, replay address and client together, and hostile requests."""

import asyncio
import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import zmq
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hypnostream.bridges.address import replay_address_of, replay_address_seen
from hypnostream.bridges.client import Client
from hypnostream.bridges.messages import (
    LOG_FAILED,
    LOG_RESTORED,
    SESSION_RESUMED,
    EpochMessage,
    HeartbeatMessage,
    Message,
    Moment,
    Origin,
    StatusMessage,
    decode,
)
from hypnostream.bridges.publisher import QUEUED_MESSAGES, Publisher
from hypnostream.bridges.replay_messages import (
    MAX_REPLY_BYTES,
    MAX_REQUEST_BYTES,
    PAGE_MESSAGES,
    RefusedReply,
    ReplayReply,
    ReplayRequest,
    Request,
    SnapshotReply,
    SnapshotRequest,
    decode_reply,
    encode,
)
from hypnostream.bridges.replay_server import Shelf
from hypnostream.bridges.result_log import ResultLog
from hypnostream.engine.respiration.event import Event
from hypnostream.engine.results import ChannelState, StageResult
from hypnostream.errors import UserError
from tests.bridges.hearing import heard_until
from tests.bridges.test_result_log import full_disk

ANY_PORT = "tcp://127.0.0.1:*"
SOON_S = 10.0
ROOT = Path(__file__).parents[2]


def result(epoch: int, stage: str = "N2", *, final: bool = True) -> StageResult:
    channels = (ChannelState("eeg_frontal", "ok", 1.0, False),)
    return StageResult(epoch, 30.0 * epoch, final, 30, stage, None, (0.1, 0.1, 0.6, 0.1, 0.1), channels)


class Session:
    """A publisher on a log, which can be ended and taken up again at the same addresses."""

    def __init__(self, folder: Path) -> None:
        self.log_path = folder / "results.arrows"
        self.address = self.replay = ANY_PORT
        self.stack = ExitStack()
        self.start()

    def start(self, last_seq: dict[str, int] | None = None) -> Publisher:
        self.log = self.stack.enter_context(ResultLog(self.log_path))
        publisher = Publisher(
            self.address, model_hash="9f", backend="none", log=self.log, last_seq=last_seq, replay_address=self.replay
        )
        self.publisher = self.stack.enter_context(publisher)
        self.address, self.replay = publisher.address, publisher.replay_address or ""
        return publisher

    def end(self) -> None:
        self.stack.close()

    def say(self, *epochs: int) -> None:
        for epoch in epochs:
            self.publisher.publish(result(epoch), 30.0 * epoch + 30)

    def beat_until(self, done: threading.Event) -> None:
        while not done.wait(0.02):
            self.publisher.heartbeat(0.0)


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    session = Session(tmp_path)
    yield session
    session.end()


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


@pytest.mark.parametrize(
    ("address", "replay"),
    [
        ("tcp://127.0.0.1:5556", "tcp://127.0.0.1:5557"),
        ("tcp://[::1]:5556", "tcp://[::1]:5557"),
        ("tcp://127.0.0.1:*", "tcp://127.0.0.1:*"),
        ("ipc:///run/bed", "ipc:///run/bed-replay"),
        ("inproc://bed", "inproc://bed-replay"),
    ],
)
def test_the_replay_address_follows_from_the_other(address: str, replay: str) -> None:
    assert replay_address_of(address) == replay


def test_there_is_no_port_after_the_last() -> None:
    with pytest.raises(UserError, match="no next port"):
        replay_address_of("tcp://127.0.0.1:65535")


@pytest.mark.parametrize(
    ("told", "seen"),
    [
        ("tcp://0.0.0.0:7", "tcp://192.0.2.9:7"),
        ("tcp://198.51.100.1:7", "tcp://192.0.2.9:7"),  # never another host
        ("tcp://192.0.2.9:seven", None),
        ("tcp://192.0.2.9:70000", None),
        ("ipc:///etc/passwd", None),
        ("", None),
    ],
)
def test_a_publisher_cannot_send_its_clients_to_another_host(told: str, seen: str | None) -> None:
    assert replay_address_seen("tcp://192.0.2.9:5556", told) == seen


def test_a_taken_replay_address_is_one_line_and_frees_the_other(session: Session) -> None:
    for _ in range(2):
        with pytest.raises(UserError, match=r"cannot answer requests for missed results on .* in use") as refusal:
            Publisher(ANY_PORT, model_hash="9f", backend="none", replay_address=session.replay)
        assert "\n" not in str(refusal.value)


def test_a_log_of_another_session_is_refused(session: Session) -> None:
    session.say(0)
    with pytest.raises(UserError, match="give each a log of its own"):
        Publisher(ANY_PORT, model_hash="9f", backend="none", session_id="another", log=session.log)


ORIGIN = Origin(session_id="5e55", boot_id="b007", model_hash="9f2c", backend="onnxruntime")


def ask(socket: "zmq.Socket[bytes]", request: Request | bytes) -> SnapshotReply | ReplayReply | RefusedReply:
    socket.send(request if isinstance(request, bytes) else encode(request))
    assert socket.poll(int(1000 * SOON_S))
    return decode_reply(socket.recv())


def test_a_stranger_with_a_req_socket_is_answered_in_pages(session: Session) -> None:
    session.say(*range(PAGE_MESSAGES + 5))
    session_id = session.publisher.origin.session_id
    with zmq.Context() as context, context.socket(zmq.REQ) as stranger:
        stranger.connect(session.replay)
        newest = ask(stranger, SnapshotRequest(request=7))
        assert isinstance(newest, SnapshotReply)
        assert (newest.request, newest.last_seq) == (7, {"epoch": PAGE_MESSAGES + 4})
        got, from_seq, more = [], 0, True
        while more:
            page = ask(stranger, ReplayRequest(session_id=session_id, topic="epoch", from_seq=from_seq, to_seq=2**63))
            assert isinstance(page, ReplayReply)
            got += [decode(body).seq for body in page.messages]
            from_seq, more = page.next_seq, page.more
        assert got == list(range(PAGE_MESSAGES + 5))
        other = ask(stranger, ReplayRequest(session_id="other", topic="epoch", from_seq=0, to_seq=1))
        assert isinstance(other, RefusedReply)


@pytest.mark.parametrize(
    "body", [b"", b"\xc1", b"\x81\xa1z" + b"\x91" * 2000 + b"\xc0", b"\x80", b"x" * MAX_REQUEST_BYTES]
)
def test_a_malformed_request_gets_one_line(session: Session, body: bytes) -> None:
    with zmq.Context() as context, context.socket(zmq.REQ) as rude:
        rude.connect(session.replay)
        reply = ask(rude, body)
    assert isinstance(reply, RefusedReply)
    assert "\n" not in reply.reason


def test_what_is_no_request_at_all_disturbs_no_one(session: Session) -> None:
    session.say(0)
    with zmq.Context() as context, context.socket(zmq.DEALER) as rude, context.socket(zmq.REQ) as polite:
        rude.set(zmq.LINGER, 0)
        for each in (rude, polite):
            each.connect(session.replay)
        for frames in ([b""] * 40, [b"a", b"b", b"c"], [b"\xff" * 100_000], [b""], [b"", b""]):
            rude.send_multipart(frames)
        assert isinstance(ask(polite, SnapshotRequest()), SnapshotReply)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
@example(encode(ReplayRequest(session_id="5e55", topic="epoch", from_seq=2**63 - 1, to_seq=0)))
@example(encode(SnapshotRequest(topics=("",) * 100)))
@example(encode(SnapshotRequest())[:-1])
def test_no_bytes_do_a_shelf_harm(body: bytes) -> None:
    assert len(encode(Shelf(ORIGIN).answer(body))) < 1000


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**63), st.integers(0, 2**63), st.text(min_size=1, max_size=20), st.integers(0, 2**63))
def test_whatever_range_is_asked_for_the_reply_is_bounded(from_seq: int, to_seq: int, topic: str, number: int) -> None:
    request = ReplayRequest(session_id="5e55", topic=topic, from_seq=from_seq, to_seq=to_seq, request=number)
    reply = Shelf(ORIGIN).answer(encode(request))
    assert isinstance(reply, ReplayReply)
    assert (reply.messages, reply.more, reply.request) == ((), False, number)


def test_the_largest_reply_is_one_that_a_client_takes(tmp_path: Path) -> None:
    with ResultLog(tmp_path / "results.arrows", fsync=False) as log:
        with Publisher(ANY_PORT, model_hash="9f", backend="none", log=log) as publisher:
            for _ in range(40):
                publisher.status("source_stalled", 0.0, detail="x" * 60_000)
            shelf, session_id = publisher._shelf, publisher.origin.session_id
        replay = encode(ReplayRequest(session_id=session_id, topic="status", from_seq=0, to_seq=99))
        for request in (replay, encode(SnapshotRequest())):
            assert len(encode(shelf.answer(request))) < MAX_REPLY_BYTES


def resident_mib() -> float:
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("resident memory is read from /proc")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def test_hundreds_who_ask_and_never_read_cost_little_memory_and_no_one_s_answer(session: Session) -> None:
    session.say(*range(200))
    request = encode(
        ReplayRequest(session_id=session.publisher.origin.session_id, topic="epoch", from_seq=0, to_seq=199)
    )
    with zmq.Context() as context, ExitStack() as crowd:
        before_mib = resident_mib()
        for _ in range(200):
            greedy = crowd.enter_context(context.socket(zmq.DEALER))
            greedy.set(zmq.LINGER, 0)
            greedy.set(zmq.RCVHWM, 1)
            greedy.connect(session.replay)
            for _ in range(20):
                greedy.send(request)
        with context.socket(zmq.REQ) as polite:
            polite.connect(session.replay)
            assert isinstance(ask(polite, request), ReplayReply)
        assert resident_mib() - before_mib < 200


READER = """
import sys, time, zmq
socket = zmq.Context().socket(zmq.SUB)
socket.subscribe("epoch")
socket.connect(sys.argv[1])
print("here", flush=True)
while True:
    socket.recv_multipart()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="processes cannot be stopped here")
def test_a_subscriber_that_hangs_costs_bounded_memory_and_no_one_else_a_message() -> None:
    with Publisher(ANY_PORT, model_hash="9f", backend="none") as publisher:
        hung = subprocess.Popen([sys.executable, "-c", READER, publisher.address], stdout=subprocess.PIPE)
        try:
            assert hung.stdout is not None
            hung.stdout.readline()
            assert publisher.wait_for_subscriber(SOON_S, "epoch")
            with Client(publisher.address, topics=("epoch",)) as client:
                deadline_s = time.monotonic() + SOON_S
                while publisher.subscribers < 2 and time.monotonic() < deadline_s:
                    time.sleep(0.01)
                hung.send_signal(signal.SIGSTOP)
                before_mib, got = 0.0, 0
                for epoch in range(3 * QUEUED_MESSAGES):
                    publisher.publish(result(epoch), 0.0)
                    got += client.receive(SOON_S) is not None
                    if epoch == QUEUED_MESSAGES:
                        before_mib = resident_mib()
                assert (got, client.lost) == (3 * QUEUED_MESSAGES, 0)
                assert resident_mib() - before_mib < 16
        finally:
            hung.kill()
            hung.communicate()
