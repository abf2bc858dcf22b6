"""Which LSL streams a session takes."""

from dataclasses import dataclass

from hypnostream.errors import UserError


@dataclass(frozen=True, slots=True)
class LslSettings:
    """Which streams to take, and how long to wait for them.

    `predicates` are LSL's XPath over a stream's description ("type='EEG' and name='bed 3'"): a stream that one of them
    fits is taken; without any, `types` are; without either, all there are. At least `minimum` streams must be found
    within `resolve_timeout_s`, and the session begins when no more showed up for `settle_s`; whatever appears later is
    taken up then. After `max_silence_s` on the wall without a sample the source is exhausted; None waits for ever,
    unless the streams declare their end. `private_session` and `known_peers` are as in lsl_config. `backlog_bytes` is
    how much the reader keeps for a session that stands still.
    """

    predicates: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    minimum: int = 1
    resolve_timeout_s: float = 10.0
    settle_s: float = 0.5
    max_silence_s: float | None = None
    private_session: str | None = None
    known_peers: tuple[str, ...] = ()
    backlog_bytes: int = 64_000_000

    @property
    def query(self) -> str:
        """The predicate that LSL is asked with.

        In brackets as a whole: liblsl puts "session_id='...' and" before it, which would bind to its first part alone.
        """
        if self.predicates:
            return f"({' or '.join(f'({predicate})' for predicate in self.predicates)})"
        if any("'" in stream_type for stream_type in self.types):
            raise UserError(f"LSL stream types {self.types} hold a quote; name the streams by a predicate instead")
        return f"({' or '.join(f'type={name!r}' for name in self.types)})" if self.types else "channel_count > 0"
