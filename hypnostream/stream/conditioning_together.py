"""One second of many streams conditioned at once: the same bits as one by one, for a fraction of the time.

Most of what conditioning a second costs is not arithmetic but calls. Streams of one kind (`StreamConditioner.kind`)
that are in their steady state, with all samples good, need the same calls, and so share them; each keeps its own
memory. Whatever is out of the ordinary (a gap, a bad sample, a limit, two seconds at once) is left to the stream's own
conditioner.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hypnostream.stream.channels import OK
from hypnostream.stream.conditioning import StreamConditioner
from hypnostream.stream.conditioning_group import Group, GroupState
from hypnostream.stream.resample import place
from hypnostream.stream.seconds import Seconds
from hypnostream.stream.sosfilt import sosfilt_in_place


def emit_together(conditioners: Sequence[StreamConditioner]) -> list[list[Seconds] | Exception]:
    """What `emit` of each gives, or raises; each stream once."""
    found: list[list[Seconds] | None] = [None] * len(conditioners)
    alike: dict[tuple[str, int], list[int]] = {}
    for index, conditioner in enumerate(conditioners):
        if _is_calm(conditioner):
            alike.setdefault((conditioner.kind, conditioner.state.pending.shape[1]), []).append(index)
    for these in alike.values():
        if len(these) > 1:
            for index, second in zip(these, _one_second([conditioners[index] for index in these]), strict=True):
                found[index] = second
    return [_alone(c) if seconds is None else seconds for c, seconds in zip(conditioners, found, strict=True)]


def _alone(conditioner: StreamConditioner) -> list[Seconds] | Exception:
    try:
        return conditioner.emit()
    except Exception as error:  # its own, whatever it is
        return error


def _is_calm(conditioner: StreamConditioner) -> bool:
    """Whether a second is due and nothing that this stream remembers is out of the ordinary."""
    state = conditioner.state
    return (
        state.needed <= state.received
        and state.pending.shape[1] > 0
        and not any(memory.filters.silence.any() or memory.flags.any() for memory in state.groups)
    )


@dataclass(slots=True)
class _Filtered:
    """One group's part of all streams, before any of them remembers it."""

    raw: NDArray[np.float32]  # (streams, channels, n)
    filtered: NDArray[np.float64]  # the same
    memory: NDArray[np.float64]  # (streams, channels, sections, 2)


def _one_second(conditioners: Sequence[StreamConditioner]) -> list[list[Seconds] | None]:
    """The next second of streams of one kind with as many samples pending; None for one that must go by itself."""
    first = conditioners[0]
    states = [conditioner.state for conditioner in conditioners]
    pending = np.stack([state.pending for state in states])  # (streams, raw channels, n)
    offset_s = np.array([c.t0_s - c.state.origin_s + c.state.next_second for c in conditioners])
    starts, phases = place((offset_s[:, None] + np.arange(3.0)) * first.info.rate_hz)  # (streams, 3)
    own = starts + (phases > 0)
    needed = _needed(first.groups, starts[:, 1], phases[:, 1], own[:, 2])
    fine = needed > np.array([state.received for state in states])
    parts = list[_Filtered]()
    for which, group in enumerate(first.groups):
        derived, good = _derived(group, pending)
        fine &= good
        firsts = np.array([state.groups[which].first for state in states])
        held = np.array([state.groups[which].raw.shape[1] for state in states])
        fine &= (own[:, 0] >= firsts) & (starts[:, 0] - group.resampler.half >= firsts)
        fine &= own[:, 0] + first.window <= firsts + held + pending.shape[2]
        filters = np.stack([state.groups[which].filters.memory for state in states])
        parts.append(_Filtered(derived.astype(np.float32), derived, filters))
    if not fine.all():
        return _of_some(conditioners, fine)
    quality = np.empty((len(states), len(first.channels), 1), np.uint8)
    samples = [[np.empty((0, 0), np.float32)] * len(first.channels) for _ in states]
    for which, (group, part) in enumerate(zip(first.groups, parts, strict=True)):
        _filter(group, part)
        memories = [state.groups[which] for state in states]
        _remember(memories, part)
        codes = _judged(group, memories, own[:, 0], first.window)
        columns = starts[:, 0] - np.array([memory.first for memory in memories])
        conditioned = group.resampler.resample_each([memory.filtered for memory in memories], columns, phases[:, 0])
        conditioned[codes != OK] = 0.0
        keep = starts[:, 1] - first.tolerated
        for stream, memory in enumerate(memories):
            group.forget(memory, int(keep[stream]))
            for row, channel in enumerate(group.rows):
                samples[stream][channel] = conditioned[row, stream : stream + 1]
        quality[:, list(group.rows), 0] = codes.T
    found: list[list[Seconds] | None] = []
    for stream, state in enumerate(states):
        found.append([Seconds(state.next_second, first.channels, tuple(samples[stream]), quality[stream])])
        state.pending = state.pending[:, :0]
        state.next_second += 1
        state.needed = int(needed[stream])
    return found


