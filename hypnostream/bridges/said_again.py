"""What is computed again after a session was cut off, in the words in which it was said before."""

import logging
from contextlib import suppress
from typing import NamedTuple

from msgspec.structs import replace

from hypnostream.bridges.messages import Message, StatusMessage, decode, encode, same_said
from hypnostream.bridges.result_log import ResultLog

_logger = logging.getLogger(__name__)


class SaidAgain(NamedTuple):
    """The message to say, its body, and whether it `differs` from what was said under its number before."""

    message: Message
    body: bytes
    differs: bool


def said_again(log: ResultLog, message: Message, body: bytes) -> SaidAgain:
    """`message` as the log has it under its number, as it is where the log has none.

    A notice that is another than the one in the log is said, after all that was.
    """
    bodies: list[bytes] = []
    with suppress(OSError):
        bodies = log.read(message.topic, message.seq, message.seq, 0).bodies
    if not bodies:
        return SaidAgain(message, body, False)
    if same_said(decode(bodies[0]), message):
        return SaidAgain(message, bodies[0], False)
    _logger.warning("%s %d, computed again, differs from what was published", message.topic, message.seq)
    if isinstance(message, StatusMessage):  # as a power cut took the steps that the other came of
        message = replace(message, seq=log.last_seq.get(message.topic, -1) + 1)
        return SaidAgain(message, encode(message), True)
    return SaidAgain(message, bodies[0], True)
