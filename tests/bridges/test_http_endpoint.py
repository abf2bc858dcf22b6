"""The endpoint that programs poll: what it answers, and that nobody who connects can do it harm."""

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hypnostream.bridges import http_endpoint
from hypnostream.bridges.http_endpoint import (
    LARGEST_REQUEST_BYTES,
    MOST_CONNECTIONS,
    PATIENCE_S,
    HttpEndpoint,
    Page,
    host_and_port,
)
from hypnostream.errors import UserError


@pytest.fixture
def endpoint() -> Iterator[HttpEndpoint]:
    pages = {"/page": lambda: Page(200, "text/plain", b"here\n"), "/large": lambda: Page(200, "x/y", bytes(8 << 20))}
    with HttpEndpoint("127.0.0.1:0", pages) as endpoint:
        yield endpoint


def get(address: str, path: str, method: str = "GET") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(address, timeout=10)
    connection.request(method, path)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content


def connect(endpoint: HttpEndpoint) -> socket.socket:
    host, port = endpoint.address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=10)


def said_to(endpoint: HttpEndpoint, request: bytes) -> bytes:
    """All that comes back until the endpoint hangs up."""
    with connect(endpoint) as client:
        try:
            client.sendall(request)
            client.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: client.recv(65536), b""))
        except ConnectionError:  # it hung up while there was more to say
            return b""


def test_a_page_is_served_and_nothing_else(endpoint: HttpEndpoint) -> None:
    assert get(endpoint.address, "/page") == (200, b"here\n")
    assert get(endpoint.address, "/page?query=1") == (200, b"here\n")
    assert get(endpoint.address, "/page", "HEAD") == (200, b"")
    assert get(endpoint.address, "/page", "POST")[0] == 405
    assert get(endpoint.address, "/other")[0] == 404
    assert get(endpoint.address, "/../page")[0] == 404


@pytest.mark.parametrize(
    "request_line", [b"page", b"GET /page", b"GET page HTTP/1.1", b"\x16\x03\x01", b"GET /p\xff HTTP/1.1"]
)
def test_what_is_no_request_is_refused(endpoint: HttpEndpoint, request_line: bytes) -> None:
    assert said_to(endpoint, request_line + b"\r\n\r\n").startswith(b"HTTP/1.1 400 ")


def test_a_request_that_is_too_large_is_refused(endpoint: HttpEndpoint) -> None:
    answer = said_to(endpoint, b"GET /page HTTP/1.1\r\nX: " + b"a" * LARGEST_REQUEST_BYTES * 4 + b"\r\n\r\n")
    assert not answer.startswith(b"HTTP/1.1 200")
    assert get(endpoint.address, "/page")[0] == 200


@given(
    request=st.binary(max_size=200) | st.binary(max_size=100).map(lambda b: b"GET /page HTTP/1.1\r\n" + b + b"\r\n\r\n")
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_hostile_bytes_change_nothing_for_others(endpoint: HttpEndpoint, request: bytes) -> None:
    assert said_to(endpoint, request)[:12] in (b"", b"HTTP/1.1 200", b"HTTP/1.1 400", b"HTTP/1.1 404", b"HTTP/1.1 405")
    assert get(endpoint.address, "/page") == (200, b"here\n")


def test_those_who_hold_on_keep_nobody_out_and_are_cut_off(
    endpoint: HttpEndpoint, caplog: pytest.LogCaptureFixture
) -> None:
    holding = [connect(endpoint) for _ in range(MOST_CONNECTIONS * 3)]
    for client in holding:
        client.sendall(b"GET /page HTTP/1.1\r\nX: ")  # and no end
    assert get(endpoint.address, "/page") == (200, b"here\n")
    assert threading.active_count() < 10  # no thread a connection
    for client in holding:
        client.settimeout(PATIENCE_S + 5)
        with contextlib.suppress(ConnectionError):
            assert client.recv(1) == b""
        client.close()
    assert caplog.records == []  # nor can they fill a disk with logs


def test_a_page_that_takes_long_to_make_is_served_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_endpoint, "PATIENCE_S", 1.0)

    def made() -> Page:
        time.sleep(1.1)
        return Page(200, "x/y", bytes(16 << 20))

    with HttpEndpoint("127.0.0.1:0", {"/page": made}) as endpoint, connect(endpoint) as client:
        client.sendall(b"GET /page HTTP/1.1\r\n\r\n")
        time.sleep(1.2)  # more than fits between the two is there, and the asker slow to take it
        assert len(b"".join(iter(lambda: client.recv(1 << 20), b""))) > 16 << 20


def test_one_who_never_reads_the_answer_is_cut_off(endpoint: HttpEndpoint) -> None:
    with connect(endpoint) as client:
        client.sendall(b"GET /large HTTP/1.1\r\n\r\n")
        assert get(endpoint.address, "/page") == (200, b"here\n")
        threading.Event().wait(PATIENCE_S + 0.5)
        client.settimeout(10)
        came = 0
        try:
            while part := client.recv(1 << 20):
                came += len(part)
        except ConnectionError:
            pass
        assert came < 8 << 20


def test_an_address_that_is_taken_is_one_line(endpoint: HttpEndpoint) -> None:
    with pytest.raises(UserError, match="Address already in use; stop who holds it or choose another port"):
        HttpEndpoint(endpoint.address, {})


def test_closed_it_lets_go_of_its_address_and_its_thread() -> None:
    endpoint = HttpEndpoint("127.0.0.1:0", {})
    threads = threading.active_count()
    endpoint.close()
    endpoint.close()
    assert threading.active_count() == threads - 1
    HttpEndpoint(endpoint.address, {}).close()


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1:9464", ("127.0.0.1", 9464)),
        ("localhost:1", ("127.0.0.1", 1)),
        ("[::1]:9464", ("::1", 9464)),
        ("127.8.8.8:0", ("127.8.8.8", 0)),
    ],
)
def test_loopback_passes(address: str, expected: tuple[str, int]) -> None:
    assert host_and_port(address) == expected


@pytest.mark.parametrize("address", ["0.0.0.0:9464", "192.0.2.7:9464", "[::]:9464", "[2001:db8::1]:80"])
def test_another_address_needs_insecure(address: str) -> None:
    with pytest.raises(UserError, match="only this machine can reach"):
        host_and_port(address)
    assert host_and_port(address, insecure=True)[1] in (9464, 80)


@pytest.mark.parametrize(
    "address",
    ["", "9464", ":9464", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "example.com:80", "127.1:80", "*:80", "::1:80"],
)
def test_what_is_no_address_is_refused_even_as_insecure(address: str) -> None:
    with pytest.raises(UserError, match="is not HOST:PORT"):
        host_and_port(address, insecure=True)
