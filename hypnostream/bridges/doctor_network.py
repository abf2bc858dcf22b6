"""The network as LSL sees it: its configuration, interfaces, multicast, ports."""

import configparser
import os
import secrets
import socket
import time
from collections.abc import Iterator

import psutil

from hypnostream.bridges.doctor import OK, PROBLEM, WARNING, Check
from hypnostream.bridges.lsl_config import config_file, reader_config
from hypnostream.config import BedConfig
from hypnostream.errors import UserError

MULTICAST_PORT = 16571
FIRST_PORT, LAST_PORT = 16572, 16604
# Where liblsl asks for streams by default, on one link and on one site.
GROUPS = ("224.0.0.183", "239.255.172.215")
ANSWER_S = 0.5
WITHOUT_MULTICAST = "name the senders: `hypnostream doctor --lsl-config PEER ...` prints a file for LSL"
_SHOWN = (
    ("lab", "SessionID"),
    ("lab", "KnownPeers"),
    ("multicast", "ResolveScope"),
    ("multicast", "AddressesOverride"),
    ("ports", "MulticastPort"),
    ("ports", "BasePort"),
    ("ports", "PortRange"),
    ("ports", "IPv6"),
)


def examine(config: BedConfig) -> Iterator[Check]:
    """What liblsl reads, then what the network does with it."""
    yield from configuration(config)
    yield from interfaces()
    yield from ports()


def configuration(config: BedConfig) -> Iterator[Check]:
    """Which of LSL's configuration files is read and what it says; what the bed's own file puts above it."""
    own = []
    if config.lsl.private_session is not None:
        own.append(f"private session {config.lsl.private_session!r}")
    if config.lsl.known_peers:
        own.append(f"known peers {', '.join(config.lsl.known_peers)}")
    if own:
        yield Check("LSL configuration", OK, f"the bed's own, above every file: {'; '.join(own)}")
    named = os.environ.get("LSLAPICFG")
    if named and not os.access(named, os.R_OK):
        yield Check(
            "LSL configuration", PROBLEM, f"LSLAPICFG names {named}, which cannot be read", "mend or unset LSLAPICFG"
        )
    try:
        reader_config(config.lsl.private_session, config.lsl.known_peers)
    except UserError as error:
        yield Check("LSL configuration", PROBLEM, str(error), "mend it or remove it")
        return
    path = config_file()
    if path is None:
        yield Check("LSL configuration", OK, "no file; LSL's own defaults hold")
        return
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    try:
        parser.read_string(path.read_text("utf-8", errors="replace"))
    except (OSError, configparser.Error):
        yield Check("LSL configuration", OK, f"{path} is read")
        return
    said = [f"{key} = {parser.get(part, key)}" for part, key in _SHOWN if parser.has_option(part, key)]
    yield Check("LSL configuration", OK, f"{path} is read: {'; '.join(said) or 'nothing that changes who is found'}")
    session = parser.get("lab", "SessionID", fallback="default")
    if session != "default":
        yield Check(
            "LSL configuration",
            WARNING,
            f"only streams of session {session!r} are found",
            "set the same SessionID at every sender, or none",
        )


def interfaces() -> Iterator[Check]:
    """Each interface that is up, with its addresses, and whether a multicast packet comes back on it."""
    states = psutil.net_if_stats()
    back = tried = 0
    for name, addresses in psutil.net_if_addrs().items():
        if name not in states or not states[name].isup:
            continue
        ip4 = [a.address for a in addresses if a.family == socket.AF_INET]
        ip6 = [a.address for a in addresses if a.family == socket.AF_INET6]
        shown = ", ".join([*ip4, *ip6]) or "no address"
        if not ip4:
            yield Check("interface", OK, f"{name}: {shown}")
            continue
        outcomes = {group: comes_back(ip4[0], group) for group in GROUPS}
        loopback = ip4[0].startswith("127.")
        tried += not loopback
        failed = [f"{group}: {reason}" for group, reason in outcomes.items() if reason]
        back += not failed and not loopback
        said = f"multicast does not come back ({'; '.join(failed)})" if failed else "multicast comes back"
        state = WARNING if failed and not loopback else OK
        yield Check("interface", state, f"{name}: {shown}; {said}", WITHOUT_MULTICAST if state == WARNING else "")
    if not tried:
        yield Check(
            "interface", WARNING, "no network but this machine's own", "connect it, unless the sender runs here"
        )
    elif not back:
        yield Check("multicast", WARNING, "on no network are streams of other machines found", WITHOUT_MULTICAST)


def comes_back(interface: str, group: str, port: int = MULTICAST_PORT) -> str:
    """Send a packet to a multicast group by the interface with this IPv4 address and hear it there; why not, or ""."""
    token = b"hypnostream doctor " + secrets.token_hex(8).encode()
    try:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hears,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as says,
        ):
            hears.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # LSL may listen on this port too
            if hasattr(socket, "SO_REUSEPORT") and not hasattr(os, "sched_getaffinity"):
                hears.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # what macOS asks of those who share
            hears.bind(("", port))
            membership = socket.inet_aton(group) + socket.inet_aton(interface)
            hears.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
            says.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(interface))
            says.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
            says.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
            says.sendto(token, (group, port))
            deadline = time.monotonic() + ANSWER_S
            while (left_s := deadline - time.monotonic()) > 0:
                hears.settimeout(left_s)
                if hears.recv(2048) == token:
                    return ""
    except TimeoutError:
        pass
    except OSError as error:
        return error.strerror or str(error)
    return f"nothing within {ANSWER_S:g} s"


def ports() -> Iterator[Check]:
    """LSL's own ports: each stream that is sent from here takes one, TCP and UDP."""
    free = sum(_free(port) for port in range(FIRST_PORT, LAST_PORT + 1))
    said = f"{free} of {LAST_PORT - FIRST_PORT + 1} free, {FIRST_PORT} to {LAST_PORT} TCP and UDP"
    if free >= 4:
        yield Check("LSL ports", OK, f"{said}; a firewall must let them and UDP {MULTICAST_PORT} pass")
    else:
        state, todo = (WARNING if free else PROBLEM), "stop what holds them, or set PortRange in lsl_api.cfg"
        yield Check("LSL ports", state, said, todo)


def _free(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind(("", port))
            except OSError:
                return False
    return True
