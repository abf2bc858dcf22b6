"""What liblsl is configured with: a private session, machines to ask by name, and how quickly the reader looks around.

liblsl reads an INI text once a process, before its first use. The one for the reader stands on the user's own
`lsl_api.cfg`, if there is one: what that file says is kept.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from hypnostream.errors import UserError

_in_use: list[str] = []  # liblsl reads its configuration once a process
_SESSION_ID: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_PEER: Final = re.compile(r"[A-Za-z0-9_.:%-]{1,255}")
_Ini = dict[tuple[str, str], str]  # by section and key

# Where one process looks for the streams of many beds hundreds of outlets answer each time it asks.
_SELDOM: Final[_Ini] = {("tuning", "ContinuousResolveInterval"): "1.0"}
# liblsl asks for streams every 1.75 s and takes 0.64 s to learn a clock's offset: too slow to be back within a second.
# Each time it asks it holds four ports of the 32 in LSL's range until the longest round trip is over, and who asks
# often and waits long takes them all: then new outlets find no port in the range, and nobody finds them.
_QUICK: Final[_Ini] = {
    ("tuning", "MulticastMinRTT"): "0.1",
    ("tuning", "MulticastMaxRTT"): "0.5",
    ("tuning", "UnicastMinRTT"): "0.1",
    ("tuning", "UnicastMaxRTT"): "0.5",
    ("tuning", "ContinuousResolveInterval"): "0.2",
    # Of each measurement of a clock's offset liblsl 1.18 keeps some 250 bytes for ever: every 2 s, as it would by
    # itself, is 2 MB an hour for four streams. A line through the last minute is as good with seven of them.
    ("tuning", "TimeUpdateInterval"): "8.0",
    ("tuning", "TimeProbeInterval"): "0.02",
    ("tuning", "TimeProbeMaxRTT"): "0.1",
    ("log", "level"): "-3",
}


def lsl_config(session_id: str | None = None, known_peers: Sequence[str] = ()) -> str:
    """A configuration for liblsl, good for a file named by LSLAPICFG, on every machine that takes part.

    With a `session_id` only streams of that session on this machine are found, nothing leaves the machine, and liblsl
    writes nothing to the terminal. `known_peers` are names or addresses to ask one by one: for networks without
    multicast. Raises UserError for what could smuggle in other settings.
    """
    return _write(_settings(session_id, known_peers))


def private_lsl_config(session_id: str) -> str:
    """`lsl_config` of one private session."""
    return lsl_config(session_id)


def reader_config(session_id: str | None = None, known_peers: Sequence[str] = (), many: bool = False) -> str:
    """What the reader's liblsl gets: quick discovery, for `many` beds less so; under the user's own file, under what
    is asked for here.

    Raises UserError when that file is not what liblsl reads.
    """
    path = None if session_id is not None else config_file()
    own = _read(path) if path else {}
    return _write(_QUICK | (_SELDOM if many else {}) | own | _settings(session_id, known_peers))


def config_file() -> Path | None:
    """The file that liblsl would read by itself, if there is one."""
    named = os.environ.get("LSLAPICFG")
    places = [*([named] if named else []), "lsl_api.cfg", "~/lsl_api/lsl_api.cfg", "/etc/lsl_api/lsl_api.cfg"]
    for place in places:
        path = Path(place).expanduser()
        if path.is_file() and os.access(path, os.R_OK):
            return path
    return None


def session_in_use() -> str | None:
    """The private session that `use_private_lsl` made this process's own."""
    return _in_use[0] if _in_use else None


def use_private_lsl(session_id: str) -> None:
    """Makes this process's LSL private; before anything else of LSL, and once: liblsl reads it at its first use.

    For processes that send. Who reads, does so in a process of its own (see lsl.py).
    """
    config = private_lsl_config(session_id)
    if _in_use and _in_use[0] != session_id:
        raise UserError(f"this process's LSL session is {_in_use[0]!r} already; use {session_id!r} in another process")
    if not _in_use:
        import pylsl

        pylsl.set_config_content(config)
        _in_use.append(session_id)


def _settings(session_id: str | None, known_peers: Sequence[str]) -> _Ini:
    settings: _Ini = {}
    if session_id is not None:
        if not _SESSION_ID.fullmatch(session_id):
            raise UserError(
                f"LSL session id {session_id!r} is not 1 to 64 letters, digits, dots, dashes and underscores"
            )
        settings[("multicast", "ResolveScope")] = "machine"
        # Of those who share LSL's port, a packet to 127.0.0.1 reaches the last one only: any other program that sends
        # over LSL would hide ours. Loopback's broadcast address reaches all.
        settings[("multicast", "AddressesOverride")] = "{127.255.255.255, 127.0.0.1}"
        settings[("lab", "SessionID")] = session_id
        settings[("log", "level")] = "-3"
    for peer in known_peers:
        if not _PEER.fullmatch(peer):
            raise UserError(f"LSL peer {peer!r} is neither a host's name nor an address")
    if known_peers:
        settings[("lab", "KnownPeers")] = "{" + ", ".join(known_peers) + "}"
    return settings


def _write(settings: _Ini) -> str:
    sections = dict.fromkeys(section for section, _ in settings)
    return "".join(
        f"[{section}]\n" + "".join(f"{key} = {value}\n" for (of, key), value in settings.items() if of == section)
        for section in sections
    )


def _read(path: Path) -> _Ini:
    """An INI file by liblsl's rules."""
    settings: _Ini = {}
    section = ""
    for number, line in enumerate(path.read_text("utf-8", errors="replace").splitlines(), 1):
        text = line.strip()
        key, equals, value = text.partition("=")
        if not text or text.startswith(";"):
            continue
        if text.startswith("[") and "]" in text:
            section = text[1 : text.index("]")]
        elif key.strip() and equals and value.strip():
            settings[(section, key.strip())] = value.strip()
        else:
            raise UserError(
                f"LSL configuration {path}, line {number}: {text[:60]!r} is not 'key = value'; mend the file"
            )
    return settings
