"""Publisher and client over real sockets, and the ledger of what did not come."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import zmq

from hypnostream.bridges.client import Client
from hypnostream.bridges.messages import (
    MAX_BYTES,
    SESSION_ENDED,
    EpochMessage,
    HeartbeatMessage,
    MessageError,
    Moment,
    Origin,
    StatusMessage,
    encode,
)
from hypnostream.bridges.publisher import LINGER_MS, QUEUED_MESSAGES, Publisher
from hypnostream.engine.results import ChannelState, StageResult
from hypnostream.errors import UserError

ANY_PORT = "tcp://127.0.0.1:*"
SOON_S = 10.0  # how long a test waits for what must come: no test lasts this long unless it fails


def result(epoch: int, *, final: bool = True) -> StageResult:
    channels = (ChannelState("eeg_frontal", "ok", 1.0, False),)
    return StageResult(epoch, 30.0 * epoch, final, 30, "N2", None, (0.1, 0.1, 0.6, 0.1, 0.1), channels)


def publisher(address: str = ANY_PORT) -> Publisher:
    return Publisher(address, model_hash="9f2c", backend="onnxruntime")


@pytest.fixture
def pair() -> Iterator[tuple[Publisher, Client]]:
    with publisher() as sender, Client(sender.address) as client:
        assert sender.wait_for_subscriber(SOON_S)
        yield sender, client


@pytest.mark.parametrize("address", [ANY_PORT, "tcp://127.0.0.1:0", "tcp://localhost:*", "ipc://{tmp}/bed.sock"])
def test_what_is_published_arrives(address: str, tmp_path: Path) -> None:
    with publisher(address.format(tmp=tmp_path)) as sender, Client(sender.address) as client:
        assert sender.wait_for_subscriber(SOON_S)
        assert "*" not in sender.address
        assert not sender.address.endswith(":0")
        sender.publish(result(0, final=False), now_s=12.0)
        sender.publish(result(0), now_s=30.0, latency_s=0.003)
        sender.status(SESSION_ENDED, now_s=31.0, detail="all read")
        sender.heartbeat(now_s=31.0)
        provisional, final, ended, heartbeat = (client.receive(SOON_S) for _ in range(4))
    assert isinstance(provisional, EpochMessage)
    assert (provisional.topic, provisional.status, provisional.seq) == ("stage.provisional", "preliminary", 0)
    assert isinstance(final, EpochMessage)
    assert (final.topic, final.status, final.seq) == ("epoch", "final", 0)
    assert (final.stage, final.latency_s, final.time.stream_s) == ("N2", 0.003, 30.0)
    assert final.origin == sender.origin
    assert isinstance(ended, StatusMessage)
    assert ended.state == SESSION_ENDED
    assert isinstance(heartbeat, HeartbeatMessage)
    assert heartbeat.last_seq == {"stage.provisional": 0, "epoch": 0, "status": 0}
    assert (client.lost, client.ledger.malformed) == (0, 0)


def test_inproc_works_within_one_context() -> None:
    with zmq.Context() as context:
        sender = Publisher("inproc://bed", model_hash="9f2c", backend="onnxruntime", context=context)
        with sender, Client("inproc://bed", context=context) as client:
            assert sender.wait_for_subscriber(SOON_S)
            sender.publish(result(0), now_s=30.0)
            assert client.receive(SOON_S) is not None


def test_two_frames_of_topic_and_body_are_all_that_a_stranger_needs() -> None:
    with publisher() as sender, zmq.Context() as context, context.socket(zmq.SUB) as stranger:
        stranger.subscribe("epoch")
        stranger.connect(sender.address)
        assert sender.wait_for_subscriber(SOON_S, "epoch")
        sender.publish(result(4), now_s=150.0)
        topic, body = stranger.recv_multipart()
    assert topic == b"epoch"
    assert msgspec.msgpack.decode(body)["stage"] == "N2"


def test_everything_published_before_closing_arrives() -> None:
    with publisher() as sender, Client(sender.address, topics=("epoch",)) as client:
        assert sender.wait_for_subscriber(SOON_S, "epoch")
        for epoch in range(960):
            sender.publish(result(epoch), now_s=30.0 * epoch + 30)
        sender.close()
        epochs = [m.epoch for m in client.messages(1.0) if isinstance(m, EpochMessage)]
    assert epochs == list(range(960))


def test_a_subscriber_that_never_reads_holds_nobody_up() -> None:
    with publisher() as sender, zmq.Context() as context, context.socket(zmq.SUB) as idle:
        idle.set(zmq.RCVHWM, 1)
        idle.set(zmq.RCVBUF, 4096)
        idle.subscribe("")
        idle.connect(sender.address)
        assert sender.wait_for_subscriber(SOON_S)
        for epoch in range(3 * QUEUED_MESSAGES):
            sender.publish(result(epoch), now_s=0.0)
        started_s = time.monotonic()
        sender.close()
        assert time.monotonic() - started_s < LINGER_MS / 1000 + 5


def test_who_does_not_subscribe_is_not_waited_for_longer_than_said() -> None:
    with publisher() as sender:
        assert not sender.wait_for_subscriber(0.0)
        with Client(sender.address, topics=("status",)) as client:
            assert sender.wait_for_subscriber(SOON_S, "status")
            assert not sender.wait_for_subscriber(0.01, "epoch")
            sender.publish(result(0), now_s=30.0)
            sender.heartbeat(now_s=30.0)
            assert isinstance(client.receive(SOON_S), HeartbeatMessage)
            assert client.lost == 0


def test_nonsense_from_a_subscriber_is_ignored(pair: tuple[Publisher, Client]) -> None:
    sender, client = pair
    with zmq.Context() as context, context.socket(zmq.XSUB) as rude:
        rude.connect(sender.address)
        for said in (b"\x01epoch", b"\x02", b"", b"\x00never", b"\xff" * 5000, b"\x01" + b"\xff" * 20):
            rude.send(said)
        assert sender.wait_for_subscriber(SOON_S, "epoch")
        sender.heartbeat(now_s=1.0)
    assert client.receive(SOON_S) is not None


def test_the_session_tells_its_clock_in_utc() -> None:
    with publisher() as sender, Client(sender.address) as client:
        assert sender.wait_for_subscriber(SOON_S)
        sender.heartbeat(now_s=10.0)
        sender.utc_offset_s, sender.utc_uncertainty_s = 1.8e9, 0.25
        sender.heartbeat(now_s=11.0)
        unknown, known = client.receive(SOON_S), client.receive(SOON_S)
    assert unknown is not None
    assert (unknown.time.utc_s, unknown.time.utc_uncertainty_s) == (None, None)
    assert known is not None
    assert (known.time.utc_s, known.time.utc_uncertainty_s) == (1.8e9 + 11.0, 0.25)


def test_a_message_that_cannot_be_is_not_numbered(pair: tuple[Publisher, Client]) -> None:
    sender, client = pair
    with pytest.raises(MessageError):
        sender.publish(result(0), now_s=float("nan"))
    sender.publish(result(0), now_s=30.0)
    message = client.receive(SOON_S)
    assert message is not None
    assert message.seq == 0


@pytest.mark.parametrize(
    "address",
    [
        "tcp://*:5556",
        "tcp://0.0.0.0:5556",
        "tcp://192.0.2.1:5556",
        "tcp://[::]:5556",
        "tcp://eth0:5556",
        "tcp://example.org:5556",
        "tcp://127.0.0.1.example.org:5556",
        "tcp://192.0.2.1:0;127.0.0.1:5556",
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:99999",
        "udp://127.0.0.1:5556",
        "",
    ],
)
def test_an_address_that_others_could_reach_is_refused_by_name(address: str) -> None:
    with pytest.raises(UserError) as refusal:
        publisher(address)
    assert repr(address) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_insecure_opens_what_loopback_keeps_shut() -> None:
    with Publisher("tcp://0.0.0.0:*", model_hash="9f2c", backend="onnxruntime", insecure=True) as sender:
        assert sender.address.startswith("tcp://0.0.0.0:")


def test_a_taken_address_is_one_line(tmp_path: Path) -> None:
    for address in (ANY_PORT, f"ipc://{tmp_path}/bed.sock"):
        with publisher(address) as first:
            with pytest.raises(UserError, match=r"is in use, .* choose another") as refusal:
                publisher(first.address)
            assert first.address in str(refusal.value)
            assert "\n" not in str(refusal.value)


def test_an_ipc_address_never_costs_a_file(tmp_path: Path) -> None:
    night = tmp_path / "night.edf"
    night.write_bytes(b"a night")
    with pytest.raises(UserError, match=r"night\.edf exists and is not a socket"):
        publisher(f"ipc://{night}")
    assert night.read_bytes() == b"a night"


def test_an_address_that_cannot_be_bound_or_connected_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        publisher(f"ipc://{tmp_path}/nowhere/bed.sock")
    with pytest.raises(UserError, match="cannot subscribe to 'bed three'"):
        Client("bed three")


def test_a_client_learns_of_a_restart_and_of_what_it_missed(pair: tuple[Publisher, Client]) -> None:
    sender, client = pair
    sender.publish(result(0), now_s=30.0)
    assert client.receive(SOON_S) is not None
    sender.close()
    with publisher(sender.address) as successor:
        successor.publish(result(1), now_s=60.0)  # before the client is back
        # ZeroMQ subscribes anew only while its client is being read.
        silent = [client.receive(0.05) for _ in iter(lambda: successor.wait_for_subscriber(0.05), True)]
        assert not any(silent)
        successor.publish(result(2), now_s=90.0)
        successor.heartbeat(now_s=90.0)  # which says that there is no one to ask
        beat, message = client.receive(SOON_S), client.receive(SOON_S)
    assert isinstance(beat, HeartbeatMessage)
    assert isinstance(message, EpochMessage)
    assert message.origin.session_id != sender.origin.session_id
    assert (message.epoch, message.seq, client.ledger.restarts, client.lost) == (2, 1, 1, 1)


def test_a_client_knows_how_long_nothing_came() -> None:
    now_s = [100.0]
    with publisher() as sender, Client(sender.address, clock=lambda: now_s[0]) as client:
        assert sender.wait_for_subscriber(SOON_S)
        now_s[0] = 104.0
        assert (client.late_s, client.alive) == (4.0, False)
        sender.heartbeat_interval_s = 2.0
        sender.heartbeat(now_s=0.0)
        assert client.receive(SOON_S) is not None
        assert (client.late_s, client.alive) == (0.0, True)
        now_s[0] = 110.0
        assert (client.late_s, client.alive) == (6.0, True)
        now_s[0] = 110.1
        assert not client.alive


def test_messages_come_asynchronously_too(pair: tuple[Publisher, Client]) -> None:
    sender, client = pair

    async def two() -> list[int]:
        seqs: list[int] = []
        async for message in client:
            seqs.append(message.seq)
            if len(seqs) == 2:
                break
            sender.publish(result(1), now_s=60.0)  # only now: the loop waits meanwhile
        return seqs

    sender.publish(result(0), now_s=30.0)
    assert asyncio.run(asyncio.wait_for(two(), SOON_S)) == [0, 1]


def test_malformed_frames_are_counted_and_the_next_message_comes() -> None:
    with zmq.Context() as context, context.socket(zmq.XPUB) as raw:
        port = raw.bind_to_random_port("tcp://127.0.0.1")
        with Client(f"tcp://127.0.0.1:{port}", topics=("",)) as client:
            assert {raw.recv(), raw.recv()} == {b"\x01", b"\x01heartbeat"}
            body = encode(heartbeat(0))
            for frames in (
                [b"heartbeat"],
                [b"heartbeat", b"\xc1"],
                [b"heartbeat", body, b"more"],
                [b"epoch", body],
                [b"heartbeat", bytes(MAX_BYTES + 1)],
                [b"heartbeat", body],
            ):
                raw.send_multipart(frames)
            assert client.receive(SOON_S) == heartbeat(0)
            assert client.ledger.malformed == 5


def test_a_broken_body_and_silence_are_none_not_an_error(pair: tuple[Publisher, Client]) -> None:
    _, client = pair
    assert client.receive(0.0) is None
    assert list(client.messages(0.01)) == []


ORIGIN = Origin(session_id="5e55", boot_id="b007", model_hash="9f2c", backend="onnxruntime")
MOMENT = Moment(stream_s=0.0, utc_s=None, utc_uncertainty_s=None, published_utc_s=0.0)


def heartbeat(seq: int, last_seq: dict[str, int] | None = None, origin: Origin = ORIGIN) -> HeartbeatMessage:
    return HeartbeatMessage(
        topic="heartbeat", seq=seq, origin=origin, time=MOMENT, interval_s=1.0, last_seq=last_seq or {}
    )
