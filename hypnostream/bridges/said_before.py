"""What a session said, from its log: for its report, and for who takes it up."""

from dataclasses import dataclass, field

from hypnostream.bridges.messages import ANNOTATION, EpochMessage, EventMessage, StatusMessage
from hypnostream.bridges.result_log import ResultLog
from hypnostream.bridges.result_messages import event_said
from hypnostream.engine.respiration.event import Event
from hypnostream.engine.results import ChannelState, StageResult
from hypnostream.stream.source import Annotation, Notice


@dataclass(slots=True)
class SaidBefore:
    """Final results, revisions of events, annotations and every other notice, each in order."""

    final: list[StageResult] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    annotations: list[Annotation] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)


def said_before(log: ResultLog) -> SaidBefore:
    """What is in the log."""
    said = SaidBefore()
    for message in log.messages():
        if isinstance(message, EpochMessage):
            said.final.append(_result(message))
        elif isinstance(message, EventMessage):
            said.events += [event for event in [event_said(message)] if event is not None]
        elif isinstance(message, StatusMessage) and message.state == ANNOTATION:
            onset_s, duration_s = message.time.stream_s, message.seconds or 0.0
            said.annotations.append(Annotation(onset_s, duration_s, message.detail, message.subject or ""))
        elif isinstance(message, StatusMessage):
            at_s, subject = message.time.stream_s, message.subject or ""
            said.notices.append(Notice(message.state, subject, at_s, message.detail, message.seconds, message.samples))
    said.notices.sort(key=lambda notice: notice.at_s)  # two topics have them
    return said


def _result(message: EpochMessage) -> StageResult:
    """What was said about an epoch; how long it took to compute is not in the message."""
    p = message.probabilities
    return StageResult(
        epoch=message.epoch,
        t_start_s=message.t_start_s,
        final=message.status == "final",
        seconds=message.seconds,
        stage=message.stage,
        absent_reason=message.absent_reason,
        probabilities=(p.w, p.n1, p.n2, p.n3, p.r),
        channels=tuple(ChannelState(c.name, c.quality, c.ok_fraction, c.imputed, c.weight) for c in message.channels),
    )
