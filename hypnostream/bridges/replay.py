"""A recorded night through the same path as live, and its report."""

import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import zmq
from msgspec.structs import replace

from hypnostream.bridges.address import replay_address_of
from hypnostream.bridges.beginning import nothing_serves
from hypnostream.bridges.breathing import IndicesSink, breathing_of, is_scored, specs_of
from hypnostream.bridges.curve import gate_of
from hypnostream.bridges.messages import SESSION_ENDED, SESSION_STARTED
from hypnostream.bridges.model import Model
from hypnostream.bridges.night_report import NightReport, TableSink, report_folder
from hypnostream.bridges.picture import Night
from hypnostream.bridges.picture_process import PictureProcess
from hypnostream.bridges.publisher import Publisher
from hypnostream.bridges.recorded import open_recording
from hypnostream.bridges.reference_events import ReferenceEvents, read_reference_events
from hypnostream.bridges.result_log import ResultLog
from hypnostream.bridges.run import Outcome, Sink, run
from hypnostream.bridges.summary import Summary, describe_file
from hypnostream.config import BedConfig, PublishSection
from hypnostream.engine.bed import Bed
from hypnostream.engine.bundle import Bundle, load_bundle
from hypnostream.engine.session import Session
from hypnostream.errors import UserError
from hypnostream.stream.channels import Montage
from hypnostream.stream.clock import Clock, RealTimeClock, VirtualClock
from hypnostream.stream.grid import epoch_count
from hypnostream.stream.montage import resolve
from hypnostream.stream.source import Source

FULL_SPEED_CHUNK_S = 480.0  # sixteen epochs in one run of the model: more are hardly faster and need more memory
PUBLISHED_CHUNK_S = 60.0  # at full speed too: who listens is not flooded
PACED_CHUNK_S = 1.0

# (what is done, how many epochs it has) -> a context with a sink that shows how far it is, or None for nobody
Progress = Callable[[str, int], AbstractContextManager[Sink | None]]


def no_progress(title: str, total: int) -> AbstractContextManager[Sink | None]:
    """Nobody looks."""
    return nullcontext()


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """What a replay is asked for. `speed` None is as fast as it goes; `publish` an address, or None for silence."""

    out: Path | None = None
    config: BedConfig = field(default_factory=BedConfig)
    speed: float | None = None
    reference: Path | None = None
    publish: str | None = None


def bundle_of(config: BedConfig) -> Bundle:
    """The bundle that a bed's configuration names, or the shipped one."""
    return load_bundle(None if config.model.bundle is None else Path(config.model.bundle))


def montage_of(source: Source, bundle: Bundle, config: BedConfig) -> Montage:
    """Resolve what a bed looks for. Raises UserError when nothing at all serves; breathing alone is enough."""
    specs = specs_of(bundle, config.breathing)
    montage = resolve(source.streams, specs, config.channels)
    if not montage.derivations:
        raise UserError(nothing_serves(source.streams, bundle.channels, specs[len(bundle.channels) :]))
    return montage


def chunk_s_of(options: ReplayOptions) -> float:
    """How much of a recording is read at once."""
    if options.speed is not None:
        return min(PUBLISHED_CHUNK_S, PACED_CHUNK_S * options.speed)
    return FULL_SPEED_CHUNK_S if options.publish is None else PUBLISHED_CHUNK_S


def model_of(config: BedConfig, stretches: bool) -> Model:
    """What a bed's configuration names; with `stretches`, for recordings at full speed."""
    return Model(bundle_of(config), config.model, stretches=stretches)


