"""The sensors of the shipped stager: what it asks of a montage, and what its front-end makes of each."""

from hypnostream.stream.channels import ChannelSpec

RATE_HZ = 100
MIN_VALID_S = 10

# In order of preference: what it was trained on first, then what lies nearest on the head.
STAGER_CHANNELS = (
    ChannelSpec(
        name="eeg_frontal",
        kind="eeg",
        unit="uV",
        rate_hz=RATE_HZ,
        derivations=("Fpz-Cz", "F4-M1", "F3-M2", "Fz-Cz", "C4-M1", "C3-M2", "Fpz-M1", "Fz-M1", "AF7-TP9", "AF8-TP10"),
        highpass_hz=0.3,
    ),
    ChannelSpec(
        name="eeg_posterior",
        kind="eeg",
        unit="uV",
        rate_hz=RATE_HZ,
        derivations=("Pz-Oz", "O2-M1", "O1-M2", "Cz-Oz", "Oz-M1", "P4-M1", "P3-M2", "C4-M1", "C3-M2"),
        highpass_hz=0.3,
    ),
    ChannelSpec(
        name="eog",
        kind="eog",
        unit="uV",
        rate_hz=RATE_HZ,
        derivations=("E1-E2", "E1-M2", "E2-M1", "E1-M1", "E2-M2"),
        highpass_hz=0.3,
    ),
)
WAVELET = (True, False, False)
BANDS = (5, 5, 4)
