"""A bed at work: live from LSL until stopped, kept and published as it goes, reported at the end.

A session that was cut off, by a kill or a crash, is taken up where it was: its checkpoint, then the steps that were
written down since, then what comes. The time in which nothing was read is a gap.
"""

import logging
import secrets
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from hypnostream.bridges.beginning import first_arrivals, grid_start_s, wall_time
from hypnostream.bridges.folder_lock import locked
from hypnostream.bridges.keeper import Interrupted, SessionKeeper
from hypnostream.bridges.lsl import LslSource
from hypnostream.bridges.lsl_settings import LslSettings
from hypnostream.bridges.messages import SESSION_ENDED, SESSION_RESUMED, SESSION_STARTED
from hypnostream.bridges.night_report import NightReport, TableSink
from hypnostream.bridges.observed import Observed
from hypnostream.bridges.overseer import Overseer
from hypnostream.bridges.publisher import Publisher
from hypnostream.bridges.replay import bundle_of, publisher_of
from hypnostream.bridges.report import ReportFolder
from hypnostream.bridges.result_log import ResultLog
from hypnostream.bridges.retention import remove_old_signals
from hypnostream.bridges.run import Outcome, Sink, drive, finish, live_steps
from hypnostream.bridges.said_before import said_before
from hypnostream.bridges.session_folder import SessionFolder, SessionRecord, folder_of
from hypnostream.bridges.shifted import ShiftedSource
from hypnostream.bridges.stopping import Stop, stopped_by_signals
from hypnostream.bridges.summary import Summary
from hypnostream.config import BedConfig, LslSection
from hypnostream.engine.backend import OnnxBackend
from hypnostream.engine.bed import Bed
from hypnostream.engine.bundle import Bundle
from hypnostream.engine.results import StageResult
from hypnostream.engine.session import Session
from hypnostream.stream.channels import Montage
from hypnostream.stream.clock import Clock, RealTimeClock, VirtualClock
from hypnostream.stream.montage import resolve
from hypnostream.stream.source import Arrival, LiveSource, Notice, Step

FASTEST = 1e5  # times real time; at more, no two streams keep in step
REORDER_S = 0.3  # how long a chunk that overtook others waits for them
OTHER_CLOCK_S = 2.0  # what the machine's own clock may have been corrected by while no one looked

_logger = logging.getLogger(__name__)


def open_lsl(section: LslSection, required: bool = True) -> LslSource:
    """Find the streams of a bed's configuration. Raises UserError when there are none, unless that is allowed."""
    settings = LslSettings(
        predicates=section.predicates,
        minimum=section.minimum,
        resolve_timeout_s=section.timeout_s,
        max_silence_s=section.max_silence_s,
        private_session=section.private_session,
        known_peers=section.known_peers,
        backlog_bytes=round(1e6 * section.backlog_mb),
    )
    return LslSource(settings, required)


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """What a live session is asked for beside its configuration. `out` is its folder (none: a new one in keep.folder).

    `wait_for_subscriber_s` holds back the first result for that long, for those who must not miss it.
    """

    config: BedConfig
    out: Path | None = None
    announce: Callable[[str], None] = lambda line: None
    wait_for_subscriber_s: float = 0.0
    overseers: Sequence[Overseer] = field(default_factory=list)


def run_live(options: LiveOptions) -> tuple[Summary, Path]:
    """Stage what comes over LSL until it ends or the process is asked to stop (Ctrl-C, SIGTERM); write the report.

    Returns the summary and the session's folder.
    """
    config = options.config
    with stopped_by_signals() as stop, ExitStack() as stack:
        bundle = bundle_of(config)
        keep = config.keep
        folder = folder_of(options.out, Path(keep.folder), config.name, bundle.hash, keep.resume_within_s)
        remove_old_signals(Path(keep.folder), keep.max_age_days, keep.max_gb, but=folder.path)
        record, interrupted = folder.resumable(config.name, bundle.hash, keep.resume_within_s), None
        if record is not None:
            try:
                interrupted = Interrupted(folder)
            except (OSError, ValueError) as error:
                options.announce(f"session {record.session_id} in {folder.path} cannot be taken up: {error}")
        options.announce(
            f"looking for LSL streams, for {config.lsl.timeout_s:g} s at most"
            if record is None or interrupted is None
            else f"taking up session {record.session_id} in {folder.path}"
        )
        source = open_lsl(config.lsl, required=interrupted is None)
        stack.callback(source.close)
        stack.enter_context(locked(folder.path))
        live = _Live(options, bundle, folder, source, stop, stack)
        return live.begin() if record is None or interrupted is None else live.take_up(record, interrupted)


