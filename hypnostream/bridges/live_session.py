"""One live session, from its first sample or from where it was cut off, to its report.

A session that was cut off is taken up from its checkpoint, then the steps that were written down since, then what
comes. The time in which nothing was read is a gap. One that was cut off while it ended is ended the same way.
"""

import secrets
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from msgspec.structs import replace

from hypnostream.bridges.attention import Attention
from hypnostream.bridges.backend_notices import BackendNotices
from hypnostream.bridges.beginning import first_arrivals, grid_start_s, wall_time
from hypnostream.bridges.breathing import IndicesSink, breathing_of, is_scored, specs_of
from hypnostream.bridges.keeper import Interrupted, NotTakenUpError, SessionKeeper
from hypnostream.bridges.lsl import LslSource
from hypnostream.bridges.messages import SESSION_ENDED, SESSION_RESUMED, SESSION_STARTED, StatusMessage
from hypnostream.bridges.model import Model
from hypnostream.bridges.night_report import NightReport, TableSink
from hypnostream.bridges.observed import Observed
from hypnostream.bridges.overseer import Overseer
from hypnostream.bridges.publisher import Publisher
from hypnostream.bridges.replay import publisher_of
from hypnostream.bridges.report import ReportFolder
from hypnostream.bridges.result_log import ResultLog
from hypnostream.bridges.run import DrivenBed, Outcome, Sink, drive, finish
from hypnostream.bridges.said_before import said_before
from hypnostream.bridges.session_folder import SessionFolder, SessionRecord
from hypnostream.bridges.shifted import ShiftedSource
from hypnostream.bridges.stopping import Stop
from hypnostream.bridges.summary import Summary
from hypnostream.bridges.surroundings import Alone, Surroundings
from hypnostream.config import BedConfig
from hypnostream.engine.bed import Bed
from hypnostream.engine.respiration.beliefs import Beliefs
from hypnostream.engine.session import Session
from hypnostream.errors import UserError
from hypnostream.stream.channels import Montage
from hypnostream.stream.clock import Clock, RealTimeClock, VirtualClock
from hypnostream.stream.source import Arrival, LiveSource, Notice, Step

FASTEST = 1e5  # times real time; at more, no two streams keep in step
REORDER_S = 0.3  # how long a chunk that overtook others waits for them
OTHER_CLOCK_S = 2.0  # what the machine's own clock may have been corrected by while no one looked


def _unsaid(line: str) -> None:
    """Nobody listens. A function with a name, so that options can be handed to another process."""


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """What a live session is asked for beside its configuration. `out` is its folder (none: a new one in keep.folder).

    `wait_for_subscriber_s` holds back the first result for that long, for those who must not miss it. `around` is where
    it runs.
    """

    config: BedConfig
    out: Path | None = None
    announce: Callable[[str], None] = _unsaid
    wait_for_subscriber_s: float = 0.0
    overseers: Sequence[Overseer] = field(default_factory=list)
    around: Surroundings = field(default_factory=Alone)


