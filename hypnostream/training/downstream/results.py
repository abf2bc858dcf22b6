"""What a comparison found, as JSON and as Markdown tables: mean and spread over the seeds."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from hypnostream.training.downstream.comparison import Found
from hypnostream.training.downstream.scores import MEASURES, Score

SHOWN = ("majority_rate", "accuracy", "mcc", "kappa", "auprc", "auroc")
Key = tuple[str, str, str, str]  # set, sensors, task, rule


@dataclass(frozen=True, slots=True)
class Row:
    """`mean` and `spread` (standard deviation; None of one seed) of each measure over the `seeds` in which it is not
    0/0. `subjects` and `epochs` are those tested in one seed or another, each counted once."""

    set_name: str
    sensors: str
    task: str
    rule: str
    arm: str
    fraction: float
    seeds: int
    subjects: int
    nights: int
    epochs: int
    mean: dict[str, float | None]
    spread: dict[str, float | None]


def rows_of(found: Sequence[Found]) -> list[Row]:
    """A row for each question asked of each arm with each share."""
    together: dict[tuple[Key, str, float], list[Score]] = defaultdict(list)
    for each in found:
        arm = f"{each.arm}, {each.probe}" if each.probe else each.arm
        for score in each.scores:
            key = score.set_name, score.sensors, score.task, score.rule
            together[key, arm, each.fraction].append(score)
    return [_row(*key, scores) for key, scores in sorted(together.items())]


def _row(key: Key, arm: str, fraction: float, scores: Sequence[Score]) -> Row:
    mean: dict[str, float | None] = {}
    spread: dict[str, float | None] = {}
    for name in MEASURES:
        values = [value for score in scores if (value := score.found[name]) is not None]
        mean[name] = float(np.mean(values)) if values else None
        spread[name] = float(np.std(values, ddof=1)) if len(values) > 1 else None
    epochs = {night: count for score in scores for night, count in score.epochs.items() if count}
    subjects = {subject for score in scores for subject in score.subjects}
    return Row(*key, arm, fraction, len(scores), len(subjects), len(epochs), sum(epochs.values()), mean, spread)


def as_json(rows: Sequence[Row]) -> list[dict[str, object]]:
    """What results.json holds."""
    return [asdict(row) for row in rows]


def as_markdown(rows: Sequence[Row]) -> str:
    """A table for each set, sensors, task and rule; accuracy stands beside the majority rate."""
    parts = ["# Downstream: apnea and hypopnea"]
    for key in sorted({_key(row) for row in rows}):
        mine = [row for row in rows if _key(row) == key]
        set_name, sensors, task, rule = key
        most = max(mine, key=lambda row: row.epochs)
        share = next((row.mean["prevalence"] for row in mine if row.mean["prevalence"] is not None), None)
        parts.append(
            f"## {set_name}, {task}, from {sensors}"
            + ("" if rule == "scored" else f", rule {rule}")
            + f"\n\n{most.subjects} subjects, {most.nights} nights, {most.epochs} labels; positive: {_shown(share)}."
        )
        lines = [
            "| arm | labels | seeds | " + " | ".join(name.replace("_", " ") for name in SHOWN) + " |",
            "|---" * (len(SHOWN) + 3) + "|",
        ]
        for row in sorted(mine, key=lambda row: (row.arm, row.fraction)):
            cells = [_with_spread(row.mean[name], row.spread[name]) for name in SHOWN]
            lines.append(f"| {row.arm} | {row.fraction:.0%} | {row.seeds} | " + " | ".join(cells) + " |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _key(row: Row) -> Key:
    return row.set_name, row.sensors, row.task, row.rule


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _with_spread(mean: float | None, spread: float | None) -> str:
    return _shown(mean) if spread is None else f"{_shown(mean)} ± {_shown(spread)}"
