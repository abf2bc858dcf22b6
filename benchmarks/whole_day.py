"""A night of 24 h as fast as it goes, by the way that a bed takes: is anything lost, and does memory stay?

python -m benchmarks.whole_day [hours]
"""

import json
import multiprocessing
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.processes import memory_mib
from benchmarks.report import heading, table
from hypnostream.bridges.client import Client
from hypnostream.bridges.keeper import SessionKeeper
from hypnostream.bridges.live_session import bed_of
from hypnostream.bridges.logs import NoticeLog
from hypnostream.bridges.messages import (
    SESSION_ENDED,
    SESSION_STARTED,
    EpochMessage,
    StatusMessage,
    decode,
    encode,
)
from hypnostream.bridges.night_report import NightReport, TableSink
from hypnostream.bridges.observed import Observed
from hypnostream.bridges.recording import write_recording
from hypnostream.bridges.replay import publisher_of
from hypnostream.bridges.report import ReportFolder
from hypnostream.bridges.result_log import ResultLog
from hypnostream.bridges.result_messages import epoch_message
from hypnostream.bridges.run import Sink, drive, finish, run
from hypnostream.bridges.said_again import same_said
from hypnostream.bridges.said_before import said_before
from hypnostream.bridges.session_folder import SessionFolder, SessionRecord
from hypnostream.bridges.step_bytes import read_steps, write_step
from hypnostream.config import PublishSection
from hypnostream.engine.backend import OnnxBackend
from hypnostream.engine.bed import Bed
from hypnostream.engine.bundle import load_bundle
from hypnostream.engine.respiration.event import Event
from hypnostream.engine.results import StageResult
from hypnostream.engine.session import Session
from hypnostream.stream.channels import Montage
from hypnostream.stream.clock import VirtualClock
from hypnostream.stream.montage import resolve
from hypnostream.stream.simulator import Night, NightSettings, SimulatedSource, simulate_night
from hypnostream.stream.simulator_faults import Fault, typical_faults
from hypnostream.stream.source import Annotation, Notice, Step

STEP_S = 0.25  # how much of the night a step brings: a live bed reads some four to ten times a second
BAD_HOURS = 3  # each so many hours all typical faults come once
NOTE_S = 1800.0  # how often someone notes something
RULE_S = 60.0  # how often memory is read, in seconds of the night
WEIGH_S = 1795.0  # how often the journal's size is, not always just after a checkpoint
METHOD = """\
A simulated night of {hours:g} h (EEG, EOG and EMG; ECG; airflow and two belts; SpO2; all typical faults each {bad} h, a
note each half hour) as steps of {step:g} s from a process of its own, as fast as they are taken: journal, `Bed`,
checkpoint with each epoch, result log with fsync, table, publisher, heartbeat each second of the night; real ZeroMQ to
a subscriber in a third process. Two runs, with the signals recorded and without. Memory is VmRSS of the bed's process
each minute of the night, its slope a straight line after the first tenth. "Equal" is to a plain replay of the same
night in chunks of a minute: epoch, stage, every probability, every channel's quality."""


