"""The resolver on the channel sets of real studies and devices, one table; then what it promises of all of them."""

import random
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnostream.bridges.edf import EdfSource
from hypnostream.errors import UserError
from hypnostream.stream.channels import ChannelSpec, Derivation, Montage
from hypnostream.stream.conditioner import conditioner_for
from hypnostream.stream.montage import resolve
from hypnostream.stream.source import ChannelInfo, StreamInfo

SNIPPETS = Path(__file__).parents[2].parent / "shared" / "data" / "psg_snippets"
FRONTAL = ChannelSpec("eeg_frontal", "eeg", "uV", 100, ("Fpz-Cz", "F4-M1", "F3-M2", "Fz-Cz", "C4-M1", "C3-M2"), 0.3, 35)
POSTERIOR = ChannelSpec("eeg_posterior", "eeg", "uV", 100, ("Pz-Oz", "O2-M1", "O1-M2", "Oz-Cz"), 0.3, 35)
EOG = ChannelSpec("eog", "eog", "uV", 100, ("E1-E2", "E1-M2", "E2-M1"), 0.3, 15)
BREATHING = (
    ChannelSpec("flow", "flow", "au", 25, ("Nasal pressure", "Thermistor")),
    ChannelSpec("effort_thorax", "effort", "au", 25, ("Thorax",)),
    ChannelSpec("effort_abdomen", "effort", "au", 25, ("Abdomen",)),
    ChannelSpec("spo2", "spo2", "%", 1, ("SpO2",)),
)
MUSCLES = (ChannelSpec("emg_chin", "emg", "uV", 100, ("EMG chin",)), ChannelSpec("ecg", "ecg", "uV", 100, ("ECG",)))
STAGING = (FRONTAL, POSTERIOR, EOG)
ALL = (*STAGING, *MUSCLES, *BREATHING)


def stream(labels: str | Sequence[str], rate_hz: float = 200.0, unit: str = "uV", name: str = "") -> StreamInfo:
    """A stream of channels with these labels ("C4|M1"), all in one unit but for what is SpO2."""
    labels = labels.split("|") if isinstance(labels, str) else labels
    units = ["%" if "O2" in label.upper() and label[:1] in "sS" else unit for label in labels]
    channels = tuple(ChannelInfo(label, unit) for label, unit in zip(labels, units, strict=True))
    return StreamInfo(name or f"edf:{rate_hz:g}", rate_hz, channels)


def recipe(derivation: Derivation, streams: Sequence[StreamInfo]) -> str:
    """A derivation in raw labels and weights: "C4 - M1"."""
    channels = next(s for s in streams if s.stream_id == derivation.stream_id).channels
    parts = [f"{'+' if t.weight > 0 else '-'} {channels[t.channel_index].label}" for t in derivation.terms]
    return " ".join(parts).removeprefix("+ ")


def recipes(montage: Montage, streams: Sequence[StreamInfo]) -> dict[str, str]:
    return {derivation.spec.name: recipe(derivation, streams) for derivation in montage.derivations}


def had(
    labels: str, specs: Sequence[ChannelSpec] = STAGING, overrides: Mapping[str, str] | None = None
) -> dict[str, str]:
    streams = [stream(labels)]
    return recipes(resolve(streams, specs, overrides), streams)


