"""One LSL stream that is open, in the process that reads. Stamps stay as the sender made them."""

import ctypes
import math
import time
from typing import Final

import numpy as np
import pylsl
from numpy.typing import NDArray
from pylsl.lib import lib

from hypnostream.bridges.lsl_description import buffer_s, read_description
from hypnostream.bridges.lsl_frames import Known, Message, Probe, Samples, Texts
from hypnostream.bridges.stream_description import Description

_OPEN_TIMEOUT_S = 5.0
_OFFSET_WAIT_S = 5.0
_OFFSET_EVERY_S = 0.5
_IN_STEP_S = 10.0  # of a backlog, each read takes so much of every stream, so none runs far ahead of the others
_MOST_BYTES: Final = 1 << 20
_MOST_CHANNELS, _MOST_TEXT, _MOST_TEXTS = 4096, 500, 1024
_NUMBERS: Final = (pylsl.cf_float32, pylsl.cf_double64, pylsl.cf_int8, pylsl.cf_int16, pylsl.cf_int32, pylsl.cf_int64)

# pylsl knows the offset; how sure it is only liblsl tells.
_time_correction: Final = lib.lsl_time_correction_ex
_time_correction.restype = ctypes.c_double


class RefusedStreamError(Exception):
    """A stream that is there and cannot be taken; the text says why."""


class Inlet:
    """An open stream. Made in a thread of its own: opening waits for the sender.

    Raises TimeoutError or LostError of pylsl when the sender does not answer, RefusedStreamError for what is no use.
    """

    def __init__(self, info: pylsl.StreamInfo, known: Known, offset_known: bool) -> None:
        self.known = known
        self.text = info.channel_format() == pylsl.cf_string
        if not self.text and info.channel_format() not in _NUMBERS:
            raise RefusedStreamError("it carries neither numbers nor text")
        if not 1 <= info.channel_count() <= _MOST_CHANNELS:
            raise RefusedStreamError(f"it has {info.channel_count()} channels; {_MOST_CHANNELS} are taken at most")
        # How large the buffer must be stands in the full description, which only an inlet can ask for.
        full = pylsl.StreamInlet(info, 1, recover=False).info(_OPEN_TIMEOUT_S)
        if full.desc().child_value("results_of"):
            raise RefusedStreamError("it carries results of a session, not signals")
        self.description: Description = read_description(full, known.stream_id)
        self.rate_hz = self.description.stream.rate_hz
        # Destroying an inlet that recovers by itself may abort the process (liblsl#220): we look for the stream.
        self._inlet = pylsl.StreamInlet(info, self._buffer_s(), recover=False, processing_flags=pylsl.proc_none)
        self._inlet.open_stream(_OPEN_TIMEOUT_S)
        self._channels: int = self._inlet.channel_count
        if not self.text:
            most = _MOST_BYTES // (self._channels * self._inlet.np_dtype().itemsize)
            self._most = max(1, min(math.ceil(_IN_STEP_S * self.rate_hz) or 1024, most))
            self._samples = np.empty((self._most, self._channels), dtype=self._inlet.np_dtype)
        self.offset_s = 0.0
        self._offset_known = offset_known or self.description.stream_clock
        self._wait_until = time.monotonic() + _OFFSET_WAIT_S
        self._ask_at = 0.0
        self._measured_at: float | None = None

    @property
    def ready(self) -> bool:
        """Samples may be read: the clocks' difference is known, or the sender does not tell it."""
        return self._offset_known or time.monotonic() > self._wait_until

    def probe(self) -> Probe | None:
        """The difference of the clocks, when it was measured anew. Never waits. Raises pylsl's LostError."""
        at = time.monotonic()
        if self.description.stream_clock or at < self._ask_at:
            return None
        remote_s, uncertainty_s, error = ctypes.c_double(), ctypes.c_double(), ctypes.c_int()
        offset_s = _time_correction(
            self._inlet.obj,
            ctypes.byref(remote_s),
            ctypes.byref(uncertainty_s),
            ctypes.c_double(0.0),
            ctypes.byref(error),
        )
        self._ask_at = at + (_OFFSET_EVERY_S if self._measured_at is not None else 0.02)
        try:
            pylsl.util.handle_error(error)
        except pylsl.util.TimeoutError:
            return None
        self._offset_known = True
        if remote_s.value == self._measured_at:
            return None
        self._measured_at, self.offset_s = remote_s.value, offset_s
        return Probe(self.known.stream_id, remote_s.value + offset_s, offset_s, uncertainty_s.value)

    def waiting(self) -> int:
        """How many samples there are to read."""
        return int(self._inlet.samples_available())

    def pull(self) -> tuple[Message, bytes, float | None] | None:
        """The oldest samples that wait, ten seconds of them at most: the message, its raw bytes and the newest stamp.

        None when there are none. Raises pylsl's LostError.
        """
        if self.text:
            return self._pull_text()
        _, stamps = self._inlet.pull_chunk(0.0, self._most, dest_obj=self._samples, as_numpy=True)
        if not len(stamps):
            return None
        samples: NDArray[np.float32] = self._samples[: len(stamps)].astype(np.float32, copy=False)
        finite = np.isfinite(stamps)
        untimed = 0
        if not finite.all():
            untimed = int((~finite).sum())
            samples, stamps = samples[finite], stamps[finite]
        arrival_s = float(pylsl.local_clock())
        message = Samples(self.known.stream_id, len(stamps), self._channels, arrival_s, untimed)
        return message, stamps.tobytes() + samples.tobytes(), float(stamps[-1]) if len(stamps) else None

    def _pull_text(self) -> tuple[Message, bytes, float | None] | None:
        rows, stamps = self._inlet.pull_chunk(0.0, max(1, _MOST_TEXTS // self._channels), as_numpy=True)
        if not len(stamps):
            return None
        said = [
            ("; ".join(bytes(value[: 4 * _MOST_TEXT]).decode("utf-8", "replace") for value in row)[:_MOST_TEXT], stamp)
            for row, stamp in zip(rows, stamps.tolist(), strict=True)
            if math.isfinite(stamp)
        ]
        arrival_s = float(pylsl.local_clock())
        texts, times = tuple(text for text, _ in said), tuple(stamp for _, stamp in said)
        return Texts(self.known.stream_id, texts, times, arrival_s), b"", None

    def _buffer_s(self) -> int:
        description = self.description
        return buffer_s(description.speed, description.duration_s, self.rate_hz)
