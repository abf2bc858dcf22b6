"""A bed at work: live from LSL until stopped, published as it goes, reported at the end."""

import math
import secrets
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from hypnostream.bridges.lsl import LslSettings, LslSource
from hypnostream.bridges.lsl_config import use_private_lsl
from hypnostream.bridges.messages import SESSION_ENDED, SESSION_STARTED
from hypnostream.bridges.night_report import NightReport, TableSink, report_folder
from hypnostream.bridges.replay import bundle_of, montage_of, publisher_of
from hypnostream.bridges.run import READ_S, run
from hypnostream.bridges.summary import Summary
from hypnostream.config import BedConfig, LslSection
from hypnostream.engine.backend import OnnxBackend
from hypnostream.engine.bed import Bed
from hypnostream.engine.session import Session
from hypnostream.errors import UserError
from hypnostream.stream.clock import Clock, RealTimeClock, VirtualClock
from hypnostream.stream.source import Chunk
from hypnostream.stream.stages import EPOCH_S

MOST_MISSED_S = 3600.0
FASTEST = 1e5  # times real time; at more, no two streams keep in step


class _Stop:
    """Becomes True when the process was asked to end."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self) -> bool:
        return self.asked

    def ask(self, *_: object) -> None:
        """A signal came."""
        self.asked = True


def open_lsl(section: LslSection) -> LslSource:
    """Find the streams of a bed's configuration. Raises UserError when there are none."""
    if section.private_session is not None:
        use_private_lsl(section.private_session)
    return LslSource(
        LslSettings(
            predicate=" or ".join(f"({predicate})" for predicate in section.predicates),
            minimum=section.minimum,
            resolve_timeout_s=section.timeout_s,
            max_silence_s=section.max_silence_s,
        )
    )


def run_live(
    config: BedConfig,
    out: Path | None,
    announce: Callable[[str], None] = lambda line: None,
    wait_for_subscriber_s: float = 0.0,
) -> tuple[Summary, Path]:
    """Stage what comes over LSL until it ends or the process is asked to stop (Ctrl-C, SIGTERM); write the report.

    `announce` is told in single lines what happens; `wait_for_subscriber_s` holds back the first result for that
    long, for those who must not miss it.
    """
    with _stopped_by_signals() as stop:
        announce(f"looking for LSL streams, for {config.lsl.timeout_s:g} s at most")
        source = open_lsl(config.lsl)
        try:
            bundle = bundle_of(config)
            montage = montage_of(source, bundle, config)
            for derivation in montage.derivations:
                announce(f"{derivation.spec.name}: {derivation.why}")
            backend = OnnxBackend(bundle)
            first = _first_chunks(source, {d.stream_id for d in montage.derivations}, stop)
            t0_s = _grid_start_s(source.start_s, first)
            report = NightReport(
                folder=report_folder(out, config.name),
                bundle=bundle,
                backend=backend.name,
                session_id=secrets.token_hex(8),
                title=config.name,
                montage=montage,
                streams=source.streams,
                start_utc=_wall_time(source, t0_s),
            )
            bed = Bed(
                source.streams,
                montage,
                Session(bundle, backend, t0_s),
                config.grid.lateness_s,
                config.model.provisional,
            )
            with (
                publisher_of(report, t0_s, config.publish.address, config.publish.insecure) as publisher,
                report.table() as table,  # second: a refused address must not cost an earlier night's
            ):
                announce(f"publishing on {publisher.address}")
                if wait_for_subscriber_s:
                    publisher.wait_for_subscriber(wait_for_subscriber_s)
                clock = _clock(source.speed, t0_s)
                publisher.status(SESSION_STARTED, clock.now(), detail=config.name)
                outcome = run(source, bed, clock, [publisher, TableSink(table)], first=first, stop=stop)
                ended_s = max(clock.now(), outcome.end_s)
                publisher.status(SESSION_ENDED, ended_s, detail="stopped" if stop() else "the streams ended")
            summary = report.write(outcome, source.warnings, outcome.timings())
            return summary, report.folder.path
        finally:
            source.close()


def _first_chunks(source: LslSource, wanted: set[str], stop: Callable[[], bool]) -> list[Chunk]:
    """What comes until a stream that the montage uses has spoken."""
    chunks: list[Chunk] = []
    while not stop():
        chunks += source.read(READ_S)
        if any(chunk.stream_id in wanted for chunk in chunks):
            break
        if source.exhausted:
            raise UserError("the LSL streams ended before a single sample came; start the sender again")
        chunks = [chunk for chunk in chunks if chunk.stream_id in wanted]
    return [chunk for chunk in chunks if chunk.stream_id in wanted]


def _grid_start_s(start_s: float, first: Sequence[Chunk]) -> float:
    """Stream time of epoch 0: the source's start, as in a replay, what was missed of it being epochs without data.

    Who joins when that is more than `MOST_MISSED_S` ago begins with the epoch then in progress.
    """
    joined_s = min((float(chunk.timestamps[0]) for chunk in first), default=start_s) - start_s
    if 0 <= joined_s <= MOST_MISSED_S:
        return start_s
    return start_s + EPOCH_S * math.floor(joined_s / EPOCH_S + 1e-6)


def _wall_time(source: LslSource, t_s: float) -> datetime | None:
    """UTC at a stream time."""
    start_utc = source.start_utc
    return None if start_utc is None else start_utc + timedelta(seconds=t_s - source.start_s)


def _clock(speed: float, t0_s: float) -> Clock:
    """The session's clock. A sender as fast as it goes leaves no time to be late in: its clock stands still."""
    return RealTimeClock(speed, start_s=t0_s) if speed < FASTEST else VirtualClock(t0_s)


@contextmanager
def _stopped_by_signals() -> Iterator[_Stop]:
    """SIGTERM and Ctrl-C ask for an orderly end; a second Ctrl-C is as rude as ever."""
    stop = _Stop()
    asked_s = 0.0

    def on_signal(number: int, frame: object) -> None:
        nonlocal asked_s
        if stop() and number == signal.SIGINT and time.monotonic() - asked_s > 1.0:
            raise KeyboardInterrupt
        asked_s = time.monotonic()
        stop.ask()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
