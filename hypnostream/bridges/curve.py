"""Results for other machines, and for no others than those: CURVE (encrypted, both ends known by key) on ZeroMQ.

A publisher's `Gate` lets in those who hold a key of its allow-list, as the list is when they connect. ZeroMQ asks only
then: who is taken off the list keeps the connection that is open, until it breaks or the publisher ends.
"""

import logging
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import zmq
from zmq.utils import z85

from hypnostream.bridges.key_files import ALLOWED, SERVER, read_allowed, read_public, read_secret
from hypnostream.config import PublishSection
from hypnostream.errors import UserError

HANDSHAKE_MS = 3000  # who has not proved who it is by then is disconnected
REREAD_S = 1.0  # how old the list may be when its folder looks unchanged
REFUSED_AGAIN_S = 60.0  # who is refused comes again and again: said once in so long, with how many it were

_logger = logging.getLogger(__name__)
_ZAP = "inproc://zeromq.zap.01"  # where libzmq asks: RFC 27, ZeroMQ Authentication Protocol
_NO_MORE = [b""]  # in a question's place: the gate closes


@dataclass(frozen=True, slots=True)
class ClientKeys:
    """A client's secret, and the public key that its publisher must prove to hold (Z85)."""

    secret: bytes = field(repr=False)
    server: bytes

    def connect(self, socket: zmq.Socket[Any]) -> None:
        """Before `socket` is connected."""
        socket.set(zmq.CURVE_SECRETKEY, self.secret)
        socket.set(zmq.CURVE_PUBLICKEY, zmq.curve_public(self.secret))
        socket.set(zmq.CURVE_SERVERKEY, self.server)
        socket.set(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)


def client_keys(folder: Path, name: str | None = None) -> ClientKeys:
    """The publisher's server.public and one's own NAME.secret in `folder` (default: the only one). Raises UserError."""
    if name is None:
        names = sorted(path.stem for path in folder.glob("*.secret") if path.stem != SERVER)
        if len(names) != 1:
            raise UserError(
                f"{folder} holds {len(names)} client secrets and must hold one; `hypnostream keys new NAME` makes it"
            )
        name = names[0]
    server = folder / f"{SERVER}.public"
    if not server.is_file():
        raise UserError(f"{server} is not there; copy it from the keys of the bed that is to be listened to")
    return ClientKeys(read_secret(folder / f"{name}.secret"), read_public(server))


def gate_of(section: PublishSection) -> "Gate | None":
    """The gate that a bed's configuration asks for; None where it names no keys. Raises UserError."""
    if section.keys is None:
        return None
    if section.insecure:
        raise UserError("publish.keys and publish.insecure exclude each other; take one of them out")
    return Gate(Path(section.keys))


class Gate:
    """Lets to the sockets of one context those who hold a key of the allow-list in `folder`.

    The folder is what `hypnostream keys new server` made. Whether someone may connect is answered in a thread, which
    begins with the first socket served and ends with its context, or when closed; closing leaves who is connected.
    `allowed` and `refused` count the answers. A list that cannot be read lets no one in.

    UserError: there is no secret or no list, or others may read the one or write the other.
    """

    def __init__(self, folder: Path) -> None:
        self.allowed = 0
        self.refused = 0
        self._refused_said: float | None = None
        self._secret = read_secret(folder / f"{SERVER}.secret")
        self.problems = read_allowed(folder).problems
        self._list = _LiveList(folder)
        self._context: zmq.Context[Any] | None = None
        self._thread: threading.Thread | None = None

    def serve(self, socket: zmq.Socket[Any]) -> None:
        """Before `socket` is bound: whoever comes must hold an allowed key."""
        socket.set(zmq.CURVE_SERVER, 1)
        socket.set(zmq.CURVE_SECRETKEY, self._secret)
        socket.set(zmq.ZAP_DOMAIN, b"hypnostream")
        socket.set(zmq.ZAP_ENFORCE_DOMAIN, 1)  # where no one answers, no one is let in, instead of everyone
        socket.set(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        if self._thread is None or not self._thread.is_alive():
            self._open(socket.context)

    def close(self) -> None:
        """No one is let in any more; at once."""
        if self._thread is None or self._context is None:
            return
        if self._thread.is_alive() and not self._context.closed:
            with self._context.socket(zmq.REQ) as last:
                last.connect(_ZAP)
                last.send_multipart(_NO_MORE)
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, context: zmq.Context[Any]) -> None:
        answering: zmq.Socket[Any] = context.socket(zmq.REP)
        answering.set(zmq.LINGER, 0)
        answering.bind(_ZAP)
        self._context = context
        self._thread = threading.Thread(target=self._answer, args=(answering,), name="gate", daemon=True)
        self._thread.start()

    def _answer(self, socket: zmq.Socket[Any]) -> None:
        with socket:
            while True:
                try:
                    question = socket.recv_multipart()
                    if question == _NO_MORE:
                        return
                    socket.send_multipart(self._answer_to(question))
                except zmq.ContextTerminated:
                    return

    def _answer_to(self, question: list[bytes]) -> list[bytes]:
        # version, request, domain, address, identity, mechanism, credentials
        request, mechanism, credentials = question[1:2], question[5:6], question[6:]
        if mechanism == [b"CURVE"] and len(credentials) == 1 and len(credentials[0]) == 32:
            key = z85.encode(credentials[0])
            if key in self._list.read():
                self.allowed += 1
                return [b"1.0", *request, b"200", b"", key, b""]
        self.refused += 1
        now = time.monotonic()
        if self._refused_said is None or now - self._refused_said >= REFUSED_AGAIN_S:
            _logger.warning("a client without an allowed key was refused, %d by now", self.refused)
            self._refused_said = now
        # "Not now": the connection is dropped after HANDSHAKE_MS and the client comes again, so that one that is
        # listed while it waits gets in. After "400", never, it would not ask again.
        return [b"1.0", *request, b"300", b"", b"", b""]


class _LiveList:
    """The allow-list, read again when its folder changed and, as not every change shows there, each second."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._keys: frozenset[bytes] = frozenset()
        self._read_s = float("-inf")
        self._changed_ns: int | None = None

    def read(self) -> frozenset[bytes]:
        """The keys (Z85) that may connect; none while the list cannot be read."""
        now_s = time.monotonic()
        try:
            changed_ns = (self._folder / ALLOWED).stat().st_mtime_ns
            if changed_ns != self._changed_ns or now_s - self._read_s >= REREAD_S:
                self._keys = frozenset(read_allowed(self._folder).names)
                self._changed_ns, self._read_s = changed_ns, now_s
        except (UserError, OSError):
            self._keys, self._changed_ns = frozenset(), None
        return self._keys
