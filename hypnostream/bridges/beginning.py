"""How a live session begins: with what, and when."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from hypnostream.bridges.run import READ_S
from hypnostream.engine.serving import offer
from hypnostream.errors import UserError
from hypnostream.stream.channels import ChannelSpec
from hypnostream.stream.source import Arrival, Chunk, LiveSource, StreamInfo
from hypnostream.stream.stages import EPOCH_S

MOST_MISSED_S = 3600.0


def first_arrivals(
    source: LiveSource,
    specs: Sequence[ChannelSpec],
    overrides: Mapping[str, str],
    stop: Callable[[], bool],
    patience_s: float,
    besides: Sequence[ChannelSpec] = (),
) -> list[Arrival]:
    """What comes until a stream that serves has spoken; all declarations first, so that they are weighed together.

    What streams say that serve only `besides` is kept; it begins a session when none that came within `patience_s`
    serves more.

    Raises UserError when nothing that came by then serves at all, or the streams end before a sample came.
    """
    deadline = time.monotonic() + patience_s
    arrivals: list[Arrival] = []
    infos: dict[str, StreamInfo] = {}
    serving: set[str] = set()
    kept: set[str] = set()
    why = ""
    while not stop():
        came = source.take(READ_S)
        new = {each.stream_id: each for each in came if isinstance(each, StreamInfo)}
        infos |= new
        if new:
            derivations, why = offer(list(infos.values()), specs, overrides)
            serving = {derivation.stream_id for derivation in derivations}
            kept = serving | {each.stream_id for each in offer(list(infos.values()), besides, overrides)[0]}
        if not serving and time.monotonic() > deadline:
            if not kept:
                raise UserError(nothing_serves(list(infos.values()), specs, besides, why))
            serving = kept
        arrivals += [each for each in came if not isinstance(each, Chunk | StreamInfo)]
        arrivals += [each for each in came if isinstance(each, Chunk) and each.stream_id in kept]
        if any(isinstance(each, Chunk) and each.stream_id in serving for each in arrivals):
            break
        if source.exhausted:
            raise UserError("the LSL streams ended before a single sample came; start the sender again")
    return [*infos.values(), *arrivals]


def grid_start_s(start_s: float, first: Sequence[Arrival]) -> float:
    """Stream time of epoch 0: the source's start, as in a replay, what was missed of it being epochs without data.

    Who joins when that is more than `MOST_MISSED_S` ago begins with the epoch then in progress.
    """
    joined_s = min((float(each.timestamps[0]) for each in first if isinstance(each, Chunk)), default=start_s) - start_s
    if 0 <= joined_s <= MOST_MISSED_S:
        return start_s
    return start_s + EPOCH_S * math.floor(joined_s / EPOCH_S + 1e-6)


def wall_time(source: LiveSource, t_s: float) -> datetime | None:
    """UTC at a stream time."""
    start_utc = source.start_utc
    return None if start_utc is None else start_utc + timedelta(seconds=t_s - source.start_s)


def nothing_serves(
    infos: Sequence[StreamInfo], specs: Sequence[ChannelSpec], besides: Sequence[ChannelSpec], why: str = ""
) -> str:
    """What is said where no channel serves the model (`specs`), nor breathing (`besides`, none where that is off)."""
    labels = [channel.label for info in infos for channel in info.channels]
    shown = ", ".join(repr(label) for label in labels[:12]) + (", ..." if len(labels) > 12 else "")
    wanted = ", ".join(spec.name for spec in specs)
    sensors = f" or breathing ({', '.join(spec.name for spec in besides)})" if besides else ""
    return (
        f"no channel serves this model ({wanted}){sensors}; found {shown}. "
        f'Name one in the configuration, for example [channels] {specs[0].name} = "LABEL".'
        + (f" ({why[:300]})" if why else "")
    )
