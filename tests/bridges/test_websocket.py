"""The bridge to web pages as a process of its own: who gets what, and who gets nothing."""

import base64
import json
import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hypnostream.bridges.messages import decode
from hypnostream.bridges.publisher import Publisher
from tests.bridges.web_bridge import WITHIN_S, stage, web_bridge
from tests.command_line import Cli, assert_one_line

pytest.importorskip("starlette", reason="needs the web extra")
pytest.importorskip("uvicorn", reason="needs the web extra")
pytest.importorskip("websockets", reason="needs the web extra")

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from hypnostream.bridges.websocket import TOO_SLOW, TOOK_NOTHING_IN, Visitors


@pytest.fixture(scope="module")
def publisher() -> Iterator[Publisher]:
    with Publisher("tcp://127.0.0.1:*", model_hash="0" * 64, backend="none") as publisher:
        yield publisher


@pytest.fixture(scope="module")
def place(publisher: Publisher, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a bridge serves, that has heard two epochs and serves a page."""
    files = tmp_path_factory.mktemp("pages") / "pages"
    files.mkdir()
    (files / "page.html").write_text("<p>a page")
    (files.parent / "secret.txt").write_text("secret")
    with web_bridge(publisher, "--files", str(files), "--origin", "https://ward.example") as place:
        publisher.publish(stage(0), 30.0)
        publisher.publish(stage(1), 60.0)
        with reading(place, "?topic=epoch") as reader:
            assert [take(reader)["seq"] for _ in range(2)] == [0, 1]
        yield place


@contextmanager
def reading(place: str, query: str = "", **options: Any) -> Iterator[ClientConnection]:
    with connect(f"ws://{place}/messages{query}", open_timeout=WITHIN_S, compression=None, **options) as reader:
        yield reader


def take(reader: ClientConnection) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(reader.recv(timeout=WITHIN_S))
    return message


def closed(reader: ClientConnection) -> tuple[int, str]:
    """With which code and reason a connection ends."""
    try:
        while True:
            reader.recv(timeout=WITHIN_S)
    except ConnectionClosed as end:
        return (end.rcvd.code, end.rcvd.reason) if end.rcvd is not None else (1006, "")


def test_a_page_gets_the_settled_past_then_the_live_as_the_same_messages(place: str, publisher: Publisher) -> None:
    with reading(place) as reader:
        past = [take(reader), take(reader)]
        publisher.publish(stage(0, final=False), 61.0)
        live = take(reader)
    assert [(message["topic"], message["stage"]) for message in past] == [("epoch", "W"), ("epoch", "N1")]
    assert (live["kind"], live["topic"], live["status"]) == ("epoch", "stage.provisional", "preliminary")
    for message in (*past, live):  # JSON and MessagePack of one Struct
        assert json.loads(msgspec.json.encode(decode(msgspec.msgpack.encode(message)))) == message


def test_topics_stand_in_the_address(place: str, publisher: Publisher) -> None:
    with reading(place, "?topic=status&topic=heartbeat") as reader:
        publisher.publish(stage(0, final=False), 61.0)
        publisher.status("source_stalled", 61.0, subject="amplifier")
        message = take(reader)
    assert (message["kind"], message["subject"]) == ("status", "amplifier")


@pytest.mark.parametrize("frame", ["hello", '{"subscribe": ["epoch"]}', b"\0" * 1000, ""])
def test_a_frame_from_a_reader_ends_its_connection(place: str, frame: str | bytes) -> None:
    with reading(place) as reader:
        reader.send(frame)
        code, reason = closed(reader)
    assert code == TOOK_NOTHING_IN
    assert "nothing is taken in" in reason


def test_a_large_frame_is_refused_unread(place: str) -> None:
    with reading(place, max_size=None) as reader:
        reader.send("x" * 100_000)
        assert closed(reader)[0] == 1009


def test_more_topics_than_there_are_is_refused(place: str) -> None:
    with reading(place, "?" + "&".join(["topic=epoch"] * 17)) as reader:
        assert closed(reader)[0] == TOOK_NOTHING_IN


ELSEWHERE = ("https://evil.example", "null", "http://127.0.0.1:1", "http://localhost", "https://ward.example.evil")


@pytest.mark.parametrize("origin", ELSEWHERE)
def test_a_page_from_elsewhere_reads_nothing(place: str, origin: str) -> None:
    with pytest.raises(InvalidStatus) as refused, reading(place, origin=origin):
        pass
    assert refused.value.response.status_code == 403


def test_a_page_from_here_and_one_that_was_named_may_read(place: str) -> None:
    for origin in (f"http://{place}", "https://ward.example"):
        with reading(place, origin=origin) as reader:
            assert take(reader)["topic"] == "epoch"


def test_a_name_that_was_pointed_at_this_machine_is_not_here() -> None:
    visitors = Visitors(("https://ward.example",))
    assert visitors.admits("127.0.0.1:8765", "http://127.0.0.1:8765")
    assert visitors.admits("[::1]:8765", None)
    assert visitors.admits("ward.example", "https://ward.example")
    assert not visitors.admits("evil.example:8765", "http://evil.example:8765")
    assert not visitors.admits("evil.example:8765", None)
    assert not visitors.admits("localhost:8765", "https://localhost:8765")
    assert not visitors.admits("", None)
    assert not visitors.admits("[", None)


def ask(place: str, request: bytes) -> bytes:
    """The answer to bytes that a browser would not send."""
    host, _, port = place.rpartition(":")
    with socket.create_connection((host, int(port)), WITHIN_S) as connection:
        connection.settimeout(0.3)  # it may well wait for the rest of a request that has none
        answer = b""
        with suppress(TimeoutError, ConnectionError):
            connection.sendall(request)
            while more := connection.recv(65536):
                answer += more
        return answer


def test_pages_of_the_folder_are_served_and_nothing_else(place: str) -> None:
    def get(path: str, host: str = place) -> bytes:
        return ask(place, f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())

    assert b"a page" in get("/page.html")
    assert get("/page.html", "evil.example").startswith(b"HTTP/1.1 403")
    for path in ("/../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "//secret.txt"):
        answer = get(path)
        assert answer.startswith(b"HTTP/1.1 40")
        assert b"secret\n" not in answer


def test_hostile_bytes_disturb_nobody(place: str, publisher: Publisher) -> None:
    key = base64.b64encode(os.urandom(16)).decode()
    hello = (
        f"GET /messages HTTP/1.1\r\nHost: {place}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    ).encode()
    frames = (
        b"\xff" * 200,  # all reserved bits
        b"\x81\x05hello",  # not masked
        b"\x81\xff" + struct.pack(">Q", 2**62) + b"mask",  # announces four exabytes
        b"\x83\x80mask",  # an opcode that there is not
        b"\x09\x80mask",  # a ping in fragments
        b"\x81\x84\0\0\0\0\xff\xfe\xfd\xfc",  # not UTF-8
        b"\x01\x84\0\0\0\0abcd" * 50,  # a message that begins again and again
    )
    with reading(place, "?topic=heartbeat") as reader:
        for frame in frames:
            assert ask(place, hello + frame).startswith(b"HTTP/1.1 101")
        for request in (b"\0" * 10_000, b"GET " + b"a" * 200_000, os.urandom(5000), hello[:40], b"\r\n\r\n"):
            ask(place, request)
        publisher.heartbeat(62.0)
        assert take(reader)["kind"] == "heartbeat"


@pytest.mark.slow
def test_a_reader_that_hangs_costs_the_others_nothing_and_is_told(publisher: Publisher, place: str) -> None:
    """16 MB of live messages are more than the sockets between take; a hung reader's share then waits in the bridge."""
    host, _, port = place.rpartition(":")
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    narrow.connect((host, int(port)))
    with reading(place, "?topic=status&topic=bulk", sock=narrow, max_queue=1, ping_interval=None) as hung:
        with reading(place, "?topic=status") as other:
            slowest_s = 0.0
            for number in range(16_000):
                publisher.status("source_stalled", 62.0, subject=str(number), detail="x" * 1000)
                if number % 100 == 0:  # no faster than a bridge can carry
                    sent_s = time.perf_counter()
                    while take(other)["subject"] != str(number):
                        pass
                    slowest_s = max(slowest_s, time.perf_counter() - sent_s)
        code, reason = closed(hung)
    assert slowest_s < 1.0
    assert code == TOO_SLOW
    assert "4000 messages were waiting" in reason


def test_mistakes_are_one_line(cli: Cli, tmp_path: Path, place: str) -> None:
    bridge = ("bridge", "web", "--connect", "tcp://127.0.0.1:1")
    assert_one_line(cli(*bridge, "--address", "0.0.0.0:0"), "0.0.0.0:0", "--insecure")
    assert_one_line(cli(*bridge, "--address", "nowhere"), "'nowhere'", "HOST:PORT")
    assert_one_line(cli(*bridge, "--address", place), place, "another port")
    assert_one_line(cli(*bridge, "--origin", "https://ward.example/page"), "https://ward.example/page")
    assert_one_line(cli(*bridge, "--files", tmp_path / "none"), "none")
