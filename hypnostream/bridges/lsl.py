"""Live samples from Lab Streaming Layer, as a Source.

Stamps are taken raw: liblsl's own dejitter knows no gaps and is seconds off after one. What is added is the clock
offset to the sender, slowly; a stream that declares stream time in its description (see lsl_description) needs none.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Final

import numpy as np
import pylsl

from hypnostream.bridges.lsl_description import Description, buffer_s, read_description
from hypnostream.errors import UserError
from hypnostream.stream.source import Chunk, StreamInfo

_POLL_S = 0.005
_OPEN_TIMEOUT_S = 5.0
_IN_STEP_S = 10.0  # of a backlog, each read takes so much of every stream, so none runs far ahead of the others
_END_SILENCE_S = 2.0  # after one stream reached its planned end, the others have so long on the wall to reach theirs
_OFFSET_EVERY_S, _OFFSET_STEP_S = 5.0, 0.0005
_NUMBERS: Final = (pylsl.cf_float32, pylsl.cf_double64, pylsl.cf_int8, pylsl.cf_int16, pylsl.cf_int32, pylsl.cf_int64)


@dataclass(frozen=True, slots=True)
class LslSettings:
    """Which streams to take, and how long to wait for them.

    `predicate` is LSL's XPath over a stream's description ("type='EEG' and name='bed 3'"); without one, `types` are
    taken; without either, all there are. At least `minimum` streams must be found within `resolve_timeout_s`, and any
    more that show up within `settle_s` are taken too. After `max_silence_s` on the wall without a sample the source
    is exhausted; None waits for ever, unless the streams declare their end.
    """

    predicate: str = ""
    types: tuple[str, ...] = ()
    minimum: int = 1
    resolve_timeout_s: float = 10.0
    settle_s: float = 0.5
    max_silence_s: float | None = None

    @property
    def query(self) -> str:
        """The predicate that LSL is asked with."""
        if not self.predicate and any("'" in stream_type for stream_type in self.types):
            raise UserError(f"LSL stream types {self.types} hold a quote; name the streams by a predicate instead")
        return self.predicate or " or ".join(f"type='{name}'" for name in self.types) or "channel_count > 0"


class LslSource:
    """The streams that are on the network when it is made, read as they come.

    Stream time is this machine's LSL clock, or what the streams declare. Raises UserError where no stream is found.
    """

    def __init__(self, settings: LslSettings | None = None) -> None:
        self._settings = settings or LslSettings()
        self.warnings: list[str] = []
        self._inlets = self._open(_resolve(self._settings))
        declared = [inlet.description for inlet in self._inlets if inlet.description.stream_clock]
        if declared and len(declared) < len(self._inlets):
            own = [d.description.stream.stream_id for d in self._inlets if not d.description.stream_clock]
            raise UserError(
                f"LSL streams {_names(declared)} carry stream time and {', '.join(own)} the clock of LSL; "
                "choose streams of one kind by a predicate"
            )
        for inlet in self._inlets:
            if not inlet.description.stream_clock:
                inlet.first_offset(self.warnings)
        self._declared = declared[0] if declared else None
        durations = [inlet.description.duration_s for inlet in self._inlets if inlet.description.duration_s]
        self.duration_s: float | None = max(durations) if durations else None
        self._start_s: float | None = self._declared.start_s if self._declared else None
        self._opened_s = float(pylsl.local_clock())
        self._last_arrival = time.monotonic()

    @property
    def streams(self) -> tuple[StreamInfo, ...]:
        """The streams that were found."""
        return tuple(inlet.description.stream for inlet in self._inlets)

    @property
    def start_s(self) -> float:
        """The declared start; else the first stamp, and until there is one the moment of opening."""
        return self._opened_s if self._start_s is None else self._start_s

    @property
    def start_utc(self) -> datetime | None:
        """The declared start; else the wall time of `start_s` by this machine's clock."""
        if self._declared:
            return self._declared.start_utc
        return datetime.now(UTC) - timedelta(seconds=float(pylsl.local_clock()) - self.start_s)

    @property
    def speed(self) -> float:
        """How many seconds of stream time pass in one on the wall: 1.0 unless the streams declare otherwise."""
        return self._declared.speed if self._declared else 1.0

    @property
    def exhausted(self) -> bool:
        """True when the streams reached their declared end or were lost for good, or after `max_silence_s`."""
        silence_s = time.monotonic() - self._last_arrival
        ended = [inlet.ended for inlet in self._inlets]
        if all(ended) or (any(ended) and silence_s > _END_SILENCE_S):
            return True
        return self._settings.max_silence_s is not None and silence_s > self._settings.max_silence_s

    def read(self, timeout_s: float) -> list[Chunk]:
        """What has come since the last call; waits up to `timeout_s` on the wall for the first sample."""
        deadline = time.monotonic() + timeout_s
        while True:
            chunks = [chunk for inlet in self._inlets if (chunk := inlet.pull(self.warnings)) is not None]
            left_s = deadline - time.monotonic()
            if chunks or left_s <= 0:
                break
            time.sleep(min(_POLL_S, left_s))
        if chunks:
            self._last_arrival = time.monotonic()
            chunks.sort(key=lambda chunk: float(chunk.timestamps[0]))
            if self._start_s is None:
                self._start_s = float(chunks[0].timestamps[0])
        return chunks

    def close(self) -> None:
        """Lets go of the streams; their senders see one consumer less."""
        for inlet in self._inlets:
            inlet.close()

    def _open(self, found: list[pylsl.StreamInfo]) -> "list[_Inlet]":
        inlets: list[_Inlet] = []
        taken: set[str] = set()
        for info in sorted(found, key=lambda info: (info.name(), info.source_id(), info.uid())):
            if info.channel_format() not in _NUMBERS:
                self.warnings.append(f"LSL stream {info.name()[:40]!r} ({info.type()[:40]}) carries text; left out")
                continue
            stream_id = info.name()[:80] or info.uid()
            while stream_id in taken:
                stream_id += "'"
            taken.add(stream_id)
            try:
                inlets.append(_Inlet(info, stream_id))
            except (TimeoutError, pylsl.util.LostError):
                self.warnings.append(f"LSL stream {stream_id!r} was announced and did not open; left out")
                continue
            self.warnings += inlets[-1].description.problems
        if not inlets:
            raise UserError(f"no LSL stream that matches {self._settings.query!r} could be read: {self.warnings[-1]}")
        return inlets


