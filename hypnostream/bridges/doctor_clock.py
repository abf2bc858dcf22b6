"""This machine's clocks: set by a time server, steady, and what the night does to local time."""

import ctypes
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from hypnostream.bridges.doctor import OK, PROBLEM, UNKNOWN, WARNING, Check
from hypnostream.config import BedConfig

WATCHED_S = 1.0
STEADY_S = 0.005
AHEAD_H = 24
_BUILT = datetime(2026, 1, 1, tzinfo=UTC)  # no clock that is right says a time before this


def examine(config: BedConfig) -> Iterator[Check]:
    """UTC, then its steadiness, then local time."""
    yield synchronised()
    now = datetime.now(UTC)
    if now < _BUILT:
        yield Check("clock", PROBLEM, f"it says {now:%Y-%m-%d %H:%M} UTC", "set it; its battery may be empty")
    yield steady()
    yield local_time(now)


def synchronised() -> Check:
    """Whether a time server keeps UTC right."""
    known = _kernel_clock()
    if known is None:
        return Check("clock", UNKNOWN, f"{sys.platform} does not say whether a time server keeps it right")
    right, error_s = known
    if right:
        return Check("clock", OK, f"kept right by a time server, to {error_s * 1000:.0f} ms at most")
    return Check(
        "clock",
        WARNING,
        "no time server keeps it right: UTC in results may be off",
        "start chrony or systemd-timesyncd; stages do not depend on it",
    )


def steady(watched_s: float = WATCHED_S) -> Check:
    """Whether wall time and monotonic time go alike."""
    before = time.time() - time.monotonic()
    time.sleep(watched_s)
    moved_s = time.time() - time.monotonic() - before
    said = f"wall and monotonic time differ by {abs(moved_s) * 1000:.2f} ms after {watched_s:g} s"
    if abs(moved_s) > STEADY_S:
        return Check("clock steps", WARNING, said, "let a time server slew the clock instead of stepping it")
    return Check("clock steps", OK, said)


def local_time(now: datetime) -> Check:
    """The time zone, and whether its offset changes within the next night."""
    here = now.astimezone()
    said = f"{here.tzname()}, UTC{here:%z}"
    for hour in range(1, AHEAD_H + 1):
        later = (now + timedelta(hours=hour)).astimezone()
        if later.utcoffset() != here.utcoffset():
            return Check(
                "local time",
                WARNING,
                f"{said}; it changes to UTC{later:%z} within {hour} h",
                "nothing: epochs and UTC go on; only a clock on the wall will differ",
            )
    return Check("local time", OK, f"{said}; the same for the next {AHEAD_H} h")


def _kernel_clock() -> tuple[bool, float] | None:
    """Whether the kernel holds its clock synchronised, and its largest error in seconds; None where it cannot be asked.

    Linux alone: adjtimex(2), which with modes = 0 only reads. Elsewhere each system has a tool of its own.
    """
    if sys.platform != "linux" or ctypes.sizeof(ctypes.c_long) != 8:
        return None
    # struct timex: int modes; long offset, freq, maxerror, esterror; int status; more that is not read here.
    state = (ctypes.c_long * 64)()
    adjtimex = getattr(ctypes.CDLL(None), "adjtimex", None)
    code = -1 if adjtimex is None else int(adjtimex(ctypes.byref(state)))
    if code < 0:
        return None
    time_error = 5
    return code != time_error, state[3] / 1e6
