"""The `hypnostream train` commands: each a whole run from a folder of data to files, told as it goes."""

import json
import sys
from collections.abc import Collection, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import msgspec

from hypnostream import __version__
from hypnostream.bridges.atomic import write_atomically
from hypnostream.engine.agreement import Agreement
from hypnostream.errors import UserError
from hypnostream.models.stager import StagerEnsemble
from hypnostream.training.bundling.card import write_card
from hypnostream.training.bundling.export import ParityReport, export_bundle, save_weights
from hypnostream.training.bundling.stretch_export import bundle_with_stretch, can_stretch
from hypnostream.training.bundling.whose import whose
from hypnostream.training.evaluation.around_sleep import WAKE
from hypnostream.training.evaluation.predictions import NightPrediction
from hypnostream.training.evaluation.store import PredictionSet, write_predictions
from hypnostream.training.nights.channels import STAGER_CHANNELS
from hypnostream.training.nights.scoring_rule import UNKNOWN_RULE, scoring_rule
from hypnostream.training.nights.splits import Split, read_split, write_split
from hypnostream.training.nights.token_night import TokenNight, read_token_night
from hypnostream.training.nights.tokens import tokenise
from hypnostream.training.recordings.ingest import SKIPPED, ingest
from hypnostream.training.recordings.store import recordings_in
from hypnostream.training.recordings.validate import how_to_go_on
from hypnostream.training.running.distributed import alone
from hypnostream.training.running.progress import told
from hypnostream.training.running.run import git
from hypnostream.training.staging.evaluate import predict, score, sensor_sets
from hypnostream.training.staging.held_out import HELD_OUT, folds_of, leaving_out, published, split_off
from hypnostream.training.staging.members import Member, ensemble_of, train_members, with_seed
from hypnostream.training.staging.predict_tokens import from_token_nights
from hypnostream.training.staging.results_table import Row, markdown_table
from hypnostream.training.staging.sensors_lost import Fold, mean_under_loss, sensors_lost_table
from hypnostream.training.staging.stager_recipe import Recipe, load_recipe

MANIFEST = "manifest.json"
Nights = list[tuple[Path, TokenNight]]


def stager_command(data: Path, out: Path, recipe_path: Path | None, workers: int, hold_out: Sequence[str] = ()) -> None:
    """Ingest, train the ensemble on everybody who is not held out (see `split_off`), export, prove parity."""
    alone()
    recipe = load_recipe(recipe_path)
    nights = staged_nights(data, out, workers)
    split = split_off([night for _, night in nights], hold_out)
    left_out = sorted({night.set_name for night in split.train} & set(recipe.without))
    split = replace(split, train=tuple(leaving_out(recipe.without, split.train)))
    members = _members(nights, split, recipe, out / "members")
    _write_record(out, recipe, split)
    print(f"trained on: {whose(split.train)}\nheld out: {whose(split.test)}")
    with told("train") as progress:
        train_members(members, workers, progress)
    model = ensemble_of(members)
    held_out = [score(split.test, predict(model, split.test))] if split.test else []
    only_the_one = {night.name for night in split.test} == {HELD_OUT}
    metrics = _metrics("ucddb022_features" if only_the_one else "held_out", held_out)
    every = [night for _, night in nights]
    metrics |= crossvalidated(out.parent / "crossvalidation" / "results.json", recipe, every)
    bundle = out / "bundle"
    report = _export(model, bundle, split, recipe, metrics, left_out=left_out)
    save_weights(model, out / "weights.safetensors")
    write_atomically(out / "parity.json", msgspec.json.format(msgspec.json.encode(report), indent=2))
    if UNKNOWN_RULE in scoring_rule(split.train):
        print("by which rule stages were scored is not known of all: a column scoring in subjects.csv would say it")
    print(f"bundle: {bundle}\nparity over {report.epochs} epochs: probabilities {report.probabilities:.1e}, ", end="")
    print(f"states {report.states:.1e}, argmax agreement {report.argmax_agreement:.4f}")


