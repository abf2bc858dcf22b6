"""What a client hears, waited for by what is said and not by a time in which it ought to have come."""

import time
from collections.abc import Callable

from hypnostream.bridges.client import Client
from hypnostream.bridges.messages import Message

WITHIN_S = 120.0


def heard_until(client: Client, wanted: Callable[[Message], bool]) -> list[Message]:
    """All messages up to the next that is wanted."""
    messages: list[Message] = []
    deadline_s = time.monotonic() + WITHIN_S
    while (left_s := deadline_s - time.monotonic()) > 0:
        message = client.receive(left_s)
        if message is not None:
            messages.append(message)
            if wanted(message):
                return messages
    raise AssertionError(f"it was not said; the last of {len(messages)} messages that were: {messages[-3:]}")


def heard(client: Client, wanted: Callable[[Message], bool]) -> Message:
    """The next message that is wanted."""
    return heard_until(client, wanted)[-1]
