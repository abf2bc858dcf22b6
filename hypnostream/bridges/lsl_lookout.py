"""When to look for samples: seldom, but often around the moment when a stream is about to complete a second.

Results come with complete seconds. Looking every few milliseconds for the rest of the time costs twenty times as much
and brings nothing forward; nor does taking a second's samples before all of them are there.
"""

import math
from dataclasses import dataclass

_WINDOW_S = 0.25  # of looking often for a sample that does not come
_MARGIN_S = 0.01  # the looking begins so long before the usual moment,
_EARLIER_S, _LATER = 0.02, 0.05  # which moves earlier by so much, later by such a share, as samples come
_SILENT_S = 2.0
_OVERDUE_S = 1.5  # since it was heard: its samples are taken whether they complete a second or not
_JITTER = 1.02  # periods that a sample may be short of where it belongs


@dataclass(frozen=True, slots=True)
class Pace:
    """How often to look: `often_s` as long as nobody said when seconds begin, else `coarse_s` but for those moments,
    and `fine_s` around them."""

    often_s: float = 0.005
    coarse_s: float = 0.25
    fine_s: float = 0.003


@dataclass(slots=True)
class _Awaited:
    """A stream: its period, the grid second that it is to complete next, and how long after that it usually does; the
    newest sample that was taken, when it was looked at and when something was taken."""

    period_s: float
    second: int
    newest_s: float
    lead_s: float = 0.0
    looked_s: float = -math.inf
    heard_s: float = -math.inf


class Lookout:
    """All times are seconds on the clock of the stamps. Single-threaded."""

    def __init__(self, t0_s: float | None = None, pace: Pace | None = None) -> None:
        self._t0_s, self._pace = t0_s, pace or Pace()
        self._streams: dict[str, _Awaited] = {}
        self._coarse_s = -math.inf

    def expect(self, t0_s: float) -> None:
        """Seconds are complete at `t0_s` and each whole second from it."""
        self._t0_s = t0_s
        self.begin_anew()

    def begin_anew(self) -> None:
        """What was learnt of the streams holds no more."""
        self._streams.clear()

    def forget(self, stream_id: str) -> None:
        """This stream is gone."""
        self._streams.pop(stream_id, None)

    def due(self, now_s: float) -> list[str] | None:
        """Who is to be looked at now: None is everyone, [] nobody."""
        if self._t0_s is None or now_s - self._coarse_s >= self._pace.coarse_s or now_s < self._coarse_s:
            self._coarse_s = now_s
            return None
        return [stream_id for stream_id, stream in self._streams.items() if self._opens_s(stream, now_s) <= now_s]

    def wants(self, stream_id: str, waiting: int, now_s: float) -> bool:
        """Whether `waiting` samples of the stream are to be taken now. Few of a second bring nothing forward, and each
        taking costs as much as one of them all: they are left until there are as many as complete it, by their number.
        """
        stream = self._streams.get(stream_id)
        if not waiting or self._t0_s is None or stream is None or now_s - stream.heard_s > _OVERDUE_S:
            return waiting > 0
        return stream.newest_s + (waiting + _JITTER) * stream.period_s >= self._t0_s + stream.second

    def looked(self, stream_id: str, now_s: float, newest_s: float | None, rate_hz: float) -> bool:
        """The stream was looked at, its newest sample being from `newest_s` (None: nothing came). True when that
        completed a second."""
        if self._t0_s is None or rate_hz <= 0:
            return False
        stream = self._streams.get(stream_id)
        if stream is None:
            if newest_s is not None:
                second = math.floor(newest_s - self._t0_s) + 1
                self._streams[stream_id] = _Awaited(1 / rate_hz, second, newest_s, looked_s=now_s, heard_s=now_s)
            return False
        since_s, stream.looked_s = now_s - stream.looked_s, now_s
        if newest_s is None:
            return False
        stream.heard_s, stream.newest_s = now_s, newest_s
        completed = math.floor(newest_s - self._t0_s + _JITTER * stream.period_s)
        if completed < stream.second:
            return False
        late_s = now_s - (self._t0_s + completed)
        if since_s > 3 * self._pace.fine_s:  # it came at a time when nobody looked
            stream.lead_s = min(stream.lead_s, late_s) - _EARLIER_S
        else:
            stream.lead_s += _LATER * (late_s - _MARGIN_S - stream.lead_s)
        stream.lead_s = min(max(stream.lead_s, -1.0), 1.0)
        stream.second = completed + 1
        return True

    def wait_s(self, now_s: float) -> float:
        """How long nobody needs to look."""
        if self._t0_s is None:
            return self._pace.often_s
        opens_s = min((self._opens_s(stream, now_s) for stream in self._streams.values()), default=math.inf)
        least_s = self._pace.fine_s if opens_s <= now_s else 0.0
        return max(min(opens_s, self._coarse_s + self._pace.coarse_s) - now_s, least_s)

    def _opens_s(self, stream: _Awaited, now_s: float) -> float:
        """When to begin to look often: in the past as long as it is to be done."""
        if self._t0_s is None or now_s - stream.heard_s > _SILENT_S:
            return math.inf
        begin_s = self._t0_s + stream.second + stream.lead_s
        if now_s > begin_s + _WINDOW_S:
            stream.second = math.ceil(now_s - self._t0_s - stream.lead_s - _WINDOW_S)
            begin_s = self._t0_s + stream.second + stream.lead_s
        return begin_s
