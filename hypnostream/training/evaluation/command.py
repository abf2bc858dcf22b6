"""`hypnostream train evaluate`: predictions, or a bundle and recordings, in; a report with its pictures out."""

from pathlib import Path

import msgspec

from hypnostream.bridges.atomic import write_atomically
from hypnostream.errors import UserError
from hypnostream.training.evaluation.markdown import interval, markdown
from hypnostream.training.evaluation.pictures import pictures
from hypnostream.training.evaluation.predict_bundle import from_stored
from hypnostream.training.evaluation.report import Report, evaluate
from hypnostream.training.evaluation.store import PredictionSet, read_predictions, write_predictions
from hypnostream.training.running.progress import told


def evaluate_command(
    predictions: Path | None,
    out: Path,
    bundle: Path | None,
    recordings: Path | None,
    against: Path | None,
    workers: int,
    ray: bool,
    around_sleep_min: float | None = None,
) -> None:
    """See the module's head. Recordings that failed are named and make the exit code 1."""
    if predictions is not None and bundle is not None:
        raise UserError("--bundle goes with --recordings; a predictions.parquet says already what a model said")
    failed: list[str] = []

    def said_by(bundle_path: Path | None, store: Path, name: str) -> PredictionSet:
        with told(f"predict {name}") as progress:
            said, without = from_stored(bundle_path, store, workers, ray, progress)
        failed.extend(without)
        write_predictions(out / f"{name}.parquet", said)
        return said

    other = None
    if recordings is not None and predictions is None:
        _folder(out)
        said = said_by(bundle, recordings, "predictions")
        if against is not None and against.is_dir():
            other = said_by(against, recordings, "against")
    elif predictions is not None and recordings is None:
        said = read_predictions(predictions)
    else:
        raise UserError("give either a predictions.parquet, or --recordings with a folder that ingest wrote")
    if against is not None and other is None:
        other = read_predictions(against)
    write_report(evaluate(said, other, around_sleep_min), out)
    for line in failed:
        print(f"skipped {line}")
    if failed:
        raise SystemExit(1)


def write_report(report: Report, out: Path) -> None:
    """`report.json`, `report.md` and the pictures; the main figures on stdout."""
    _folder(out)
    drawn = pictures(report)
    for name, png in drawn.items():
        write_atomically(out / name, png)
    write_atomically(out / "report.md", markdown(report, list(drawn)).encode())
    write_atomically(out / "report.json", msgspec.json.format(msgspec.json.encode(report), indent=2))
    if report.staging is not None:
        found = report.staging.figures
        told_ = (("accuracy", "accuracy"), ("kappa", "κ"), ("macro_f1", "macro-F1"))
        print("  ".join(f"{name} {interval(found[key])}" for key, name in told_))
    print(report.counted.said())
    print(f"report: {out / 'report.md'}")


def _folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out} cannot be made: {error.strerror}") from error
