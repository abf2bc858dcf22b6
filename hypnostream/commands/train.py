"""`hypnostream train`: recordings in, a bundle out."""

from pathlib import Path
from typing import Annotated

import typer

from hypnostream.errors import UserError

train = typer.Typer(no_args_is_help=True, help="Make weights and bundles (needs the 'train' extra).")


@train.callback()
def _training() -> None:
    from importlib.util import find_spec

    absent = [name for name in ("torch", "onnx", "safetensors") if find_spec(name) is None]
    if absent:
        raise UserError(
            f"training needs {', '.join(absent)}, which a bedside install leaves out: `pip install torch==2.13.0`, "
            'then `pip install ".[train]"`'
        )


@train.command("ingest")
def train_ingest(
    data: Annotated[Path, typer.Argument(help="The folder that holds the recordings.")],
    out: Annotated[Path, typer.Argument(help="The store: a folder for each recording.")],
    workers: Annotated[int, typer.Option(min=1, help="Recordings side by side.")] = 2,
    ray: Annotated[bool, typer.Option("--ray", help="Over Ray: the cluster of RAY_ADDRESS, or this machine.")] = False,
) -> None:
    """Bring recordings (EDF, CSV, WFDB, the public sets) into one store of Parquet to train on."""
    from hypnostream.training.recordings.commands import ingest_command

    ingest_command(data, out, workers, ray)


@train.command("simulate")
def train_simulate(
    out: Annotated[Path, typer.Argument(help="The store: a folder for each night.")],
    nights: Annotated[int, typer.Option(min=1, help="How many, each of another sleeper.")] = 8,
    hours: Annotated[float, typer.Option(min=0.1, max=24, help="How long each is, in whole epochs.")] = 7.0,
    first_seed: Annotated[int, typer.Option(min=0, help="The first sleeper.")] = 0,
) -> None:
    """Simulated nights with every sensor, as `train ingest` writes them: to try all that follows without data."""
    from hypnostream.training.recordings.commands import simulate_command

    simulate_command(out, nights, hours, first_seed)


@train.command("validate")
def train_validate(
    store: Annotated[Path, typer.Argument(help="What `train ingest` wrote.")],
    workers: Annotated[int, typer.Option(min=1, help="Recordings side by side.")] = 2,
) -> None:
    """Say for each recording of a store what is wrong with it: hashes, rows, channels, labels, subjects."""
    from hypnostream.training.recordings.commands import validate_command

    validate_command(store, workers)