def crossvalidate_command(data: Path, out: Path, recipe_path: Path | None, workers: int, folds: int | None) -> None:
    """Hold out each fold of people in turn: `folds` of any, or Sleep-EDF's published ones; see `folds_of`."""
    alone()
    recipe = load_recipe(recipe_path)
    nights = staged_nights(data, out, workers)
    every = leaving_out(recipe.without, [night for _, night in nights])
    splits, of_sleep_edf = folds_of(every, folds), published(every, folds)
    members = {fold: _members(nights, split, recipe, out / f"fold{fold}") for fold, split in splits.items()}
    for fold, split in splits.items():
        _write_record(out / f"fold{fold}", recipe, split)
    with told("train") as progress:
        # Seed by seed: a run that is cut short has all folds with fewer members, not some folds.
        train_members([member for each in zip(*members.values(), strict=True) for member in each], workers, progress)
    rows, said, judged = [], list[NightPrediction](), list[Fold]()
    for fold, split in splits.items():
        model = ensemble_of(members[fold])
        weights = out / f"fold{fold}" / "weights.safetensors"
        save_weights(model, weights)
        judged.append(Fold(weights, _files(nights, split.test)))
        _export(model, out / f"fold{fold}" / "bundle", split, recipe, {}, parity_epochs=60)
        said += from_token_nights(model, split.test)
        for sensors, (present, tested) in sensor_sets(split.test, of_sleep_edf).items():
            found = score(tested, predict(model, tested, present))
            rows.append(Row(sensors, str(fold), len({n.subject for n in tested}), found))
    with told("sensors lost") as progress:
        lost = mean_under_loss(judged, workers, progress)
    tested = [night for split in splits.values() for night in split.test]
    table = f"{_said_of(tested, of_sleep_edf, len(splits))}\n\n{markdown_table(rows)}"
    table += f"\nMeans over the folds:\n\n{sensors_lost_table(lost)}" if lost else ""
    write_atomically(out / "results.md", table.encode())
    write_predictions(out / "predictions.parquet", PredictionSet(tuple(said), "stager, cross-validated"))
    means = _means("sleep_edf_crossvalidated" if of_sleep_edf else "crossvalidated", rows)
    content = {
        "recipe": asdict(recipe), "nights": whose(tested), "rows": [row.as_dict() for row in rows], "mean": means,
        "sensors_lost": lost,
    }  # fmt: skip
    write_atomically(out / "results.json", json.dumps(content, indent=2).encode())
    print(table)


def crossvalidated(results: Path, recipe: Recipe, nights: Sequence[TokenNight]) -> dict[str, float]:
    """The figures of this very recipe's cross-validation on some of these nights; none where there was none, or it was
    of another recipe or of other nights."""
    if not results.exists():
        return {}
    found = json.loads(results.read_text())
    if found.get("recipe") != json.loads(json.dumps(asdict(recipe))):
        print(f"{results} is of another recipe: not in the card; run `train crossvalidate` again", file=sys.stderr)
        return {}
    try:
        for fold in {row["fold"] for row in found["rows"]}:
            read_split(results.parent / f"fold{fold}" / MANIFEST, nights)
    except (UserError, KeyError, TypeError) as error:
        print(f"{results} is of other nights: not in the card ({error})", file=sys.stderr)
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
    left_out: Collection[str] = (),
) -> ParityReport:
    """The bundle with its card, and who it was trained on; `left_out` are sets that were at hand and not taken."""
    rule = scoring_rule(split.train)
    training = {
        "sets": "; ".join(sorted({night.set_name for night in split.train})),
        "nights": str(len(split.train)),
        "subjects": str(len({night.subject for night in split.train})),
        "people": whose(split.train),
        "held_out": ", ".join(sorted({night.subject for night in split.test})) or "nobody",
        "scoring": f"by people: {rule}",
        "licence": "; ".join(sorted({night.licence for night in split.train} - {""})) or "not said",
        "recipe": json.dumps(asdict(recipe)),
    }
    card = write_card(split, model, metrics, left_out)
    report = export_bundle(
        model, bundle, STAGER_CHANNELS, "stager", __version__, card, training, metrics, parity_epochs,
        scoring_rule=rule,
    )  # fmt: skip
    if can_stretch(model):
        bundle_with_stretch(bundle, bundle, model, parity_epochs)
    return report


