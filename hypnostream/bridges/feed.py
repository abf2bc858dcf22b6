"""One session's messages to many readers, each at its own pace: what is settled so far, then what comes."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

from hypnostream.bridges.messages import HEARTBEAT_TOPIC, INDICES_TOPIC, PROVISIONAL_TOPIC, Message

# The next one makes these worthless; they are not kept.
PASSING: Final = (PROVISIONAL_TOPIC, INDICES_TOPIC, HEARTBEAT_TOPIC)
MOST_KEPT: Final = 20_000  # messages of a session; a night of 12 h has some 2000
MOST_WAITING: Final = 4000  # per reader; half an hour of everything. The texts are shared between readers


class Line(NamedTuple):
    """A message as it is sent."""

    topic: str
    text: str


@dataclass(slots=True, eq=False)
class Reader:
    """One reader's share: first the past, then what came since, in order.

    When `most` live messages wait, the oldest passing one makes room; where there is none, `too_slow` is set and
    nothing waits any more. `skipped` counts the messages that made room. One event loop uses it.
    """

    topics: tuple[str, ...]
    past: deque[Line]
    most: int = MOST_WAITING
    skipped: int = 0
    too_slow: asyncio.Event = field(default_factory=asyncio.Event)
    _waiting: deque[Line] = field(default_factory=deque)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def offer(self, line: Line) -> None:
        """Queues a live message, if it is of the reader's topics."""
        if not line.topic.startswith(self.topics) or self.too_slow.is_set():
            return
        if len(self._waiting) >= self.most and not self._make_room():
            self.too_slow.set()
            self.past.clear()
            self._waiting.clear()
            return
        self._waiting.append(line)
        self._news.set()

    async def take(self) -> str:
        """The next message's text, when there is one."""
        if self.past:
            return self.past.popleft().text
        while not self._waiting:
            self._news.clear()
            await self._news.wait()
        return self._waiting.popleft().text

    def _make_room(self) -> bool:
        for place, line in enumerate(self._waiting):
            if line.topic in PASSING:
                del self._waiting[place]
                self.skipped += 1
                return True
        return False


class Feed:
    """The settled messages of the session that is on, and who reads. A new session forgets the one before."""

    def __init__(self, most_waiting: int = MOST_WAITING) -> None:
        self._most_waiting = most_waiting
        self._session_id = ""
        self._kept: dict[tuple[str, int], Line] = {}
        self._readers: set[Reader] = set()

    def __len__(self) -> int:
        """How many read."""
        return len(self._readers)

    def enter(self, message: Message) -> None:
        """Keeps a message if it is settled, and hands it to every reader; one that came before is left out."""
        if message.origin.session_id != self._session_id:
            self._session_id = message.origin.session_id
            self._kept.clear()
        if (message.topic, message.seq) in self._kept:
            return
        line = Line(message.topic, msgspec.json.encode(message).decode())
        if message.topic not in PASSING:
            self._kept[message.topic, message.seq] = line
            if len(self._kept) > MOST_KEPT:
                del self._kept[next(iter(self._kept))]
        for reader in self._readers:
            reader.offer(line)

    def join(self, topics: tuple[str, ...]) -> Reader:
        """A new reader of topics that begin so; what is settled waits for it already."""
        past = deque(line for line in self._kept.values() if line.topic.startswith(topics))
        reader = Reader(topics, past, self._most_waiting)
        self._readers.add(reader)
        return reader

    def leave(self, reader: Reader) -> None:
        """The reader is gone."""
        self._readers.discard(reader)
