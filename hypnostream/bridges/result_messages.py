"""What a session said, as messages: stages and events of breathing."""

from collections.abc import Iterable

import msgspec
from msgspec import UNSET

from hypnostream.bridges.breathing_words import indices_line
from hypnostream.bridges.messages import (
    BREATHING_INDICES,
    EPOCH_TOPIC,
    EVENT_TOPIC,
    INDICES_TOPIC,
    PROVISIONAL_TOPIC,
    Channel,
    EpochMessage,
    EventMessage,
    MessageError,
    Moment,
    Origin,
    Probabilities,
    RunningIndex,
    Stage,
    StatusMessage,
)
from hypnostream.engine.respiration.event import Event
from hypnostream.engine.respiration.indices import Indices
from hypnostream.engine.results import ChannelState, StageResult
from hypnostream.stream.stages import STAGES

_WORD_CHARACTERS = 200  # of messages.Word


def stage_topic(result: StageResult) -> str:
    """The topic that a stage goes to by its finality."""
    return EPOCH_TOPIC if result.final else PROVISIONAL_TOPIC


def epoch_message(
    result: StageResult, *, seq: int, origin: Origin, time: Moment, latency_s: float | None = None
) -> EpochMessage:
    """What a session said about an epoch, as a message."""
    try:
        stage: Stage | None = msgspec.convert(result.stage, type=Stage | None)
    except msgspec.ValidationError as error:
        raise MessageError(f"stage {result.stage!r} is none of {', '.join(STAGES)}") from error
    return EpochMessage(
        topic=stage_topic(result),
        seq=seq,
        origin=origin,
        time=time,
        status="final" if result.final else "preliminary",
        epoch=result.epoch,
        t_start_s=float(result.t_start_s),
        seconds=result.seconds,
        stage=stage,
        absent_reason=result.absent_reason,
        confidence=_fraction(result.confidence),
        probabilities=Probabilities(*map(_fraction, result.probabilities)),
        channels=_channels(result.channels),
        latency_s=_latency_s(latency_s),
    )


def event_message(
    event: Event, *, seq: int, origin: Origin, time: Moment, latency_s: float | None = None
) -> EventMessage:
    """One revision of an event as a message.

    `latency_s` is from the last sample that the revision waited for to this message, None where no clock says.
    """
    return EventMessage(
        topic=EVENT_TOPIC,
        seq=seq,
        origin=origin,
        time=time,
        status=event.status,
        event_id=event.event_id,
        revision=event.revision,
        event=event.kind,
        absent_reason=None,
        t_start_s=float(event.start_s),
        t_end_s=None if event.end_s is None else float(event.end_s),
        confidence=_fraction(event.confidence),
        channels=_channels(event.channels),
        latency_s=_latency_s(latency_s),
        rule=event.rule or UNSET,
        signals=event.signals or UNSET,
        reason=event.reason[:_WORD_CHARACTERS] or UNSET,
    )


def indices_message(indices: Indices, *, seq: int, origin: Origin, time: Moment) -> StatusMessage:
    """How breathing stands so far, as a notice."""
    return StatusMessage(
        topic=INDICES_TOPIC,
        seq=seq,
        origin=origin,
        time=time,
        state=BREATHING_INDICES,
        detail=indices_line(indices.indices),
        indices=tuple(
            RunningIndex(**{name: getattr(each, name) for name in RunningIndex.__struct_fields__})
            for each in indices.indices
        ),
    )


def event_said(message: EventMessage) -> Event | None:
    """The revision that a message tells of, None where it says why there is none."""
    if message.event is None:
        return None
    return Event(
        event_id=message.event_id,
        revision=message.revision,
        kind=message.event,
        status=message.status,
        start_s=message.t_start_s,
        end_s=message.t_end_s,
        confidence=message.confidence,
        rule=message.rule or "",
        signals=message.signals or (),
        reason=message.reason or "",
        channels=tuple(ChannelState(c.name, c.quality, c.ok_fraction, c.imputed, c.weight) for c in message.channels),
    )


def _channels(states: Iterable[ChannelState]) -> tuple[Channel, ...]:
    return tuple(
        Channel(
            name=each.name,
            quality=each.quality,
            ok_fraction=_fraction(each.ok_fraction),
            imputed=each.imputed,
            weight=None if each.weight is None else _fraction(each.weight),
        )
        for each in states
    )


def _fraction(value: float) -> float:
    """A float32 softmax may pass 1 by a rounding; anything further is left for `encode` to refuse."""
    return 1.0 if 1.0 < value < 1.0 + 1e-6 else float(value)


def _latency_s(latency_s: float | None) -> float | None:
    """Two readings of a clock may cross."""
    return None if latency_s is None else max(latency_s, 0.0)
