"""How often good recordings are called bad: on real people, where the data is at hand."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hypnostream.stream.channels import FLAT, MISSING, NOISY, OK, SATURATED
from tests.stream.conditioning_cases import chunk, conditioner, joined, spec

DATA = Path(__file__).parents[2].parent / "shared" / "data"


def _quality(signal: NDArray[np.floating], rate_hz: float, kind: str, limit: float | None = None) -> NDArray[np.uint8]:
    one = conditioner(rate_hz, [spec("x", kind)], limit=limit)
    blocks = one.push(chunk(signal[:, None], np.arange(len(signal)) / rate_hz))
    quality: NDArray[np.uint8] = joined(blocks + one.flush(int(len(signal) / rate_hz)))[2][0]
    return quality


@pytest.mark.parametrize("subject", ["ucddb005", "ucddb008", "ucddb022", "ucddb026"])
def test_noise_is_rare_in_real_eeg_and_only_constant_seconds_are_flat(subject: str) -> None:
    path = DATA / "ucddb_c3a2" / f"{subject}.npz"
    if not path.exists():
        pytest.skip("needs ../shared/data/ucddb_c3a2")
    with np.load(path) as file:
        signal = (file["eeg_i16"] * (100 * float(file["scale"]))).astype(np.float32).ravel()
    quality = _quality(signal, 128.0, "eeg")
    assert (quality == NOISY).mean() < 0.002
    constant = np.ptp(signal.reshape(-1, 128), axis=1) == 0
    np.testing.assert_array_equal(quality == FLAT, constant)
    assert not np.isin(quality, (MISSING, SATURATED)).any()


def test_no_second_of_a_clean_recording_is_bad() -> None:
    path = DATA / "psg_snippets" / "sleepedf_5min.edf"
    if not path.exists():
        pytest.skip("needs ../shared/data/psg_snippets")
    edfio = pytest.importorskip("edfio")
    kinds = {"EEG Fpz-Cz": "eeg", "EEG Pz-Oz": "eeg", "EOG horizontal": "eog"}
    signals = {signal.label: signal for signal in edfio.read_edf(path).signals}
    for label, kind in kinds.items():
        signal = signals[label]
        quality = _quality(signal.data, signal.sampling_frequency, kind, limit=signal.physical_max)
        assert len(quality) == 300
        assert (quality == OK).all()
