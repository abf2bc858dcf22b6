"""Where a live session runs: alone in its process, or among the beds of a ward. What it gets from there is this."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import zmq

from hypnostream.bridges.lsl import LslSource
from hypnostream.bridges.lsl_settings import LslSettings
from hypnostream.bridges.model import Model
from hypnostream.bridges.run import DrivenBed, live_steps
from hypnostream.config import LslSection, ModelSection
from hypnostream.engine.bundle import load_bundle
from hypnostream.stream.clock import Clock
from hypnostream.stream.source import LiveSource

Stopping = Callable[[], bool]


class Surroundings(Protocol):
    """What a session gets from where it runs."""

    @property
    def context(self) -> zmq.Context[Any] | None:
        """The ZeroMQ context to publish in; None: one of its own."""
        ...

    def model(self, section: ModelSection) -> Model:
        """The model that a bed's configuration names. Raises UserError when it cannot be had."""
        ...

    def open(self, section: LslSection, required: bool, stop: Stopping) -> LslSource:
        """The streams of a bed's configuration. Raises UserError when there are none, unless that is allowed."""
        ...

    def drive(self, source: LiveSource, clock: Clock, driven: DrivenBed, stop: Stopping) -> None:
        """Do what comes of `source` until it is exhausted or `stop` says so."""
        ...

    def writing(self) -> AbstractContextManager[object]:
        """Within this a report may be written, which takes a core for some seconds."""
        ...


class Alone:
    """A session that has its process to itself."""

    context: zmq.Context[Any] | None = None

    def model(self, section: ModelSection) -> Model:
        """See `Surroundings`."""
        return load_model(section)

    def open(self, section: LslSection, required: bool, stop: Stopping) -> LslSource:
        """See `Surroundings`."""
        return LslSource(settings_of(section), required)

    def drive(self, source: LiveSource, clock: Clock, driven: DrivenBed, stop: Stopping) -> None:
        """See `Surroundings`."""
        driven.take_all(live_steps(source, clock), stop)

    def writing(self) -> AbstractContextManager[object]:
        """See `Surroundings`."""
        return nullcontext()


def load_model(section: ModelSection, beds: int = 1) -> Model:
    """The bundle from disk, ready to run, for so many beds. Raises UserError."""
    return Model(load_bundle(None if section.bundle is None else Path(section.bundle)), section, beds=beds)


def settings_of(section: LslSection) -> LslSettings:
    """What a bed's configuration says of LSL."""
    return LslSettings(
        predicates=section.predicates,
        minimum=section.minimum,
        resolve_timeout_s=section.timeout_s,
        max_silence_s=section.max_silence_s,
        private_session=section.private_session,
        known_peers=section.known_peers,
        backlog_bytes=round(1e6 * section.backlog_mb),
    )
