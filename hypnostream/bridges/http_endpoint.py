"""A few pages over HTTP for programs that poll: Prometheus, a supervisor. It only answers GET, and is bounded in all.

It runs in a thread of its own. Whoever connects may send any bytes, or none, or never read: a connection has
`PATIENCE_S` to ask and as long to take the answer, a request `LARGEST_REQUEST_BYTES`, and of more than
`MOST_CONNECTIONS` the oldest goes, so that nobody can keep a supervisor out by holding on.
"""

import asyncio
import ipaddress
import logging
import os
import re
import socket
import threading
from collections.abc import Callable, Mapping
from typing import NamedTuple, Self

from hypnostream.errors import UserError

_logger = logging.getLogger(__name__)

PATIENCE_S = 2.0
LARGEST_REQUEST_BYTES = 8192
MOST_CONNECTIONS = 16
_HOST_PORT = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<v4>[0-9.]+|localhost)):(?P<port>[0-9]{1,5})")
_REQUEST = re.compile(rb"([A-Z]{1,16}) (/[!-~]{0,1000}) HTTP/1\.[01]\r\n")
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


class Page(NamedTuple):
    """An answer: 200 or another status, its content's type, its content."""

    status: int
    kind: str
    body: bytes


def host_and_port(address: str, *, insecure: bool = False) -> tuple[str, int]:
    """ "127.0.0.1:9464" -> ("127.0.0.1", 9464); "[::1]:9464" likewise; port 0 is a free one.

    UserError for what is no such address, and, unless `insecure`, for one that other machines reach. A name other than
    localhost is refused: what it resolves to may change.
    """
    match = _HOST_PORT.fullmatch(address)
    try:
        if match is None or int(match["port"]) > 65535:
            raise ValueError(address)
        host = ipaddress.ip_address((match["v6"] or match["v4"]).replace("localhost", "127.0.0.1"))
    except ValueError as error:
        raise UserError(
            f"metrics address {address!r} is not HOST:PORT with a number for a host; take 127.0.0.1:9464"
        ) from error
    if not (insecure or host.is_loopback):
        raise UserError(
            f"metrics address {address!r} is not one that only this machine can reach; take 127.0.0.1:PORT or, if all "
            "who can reach it may read it, allow it as insecure"
        )
    return str(host), int(match["port"])


class HttpEndpoint:
    """Serves `pages` (a path -> a function that makes its page, called in the endpoint's thread) until closed.

    The attribute `address` is the one that was bound, HOST:PORT. UserError: the address is refused or taken.
    """

    def __init__(self, address: str, pages: Mapping[str, Callable[[], Page]], *, insecure: bool = False) -> None:
        host, port = host_and_port(address, insecure=insecure)
        self._pages = dict(pages)
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._socket = socket.create_server((host, port), family=family, backlog=MOST_CONNECTIONS)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise UserError(
                f"cannot listen on {address}: {reason}; stop who holds it or choose another port"
            ) from error
        bound: int = self._socket.getsockname()[1]
        self.address = f"[{host}]:{bound}" if ":" in host else f"{host}:{bound}"
        self._open: dict[asyncio.Task[None], None] = {}
        self._loop = asyncio.new_event_loop()
        # asyncio logs what it does not expect of a connection: strangers could fill the disk with that.
        self._loop.set_exception_handler(lambda loop, context: _logger.debug("%s", context.get("message")))
        self._ended = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Let go of the address; whoever is connected is cut off."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._ended.set)
            self._thread.join(PATIENCE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connected, sock=self._socket, limit=LARGEST_REQUEST_BYTES)
        try:
            await self._ended.wait()
        finally:
            server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        own = asyncio.current_task()
        if own is None:
            return
        if len(self._open) >= MOST_CONNECTIONS:
            oldest = next(iter(self._open))
            self._open.pop(oldest)
            oldest.cancel()
        self._open[own] = None
        try:
            async with asyncio.timeout(PATIENCE_S):
                request = await _request(reader)
            page, with_body = self._answer(request)  # which may be long in the making where the machine is busy
            async with asyncio.timeout(PATIENCE_S):
                writer.write(_response(page, with_body))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # it went, was too slow, or made room for another
        finally:
            self._open.pop(own, None)
            writer.transport.abort()

    def _answer(self, request: bytes) -> tuple[Page, bool]:
        """The page, and whether its body is wanted."""
        match = _REQUEST.match(request)
        if match is None:
            return _plain(400), True
        if match[1] not in (b"GET", b"HEAD"):
            return _plain(405), True
        make = self._pages.get(match[2].decode("ascii").partition("?")[0])
        return (_plain(404) if make is None else make()), match[1] == b"GET"


async def _request(reader: asyncio.StreamReader) -> bytes:
    """A request's head; b"" for one that is too long."""
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        return b""


def _plain(status: int) -> Page:
    return Page(status, "text/plain; charset=utf-8", f"{_REASONS[status]}\n".encode())


def _response(page: Page, with_body: bool) -> bytes:
    head = (
        f"HTTP/1.1 {page.status} {_REASONS[page.status]}\r\nContent-Type: {page.kind}\r\n"
        f"Content-Length: {len(page.body)}\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
        f"{'Allow: GET, HEAD' + chr(13) + chr(10) if page.status == 405 else ''}Connection: close\r\n\r\n"
    )
    return head.encode("ascii") + (page.body if with_body else b"")
