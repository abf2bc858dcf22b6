"""What an LSL stream says of itself, apart from LSL: the session knows it by this and never loads liblsl."""

from dataclasses import dataclass
from datetime import datetime

from hypnostream.stream.source import StreamInfo


@dataclass(frozen=True, slots=True)
class Description:
    """What a stream says of itself. `problems` are one-line sentences on what it said that cannot be.

    With `stream_clock` its stamps are stream time, `speed` seconds of it in one on the wall; see lsl_description.
    """

    stream: StreamInfo
    stream_clock: bool
    speed: float
    start_s: float
    start_utc: datetime | None
    duration_s: float | None
    problems: tuple[str, ...]
