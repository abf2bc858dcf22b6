"""The pictures of a report, each one question: PNG by name.

Colours are Okabe and Ito's, which the colour-blind can tell apart, or one hue from light to dark.
"""

from collections.abc import Callable, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from hypnostream.stream.stages import STAGES
from hypnostream.training.evaluation.markdown import causality, many
from hypnostream.training.evaluation.provisional import Provisional
from hypnostream.training.evaluation.report import Report, StagingReport
from hypnostream.training.evaluation.subjects import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Part = TypeVar("Part")
WIDTH_IN, HEIGHT_IN, DPI = 8.0, 5.6, 130
INK: Final = "#22262b"
PALE: Final = "#6c737b"
GRID: Final = "#dfe3e7"
BLUE: Final = "#0072b2"
VERMILION: Final = "#d55e00"
GREEN: Final = "#009e73"
MOST_NAMED_SUBJECTS: Final = 40


def pictures(report: Report) -> dict[str, bytes]:
    """PNG files by name; only those that there is something to show in."""
    drawn: dict[str, bytes] = {}
    if (staging := report.staging) is not None and staging.epochs:
        for name, (question, draw) in OF_STAGING.items():
            if name == "subjects.png" and len(staging.subjects) < 2:
                continue
            drawn[name] = _picture(report, question, draw, staging)
    if (found := report.provisional) is not None and found.epochs:
        drawn["by_second.png"] = _picture(report, "What is said after each second of the epoch", draw_by_second, found)
    return drawn


