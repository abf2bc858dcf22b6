"""The panels of breathing in the picture of a night: its events, a row a kind, and SpO2."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hypnostream.bridges.picture_panels import ABSENT, GRID, PALE, Panel
from hypnostream.engine.respiration.event import (
    APNEA,
    APNEAS,
    AROUSAL,
    CENTRAL_APNEA,
    DESATURATION,
    HYPOPNEA,
    KINDS,
    MIXED_APNEA,
    OBSTRUCTIVE_APNEA,
    Event,
)
from hypnostream.engine.respiration.revisions import latest
from hypnostream.engine.respiration.sensor_quality import SensorNight
from hypnostream.stream.stages import EPOCH_S

SPO2_PX: Final = 150
EVENT_ROW_PX: Final = 24
LOW_SPO2_PERCENT: Final = 90.0
SPO2_COLOUR: Final = "#1f6f78"
LOW_SPO2_COLOUR: Final = "#c8402f"
LOW_ZONE_COLOUR: Final = "#fbece8"
ROW_COLOUR: Final = "#f3f5f7"
# A kind's name ("apnea" is one of no known type), its colour, and the paler one of what may still change.
EVENT_ROWS: Final = {
    OBSTRUCTIVE_APNEA: ("obstructive", "#b3261e", "#e5b0ac"),
    CENTRAL_APNEA: ("central", "#6a3fa0", "#cabbe0"),
    MIXED_APNEA: ("mixed", "#94346e", "#dab5cd"),
    APNEA: ("apnea", "#4d545c", "#c2c6ca"),
    HYPOPNEA: ("hypopnea", "#d9822b", "#f2d3b2"),
    DESATURATION: ("desaturation", "#1f8a70", "#b0d9cf"),
    AROUSAL: ("arousal", "#3b6fb6", "#b9cde6"),
}
BREATHING: Final = (*APNEAS, HYPOPNEA)  # what a reference scores as one: none of a kind means that there were none
_NARROWEST_PX: Final = 2.0
_LOWEST_AXIS_PERCENT: Final = 50.0


@dataclass(frozen=True, slots=True)
class Breathing:
    """Breathing over a night, to be drawn.

    `events` and those of a `reference` are revisions in any order, on the stream clock, on which epoch 0 begins at
    `t0_s`. `spo2` (seconds,) is percent, one value a second from the beginning of epoch 0, NaN where it is not known;
    None without an oximeter. `sensors` are those of breathing, over the epochs of the night. `indices` and `agreement`
    are lines of words ("AHI 14.2 /h of sleep (AASM 1A)").
    """

    events: Sequence[Event] = ()
    spo2: NDArray[np.floating] | None = None
    indices: str = ""
    reference: Sequence[Event] = ()
    agreement: str = ""
    t0_s: float = 0.0
    sensors: tuple[SensorNight, ...] = ()

    def spo2_seconds(self, epochs: int) -> NDArray[np.float64] | None:
        """(30 * epochs,) percent, NaN where it is not known; None when it never is."""
        if self.spo2 is None:
            return None
        seconds = np.full(epochs * EPOCH_S, np.nan)
        had = self.spo2[: seconds.size]
        seconds[: had.size] = np.where(np.isfinite(had), had, np.nan)
        return None if np.isnan(seconds).all() else seconds

    def drawn(self, epochs: int) -> "Breathing":
        """The same with those events alone that are drawn: the latest revisions within the night, none withdrawn."""
        return replace(self, events=self._within(self.events, epochs), reference=self._within(self.reference, epochs))

    def kinds(self) -> tuple[str, ...]:
        """The kinds that there are any of, in the order of their rows."""
        there = {event.kind for event in (*self.events, *self.reference)}
        return tuple(kind for kind in KINDS if kind in there)

    def _within(self, revisions: Sequence[Event], epochs: int) -> tuple[Event, ...]:
        end_s = self.t0_s + epochs * EPOCH_S
        return tuple(
            event
            for event in latest(revisions)
            if event.status != "withdrawn"
            and event.start_s < end_s
            and (event.end_s is None or event.end_s > self.t0_s)
        )


def draw_events(panel: Panel, breathing: Breathing) -> None:
    """A row a kind, from KINDS' first at the top: bars from onset to end, paler while an event may still change.

    Where there is a reference, its events are the upper, grey third of each row. Beside a row: how many are settled and
    how many still open, then how long the settled ones are (median), or how many the reference has.
    """
    kinds = breathing.kinds()
    end_h = float(panel.edges_h[-1])
    pixels = panel.axes.transData.transform([(0.0, 0.0), (end_h, 0.0)])[:, 0]
    narrowest_h = _NARROWEST_PX * end_h / float(pixels[1] - pixels[0])

    def spans_h(events: Sequence[Event]) -> list[tuple[float, float]]:
        """Begin and length in hours, cut at the night's edges, none too narrow to be seen."""
        spans = []
        for event in events:
            begin_h = max((event.start_s - breathing.t0_s) / 3600, 0.0)
            until_h = end_h if event.end_s is None else min((event.end_s - breathing.t0_s) / 3600, end_h)
            spans.append((begin_h, max(until_h - begin_h, narrowest_h)))
        return spans

    for row, kind in enumerate(kinds):
        name, colour, pale = EVENT_ROWS[kind]
        low, high = 1 - (row + 0.9) / len(kinds), 1 - (row + 0.1) / len(kinds)
        ours = [event for event in breathing.events if event.kind == kind]
        settled = [event for event in ours if event.status != "preliminary" and event.end_s is not None]
        theirs = [event for event in breathing.reference if event.kind == kind]
        panel.bars([(0.0, end_h)], low, high, ROW_COLOUR)
        top = low + (high - low) * 0.62 if breathing.reference else high
        panel.bars(spans_h([event for event in ours if event not in settled]), low, top, pale)
        panel.bars(spans_h(settled), low, top, colour)
        panel.bars(spans_h(theirs), low + (high - low) * 0.7, high, PALE)
        panel.write_left((low + high) / 2, name)
        words = f"{len(settled)}" + (f" + {len(ours) - len(settled)}" if len(ours) > len(settled) else "")
        if theirs or (kind in BREATHING and breathing.reference):
            words += f" · ref. {len(theirs)}"
        elif settled:
            words += f" · {np.median([event.duration_s or 0.0 for event in settled]):.0f} s"
        panel.write_right((low + high) / 2, words, 9.5)


