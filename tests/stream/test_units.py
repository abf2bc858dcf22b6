import pytest

from hypnostream.stream.units import convert


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        ("uV", 1.0),
        ("UV", 1.0),
        ("\u00b5V", 1.0),  # micro sign
        ("\u03bcV", 1.0),  # Greek mu
        ("\u00c2\u00b5V", 1.0),  # UTF-8 read as Latin-1
        ("\u00ce\u00bcV", 1.0),
        ("\ufffdV", 1.0),  # what a reader of ASCII makes of either
        ("\ufffd\ufffdV", 1.0),
        ("?V", 1.0),
        (" microvolts ", 1.0),
        ("nV", 1e-3),
        ("mV", 1e3),
        ("V", 1e6),
        ("volts", 1e6),
    ],
)
def test_every_spelling_of_a_voltage_becomes_microvolts_exactly(unit: str, factor: float) -> None:
    conversion = convert(unit, "uV", "eeg")
    assert conversion.factor == factor
    assert conversion.remark == ""


@pytest.mark.parametrize(
    "unit", ["%", "Ohm", "kOhm", "\u03a9", "cmH2O", "bpm", "DegC", "g", "\u00b0", "s", "dB", "H", "lx"]
)
def test_what_is_no_voltage_is_refused_for_an_eeg(unit: str) -> None:
    conversion = convert(unit, "uV", "eeg")
    assert conversion.factor is None
    assert repr(unit) in conversion.remark


@pytest.mark.parametrize("unit", ["", "-", "cnt", "furlongs"])
def test_an_unknown_unit_is_assumed_and_said(unit: str) -> None:
    conversion = convert(unit, "uV", "eeg")
    assert conversion.factor == 1.0
    assert "uV is assumed" in conversion.remark


def test_oxygen_saturation_is_percent_and_no_voltage() -> None:
    assert convert("%", "%", "spo2").factor == 1.0
    assert convert("", "%", "spo2").remark
    assert convert("mV", "%", "spo2").factor is None


def test_breathing_sensors_without_a_scale_serve_by_their_shape() -> None:
    assert convert("mbar", "cmH2O", "flow").factor == pytest.approx(1.01972, rel=1e-5)
    assert convert("V", "cmH2O", "flow").factor == 1.0
    assert "scale is not known" in convert("V", "cmH2O", "flow").remark
    assert convert("V", "au", "effort") == convert("", "au", "effort")
    assert convert("bpm", "au", "effort").factor is None
    assert convert("Ohm", "cmH2O", "flow").factor is None
