"""Which addresses results may leave by: those that only this machine can reach, unless told otherwise."""

import ipaddress
import re
import socket
import stat
from pathlib import Path
from typing import Any, Protocol

import zmq

from hypnostream.errors import UserError

_TCP = re.compile(r"tcp://(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<v4>[0-9.]+)):(?P<port>\*|[0-9]{1,5})")


class ServerSecurity(Protocol):
    """Sets a socket up, before it is bound, so that only those who may can connect."""

    def serve(self, socket: zmq.Socket[Any]) -> None:
        """Set it up."""
        ...


class ClientSecurity(Protocol):
    """Sets a socket up, before it connects, with the keys that its server asks for."""

    def connect(self, socket: zmq.Socket[Any]) -> None:
        """Set it up."""
        ...


def bindable(address: str, *, insecure: bool = False) -> str:
    """The address to bind, or UserError for one that other machines reach or that something else holds.

    See `permitted`; of ipc:// also what lies at its path counts.
    """
    address = permitted(address, insecure=insecure)
    if address.startswith("ipc://"):
        _refuse_taken_file(address)
    return address


def permitted(address: str, *, insecure: bool = False) -> str:
    """The address to bind, whoever holds it now, or UserError for one that other machines reach.

    Loopback TCP ("tcp://127.0.0.1:5556", "tcp://localhost:*", "tcp://[::1]:5556"), ipc:// and inproc:// pass; with
    `insecure` every other one, as it is. A name other than localhost is refused: what it resolves to may change.
    """
    if address.startswith("tcp://localhost:"):
        address = address.replace("localhost", "127.0.0.1", 1)
    if not (insecure or address.startswith(("ipc://", "inproc://")) or _is_loopback(address)):
        raise UserError(
            f"address {address!r} is not one that only this machine can reach; publish on tcp://127.0.0.1:PORT or "
            "ipc://PATH, or make keys for those who may listen (`hypnostream keys new`, publish.keys), or, if all who "
            "can reach it may see the results, allow it as insecure"
        )
    return address


def reaches_others(address: str) -> bool:
    """Whether other machines may reach what is bound to `address`."""
    return not (address.startswith(("ipc://", "inproc://")) or _is_loopback(address))


def replay_address_of(address: str) -> str:
    """Where a session that publishes on `address` answers requests for what was missed, unless it is told otherwise:
    on the next port, or at the path + "-replay".

    UserError: there is no next port.
    """
    transport, _, place = address.partition("://")
    host, colon, port = place.rpartition(":")
    if transport != "tcp" or not colon:
        return f"{address}-replay"
    if port in ("*", "0"):
        return address
    if not port.isascii() or not port.isdigit() or int(port) >= 65535:
        raise UserError(f"address {address!r} has no next port to answer requests on; name one with publish.replay")
    return f"tcp://{host}:{int(port) + 1}"


def replay_address_seen(address: str, told: str) -> str | None:
    """The replay address that a publisher told, as seen by who connected to it at `address`; None where it is none.

    A publisher may be bound to any interface, and what it tells comes from outside: only its port is taken, never a
    host other than the one that was connected to.
    """
    transport, _, place = address.partition("://")
    if not told.startswith(f"{transport}://"):
        return None
    if transport != "tcp":
        return told
    host, port = place.rpartition(":")[0], told.rpartition(":")[2]
    return f"tcp://{host}:{port}" if re.fullmatch(r"[0-9]{1,5}", port) and 0 < int(port) <= 65535 else None


def _is_loopback(address: str) -> bool:
    match = _TCP.fullmatch(address)
    if match is None or (match["port"] != "*" and int(match["port"]) > 65535):
        return False
    try:
        return ipaddress.ip_address(match["v6"] or match["v4"]).is_loopback
    except ValueError:
        return False


def _refuse_taken_file(address: str) -> None:
    """ZeroMQ removes whatever file has the name of an ipc address, be it a recording or a living publisher's."""
    name = address.removeprefix("ipc://")
    if name.startswith(("@", "*")):  # no file: abstract, or a name that ZeroMQ chooses
        return
    try:
        mode = Path(name).stat().st_mode
    except (OSError, ValueError):  # nothing there; what else is wrong with the name, ZeroMQ says
        return
    if not stat.S_ISSOCK(mode):
        raise UserError(f"address {address}: {name} exists and is not a socket; choose another path")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(name)
        except OSError:
            return  # left behind by a process that is gone
    raise UserError(f"address {address} is in use, perhaps by another session; stop that or choose another path")
