"""The `hypnostream train` commands: each a whole run from a folder of data to files, told as it goes."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import msgspec

from hypnostream import __version__
from hypnostream.engine.agreement import Agreement
from hypnostream.errors import UserError
from hypnostream.models.stager import StagerEnsemble
from hypnostream.training.bundling.card import write_card
from hypnostream.training.bundling.export import ParityReport, export_bundle, save_weights
from hypnostream.training.evaluation.predictions import NightPrediction
from hypnostream.training.evaluation.store import PredictionSet, write_predictions
from hypnostream.training.nights.channels import STAGER_CHANNELS
from hypnostream.training.nights.splits import Split, sleep_edf_fold, split_by_subject, write_split
from hypnostream.training.nights.token_night import TokenNight, read_token_night
from hypnostream.training.nights.tokens import tokenise
from hypnostream.training.recordings.ingest import ingest
from hypnostream.training.recordings.sets.ucddb import SET as UCDDB
from hypnostream.training.running.progress import told
from hypnostream.training.running.run import git
from hypnostream.training.staging.evaluate import SENSOR_SETS, predict, score
from hypnostream.training.staging.members import Member, ensemble_of, train_members, with_seed
from hypnostream.training.staging.predict_tokens import from_token_nights
from hypnostream.training.staging.results_table import Row, markdown_table
from hypnostream.training.staging.stager_recipe import Recipe, load_recipe

FOLDS = (0, 1, 2, 4)  # of Sleep-EDF SC subjects, by number modulo 5; fold 3 is kept elsewhere
HELD_OUT = "ucddb022"  # the raw night of another laboratory: never trained on
Nights = list[tuple[Path, TokenNight]]


def stager_command(data: Path, out: Path, recipe_path: Path | None, workers: int) -> None:
    """Ingest, train the ensemble on everybody but the held-out night, export, prove parity."""
    recipe = load_recipe(recipe_path)
    nights = staged_nights(data, out, workers)
    split = split_by_subject([night for _, night in nights], lambda night: night.name == HELD_OUT)
    members = _members(nights, split, recipe, out / "members")
    _write_record(out, recipe, split)
    with told("train") as progress:
        train_members(members, workers, progress)
    model = ensemble_of(members)
    held_out = [score(split.test, predict(model, split.test, (1, 1, 1)))] if split.test else []
    metrics = _metrics("ucddb022_features", held_out)
    metrics |= crossvalidated(out.parent / "crossvalidation" / "results.json", recipe)
    bundle = out / "bundle"
    report = _export(model, bundle, split, recipe, metrics)
    save_weights(model, out / "weights.safetensors")
    (out / "parity.json").write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2))
    print(f"bundle: {bundle}\nparity over {report.epochs} epochs: probabilities {report.probabilities:.1e}, ", end="")
    print(f"states {report.states:.1e}, argmax agreement {report.argmax_agreement:.4f}")


def crossvalidate_command(data: Path, out: Path, recipe_path: Path | None, workers: int) -> None:
    """Hold out each fold of Sleep-EDF subjects in turn; no other laboratory is in the training of these."""
    recipe = load_recipe(recipe_path)
    nights = [(path, night) for path, night in staged_nights(data, out, workers) if night.set_name != UCDDB]
    splits = sleep_edf_splits([night for _, night in nights])
    members = {fold: _members(nights, split, recipe, out / f"fold{fold}") for fold, split in splits.items()}
    for fold, split in splits.items():
        _write_record(out / f"fold{fold}", recipe, split)
    with told("train") as progress:
        # Seed by seed: a run that is cut short has all folds with fewer members, not some folds.
        train_members([member for each in zip(*members.values(), strict=True) for member in each], workers, progress)
    rows, said = [], list[NightPrediction]()
    for fold, split in splits.items():
        model = ensemble_of(members[fold])
        save_weights(model, out / f"fold{fold}" / "weights.safetensors")
        _export(model, out / f"fold{fold}" / "bundle", split, recipe, {}, parity_epochs=60)
        said += from_token_nights(model, split.test)
        for sensors, present in SENSOR_SETS.items():
            found = score(split.test, predict(model, split.test, present))
            rows.append(Row(sensors, str(fold), len({n.subject for n in split.test}), found))
    (out / "results.md").write_text(markdown_table(rows))
    write_predictions(out / "predictions.parquet", PredictionSet(tuple(said), "stager, cross-validated"))
    content = {"recipe": asdict(recipe), "rows": [row.as_dict() for row in rows], "mean": _means(rows)}
    (out / "results.json").write_text(json.dumps(content, indent=2))
    print(markdown_table(rows))


def sleep_edf_splits(nights: Sequence[TokenNight]) -> dict[int, Split[TokenNight]]:
    """Each fold of Sleep-EDF subjects held out. Raises UserError, before anything is trained, for a fold without."""
    splits = {fold: split_by_subject(nights, in_fold(fold)) for fold in FOLDS}
    for fold, split in splits.items():
        if not split.train or not split.test:
            raise UserError(f"no Sleep-EDF nights on both sides of fold {fold}: cross-validation needs its subjects")
    return splits


def crossvalidated(results: Path, recipe: Recipe) -> dict[str, float]:
    """The figures of this very recipe's cross-validation; none where there was none, or it was of another recipe."""
    if not results.exists():
        return {}
    found = json.loads(results.read_text())
    if found.get("recipe") != json.loads(json.dumps(asdict(recipe))):
        print(f"{results} is of another recipe: not in the card; run `train crossvalidate` again", file=sys.stderr)
        return {}
    means: dict[str, float] = found["mean"]
    return means