class _Inlet:
    """One LSL stream that is open."""

    def __init__(self, info: pylsl.StreamInfo, stream_id: str) -> None:
        # How large the buffer must be stands in the full description, which only an inlet can ask for.
        self.description: Description = read_description(pylsl.StreamInlet(info, 1).info(_OPEN_TIMEOUT_S), stream_id)
        rate_hz = self.description.stream.rate_hz
        seconds = buffer_s(self.description.speed, self.description.duration_s, rate_hz)
        self._inlet = pylsl.StreamInlet(info, max_buflen=seconds, recover=True, processing_flags=pylsl.proc_none)
        self._inlet.open_stream(_OPEN_TIMEOUT_S)
        self._most = max(1, ceil(_IN_STEP_S * rate_hz)) if rate_hz else 1024
        self._samples = np.empty((self._most, self._inlet.channel_count), dtype=self._inlet.np_dtype)
        self._offset_s = 0.0
        self._offset_at: float | None = None
        self.ended = False

    def first_offset(self, warnings: list[str]) -> None:
        """Asks the sender for the difference of the clocks; takes most of a second."""
        try:
            self._offset_s = self._inlet.time_correction(_OPEN_TIMEOUT_S)
        except (TimeoutError, pylsl.util.LostError):
            stream_id = self.description.stream.stream_id
            warnings.append(f"LSL stream {stream_id!r} does not tell its clock offset; it is taken as 0 s")
        self._offset_at = time.monotonic()

    def pull(self, warnings: list[str]) -> Chunk | None:
        """The oldest samples that wait, ten seconds of them at most."""
        stream = self.description.stream
        try:
            _, stamps = self._inlet.pull_chunk(0.0, self._most, dest_obj=self._samples, as_numpy=True)
        except pylsl.util.LostError:
            if not self.ended:
                warnings.append(f"LSL stream {stream.stream_id!r} is lost; it has no source_id to find it again by")
            self.ended = True
            return None
        if not len(stamps):
            return None
        samples = self._samples[: len(stamps)].astype(np.float32)
        finite = np.isfinite(stamps)
        if not finite.all():
            warnings.append(f"LSL stream {stream.stream_id!r} sent {int((~finite).sum())} samples without a time")
            samples, stamps = samples[finite], stamps[finite]
            if not len(stamps):
                return None
        timestamps = stamps + self._offset()
        duration_s = self.description.duration_s
        if self.description.stream_clock and duration_s and stream.rate_hz:
            self.ended = bool(timestamps[-1] > self.description.start_s + duration_s - 1.5 / stream.rate_hz)
        return Chunk(stream.stream_id, samples, timestamps)

    def close(self) -> None:
        self._inlet.close_stream()
        self.ended = True

    def _offset(self) -> float:
        """The clock offset: it follows liblsl's estimate in small steps, so stamps keep their distances."""
        if self._offset_at is not None and time.monotonic() - self._offset_at > _OFFSET_EVERY_S:
            self._offset_at = time.monotonic()
            try:
                estimate = self._inlet.time_correction(0.01)
            except (TimeoutError, pylsl.util.LostError):
                return self._offset_s
            self._offset_s += float(np.clip(estimate - self._offset_s, -_OFFSET_STEP_S, _OFFSET_STEP_S))
        return self._offset_s


def _resolve(settings: LslSettings) -> list[pylsl.StreamInfo]:
    found: list[pylsl.StreamInfo] = pylsl.resolve_bypred(settings.query, settings.minimum, settings.resolve_timeout_s)
    if len(found) < settings.minimum:
        seen = [f"{info.name()[:40]!r} ({info.type()[:20]})" for info in pylsl.resolve_streams(0.5)]
        raise UserError(
            f"{len(found) or 'no'} LSL stream{'s' * (len(found) != 1)} matched {settings.query!r} within "
            f"{settings.resolve_timeout_s:g} s ({settings.minimum} wanted); seen: {', '.join(seen[:20]) or 'none'}; "
            "start the sender, or name one that is there"
        )
    while len(more := pylsl.resolve_bypred(settings.query, len(found) + 1, settings.settle_s)) > len(found):
        found = more
    return found


def _names(descriptions: list[Description]) -> str:
    return ", ".join(description.stream.stream_id for description in descriptions)
