"""How well each fold did with each set of sensors, as Markdown and as plain values."""

from collections.abc import Sequence
from dataclasses import dataclass

from hypnostream.engine.agreement import Agreement
from hypnostream.stream.stages import STAGES


@dataclass(frozen=True, slots=True)
class Row:
    """One fold of subjects, scored with one set of sensors."""

    sensors: str
    fold: str
    subjects: int
    found: Agreement

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "sensors": self.sensors,
            "fold": self.fold,
            "subjects": self.subjects,
            "epochs": self.found.n,
            "accuracy": self.found.accuracy,
            "kappa": self.found.kappa,
            "macro_f1": self.found.macro_f1,
            "f1": {name: stage.f1 for name, stage in self.found.stages.items()},
            "confusion": self.found.confusion,
        }


def markdown_table(rows: Sequence[Row]) -> str:
    """A line a fold, then the plain mean over the folds, for each set of sensors in turn."""
    head = ["sensors", "fold", "subjects", "epochs", "accuracy", "κ", "macro-F1", *(f"F1 {name}" for name in STAGES)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for sensors in dict.fromkeys(row.sensors for row in rows):
        chosen = [row for row in rows if row.sensors == sensors]
        values = [_values(row.found) for row in chosen]
        for row, value in zip(chosen, values, strict=True):
            lines.append(_line([sensors, row.fold, str(row.subjects), str(row.found.n)], value))
        mean = [sum(column) / len(column) for column in zip(*values, strict=True)]
        total = [
            f"**{sensors}**",
            "**mean**",
            str(sum(r.subjects for r in chosen)),
            str(sum(r.found.n for r in chosen)),
        ]
        lines.append(_line(total, mean))
    return "\n".join(lines) + "\n"


def _values(found: Agreement) -> list[float]:
    f1 = [found.stages[name].f1 for name in STAGES]
    return [value or 0.0 for value in (found.accuracy, found.kappa, found.macro_f1, *f1)]


def _line(words: Sequence[str], values: Sequence[float]) -> str:
    return "| " + " | ".join([*words, *(f"{value:.3f}" for value in values)]) + " |"
