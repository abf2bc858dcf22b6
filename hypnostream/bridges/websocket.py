"""A session for web pages: a WebSocket with the same messages as JSON, in a process of its own.

It takes nothing in: which topics a reader wants stands in the address (`/messages?topic=epoch&topic=status`), and a
frame from a reader ends its connection. A page may read only if it comes from here or from an origin that was named.
"""

import asyncio
import ipaddress
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Mount, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from hypnostream.bridges.client import Client
from hypnostream.bridges.feed import MOST_WAITING, Feed, Reader
from hypnostream.errors import UserError

PATH: Final = "/messages"
MOST_READERS: Final = 64
MOST_TOPICS: Final = 16
LARGEST_FRAME_BYTES: Final = 1024  # none is wanted, but a close frame has a reason
GONE_S: Final = 20.0  # who takes nothing for so long is gone
TOOK_NOTHING_IN, TRY_LATER, TOO_SLOW = 1008, 1013, 4008  # close codes; the last is ours
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Visitors:
    """Whose pages may read: those served from here, and those of `origins` ("https://ward.example").

    `hosts` are the names by which this place may be called. A name that anyone can point at 127.0.0.1 is not among
    them, or a page from elsewhere would be from here in the browser's eyes.
    """

    origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] = _LOOPBACK

    def admits(self, host: str, origin: str | None) -> bool:
        """Whether a request with these headers may read. No origin: it is no web page, but a program."""
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        named = (*self.hosts, *(urlsplit(each).hostname for each in self.origins))
        return name in named and (origin is None or origin == f"http://{host}" or origin in self.origins)


class _Gate:
    """Turns away who may not read, before anything else looks at the request."""

    def __init__(self, app: ASGIApp, visitors: Visitors) -> None:
        self._app, self._visitors = app, visitors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            headers = HTTPConnection(scope).headers
            if not self._visitors.admits(headers.get("host", ""), headers.get("origin")):
                if scope["type"] == "websocket":
                    await send({"type": "websocket.close", "code": TOOK_NOTHING_IN})  # before accepting: a plain 403
                else:
                    await PlainTextResponse("not from here\n", 403)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def application(feed: Feed, visitors: Visitors, files: Path | None = None) -> Starlette:
    """The WebSocket at `PATH`, and the folder `files` beside it where one is given."""

    async def messages(websocket: WebSocket) -> None:
        topics = tuple(websocket.query_params.getlist("topic")) or ("",)
        await websocket.accept()
        if len(topics) > MOST_TOPICS:
            await _close(websocket, TOOK_NOTHING_IN, f"more than {MOST_TOPICS} topics")
        elif len(feed) >= MOST_READERS:
            await _close(websocket, TRY_LATER, f"{MOST_READERS} readers are here already")
        else:
            reader = feed.join(topics)
            try:
                await _serve_reader(websocket, reader)
            finally:
                feed.leave(reader)

    routes: list[BaseRoute] = [WebSocketRoute(PATH, messages)]
    if files is not None:
        routes.append(Mount("/", StaticFiles(directory=files, html=True)))
    return Starlette(routes=routes, middleware=[Middleware(_Gate, visitors=visitors)])


async def _serve_reader(websocket: WebSocket, reader: Reader) -> None:
    """Sends until the reader leaves, speaks, or is too slow."""
    sending = asyncio.create_task(_send(websocket, reader))
    hearing = asyncio.create_task(websocket.receive())
    slow = asyncio.create_task(reader.too_slow.wait())
    tasks = (sending, hearing, slow)
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    heard, *_ = await asyncio.gather(hearing, sending, slow, return_exceptions=True)
    if reader.too_slow.is_set():
        await _close(websocket, TOO_SLOW, f"too slow: {reader.most} messages were waiting")
    elif isinstance(heard, dict) and heard["type"] == "websocket.receive":
        await _close(websocket, TOOK_NOTHING_IN, "nothing is taken in here; topics stand in the address")


async def _send(websocket: WebSocket, reader: Reader) -> None:
    with suppress(WebSocketDisconnect):
        while True:
            await websocket.send_text(await reader.take())


async def _close(websocket: WebSocket, code: int, reason: str) -> None:
    """Says why, to a reader who may not be listening."""
    with suppress(TimeoutError, WebSocketDisconnect, RuntimeError):
        await asyncio.wait_for(websocket.close(code, reason), GONE_S)


def serve_web(
    client: Client,
    address: str,
    *,
    origins: tuple[str, ...] = (),
    files: Path | None = None,
    insecure: bool = False,
    most_waiting: int = MOST_WAITING,
    announce: Callable[[str], None] = lambda line: None,
) -> None:
    """Serve `client`'s messages on HOST:PORT until SIGTERM or Ctrl-C; port 0 is a free one.

    UserError: an address that other machines reach and that is not allowed as `insecure`, one that is taken, an origin
    that is none, or a folder that is not there.
    """
    for origin in origins:
        if (
            urlsplit(origin).scheme not in ("http", "https")
            or origin != f"{origin.partition(':')[0]}://{_place(origin)}"
        ):
            raise UserError(f"origin {origin!r} is not one; write https://NAME or https://NAME:PORT, nothing after it")
    if files is not None and not files.is_dir():
        raise UserError(f"--files {files} is not a folder")
    feed = Feed(most_waiting)
    with _listen(address, insecure=insecure) as listening:
        host, port = listening.getsockname()[:2]
        app = application(feed, Visitors(origins, (*_LOOPBACK, host)), files)
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                ws="websockets-sansio",
                ws_max_size=LARGEST_FRAME_BYTES,
                ws_per_message_deflate=False,  # costs more than the way to a browser beside it
                ws_ping_interval=GONE_S,
                ws_ping_timeout=GONE_S,
                lifespan="off",
                log_level="error",
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=1,
            )
        )
        for number in (
            signal.SIGINT,
            signal.SIGTERM,
        ):  # uvicorn takes them while it serves, and raises them again after
            signal.signal(number, lambda *_: setattr(server, "should_exit", True))
        announce(f"serving http://{f'[{host}]' if ':' in host else host}:{port}{PATH}")
        asyncio.run(_serve(server, listening, client, feed))


async def _serve(server: uvicorn.Server, listening: socket.socket, client: Client, feed: Feed) -> None:
    async def pump() -> None:
        async for message in client:
            feed.enter(message)
            await asyncio.sleep(0)  # what is there already comes without waiting: let readers have their turn

    pumping = asyncio.create_task(pump())
    pumping.add_done_callback(lambda _: setattr(server, "should_exit", True))
    await server.serve(sockets=[listening])
    pumping.cancel()
    with suppress(asyncio.CancelledError):
        await pumping


def _place(origin: str) -> str:
    return urlsplit(origin).netloc


def _listen(address: str, *, insecure: bool) -> socket.socket:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        ip = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
        number = int(port)
        if not 0 <= number <= 65535:
            raise ValueError
    except ValueError:
        raise UserError(f"address {address!r} is not HOST:PORT such as 127.0.0.1:8765, the host as a number") from None
    if not (ip.is_loopback or insecure):
        raise UserError(
            f"address {address!r} is not one that only this machine can reach; serve on 127.0.0.1 behind a proxy with "
            "TLS or, if all who can reach it may see the results, allow it as --insecure"
        )
    try:
        listening = socket.create_server(
            (str(ip), number), family=socket.AF_INET6 if ip.version == 6 else socket.AF_INET
        )
    except OSError as error:
        raise UserError(f"cannot serve on {address}: {error.strerror}; choose another port") from error
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; elsewhere the system's own limits on a hung reader hold
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(2000 * GONE_S))
    return listening