ELECTRODES = ("C4", "C3", "F4", "O2", "O1", "Oz", "Pz", "Cz", "Fpz", "A1", "A2", "E1", "E2")
ODDS = (*ELECTRODES, "C4-M1", "M1-C4", "O2-A1", "C3-A2", "Fpz-Cz", "EEG", "EOG", "SpO2", "K")
STUDIES = {
    "SHHS": (
        "EEG|EEG(sec)|EOG(L)|EOG(R)|EMG|ECG|NEW AIR|THOR RES|ABDO RES|SaO2|H.R.|POSITION|LIGHT|OX STAT",
        {
            "eeg_frontal": "EEG",
            "eog": "EOG(L) - EOG(R)",
            "emg_chin": "EMG",
            "ecg": "ECG",
            "flow": "NEW AIR",
            "effort_thorax": "THOR RES",
            "effort_abdomen": "ABDO RES",
            "spo2": "SaO2",
        },
    ),
    "MESA": (
        "EKG|EOG-L|EOG-R|EMG|EEG1|EEG2|EEG3|Pres|Flow|Snore|Thor|Abdo|Leg|Therm|Pos|EKG_Off|EEG1_Off|EMG_Off|Pleth|"
        "OxStatus|SpO2|HR|DHR",
        {
            "eeg_frontal": "EEG1",
            "eeg_posterior": "- EEG2",
            "eog": "EOG-L - EOG-R",
            "emg_chin": "EMG",
            "ecg": "EKG",
            "flow": "Pres",
            "effort_thorax": "Thor",
            "effort_abdomen": "Abdo",
            "spo2": "SpO2",
        },
    ),
    "MrOS, Compumedics, all against one reference": (
        "C3|C4|A1|A2|LOC|ROC|ECG L|ECG R|L Chin|R Chin|Airflow|Cannula Flow|Thoracic|Abdominal|SaO2|HR|Leg L|STAT",
        {
            "eeg_frontal": "C4 - A1",
            "eog": "LOC - ROC",
            "emg_chin": "L Chin - R Chin",
            "ecg": "ECG L - ECG R",
            "flow": "Cannula Flow",
            "effort_thorax": "Thoracic",
            "effort_abdomen": "Abdominal",
            "spo2": "SaO2",
        },
    ),
    "WSC": (
        "E1|E2|F3_M2|Fz_M2|Cz_M2|C3_M2|Pz_M2|O1_M2|cchin_l|lleg_r|ECG|snore|flow|nas_pres|thorax|abdomen|sum|spo2",
        {
            # Fz-Cz would need a subtraction; F3-M2 comes before it in the model's order anyway.
            "eeg_frontal": "F3_M2",
            "eeg_posterior": "O1_M2",
            "eog": "E1 - E2",
            "emg_chin": "cchin_l",
            "ecg": "ECG",
            "flow": "nas_pres",
            "effort_thorax": "thorax",
            "effort_abdomen": "abdomen",
            "spo2": "spo2",
        },
    ),
    "Sleep-EDF": (
        "EEG Fpz-Cz|EEG Pz-Oz|EOG horizontal",
        {"eeg_frontal": "EEG Fpz-Cz", "eeg_posterior": "EEG Pz-Oz", "eog": "EOG horizontal"},
    ),
    "UCDDB": (
        "Lefteye|RightEye|EMG|C3A2|C4A1|ECG|SpO2|Sound|Flow|Sum|ribcage|abdo|BodyPos|Pulse",
        {
            "eeg_frontal": "C4A1",
            "eog": "Lefteye - RightEye",
            "emg_chin": "EMG",
            "ecg": "ECG",
            "flow": "Flow",
            "effort_thorax": "ribcage",
            "effort_abdomen": "abdo",
            "spo2": "SpO2",
        },
    ),
    "SOMNO": (
        "C3:A2|C4:A1|F4:A1|O2:A1|EOGl:A2|EOGr:A2|EMG1|ECG 2|RIP.Thrx|RIP.Abdom|Flow Th.|Druck Flow|SPO2|Pulse|Pleth",
        {
            "eeg_frontal": "F4:A1",
            "eeg_posterior": "O2:A1",
            "eog": "EOGl:A2 - EOGr:A2",
            "emg_chin": "EMG1",
            "ecg": "ECG 2",
            "flow": "Druck Flow",
            "effort_thorax": "RIP.Thrx",
            "effort_abdomen": "RIP.Abdom",
            "spo2": "SPO2",
        },
    ),
    "CAP, chains of electrodes": (
        "Fp2-F4|F4-C4|C4-P4|P4-O2|C4-A1|ROC-LOC|EMG1-EMG2|ECG1-ECG2|DX1-DX2|SX1-SX2|PLETH|HR",
        {
            "eeg_frontal": "F4-C4 + C4-A1",
            "eeg_posterior": "- C4-P4 + C4-A1",  # P4-M1, near O2-M1, which would take three channels
            "eog": "- ROC-LOC",
            "emg_chin": "EMG1-EMG2",
            "ecg": "ECG1-ECG2",
        },
    ),
    "MASS, linked ears": (
        "EEG F4-LER|EEG C4-LER|EEG O2-LER|EOG Left Horiz|EOG Right Horiz|EMG Chin1|EMG Chin2|ECG ECGI|Resp Belt Thor",
        {
            "eeg_frontal": "EEG F4-LER",
            "eeg_posterior": "EEG O2-LER",
            "eog": "EOG Left Horiz - EOG Right Horiz",
            "emg_chin": "EMG Chin1 - EMG Chin2",
            "ecg": "ECG ECGI",
            "effort_thorax": "Resp Belt Thor",
        },
    ),
    "an EEG amplifier, common reference": (
        "EEG Fp1-Ref|EEG F4-Ref|EEG Fz-Ref|EEG Cz-Ref|EEG Pz-Ref|EEG Oz-Ref|EEG T3-Ref|EEG A1-Ref|EEG A2-Ref",
        {"eeg_frontal": "EEG F4-Ref - EEG A1-Ref", "eeg_posterior": "EEG Pz-Ref - EEG Oz-Ref"},
    ),
    "Muse": ("TP9|AF7|AF8|TP10|Right AUX", {"eeg_frontal": "AF8 - TP9"}),
    "Dreem": (
        "EEG F7-O1|EEG F8-O2|EEG F8-F7",
        {"eeg_frontal": "EEG F8-F7", "eeg_posterior": "- EEG F8-O2"},
    ),
    "BOAS": (
        "PSG_F3|PSG_F4|PSG_C3|PSG_C4|PSG_O1|PSG_O2|PSG_EOGR|PSG_EOGL|PSG_EMG|PSG_ABD|PSG_THOR|PSG_FLOW|PSG_SPO2",
        {
            "eeg_frontal": "PSG_F4",
            "eeg_posterior": "PSG_O2",
            "eog": "PSG_EOGL - PSG_EOGR",
            "emg_chin": "PSG_EMG",
            "flow": "PSG_FLOW",
            "effort_thorax": "PSG_THOR",
            "effort_abdomen": "PSG_ABD",
        },
    ),
    "only C3-A2": ("C3-A2", {"eeg_frontal": "C3-A2"}),
    "one unnamed EEG": ("EEG|Accelerometer", {"eeg_frontal": "EEG"}),
    "no EEG": ("SpO2|Pulse|PLETH", {"spo2": "SpO2"}),
    "nothing": ("Aux|K|C4 Imp", {}),
}


