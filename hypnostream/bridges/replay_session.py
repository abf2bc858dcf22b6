"""A session that was recorded live, again: the same steps, so the same results, and the proof of it."""

import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from msgspec import structs

from hypnostream.bridges.breathing import IndicesSink, is_scored, specs_of
from hypnostream.bridges.journal import journaled_steps, segment_path
from hypnostream.bridges.live_session import bed_of
from hypnostream.bridges.messages import SESSION_ENDED
from hypnostream.bridges.model import Model
from hypnostream.bridges.night_report import NightReport, TableSink, report_folder
from hypnostream.bridges.recording import read_recording
from hypnostream.bridges.replay import Progress, ReplayOptions, bundle_of, publisher_of, reference_events
from hypnostream.bridges.result_log import ResultLog
from hypnostream.bridges.run import Sink, drive, finish
from hypnostream.bridges.said_before import said_before
from hypnostream.bridges.session_folder import SessionFolder
from hypnostream.bridges.summary import Summary
from hypnostream.engine.respiration.event import Event
from hypnostream.engine.results import StageResult
from hypnostream.engine.session import Session
from hypnostream.errors import UserError
from hypnostream.stream.channels import Montage
from hypnostream.stream.clock import RealTimeClock
from hypnostream.stream.source import SOURCE_REFUSED, Notice, Step


def replay_session(path: Path, options: ReplayOptions, progress: Progress) -> tuple[Summary, Path]:
    """Stage the recorded steps of the session in folder `path` and write a report. Returns the summary and its folder.

    With the bundle that ran live and no [channels] of its own, every final result is the one that was published; how
    many are is said in the summary's notes. Raises UserError when the folder holds no recorded session.
    """
    if options.reference is not None and not options.reference.is_file():
        raise UserError(f"{options.reference} is not there; name a hypnogram: EDF+, NSRR XML or CSV")
    folder, bundle = SessionFolder(path), bundle_of(options.config)
    record = folder.read()
    if options.config.channels:
        record = structs.replace(record, channels=dict(options.config.channels))
    model = Model(bundle, options.config.model)
    report = NightReport(
        folder=report_folder(options.out, f"{path.resolve().name}-replay"),
        bundle=bundle,
        backend=model.backend.name,
        session_id=secrets.token_hex(8),
        title=record.name,
        montage=Montage(specs_of(bundle, record.breathing), ()),
        streams=(),
        start_utc=record.start_utc,
    )
    beliefs = model.beliefs if is_scored(record.breathing) else None
    bed = bed_of(record, Session(bundle, model.backend, record.t0_s), beliefs)
    bed.provisional = record.provisional and options.speed is not None
    before = _published(folder)
    refused = _Refused()
    with ExitStack() as stack:
        sinks: list[Sink] = [refused]
        if options.publish is not None:
            publish = structs.replace(options.config.publish, address=options.publish)
            publisher = stack.enter_context(publisher_of(report, record.t0_s, publish))
            sinks += [publisher, IndicesSink(bed, publisher)]
        bar = stack.enter_context(progress(record.name, len(before)))
        table = TableSink(stack.enter_context(report.table()), report.event_table())
        sinks += [table, *([] if bar is None else [bar])]
        outcome = drive(_paced(_steps(folder), options.speed, record.t0_s), bed, sinks, timed=options.speed is not None)
        end_s = bed.reached_s
        finish(bed, sinks, outcome, end_s, end_s, timed=False)
        for sink in sinks:
            sink.notice(Notice(SESSION_ENDED, "", end_s, "the recording ended"))
    notes: tuple[str, ...] = (_comparison(before, outcome.final),) if before and record.ended_utc else ()
    notes += model.reasons
    if options.reference is not None:
        from hypnostream.bridges.references import read_reference

        read = read_reference(options.reference, epochs=len(outcome.final), recording_start_utc=record.start_utc)
        report, notes = replace(report, reference=read.stages), (*notes, *read.notes)
    montage = Montage(bed.montage.specs, bed.montage.derivations, bed.montage.missing, notes)
    summary = report.of(montage, bed.streams).write(
        outcome,
        refused.said,
        outcome.timings(),
        annotations=outcome.annotations,
        breathing=bed.breathing,
        reference_events=reference_events(options, bed, record.t0_s, record.start_utc),
    )
    return summary, report.folder.path


class _Refused:
    """A sink that keeps why streams were refused, as warnings."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def publish(self, result: StageResult, now_s: float, latency_s: float | None = None) -> None:
        """Nothing to keep."""

    def event(self, event: Event, now_s: float, latency_s: float | None = None) -> None:
        """Nothing to keep."""

    def notice(self, notice: Notice) -> None:
        """Keep it if it is one."""
        if notice.kind == SOURCE_REFUSED:
            self.said.append(f"stream {notice.subject!r} was refused: {notice.detail}")

    def heartbeat(self, now_s: float) -> None:
        """Nothing to keep."""


def _steps(folder: SessionFolder) -> Iterator[Step]:
    if folder.signals_path.is_dir():
        return read_recording(folder.signals_path)
    if segment_path(folder.journal_path, 0).is_file():  # it has not ended, or not in good order
        return journaled_steps(folder.journal_path, past_holes=True)
    raise UserError(f"{folder.path} holds no recorded signals; run the bed with --record to keep them")


def _paced(steps: Iterator[Step], speed: float | None, t0_s: float) -> Iterator[Step]:
    clock = None if speed is None else RealTimeClock(speed, t0_s)
    for step in steps:
        if clock is not None:
            clock.wait_until(step.now_s)
        yield step


def _published(folder: SessionFolder) -> list[StageResult]:
    if not folder.results_path.is_file():
        return []
    log = ResultLog(folder.results_path)
    try:
        return said_before(log).final
    finally:
        log.close()


def _comparison(before: list[StageResult], again: list[StageResult]) -> str:
    theirs = {result.epoch: replace(result, compute_s=0.0) for result in before}
    equal = sum(theirs.get(result.epoch) == replace(result, compute_s=0.0) for result in again)
    return f"{equal} of {len(theirs)} epochs came out exactly as they were published live"
