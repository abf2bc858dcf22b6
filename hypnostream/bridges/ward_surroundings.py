"""What the sessions of a ward have in common: the loop, models, who reads LSL, a ZeroMQ context."""

import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from types import TracebackType
from typing import Any, Final, Self

import zmq
from msgspec.structs import replace

from hypnostream.bridges.lsl import LslSource
from hypnostream.bridges.lsl_config import reader_config, session_in_use
from hypnostream.bridges.lsl_frames import Together
from hypnostream.bridges.lsl_shared_reader import SharedReader
from hypnostream.bridges.messages import BED_BEGUN, BED_FAILED
from hypnostream.bridges.model import Model
from hypnostream.bridges.publisher import Publisher
from hypnostream.bridges.run import DrivenBed
from hypnostream.bridges.spread import Times
from hypnostream.bridges.stopping import BedStop, LeftError
from hypnostream.bridges.surroundings import Stopping, load_model, settings_of
from hypnostream.bridges.ward_loop import WardLoop
from hypnostream.config import LslSection, ModelSection
from hypnostream.stream.clock import Clock
from hypnostream.stream.source import LiveSource, Notice

BACKLOG_BYTES: Final = 512_000_000  # of all beds that one process reads for
_MOST_SOCKETS: Final = 1 << 15


class Common:
    """What the beds share. Any thread uses it. It is made for so many `beds`; more may come."""

    def __init__(self, beds: int) -> None:
        self.loop, self.times = WardLoop(), Times()
        self.context: zmq.Context[Any] = zmq.Context()
        self.context.set(zmq.MAX_SOCKETS, _MOST_SOCKETS)
        self.writing = threading.BoundedSemaphore(os.cpu_count() or 1)
        self._beds = beds
        self._lock = threading.Lock()  # of this table; one model may take minutes to load, and holds up no other
        self._loading: dict[ModelSection, threading.Lock] = {}
        self._models: dict[ModelSection, Model] = {}
        self._reading = threading.Lock()
        self._readers: dict[str, SharedReader] = {}

    def model(self, section: ModelSection) -> Model:
        """One for all beds that name the same; as it was when it was first loaded."""
        section = replace(section, provisional=True)  # which is not of the model
        with self._lock:
            loading = self._loading.setdefault(section, threading.Lock())
        with loading:
            if section not in self._models:
                model = load_model(section, beds=self._beds)
                _ = model.beliefs  # now, before any thread asks for them
                self._models[section] = model
            return self._models[section]

    def reader(self, section: LslSection) -> SharedReader:
        """The process that reads for all beds of the same LSL session and the same peers."""
        config = reader_config(section.private_session or session_in_use(), section.known_peers, many=True)
        with self._reading:
            if config not in self._readers:
                self._readers[config] = SharedReader(Together(config, BACKLOG_BYTES))
            return self._readers[config]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends what reads, and waits until all that was said has left."""
        for reader in self._readers.values():
            reader.close()
        if error is None:  # else some beds may have sockets open
            self.context.term()


class AmongBeds:
    """A bed's `Surroundings` in a ward. `say` (kind, detail) tells the ward."""

    def __init__(self, common: Common, say: Callable[[str, str], None]) -> None:
        self._common, self._say = common, say
        self.context: zmq.Context[Any] | None = common.context

    def model(self, section: ModelSection) -> Model:
        """See `Surroundings`."""
        return self._common.model(section)

    def open(self, section: LslSection, required: bool, stop: Stopping) -> LslSource:
        """See `Surroundings`."""
        return LslSource(settings_of(section), required, self._common.reader(section).share, stop)

    def drive(self, source: LiveSource, clock: Clock, driven: DrivenBed, stop: Stopping) -> None:
        """See `Surroundings`. Raises LeftError when the session is to be left as it is."""
        for sink in driven.sinks:
            if isinstance(sink, Publisher):
                self._say(BED_BEGUN, f"publishing on {sink.address}")
        try:
            self._common.loop.drive(source, clock, driven, stop)
        except Exception as error:
            failed = Notice(BED_FAILED, "", clock.now(), f"{type(error).__name__}: {error}"[:500])
            for sink in driven.sinks:
                with suppress(Exception):  # it may be what failed
                    sink.notice(failed)
            raise
        if isinstance(stop, BedStop) and stop.leaving:
            raise LeftError

    def writing(self) -> AbstractContextManager[object]:
        """See `Surroundings`: as many at a time as there are cores."""
        return self._common.writing
