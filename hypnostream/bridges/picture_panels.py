"""The panels of the picture, one below the other in a single pair of axes: hours across, pixels up.

What makes it quick is that there are few artists: each draws all epochs, and there are no ticks of matplotlib's own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from hypnostream.engine.respiration.sensor_quality import SensorNight
from hypnostream.engine.results import StageResult
from hypnostream.engine.sleep_statistics import sleep_statistics
from hypnostream.stream.channels import MISSING, QUALITY_NAMES
from hypnostream.stream.stages import STAGES, UNSCORED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TOP_DOWN: Final = ("W", "R", "N1", "N2", "N3")
STAGE_COLOURS: Final = {"W": "#eeb04a", "R": "#c2386f", "N1": "#a9cfe6", "N2": "#4b8fc4", "N3": "#1d4a80"}
# In the order of QUALITY_NAMES. Mostly Okabe and Ito's, which the colour-blind can tell apart.
QUALITY_COLOURS: Final = ("#a5d6c3", "#cdd0d4", "#0072b2", "#d55e00", "#f0e442", "#565a60", "#b58900", "#cc79a7")
INK: Final = "#22262b"
PALE: Final = "#6c737b"
GRID: Final = "#dfe3e7"
ABSENT: Final = "#e9ebee"
DIFFERS: Final = "#d55e00"
NOTE_CHARACTERS: Final = 24
NOTE_CHARACTER_PX: Final = 6.2  # of the small type that notes are written in
TICK_STEPS_MIN: Final = (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440)


@dataclass(frozen=True, slots=True)
class Panel:
    """A band of the axes from `bottom` to `top` in pixels; `edges_h` (epochs + 1,) are the epochs' borders in hours."""

    axes: "Axes"
    edges_h: NDArray[np.float64]
    bottom: float
    top: float

    def write_left(self, fraction: float, words: str, size: float = 10.0) -> None:
        """Words that end just left of the panel, at a fraction of its height."""
        self._write(-0.006, fraction, words, ha="right", color=INK, size=size)

    def write_right(self, fraction: float, words: str, size: float = 10.0) -> None:
        """Words that begin just right of the panel, at a fraction of its height."""
        self._write(1.008, fraction, words, ha="left", color=INK, size=size)

    def write_name(self, name: str) -> None:
        """The panel's own name, upright at the far left."""
        self._write(-0.082, 0.5, name, ha="center", color=PALE, rotation=90, rotation_mode="anchor")

    def shade(self, epochs: NDArray[np.bool_], colour: str) -> None:
        """Fill the whole height of the epochs in the mask (epochs,)."""
        changes = np.flatnonzero(np.diff(np.concatenate(([False], epochs, [False])).astype(np.int8)))
        spans = [
            (self.edges_h[begin], self.edges_h[end] - self.edges_h[begin]) for begin, end in changes.reshape(-1, 2)
        ]
        self.axes.broken_barh(spans, (self.bottom, self.top - self.bottom), color=colour, linewidth=0)

    def step(self, fractions: NDArray[np.float64], colour: str, width: float) -> None:
        """A line of steps through a height an epoch (epochs,), open where that is NaN."""
        self.axes.plot(*self._corners(fractions), color=colour, linewidth=width, solid_capstyle="butt")

    def fill(self, fractions: NDArray[np.float64], colour: str, base: float = 0.0) -> None:
        """The area between a base and a height an epoch (epochs,), none where that is NaN."""
        self.axes.fill_between(*self._corners(fractions), self._level(base), color=colour, linewidth=0)

    def level(self, fraction: float, colour: str, width: float) -> None:
        """A line across at a fraction of the height, behind what is drawn."""
        self.axes.hlines(self._level(fraction), 0, self.edges_h[-1], color=colour, linewidth=width, zorder=0.5)

    def bars(self, spans_h: Sequence[tuple[float, float]], low: float, high: float, colour: str) -> None:
        """Bars of (begin, length) in hours from one fraction of the height to another."""
        bottom = self._level(low)
        self.axes.broken_barh(spans_h, (bottom, self._level(high) - bottom), color=colour, linewidth=0)

    def _level(self, fraction: float) -> float:
        return self.bottom + fraction * (self.top - self.bottom)

    def _height(self, fractions: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.bottom + fractions * (self.top - self.bottom)

    def _corners(self, fractions: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return np.repeat(self.edges_h, 2)[1:-1], np.repeat(self._height(fractions), 2)

    def _write(self, x: float, fraction: float, words: str, **style: Any) -> None:
        y = self.bottom + fraction * (self.top - self.bottom)
        self.axes.text(x, y, words, transform=self.axes.get_yaxis_transform(), va="center", **style)


def draw_time(axes: "Axes", end_h: float, start_utc: datetime | None, bottom: float, top: float) -> None:
    """The grid through all panels, and the times below it."""
    positions_h, labels = time_ticks(end_h, start_utc)
    axes.vlines(positions_h, bottom, top, color=GRID, linewidth=0.8, zorder=0)
    for position_h, label in zip(positions_h, labels, strict=True):
        axes.text(position_h, bottom - 16, label, ha="center", va="center", color=INK)
    name = "hours and minutes since the start" if start_utc is None else "clock time of the recording"
    axes.text(end_h / 2, bottom - 37, name, ha="center", va="center", color=PALE)


def time_ticks(end_h: float, start_utc: datetime | None) -> tuple[list[float], list[str]]:
    """At most a dozen or so round times in a night of `end_h` hours: positions in hours from its start, and labels."""
    step_min = next((step for step in TICK_STEPS_MIN if end_h * 60 / step <= 12), -(-end_h // 288) * 1440)
    if start_utc is None:
        positions_h = np.arange(0, end_h + 1e-9, step_min / 60)
        minutes = [round(hours * 60) for hours in positions_h]
        return positions_h.tolist(), [f"{minute // 60}:{minute % 60:02d}" for minute in minutes]
    midnight = start_utc.replace(hour=0, minute=0, second=0, microsecond=0)
    first_min = -(start_utc - midnight).total_seconds() / 60 % step_min
    positions_h = np.arange(first_min / 60, end_h + 1e-9, step_min / 60)
    # Counted in UTC: in the night of a clock change, local times do not add up.
    times = [start_utc.astimezone(UTC) + timedelta(hours=hours, seconds=0.5) for hours in positions_h.tolist()]
    return positions_h.tolist(), [f"{time.astimezone(start_utc.tzinfo):%H:%M}" for time in times]


def draw_lights(panel: Panel, lights: Sequence[tuple[float, str]]) -> None:
    """Lights off and on, (hours, name) each, as thin lines through a panel."""
    hours = [at_h for at_h, _ in lights]
    panel.axes.vlines(hours, panel.bottom, panel.top + 4, color=INK, linewidth=0.9, zorder=3)


def draw_notes(panel: Panel, lights: Sequence[tuple[float, str]], notes: Sequence[tuple[float, str]]) -> None:
    """Words above a panel, (hours, words) each: those of the lights, and of the notes those that find room."""
    end_h, taken = float(panel.edges_h[-1]), list[tuple[float, float]]()
    pixels = panel.axes.transData.transform([(0.0, 0.0), (end_h, 0.0)])[:, 0]
    hours_a_pixel = end_h / float(pixels[1] - pixels[0])
    for place, (at_h, text) in enumerate([*lights, *notes]):
        words = text if len(text) <= NOTE_CHARACTERS else f"{text[: NOTE_CHARACTERS - 1]}…"
        width_h = (NOTE_CHARACTER_PX * len(words) + 12) * hours_a_pixel
        left_h = max(0.0, min(at_h - width_h / 2, end_h - width_h))  # whole, at the night's edges too
        if any(left_h < stop_h and left_h + width_h > start_h for start_h, stop_h in taken):
            continue
        taken.append((left_h, left_h + width_h))
        ink = INK if place < len(lights) else PALE
        panel.axes.vlines(at_h, panel.top - 5, panel.top + 3, color=ink, linewidth=0.9, zorder=3)
        panel.axes.text(left_h + width_h / 2, panel.top + 10, words, ha="center", va="center", color=ink, size=8)


def draw_hypnogram(
    panel: Panel,
    codes: NDArray[np.integer],
    lights_off_s: float | None = None,
    lights_on_s: float | None = None,
) -> None:
    """Steps from W at the top to N3 at the bottom, in the stages' colours; epochs without a stage are shaded.

    The minutes beside it are those of the statistics, from lights off to lights on.
    """
    heights = {stage: 1 - (row + 0.5) / len(TOP_DOWN) for row, stage in enumerate(TOP_DOWN)}
    levels = np.array([*(heights[stage] for stage in STAGES), np.nan])[codes]  # UNSCORED is -1: the last
    panel.shade(codes == UNSCORED, ABSENT)
    panel.step(levels, PALE, 0.8)
    statistics = sleep_statistics(codes, lights_off_s, lights_on_s)
    for stage, height in heights.items():
        panel.step(
            np.where(codes == STAGES.index(stage), levels, np.nan), STAGE_COLOURS[stage], 8 if stage == "R" else 5
        )
        share = statistics.stage_percent.get(stage)
        panel.write_left(height, stage)
        panel.write_right(
            height, f"{statistics.stage_min[stage]:.0f} min" + ("" if share is None else f"  {share:.0f} %")
        )


def draw_differences(panel: Panel, reference: NDArray[np.integer], scored: NDArray[np.integer]) -> None:
    """Where the reference and the scored stage are both there and are not the same."""
    differs = (reference != UNSCORED) & (scored != UNSCORED) & (reference != scored)
    panel.shade(differs, DIFFERS)
    panel.write_left(0.5, "differs")
    panel.write_right(0.5, f"{differs.sum()} epochs")


def draw_probabilities(panel: Panel, results: Sequence[StageResult], absent: NDArray[np.bool_]) -> None:
    """Stage probabilities, stacked as the hypnogram is: the hypnodensity of Stephansen et al. (2018)."""
    probabilities = np.array([result.probabilities for result in results])  # (epochs, stages)
    probabilities[absent] = np.nan  # the prior is no answer
    bottom_up = TOP_DOWN[::-1]
    tops = np.cumsum(probabilities[:, [STAGES.index(stage) for stage in bottom_up]], axis=1)
    panel.shade(absent, ABSENT)
    for place in reversed(range(len(bottom_up))):  # each from 0 up, the highest first: no seams between neighbours
        panel.fill(tops[:, place], STAGE_COLOURS[bottom_up[place]])
    for value in (0.0, 0.5, 1.0):
        panel.write_left(value, f"{value:g}")


def draw_confidence(panel: Panel, results: Sequence[StageResult], absent: NDArray[np.bool_]) -> None:
    """The probability of the likeliest stage, from one fifth (it knows nothing) to 1."""
    lowest = 1 / len(STAGES)
    confidence = np.array([result.confidence for result in results])
    confidence[absent] = np.nan
    panel.shade(absent, ABSENT)
    panel.fill((confidence - lowest) / (1 - lowest), "#c9d6e2")
    panel.step((confidence - lowest) / (1 - lowest), "#49647d", 0.9)
    panel.write_left(0.0, f"{lowest:g}")
    panel.write_left(1.0, "1")
    if not absent.all():
        panel.write_right(0.5, f"median {np.nanmedian(confidence):.2f}")


def inputs_over(results: Sequence[StageResult], channels: Sequence[str]) -> list[SensorNight]:
    """The model's inputs over the epochs that these results are of."""
    rows = {name: row for row, name in enumerate(channels)}
    codes = np.full((len(rows), len(results)), MISSING, np.uint8)
    good = np.zeros((len(rows), len(results)))
    for column, result in enumerate(results):
        for state in result.channels:
            if state.name in rows and state.quality in QUALITY_NAMES:
                codes[rows[state.name], column] = QUALITY_NAMES.index(state.quality)
                good[rows[state.name], column] = state.ok_fraction
    return list(map(SensorNight, channels, codes, good))


def draw_sensors(panel: Panel, sensors: Sequence[SensorNight]) -> None:
    """A strip a sensor: the state that most seconds of each epoch had, and how much of the night was good."""
    palette = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in QUALITY_COLOURS], dtype=np.uint8)
    codes = np.stack([sensor.quality for sensor in sensors])
    extent = (0.0, float(panel.edges_h[-1]), panel.bottom, panel.top)
    panel.axes.imshow(palette[codes], extent=extent, aspect="auto", interpolation="nearest", origin="upper", zorder=1)
    borders = np.linspace(panel.bottom, panel.top, len(sensors) + 1)
    panel.axes.hlines(borders, 0, panel.edges_h[-1], color="white", linewidth=3, zorder=1.5)
    size = max(6.0, min(10.0, 120 / len(sensors), 150 / max(len(sensor.name) for sensor in sensors)))
    for row, sensor in enumerate(sensors):
        height = 1 - (row + 0.5) / len(sensors)
        panel.write_left(height, sensor.name.replace("_", " ")[:25], size)
        panel.write_right(height, f"{100 * sensor.ok_fraction.mean():.0f} % ok", size)
