"""`hypnogram.png`: one night at a glance, 1600 x 900.

From the top: the reference where there is one, the hypnogram and where the two differ, the stage probabilities, the
confidence, and what state each sensor was in.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from hypnostream import __version__
from hypnostream.bridges import picture_panels as panels
from hypnostream.bridges.tables import NOTICE
from hypnostream.engine.agreement import Agreement
from hypnostream.engine.results import StageResult
from hypnostream.engine.sleep_statistics import SleepStatistics
from hypnostream.stream.channels import QUALITY_NAMES
from hypnostream.stream.stages import EPOCH_S, UNSCORED, stage_codes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH_PX: Final = 1600
HEIGHT_PX: Final = 900
DPI: Final = 100
LEFT_PX, RIGHT_PX, TOP_PX, BOTTOM_PX, GAP_PX = 140, 1460, 804, 96, 20  # of the panels; names to the left of them


@dataclass(frozen=True, slots=True)
class Night:
    """What is drawn. `results` are the final ones of all epochs in order, `channels` the names to show, top down.

    `title` is the recording's name. `start_utc` is the wall time of epoch 0 (None: hours since the start are shown);
    its own time zone is the one on the axis. `reference` is (epochs,) of stage codes, from epoch 0 on. `lights_off_s`,
    `lights_on_s` and `notes` (when, what) are in seconds from the beginning of epoch 0.
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


def draw_night(night: Night) -> bytes:
    """The picture as PNG."""
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
        figure = Figure(figsize=(WIDTH_PX / DPI, HEIGHT_PX / DPI), dpi=DPI, facecolor="white")
        canvas = FigureCanvasAgg(figure)
        _write_words(figure, night)
        if night.results:
            _draw_panels(figure, night)
        else:
            figure.text(0.5, 0.5, "no epoch was recorded", ha="center", size=16, color=panels.PALE)
        canvas.print_figure(png, dpi=DPI, pil_kwargs={"compress_level": 1})
    return png.getvalue()


def _draw_panels(figure: "Figure", night: Night) -> None:
    edges_h = np.arange(len(night.results) + 1, dtype=np.float64) * EPOCH_S / 3600
    scored = stage_codes(result.stage for result in night.results)
    absent = scored == UNSCORED
    # Panels from the top down, and the share of each in the height that is to be had.
    shares = {"stage": 3.0, "probability": 2.4, "confidence": 0.9}
    if night.reference is not None:
        shares = {"reference": 2.4, "differs": 0.2} | shares
    if night.channels:
        shares["sensors"] = 0.4 + 0.3 * min(len(night.channels), 12)

    axes = figure.add_axes((LEFT_PX / WIDTH_PX, 0, (RIGHT_PX - LEFT_PX) / WIDTH_PX, 1))
    axes.set_axis_off()
    axes.set_autoscale_on(False)
    axes.set_xlim(0, edges_h[-1])
    axes.set_ylim(0, HEIGHT_PX)
    panels.draw_time(axes, edges_h[-1], night.start_utc, BOTTOM_PX, TOP_PX)
    unit = (TOP_PX - BOTTOM_PX - GAP_PX * (len(shares) - 1)) / sum(shares.values())
    panel, top = {}, float(TOP_PX)
    for name, share in shares.items():
        panel[name] = panels.Panel(axes, edges_h, top - unit * share, top)
        if name not in ("differs", "sensors"):  # these two name their rows
            panel[name].write_name(name)
        top -= unit * share + GAP_PX

    if night.reference is not None:
        reference = np.full(scored.size, UNSCORED)
        reference[: night.reference.size] = night.reference[: scored.size]
        panels.draw_hypnogram(panel["reference"], reference, night.lights_off_s, night.lights_on_s)
        panels.draw_differences(panel["differs"], reference, scored)
    panels.draw_hypnogram(panel["stage"], scored, night.lights_off_s, night.lights_on_s)
    panels.draw_probabilities(panel["probability"], night.results, absent)
    panels.draw_confidence(panel["confidence"], night.results, absent)
    if night.channels:
        panels.draw_sensors(panel["sensors"], night.results, night.channels)
    lights = [(night.lights_off_s, "lights off"), (night.lights_on_s, "lights on")]
    said = [(at_s / 3600, name) for at_s, name in lights if at_s is not None and 0 <= at_s / 3600 <= edges_h[-1]]
    if said or night.notes:
        whole = panels.Panel(axes, edges_h, BOTTOM_PX, TOP_PX)
        panels.draw_lights(whole, said)
        panels.draw_notes(whole, said, [(at_s / 3600, text) for at_s, text in night.notes])


def _write_words(figure: "Figure", night: Night) -> None:
    """Title, statistics, footer and the key to the sensors' colours."""
    figure.text(0.02, 0.955, _shortened(night.title, 70), size=17, weight="bold", color=panels.INK)
    model = f"{_shortened(night.model_name, 40)} · {night.model_hash[:12]}"
    figure.text(0.98, 0.957, model, size=10.5, color=panels.PALE, ha="right")
    figure.text(0.02, 0.92, statistics_line(night.statistics), size=11, color=panels.INK)
    if night.agreement is not None:
        figure.text(0.98, 0.92, agreement_line(night.agreement), size=11, color=panels.INK, ha="right")
    footer = f"{NOTICE[0].upper()}{NOTICE[1:]} · hypnostream {__version__}"
    figure.text(0.98, 0.022, footer, size=10, color=panels.PALE, ha="right")
    left = LEFT_PX / WIDTH_PX
    for name, colour in zip(QUALITY_NAMES, panels.QUALITY_COLOURS, strict=True):
        figure.text(left, 0.02, "■", size=14, color=colour)
        figure.text(left + 0.013, 0.022, name.replace("_", " "), size=10, color=panels.INK)
        left += 0.03 + 0.0058 * len(name)


def statistics_line(statistics: SleepStatistics) -> str:
    """What a sleep doctor looks for first, in one line."""
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
