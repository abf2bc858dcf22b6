"""A live source whose clock is not the session's: the machine was started again, so LSL counts from another zero."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from hypnostream.stream.source import Annotation, Arrival, Chunk, LiveSource, Notice, StreamInfo


class ShiftedSource:
    """`source` with `shift_s` added to every time."""

    def __init__(self, source: LiveSource, shift_s: float) -> None:
        self.source, self.shift_s = source, shift_s

    @property
    def streams(self) -> tuple[StreamInfo, ...]:
        """As they are."""
        return self.source.streams

    @property
    def start_s(self) -> float:
        """On the session's clock."""
        return self.source.start_s + self.shift_s

    @property
    def start_utc(self) -> datetime | None:
        """As it is."""
        return self.source.start_utc

    @property
    def duration_s(self) -> float | None:
        """As it is."""
        return self.source.duration_s

    @property
    def warnings(self) -> Sequence[str]:
        """As they are."""
        return self.source.warnings

    @property
    def exhausted(self) -> bool:
        """As it is."""
        return self.source.exhausted

    @property
    def speed(self) -> float:
        """As it is."""
        return self.source.speed

    @property
    def here_s(self) -> float | None:
        """As it is."""
        return self.source.here_s

    def take(self, timeout_s: float) -> list[Arrival]:
        """What came, at the session's time."""
        return [self._shifted(arrival) for arrival in self.source.take(timeout_s)]

    def read(self, timeout_s: float) -> list[Chunk]:
        """The chunks that came, at the session's time."""
        return [each for each in self.take(timeout_s) if isinstance(each, Chunk)]

    def close(self) -> None:
        """Let go of the streams."""
        self.source.close()

    def _shifted(self, arrival: Arrival) -> Arrival:
        if isinstance(arrival, Chunk):
            return Chunk(arrival.stream_id, arrival.samples, arrival.timestamps + self.shift_s)
        if isinstance(arrival, Annotation):
            return replace(arrival, onset_s=arrival.onset_s + self.shift_s)
        if isinstance(arrival, Notice):
            return replace(arrival, at_s=arrival.at_s + self.shift_s)
        return arrival
