"""Whatever bytes come to a socket: it goes on, and who behaves is served as before."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hypnostream.bridges.client import Client
from hypnostream.bridges.curve import Gate, client_keys
from hypnostream.bridges.key_files import allow, new_keys
from hypnostream.bridges.messages import (
    HeartbeatMessage,
    Message,
    MessageError,
    Moment,
    Origin,
    StatusMessage,
    decode,
    encode,
)
from hypnostream.bridges.publisher import Publisher
from hypnostream.bridges.replay_messages import ReplayRequest, Request, SnapshotRequest, decode_reply, decode_request
from hypnostream.bridges.replay_messages import encode as encode_request
from tests.damage import ALLOWANCE_BYTES, MANY, QUICK, assert_harmless, damaged

SOON_S = 10.0
ANY_PORT = "tcp://127.0.0.1:*"
ORIGIN = Origin(session_id="5e55", boot_id="b007", model_hash="9f2c", backend="none")
MOMENT = Moment(stream_s=1.0, utc_s=None, utc_uncertainty_s=None, published_utc_s=1.8e9)
HEARTBEAT = HeartbeatMessage(
    topic="heartbeat", seq=1, origin=ORIGIN, time=MOMENT, interval_s=1.0, last_seq={"epoch": 959, "status": 3}
)
STATUS = StatusMessage(topic="status", seq=3, origin=ORIGIN, time=MOMENT, state="source_stalled", detail="EEG")
REQUESTS: tuple[Request, ...] = (
    SnapshotRequest(topics=("epoch",)),
    ReplayRequest(session_id="5e55", topic="epoch", from_seq=0, to_seq=9),
)
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01"
NULL = GREETING + b"NULL".ljust(20, b"\0") + bytes(32) + b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03SUB"
CURVE = GREETING + b"CURVE".ljust(20, b"\0") + bytes(32) + b"\x04\xc8\x05HELLO" + bytes(194)
sometimes = settings(
    max_examples=QUICK, deadline=10_000, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)


@dataclass
class Bed:
    """A publisher, and one who listens to it as it should."""

    publisher: Publisher
    listener: zmq.Socket[Any]
    context: zmq.Context[Any]

    @property
    def addresses(self) -> tuple[str, str]:
        assert self.publisher.replay_address is not None
        return self.publisher.address, self.publisher.replay_address

    def assert_serves(self) -> None:
        self.publisher.heartbeat(1.0)
        assert self.listener.poll(round(SOON_S * 1000))
        assert len(self.listener.recv_multipart()) == 2


@pytest.fixture(params=["plain", "keys"])
def bed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bed]:
    gate = None
    with ExitStack() as stack:
        context = stack.enter_context(zmq.Context())
        listener = stack.enter_context(context.socket(zmq.SUB))
        if request.param == "keys":
            new_keys(tmp_path, "server")
            allow(tmp_path, new_keys(tmp_path, "one")[1])
            client_keys(tmp_path).connect(listener)
            gate = Gate(tmp_path)
        publisher = Publisher(ANY_PORT, model_hash="0", backend="none", replay_address=ANY_PORT, curve=gate)
        stack.enter_context(publisher)
        listener.subscribe("heartbeat")
        listener.connect(publisher.address)
        assert publisher.wait_for_subscriber(SOON_S, "heartbeat")
        yield Bed(publisher, listener, context)


def test_raw_bytes_at_either_port(bed: Bed) -> None:
    @sometimes
    @given(garbage=st.binary(max_size=300) | damaged(NULL) | damaged(CURVE), which=st.integers(0, 1))
    def knock(garbage: bytes, which: int) -> None:
        port = int(bed.addresses[which].rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as door, suppress(OSError):
            door.sendall(garbage)
            door.shutdown(socket.SHUT_WR)
        bed.assert_serves()

    knock()


@pytest.mark.parametrize("bed", ["plain"], indirect=True)
def test_subscriptions_of_any_bytes(bed: Bed) -> None:
    with bed.context.socket(zmq.XSUB) as rude:
        rude.set(zmq.LINGER, 0)
        rude.connect(bed.publisher.address)

        @sometimes
        @given(st.lists(st.binary(max_size=40) | st.binary(max_size=40).map(lambda topic: b"\1" + topic), max_size=9))
        def subscribe(frames: list[bytes]) -> None:
            for each in frames:
                rude.send(each)
            bed.assert_serves()
            assert bed.publisher.subscribers >= 1

        subscribe()


@pytest.mark.parametrize("bed", ["plain"], indirect=True)
def test_requests_of_any_bytes_and_any_number_of_frames(bed: Bed) -> None:
    body = st.binary(max_size=200) | st.sampled_from(REQUESTS).flatmap(lambda asked: damaged(encode_request(asked)))
    with bed.context.socket(zmq.DEALER) as rude, bed.context.socket(zmq.DEALER) as civil:
        for each in (rude, civil):
            each.set(zmq.LINGER, 0)
            each.connect(bed.addresses[1])

        @sometimes
        @given(st.lists(body | st.just(b""), min_size=1, max_size=4))
        def ask(frames: list[bytes]) -> None:
            with suppress(zmq.Again):
                rude.send_multipart(frames, zmq.NOBLOCK)
            while rude.poll(5):
                decode_reply(rude.recv_multipart()[-1])
            civil.send(encode_request(SnapshotRequest()))
            assert civil.poll(round(SOON_S * 1000))
            decode_reply(civil.recv())

        ask()


@pytest.mark.parametrize("said", [HEARTBEAT, STATUS], ids=["heartbeat", "status"])
def test_a_client_survives_a_publisher_of_any_bytes(said: Message) -> None:
    """And keeps no more than its bounds of what it is told: topics, numbers, addresses to ask at."""
    frame = st.binary(max_size=200) | damaged(encode(said)) | st.just(said.topic.encode())
    with zmq.Context() as context, context.socket(zmq.XPUB) as false, Client("inproc://bed", context=context) as client:
        false.bind("inproc://bed")
        assert false.poll(round(SOON_S * 1000))

        @sometimes
        @given(st.lists(frame, min_size=1, max_size=3) | damaged(encode(said)).map(lambda b: [said.topic.encode(), b]))
        def publish(frames: list[bytes]) -> None:
            false.send_multipart(frames)
            false.send_multipart([b"status", encode(STATUS)])
            for _ in client.messages(0.0):
                pass
            assert client.lost >= 0
            assert client.ledger.malformed >= 0

        publish()


BODIES = [encode(HEARTBEAT), encode(STATUS), *map(encode_request, REQUESTS)]


@pytest.mark.slow
@pytest.mark.parametrize("read", [decode, decode_request, decode_reply])
def test_thousands_of_damaged_bodies_are_read_or_refused(read: Callable[[bytes], object]) -> None:
    @settings(max_examples=MANY, deadline=10_000, database=None)
    @given(st.sampled_from(BODIES).flatmap(damaged) | st.binary(max_size=300))
    def run(body: bytes) -> None:
        assert_harmless(lambda: read(body), (MessageError,), ALLOWANCE_BYTES)

    run()