@train.command("stager")
def train_stager(
    data: Annotated[Path, typer.Option(help="A folder of recordings, or what `train ingest` wrote.")],
    out: Annotated[Path, typer.Option(help="Where the run and its bundle go.")] = Path("runs/stager"),
    recipe: Annotated[Path | None, typer.Option(help="A TOML recipe (default: the shipped bundle's).")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Trainings side by side.")] = 2,
    hold_out: Annotated[list[str] | None, typer.Option(help="A person never trained on; may be said again.")] = None,
) -> None:
    """Train a bundle from nothing, the shipped one or your own: ingest, fit, export, parity report."""
    from hypnostream.training.staging.commands import stager_command

    stager_command(data, out, recipe, workers, hold_out or ())


@train.command("crossvalidate")
def train_crossvalidate(
    data: Annotated[Path, typer.Option(help="A folder of recordings, or what `train ingest` wrote.")],
    out: Annotated[Path, typer.Option(help="Where the run goes.")] = Path("runs/crossvalidation"),
    recipe: Annotated[Path | None, typer.Option(help="A TOML recipe (default: the shipped bundle's).")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Trainings side by side.")] = 2,
    folds: Annotated[int | None, typer.Option(min=2, help="Folds by person (default: Sleep-EDF's published)")] = None,
) -> None:
    """Train with each fold of subjects held out in turn, and write the table of how well each did."""
    from hypnostream.training.staging.commands import crossvalidate_command

    crossvalidate_command(data, out, recipe, workers, folds)


@train.command("compare")
def train_compare(
    recipe: Annotated[str, typer.Argument(help="A shipped comparison (ablation, labels, subsets), or a TOML file.")],
    data: Annotated[Path, typer.Option(help="The folder that holds the sets.")],
    out: Annotated[Path, typer.Option(help="Where the runs and their table go.")],
    workers: Annotated[int, typer.Option(min=1, help="Trainings side by side.")] = 2,
) -> None:
    """Train arms that differ from one recipe in a setting or two, and write the table of what each is worth."""
    from hypnostream.training.staging.compare_run import compare_command

    compare_command(data, out, recipe, workers)


@train.command("evaluate")
def train_evaluate(
    out: Annotated[Path, typer.Option(help="Where the report and its pictures go.")],
    predictions: Annotated[Path | None, typer.Argument(help="A predictions.parquet; or give --recordings.")] = None,
    bundle: Annotated[Path | None, typer.Option(help="A bundle to run (default: the shipped one).")] = None,
    recordings: Annotated[Path | None, typer.Option(help="Ingested recordings to run the bundle on.")] = None,
    against: Annotated[Path | None, typer.Option(help="Predictions, or a bundle, to compare with.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Recordings side by side.")] = 2,
    ray: Annotated[bool, typer.Option(help="Run the recordings over Ray.")] = False,
    around_sleep: Annotated[float | None, typer.Option(min=0, help="Count only so many minutes around sleep.")] = None,
) -> None:
    """Measure how good predictions are, or those of a bundle on recordings: JSON, Markdown and pictures."""
    from hypnostream.training.evaluation.command import evaluate_command

    evaluate_command(predictions, out, bundle, recordings, against, workers, ray, around_sleep)


@train.command("sizes")
def train_sizes(
    recipe: Annotated[Path | None, typer.Argument(help="A TOML recipe (default: the shipped bundle's).")] = None,
) -> None:
    """Show how large the models are: parameters, operations for a second of signal, bytes of state."""
    from hypnostream.training.recipe_sizes import sizes_command

    sizes_command(recipe)


@train.command("signal-nights")
def train_signal_nights(
    store: Annotated[Path, typer.Argument(help="What `train ingest` wrote: recordings with raw signals.")],
    out: Annotated[Path, typer.Argument(help="Where the nights go: a folder each.")],
    workers: Annotated[int, typer.Option(min=1, help="Recordings side by side.")] = 2,
) -> None:
    """Make signal nights for steps 1 and 2: raw EEG, EOG, EMG, ECG, flow and effort, conditioned as they are live."""
    from hypnostream.training.nights.signal_store import signal_nights_command

    signal_nights_command(store, out, workers)


@train.command("neuronet")
def train_neuronet(
    kind: Annotated[str, typer.Option(help="eeg, eog, emg, ecg, flow or effort.")],
    out: Annotated[Path, typer.Option(help="Where the run and its encoder go.")],
    nights: Annotated[Path | None, typer.Option(help="What `train signal-nights` wrote.")] = None,
    data: Annotated[Path | None, typer.Option(help="Or the folder that holds UCDDB; without both, simulated.")] = None,
    recipe: Annotated[
        str | None, typer.Option(help="A shipped recipe's name, or a TOML file. [default: that of the kind]")
    ] = None,
) -> None:
    """Step 1: a frame encoder for one kind of signal, without labels, and a probe of what it learned."""
    from hypnostream.training.pretraining.neuronet_run import neuronet_command

    neuronet_command(kind, data, out, recipe, nights)


@train.command("synthsleepnet")
def train_synthsleepnet(
    nights: Annotated[Path, typer.Argument(help="Token nights (*.parquet) or signal nights (folders).")],
    out: Annotated[Path, typer.Option(help="Where the run and its weights go.")],
    recipe: Annotated[str, typer.Option(help="A shipped recipe's name, or a TOML file.")] = "synthsleepnet-product",
    encoders: Annotated[Path | None, typer.Option(help="A folder KIND/ of `train neuronet` runs.")] = None,
) -> None:
    """Step 2: several channels in one, without labels, and a probe of what it learned."""
    from hypnostream.training.pretraining.synthsleepnet_run import synthsleepnet_command

    synthsleepnet_command(nights, out, recipe, encoders)


@train.command("frame-stager")
def train_frame_stager(
    nights: Annotated[Path, typer.Option(help="A folder of signal nights.")],
    encoders: Annotated[Path, typer.Option(help="KIND/ runs of `train neuronet`, or a `train synthsleepnet` run.")],
    out: Annotated[Path, typer.Option(help="Where the run and its bundle go.")],
    recipe: Annotated[str, typer.Option(help="A shipped recipe's name, or a TOML file.")] = "frame-stager",
) -> None:
    """A stager on a learned front-end: fit, hold out, export, parity report."""
    from hypnostream.training.staging.frame_stager_run import frame_stager_command

    frame_stager_command(nights, encoders, out, recipe)


@train.command("probe")
def train_probe(
    run: Annotated[Path, typer.Argument(help="A finished run of `train synthsleepnet`.")],
    nights: Annotated[Path, typer.Argument(help="The nights it was run on.")],
    task: Annotated[str, typer.Option(help="stage, apnea or hypopnea.")] = "stage",
    out: Annotated[Path | None, typer.Option(help="A JSON of the figures (default: in the run).")] = None,
) -> None:
    """Step 3: fit small probes on the frozen model, and say what they reach on the people held out."""
    from hypnostream.training.pretraining.synthsleepnet_run import probe_command

    probe_command(run, nights, task, out)


@train.command("breathing")
def train_breathing(
    store: Annotated[Path, typer.Argument(help="What `train ingest` wrote, with apneas scored.")],
    out: Annotated[Path, typer.Option(help="Where nights, runs, tables and the bundle go; it goes on there.")],
    recipe: Annotated[str, typer.Option(help="A shipped recipe's name, or a TOML file.")] = "breathing",
    workers: Annotated[int, typer.Option(min=1, help="Models trained side by side.")] = 2,
    bundle: Annotated[Path | None, typer.Option(help="The bundle that gets it (default: the shipped one).")] = None,
) -> None:
    """The learned model of breathing: folds of people, tables, and a bundle with it beside the stager."""
    from hypnostream.training.breathing.tick_run import breathing_command

    breathing_command(store, out, recipe, workers, bundle)


@train.command("downstream")
def train_downstream(
    store: Annotated[Path, typer.Argument(help="What `train ingest` wrote: beats, SpO2 or EEG, with apneas scored.")],
    out: Annotated[Path, typer.Option(help="Where nights, runs and tables go; it goes on where it was stopped.")],
    recipe: Annotated[str, typer.Option(help="A shipped recipe's name, or a TOML file.")] = "downstream-product",
    workers: Annotated[int, typer.Option(min=1, help="Models trained side by side.")] = 2,
) -> None:
    """Step 3: apnea and hypopnea, fine-tuned, probed and from scratch, with all labels and with few."""
    from hypnostream.training.downstream.command import downstream_command

    downstream_command(store, out, recipe, workers)
