"""The sensors of breathing, as the montage resolver finds them. No model is needed to read them, so no bundle."""

from collections.abc import Sequence
from typing import Final

from hypnostream.stream.channels import ChannelSpec

RESPIRATION_HZ: Final = 25
ECG_HZ: Final = 200

# Belts and cannulas keep a slow drift below breathing out (0.05 Hz) and the heart in (it is told from breaths by its
# rate); what an oximeter says is taken as it is.
RESPIRATION_CHANNELS: Final = (
    ChannelSpec("flow", "flow", "au", RESPIRATION_HZ, ("Nasal pressure", "Airflow"), 0.05, None),
    ChannelSpec("thermistor", "flow", "au", RESPIRATION_HZ, ("Thermistor",), 0.05, None),
    ChannelSpec("thorax", "effort", "au", RESPIRATION_HZ, ("Thorax",), 0.05, None),
    ChannelSpec("abdomen", "effort", "au", RESPIRATION_HZ, ("Abdomen",), 0.05, None),
    ChannelSpec("spo2", "spo2", "%", 1, ("SpO2",), None, None),
    ChannelSpec("ecg", "ecg", "uV", ECG_HZ, ("ECG", "ECG1-ECG2", "ECG1-ECG3"), 0.5, None),
)


def respiration_beside(inputs: Sequence[ChannelSpec]) -> tuple[ChannelSpec, ...]:
    """The sensors of breathing beside a model's inputs; where both have a name, the model's is what it means."""
    names = {spec.name for spec in inputs}
    return tuple(spec for spec in RESPIRATION_CHANNELS if spec.name not in names)


def with_respiration(inputs: Sequence[ChannelSpec]) -> tuple[ChannelSpec, ...]:
    """A model's inputs, then the sensors of breathing beside them."""
    return *inputs, *respiration_beside(inputs)