@pytest.mark.parametrize("study", STUDIES)
def test_the_channels_of_a_study_resolve_without_help(study: str) -> None:
    labels, expected = STUDIES[study]
    if study == "BOAS":  # its label does not begin with what it is
        labels = labels.replace("|PSG_SPO2", "")
    montage = resolve([stream(labels)], ALL)
    assert recipes(montage, [stream(labels)]) == expected
    assert {name for name, _ in montage.missing} == {spec.name for spec in ALL} - set(expected)
    assert all(d.why for d in montage.derivations)
    assert all(reason for _, reason in montage.missing)
    assert montage.specs == ALL


@pytest.mark.parametrize("study", STUDIES)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_the_order_of_channels_and_streams_never_changes_the_resolution(study: str, seed: int) -> None:
    labels = STUDIES[study][0].split("|")
    cut = len(labels) // 2
    ordered = [stream(labels[:cut], 200.0), stream(labels[cut:], 100.0)]
    choose = random.Random(seed)
    shuffled = [
        stream(choose.sample(half, len(half)), rate) for half, rate in ((labels[cut:], 100.0), (labels[:cut], 200.0))
    ]
    first, second = resolve(ordered, ALL), resolve(shuffled, ALL)
    assert recipes(first, ordered) == recipes(second, shuffled)
    assert (first.missing, first.notes) == (second.missing, second.notes)
    assert [d.why for d in first.derivations] == [d.why for d in second.derivations]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(ODDS),
        max_size=12,
    ),
    st.sampled_from([0.0, 1.0, 60.0, 256.0, float("nan")]),
)
def test_any_set_of_channels_gives_each_input_one_answer(labels: list[str], rate_hz: float) -> None:
    streams = [stream(labels, rate_hz)]
    montage = resolve(streams, ALL)
    served = [d.spec.name for d in montage.derivations]
    assert sorted([*served, *(name for name, _ in montage.missing)]) == sorted(spec.name for spec in ALL)
    firsts = [d.terms[0].channel_index for d in montage.derivations if d.spec.kind == "eeg"]
    assert len(set(firsts)) == len(firsts)
    if not rate_hz > 1.0:
        assert set(served) <= {"spo2"}