def replay(
    path: Path,
    options: ReplayOptions,
    progress: Progress = no_progress,
    model: Model | None = None,
    draw: Callable[[Night], bytes] | None = None,
) -> tuple[Summary, Path]:
    """Stage a recording, or a session's folder, and write its report. Returns the summary and the folder.

    `model` is what an earlier replay of the same configuration had. The picture is drawn by `draw`, or by a process of
    its own that loads what it needs meanwhile.
    """
    if path.is_dir():
        from hypnostream.bridges.replay_session import replay_session

        return replay_session(path, options, progress)
    started = time.perf_counter()
    source = open_recording(path, chunk_s_of(options))
    try:
        model = model or model_of(options.config, stretches=options.speed is None)
        bundle, backend = model.bundle, model.backend
        montage = montage_of(source, bundle, options.config)
        reference, notes = None, list[str]()
        if options.reference is not None:
            from hypnostream.bridges.references import read_reference

            read = read_reference(
                options.reference, epochs=epoch_count(source.duration_s), recording_start_utc=source.start_utc
            )
            reference, notes = read.stages, [*read.notes]
        report = NightReport(
            folder=report_folder(options.out, path.stem),
            bundle=bundle,
            backend=backend.name,
            session_id=secrets.token_hex(8),
            title=path.name,
            montage=montage,
            streams=source.streams,
            start_utc=source.start_utc,
            input=describe_file(path),
            reference=reference,
        )
        opened_s = time.perf_counter() - started
        session = Session(bundle, backend, t0_s=source.start_s)
        provisional = options.config.model.provisional and options.speed is not None
        beliefs = model.beliefs if is_scored(options.config.breathing) else None
        breathing = breathing_of(bundle, options.config.breathing, source.start_s, beliefs)
        lateness_s = options.config.grid.lateness_s
        bed = Bed(source.streams, montage, session, lateness_s, provisional, breathing=breathing)
        clock: Clock = VirtualClock() if options.speed is None else RealTimeClock(options.speed)
        with PictureProcess() as pictures:
            if options.speed is None and draw is None:
                pictures.start()  # it takes as long to load as a night to stage
            with progress(path.name, epoch_count(source.duration_s)) as bar:
                outcome = _run(source, bed, clock, report, options, [] if bar is None else [bar])
            drawing = time.perf_counter()
            warnings = [*source.warnings, *model.reasons, *notes]
            timings = {"opening_s": opened_s, **outcome.timings(), "total_before_drawing_s": drawing - started}
            scored = reference_events(options, bed, source.start_s, source.start_utc)
            summary = report.write(
                outcome,
                warnings,
                timings,
                draw or pictures.draw,
                source.annotations,
                breathing=bed.breathing,
                reference_events=scored,
            )
        return summary, report.folder.path
    finally:
        source.close()


def _run(
    source: Source, bed: Bed, clock: Clock, report: NightReport, options: ReplayOptions, sinks: Sequence[Sink]
) -> Outcome:
    publisher: Publisher | None = None
    with ExitStack() as stack:
        sinks = [*sinks]
        if options.publish is not None:  # before the table: a refused address must not cost an earlier night's
            publish = replace(options.config.publish, address=options.publish)
            publisher = stack.enter_context(publisher_of(report, bed.session.t0_s, publish))
            publisher.status(SESSION_STARTED, clock.now(), detail=report.title)
            sinks = [publisher, IndicesSink(bed, publisher), *sinks]
        sinks.append(TableSink(stack.enter_context(report.table()), report.event_table()))
        outcome = run(source, bed, clock, sinks)
        if publisher is not None:
            publisher.status(SESSION_ENDED, max(clock.now(), outcome.end_s), detail="the recording ended")
        return outcome


def reference_events(
    options: ReplayOptions, bed: Bed, t0_s: float, start_utc: datetime | None
) -> ReferenceEvents | None:
    """The events of the reference, where there is one, and breathing to compare with it."""
    if options.reference is None or bed.breathing is None or not bed.breathing.begun:
        return None
    return read_reference_events(options.reference, t0_s=t0_s, recording_start_utc=start_utc)


def publisher_of(
    report: NightReport,
    t0_s: float,
    publish: PublishSection,
    log: ResultLog | None = None,
    context: zmq.Context[Any] | None = None,
) -> Publisher:
    """A publisher that speaks for this session, whose epoch 0 begins at stream time `t0_s`.

    With a `log` it answers who asks for what was missed. `context` is for one that asks no keys: who may come in with
    which is answered once a context.
    """
    return Publisher(
        publish.address,
        model_hash=report.bundle.hash,
        backend=report.backend,
        scoring_rule=report.bundle.content.scoring_rule,
        session_id=report.session_id,
        utc_offset_s=None if report.start_utc is None else report.start_utc.timestamp() - t0_s,
        log=log,
        replay_address=None if log is None else publish.replay or replay_address_of(publish.address),
        insecure=publish.insecure,
        curve=gate_of(publish),
        context=context if publish.keys is None else None,
    )
