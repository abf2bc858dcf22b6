"""`hypnogram.png`: one night at a glance, 1600 x 900, and higher by what there is to see of breathing.

From the top: the reference where there is one, the hypnogram and where the two differ, events of breathing and SpO2,
the stage probabilities, the confidence, and what state each sensor was in.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from hypnostream import __version__
from hypnostream.bridges import picture_panels as panels
from hypnostream.bridges.picture_breathing import EVENT_ROW_PX, SPO2_PX, Breathing, draw_events, draw_spo2
from hypnostream.bridges.tables import NOTICE
from hypnostream.engine.agreement import Agreement
from hypnostream.engine.respiration.sensor_quality import SensorNight
from hypnostream.engine.results import StageResult
from hypnostream.engine.sleep_statistics import SleepStatistics
from hypnostream.stream.channels import QUALITY_NAMES
from hypnostream.stream.stages import EPOCH_S, UNSCORED, stage_codes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH_PX: Final = 1600
HEIGHT_PX: Final = 900  # without breathing
STAGES_PX: Final = 500  # of it, what a night without any stage has no use for
DPI: Final = 100
LEFT_PX, RIGHT_PX, TOP_PX, BOTTOM_PX, GAP_PX = 140, 1460, 804, 96, 20  # of the panels; names to the left of them
WORDS_PX = 28  # of a line of indices


@dataclass(frozen=True, slots=True)
class Night:
    """What is drawn. `results` are the final ones of all epochs in order, `channels` the names to show, top down.

    `title` is the recording's name. `start_utc` is the wall time of epoch 0 (None: hours since the start are shown);
    its own time zone is the one on the axis. `reference` is (epochs,) of stage codes, from epoch 0 on. `lights_off_s`,
    `lights_on_s` and `notes` (when, what) are in seconds from the beginning of epoch 0. `breathing` is None where no
    sensor of it is there.
    """

    title: str
    results: Sequence[StageResult]
    channels: Sequence[str]
    statistics: SleepStatistics
    model_name: str
    model_hash: str
    start_utc: datetime | None = None
    reference: NDArray[np.integer] | None = None
    agreement: Agreement | None = None
    lights_off_s: float | None = None
    lights_on_s: float | None = None
    notes: tuple[tuple[float, str], ...] = ()
    breathing: Breathing | None = None


def draw_night(night: Night) -> bytes:
    """The picture as PNG."""
    breathing = _breathing_px(night)
    height_px = HEIGHT_PX + sum(breathing.values()) + GAP_PX * len(breathing.keys() - {"words"})
    height_px -= 0 if _shows_stages(night) else STAGES_PX
    # Not pyplot: it looks for a display and keeps every figure; the objects below it are lighter and need neither.
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    png = BytesIO()
    with (
        rc_context({"text.usetex": False, "text.parse_math": False, "font.family": ["DejaVu Sans"], "font.size": 10.0}),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # a name in a script without glyphs
        figure = Figure(figsize=(WIDTH_PX / DPI, height_px / DPI), dpi=DPI, facecolor="white")
        canvas = FigureCanvasAgg(figure)
        _write_words(figure, night, height_px)
        if night.results:
            _draw_panels(figure, night, height_px, breathing)
        else:
            figure.text(0.5, 0.5, "no epoch was recorded", ha="center", size=16, color=panels.PALE)
        canvas.print_figure(png, dpi=DPI, pil_kwargs={"compress_level": 1})
    return png.getvalue()


def _breathing_px(night: Night) -> dict[str, int]:
    """How high each part of breathing is; those that have nothing to show are not there."""
    if night.breathing is None:
        return {}
    epochs = len(night.results)
    rows = len(night.breathing.drawn(epochs).kinds())
    heights = {
        "words": WORDS_PX * len(_lines(night.breathing)),
        "events": EVENT_ROW_PX * rows,
        "SpO₂ %": SPO2_PX if night.breathing.spo2_seconds(epochs) is not None else 0,
    }
    return {name: height for name, height in heights.items() if height}


def _shows_stages(night: Night) -> bool:
    """Of a recording of breathing alone there is no hypnogram to draw."""
    staged = any(result.stage is not None for result in night.results)
    return staged or night.breathing is None or night.reference is not None


def _draw_panels(figure: "Figure", night: Night, height_px: int, breathing: dict[str, int]) -> None:
    edges_h = np.arange(len(night.results) + 1, dtype=np.float64) * EPOCH_S / 3600
    scored = stage_codes(result.stage for result in night.results)
    absent = scored == UNSCORED
    # Panels from the top down, and the share of each in the height that is to be had.
    staged = _shows_stages(night)
    shares = {"stage": 3.0, "probability": 2.4, "confidence": 0.9} if staged else {}
    if night.reference is not None:
        shares = {"reference": 2.4, "differs": 0.2} | shares
    sensors = _sensors(night, staged)
    if sensors:
        shares["sensors"] = 0.4 + 0.3 * min(len(sensors), 12)

    axes = figure.add_axes((LEFT_PX / WIDTH_PX, 0, (RIGHT_PX - LEFT_PX) / WIDTH_PX, 1))
    axes.set_axis_off()
    axes.set_autoscale_on(False)
    axes.set_xlim(0, edges_h[-1])
    axes.set_ylim(0, height_px)
    had_px = TOP_PX - BOTTOM_PX - (0 if staged else STAGES_PX)
    unit = (had_px - GAP_PX * (len(shares) - 1)) / max(1.0, sum(shares.values()))
    heights_px = {name: unit * share for name, share in shares.items()}
    # Breathing belongs below the stages that it disturbs.
    below = list(heights_px).index("stage") + 1 if staged else 0
    shown = [(name, float(height)) for name, height in breathing.items() if name != "words"]
    heights_px = dict([*list(heights_px.items())[:below], *shown, *list(heights_px.items())[below:]])
    top_px = height_px - (HEIGHT_PX - TOP_PX) - breathing.get("words", 0)
    panels.draw_time(axes, edges_h[-1], night.start_utc, BOTTOM_PX, top_px)
    panel, top = {}, float(top_px)
    for name, height in heights_px.items():
        panel[name] = panels.Panel(axes, edges_h, top - height, top)
        if name not in ("differs", "sensors"):  # these two name their rows
            panel[name].write_name(name)
        top -= height + GAP_PX

    if night.reference is not None:
        reference = np.full(scored.size, UNSCORED)
        reference[: night.reference.size] = night.reference[: scored.size]
        panels.draw_hypnogram(panel["reference"], reference, night.lights_off_s, night.lights_on_s)
        panels.draw_differences(panel["differs"], reference, scored)
    if staged:
        panels.draw_hypnogram(panel["stage"], scored, night.lights_off_s, night.lights_on_s)
        panels.draw_probabilities(panel["probability"], night.results, absent)
        panels.draw_confidence(panel["confidence"], night.results, absent)
    if night.breathing is not None and "events" in panel:
        draw_events(panel["events"], night.breathing.drawn(len(night.results)))
    if night.breathing is not None and "SpO₂ %" in panel:
        spo2 = night.breathing.spo2_seconds(len(night.results))
        if spo2 is not None:
            draw_spo2(panel["SpO₂ %"], spo2)
    if sensors:
        panels.draw_sensors(panel["sensors"], sensors)
    lights = [(night.lights_off_s, "lights off"), (night.lights_on_s, "lights on")]
    said = [(at_s / 3600, name) for at_s, name in lights if at_s is not None and 0 <= at_s / 3600 <= edges_h[-1]]
    if said or night.notes:
        whole = panels.Panel(axes, edges_h, BOTTOM_PX, top_px)
        panels.draw_lights(whole, said)
        panels.draw_notes(whole, said, [(at_s / 3600, text) for at_s, text in night.notes])


def _sensors(night: Night, staged: bool) -> list[SensorNight]:
    """The model's inputs, then the sensors of breathing; where there are no stages, these alone."""
    sensors = panels.inputs_over(night.results, night.channels) if staged else []
    breathing = () if night.breathing is None else night.breathing.sensors
    return sensors + [each for each in breathing if len(each.quality) == len(night.results)]


