"""What a source of samples is: the contract that EDF files, LSL inlets and the simulator all keep.

A *stream* is one group of channels that share a rate and a clock (an EDF file with three rates is three streams).
A *chunk* is a run of consecutive samples of one stream as they arrived. Nothing here is conditioned yet.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ChannelInfo:
    """One channel as its sender describes it; nothing is interpreted here.

    `unit` is the sender's spelling ("uV", "µV", "V", "%", "" when it says none). `minimum` and `maximum` are the
    limits of the recorder in that unit (None when unknown); a sample at a limit is saturated.
    """

    label: str
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    transducer: str = ""
    prefilter: str = ""


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """A group of channels with one rate and one clock. `rate_hz` is 0.0 when the stream is irregular.

    `format` is how its sender holds a sample ("float32", "int16"), "" when it does not say.
    """

    stream_id: str
    rate_hz: float
    channels: tuple[ChannelInfo, ...]
    name: str = ""
    format: str = ""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive samples of one stream as they arrived.

    `samples` is (n, channels) float32 in the sender's units; `timestamps` is (n,) float64 seconds on the stream
    clock of the session (for a file: seconds since its recording start). A gap is a jump in `timestamps`; NaN in
    `samples` is one channel's missing sample.
    """

    stream_id: str
    samples: NDArray[np.float32]  # (n, channels)
    timestamps: NDArray[np.float64]  # (n,)


@dataclass(frozen=True, slots=True)
class Annotation:
    """A marker in the recording: `onset_s` on the stream clock, `duration_s` 0.0 when it is a point.

    `origin` is who said it: a marker stream's name, "" for the file itself.
    """

    onset_s: float
    duration_s: float
    text: str
    origin: str = ""


SOURCE_FOUND = "source_found"  # a stream is there and taken up
SOURCE_STALLED = "source_stalled"  # nothing has come from it for a while
SOURCE_RESUMED = "source_resumed"  # it speaks again; `seconds` is the gap's length
SOURCE_LOST = "source_lost"  # its sender is gone; it is looked for
SOURCE_CHANGED = "source_changed"  # it came back with another rate, labels, units or format, and is taken as that
SOURCE_REFUSED = "source_refused"  # it is there and cannot be used; `detail` says why
CLOCK_JUMPED = "clock_jumped"  # its sender's clock was set; `seconds` by how much
SAMPLES_LOST = "samples_lost"  # `samples` did not come
READER_RESTARTED = "reader_restarted"  # the process that reads LSL died and another took over


@dataclass(frozen=True, slots=True)
class Notice:
    """What is known of a source beside its samples. `kind` is one of the words above, or a session's own.

    `subject` is the stream, "" for the session itself; `at_s` stream time; `detail` a sentence for people. `seconds`
    and `samples` are the number that the kind speaks of, where it speaks of one.
    """

    kind: str
    subject: str
    at_s: float
    detail: str = ""
    seconds: float | None = None
    samples: int | None = None


# What a live source hands over, in the order in which it came: a stream declares itself (again, when it came back
# different) before its first chunk.
Arrival = StreamInfo | Chunk | Annotation | Notice


@dataclass(frozen=True, slots=True)
class Step:
    """What came by `now_s` of the session's clock (on the scale of stream time) since the step before.

    A session is its steps: given the same ones in the same order, it says the same. `here_s` is no part of that: since
    when, on this machine's monotonic clock, the first of it has been here; None where no one knows.
    """

    now_s: float
    arrivals: tuple[Arrival, ...] = ()
    here_s: float | None = field(default=None, compare=False)


class Source(Protocol):
    """Where samples come from. Single-threaded: one caller reads.

    `duration_s` is the planned length where it is known (a file), else None. `start_utc` is the wall time of stream
    time `start_s`, where the source knows one. `warnings` collects, as one-line sentences, what was wrong in the
    input and what was made of it.
    """

    @property
    def streams(self) -> tuple[StreamInfo, ...]:
        """The streams known by now; a live source may learn of more while it runs."""
        ...

    @property
    def start_s(self) -> float:
        """Stream time of the recording's start (a file: 0.0), or of the first sample (live)."""
        ...

    @property
    def start_utc(self) -> datetime | None:
        """Wall time of `start_s`, where it is known."""
        ...

    @property
    def duration_s(self) -> float | None:
        """The planned length, where it is known."""
        ...

    @property
    def warnings(self) -> Sequence[str]:
        """What was wrong in the input and what was made of it, one sentence each."""
        ...

    @property
    def exhausted(self) -> bool:
        """True when no further sample will ever come."""
        ...

    def read(self, timeout_s: float) -> list[Chunk]:
        """The chunks that came since the last call, oldest first; [] when none came within `timeout_s`.

        A file returns at once with its next stretch, one chunk a stream, all to the same stream time.
        """
        ...

    def close(self) -> None:
        """Let go of the file or the streams."""
        ...


class LiveSource(Source, Protocol):
    """A source that also tells what happens to its streams."""

    @property
    def speed(self) -> float:
        """How many seconds of stream time pass in one on the wall."""
        ...

    @property
    def here_s(self) -> float | None:
        """Since when, on this machine's monotonic clock, the first samples of the last `take` have been here."""
        ...

    def take(self, timeout_s: float) -> list[Arrival]:
        """What came since the last call, in order; [] when nothing did within `timeout_s` on the wall.

        `read` is this with everything but chunks left out.
        """
        ...


@dataclass(slots=True)
class ListSource:
    """A source over chunks that are already in memory: the simplest that keeps the contract."""

    streams: tuple[StreamInfo, ...]
    batches: list[list[Chunk]]
    start_s: float = 0.0
    start_utc: datetime | None = None
    duration_s: float | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def exhausted(self) -> bool:
        """True when every batch was read."""
        return not self.batches

    def read(self, timeout_s: float) -> list[Chunk]:
        """The next batch, at once."""
        return self.batches.pop(0) if self.batches else []

    def close(self) -> None:
        """Nothing is held open."""
