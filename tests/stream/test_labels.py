import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnostream.stream.labels import printable, read_label, read_labels, words

# label as it is found in the wild -> (kind, canonical name)
SPELLINGS = {
    "EEG C4-A1": ("eeg", "C4-M1"),
    "C4-M1": ("eeg", "C4-M1"),
    "C4:M1": ("eeg", "C4-M1"),
    "C4/A1": ("eeg", "C4-M1"),
    "C4_M1": ("eeg", "C4-M1"),
    "C4A1": ("eeg", "C4-M1"),
    "c3 - a2": ("eeg", "C3-M2"),
    "EEG Fpz-Cz": ("eeg", "Fpz-Cz"),
    "EEGFPZCZ": ("eeg", "Fpz-Cz"),
    "EEG A1-C4": ("eeg", "M1-C4"),
    "EEG T3-A2": ("eeg", "T7-M2"),
    "EEG T6": ("eeg", "P8"),
    "01-A2": ("eeg", "O1-M2"),
    "EEG C3-LER": ("eeg", "C3-LE"),
    "C4-A1A2": ("eeg", "C4-LE"),
    "EEG Fp1-Ref": ("eeg", "Fp1-REF"),
    "PSG_F4": ("eeg", "F4"),
    "EEG:Fz": ("eeg", "Fz"),
    "ＥＥＧ Ｃ４": ("eeg", "C4"),
    "C4 (µV)": ("eeg", "C4"),
    "C4-M1-0": ("eeg", "C4-M1"),
    "Fp2-F4": ("eeg", "Fp2-F4"),
    "A1": ("reference", "M1"),
    "EEG A1-A2": ("reference", "M1-M2"),
    "M1M2": ("reference", "LE"),
    "EOG(L)": ("eog", "E1"),
    "EOG-R": ("eog", "E2"),
    "EOGl:M2": ("eog", "E1-M2"),
    "EOG1:A2": ("eog", "E1-M2"),
    "EOG LOC-A2": ("eog", "E1-M2"),
    "ROC-LOC": ("eog", "E2-E1"),
    "Lefteye": ("eog", "E1"),
    "EOG Left": ("eog", "E1"),
    "EOG Right Horiz": ("eog", "E2"),
    "EOG horizontal": ("eog", "E1-E2"),
    "EOG": ("eog", "E1-E2"),
    "POL E1": ("eog", "E1"),
    "VEOG": ("eog", "EOG vertical"),
    "EMG": ("emg", "EMG chin"),
    "EMG submental": ("emg", "EMG chin"),
    "Chin1-Chin2": ("emg", "Chin1-Chin2"),
    "EMG1-EMG2": ("emg", "Chin1-Chin2"),
    "L Chin": ("emg", "Chin1"),
    "cchin_l": ("emg", "EMG chin"),
    "EKG": ("ecg", "ECG"),
    "ECG II": ("ecg", "ECG"),
    "ECG ECGI": ("ecg", "ECG"),
    "ECG1-ECG2": ("ecg", "ECG1-ECG2"),
    "ECG R": ("ecg", "ECG2"),
    "NEW AIR": ("flow", "Airflow"),
    "Flow Patient": ("flow", "Airflow"),
    "nasalflow": ("flow", "Airflow"),
    "PTAF": ("flow", "Nasal pressure"),
    "Cannula Flow": ("flow", "Nasal pressure"),
    "nas_pres": ("flow", "Nasal pressure"),
    "Pression nasale": ("flow", "Nasal pressure"),
    "Resp oro-nasal": ("flow", "Thermistor"),
    "Flow Th.": ("flow", "Thermistor"),
    "Thermocouple": ("flow", "Thermistor"),
    "THOR RES": ("effort", "Thorax"),
    "RIP.Thrx": ("effort", "Thorax"),
    "Effort THO": ("effort", "Thorax"),
    "ribcage": ("effort", "Thorax"),
    "CHEST": ("effort", "Thorax"),
    "ABDO RES": ("effort", "Abdomen"),
    "Abd": ("effort", "Abdomen"),
    "SP02": ("spo2", "SpO2"),
    "SaO2": ("spo2", "SpO2"),
    "OX": ("spo2", "SpO2"),
    "Pulse Oximetry": ("spo2", "SpO2"),
    "Saturation": ("spo2", "SpO2"),
}

