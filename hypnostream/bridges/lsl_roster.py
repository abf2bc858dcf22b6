"""Which of the streams on the network is which: a stream keeps its id when its sender dies and is born again.

Two streams are never mixed: where it cannot be told which one came back, it is a stream of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from hypnostream.bridges.lsl_frames import Identity, Known

_SILENT_S = 1.5  # who says nothing for so long and answers no query is as good as gone, if another stands in its place
_ALIVE_S = 0.5  # who still says something so long after another of its identity showed up is another stream;
_TWIN_S = 3.0  # and so it is if nothing is known for so long
_RETRY_S = 2.0  # longer than an outlet that is gone is still announced
MOST_STREAMS: Final = 64
_MOST_NAMES: Final = 256


@dataclass(frozen=True, slots=True)
class Announced:
    """An outlet that answered: `uid` is its own, and new with each life of its sender."""

    uid: str
    name: str
    type: str
    source_id: str
    host: str

    @property
    def identity(self) -> Identity:
        """What stays the same when the sender is born again."""
        return self.name, self.type, f"id {self.source_id}" if self.source_id else f"host {self.host}"


@dataclass(slots=True)
class _Place:
    known: Known
    open: bool
    heard_s: float
    ever_open: bool = True


class Roster:
    """The streams that were ever taken up. All times are seconds on one steady clock."""

    def __init__(self, known: Sequence[Known] = ()) -> None:
        self._places = {entry.stream_id: _Place(entry, False, 0.0) for entry in known}
        self._not_before_s: dict[str, float] = {}  # by uid: failed, or refused
        self._first_seen_s: dict[str, float] = {}  # by uid, while it is not clear what it is

    @property
    def missing(self) -> bool:
        """True while a stream is looked for."""
        return any(not place.open for place in self._places.values())

    @property
    def full(self) -> bool:
        """True when no further stream can be taken up."""
        opened = sum(place.open for place in self._places.values())
        return opened >= MOST_STREAMS or len(self._places) >= _MOST_NAMES

    def heard(self, stream_id: str, now_s: float) -> None:
        """Samples came."""
        self._places[stream_id].heard_s = now_s

    def opened(self, stream_id: str, now_s: float) -> None:
        """It could be opened."""
        self._places[stream_id].ever_open = True
        self.heard(stream_id, now_s)

    def lost(self, stream_id: str, now_s: float) -> None:
        """Its sender is gone, or could not be reached; another life is taken up at once, this one only in a while."""
        place = self._places[stream_id]
        place.open = False
        self._not_before_s[place.known.uid] = now_s + _RETRY_S
        if not place.ever_open:
            del self._places[stream_id]

    def refuse(self, stream_id: str) -> None:
        """This outlet is no use."""
        self._not_before_s[self._places.pop(stream_id).known.uid] = float("inf")

    def take_up(self, visible: Sequence[Announced], now_s: float) -> list[Known]:
        """Which of the outlets that answer now are to be opened, and as what. They count as open from here on.

        One that is open under the same id already is hung and to be let go of.
        """
        uids = {outlet.uid for outlet in visible}
        self._forget(uids)
        taken = {place.known.uid for place in self._places.values() if place.open}
        fresh = [o for o in visible if o.uid not in taken and self._not_before_s.get(o.uid, now_s) <= now_s]
        fresh.sort(key=lambda outlet: (outlet.name, outlet.source_id, outlet.uid))
        chosen: list[Known] = []
        before = list(self._places.values())
        for outlet in fresh:
            rivals = sum(other.identity == outlet.identity for other in fresh)
            kin = [place for place in before if place.known.identity == outlet.identity]
            stream_id = self._place_of(outlet, kin, rivals, uids, now_s)
            if stream_id is None:
                continue
            self._first_seen_s.pop(outlet.uid, None)
            entry = Known(stream_id, outlet.identity, outlet.uid)
            self._places[stream_id] = _Place(entry, True, now_s, stream_id in self._places)
            chosen.append(entry)
        return chosen

    def _place_of(self, outlet: Announced, kin: list[_Place], rivals: int, uids: set[str], now_s: float) -> str | None:
        """The id for an outlet: that of its former life, or a new one; None while that is not clear."""
        for place in kin:
            if place.known.uid == outlet.uid:
                return place.known.stream_id
        free = [place for place in kin if not place.open or self._hung(place, uids, now_s)]
        if len(free) == 1 and rivals == 1:
            return free[0].known.stream_id
        if kin and not free:
            seen_s = self._first_seen_s.setdefault(outlet.uid, now_s)
            all_alive = all(place.heard_s > seen_s + _ALIVE_S for place in kin)
            if not all_alive and now_s - seen_s < _TWIN_S:
                return None
        return None if self.full else self._new_id(outlet)

    def _hung(self, place: _Place, uids: set[str], now_s: float) -> bool:
        return place.known.uid not in uids and now_s - place.heard_s > _SILENT_S

    def _new_id(self, outlet: Announced) -> str:
        stream_id = outlet.name[:80] or outlet.uid
        while stream_id in self._places:
            stream_id += "'"
        return stream_id

    def _forget(self, uids: set[str]) -> None:
        """Outlets that are gone need no note: a uid never comes back."""
        for notes in (self._not_before_s, self._first_seen_s):
            for uid in [uid for uid in notes if uid not in uids]:
                del notes[uid]
