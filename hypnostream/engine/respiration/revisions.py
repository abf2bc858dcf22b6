"""Of many revisions of events, the ones that hold."""

from collections.abc import Iterable

from hypnostream.engine.respiration.event import Event


def latest(revisions: Iterable[Event]) -> tuple[Event, ...]:
    """The latest revision of each event, by when it began; those that were withdrawn are among them."""
    held: dict[str, Event] = {}
    for event in revisions:
        if event.event_id not in held or event.revision >= held[event.event_id].revision:
            held[event.event_id] = event
    return tuple(sorted(held.values(), key=lambda event: (event.start_s, event.event_id)))


def settled(revisions: Iterable[Event]) -> tuple[Event, ...]:
    """The events that are over and will not change for want of evidence: final or amended, with an end."""
    return tuple(e for e in latest(revisions) if e.status in ("final", "amended") and e.end_s is not None)
