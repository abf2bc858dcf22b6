"""What is computed again after a session was cut off, in the words in which it was said before."""

import logging
from contextlib import suppress
from typing import NamedTuple

from msgspec.structs import astuple, replace

from hypnostream.bridges.messages import EpochMessage, EventMessage, Message, StatusMessage, decode, encode
from hypnostream.bridges.result_log import ResultLog

ROUNDING = 1e-5  # a bed among many, computed again alone, adds up its sums in another order
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
    _logger.warning("%s: %s %d, computed again, differs from what was published", log.path, message.topic, message.seq)
    if isinstance(message, StatusMessage):  # as a power cut took the steps that the other came of
        message = replace(message, seq=log.last_seq.get(message.topic, -1) + 1)
        return SaidAgain(message, encode(message), True)
    return SaidAgain(message, bodies[0], True)


def same_said(before: Message, again: Message) -> bool:
    """Whether two messages say the same, but for when, by which process, how late, and how the model rounded."""
    before, again = (replace(message, time=again.time, origin=again.origin) for message in (before, again))
    if isinstance(before, EpochMessage | EventMessage) and isinstance(again, EpochMessage | EventMessage):
        before, again = replace(before, latency_s=None), replace(again, latency_s=None)
    if isinstance(before, EpochMessage) and isinstance(again, EpochMessage):
        ours, theirs = (astuple(each.probabilities) for each in (before, again))
        if max(abs(one - other) for one, other in zip(ours, theirs, strict=True)) <= ROUNDING:
            before = _with_numbers_of(again, before)
    return before == again


def _with_numbers_of(again: EpochMessage, before: EpochMessage) -> EpochMessage:
    weights = {channel.name: channel.weight for channel in again.channels}
    channels = tuple(replace(each, weight=weights.get(each.name, each.weight)) for each in before.channels)
    return replace(before, probabilities=again.probabilities, confidence=again.confidence, channels=channels)