def _export(
    model: StagerEnsemble,
    bundle: Path,
    split: Split[TokenNight],
    recipe: Recipe,
    metrics: dict[str, float],
    parity_epochs: int = 960,
) -> ParityReport:
    """The bundle with its card, and who it was trained on."""
    training = {
        "sets": "; ".join(sorted({night.set_name for night in split.train})),
        "nights": str(len(split.train)),
        "subjects": str(len({night.subject for night in split.train})),
        "held_out": ", ".join(sorted({night.subject for night in split.test})),
        "scoring": "by people, as each set was; S3 and S4 of R&K merged to AASM's N3",
        "licence": "; ".join(sorted({night.licence for night in split.train} - {""})),
        "recipe": json.dumps(asdict(recipe)),
    }
    card = write_card(split, model, metrics)
    return export_bundle(model, bundle, STAGER_CHANNELS, "stager", __version__, card, training, metrics, parity_epochs)


def in_fold(fold: int) -> Callable[[TokenNight], bool]:
    """Whether a night is of a subject of this fold."""
    return lambda night: sleep_edf_fold(night) == fold


def staged_nights(data: Path, out: Path, workers: int) -> Nights:
    """Data to recordings to token nights, what is not there yet; all staged nights with their files."""
    with told("ingest") as progress:
        skipped = ingest(data, out / "recordings", workers, progress=progress).skipped
    if skipped:
        first = f"{skipped[0].name}: {skipped[0].reason}"
        raise UserError(f"{len(skipped)} recordings could not be ingested, the first: {first}")
    with told("tokens") as progress:
        made = tokenise(out / "recordings", out / "nights", progress)
    if made.failed:
        raise UserError(f"{len(made.failed)} recordings could not be made nights of, the first: {made.failed[0]}")
    nights = [(path, read_token_night(path)) for path in made.nights]
    return [(path, night) for path, night in nights if (night.stage >= 0).any()]


def _members(nights: Nights, split: Split[TokenNight], recipe: Recipe, folder: Path) -> list[Member]:
    inside = {night.name for night in split.train}
    paths = tuple(path for path, night in nights if night.name in inside)
    return [Member(paths, with_seed(recipe.fit, seed), folder / f"seed{seed}") for seed in recipe.seeds]


def _write_record(out: Path, recipe: Recipe, split: Split[TokenNight]) -> None:
    """What the run was: its recipe, who was in which part with hashes, and which code made it."""
    out.mkdir(parents=True, exist_ok=True)
    record = {"recipe": asdict(recipe), "git": git("rev-parse HEAD") or "unknown", "hypnostream": __version__}
    (out / "run.json").write_text(json.dumps(record, indent=2))
    write_split(out / "manifest.json", split)


def _metrics(prefix: str, found: Sequence[Agreement]) -> dict[str, float]:
    return {
        f"{prefix}_{name}": round(value, 4)
        for each in found
        for name, value in (("accuracy", each.accuracy), ("kappa", each.kappa), ("macro_f1", each.macro_f1))
        if value is not None
    }


def _means(rows: Sequence[Row]) -> dict[str, float]:
    out: dict[str, float] = {}
    for sensors in SENSOR_SETS:
        chosen = [row.found for row in rows if row.sensors == sensors]
        for name in ("accuracy", "kappa", "macro_f1"):
            values = [getattr(each, name) for each in chosen]
            key = f"sleep_edf_crossvalidated_{sensors.replace(' ', '_').lower()}_{name}"
            out[key] = round(sum(values) / len(values), 4)
    return out
