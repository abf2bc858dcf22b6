"""One LSL stream as the session knows it: what it says of itself, its sender's clock, how far it came."""

import numpy as np
from numpy.typing import NDArray

from hypnostream.bridges.lsl_frames import Found, Probe, Texts
from hypnostream.stream.sender_clock import SenderClock
from hypnostream.stream.source import CLOCK_JUMPED, Annotation, Chunk, Notice, StreamInfo


class LiveStream:
    """A stream that was found. It stays the same when its sender, or the process that reads it, is born again."""

    def __init__(self, found: Found) -> None:
        self.found = found
        self.connected = True
        self.refused = False
        self.awaited = False  # it was here before the process that reads was started again
        self.ended = False
        self._clock = self._new_clock()

    @property
    def stream_id(self) -> str:
        """What it is called in the session."""
        return self.found.known.stream_id

    @property
    def info(self) -> StreamInfo:
        """What it declared last."""
        return self.found.description.stream

    @property
    def stream_clock(self) -> bool:
        """Whether its stamps are stream time already."""
        return self.found.description.stream_clock

    @property
    def uncertainty_s(self) -> float | None:
        """How sure its stamps are; None where there is nothing to be unsure of."""
        return None if self.stream_clock else self._clock.uncertainty_s

    def came_back(self, found: Found) -> bool:
        """It is open again. True when it differs from what it was."""
        before, self.found, self.connected = self.found, found, True
        self.awaited = False
        different = before.description.stream != found.description.stream or before.text != found.text
        # The same outlet still has the clock that it had; another life of it may run elsewhere.
        if different or before.known.uid != found.known.uid:
            self._clock = self._new_clock()
        return different

    def probe(self, probe: Probe) -> None:
        """The difference of the clocks was measured."""
        self._clock.probe(probe.local_s, probe.offset_s, probe.uncertainty_s)

    def chunk(self, stamps: NDArray[np.float64], samples: NDArray[np.float32], arrival_s: float) -> Chunk | None:
        """Samples as they came, on the clock of the session; None when there are none."""
        if not len(stamps):
            return None
        description = self.found.description
        if not self.stream_clock:
            stamps = self._clock.correct(stamps, arrival_s)
        elif description.duration_s and self.info.rate_hz:
            end_s = description.start_s + description.duration_s
            self.ended = bool(stamps[-1] > end_s - 1.5 / self.info.rate_hz)
        return Chunk(self.stream_id, samples, stamps)

    def annotations(self, message: Texts) -> list[Annotation]:
        """What a stream of text said, as markers."""
        stamps = np.array(message.stamps, dtype=np.float64)
        if not self.stream_clock and len(stamps):
            stamps = self._clock.correct(stamps, message.arrival_s)
        return [
            Annotation(onset_s, 0.0, text, self.stream_id)
            for onset_s, text in zip(stamps.tolist(), message.texts, strict=True)
        ]

    def jumps(self, at_s: float) -> list[Notice]:
        """How the sender's clock was set since the last call."""
        return [
            Notice(CLOCK_JUMPED, self.stream_id, at_s, f"its sender's clock was set by {jump_s:+.3f} s", seconds=jump_s)
            for jump_s in self._clock.take_jumps()
        ]

    def notes(self) -> list[str]:
        """What was found odd about the sender's clock since the last call."""
        return self._clock.take_notes()

    def summary(self) -> str:
        """What it is, in a few words."""
        if self.found.text:
            return "text; each line of it is an annotation"
        count, rate_hz = len(self.info.channels), self.info.rate_hz
        return f"{count} channel{'s' * (count != 1)} at {f'{rate_hz:g} Hz' if rate_hz else 'an irregular rate'}"

    def _new_clock(self) -> SenderClock:
        return SenderClock(0.0 if self.found.text else self.info.rate_hz)
