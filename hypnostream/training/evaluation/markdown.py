"""The report as Markdown, for people: what was measured, on whom, and how sure each figure is."""

from collections.abc import Callable, Mapping, Sequence

from hypnostream.stream.stages import STAGES
from hypnostream.training.evaluation.binary import COLUMNS, binary_table
from hypnostream.training.evaluation.elapsed import Part
from hypnostream.training.evaluation.paired import Comparison
from hypnostream.training.evaluation.provisional import Provisional
from hypnostream.training.evaluation.report import Report, StagingReport
from hypnostream.training.evaluation.subjects import Estimate
from hypnostream.training.evaluation.tasks import Task

MAIN = (("accuracy", "accuracy"), ("kappa", "κ"), ("macro_f1", "macro-F1"))
SECONDS = (1, 5, 10, 15, 20, 25, 29, 30)
TASK_COLUMNS = ("n", "unanswered", *COLUMNS[1:], "balanced_accuracy", "auroc", "ece")


def markdown(report: Report, pictures: Sequence[str] = ()) -> str:
    """The whole report; `pictures` are the names of the files beside it."""
    parts = [f"# {_words(report.model)}, {causality(report)}\n", _where_from(report)]
    if report.staging is not None:
        others = "that do not count or nobody scored" if report.counted.left_out else "that nobody scored"
        parts += [*_staging(report.staging, others), *_elapsed(report.staging)]
    if report.provisional is not None:
        parts.append(_provisional(report.provisional))
    if report.tasks:
        parts.append(_tasks(report.tasks))
    if report.comparison is not None and report.against is not None:
        parts.append(_comparison(report.comparison, report.model, report.against))
    parts += [f"![{name.removesuffix('.png').replace('_', ' ')}]({name})\n" for name in pictures]
    return "\n".join(parts)


def causality(report: Report) -> str:
    """One word for whether the model saw the future."""
    return "causal" if report.causal else "bidirectional"


def _where_from(report: Report) -> str:
    head = ["set", "people", "subjects", "nights", "epochs", *(name for _, name in MAIN)]
    rows = [
        [
            _words(each.name),
            "simulated" if each.simulated else "real",
            str(each.subjects),
            str(each.nights),
            str(each.epochs),
            *(interval(each.figures[key]) for key, _ in MAIN),
        ]
        for each in report.sets
    ]
    note = "In brackets: 95 % interval, subjects resampled with all their nights."
    if report.subjects < 2:
        note = "One subject: there are no intervals."
    elif report.small:
        note += f" With {report.subjects} subjects it is rough, and rather too narrow."
    return f"{_table(head, rows)}\n{note} {report.counted.said()}\n"


def _staging(staging: StagingReport, others: str) -> list[str]:
    """`others` says what the epochs without a reference are."""
    head = ["", *(name for _, name in MAIN)]
    rows = [
        ["epochs without an answer left out", *(interval(staging.figures[key]) for key, _ in MAIN)],
        ["counted as wrong", *(interval(staging.figures_all[key]) for key, _ in MAIN)],
    ]
    for words, pick in _SPREAD:
        rows.append([f"subjects: {words}", *(pick(staging, key) for key, _ in MAIN)])
    counted = (
        f"{staging.epochs} epochs with a reference and an answer, {staging.unanswered} without an answer, "
        f"{staging.unscored} {others}.\n"
    )
    calibrated = (
        f"Calibration: ECE {interval(staging.ece)} (bins of equal mass), Brier {interval(staging.brier)}, "
        f"NLL {interval(staging.nll)}.\n"
    )
    stages = []
    for index, stage in enumerate(STAGES):
        bias = staging.bias[index]
        limits = f"{_signed(bias.lower_limit_min)} to {_signed(bias.upper_limit_min)}"
        stages.append(
            [
                stage,
                *(interval(staging.figures[f"{figure}_{stage}"]) for figure in ("f1", "precision", "recall")),
                _plain(bias.reference_min, 0),
                interval(bias.mean_min, 1, signed=True),
                limits if bias.lower_limit_min is not None else "–",
            ]
        )
    columns = ["stage", "F1", "precision", "recall", "reference, min a night", "predicted less reference", "limits"]
    confusion = [
        [f"**{stage}**", *(str(count) for count in row), *(_plain(share, 3) for share in shares)]
        for stage, row, shares in zip(STAGES, staging.confusion, staging.confusion_rows, strict=True)
    ]
    counts = ["reference \\ answer", *STAGES, "none", *(f"share {stage}" for stage in STAGES)]
    return [
        f"## Stages\n\n{counted}",
        _table(head, rows),
        calibrated,
        _table(columns, stages),
        f"## Confusion\n\n{_table(counts, confusion)}",
    ]


