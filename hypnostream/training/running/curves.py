"""The losses of each pass as a table and as a picture."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from hypnostream.bridges.atomic import write_atomically

Curves = Sequence[dict[str, float]]  # one a pass
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito, 2008


def names_in(curves: Curves) -> list[str]:
    """The names of the losses, "loss" first."""
    names = dict.fromkeys(name for each in curves for name in each)
    return sorted(names, key=lambda name: name != "loss")


def write_curves(path: Path, curves: Curves) -> None:
    """A row a pass, a column a loss; written whole. Numbers come back as they are."""
    names = names_in(curves)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["pass", *names])
    writer.writerows([index, *(each.get(name, "") for name in names)] for index, each in enumerate(curves, start=1))
    write_atomically(path, text.getvalue().encode())


def read_curves(path: Path) -> list[dict[str, float]]:
    """The inverse of `write_curves`."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [{name: float(value) for name, value in row.items() if name != "pass" and value} for row in rows]


def write_picture(path: Path, curves: Curves, title: str) -> None:
    """A PNG with a panel a loss, each with its own scale: what falls is seen to fall beside something larger."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    names = names_in(curves)
    columns = min(3, max(len(names), 1))
    rows = -(-len(names) // columns) or 1
    figure = Figure(figsize=(3.6 * columns, 2.5 * rows + 0.4), dpi=130, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for panel in panels[len(names) :]:
        panel.set_visible(False)
    for index, name in enumerate(names):
        places = [place for place, each in enumerate(curves, start=1) if name in each]
        values = [each[name] for each in curves if name in each]
        panel, colour = panels[index], COLOURS[index % len(COLOURS)]
        panel.plot(places, values, color=colour, linewidth=1.6, marker="o", markersize=3 if len(values) < 40 else 0)
        panel.set_title(name.replace("_", " "), fontsize=10, loc="left", color=colour, fontweight="bold")
        panel.set_title(f"{values[0]:.3g} → {values[-1]:.3g}", fontsize=9, loc="right", color="#444444")
        panel.set_xlabel("pass", fontsize=9)
        panel.tick_params(labelsize=8)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    write_atomically(path, picture.getvalue())