def staged_nights(data: Path, out: Path, workers: int) -> Nights:
    """Data to recordings to token nights, what is not there yet; all staged nights with their files.

    `data` may be a store that `train ingest` wrote: then it is read as it is. Raises UserError when a recording cannot
    be read, or none is staged and has a signal that the stager takes.
    """
    store = data if recordings_in(data) else out / "recordings"
    if store != data:
        with told("ingest") as progress:
            skipped = ingest(data, store, workers, progress=progress).skipped
        if skipped:
            many = f"{len(skipped)} recordings could not be ingested, the first {skipped[0].name}: {skipped[0].reason}"
            raise UserError(
                f"{many}; {store / SKIPPED} names them all: mend or remove their files, or go on without them by "
                f"--data {store}"
            )
    with told("tokens") as progress:
        made = tokenise(store, out / "nights", progress)
    if made.failed:
        many = f"{len(made.failed)} recordings could not be made nights of, the first {made.failed[0]}"
        raise UserError(f"{many}; {how_to_go_on(store)}")
    nights = [(path, read_token_night(path)) for path in made.nights]
    staged = [(path, night) for path, night in nights if (night.stage >= 0).any()]
    left_out = f"{len(made.nothing)} recordings have no EEG or EOG that it takes, {len(nights) - len(staged)} no stages"
    if not staged:
        raise UserError(f"{store} has no night to learn from: {left_out}")
    print(f"staged nights: {len(staged)}; {left_out}")
    return staged


def _said_of(tested: Sequence[TokenNight], of_sleep_edf: bool, folds: int) -> str:
    """Whose figures a table of folds holds."""
    how = "the published folds of Sleep-EDF" if of_sleep_edf else f"{folds} folds by person"
    scored = sum(int((night.stage >= 0).sum()) for night in tested)
    awake = sum(int((night.stage == WAKE).sum()) for night in tested)
    return (
        f"Each person tested once, {how}: {whose(tested)}. Stages scored by {scoring_rule(tested)}; "
        f"{scored} epochs counted, all that were scored, {awake / max(scored, 1):.0%} of them awake. Causal."
    )


def _members(nights: Nights, split: Split[TokenNight], recipe: Recipe, folder: Path) -> list[Member]:
    paths = _files(nights, split.train)
    return [Member(paths, with_seed(recipe.fit, seed), folder / f"seed{seed}") for seed in recipe.seeds]


def _files(nights: Nights, chosen: Sequence[TokenNight]) -> tuple[Path, ...]:
    names = {night.name for night in chosen}
    return tuple(path for path, night in nights if night.name in names)


def _write_record(out: Path, recipe: Recipe, split: Split[TokenNight]) -> None:
    """What the run was: its recipe, who was in which part with hashes, and which code made it."""
    out.mkdir(parents=True, exist_ok=True)
    record = {"recipe": asdict(recipe), "git": git("rev-parse HEAD") or "unknown", "hypnostream": __version__}
    write_atomically(out / "run.json", json.dumps(record, indent=2).encode())
    write_split(out / MANIFEST, split)


def _metrics(prefix: str, found: Sequence[Agreement]) -> dict[str, float]:
    return {
        f"{prefix}_{name}": round(value, 4)
        for each in found
        for name, value in (("accuracy", each.accuracy), ("kappa", each.kappa), ("macro_f1", each.macro_f1))
        if value is not None
    }


def _means(prefix: str, rows: Sequence[Row]) -> dict[str, float]:
    """The mean over the folds of each figure, by set of sensors; without those that are 0/0 in a fold."""
    out: dict[str, float] = {}
    for sensors in dict.fromkeys(row.sensors for row in rows):
        chosen = [row.found for row in rows if row.sensors == sensors]
        for name in ("accuracy", "kappa", "macro_f1"):
            values = [value for each in chosen if (value := getattr(each, name)) is not None]
            if len(values) == len(chosen):
                out[f"{prefix}_{sensors.replace(' ', '_').lower()}_{name}"] = round(sum(values) / len(values), 4)
    return out