def test_a_derivation_is_made_from_two_channels_and_says_so() -> None:
    (derivation,) = resolve([stream("C4|M1", unit="V")], [FRONTAL]).derivations
    assert [t.weight for t in derivation.terms] == [1e6, -1e6]
    assert derivation.label == "C4-M1"
    assert derivation.why.startswith("C4-M1 made from 'C4' minus 'M1'")
    assert derivation.why.endswith("at 200 Hz in V, x1e6 to uV")


def test_each_channel_of_a_difference_is_scaled_by_its_own_unit() -> None:
    mixed = StreamInfo("s", 200.0, (ChannelInfo("C4", "mV"), ChannelInfo("M1", "uV")))
    (derivation,) = resolve([mixed], [FRONTAL]).derivations
    assert [t.weight for t in derivation.terms] == [1e3, -1.0]


@pytest.mark.parametrize(
    ("labels", "spec", "expected"),
    [
        ("M1-C4", FRONTAL, "- M1-C4"),
        ("C4-Ref|M1-Ref", FRONTAL, "C4-Ref - M1-Ref"),
        ("C4-Cz|M1-Cz", FRONTAL, "C4-Cz - M1-Cz"),
        ("C4-Cz|Cz-A1", FRONTAL, "C4-Cz + Cz-A1"),
        ("Cz-C4|A1-Cz", FRONTAL, "- Cz-C4 - A1-Cz"),
        ("E1-M2|E2-M2", EOG, "E1-M2 - E2-M2"),
        ("E1-M2|E2-M1", EOG, "E1-M2"),
        ("E2-E1", EOG, "- E2-E1"),
        ("E1-Fpz", EOG, "E1-Fpz"),
        ("EOG|EOG L|EOG R", EOG, "EOG L - EOG R"),
    ],
)
def test_references_are_derived_with_the_right_sign(labels: str, spec: ChannelSpec, expected: str) -> None:
    assert had(labels, [spec]) == {spec.name: expected}


def test_channels_of_different_references_are_not_subtracted() -> None:
    assert had("C4-Ref|M1-Avg", [FRONTAL]) == {"eeg_frontal": "C4-Ref"}


def test_a_site_against_a_common_reference_comes_before_a_near_site_against_another() -> None:
    assert had("C4-Ref|F8-Cz", [FRONTAL]) == {"eeg_frontal": "C4-Ref"}


def test_an_eye_against_a_site_is_no_eeg() -> None:
    assert had("F8-E1", [FRONTAL]) == {}


def test_a_derived_channel_at_full_rate_comes_before_a_recorded_one_that_is_too_slow() -> None:
    streams = [stream("C4-M1", 60.0), stream("C4|M1", 256.0)]
    assert recipes(resolve(streams, [FRONTAL]), streams) == {"eeg_frontal": "C4 - M1"}


def test_channels_of_two_streams_are_not_subtracted() -> None:
    streams = [stream("C4", 200.0), stream("M1", 256.0)]
    montage = resolve(streams, [FRONTAL])
    assert recipes(montage, streams) == {"eeg_frontal": "C4"}
    assert any("as it stands for C4-M1" in note for note in montage.notes)


