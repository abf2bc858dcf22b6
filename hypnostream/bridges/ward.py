"""A ward: many beds in one process, as its files say, which are looked at again while it runs."""

import gc
import logging
import queue
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from msgspec.structs import replace

from hypnostream.bridges.curve import gate_of
from hypnostream.bridges.logs import NoticeLog
from hypnostream.bridges.messages import BED_REFUSED, BED_REMOVED
from hypnostream.bridges.metrics import MetricsEndpoint
from hypnostream.bridges.publisher import Publisher
from hypnostream.bridges.run import Sink
from hypnostream.bridges.sayable import escaped, sayable
from hypnostream.bridges.service_manager import ServiceManager
from hypnostream.bridges.stopping import stopped_by_signals
from hypnostream.bridges.ward_bed import WardBed
from hypnostream.bridges.ward_config import WardFile, published
from hypnostream.bridges.ward_families import FRESH_S, ward_families
from hypnostream.bridges.ward_files import Beds, WardFiles
from hypnostream.bridges.ward_surroundings import Common
from hypnostream.bridges.ward_tally import BEAT_S, WardTally
from hypnostream.bridges.ward_trial import Trials
from hypnostream.config import BedConfig
from hypnostream.errors import UserError
from hypnostream.stream.source import Notice

LOOK_S: Final = 3.0
_ENDING_S: Final = 0.2
SEARCHES: Final = (50_000, 20, 50)  # for cycles: rarely, as each goes through what hundreds of beds remember
SWITCH_S: Final = 0.001  # the loop lets go of the interpreter with each write, and is not to wait long for it
_Said = TypeVar("_Said", Notice, float)
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WardOptions:
    """What a ward is asked for beside its file; `record` and `insecure` hold for every bed. `metrics` stands above the
    file's address."""

    path: Path
    announce: Callable[[str], None]
    record: bool = False
    insecure: bool = False
    metrics: str | None = None


def run_ward(options: WardOptions) -> None:
    """Serve the beds until the process is asked to stop (Ctrl-C, SIGTERM); then end all sessions in order.

    UserError: the ward's file is wrong, it has no bed, or its status or metrics cannot be published.
    """
    files = WardFiles(options.path)
    allow_many_files()
    gc.set_threshold(*SEARCHES)
    sys.setswitchinterval(SWITCH_S)
    with stopped_by_signals() as stop, Common(files.beds_expected) as common, ExitStack() as stack:
        ward = Ward(options, common, _sinks(files.ward, options, stack))
        _serve_metrics(ward, files.ward, options, common, stack)
        for bed in files.first.beds.values():
            with suppress(UserError):  # the bed says it
                common.model(bed.model)  # before the threads are there that would all wait for it
        ward.follow(files.first)
        look_s = beat_s = time.monotonic()
        while not (stop() and ward.over):
            now_s = time.monotonic()
            if stop():
                ward.end()
            elif now_s >= look_s:
                look_s = now_s + LOOK_S
                ward.follow(files.look())
            if now_s >= beat_s:
                beat_s = now_s + BEAT_S
                ward.beat(time.monotonic())
            ward.tend()
            waited_s = common.loop.turn(max(0.0, min(beat_s - time.monotonic(), _ENDING_S)))
            ward.tally.turns.add(time.monotonic() - now_s - waited_s)


