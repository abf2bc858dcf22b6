"""From what a run said to the report folder: the table as it grows, the picture and the summary at the end."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hypnostream.bridges.annotations import MOST_IN_SUMMARY, night_annotations
from hypnostream.bridges.breathing_report import breathing_report
from hypnostream.bridges.events_table import EventTable
from hypnostream.bridges.picture import Night
from hypnostream.bridges.picture_process import draw_apart
from hypnostream.bridges.reference_events import ReferenceEvents
from hypnostream.bridges.report import ReportFolder
from hypnostream.bridges.run import Outcome
from hypnostream.bridges.scored_write import ScoredNight
from hypnostream.bridges.summary import (
    InputFile,
    ModelSummary,
    NoticeSummary,
    Summary,
    count_epochs,
    describe_channels,
    installed_versions,
)
from hypnostream.bridges.tables import EpochTable, EpochTableHeader
from hypnostream.engine.agreement import Agreement, agreement
from hypnostream.engine.bundle import Bundle
from hypnostream.engine.respiration.breathing import Breathing
from hypnostream.engine.respiration.event import Event
from hypnostream.engine.results import StageResult
from hypnostream.engine.sleep_statistics import SleepStatistics, sleep_statistics
from hypnostream.stream.channels import Montage
from hypnostream.stream.source import Annotation, Notice, StreamInfo
from hypnostream.stream.stages import stage_codes

NO_STAGES: Final = "no channel serves the model: no stages, and breathing is counted by recording time (REI)"


class TableSink:
    """Final results as rows of a growing table, and events as those of another; `before` and `events_before` are those
    of a session that is taken up again.
    """

    def __init__(
        self,
        table: EpochTable,
        events: EventTable,
        before: Sequence[StageResult] = (),
        events_before: Sequence[Event] = (),
    ) -> None:
        self.table, self.events = table, events
        self._next = 0
        for result in before:
            self.publish(result, 0.0)
        for event in events_before:
            self.event(event, 0.0)

    def publish(self, result: StageResult, now_s: float, latency_s: float | None = None) -> None:
        """Keep a final result, unless it was computed again."""
        if result.final and result.epoch >= self._next:
            self.table.append(result)
            self._next = result.epoch + 1

    def event(self, event: Event, now_s: float, latency_s: float | None = None) -> None:
        """Keep it, if it is news."""
        self.events.append(event)

    def notice(self, notice: Notice) -> None:
        """The table has no place for it."""

    def heartbeat(self, now_s: float) -> None:
        """Nothing to do."""


@dataclass(frozen=True, slots=True)
class NightReport:
    """Everything that a report needs beside the run's outcome."""

    folder: ReportFolder
    bundle: Bundle
    backend: str
    session_id: str
    title: str
    montage: Montage
    streams: Sequence[StreamInfo]
    start_utc: datetime | None = None
    input: InputFile | None = None
    reference: NDArray[np.int8] | None = None

    def of(self, montage: Montage, streams: Sequence[StreamInfo]) -> "NightReport":
        """The same with the montage and streams that a live session came to have."""
        return replace(self, montage=montage, streams=streams)

    def table(self) -> EpochTable:
        """The table of this night; use it in a `with`."""
        return self.folder.epoch_table(self._header, [spec.name for spec in self.bundle.channels])

    def event_table(self) -> EventTable:
        """The table of this night's events. The file is there with the first."""
        return self.folder.event_table(self._header)

    @property
    def inputs(self) -> Montage:
        """The montage without the sensors of breathing: what the model has."""
        names = {spec.name for spec in self.bundle.channels}
        return Montage(
            tuple(self.bundle.channels),
            tuple(each for each in self.montage.derivations if each.spec.name in names),
            tuple(each for each in self.montage.missing if each[0] in names),
            self.montage.notes,
        )

    @property
    def _header(self) -> EpochTableHeader:
        return EpochTableHeader(self.session_id, self.bundle.hash, self.bundle.content.scoring_rule, self.start_utc)

    def write(
        self,
        outcome: Outcome,
        warnings: Sequence[str],
        timings: dict[str, float],
        draw: Callable[[Night], bytes] = draw_apart,
        annotations: Sequence[Annotation] = (),
        notices: Sequence[Notice] = (),
        breathing: Breathing | None = None,
        reference_events: ReferenceEvents | None = None,
    ) -> Summary:
        """Draw the picture, write the summary, return it. `annotations` are on the stream clock, in any order, and so
        are `notices`. `breathing` is the bed's as the night ended, `reference_events` what people scored of it.
        """
        codes = stage_codes(result.stage for result in outcome.final)
        t0_s = outcome.final[0].t_start_s if outcome.final else 0.0
        annotated = night_annotations(annotations, codes, t0_s)
        lights_off_s, lights_on_s = annotated.from_start
        statistics: SleepStatistics = sleep_statistics(codes, lights_off_s, lights_on_s)
        agreed: Agreement | None = None if self.reference is None else agreement(self.reference, codes)
        content = self.bundle.content
        breathed = None
        if breathing is not None and breathing.begun:
            breathed = breathing_report(breathing, outcome.events, self.montage, self.streams, reference_events)
        self.folder.write_picture(
            Night(
                title=self.title,
                results=outcome.final,
                channels=[spec.name for spec in self.bundle.channels],
                statistics=statistics,
                model_name=content.name,
                model_hash=self.bundle.hash,
                start_utc=self.start_utc,
                reference=self.reference,
                agreement=agreed,
                lights_off_s=lights_off_s,
                lights_on_s=lights_on_s,
                notes=annotated.notes,
                breathing=None if breathed is None else breathed.drawn,
            ),
            draw,
        )
        self.folder.write_annotations(annotated)
        if breathed is None:
            self.folder.remove_breathing()
        else:
            table = self.event_table()
            for event in outcome.events:
                table.keep(event)
            self.folder.write_breathing(table, ScoredNight(codes, outcome.events, t0_s, self.start_utc))
        summary = Summary(
            versions=installed_versions(),
            session_id=self.session_id,
            input=self.input,
            start_utc=self.start_utc,
            channels=describe_channels(self.inputs, self.streams, outcome.final),
            notes=list(self.montage.notes),
            epochs=count_epochs(outcome.final),
            sleep=statistics,
            model=ModelSummary(
                name=f"{content.name} {content.version}",
                hash=self.bundle.hash,
                backend=self.backend,
                scoring_rule=content.scoring_rule,
            ),
            timings={name: round(value, 4) for name, value in timings.items()},
            warnings=[
                *warnings,
                *annotated.warnings,
                *([NO_STAGES] if breathed and not self.inputs.derivations else []),
            ],
            agreement=agreed,
            lights_off_s=annotated.lights_off_s,
            lights_on_s=annotated.lights_on_s,
            annotations=list(annotated.listed[:MOST_IN_SUMMARY]),
            position_min=annotated.position_min,
            notices=[
                NoticeSummary(
                    state=each.kind,
                    subject=each.subject,
                    at_s=each.at_s,
                    detail=each.detail,
                    seconds=each.seconds,
                    samples=each.samples,
                )
                for each in notices[:MOST_IN_SUMMARY]
            ],
            breathing=None if breathed is None else breathed.summary,
        )
        self.folder.write_summary(summary)
        return summary


def report_folder(out: Path | None, stem: str) -> ReportFolder:
    """The folder that was asked for, or a new one named after the recording."""
    return ReportFolder(out) if out is not None else ReportFolder.fresh(Path(), f"{stem}-report")
