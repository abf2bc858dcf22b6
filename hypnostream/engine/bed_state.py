"""What a bed says of a step, and all that it remembers between steps."""

from dataclasses import dataclass, field
from typing import NamedTuple

from hypnostream.engine.path import PathState, StreamCounts
from hypnostream.engine.respiration.breathing_state import BreathingState
from hypnostream.engine.respiration.event import Event
from hypnostream.engine.results import StageResult
from hypnostream.engine.session import SessionState
from hypnostream.stream.grid import GridState
from hypnostream.stream.source import Annotation, Notice, StreamInfo


@dataclass(slots=True)
class Said:
    """What a bed says of one step."""

    results: list[StageResult] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    annotations: list[Annotation] = field(default_factory=list)


class StreamsState(NamedTuple):
    """All that the streams of a bed remember: the first fields of BedState.

    `waiting` says when a stream whose place another has may ask for it; `past` counts what came of a stream by paths
    that were closed.
    """

    t0_s: float
    streams: list[StreamInfo]
    waiting: dict[str, float]
    past: dict[str, StreamCounts]
    paths: list[PathState]


@dataclass(slots=True)
class BedState:
    """All that a bed remembers: arrays, numbers and words. It is what checkpoints hold: names and order stay."""

    t0_s: float
    streams: list[StreamInfo]
    waiting: dict[str, float]
    past: dict[str, StreamCounts]
    paths: list[PathState]
    grids: list[GridState]
    session: SessionState
    breathing: BreathingState | None = None
