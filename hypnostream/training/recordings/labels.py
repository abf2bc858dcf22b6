"""Events as labels: painted second by second from their exact onsets, and per epoch by three rules for comparison.

A label is 1, 0 or UNKNOWN. What nobody scored is unknown, never "nothing there".
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from hypnostream.stream.stages import EPOCH_S
from hypnostream.training.recordings.recording import UNKNOWN, Event, Track

_APNEAS = ("apnea_obstructive", "apnea_central", "apnea_mixed", "apnea")
# A track's name, and the kinds of events that make it positive.
TRACK_KINDS: dict[str, tuple[str, ...]] = {
    "apnea_obstructive": ("apnea_obstructive",),
    "apnea_central": ("apnea_central",),
    "apnea_mixed": ("apnea_mixed",),
    "apnea": _APNEAS,
    "hypopnea": ("hypopnea",),
    "apnea_or_hypopnea": (*_APNEAS, "hypopnea"),
    "desaturation": ("desaturation",),
    "arousal": ("arousal",),
}
RESPIRATORY = ("apnea_obstructive", "apnea_central", "apnea_mixed", "apnea", "hypopnea", "apnea_or_hypopnea")
EPOCH_RULES = ("midpoint", "any", "ten_seconds")
TEN_S = 10.0
PAIRING_S = 45.0  # blood that was short of oxygen takes this long to come by the finger, at most


def painted(events: Iterable[Event], kinds: Sequence[str], first_s: int, count: int) -> NDArray[np.int8]:
    """Seconds `first_s` to before `first_s + count` as 1 where an event of `kinds` covers the second's middle, else 0.

    So an event of d seconds marks d seconds, give or take one, wherever it begins; one without a duration marks none.
    """
    values = np.zeros(count, np.int8)
    for event in events:
        if event.kind in kinds:
            begin, end = np.ceil(np.array([event.onset_s, event.onset_s + event.duration_s]) - 0.5) - first_s
            values[int(np.clip(begin, 0, count)) : int(np.clip(end, 0, count))] = 1
    return values


def tracks_of(
    events: Sequence[Event], epochs: int, scored: Sequence[str], known: NDArray[np.bool_] | None = None
) -> dict[str, Track]:
    """A track a second for each name of TRACK_KINDS in `scored`, which are what the scorer looked for.

    `known` (30 * epochs,) says for which seconds somebody did; the others, and those under an artefact that was
    marked, are UNKNOWN.
    """
    seconds = epochs * EPOCH_S
    unknown = painted(events, ("artefact",), 0, seconds) > 0
    if known is not None:
        unknown |= ~known
    out = {}
    for name in scored:
        values = painted(events, TRACK_KINDS[name], 0, seconds)
        values[unknown] = UNKNOWN
        out[name] = Track(values)
    return out


def epoch_labels(
    events: Iterable[Event],
    kinds: Sequence[str],
    epochs: int,
    rule: str,
    known: NDArray[np.bool_] | None = None,
) -> NDArray[np.int8]:
    """A label an epoch (epochs,) by one of EPOCH_RULES.

    "midpoint": an event covers the epoch's middle, which is what SynthSleepNet's rounding comes to (it misses two of
    three events of 10 s); "any": an event reaches into it; "ten_seconds": events cover 10 s of it or more. An epoch
    that none marks and of which a second is not `known` (30 * epochs,) is UNKNOWN.
    """
    if rule not in EPOCH_RULES:
        raise ValueError(f"rule is {rule!r}; choose one of {', '.join(EPOCH_RULES)}")
    labels = np.zeros(epochs, np.int8)
    for begin, end in _joined(events, kinds):
        starts = np.arange(epochs) * float(EPOCH_S)
        if rule == "midpoint":
            middle = starts + EPOCH_S / 2
            labels[(begin <= middle) & (middle < end)] = 1
        elif rule == "any":
            labels[(begin < starts + EPOCH_S) & (starts < end)] = 1
    if rule == "ten_seconds":
        labels[_covered_s(_joined(events, kinds), epochs) >= TEN_S] = 1
    if known is not None:
        labels[(labels == 0) & ~known.reshape(epochs, EPOCH_S).all(axis=1)] = UNKNOWN
    return labels


def with_desaturation(events: Sequence[Event], percent: float) -> tuple[Event, ...]:
    """The hypopneas that a desaturation of at least `percent` belongs to: the 3 % and the 4 % rule of the AASM.

    A desaturation belongs to the last apnea or hypopnea that began before it, if it begins by 45 s after that one's
    end. Its depth is its `value`; one whose depth nobody said qualifies nothing.
    """
    breaths = sorted(
        (event for event in events if event.kind in TRACK_KINDS["apnea_or_hypopnea"]), key=lambda event: event.onset_s
    )
    onsets = np.array([event.onset_s for event in breaths])
    linked: set[int] = set()
    for event in events:
        if event.kind != "desaturation" or event.value is None or event.value < percent:
            continue
        owner = int(np.searchsorted(onsets, event.onset_s, side="right")) - 1
        if owner >= 0 and event.onset_s <= breaths[owner].onset_s + breaths[owner].duration_s + PAIRING_S:
            linked.add(owner)
    return tuple(breaths[i] for i in sorted(linked) if breaths[i].kind == "hypopnea")


def repeated(values: Sequence[int] | NDArray[np.integer], resolution_s: int, seconds: int) -> Track:
    """Labels scored every `resolution_s` as a track of `seconds`; what lies behind the last label is UNKNOWN."""
    each = np.repeat(np.asarray(values, np.int8), resolution_s)[:seconds]
    out = np.full(seconds, UNKNOWN, np.int8)
    out[: len(each)] = each
    return Track(out, resolution_s)


def _joined(events: Iterable[Event], kinds: Sequence[str]) -> list[tuple[float, float]]:
    """(begin, end) of the events of `kinds`, those that overlap made one."""
    out: list[tuple[float, float]] = []
    chosen = (e for e in events if e.kind in kinds and e.duration_s > 0)
    for begin, end in sorted((e.onset_s, e.onset_s + e.duration_s) for e in chosen):
        if out and begin <= out[-1][1]:
            out[-1] = (out[-1][0], max(out[-1][1], end))
        else:
            out.append((begin, end))
    return out


def _covered_s(stretches: Sequence[tuple[float, float]], epochs: int) -> NDArray[np.float64]:
    """How many seconds of each epoch the stretches cover (epochs,)."""
    covered = np.zeros(epochs)
    starts = np.arange(epochs) * float(EPOCH_S)
    for begin, end in stretches:
        covered += np.clip(np.minimum(starts + EPOCH_S, end) - np.maximum(starts, begin), 0, None)
    return covered