def _write_words(figure: "Figure", night: Night, height_px: int) -> None:
    """Title, statistics, indices, footer and the key to the sensors' colours."""

    def line(x: float, px: float, words: str, **style: Any) -> None:
        """A line of words at so many pixels from the bottom, from the top where they are below 0."""
        figure.text(x, px / height_px + (px < 0), words, **style)

    line(0.02, -40.5, _shortened(night.title, 70), size=17, weight="bold", color=panels.INK)
    model = f"{_shortened(night.model_name, 40)} · {night.model_hash[:12]}"
    line(0.98, -38.7, model, size=10.5, color=panels.PALE, ha="right")
    line(0.02, -72, statistics_line(night.statistics), size=11, color=panels.INK)
    if night.agreement is not None:
        line(0.98, -72, agreement_line(night.agreement), size=11, color=panels.INK, ha="right")
    for number, words in enumerate(_lines(night.breathing), 1):
        line(0.02, -72 - WORDS_PX * number, _shortened(words, 200), size=11, color=panels.INK)
    footer = f"{NOTICE[0].upper()}{NOTICE[1:]} · hypnostream {__version__}"
    line(0.98, 19.8, footer, size=10, color=panels.PALE, ha="right")
    left = LEFT_PX / WIDTH_PX
    for name, colour in zip(QUALITY_NAMES, panels.QUALITY_COLOURS, strict=True):
        line(left, 18, "■", size=14, color=colour)
        line(left + 0.013, 19.8, name.replace("_", " "), size=10, color=panels.INK)
        left += 0.03 + 0.0058 * len(name)


def _lines(breathing: Breathing | None) -> list[str]:
    return [] if breathing is None else [words for words in (breathing.indices, breathing.agreement) if words]


def statistics_line(statistics: SleepStatistics) -> str:
    """What a sleep doctor looks for first, in one line."""
    if statistics.epochs and statistics.epochs == statistics.epochs_absent:
        return f"no stages: no answer in any of {statistics.epochs} epochs"
    told = [
        ("sleep", _hours(statistics.total_sleep_min)),
        ("efficiency", _percent(statistics.sleep_efficiency_percent)),
        ("sleep latency", _hours(statistics.sleep_latency_min)),
        ("REM latency", _hours(statistics.rem_latency_min)),
        ("awake after onset", _hours(statistics.wake_after_sleep_onset_min)),
    ]
    line = "   ".join(f"{name} {value}" for name, value in told)
    if statistics.epochs_absent:
        line += f"   no answer in {statistics.epochs_absent} of {statistics.epochs} epochs"
    return line


def agreement_line(agreement: Agreement) -> str:
    """The three figures of an agreement, in one line; a dash where one is not defined."""
    figures = (("accuracy", agreement.accuracy), ("κ", agreement.kappa), ("macro-F1", agreement.macro_f1))
    return "   ".join(f"{name} {'–' if value is None else format(value, '.3f')}" for name, value in figures)


def _hours(minutes: float | None) -> str:
    if minutes is None:
        return "–"
    return f"{minutes:.3g} min" if minutes < 60 else f"{int(minutes // 60)} h {int(minutes % 60):02d} min"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f} %"


def _shortened(text: str, length: int) -> str:
    printable = "".join(character if character.isprintable() else " " for character in text)
    return printable if len(printable) <= length else f"{printable[: length - 1]}…"
