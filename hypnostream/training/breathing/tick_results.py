"""What the folds of the learned model of breathing reached, as Markdown, and what a bundle says of it."""

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from hypnostream.training.breathing.tick_night import TickNight
from hypnostream.training.breathing.tick_scores import MinuteRate, TickScore, agreement
from hypnostream.training.nights.splits import Split

if TYPE_CHECKING:
    from hypnostream.training.breathing.tick_run import Reached

SHOWN = ("majority_rate", "accuracy", "mcc", "kappa", "auprc", "auroc", "f1")
_LEAST_NIGHTS = 5
CARD_HEAD = "## Breathing, the learned part"


def as_markdown(reached: Sequence["Reached"]) -> str:
    """A row for each set, sensors and question: means over the folds and their spread; then rates night by night."""
    lines = [
        "# Breathing: what the learned model reached",
        "",
        "Means over folds of people ± their spread; thresholds chosen on people trained on.",
        "",
        "| set, question, sensors | people, labels | " + " | ".join(name.replace("_", " ") for name in SHOWN) + " |",
        "|---|---|" + "---:|" * len(SHOWN),
    ]
    for (set_name, question, sensors), scores in grouped(reached).items():
        people = len({subject for score in scores for subject in score.subjects})
        labels = sum(score.labels for score in scores)
        cells = [_mean([score.found[name] for score in scores]) for name in SHOWN]
        where = f"{set_name}, {question.replace('_', ' ')}, {sensors}"
        lines.append(f"| {where} | {people}, {labels} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "Minutes with an event an hour, night by night:",
        "",
        "| set, sensors | nights | correlation | bias | limits of agreement | same band | largest band |",
        "|---|---:|---:|---:|---|---:|---:|",
    ]
    for (set_name, sensors), rates in rates_of(reached).items():
        if len(rates) >= _LEAST_NIGHTS:
            found = agreement(rates)
            lines.append(
                f"| {set_name}, {sensors} | {found.nights} | {found.correlation:.2f} | {found.bias:+.1f} | "
                f"{found.low:.1f} to {found.high:+.1f} | {found.same_band:.2f} | {found.largest_band:.2f} |"
            )
    return "\n".join(lines) + "\n"


def grouped(reached: Sequence["Reached"]) -> dict[tuple[str, str, str], list[TickScore]]:
    """Scores by set, question and sensors, in the order of their names."""
    found: dict[tuple[str, str, str], list[TickScore]] = defaultdict(list)
    for each in reached:
        for score in each.scores:
            found[score.set_name, score.question, score.sensors].append(score)
    return dict(sorted(found.items()))


def rates_of(reached: Sequence["Reached"]) -> dict[tuple[str, str], list[MinuteRate]]:
    """Rates by set and sensors; of a night that several folds tested, their mean."""
    nights: dict[tuple[str, str, str], list[MinuteRate]] = defaultdict(list)
    for each in reached:
        for rate in each.rates:
            nights[rate.set_name, rate.sensors, rate.night].append(rate)
    found: dict[tuple[str, str], list[MinuteRate]] = defaultdict(list)
    for (set_name, sensors, night), rates in sorted(nights.items()):
        said = float(np.mean([rate.said for rate in rates]))
        found[set_name, sensors].append(MinuteRate(set_name, sensors, night, rates[0].reference, said))
    return dict(found)


def metrics_of(reached: Sequence["Reached"]) -> dict[str, float]:
    """For bundle.json: AUROC and F1 of the minutes of HuGCDN."""
    out = {}
    for (set_name, question, sensors), scores in grouped(reached).items():
        if (set_name, question) == ("HuGCDN2014-OXI", "event_in_minute"):
            for name in ("auroc", "f1", "mcc"):
                values = [value for score in scores if (value := score.found[name]) is not None]
                if values:
                    key = f"hugcdn_crossvalidated_minute_{sensors.replace('+', '_and_')}_{name}"
                    out[key] = round(float(np.mean(values)), 4)
    return out


def held_out_of(split: Split[TickNight]) -> list[str]:
    """The people that a model was not trained on though they were at hand, by name."""
    return sorted({night.subject for night in split.test})


def card_of(split: Split[TickNight], reached: Sequence["Reached"]) -> str:
    """What the bundle's card says of it: whose nights, whose not, and what it reached."""
    sets: dict[str, list[TickNight]] = defaultdict(list)
    for night in split.train:
        sets[night.set_name].append(night)
    lines = [
        f"{CARD_HEAD}\n",
        "A second graph (`tick.onnx`) says of each second how far it believes in an apnea or hypopnea. It weighs the",
        "rules' events, and is the only one to tell where neither airflow nor a belt is there. Not a medical device.",
        "",
        "| trained on | people | nights | licence |",
        "|---|---:|---:|---|",
    ]
    for name in sorted(sets):
        mine = sets[name]
        lines.append(f"| {name} | {len({n.subject for n in mine})} | {len(mine)} | {mine[0].licence} |")
    lines += [
        "",
        f"Never trained on: {', '.join(held_out_of(split)) or 'nobody'}.",
        "",
        "What it reached on people held out, five folds, by weights of the folds (minutes of HuGCDN2014-OXI):",
        "",
    ]
    lines += [f"- {name}: {value:.3f}" for name, value in metrics_of(reached).items()]
    return "\n".join(lines) + "\n"


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    spread = f" ± {np.std(known, ddof=1):.3f}" if len(known) > 1 else ""
    return f"{np.mean(known):.3f}{spread}"