def test_one_channel_never_serves_two_eeg_inputs() -> None:
    greedy = [FRONTAL, ChannelSpec("eeg_posterior", "eeg", "uV", 100, ("O2-M1", "C4-M1", "C3-M2"))]
    assert had("C3-A2|C4-A1", greedy) == {"eeg_frontal": "C4-A1", "eeg_posterior": "C3-A2"}
    assert had("C4-A1|C4-A2", greedy) == {"eeg_frontal": "C4-A1"}
    (missing,) = resolve([stream("C4-A1")], greedy).missing
    assert missing == ("eeg_posterior", "C4-M1 could serve, but already serves eeg_frontal")


def test_a_stand_in_never_takes_what_another_input_asks_for() -> None:
    assert had("Cz-Oz", STAGING) == {"eeg_posterior": "- Cz-Oz"}
    assert had("C4-A1|C3-A2", [FRONTAL, ChannelSpec("central", "eeg", "uV", 100, ("C4-M1",))]) == {
        "eeg_frontal": "C3-A2",
        "central": "C4-A1",
    }


@pytest.mark.parametrize(
    ("first", "second", "taken", "reason"),
    [
        (ChannelInfo("C4-M1 filtered", "uV"), ChannelInfo("C4-M1", "uV"), "C4-M1", "less filtered"),
        (
            ChannelInfo("C4-M1", "uV", prefilter="HP:0.3Hz LP:30Hz"),
            ChannelInfo("EEG C4-A1", "uV"),
            "EEG C4-A1",
            "wider",
        ),
        (ChannelInfo("C4-M1", ""), ChannelInfo("EEG C4-A1", "uV"), "EEG C4-A1", "unit is stated"),
        (ChannelInfo("EEG C4-A1", "uV"), ChannelInfo("C4-M1", "uV"), "C4-M1", "nothing but the name"),
    ],
)
def test_of_two_copies_one_is_taken_and_both_are_told(
    first: ChannelInfo, second: ChannelInfo, taken: str, reason: str
) -> None:
    for channels in ((first, second), (second, first)):
        montage = resolve([StreamInfo("s", 200.0, channels)], [FRONTAL])
        assert channels[montage.derivations[0].terms[0].channel_index].label == taken
        (note,) = [note for note in montage.notes if "read as C4-M1" in note]
        assert reason in note
        assert f"'{first.label}'" in note
        assert f"'{second.label}'" in note


@pytest.mark.parametrize(("rates", "taken"), [((64.0, 256.0), 256.0), ((100.0, 512.0), 100.0), ((60.0, 80.0), 80.0)])
def test_a_rate_that_suffices_is_preferred_and_then_the_nearest(rates: tuple[float, float], taken: float) -> None:
    montage = resolve([stream("C4-M1", rate) for rate in rates], [FRONTAL])
    assert montage.derivations[0].stream_id == f"edf:{taken:g}"


def test_a_rate_below_the_band_is_used_with_a_note_and_one_far_below_is_refused() -> None:
    slow = resolve([stream("C4-M1", 64.0)], [FRONTAL])
    assert any("64 Hz shows only the band below 32 Hz" in note for note in slow.notes)
    refused = resolve([stream("C4-M1", 32.0)], [FRONTAL])
    assert refused.missing == (("eeg_frontal", "'C4-M1' cannot serve: 32 Hz is too slow for eeg (at least 50 Hz)"),)


def test_irregular_streams_impossible_units_and_dead_channels_are_refused_with_the_reason() -> None:
    for channel, rate_hz, reason in (
        (ChannelInfo("C4-M1", "uV"), 0.0, "irregular"),
        (ChannelInfo("C4-M1", "%"), 200.0, "'%' cannot become uV"),
        (ChannelInfo("C4-M1", "uV", 0.0, 0.0), 200.0, "limits are equal"),
    ):
        ((name, why),) = resolve([StreamInfo("s", rate_hz, (channel,))], [FRONTAL]).missing
        assert name == "eeg_frontal"
        assert "'C4-M1'" in why
        assert reason in why


