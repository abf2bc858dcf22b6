"""LSL kept to this machine and to a named session, so that tests, demos and beds never see each other's streams."""

import re
from typing import Final

import pylsl

from hypnostream.errors import UserError

_in_use: list[str] = []  # liblsl reads its configuration once a process
_SESSION_ID: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def private_lsl_config(session_id: str) -> str:
    """liblsl's configuration (an INI text, also good for a file named by LSLAPICFG) for one private session.

    Nothing leaves the machine, only streams of the same session are found, and liblsl writes nothing to the terminal:
    what goes wrong is in the source's warnings.
    """
    if not _SESSION_ID.fullmatch(session_id):
        raise UserError(f"LSL session id {session_id!r} is not 1 to 64 letters, digits, dots, dashes and underscores")
    return f"[multicast]\nResolveScope = machine\n[lab]\nSessionID = {session_id}\n[log]\nlevel = -3\n"


def use_private_lsl(session_id: str) -> None:
    """Makes this process's LSL private; before anything else of LSL, and once: liblsl reads it at its first use."""
    config = private_lsl_config(session_id)
    if _in_use and _in_use[0] != session_id:
        raise UserError(f"this process's LSL session is {_in_use[0]!r} already; use {session_id!r} in another process")
    if not _in_use:
        pylsl.set_config_content(config)
        _in_use.append(session_id)
