"""What happens to a session, as log records of the standard library: text for people, JSON lines for programs.

Everything here logs below the logger "hypnostream" and leaves where that goes to the program. Only `configure_logs`,
which the command line calls, touches the root logger.
"""

import json
import logging
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from hypnostream.bridges.overseer import Reading
from hypnostream.engine.respiration.event import Event
from hypnostream.engine.results import StageResult
from hypnostream.errors import UserError
from hypnostream.stream.source import (
    CLOCK_JUMPED,
    READER_RESTARTED,
    SAMPLES_LOST,
    SOURCE_LOST,
    SOURCE_REFUSED,
    SOURCE_STALLED,
    Notice,
)

LEVELS: Final = ("debug", "info", "warning", "error")
SLOW_STEP: Final = "slow_step"
EPOCH: Final = "epoch"
SLOW_S = 1.0  # an epoch that took longer than this from its last sample to its message
HELD_UP_S = 3.0  # a heartbeat, due each second, that came so late
SLOW_AGAIN_S = 60.0  # said once in so long on the wall, with how often it was since
_WARNINGS = frozenset({SOURCE_STALLED, SOURCE_LOST, SOURCE_REFUSED, CLOCK_JUMPED, SAMPLES_LOST, READER_RESTARTED})

_log = logging.getLogger("hypnostream.session")


def configure_logs(form: str = "text", level: str = "info", stream: TextIO | None = None) -> None:
    """Send all log records of this process to `stream` (default: stderr), one line each.

    `level` is the least that is said of ours; of other packages warnings and errors are. Called again, it replaces
    what it set up before. UserError: no such form or level.
    """
    if form not in ("text", "json"):
        raise UserError(f"--log {form} is neither text nor json")
    if level not in LEVELS:
        raise UserError(f"--log-level {level} is none of {', '.join(LEVELS)}")
    root = logging.getLogger()
    for handler in [h for h in root.handlers if isinstance(h.formatter, TextLines | JsonLines)]:
        root.removeHandler(handler)
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    root.addHandler(handler)
    logging.getLogger("hypnostream").setLevel(level.upper())


class JsonLines(logging.Formatter):
    """One JSON object a line: `time` (UTC), `level`, `logger`, `event`, `message`, then the event's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        """A record as a line; what JSON cannot say becomes text."""
        said = {
            "time": _utc(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": getattr(record, "event", "log"),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            said["traceback"] = self.formatException(record.exc_info)
        return json.dumps(said, ensure_ascii=True, default=str)


class TextLines(logging.Formatter):
    """Time, level, message. A name from the network cannot forge a line or move the cursor: it is escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """A record as a line."""
        line = f"{_utc(record.created)} {record.levelname.lower():7} {record.getMessage()}"
        if record.exc_info:
            line += f" | {self.formatException(record.exc_info)}"
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def log_line(text: str) -> None:
    """A line for people, as an event of its own where logs are for programs."""
    _say(logging.INFO, "announcement", text)


class NoticeLog:
    """An overseer (see `bridges.overseer`) that logs each notice, and steps that were slow; of which `bed`, where there
    are many."""

    def __init__(self, wall: Callable[[], float] = time.monotonic, bed: str = "") -> None:
        self._wall, self._bed = wall, bed
        self._beat: float | None = None
        self._slow_said: float | None = None
        self._slow = 0

    def publish(self, result: StageResult, now_s: float, latency_s: float | None = None) -> None:
        """Final stages at level debug; one that came late as a warning."""
        if not result.final:
            return
        if _log.isEnabledFor(logging.DEBUG):
            stage = result.stage or result.absent_reason
            self._say(logging.DEBUG, EPOCH, f"epoch {result.epoch}: {stage}", epoch=result.epoch, stage=result.stage)
        if latency_s is not None and latency_s > SLOW_S:
            self._slow_step(
                f"epoch {result.epoch} took {latency_s:.2f} s, the model {result.compute_s:.2f} s", latency_s
            )

    def event(self, event: Event, now_s: float, latency_s: float | None = None) -> None:
        """Each revision at level debug."""
        if _log.isEnabledFor(logging.DEBUG):
            said = f"{event.event_id} {event.revision}: {event.status} {event.kind} at {event.start_s:.1f} s"
            fields = {"event_id": event.event_id, "kind": event.kind, "status": event.status}
            self._say(logging.DEBUG, "breathing_event", said, **fields)

    def heartbeat(self, now_s: float) -> None:
        """One that is long overdue is a warning: something held the loop up."""
        now = self._wall()
        late_s = 0.0 if self._beat is None else now - self._beat
        self._beat = now
        if late_s > HELD_UP_S:
            self._slow_step(f"the session was held up for {late_s:.1f} s", late_s)

    def notice(self, notice: Notice) -> None:
        """As it is, by its kind."""
        fields: dict[str, Any] = {"subject": notice.subject, "at_s": round(notice.at_s, 3)}
        fields |= {} if notice.seconds is None else {"seconds": notice.seconds}
        fields |= {} if notice.samples is None else {"samples": notice.samples}
        parts = [
            notice.kind,
            *([notice.subject] if notice.subject else []),
            *([notice.detail] if notice.detail else []),
        ]
        bad = notice.kind in _WARNINGS or notice.kind.endswith("_failed")
        level = logging.WARNING if bad else logging.INFO
        self._say(level, notice.kind, ": ".join(parts), detail=notice.detail, **fields)

    def observe(self, reading: Reading) -> None:
        """Numbers are for the metrics."""

    def _slow_step(self, text: str, seconds: float) -> None:
        now = self._wall()
        self._slow += 1
        if self._slow_said is not None and now - self._slow_said < SLOW_AGAIN_S:
            return
        self._say(logging.WARNING, SLOW_STEP, f"{SLOW_STEP}: {text}", seconds=round(seconds, 3), times=self._slow)
        self._slow_said, self._slow = now, 0

    def _say(self, level: int, event: str, text: str, **fields: Any) -> None:
        if self._bed:
            text, fields = f"{self._bed}: {text}", {"bed": self._bed, **fields}
        _say(level, event, text, **fields)


def _say(level: int, event: str, text: str, **fields: Any) -> None:
    _log.log(level, "%s", text, extra={"event": event, "fields": fields})


def _utc(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