NO_SIGNAL = (
    "C4-M1 (Imp)",
    "C4 Impédance",
    "C4 Imp\ufffd\ufffddance",
    "E1 ImpÃ©dance",
    "EKG_Off",
    "EEG1_Off",
    "OX STAT",
    "OxStatus",
    "K",
    "RIP-Phase",
    "Snore",
    "Pressure Snore",
    "PLETH",
    "Pulse Waveform",
    "Heart Rate",
    "HR",
    "H.R.",
    "PR",
    "Pulse",
    "DHR",
    "Resp Rate",
    "Flow Limitation",
    "RIP Flow",
    "RIP Sum",
    "Sum",
    "XFlow",
    "Abdomen CaL",
    "Inductance Thora",
    "Leg/L",
    "EMG Tib",
    "LAT",
    "Right Leg",
    "Position",
    "BodyPos",
    "X Axis",
    "EtCO2",
    "CPAP Flow",
    "Temp rectal",
    "Event marker",
    "Light",
    "Voltage (core)",
    "Volume audio",
    "PTT",
)


@pytest.mark.parametrize(("label", "expected"), SPELLINGS.items())
def test_spellings_of_the_wild_read_as_one_canonical_name(label: str, expected: tuple[str, str]) -> None:
    reading = read_label(label)
    assert (reading.kind, reading.name) == expected


@pytest.mark.parametrize("label", NO_SIGNAL)
def test_impedances_flags_and_derived_series_are_no_signal(label: str) -> None:
    assert read_label(label).kind == "other"


@pytest.mark.parametrize("label", ["", " ", "1", "F", "Aux_AC", "DX1-DX2", "\x00\x1b[31m", "脳波", "C4-C4", "GND"])
def test_a_label_that_says_nothing_reads_as_nothing(label: str) -> None:
    assert read_label(label).kind == ""
    assert read_label(label).name == ""


def test_raw_and_filtered_copies_are_told_apart() -> None:
    assert read_label("C4-M1 filtered").treatment == "filtered"
    assert read_label("C4-M1_raw").treatment == "raw"
    assert read_label("C4-M1 filtered").name == read_label("C4-M1").name == "C4-M1"


def test_labels_that_mean_something_only_together_are_read_by_their_study() -> None:
    assert [r.name for r in read_labels(["EEG1", "EEG2", "EEG3"])] == ["Fz-Cz", "Cz-Oz", "C4-M1"]
    assert [r.name for r in read_labels(["EEG(sec)", "EEG"])] == ["C3-M2", "C4-M1"]
    assert [r.name for r in read_labels(["1-F", "2-F", "1-2"])] == ["EMG chin"] * 3
    assert [r.name for r in read_labels(["1-F", "C4"])] == ["", "C4"]
    assert "SHHS" in read_labels(["EEG", "EEG2"])[0].assumption
    assert read_label("EEG").assumption


@settings(max_examples=150, deadline=None)
@given(label=st.sampled_from([*SPELLINGS, *NO_SIGNAL]), seed=st.integers(0, 2**32))
def test_case_and_punctuation_never_change_what_a_label_says(label: str, seed: int) -> None:
    choose = random.Random(seed)
    marks = [" ", "-", "_", ".", "/", ":", " - ", "  "]
    changed = choose.choice(["", " ", "."]) + "".join(
        (choose.choice((c.lower(), c.upper())) if c.isascii() else c) if c.isalnum() else choose.choice(marks)
        for c in label.replace("\ufffd", "")
    )
    assert words(changed) == words(label)
    assert read_label(changed) == read_label(label)


@settings(max_examples=200, deadline=None)
@given(label=st.text(max_size=60))
def test_any_text_at_all_is_read_without_an_error(label: str) -> None:
    reading = read_label(label)
    assert reading.kind in ("", "eeg", "eog", "emg", "ecg", "flow", "effort", "spo2", "reference", "other")
    assert bool(reading.kind) == bool(reading.name)


def test_nothing_printed_can_steer_a_terminal_or_fill_it() -> None:
    shown = printable("\x1b[2Jred\r\n" + "x" * 10_000)
    assert shown.isprintable()
    assert len(shown) <= 80
