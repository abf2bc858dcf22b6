"""What came from a session, what is missing and what is gone for good; no socket and no clock.

Each topic's messages are handed on in the order of their seq, each once. Where one is missing on a topic that the
session keeps on disk, those after it are held back until the missing ones were asked for and came (`wanted`, `refill`)
or cannot be had (`give_up`). On other topics what did not come is gone.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from hypnostream.bridges.messages import (
    DURABLE_TOPICS,
    HEARTBEAT_TOPIC,
    HeartbeatMessage,
    Message,
    MessageError,
    decode,
)
from hypnostream.bridges.replay_messages import ReplayReply, SnapshotReply

MOST_TOPICS = 1000  # one publisher's; a number that only nonsense reaches
MOST_HELD = 4000  # messages of a topic that wait for one before them


class Gap(NamedTuple):
    """Messages that were said and did not come, both ends included."""

    topic: str
    from_seq: int
    to_seq: int


@dataclass(slots=True)
class _Topic:
    next_seq: int
    last_seq: int = -1  # the last that is known to have been said
    heard: bool = False  # whether anything of it was handed on
    held: dict[int, Message] = field(default_factory=dict)


class Ledger:
    """Enters what comes. `lost` counts messages that were said since the first one handed on (or since what was asked
    for) on subscribed topics and are gone for good; `malformed` those that were no messages; `repeated` those that had
    come before; `refilled` those that were asked for and came; `restarts` how often another session or process took
    over. `last` is the newest message that came by itself, of any kind.

    With `history` a session's durable topics are wanted from their beginning; with `since` from after the seq given
    for each topic, if it is session `session_id` (none: any) that runs, else from the beginning.

    `can_refill` is whether what is missing can be asked for; None until the session's heartbeat has said it.
    """

    def __init__(
        self,
        topics: tuple[str, ...] = ("",),
        *,
        history: bool = False,
        since: Mapping[str, int] | None = None,
        session_id: str | None = None,
        can_refill: bool | None = None,
    ) -> None:
        self.topics = topics
        self.lost = 0
        self.malformed = 0
        self.repeated = 0
        self.refilled = 0
        self.restarts = 0
        self.heartbeat_interval_s = 1.0
        self.last: Message | None = None
        self.can_refill = can_refill
        self._history = history or since is not None
        self._since = dict(since or {})
        self._claims = since is not None  # what cannot be had of a history that no one was told of is not lost
        self._session_id = session_id
        self._from_nought = False  # a session that began under our eyes
        self._all_listed = False  # whether a heartbeat told of all topics, so that one more has just begun
        self._topics: dict[str, _Topic] = {}

    def enter(self, frames: list[bytes]) -> list[Message]:
        """What can be handed on after these two frames came: nothing, the message in them, more that it released."""
        try:
            message = _read(frames)
        except MessageError:
            self.malformed += 1
            return []
        ready: list[Message] = []
        if self.last is None or message.origin.session_id != self.last.origin.session_id:
            ready += self.give_up()
            self._begin(message)
        elif message.origin.boot_id != self.last.origin.boot_id:
            self.restarts += 1
            self._topics.pop(HEARTBEAT_TOPIC, None)
        topic = self._topic(message.topic, message.seq)
        if topic is None:
            self.malformed += 1
            return ready
        self.last = message
        ready += self._place(topic, message)
        if isinstance(message, HeartbeatMessage):
            self._compare(message.last_seq)
            self._all_listed = True
            self.heartbeat_interval_s = message.interval_s
        return ready

    def hear_of_replay(self, can_refill: bool) -> list[Message]:
        """A heartbeat said whether what is missing can be asked for; what was held back in vain is released."""
        self.can_refill = can_refill
        return [] if can_refill else self.give_up()

    @property
    def missing(self) -> int:
        """How many messages are known to have been said, did not come, and are not given up."""
        return sum(topic.last_seq + 1 - topic.next_seq - len(topic.held) for topic in self._topics.values())

    def wanted(self) -> Gap | None:
        """What to ask for next."""
        if self.can_refill:
            for name, topic in self._topics.items():
                if topic.next_seq <= topic.last_seq and name in DURABLE_TOPICS:
                    return Gap(name, topic.next_seq, min(topic.held, default=topic.last_seq + 1) - 1)
        return None

    def snapshot(self, reply: SnapshotReply) -> list[Message]:
        """Enters the newest of each topic; what is newer by now, or is wanted in its order, is not handed on."""
        if not self._is_current(reply.session_id):
            return []
        ready: list[Message] = []
        for body in reply.messages:
            message = self._decoded(body)
            if message is None or not message.topic.startswith(self.topics):
                continue
            durable = message.topic in DURABLE_TOPICS
            if durable and self._history:
                continue
            topic = self._topic(message.topic, message.seq + 1, joining=not durable)
            if topic is not None and not topic.heard and topic.next_seq == message.seq + 1:
                topic.heard = True
                ready.append(message)
        # On other topics, what is newer than anything that came is still on its way.
        self._compare({name: seq for name, seq in reply.last_seq.items() if name in DURABLE_TOPICS})
        return ready

    def refill(self, reply: ReplayReply) -> list[Message]:
        """Enters a page of what was asked for."""
        topic = self._topics.get(reply.topic)
        if topic is None or not self._is_current(reply.session_id):
            return []
        ready: list[Message] = []
        for body in reply.messages:
            message = self._decoded(body)
            if message is not None and message.topic == reply.topic and message.seq >= topic.next_seq:
                self.lost += message.seq - topic.next_seq
                topic.next_seq = message.seq
                self.refilled += 1
                ready += self._hand_on(topic, message)
        gone = min(reply.next_seq, topic.last_seq + 1, min(topic.held, default=reply.next_seq)) - topic.next_seq
        if gone > 0:
            self.lost += gone
            topic.next_seq += gone
        return ready + list(self._release(topic))

    def give_up(self) -> list[Message]:
        """What is missing cannot be had: it is lost, and what was held back for it is released."""
        return [message for name in list(self._topics) for message in self._give_up(self._topics[name])]

    def _begin(self, message: Message) -> None:
        """Another session than the one before or than the one that `since` speaks of, or the first."""
        self._from_nought = self.last is not None or self._session_id not in (None, message.origin.session_id)
        self._all_listed = False
        if self._from_nought:
            self._since = {}
            self.restarts += 1
        self._topics = {}

    def _topic(self, name: str, first_seq: int, joining: bool = False) -> _Topic | None:
        """The state of a topic; a new one begins with `first_seq` where nothing before it is wanted.

        Unless `joining`, one that no heartbeat listed has just begun and is wanted from 0.
        """
        topic = self._topics.get(name)
        if topic is None and len(self._topics) < MOST_TOPICS:
            if self._history and name in DURABLE_TOPICS:
                first_seq = self._since.get(name, -1) + 1
            elif (self._from_nought or self._all_listed) and name != HEARTBEAT_TOPIC and not joining:
                first_seq = 0
            topic = self._topics[name] = _Topic(first_seq, first_seq - 1)
        return topic

    def _place(self, topic: _Topic, message: Message) -> Iterator[Message]:
        if message.seq < topic.next_seq or message.seq in topic.held:
            self.repeated += 1
            return
        topic.last_seq = max(topic.last_seq, message.seq)
        if message.seq > topic.next_seq:
            if message.topic in DURABLE_TOPICS and self.can_refill is not False:
                topic.held[message.seq] = message
                if len(topic.held) > MOST_HELD:
                    yield from self._give_up(topic)
                return
            self._skip(topic, message.seq)
        yield from self._hand_on(topic, message)

    def _compare(self, last_seq: Mapping[str, int]) -> None:
        """A topic's last messages leave no gap when they do not come; who was told its last seq knows."""
        for name, seq in last_seq.items():
            if name == HEARTBEAT_TOPIC or not name.startswith(self.topics):
                continue
            topic = self._topic(name, seq + 1)
            if topic is not None and seq > topic.last_seq:
                topic.last_seq = seq
                if name not in DURABLE_TOPICS or self.can_refill is False:
                    self._skip(topic, seq + 1)

    def _hand_on(self, topic: _Topic, message: Message) -> list[Message]:
        topic.heard = True
        topic.next_seq = message.seq + 1
        topic.last_seq = max(topic.last_seq, message.seq)
        return [message, *self._release(topic)]

    def _release(self, topic: _Topic) -> Iterator[Message]:
        """Those of the held that are next."""
        for seq in [seq for seq in topic.held if seq < topic.next_seq]:
            del topic.held[seq]
        while topic.next_seq in topic.held:
            topic.next_seq += 1
            topic.heard = True
            yield topic.held.pop(topic.next_seq - 1)

    def _give_up(self, topic: _Topic) -> Iterator[Message]:
        for seq in sorted(topic.held):
            self._skip(topic, seq)
            yield from self._release(topic)
        self._skip(topic, topic.last_seq + 1)

    def _skip(self, topic: _Topic, next_seq: int) -> None:
        if topic.heard or self._claims or not self._history or self._from_nought:
            self.lost += max(0, next_seq - topic.next_seq)
        topic.next_seq = max(topic.next_seq, next_seq)

    def _is_current(self, session_id: str) -> bool:
        return self.last is not None and self.last.origin.session_id == session_id

    def _decoded(self, body: bytes) -> Message | None:
        """A message of the session that runs."""
        try:
            message = decode(body)
        except MessageError:
            self.malformed += 1
            return None
        return message if self._is_current(message.origin.session_id) else None


def _read(frames: list[bytes]) -> Message:
    if len(frames) != 2:
        raise MessageError(f"{len(frames)} frames, not topic and body")
    topic, body = frames
    message = decode(body)
    if message.topic.encode() != topic:
        raise MessageError(f"topic {message.topic!r} came as {topic[:50]!r}")
    return message