class _Live:
    """One run of `run_live`."""

    def __init__(
        self,
        options: LiveOptions,
        bundle: Bundle,
        folder: SessionFolder,
        source: LslSource,
        stop: Stop,
        stack: ExitStack,
    ) -> None:
        self.options, self.config, self.bundle = options, options.config, bundle
        self.folder, self.source, self.stop, self.stack = folder, source, stop, stack
        self.backend = OnnxBackend(bundle)
        self.outcome = Outcome()

    def begin(self) -> tuple[Summary, Path]:
        """A new session: its grid begins with the first sample of a stream that serves."""
        config, source = self.config, self.source
        first = first_arrivals(source, self.bundle.channels, config.channels, self.stop, config.lsl.timeout_s)
        t0_s = grid_start_s(source.start_s, first)
        record = SessionRecord(
            session_id=secrets.token_hex(8),
            name=config.name,
            model_hash=self.bundle.hash,
            t0_s=t0_s,
            start_utc=wall_time(source, t0_s),
            speed=source.speed,
            stream_clock=source.stream_clock,
            lateness_s=config.grid.lateness_s,
            stall_s=config.lsl.stall_s,
            provisional=config.model.provisional,
            channels=dict(config.channels),
            subject=config.keep.subject,
        )
        report = self._report(record)  # a folder or an address that is refused must not cost an earlier night's
        publisher = self._publisher(record, report, fresh=True)
        bed = self._bed(record)
        keeper = self._keeper(publisher)
        if self.options.wait_for_subscriber_s:
            publisher.wait_for_subscriber(self.options.wait_for_subscriber_s)
        # The first samples are some seconds old by now.
        clock = clock_of(record.speed, t0_s if record.stream_clock else max(t0_s, source.now_s))
        keeper.epoch_closed(bed, t0_s)
        started = Notice(SESSION_STARTED, "", t0_s, config.name)
        return self._go_on(record, report, publisher, bed, keeper, clock, source, [started, *first])

    def take_up(self, record: SessionRecord, interrupted: Interrupted) -> tuple[Summary, Path]:
        """A session that was cut off: what it was, what came in since it was written down, and from then on live."""
        report = self._report(record)
        publisher = self._publisher(record, report, fresh=False)
        bed = self._bed(record)
        bed.restore(interrupted.checkpoint.bed)
        publisher.restore(interrupted.checkpoint.last_seq)
        drive(interrupted.steps(), bed, [publisher], timed=False)
        keeper = self._keeper(publisher)
        self.source.go_on(record.stream_clock)
        silent_s = interrupted.silence_s(record.speed)
        now_s = interrupted.now_s + silent_s * record.speed
        detail = f"nothing was read for {silent_s:.1f} s"
        source: LiveSource = self.source
        local_s = self.source.now_s
        if not record.stream_clock and abs(now_s - local_s) <= OTHER_CLOCK_S:
            now_s = local_s
        elif not record.stream_clock:
            source = ShiftedSource(self.source, now_s - local_s)
            detail += f"; the LSL clock is another, shifted by {now_s - local_s:.1f} s to the machine's time of day"
        told: list[Sink] = [publisher, *self.options.overseers]
        for sink in told:
            sink.notice(Notice(SESSION_RESUMED, "", now_s, detail, seconds=silent_s))
        self.options.announce(f"{SESSION_RESUMED}: {detail}")
        keeper.epoch_closed(bed, now_s)
        return self._go_on(record, report, publisher, bed, keeper, clock_of(record.speed, now_s), source, [])

    def _go_on(
        self,
        record: SessionRecord,
        report: NightReport,
        publisher: Publisher,
        bed: Bed,
        keeper: SessionKeeper,
        clock: Clock,
        source: LiveSource,
        first: Sequence[Arrival],
    ) -> tuple[Summary, Path]:
        """The live part, to its end, and the report."""
        before = said_before(self._log)
        table = self.stack.enter_context(report.table())
        sinks: list[Sink] = [publisher, TableSink(table, before.final), *self.options.overseers]
        sinks.append(Observed(self.options.overseers, bed, publisher, keeper, self._log))
        if not record.stream_clock:  # else no one but the streams knows when
            shift_s = source.shift_s if isinstance(source, ShiftedSource) else 0.0
            sinks.append(_Attention(self.source, bed, publisher, record.t0_s - shift_s))
        if first:
            drive([Step(clock.now(), tuple(first))], bed, sinks, keeper=keeper, outcome=self.outcome)
        drive(live_steps(source, clock), bed, sinks, self.stop, keeper=keeper, outcome=self.outcome)
        end_s = bed.reached_s
        finish(bed, sinks, self.outcome, end_s, max(clock.now(), end_s))
        why = "stopped" if self.stop() else "the streams ended"
        for sink in sinks:
            sink.notice(Notice(SESSION_ENDED, "", max(clock.now(), end_s), why))
        keeper.close()
        self.source.close()
        self.folder.write(_ended(record))  # before the report: who is killed in it has a session that ended
        said = said_before(self._log)
        self.outcome.final, self.outcome.annotations = said.final, said.annotations
        montage = resolve(bed.streams, self.bundle.channels) if bed.streams else bed.montage
        report = report.of(Montage(bed.montage.specs, bed.montage.derivations, montage.missing), bed.streams)
        summary = report.write(
            self.outcome, self.source.warnings, self.outcome.timings(), annotations=self.outcome.annotations
        )
        if self.config.keep.record:
            from hypnostream.bridges.recording import write_recording

            self.options.announce("writing the recorded signals")
            write_recording(self.folder.journal_path, self.folder.signals_path)
        self.folder.forget_progress()
        return summary, self.folder.path

    def _bed(self, record: SessionRecord) -> Bed:
        session = Session(self.bundle, self.backend, record.t0_s)
        return bed_of(record, session)

    def _keeper(self, publisher: Publisher) -> SessionKeeper:
        keeper = SessionKeeper(self.folder, publisher, self.config.keep.record)
        self.stack.callback(keeper.close)
        return keeper

    def _report(self, record: SessionRecord) -> NightReport:
        return NightReport(
            folder=ReportFolder(self.folder.path),
            bundle=self.bundle,
            backend=self.backend.name,
            session_id=record.session_id,
            title=record.name,
            montage=Montage(tuple(self.bundle.channels), ()),
            streams=(),
            start_utc=record.start_utc,
        )

    def _publisher(self, record: SessionRecord, report: NightReport, fresh: bool) -> Publisher:
        publish = self.config.publish
        if fresh:
            self.folder.clear()
            self.folder.write(record)
        self._log = ResultLog(self.folder.results_path)
        self.stack.callback(self._log.close)
        publisher = self.stack.enter_context(publisher_of(report, record.t0_s, publish, self._log))
        self.options.announce(f"publishing on {publisher.address}, what was missed on {publisher.replay_address}")
        if self._log.repaired:
            self.options.announce(self._log.repaired)
        return publisher