def draw_spo2(panel: Panel, spo2: NDArray[np.float64]) -> None:
    """The trace of (seconds,) percent; what is under 90 % is shaded and drawn in red, seconds without a value grey."""
    lowest = float(np.nanmin(spo2))
    bottom = max(_LOWEST_AXIS_PERCENT, min(80.0, 5 * np.floor((lowest - 1) / 5)))

    def height(percent: NDArray[np.float64]) -> NDArray[np.float64]:
        fractions: NDArray[np.float64] = np.clip((percent - bottom) / (100 - bottom), 0.0, 1.0)
        return fractions

    limit = float(height(np.array([LOW_SPO2_PERCENT]))[0])
    panel.bars([(0.0, float(panel.edges_h[-1]))], 0.0, limit, LOW_ZONE_COLOUR)
    seconds = replace(panel, edges_h=np.arange(spo2.size + 1) / 3600)
    seconds.shade(np.isnan(spo2), ABSENT)
    ticks = np.arange(100.0, bottom - 1, -10.0)
    for percent, at in zip(ticks.tolist(), height(ticks).tolist(), strict=True):
        panel.level(at, GRID, 0.8)
        panel.write_left(at, f"{percent:.0f}")
    low = spo2 < LOW_SPO2_PERCENT
    seconds.step(height(spo2), SPO2_COLOUR, 0.9)
    seconds.fill(np.where(low, height(spo2), np.nan), LOW_SPO2_COLOUR, base=limit)
    seconds.step(np.where(low, height(spo2), np.nan), LOW_SPO2_COLOUR, 1.1)
    for at, words in (
        (0.86, f"mean {np.nanmean(spo2):.1f} %"),
        (0.66, f"lowest {lowest:.0f} %"),
        (0.46, f"{_minutes(int(low.sum()))} < 90 %"),
    ):
        panel.write_right(at, words, 9.5)


def _minutes(seconds: int) -> str:
    return f"{seconds} s" if seconds < 60 else f"{seconds / 60:.0f} min"