@pytest.mark.parametrize("rate_hz", [0.0, 0.2, 0.5])
def test_an_oximeter_may_come_seldom_or_at_no_fixed_rate_and_is_told_to_be_held(rate_hz: float) -> None:
    spec = ChannelSpec("spo2", "spo2", "%", 1, ("SpO2",))
    montage = resolve([StreamInfo("oxi", rate_hz, (ChannelInfo("SpO2", "%"),))], [spec])
    often = f"at {rate_hz:g} Hz" if rate_hz else "at no fixed rate"
    assert montage.derivations[0].why == f"SpO2 read from 'SpO2' {often} in %"
    assert montage.notes == (f"spo2: 'SpO2': comes {often}; each value is taken to hold for 10 s at most",)
    conditioner_for(StreamInfo("oxi", rate_hz, (ChannelInfo("SpO2", "%"),)), montage.derivations, [0], 0.0)


def test_of_two_oximeters_the_one_with_a_rate_is_taken() -> None:
    spec = ChannelSpec("spo2", "spo2", "%", 1, ("SpO2",))
    streams = [
        StreamInfo("sparse", 0.0, (ChannelInfo("SpO2", "%"),)),
        StreamInfo("steady", 3.0, (ChannelInfo("SpO2", "%"),)),
    ]
    montage = resolve(streams, [spec])
    assert montage.derivations[0].stream_id == "steady"
    (note,) = montage.notes
    assert "(at no fixed rate) read as SpO2" in note
    assert "because its rate is high enough" in note


@pytest.mark.parametrize(
    ("kind", "label", "rate_hz"), [("flow", "Airflow", 0.0), ("ecg", "ECG", 0.0), ("spo2", "SpO2", 0.1)]
)
def test_what_cannot_be_held_that_long_is_refused(kind: str, label: str, rate_hz: float) -> None:
    spec = ChannelSpec("x", kind, "%" if kind == "spo2" else "uV", 10, (label,))
    ((_, why),) = resolve([StreamInfo("s", rate_hz, (ChannelInfo(label, spec.unit),))], [spec]).missing
    assert ("irregular" if rate_hz == 0 else "0.1 Hz is too slow for spo2 (at least 0.2 Hz)") in why


def test_an_unstated_unit_is_assumed_with_a_note() -> None:
    montage = resolve([stream("C4-M1", unit="")], [FRONTAL])
    assert montage.derivations[0].terms[0].weight == 1.0
    assert montage.notes == ("eeg_frontal: 'C4-M1': no unit is stated, uV is assumed",)


def test_nothing_there_is_an_answer_too() -> None:
    montage = resolve([], STAGING)
    assert montage.derivations == ()
    assert montage.missing[1] == ("eeg_posterior", "no channel here reads as Pz-Oz, O2-M1, O1-M2 or Oz-Cz")


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        ("C3-A2", "EEG C3-A2"),
        ("EEG C3-A2", "EEG C3-A2"),
        ("eeg_c3:a2", "EEG C3-A2"),
        ("Ch 7", "Ch 7"),
        ("Ch 7 - Ch 8", "Ch 7 - Ch 8"),
        ("Ch 7-Ch 8", "Ch 7 - Ch 8"),
        ("EEG C3-A2 - Ch 8", "EEG C3-A2 - Ch 8"),
        ("A1-C4", "- EEG C4-A1"),
    ],
)
def test_an_override_names_a_derivation_a_label_or_a_difference(wish: str, expected: str) -> None:
    found = had("EEG C4-A1|EEG C3-A2|Ch 7|Ch 8", STAGING, {"eeg_frontal": wish})
    assert found["eeg_frontal"] == expected