class LiveSession:
    """The session in `folder`; what it opens is closed with `stack`. One of its three ways is gone, once."""

    def __init__(self, options: LiveOptions, model: Model, folder: SessionFolder, stop: Stop, stack: ExitStack) -> None:
        self._options, self._config, self._model = options, options.config, model
        self._bundle, self._around = model.bundle, options.around
        self._folder, self._stop, self._stack = folder, stop, stack
        self._outcome = Outcome()
        self._begun = False

    def begin(self, source: LslSource) -> tuple[Summary, Path]:
        """A new session: its grid begins with the first sample of a stream that serves."""
        config = self._config
        specs = specs_of(self._bundle, config.breathing)
        patience_s, besides = config.lsl.timeout_s, specs[len(self._bundle.channels) :]
        first = first_arrivals(source, self._bundle.channels, config.channels, self._stop, patience_s, besides)
        t0_s = grid_start_s(source.start_s, first)
        record = SessionRecord(
            session_id=secrets.token_hex(8),
            name=config.name,
            model_hash=self._bundle.hash,
            t0_s=t0_s,
            start_utc=wall_time(source, t0_s),
            speed=source.speed,
            stream_clock=source.stream_clock,
            lateness_s=config.grid.lateness_s,
            stall_s=config.lsl.stall_s,
            provisional=config.model.provisional,
            channels=dict(config.channels),
            breathing=config.breathing,
            recorded=config.keep.record,
            subject=config.keep.subject,
        )
        report = self._report(record)  # a folder that is refused must not cost an earlier night's
        self._folder.clear()
        self._stack.callback(self._remove_unless_begun)
        publisher = self._publisher(record, report)
        self._folder.write(record)
        bed = self._bed(record)
        keeper = self._keeper(record, publisher)
        if self._options.wait_for_subscriber_s:
            publisher.wait_for_subscriber(self._options.wait_for_subscriber_s)
        # The first samples are some seconds old by now.
        clock = clock_of(record.speed, t0_s if record.stream_clock else max(t0_s, source.now_s))
        keeper.epoch_closed(bed, t0_s)
        started = Notice(SESSION_STARTED, "", t0_s, config.name)
        self._begun = True
        return self._go_on(record, report, publisher, bed, keeper, clock, source, [started, *first], source.warnings)

    def take_up(self, record: SessionRecord, interrupted: Interrupted, source: LslSource) -> tuple[Summary, Path]:
        """A session that was cut off, from where it was. Raises NotTakenUpError when that cannot be."""
        report = self._report(record)
        publisher = self._publisher(record, report)
        bed = self._recovered(record, interrupted, publisher)
        keeper = self._keeper(record, publisher)
        source.go_on(record.stream_clock)
        silent_s = interrupted.silence_s(record.speed)
        now_s = interrupted.now_s + silent_s * record.speed
        detail = f"nothing was read for {silent_s:.1f} s"
        shifted: LiveSource = source
        if not record.stream_clock and abs(now_s - source.now_s) <= OTHER_CLOCK_S:
            now_s = source.now_s
        elif not record.stream_clock:
            shifted = ShiftedSource(source, now_s - source.now_s)
            detail += f"; the LSL clock is another, shifted by {shifted.shift_s:.1f} s to the machine's time of day"
        told: list[Sink] = [publisher, *self._options.overseers]
        for sink in told:
            sink.notice(Notice(SESSION_RESUMED, "", now_s, detail, seconds=silent_s))
        keeper.epoch_closed(bed, now_s)
        clock = clock_of(record.speed, now_s)
        return self._go_on(record, report, publisher, bed, keeper, clock, shifted, [], source.warnings)

    def end_now(self, record: SessionRecord, interrupted: Interrupted) -> tuple[Summary, Path]:
        """A session that was cut off while it ended: its end and report. Raises NotTakenUpError when that cannot be."""
        report = self._report(record)
        publisher = self._publisher(record, report)
        bed = self._recovered(record, interrupted, publisher)
        sinks = self._sinks(report, publisher, bed)
        end_s, why = record.ending_s or bed.reached_s, record.ending or "stopped"
        return self._end(record, report, bed, sinks, end_s, max(end_s, interrupted.now_s), why, [])

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
        warnings: Sequence[str],
    ) -> tuple[Summary, Path]:
        """The live part, to its end."""
        sinks = self._sinks(report, publisher, bed)
        sinks.append(Observed(self._options.overseers, bed, publisher, keeper, self._log))
        if not record.stream_clock or record.speed == 1:  # else the time of a sample says not when it comes
            sinks.append(Attention(source, bed, publisher, record.t0_s, record.stream_clock))
        if first:
            drive([Step(clock.now(), tuple(first))], bed, sinks, keeper=keeper, outcome=self._outcome)
        backend = BackendNotices(self._model, publisher, list(sinks))
        sinks.insert(0, backend)
        backend.look(clock.now())
        driven = DrivenBed(bed, sinks, keeper=keeper, outcome=self._outcome)
        self._around.drive(source, clock, driven, self._stop)
        why = "stopped" if self._stop() else "the streams ended"
        keeper.close()
        source.close()
        return self._end(record, report, bed, sinks, bed.reached_s, clock.now(), why, warnings)

    def _remove_unless_begun(self) -> None:
        if not self._begun:  # a bed that cannot begin tries all night
            self._folder.remove_unsaid()

    def _sinks(self, report: NightReport, publisher: Publisher, bed: Bed) -> list[Sink]:
        before, table = said_before(self._log), self._stack.enter_context(report.table())
        tables = TableSink(table, report.event_table(), before.final, before.events)
        return [publisher, IndicesSink(bed, publisher), tables, *self._options.overseers]

    def _end(
        self,
        record: SessionRecord,
        report: NightReport,
        bed: Bed,
        sinks: Sequence[Sink],
        end_s: float,
        now_s: float,
        why: str,
        warnings: Sequence[str],
    ) -> tuple[Summary, Path]:
        """Close what is open, say so, write the report. Who is killed in here ends it when the bed starts again."""
        try:
            self._folder.write(replace(record, ending_s=end_s, ending=why))
            finish(bed, sinks, self._outcome, end_s, max(now_s, end_s))
            if not self._has_ended():
                for sink in sinks:
                    sink.notice(Notice(SESSION_ENDED, "", max(now_s, end_s), why))
            said = said_before(self._log)
            self._outcome.final, self._outcome.events = said.final, said.events
            with self._around.writing():
                summary = report.of(bed.montage, bed.streams).write(
                    self._outcome,
                    warnings,
                    self._outcome.timings(),
                    annotations=said.annotations,
                    notices=said.notices,
                    breathing=bed.breathing,
                )
                if record.recorded:
                    from hypnostream.bridges.recording import write_recording

                    self._options.announce("writing the recorded signals")
                    write_recording(self._folder.journal_path, self._folder.signals_path)
            self._folder.write(replace(record, ending_s=end_s, ending=why, ended_utc=datetime.now(UTC)))
        except OSError as error:
            raise UserError(
                f"the session in {self._folder.path} cannot be ended: {error.strerror or error}; make room and start "
                "the bed again, which will end it"
            ) from error
        self._folder.forget_progress()
        return summary, self._folder.path

    def _has_ended(self) -> bool:
        return any(isinstance(each, StatusMessage) and each.state == SESSION_ENDED for each in self._log.messages())

    def _recovered(self, record: SessionRecord, interrupted: Interrupted, publisher: Publisher) -> Bed:
        """The bed as it was when the session was cut off; what it said since its checkpoint is said again."""
        bed = self._bed(record)
        try:
            bed.restore(interrupted.checkpoint.bed)
            publisher.restore(interrupted.checkpoint.last_seq)
            drive(interrupted.steps(), bed, [publisher, IndicesSink(bed, publisher)], timed=False)
        except Exception as error:  # whatever it is: it would come again with each restart, and no night would begin
            raise NotTakenUpError(f"{type(error).__name__}: {error}") from error
        return bed

    def _bed(self, record: SessionRecord) -> Bed:
        beliefs = self._model.beliefs if is_scored(record.breathing) else None
        return bed_of(record, Session(self._bundle, self._model.backend, record.t0_s), beliefs)

    def _keeper(self, record: SessionRecord, publisher: Publisher) -> SessionKeeper:
        keeper = SessionKeeper(self._folder, publisher, record.recorded)
        self._stack.callback(keeper.close)
        return keeper

    def _report(self, record: SessionRecord) -> NightReport:
        return NightReport(
            folder=ReportFolder(self._folder.path),
            bundle=self._bundle,
            backend=self._model.backend.name,
            session_id=record.session_id,
            title=record.name,
            montage=Montage(specs_of(self._bundle, record.breathing), ()),
            streams=(),
            start_utc=record.start_utc,
        )

    def _publisher(self, record: SessionRecord, report: NightReport) -> Publisher:
        self._log = ResultLog(self._folder.results_path)
        self._stack.callback(self._log.close)
        publisher = self._stack.enter_context(
            publisher_of(report, record.t0_s, self._config.publish, self._log, self._around.context)
        )
        self._options.announce(f"publishing on {publisher.address}, what was missed on {publisher.replay_address}")
        if self._log.repaired:
            self._options.announce(self._log.repaired)
        return publisher


def bed_of(record: SessionRecord, session: Session, beliefs: Beliefs | None = None) -> Bed:
    """The bed of a session, before its first step. Its streams declare themselves in the steps."""
    return Bed(
        (),
        Montage(specs_of(session.bundle, record.breathing), ()),
        session,
        record.lateness_s,
        record.provisional,
        record.channels,
        record.stall_s,
        REORDER_S,
        breathing_of(session.bundle, record.breathing, record.t0_s, beliefs),
        1 if record.breathing is None else record.breathing.every_s,
    )


def clock_of(speed: float, now_s: float) -> Clock:
    """The session's clock. A sender as fast as it goes leaves no time to be late in: its clock stands still."""
    return RealTimeClock(speed, start_s=now_s) if speed < FASTEST else VirtualClock(now_s)