_SPREAD: tuple[tuple[str, Callable[[StagingReport, str], str]], ...] = (
    ("median", lambda staging, key: _plain(staging.spread[key].median)),
    (
        "quartiles",
        lambda staging, key: (
            f"{_plain(staging.spread[key].lower_quartile)} to {_plain(staging.spread[key].upper_quartile)}"
        ),
    ),
    ("worst", lambda staging, key: f"{_plain(staging.spread[key].worst)} ({staging.spread[key].worst_subject or '–'})"),
)


def _elapsed(staging: StagingReport) -> list[str]:
    found = staging.elapsed
    named: list[tuple[str, Part]] = [
        ("first five minutes", found.first_minutes),
        ("after them", found.later),
        ("stage is another than in the epoch before", found.changing),
        ("stage is the same", found.steady),
    ]
    named += [(f"{h / 2:g} to {h / 2 + 0.5:g} h", part) for h, part in enumerate(found.well_filled) if part.epochs]
    rows = [
        [name, str(part.nights), str(part.epochs), interval(part.accuracy), interval(part.kappa)]
        for name, part in named
    ]
    table = _table(["", "nights", "epochs", "accuracy", "κ"], rows)
    left = len(found.half_hours) - len(found.well_filled)
    note = f"\n{left} later half hours, of less than a tenth of the nights, are in report.json.\n" if left else ""
    return [f"## Since the start, and at changes\n\n{table}{note}"]


def _provisional(found: Provisional) -> str:
    rows = [
        [
            str(second),
            *(
                interval(each[second - 1])
                for each in (found.answered, found.accuracy, found.kappa, found.flip_rate, found.stable_by, found.ece)
            ),
        ]
        for second in SECONDS
    ]
    head = ["second", "answered", "accuracy", "κ", "not as at the end", "stable by then", "ECE"]
    note = (
        f"{found.epochs} epochs of {many(found.nights, 'night')}. An answer is stable after "
        f"{interval(found.seconds_to_stable, 1)} s on average (median {_plain(found.median_seconds_to_stable, 0)} s) "
        f"and changes {interval(found.changes, 2)} times an epoch."
    )
    return f"## On the way to the end of the epoch\n\n{_table(head, rows)}\n{note}\n"


def _tasks(tasks: Sequence[Task]) -> str:
    clocks = {30: "epoch", 1: "second", 60: "minute"}
    named = [(f"{task.name}, each {clocks.get(task.every_s, f'{task.every_s} s')}", task) for task in tasks]
    whole = binary_table([(name, task.agreement) for name, task in named], TASK_COLUMNS)
    keys = ("accuracy", "majority_rate", "mcc", "kappa", "auprc", "auroc", "sensitivity", "specificity")
    rows = [
        [name, str(task.subjects), *(interval(task.intervals[key]) if key in task.intervals else "–" for key in keys)]
        for name, task in named
    ]
    head = ["", "subjects", *(key.replace("_", " ") for key in keys)]
    note = "The majority rate is the accuracy of always giving the commoner answer."
    return f"## Apnea and hypopnea\n\n{whole}\n{note}\n\n{_table(head, rows)}"


def _comparison(found: Comparison, model: str, against: str) -> str:
    names: Mapping[str, str] = (
        dict(MAIN) | {f"f1_{stage}": f"F1 {stage}" for stage in STAGES} | {"brier": "Brier", "nll": "NLL"}
    )
    rows = [
        [name, _plain(found.here[key]), _plain(found.there[key]), interval(found.difference[key], signed=True)]
        for key, name in names.items()
    ]
    head = ["", _words(model), _words(against), "difference"]
    apart = [
        f"{many(len(nights), 'night')} only in {_words(of)}: left out."
        for nights, of in ((found.only_here, model), (found.only_there, against))
        if nights
    ]
    note = (
        f"{found.epochs} epochs of {many(found.nights, 'night')} of {many(found.subjects, 'subject')}, "
        "the same in both, one without an answer being wrong; "
        f"staged more accurately than by {_words(against)}: {many(found.better, 'subject')}, less: {found.worse}. "
    )
    return f"## Against {_words(against)}\n\n{_table(head, rows)}\n{note}{' '.join(apart)}\n"


def interval(estimate: Estimate, digits: int = 3, signed: bool = False) -> str:
    """`0.824 [0.81, 0.84]`: a figure and its interval, a dash where it is not defined."""
    if estimate.value is None:
        return "–"
    sign = "+" if signed else "-"
    value, low, high = (
        None if each is None else f"{round(each, digits) + 0.0:{sign}.{digits}f}"  # no minus before zero
        for each in (estimate.value, estimate.low, estimate.high)
    )
    return f"{value}" if low is None or high is None else f"{value} [{low}, {high}]"


def many(count: int, what: str) -> str:
    """`1 night`, `2 nights`."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _plain(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.1f}"


def _words(text: str) -> str:
    """A name from outside as one that cannot break a table."""
    return "".join(c if c.isprintable() else " " for c in text).replace("|", "\\|") or "unnamed"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"