def _of_some(conditioners: Sequence[StreamConditioner], fine: NDArray[np.bool_]) -> list[list[Seconds] | None]:
    found: list[list[Seconds] | None] = [None] * len(conditioners)
    some = np.flatnonzero(fine).tolist()
    if some:
        for index, seconds in zip(some, _one_second([conditioners[index] for index in some]), strict=True):
            found[index] = seconds
    return found


def _needed(
    groups: Sequence[Group], starts: NDArray[np.int64], phases: NDArray[np.int64], end: NDArray[np.int64]
) -> NDArray[np.int64]:
    """How many samples of its segment each stream's second needs that begins at `starts` and ends before `end`."""
    needed = end
    for group in groups:
        between, aligned = group.resampler.needed(1), group.resampler.needed(0)
        needed = np.maximum(needed, starts + np.where(phases == 0, aligned, between))
    return needed


def _derived(group: Group, pending: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The sums of terms (streams, channels, n), and of which streams (streams,) no sample has a flag."""
    derived = np.empty((len(pending), len(group.rows), pending.shape[2]))
    with np.errstate(invalid="ignore", over="ignore"):
        for channel, ((row, weight), *more) in enumerate(group.terms):
            np.multiply(pending[:, row], np.float64(weight), out=derived[:, channel])
            for row, weight in more:
                derived[:, channel] += pending[:, row] * np.float64(weight)
    good = (derived.max(axis=(1, 2)) <= group.absurd) & (derived.min(axis=(1, 2)) >= -group.absurd)
    for limits in group.limits:
        for row, flagged in limits:
            smallest, largest = pending[:, row].min(axis=1), pending[:, row].max(axis=1)
            for _, (lowest, highest) in flagged:
                good &= (smallest > lowest) & (largest < highest)
    return derived, good


def _filter(group: Group, part: _Filtered) -> None:
    """Filter in place."""
    streams, channels, n = part.filtered.shape
    signal, memory = part.filtered.reshape(-1, n), part.memory.reshape(streams * channels, -1, 2)
    sosfilt_in_place(group.filters.sections, signal, memory)


def _remember(memories: Sequence[GroupState], part: _Filtered) -> None:
    """What is new goes behind what each stream remembers."""
    filtered, held = part.filtered.astype(np.float32), part.filtered[:, :, -1].copy()
    flags = np.zeros(part.raw.shape[1:], np.uint8)
    for stream, memory in enumerate(memories):
        memory.raw = np.concatenate((memory.raw, part.raw[stream]), axis=1)
        memory.filtered = np.concatenate((memory.filtered, filtered[stream]), axis=1)
        memory.flags = np.concatenate((memory.flags, flags), axis=1)
        memory.filters.memory, memory.filters.held = part.memory[stream], held[stream]


def _judged(group: Group, memories: Sequence[GroupState], first: NDArray[np.int64], window: int) -> NDArray[np.uint8]:
    """Codes (channels, streams). To a judge it is one whether seconds are of one stream or of many."""
    raw = np.empty((len(group.rows), len(memories), window), np.float32)
    for stream, memory in enumerate(memories):
        column = int(first[stream]) - memory.first
        raw[:, stream] = memory.raw[:, column : column + window]
    flags = np.zeros((len(group.rows), len(memories), 1), np.uint8)
    return group.judged.judge(raw, flags, np.full(len(memories), window))
