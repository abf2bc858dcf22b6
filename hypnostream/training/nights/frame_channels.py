"""The sensors of a stager with the learned front-end: what each slot asks of a montage, in order of preference."""

from collections.abc import Sequence
from dataclasses import replace

from hypnostream.errors import UserError
from hypnostream.stream.channels import ChannelSpec
from hypnostream.training.nights.channels import STAGER_CHANNELS
from hypnostream.training.nights.signal_nights import signal_spec

_OF_STAGER = {spec.name: spec.derivations for spec in STAGER_CHANNELS}
DERIVATIONS = {
    **_OF_STAGER,
    "eeg": tuple(dict.fromkeys(("C3-M2", "C4-M1", *_OF_STAGER["eeg_frontal"], *_OF_STAGER["eeg_posterior"]))),
    "emg": ("EMG chin", "Chin1-Chin2", "Chin1-Chin3", "Chin2-Chin3"),
    "ecg": ("ECG", "ECG1-ECG2", "ECG1-ECG3"),
    "flow": ("Nasal pressure", "Thermistor", "Airflow"),
    "effort_thorax": ("Thorax",),
    "effort_abdomen": ("Abdomen",),
}


def frame_specs(slots: Sequence[str], kinds: Sequence[str]) -> tuple[ChannelSpec, ...]:
    """A spec a slot, conditioned as the front-end was trained. Raises UserError for a slot of unknown derivations."""
    for slot in slots:
        if slot not in DERIVATIONS:
            raise UserError(f"slot {slot!r} has no derivations; name nights' channels as of {', '.join(DERIVATIONS)}")
    return tuple(
        replace(signal_spec(slot, kind), derivations=DERIVATIONS[slot]) for slot, kind in zip(slots, kinds, strict=True)
    )
