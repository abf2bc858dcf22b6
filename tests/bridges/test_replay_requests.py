"""Whoever asks, whatever and however much: an answer within bounds, and nobody else is the worse for it."""

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
import zmq
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hypnostream.bridges.client import Client
from hypnostream.bridges.messages import (
    Origin,
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
from tests.bridges.replayed_session import ANY_PORT, SOON_S, Session, result

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
