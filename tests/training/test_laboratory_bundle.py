"""A laboratory's own recordings go from a folder of EDF and XML to a bundle that replays and says whose they are."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from hypnostream.bridges.replay import ReplayOptions, replay
from hypnostream.bridges.tables import read_epochs
from hypnostream.config import BedConfig, ModelSection
from hypnostream.engine.bundle import load_bundle
from hypnostream.errors import UserError
from hypnostream.training.nights.scoring_rule import scoring_rule
from hypnostream.training.recordings.ingest import ingest
from hypnostream.training.recordings.laboratory import found
from hypnostream.training.staging.commands import crossvalidate_command, staged_nights, stager_command
from hypnostream.training.staging.held_out import folds_of, leaving_out, split_off
from tests.recordings import STAGES, write_night
from tests.training.nsrr_files import write_xml
from tests.training.test_training import simulated_night

EPOCHS = 10
WHO = {"n1": "anna", "n2": "anna", "n3": "ben", "n4": "cem"}
RECIPE = """
seeds = [0]
[fit]
batch = 2
[fit.loop]
passes = 1
warmup_steps = 1
[fit.model]
d_model = 16
headdim = 8
"""


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four nights of three people, EDF with XML beside it, in the folder `lab`; and a recipe that is quick."""
    house = tmp_path_factory.mktemp("house")
    data = house / "lab"
    data.mkdir()
    scored = [5 if stage == 4 else stage for stage in STAGES] * (EPOCHS // len(STAGES))
    for seed, name in enumerate(WHO):
        write_night(data / f"{name}.edf", EPOCHS, seed=seed)
        write_xml(data / f"{name}-nsrr.xml", scored)
    (data / "subjects.csv").write_text(
        "recording,subject,scoring\n" + "".join(f"{n},{w},AASM\n" for n, w in WHO.items())
    )
    (house / "quick.toml").write_text(RECIPE)
    return house


@pytest.mark.slow
def test_a_laboratorys_folder_becomes_a_bundle_that_replays(
    laboratory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, store, recipe = laboratory / "lab", laboratory / "store", laboratory / "quick.toml"
    assert not ingest(data, store).skipped

    cross = laboratory / "runs" / "crossvalidation"
    crossvalidate_command(store, cross, recipe, 1, folds=3)
    table = (cross / "results.md").read_text()
    assert "3 folds by person: 4 nights of 3 people of lab, real. Stages scored by AASM" in table
    assert "Fpz-Cz" not in table  # what it was recorded from is not Sleep-EDF's
    assert "| only eog |" in table
    tested = [
        entry["subject"]
        for fold in range(3)
        for entry in json.loads((cross / f"fold{fold}" / "manifest.json").read_text())["test"]
    ]
    assert sorted(tested) == ["lab:anna", "lab:anna", "lab:ben", "lab:cem"]

    out = laboratory / "runs" / "stager"
    stager_command(store, out, recipe, 1, hold_out=["ben"])
    assert "trained on: 3 nights of 2 people of lab, real" in capsys.readouterr().out
    bundle = load_bundle(out / "bundle")
    said = bundle.content.training
    assert (said["nights"], said["subjects"], said["held_out"]) == ("3", "2", "lab:ben")
    assert bundle.content.scoring_rule == "AASM"
    assert "held_out_kappa" in bundle.content.metrics
    assert "crossvalidated_all_sensors_kappa" in bundle.content.metrics
    assert not [name for name in bundle.content.metrics if "ucddb" in name or "sleep_edf" in name]
    card = (out / "bundle" / "card.md").read_text()
    assert "3 nights of 2 subjects" in card
    assert "Held out: 1 night of 1 person of lab, real" in card

    bed = BedConfig(model=ModelSection(bundle=str(out / "bundle")))
    _, report = replay(data / "n3.edf", ReplayOptions(out=laboratory / "night", config=bed))
    header, results = read_epochs(report / "epochs.parquet")
    assert header.scoring_rule == "AASM"
    assert len(results) == EPOCHS


def test_without_folds_of_its_own_a_store_is_asked_for_them(laboratory: Path) -> None:
    with pytest.raises(UserError, match="say --folds N, 2 to 3"):
        crossvalidate_command(laboratory / "lab", laboratory / "runs" / "asked", laboratory / "quick.toml", 1, None)


def test_folds_that_are_asked_for_are_of_all_people_published_ones_of_sleep_edfs_alone() -> None:
    theirs = [simulated_night(f"SC4{s:02d}1E0", f"sleepedf:SC{s:02d}", 20) for s in range(10)]
    ours = [simulated_night(f"n{s}", f"lab:{s}", 20) for s in range(4)]
    published, asked = folds_of([*theirs, *ours], None), folds_of([*theirs, *ours], 7)
    assert {night.name for split in published.values() for night in (*split.train, *split.test)} == {
        night.name for night in theirs
    }
    assert sorted(night.name for split in asked.values() for night in split.test) == sorted(
        night.name for night in (*theirs, *ours)
    )


def test_who_is_held_out_is_named_and_a_stranger_is_refused() -> None:
    nights = [simulated_night(f"n{i}", who, 20) for i, who in enumerate(("a:1", "a:2", "b:2", "ucddb:ucddb022"))]
    nights.append(simulated_night("ucddb022", "ucddb:ucddb022", 20))
    assert {night.subject for night in split_off(nights, ()).test} == {"ucddb:ucddb022"}
    assert {night.subject for night in split_off(nights, ["1", "b:2"]).test} == {"a:1", "b:2", "ucddb:ucddb022"}
    for names, said in ((["3"], "is nobody"), (["2"], "is several people; name one of a:2, b:2")):
        with pytest.raises(UserError, match=said):
            split_off(nights, names)
    with pytest.raises(UserError, match="nobody is left"):
        split_off(nights, ["1", "a:2", "b:2"])


def test_a_laboratory_says_by_which_rule_it_scored_or_it_is_unknown(laboratory: Path, tmp_path: Path) -> None:
    data = laboratory / "lab"
    assert {job.read().scoring for job in found(data)} == {"AASM"}
    nights = [night for _, night in staged_nights(data, tmp_path, 1)]
    assert scoring_rule(nights) == "AASM"
    said = (data / "subjects.csv").read_text()
    try:
        (data / "subjects.csv").write_text("recording,subject\nn1,anna\n")
        assert {job.read().scoring for job in found(data)} == {""}
        nights = [night for _, night in staged_nights(data, tmp_path, 1)]  # nights that are there are made again
        assert scoring_rule(nights) == "unknown"
        (data / "subjects.csv").write_text("recording,subject,scoring\nn1,anna,ours\n")
        with pytest.raises(UserError, match=r"line 2: scoring is 'ours'; write AASM or R&K"):
            found(data)
    finally:
        (data / "subjects.csv").write_text(said)


def test_a_rule_is_of_the_nights_that_somebody_staged_the_commonest_first() -> None:
    from dataclasses import replace

    import numpy as np

    night = simulated_night("a", "a", 20)
    by = {rule: replace(night, scoring=rule) for rule in ("R&K", "AASM", "", "their own")}
    assert scoring_rule([by["AASM"], by["R&K"], by["R&K"]]) == "R&K, S3 and S4 as N3; AASM"
    assert scoring_rule([by[""], by["their own"]]) == "unknown"
    assert scoring_rule([by["R&K"], replace(by["AASM"], stage=np.full(20, -1, np.int8))]) == "R&K, S3 and S4 as N3"
    assert scoring_rule([]) == "unknown"


def test_a_recipe_leaves_out_sets_and_not_all_of_them() -> None:
    nights = [simulated_night(f"n{index}", f"s{index}", 4, index) for index in range(3)]
    nights = [replace(night, set_name=name) for night, name in zip(nights, ("lab", "UCDDB", "lab"), strict=True)]
    assert [night.name for night in leaving_out(("UCDDB",), nights)] == ["n0", "n2"]
    assert leaving_out((), nights) == nights
    with pytest.raises(UserError, match=r"leaves out: without = \['lab', 'UCDDB'\]"):
        leaving_out(("lab", "UCDDB"), nights)
    assert leaving_out(("lab",), []) == []