def night_of(hours: float) -> Night:
    """The same night each time, with bad hours."""
    duration_s = 3600.0 * hours
    stretch_s = min(3600.0 * BAD_HOURS, duration_s)
    faults = [
        Fault(fault.kind, fault.stream_id, fault.start_s + at, fault.end_s + at, fault.label)
        for stretch in range(int(duration_s // stretch_s))
        for at in [round(stretch * stretch_s)]
        for fault in typical_faults(stretch_s, stretch)
    ]
    return simulate_night(NightSettings(duration_s=duration_s, faults=tuple(faults)), seed=1)


def steps_of(hours: float) -> Iterator[Step]:
    """What a bed takes in of the night, step by step."""
    source = SimulatedSource(night_of(hours), STEP_S)
    yield Step(0.0, source.streams)
    noted_s = NOTE_S
    for number in count(1):
        if source.exhausted:
            return
        chunks, now_s = source.read(0.0), number * STEP_S
        notes = [Annotation(noted_s, 0.0, "turned the sensor", "notes")] if now_s >= noted_s else []
        noted_s += NOTE_S * len(notes)
        yield Step(now_s, (*chunks, *notes))


def send(hours: float, out: Connection) -> None:
    """The amplifiers' process. It waits where the bed is behind."""
    for step in steps_of(hours):
        out.send_bytes(write_step(step))
    out.close()


def receive(address: str, out: Connection) -> None:
    """The subscriber's process; at the end it tells what did not come, and gives the final stages that did."""
    finals: list[bytes] = []
    provisional = 0
    with Client(address, history=True) as client:
        for message in client.messages(timeout_s=120.0):
            if isinstance(message, EpochMessage) and message.status == "final":
                finals.append(encode(message))
            elif isinstance(message, EpochMessage):
                provisional += 1
            elif isinstance(message, StatusMessage) and message.state == SESSION_ENDED:
                break
        counted = {"provisional": provisional, "lost": client.lost, "missing": client.missing, "finals": len(finals)}
    out.send_bytes(json.dumps(counted).encode())
    for body in finals:
        out.send_bytes(body)


@dataclass(slots=True)
class Ruler:
    """A sink that measures this process as the night goes on: (hour of the night, MiB), and what the journal weighs."""

    journal: Path
    resident: list[tuple[float, float]] = field(default_factory=list)
    journal_bytes: int = 0
    _ruled_s: float = 0.0
    _weighed_s: float = 0.0

    def publish(self, result: StageResult, now_s: float, latency_s: float | None = None) -> None:
        """Nothing to measure."""

    def event(self, event: Event, now_s: float, latency_s: float | None = None) -> None:
        """Nothing to measure."""

    def notice(self, notice: Notice) -> None:
        """Nothing to measure."""

    def heartbeat(self, now_s: float) -> None:
        """Measure, when it is time."""
        if now_s >= self._ruled_s:
            self._ruled_s = now_s + RULE_S
            self.resident.append((now_s / 3600, memory_mib("VmRSS")))
        if now_s >= self._weighed_s:
            self._weighed_s = now_s + WEIGH_S
            self.journal_bytes = max(self.journal_bytes, bytes_in(self.journal))


def bytes_in(folder: Path) -> int:
    """How many bytes the files of a folder are."""
    return sum(file.stat().st_size for file in folder.glob("*") if file.is_file())


def taken(steps: Connection) -> Iterator[Step]:
    """Steps until the sender has no more."""
    while True:
        try:
            frame = steps.recv_bytes()
        except EOFError:
            return
        yield from read_steps(frame)


def stage(path: Path, address: str, keep_signals: bool, steps: Connection, out: Connection) -> None:
    """The bed's process, as `live.run_live` puts it together; at the end it tells what it took."""
    bundle = load_bundle()
    backend, folder = OnnxBackend(bundle), SessionFolder(path)
    record = SessionRecord(
        session_id=secrets.token_hex(8),
        name="whole day",
        model_hash=bundle.hash,
        t0_s=0.0,
        start_utc=None,
        lateness_s=2.0,
        stall_s=2.5,
        provisional=True,
        channels={},
    )
    folder.write(record)
    report = NightReport(
        ReportFolder(path),
        bundle,
        backend.name,
        record.session_id,
        record.name,
        Montage(tuple(bundle.channels), ()),
        (),
    )
    with ExitStack() as stack:
        log = stack.enter_context(ResultLog(folder.results_path))
        publisher = stack.enter_context(publisher_of(report, 0.0, PublishSection(address=address), log))
        bed = bed_of(record, Session(bundle, backend, 0.0))
        keeper, ruler = SessionKeeper(folder, publisher, keep_signals), Ruler(folder.journal_path)
        table = stack.enter_context(report.table())
        watching = [NoticeLog()]
        sinks: list[Sink] = [
            publisher,
            TableSink(table, report.event_table()),
            *watching,
            Observed(watching, bed, publisher, keeper, log),
        ]
        sinks.append(ruler)
        if not publisher.wait_for_subscriber(30.0):
            raise SystemExit("no subscriber came")
        keeper.epoch_closed(bed, 0.0)
        publisher.notice(Notice(SESSION_STARTED, "", 0.0, record.name))
        began_s = time.perf_counter()
        outcome = drive(taken(steps), bed, sinks, keeper=keeper)
        finish(bed, sinks, outcome, bed.reached_s, bed.reached_s)
        for sink in sinks:
            sink.notice(Notice(SESSION_ENDED, "", bed.reached_s, "the night is over"))
        keeper.close()
        night_s, before_mib = time.perf_counter() - began_s, memory_mib("VmHWM")
        said = said_before(log)
        outcome.final, outcome.annotations = said.final, said.annotations
        report.of(bed.montage, bed.streams).write(outcome, [], outcome.timings(), annotations=said.annotations)
        reported_mib = memory_mib("VmHWM")
        if keep_signals:
            write_recording(folder.journal_path, folder.signals_path)
        measured = {
            "night_s": night_s,
            "waited_s": outcome.read_s,
            "ending_s": time.perf_counter() - began_s - night_s,
            "resident": ruler.resident,
            "peaks_mib": [before_mib, reported_mib, memory_mib("VmHWM")],
            "bytes": [
                ruler.journal_bytes,
                folder.checkpoint_path.stat().st_size,
                log.size,
                bytes_in(folder.signals_path),
            ],
            "notices": len([m for m in log.messages() if isinstance(m, StatusMessage)]),
            "lost": {name: counts.lost for name, counts in bed.counts.items()},
        }
    out.send_bytes(json.dumps(measured).encode())


def replayed(hours: float) -> list[StageResult]:
    """The final stages of a plain replay: no journal, no publisher, chunks of a minute."""
    bundle, source = load_bundle(), SimulatedSource(night_of(hours), 60.0)
    session = Session(bundle, OnnxBackend(bundle), source.start_s)
    bed = Bed(source.streams, resolve(source.streams, bundle.channels), session, provisional=False)
    return [replace(result, compute_s=0.0) for result in run(source, bed, VirtualClock(), []).final]


@dataclass(frozen=True, slots=True)
class Day:
    """One run: what the bed's process measured, what the subscriber counted, and the final stages at both."""

    measured: dict[str, Any]
    counted: dict[str, int]
    received: list[EpochMessage]
    logged: list[StageResult]


def day(hours: float, keep_signals: bool) -> Day:
    """Three processes, for one night."""
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="hypnostream-") as folder:
        path, address = Path(folder) / "night", f"ipc://{folder}/results"
        path.mkdir()
        steps_out, steps_in = spawn.Pipe(duplex=False)
        measured_out, measured_in = spawn.Pipe(duplex=False)
        came_out, came_in = spawn.Pipe(duplex=False)
        processes = [
            spawn.Process(target=receive, args=(address, came_in), daemon=True),
            spawn.Process(target=stage, args=(path, address, keep_signals, steps_out, measured_in)),
            spawn.Process(target=send, args=(hours, steps_in), daemon=True),
        ]
        for process in processes:
            process.start()
        for ours in (steps_in, steps_out, measured_in, came_in):
            ours.close()  # so that the end of a process is the end of its pipe
        counted: dict[str, int] = json.loads(came_out.recv_bytes())
        received = [decode(came_out.recv_bytes()) for _ in range(counted["finals"])]
        measured: dict[str, Any] = json.loads(measured_out.recv_bytes())
        with ResultLog(SessionFolder(path).results_path) as log:
            logged = said_before(log).final
        for process in processes:
            process.join()
    return Day(measured, counted, [m for m in received if isinstance(m, EpochMessage)], logged)


def main(hours: float = 24.0) -> None:
    """Print the table."""
    heading("A whole day", METHOD.format(hours=hours, bad=BAD_HOURS, step=STEP_S))
    days = [day(hours, keep_signals) for keep_signals in (False, True)]
    truth = replayed(hours)
    rows: list[list[str]] = []

    def row(name: str, *figures: str) -> None:
        rows.append([name, *figures])

    measured = [each.measured for each in days]
    resident = [np.array(m["resident"]) for m in measured]
    settled = [r[len(r) // 10 :] for r in resident]
    row("wall time of the night, s", *(f"{m['night_s']:.0f}" for m in measured))
    row("times as fast as life", *(f"{3600 * hours / m['night_s']:.0f}" for m in measured))
    row("of the wall time, waiting for the sender", *(f"{m['waited_s'] / m['night_s']:.0%}" for m in measured))
    row("final stages", *(f"{len(each.logged)} of {len(truth)}" for each in days))
    row("equal in the log", *(str(equal(truth, each.logged)) for each in days))
    row("equal at the subscriber", *(str(equal_said(truth, each.received)) for each in days))
    row("provisional stages at the subscriber", *(str(each.counted["provisional"]) for each in days))
    row("lost to the subscriber, and still missing", *(f"{d.counted['lost']}, {d.counted['missing']}" for d in days))
    row("MiB after the first tenth", *(f"{s[0, 1]:.1f}" for s in settled))
    row("MiB at the night's end", *(f"{s[-1, 1]:.1f}" for s in settled))
    row("MiB an hour of the night", *(f"{np.polyfit(s[:, 0], s[:, 1], 1)[0]:+.3f}" for s in settled))
    row("MiB at most: night, report, recording", *(", ".join(f"{p:.0f}" for p in m["peaks_mib"]) for m in measured))
    row("s for the end: report, recording", *(f"{m['ending_s']:.1f}" for m in measured))
    for place, name in enumerate(("journal at most", "checkpoint", "result log", "recorded signals")):
        row(f"MB of disk, {name}", *(f"{m['bytes'][place] / 1e6:.1f}" for m in measured))
    row("notices", *(str(m["notices"]) for m in measured))
    table(["", "not recorded", "recorded"], rows)


def equal(truth: list[StageResult], logged: list[StageResult]) -> int:
    """How many results are the same to the last bit."""
    return sum(a == replace(b, compute_s=0.0) for a, b in zip(truth, logged, strict=False))


def equal_said(truth: list[StageResult], received: list[EpochMessage]) -> int:
    """How many messages say what the results say."""
    by_epoch = {message.epoch: message for message in received}
    return sum(
        result.epoch in by_epoch
        and same_said(
            by_epoch[result.epoch],
            epoch_message(
                result,
                seq=by_epoch[result.epoch].seq,
                origin=by_epoch[result.epoch].origin,
                time=by_epoch[result.epoch].time,
            ),
        )
        for result in truth
    )


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 24.0)