def _picture(report: Report, question: str, draw: Callable[["Axes", Part], None], part: Part) -> bytes:
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    style: Any = {
        "text.usetex": False,
        "text.parse_math": False,
        "font.family": ["DejaVu Sans"],
        "font.size": 10.5,
        "axes.edgecolor": PALE,
        "axes.labelcolor": INK,
        "xtick.color": PALE,
        "ytick.color": PALE,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    png = BytesIO()
    with rc_context(style):
        figure = Figure(figsize=(WIDTH_IN, HEIGHT_IN), dpi=DPI, facecolor="white")
        canvas = FigureCanvasAgg(figure)
        axes = figure.add_axes((0.115, 0.125, 0.835, 0.70))
        figure.text(0.03, 0.935, question, size=15, weight="bold", color=INK)
        figure.text(0.03, 0.888, _subtitle(report), size=10, color=PALE)
        draw(axes, part)
        canvas.print_figure(png, dpi=DPI)
    return png.getvalue()


def _subtitle(report: Report) -> str:
    sets = ", ".join(each.name for each in report.sets)
    counted = f"{many(report.subjects, 'subject')}, {many(report.nights, 'night')}"
    return f"{_short(sets, 46)} · {counted} · {_short(report.model, 30)} · {causality(report)}"


def draw_confusion(axes: "Axes", staging: StagingReport) -> None:
    """Shares of each row, with counts."""
    shares = np.array([[np.nan if value is None else value for value in row] for row in staging.confusion_rows])
    axes.imshow(np.nan_to_num(shares), cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row in range(len(STAGES)):
        for column in range(len(STAGES)):
            share, count = shares[row, column], staging.confusion[row][column]
            ink = "white" if share > 0.55 else INK
            said = "–" if np.isnan(share) else f"{100 * share:.0f} %"
            axes.text(column, row - 0.1, said, ha="center", va="center", color=ink, size=13)
            axes.text(column, row + 0.22, f"{count}", ha="center", va="center", color=ink, size=8.5)
    axes.set_xticks(range(len(STAGES)), STAGES)
    axes.set_yticks(range(len(STAGES)), STAGES)
    axes.tick_params(length=0)
    axes.set(xlabel="predicted", ylabel="reference")
    _bare(axes)


def draw_reliability(axes: "Axes", staging: StagingReport) -> None:
    """Confidence against accuracy, bins of equal mass."""
    claimed = [each.confidence for each in staging.reliability]
    right = [each.accuracy for each in staging.reliability]
    low = min(0.2, *claimed, *right) if claimed else 0.0
    axes.plot([low, 1], [low, 1], color=PALE, linewidth=1, linestyle=(0, (4, 3)), label="as it says")
    axes.plot(claimed, right, color=BLUE, linewidth=1.6, marker="o", markersize=6, label="the model")
    axes.set(xlim=(low - 0.02, 1.02), ylim=(low - 0.02, 1.02))
    axes.set(xlabel="probability of the predicted stage", ylabel="share that was right")
    axes.text(0.98, 0.05, f"ECE {_estimate(staging.ece)}", transform=axes.transAxes, ha="right", color=INK)
    _grid(axes)
    axes.legend(frameon=False, loc="upper left")


def draw_since_start(axes: "Axes", staging: StagingReport) -> None:
    """By half hour, with the interval, and how many nights are still on."""
    parts = staging.elapsed.well_filled
    hours = (np.arange(len(parts)) + 0.5) / 2
    first = next((place for place, part in enumerate(parts) if part.epochs), 0)
    _band(axes, hours, [part.accuracy for part in parts], BLUE, "each half hour", marker="o")
    whole = staging.figures["accuracy"].value
    if whole is not None:
        axes.axhline(whole, color=PALE, linewidth=1, linestyle=(0, (4, 3)), label=f"whole night, {whole:.3f}")
    _grid(axes)
    lowest = [value for part in parts for value in (part.accuracy.value, part.accuracy.low) if value is not None]
    bottom = max(0.0, min([*lowest, 0.7]) - 0.08)
    axes.set(xlim=(first / 2, len(parts) / 2), ylim=(bottom, 1.01), xlabel="hours since the start", ylabel="accuracy")
    for place, (hour, part) in enumerate(zip(hours, parts, strict=True)):
        if place >= first and place % -(-(len(parts) - first) // 16) == 0:
            axes.text(hour, bottom, f"{part.nights}", ha="center", va="bottom", size=7.5, color=PALE)
    axes.text(0.0, 1.015, "along the bottom: nights that are still on", transform=axes.transAxes, size=8, color=PALE)
    _legend_above(axes, 2)


def draw_by_second(axes: "Axes", found: Provisional) -> None:
    """Accuracy and the share that will still change, second by second."""
    seconds = np.arange(1, len(found.accuracy) + 1)
    _band(axes, seconds, found.answered, PALE, "anything is said", style=":")
    _band(axes, seconds, found.stable_by, GREEN, "stable from then on", style="--")
    _band(axes, seconds, found.accuracy, BLUE, "right")
    _band(axes, seconds, found.flip_rate, VERMILION, "not what is said at the end", style="-.")
    axes.set(xlim=(1, len(seconds)), ylim=(0, 1.02), xlabel="seconds of the epoch that have passed")
    axes.set_ylabel("share of epochs")
    axes.set_xticks([1, 5, 10, 15, 20, 25, 30])
    _grid(axes)
    _legend_above(axes, 4)


def draw_subjects(axes: "Axes", staging: StagingReport) -> None:
    """One dot a subject, from the worst up; the quartiles behind."""
    people = sorted(
        ((person.kappa, person.subject) for person in staging.subjects if person.kappa is not None), reverse=False
    )
    spread = staging.spread["kappa"]
    if spread.lower_quartile is not None and spread.upper_quartile is not None and spread.median is not None:
        axes.axhspan(
            spread.lower_quartile, spread.upper_quartile, color=BLUE, alpha=0.13, linewidth=0, label="quartiles"
        )
        axes.axhline(spread.median, color=BLUE, linewidth=1.3, label=f"median {spread.median:.3f}")
    kappa = [value for value, _ in people]
    axes.plot(range(len(people)), kappa, linestyle="", marker="o", markersize=6, color=BLUE, markeredgecolor="white")
    low = min([*kappa, 0.0])
    axes.set(ylim=(low - 0.02, 1.02), xlim=(-1, max(len(people), 1)), ylabel="κ")
    named = len(people) <= MOST_NAMED_SUBJECTS
    axes.set_xticks(
        range(len(people)) if named else [],
        [_person(name) for _, name in people] if named else [],
        rotation=90 if len(people) > 8 else 0,
        size=7.5 if len(people) > 8 else 10,
    )
    axes.set_xlabel("" if named else f"{len(people)} subjects, from the worst to the best")
    if not named:
        for place, (value, name) in enumerate(people[:3]):
            axes.annotate(_person(name), (place, value), (8, -3), textcoords="offset points", size=8, color=PALE)
    _grid(axes)
    axes.legend(frameon=False, loc="lower right")


def draw_bias(axes: "Axes", staging: StagingReport) -> None:
    """Each night a dot, the mean with its interval, and the limits of agreement."""
    rng = np.random.default_rng(0)
    axes.axhline(0, color=PALE, linewidth=1)
    for place, bias in enumerate(staging.bias):
        scatter = rng.uniform(-0.16, 0.16, len(bias.nights_min)) if len(bias.nights_min) > 1 else [0.0]
        axes.plot(
            place - 0.14 + np.asarray(scatter), bias.nights_min, linestyle="", marker="o", markersize=3.5, color=BLUE,
            alpha=0.35, markeredgewidth=0, label="a night" if not place else None,
        )  # fmt: skip
        mean = bias.mean_min
        if bias.lower_limit_min is not None and bias.upper_limit_min is not None:
            axes.vlines(
                place + 0.2, bias.lower_limit_min, bias.upper_limit_min, color=VERMILION, linewidth=1.2,
                label="" if place else "limits of agreement",
            )  # fmt: skip
        if mean.value is not None:
            low, high = (mean.value if value is None else value for value in (mean.low, mean.high))
            axes.vlines(place + 0.2, low, high, color=VERMILION, linewidth=5)
            axes.plot(
                place + 0.2, mean.value, marker="D", markersize=5, color="white", markeredgecolor=VERMILION,
                label="mean, 95 % interval" if not place else None,
            )  # fmt: skip
            words, at = f"{mean.value:+.1f}", (place + 0.2, mean.value)
            axes.annotate(words, at, (9, 0), textcoords="offset points", va="center", size=9.5)
    axes.set_xticks(range(len(STAGES)), STAGES)
    axes.set(xlim=(-0.5, len(STAGES) - 0.4), ylabel="minutes")
    _grid(axes, "y")
    _legend_above(axes, 3)


def _band(
    axes: "Axes",
    x: NDArray[Any],
    estimates: Sequence[Estimate],
    colour: str,
    label: str,
    marker: str | None = None,
    style: str = "-",
) -> None:
    """A line with its interval as a band, open where it is undefined."""
    value, low, high = (
        np.array([np.nan if (v := getattr(each, name)) is None else v for each in estimates])
        for name in ("value", "low", "high")
    )
    axes.fill_between(x, low, high, color=colour, alpha=0.16, linewidth=0)
    axes.plot(x, value, color=colour, linewidth=1.8, linestyle=style, marker=marker, markersize=4.5, label=label)


def _legend_above(axes: "Axes", columns: int) -> None:
    """Where no line can run through it."""
    axes.legend(frameon=False, loc="upper right", ncols=columns, bbox_to_anchor=(1.0, 1.09), fontsize=9)


def _grid(axes: "Axes", axis: Any = "both") -> None:
    axes.grid(True, axis=axis, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)


def _bare(axes: "Axes") -> None:
    for spine in axes.spines.values():
        spine.set_visible(False)


def _estimate(estimate: Estimate) -> str:
    if estimate.value is None:
        return "–"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.3f}"
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def _person(name: str) -> str:
    """A subject without the set that the picture's title names."""
    return _short(name.rpartition(":")[2], 12)


def _short(text: str, length: int) -> str:
    printable = "".join(character if character.isprintable() else " " for character in text)
    return printable if len(printable) <= length else f"{printable[: length - 1]}…"


OF_STAGING: Final[dict[str, tuple[str, Callable[["Axes", StagingReport], None]]]] = {
    "confusion.png": ("Which stage is taken for which", draw_confusion),
    "reliability.png": ("Is a probability what it says?", draw_reliability),
    "since_start.png": ("Accuracy since the start of the recording", draw_since_start),
    "subjects.png": ("κ of each subject", draw_subjects),
    "stage_bias.png": ("Minutes a night: predicted less reference", draw_bias),
}