def test_what_an_override_takes_is_not_given_to_another_input() -> None:
    assert had("O2-A1|EEG O2-M1|O1-A2", STAGING, {"eeg_frontal": "O2-A1"}) == {
        "eeg_frontal": "O2-A1",
        "eeg_posterior": "O1-A2",
    }
    twice = resolve([stream("C4-A1")], STAGING, {"eeg_frontal": "C4-A1", "eeg_posterior": "C4-A1"})
    assert any("shares a channel" in note for note in twice.notes)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"eeg_frontal": "F4-M1"}, "'EEG F3-A2'"),
        ({"eeg_frontal": "EEG F3-A1"}, "'EEG F3-A2'"),
        ({"eeg_frontal": "zzzzzzzz"}, "nothing is near it"),
        ({"eeg_frontal": ""}, "names no channel here"),
        ({"eeg_frontal": "SpO2"}, "'%' cannot become uV"),
        ({"eeg_frontal": "EEG F3-A2 - Slow"}, "different streams"),
        ({"eeg_front": "EEG F3-A2"}, "eeg_frontal, eeg_posterior, eog"),
    ],
)
def test_an_override_that_cannot_be_had_is_a_one_line_error_with_a_remedy(overrides: dict[str, str], said: str) -> None:
    streams = [stream("EEG F3-A2|SpO2|ECG"), stream("Slow", 100.0)]
    with pytest.raises(UserError) as caught:
        resolve(streams, STAGING, overrides)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert next(iter(overrides)) in str(caught.value)


def test_labels_from_outside_cannot_put_control_characters_into_sentences() -> None:
    montage = resolve([stream("C4-M1\x1b[2J|EEG C4-A1\x07", unit="\x1b[31mV")], STAGING)
    said = [*(d.why for d in montage.derivations), *montage.notes, *(why for _, why in montage.missing)]
    assert all(sentence.isprintable() for sentence in said)


@pytest.mark.skipif(not SNIPPETS.is_dir(), reason="the real recordings of ../shared/data are not here")
def test_a_real_sleep_edf_recording_resolves() -> None:
    with closing(EdfSource(SNIPPETS / "sleepedf_5min.edf")) as source:
        montage = resolve(source.streams, ALL)
        assert recipes(montage, source.streams) == STUDIES["Sleep-EDF"][1]
    reasons = dict(montage.missing)
    assert "1 Hz is too slow" in reasons["emg_chin"]
    assert "1 Hz is too slow" in reasons["flow"]
    assert montage.notes == ()


@pytest.mark.skipif(not SNIPPETS.is_dir(), reason="the real recordings of ../shared/data are not here")
def test_a_real_clinical_recording_of_89_channels_resolves() -> None:
    with closing(EdfSource(SNIPPETS / "nox_a1_2min.edf")) as source:
        streams = source.streams
    montage = resolve(streams, ALL)
    assert recipes(montage, streams) == {
        "eeg_frontal": "F4-M1",
        "eeg_posterior": "O2-M1",
        "eog": "E1 - E2",
        "emg_chin": "1-2",
        "ecg": "ECG",
        "flow": "Nasal Pressure",
        "effort_thorax": "Chest",
        "effort_abdomen": "Abdomen",
        "spo2": "Saturation",
    }
    assert montage.missing == ()
    assert [abs(t.weight) for d in montage.derivations[:4] for t in d.terms] == [1e6] * 5
    assert any("'Saturation'" in note and "'SpO2 B-B'" in note for note in montage.notes)


@pytest.mark.skipif(not SNIPPETS.is_dir(), reason="the real recordings of ../shared/data are not here")
def test_a_derived_channel_is_what_the_recorder_itself_derived() -> None:
    with closing(EdfSource(SNIPPETS / "nox_a1_2min.edf")) as source:
        whole = next(s for s in source.streams if s.rate_hz == 200.0)
        (chunk,) = [c for c in source.read(0.0) if c.stream_id == whole.stream_id]
    samples = chunk.samples.astype(float)
    keep = [i for i, channel in enumerate(whole.channels) if channel.label in ("C4", "M1")]
    alone = StreamInfo(whole.stream_id, 200.0, tuple(whole.channels[i] for i in keep))
    (derivation,) = resolve([alone], [FRONTAL]).derivations
    made_uv = sum(term.weight * samples[:, keep[term.channel_index]] for term in derivation.terms)
    recorded_uv = 1e6 * samples[:, [channel.label for channel in whole.channels].index("C4-M1")]
    # Its steps are 0.1 uV. The uneven limits in its header put every channel a constant 3 uV beside zero.
    assert np.std(made_uv - recorded_uv) < 0.1
    assert np.std(recorded_uv) > 50.0