class _Attention:
    """A sink that tells the source when the samples are due that complete a second, as streams come and change, and
    the publisher how well the senders' clocks are known.
    """

    def __init__(self, source: LslSource, bed: Bed, publisher: Publisher, t0_s: float) -> None:
        self._source, self._bed, self._publisher, self._t0_s = source, bed, publisher, t0_s
        self._told_s: float | None = None

    def publish(self, result: StageResult, now_s: float, latency_s: float | None = None) -> None:
        """Nothing to tell."""

    def notice(self, notice: Notice) -> None:
        """Nothing to tell."""

    def heartbeat(self, now_s: float) -> None:
        """Tell, if it is another time than was told."""
        self._publisher.utc_uncertainty_s = self._source.uncertainty_s
        due_s = self._t0_s + self._bed.look_ahead_s
        if due_s != self._told_s:
            self._told_s = due_s
            self._source.expect(due_s)


def bed_of(record: SessionRecord, session: Session) -> Bed:
    """The bed of a session, before its first step. Its streams declare themselves in the steps."""
    montage = Montage(tuple(session.bundle.channels), ())
    return Bed((), montage, session, record.lateness_s, record.provisional, record.channels, record.stall_s, REORDER_S)


def _ended(record: SessionRecord) -> SessionRecord:
    from msgspec.structs import replace

    return replace(record, ended_utc=datetime.now(UTC))


def clock_of(speed: float, now_s: float) -> Clock:
    """The session's clock. A sender as fast as it goes leaves no time to be late in: its clock stands still."""
    return RealTimeClock(speed, start_s=now_s) if speed < FASTEST else VirtualClock(now_s)
