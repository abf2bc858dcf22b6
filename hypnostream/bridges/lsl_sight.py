"""Which LSL outlets there are: looked up once for all sessions that a process reads for."""

import ctypes
from contextlib import suppress
from typing import Final

import pylsl
from pylsl.lib import lib

from hypnostream.bridges.lsl_roster import Announced

_EVERYONE: Final = "channel_count > 0"
Seen = tuple[Announced, pylsl.StreamInfo]

# pylsl does not have it.
_fits: Final = lib.lsl_stream_info_matches_query
_fits.restype, _fits.argtypes = ctypes.c_int, (ctypes.c_void_p, ctypes.c_char_p)


class Sight:
    """The outlets that answer a resolver that goes on asking.

    With a `query` they are those that fit it. Without, all are asked, and each session is told of those that fit its
    own: many resolvers would be many times the traffic. What is told is at most `fresh_s` old, beside the
    `forget_s` for which an outlet that answers no more still counts.
    """

    def __init__(self, query: str | None = None, fresh_s: float = 0.0, forget_s: float = 1.5) -> None:
        self._query, self._fresh_s = query, fresh_s
        self._looked_at: float | None = None
        self._changed = 0  # how often others answered than before
        self._there: dict[str, Seen] = {}  # by uid
        self._fit: dict[str, tuple[int, list[Seen]]] = {}  # by query, and as of which change
        self._resolver: pylsl.ContinuousResolver | None = None
        with suppress(RuntimeError):  # see `understands`
            self._resolver = pylsl.ContinuousResolver(pred=query or _EVERYONE, forget_after=forget_s)

    def understands(self, query: str) -> bool:
        """Whether this is a query to LSL."""
        if query == self._query:
            return self._resolver is not None
        try:
            pylsl.ContinuousResolver(pred=query)
        except RuntimeError:
            return False
        return True

    def of(self, query: str, at: float) -> list[Seen]:
        """The outlets that fit a query, at monotonic time `at`."""
        self._look(at)
        if self._query is not None:
            return list(self._there.values())
        as_of, fit = self._fit.get(query, (-1, []))
        if as_of != self._changed:
            before = {announced.uid for announced, _ in fit}
            fit = [seen for uid, seen in self._there.items() if uid in before or _fits(seen[1].obj, query.encode())]
            self._fit[query] = self._changed, fit
        return fit

    def all_there_are(self) -> list[tuple[str, str]]:
        """Name and type of every outlet in sight, whether or not it fits."""
        if self._query is not None:
            return [(info.name(), info.type()) for info in pylsl.resolve_streams(0.5)]
        return [(announced.name, announced.type) for announced, _ in self._there.values()]

    def _look(self, at: float) -> None:
        if self._resolver is None or (self._looked_at is not None and at < self._looked_at + self._fresh_s):
            return
        self._looked_at = at
        there = {info.uid(): info for info in self._resolver.results()}
        if there.keys() != self._there.keys():
            self._changed += 1
        self._there = {
            uid: self._there.get(uid)
            or (Announced(uid, info.name(), info.type(), info.source_id(), info.hostname()), info)
            for uid, info in there.items()
        }