class Ward:
    """The beds by their places; `sinks` are told how they are, in the thread that calls, as is `tally`."""

    def __init__(self, options: WardOptions, common: Common, sinks: list[Sink]) -> None:
        self.tally = WardTally()
        self._options, self._common, self._sinks = options, common, [self.tally, *sinks]
        self._wanted: dict[str, BedConfig] = {}
        self._beds: dict[str, WardBed] = {}
        self._leaving: list[WardBed] = []
        self._refused: tuple[str, ...] = ()
        self._refused_at_work: dict[str, str] = {}  # why beds at work stay as they are, by their places
        self._trials = Trials(common)
        self._failure = ""
        self._ending = False
        self._said: queue.SimpleQueue[Notice] = queue.SimpleQueue()

    @property
    def over(self) -> bool:
        """Whether no bed is at work."""
        return not self._beds and not self._leaving

    def follow(self, found: Beds) -> None:
        """The files are so now."""
        for place, why in found.wrong.items():
            self._said.put(_notice(BED_REFUSED, place, why))
        self._wanted = {place: self._as_asked(bed) for place, bed in found.beds.items()}
        self._refused = found.refused

    def tend(self) -> None:
        """Let go of beds that are not wanted as they are and could begin as they are wanted; begin those that are
        wanted; pass on what was said."""
        self._leaving = [bed for bed in self._leaving if not bed.over]
        before, self._refused_at_work = self._refused_at_work, {}
        for place, bed in list(self._beds.items()):
            wanted = self._wanted.get(place)
            if wanted == bed.config:
                continue
            if wanted is not None and (why := self._trials.why_not(place, wanted, self._held)) != "":
                if why is not None:
                    self._refused_at_work[place] = why
                continue
            if wanted is not None and _same_session(wanted, bed.config):
                bed.stop.leave()
            else:
                bed.stop.ask()
            if wanted is None and not self._ending:
                self._said.put(_notice(BED_REMOVED, bed.config.name, ""))
            self._leaving.append(self._beds.pop(place))
        for place, why in self._refused_at_work.items():
            if before.get(place) != why:
                self._said.put(_notice(BED_REFUSED, place, why))
        names = {bed.config.name for bed in (*self._leaving, *self._beds.values())}  # the old one of a refused file too
        for place, config in self._wanted.items():
            if place not in self._beds and config.name not in names:
                self._beds[place] = self._bed(config)
        for bed in self._beds.values():
            bed.begin()
        while not self._said.empty():
            notice = self._said.get()
            for sink in self._sinks:
                self._tell(sink.notice, notice)

    def end(self) -> None:
        """No bed is wanted any more."""
        self._wanted, self._ending = {}, True

    def beat(self, now_s: float) -> None:
        """A second has passed."""
        beds = {bed.config.name: bed.tally for bed in (*self._leaving, *self._beds.values())}
        refused = sorted({*map(escaped, self._refused), *self._refused_at_work})
        self.tally.stands(beds, len(self._wanted), refused, self._ending)
        for sink in self._sinks:
            self._tell(sink.heartbeat, now_s)

    def _tell(self, sink: Callable[[_Said], None], said: _Said) -> None:
        """No sink ends the ward, whatever it makes of what it is told."""
        try:
            sink(said)
        except Exception as error:
            if repr(error) != self._failure:  # one that fails may do so each second
                _logger.exception("the ward goes on without telling %r to %s", said, sink.__qualname__)
            self._failure = repr(error)

    def _held(self) -> frozenset[str]:
        """The addresses that beds have now."""
        beds = (*self._leaving, *self._beds.values())
        return frozenset(address for bed in beds for address in published(bed.config.publish))

    def _bed(self, config: BedConfig) -> WardBed:
        return WardBed(
            config,
            self._common,
            lambda kind, detail: self._said.put(_notice(kind, config.name, detail)),
            lambda line: self._options.announce(f"{config.name}: {line}"),
        )

    def _as_asked(self, bed: BedConfig) -> BedConfig:
        bed = bed.insecure() if self._options.insecure else bed
        return replace(bed, keep=replace(bed.keep, record=True)) if self._options.record else bed


def _same_session(one: BedConfig, other: BedConfig) -> bool:
    """Whether a session of the one can go on as one of the other: what it is settled by is the same in both."""
    if not other.keep.resume_within_s:
        return False
    return all(
        getattr(one, key) == getattr(other, key) for key in ("name", "model", "keep", "grid", "breathing", "channels")
    ) and (one.lsl.stall_s == other.lsl.stall_s)


def _notice(kind: str, subject: str, detail: str) -> Notice:
    return sayable(Notice(kind, subject, time.monotonic(), detail[:500]))


def _sinks(ward: WardFile, options: WardOptions, stack: ExitStack) -> list[Sink]:
    """Who is told of the ward: the log, the service manager, and where it has an address, whoever listens there."""
    sinks: list[Sink] = [NoticeLog(), ServiceManager()]
    if ward.ward.status is not None:
        publish = ward.defaults.publish
        publisher = Publisher(
            ward.ward.status,
            model_hash="none",
            backend="none",
            insecure=publish.insecure or options.insecure,
            curve=gate_of(publish),
            utc_offset_s=time.time() - time.monotonic(),
        )
        sinks.append(stack.enter_context(publisher))
        options.announce(f"{ward.ward.name}: its status is published on {publisher.address}")
    return sinks


def _serve_metrics(ward: Ward, file: WardFile, options: WardOptions, common: Common, stack: ExitStack) -> None:
    """One page for all beds, where there is an address for it."""
    address = options.metrics or file.ward.metrics.address
    if address is not None:
        endpoint = MetricsEndpoint(
            address,
            lambda: ward_families(ward.tally, common.loop, common.times),
            ward.tally.health,
            insecure=file.defaults.publish.insecure or options.insecure,
            fresh_s=FRESH_S,
        )
        stack.enter_context(endpoint)
        options.announce(f"{file.ward.name}: metrics and health are at {endpoint.address}")


def allow_many_files() -> None:
    """As many open files as the system lets this process have: each bed has some twenty, sockets counted."""
    if sys.platform != "win32":
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with suppress(ValueError, OSError):  # some systems say "unlimited" and do not mean it
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
