"""The model card says what is so of this model and of these people, and nothing that is so of others only."""

from dataclasses import replace

from hypnostream.models.stager import Stager, StagerConfig, StagerEnsemble
from hypnostream.training.bundling.card import write_card
from hypnostream.training.nights.splits import Split
from tests.training.test_training import simulated_night


def _card(set_name: str, config: StagerConfig, scoring: str = "") -> str:
    nights = (replace(simulated_night("a", "one", 20), set_name=set_name, scoring=scoring),)
    return write_card(Split(nights, ()), StagerEnsemble([Stager(config)]), {"kappa": 0.5})


def test_a_laboratorys_own_bundle_is_not_said_to_be_of_sleep_edf() -> None:
    own = _card("our laboratory", StagerConfig(d_model=32, headdim=16))
    public = _card("Sleep-EDF Expanded", StagerConfig(d_model=32, headdim=16), "R&K")
    for words in ("R&K", "Fpz-Cz, Pz-Oz", "artefact removal", "30 min before sleep"):
        assert words not in own
        assert words in public
    assert "our laboratory" in own
    assert "Real people all" in own


def test_it_says_what_the_model_is() -> None:
    imagining = StagerConfig(d_model=32, headdim=16, filling="imagination", context="gru")
    assert "(gru)" in _card("simulated", imagining)
    assert "is imagined" in _card("simulated", imagining)
    assert "is left out" in _card("simulated", StagerConfig(d_model=32, headdim=16))
    assert "Real people all" not in _card("simulated", imagining)


def test_it_says_by_which_rule_its_labels_were_scored() -> None:
    config = StagerConfig(d_model=32, headdim=16)
    said = {rule: _card("our laboratory", config, rule) for rule in ("R&K", "AASM", "")}
    assert "scored by R&K, S3 and S4 as N3." in said["R&K"]
    assert "AASM scorers differ" in said["R&K"]
    assert "scored by AASM." in said["AASM"]
    assert "R&K" not in said["AASM"]
    assert "scored by unknown." in said[""]
    assert "is not known" in said[""]


def test_it_says_which_sets_were_at_hand_and_not_taken_and_what_that_means_for_its_figures() -> None:
    split = Split((simulated_night("a", "one", 20),), ())
    model = StagerEnsemble([Stager(StagerConfig(d_model=32, headdim=16))])
    assert "no clean test" in write_card(split, model, {}, ["UCDDB"])
    assert "Left out: another." in write_card(split, model, {}, ["another"])
    assert "left out:" not in write_card(split, model, {}).lower()
