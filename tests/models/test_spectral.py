"""The spectral front-end against stored features of real EEG, against scipy, and with seconds missing."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray

from hypnostream.models.spectral import BANDS_HZ, BandPowers, Wavelet34

GOLDEN = Path(__file__).parents[2].parent / "shared" / "data" / "golden" / "fpzcz34_short_psg.npz"
needs_golden = pytest.mark.skipif(not GOLDEN.exists(), reason="../shared/data/golden is not here")


def _coloured(rng: np.random.Generator, count: int) -> torch.Tensor:
    walk = np.cumsum(rng.standard_normal((count, 1, 3000)), axis=-1)
    walk -= np.linspace(0, 1, 3000) * walk[..., -1:]
    return torch.from_numpy(walk * 3e-6 + rng.standard_normal(walk.shape) * 5e-6)


def _relative_error(found: NDArray[np.floating], expected: NDArray[np.floating]) -> float:
    return float((np.abs(found - expected) / np.abs(expected)).max())


@needs_golden
def test_the_golden_features_of_real_eeg_are_reproduced_in_float64() -> None:
    golden = np.load(GOLDEN)
    volts = torch.from_numpy(golden["volts"])[:, None]
    found = Wavelet34().double()(volts, torch.ones(10, 1, 30, dtype=torch.float64))[:, 0].numpy()
    assert _relative_error(found, golden["features"]) < 1e-5


@needs_golden
def test_the_golden_features_come_out_of_the_exported_float32_graph(tmp_path: Path) -> None:
    golden = np.load(GOLDEN)
    volts, valid = golden["volts"].astype(np.float32)[:, None], np.ones((10, 1, 30), np.float32)
    path = tmp_path / "front_end.onnx"
    with pytest.warns():  # the tracer warns of shapes that are constants
        torch.onnx.export(
            Wavelet34().float(),
            (torch.from_numpy(volts), torch.from_numpy(valid)),
            str(path),
            input_names=["volts", "valid"],
            output_names=["features"],
            opset_version=17,
            dynamo=False,
        )
    session = ort.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"volts": volts, "valid": valid})
    assert _relative_error(np.asarray(found)[:, 0], golden["features"]) < 1e-4


def test_band_powers_are_those_of_scipy() -> None:
    from scipy.signal import welch

    x = _coloured(np.random.default_rng(0), 6) * 1e6
    found, any_window = BandPowers().double()(x, torch.ones(6, 1, 30, dtype=torch.float64))
    freqs, density = welch(x[:, 0].numpy(), 100, window="hamming", nperseg=400, average="median", detrend="constant")
    expected = [np.log(density[:, (freqs >= low) & (freqs < high)].sum(1) * 0.25) for low, high in BANDS_HZ]
    assert np.abs(found[:, 0].numpy() - np.stack(expected, 1)).max() < 1e-9
    assert bool((any_window == 1).all())


def test_the_first_29_without_the_finest_set_are_those_of_the_34() -> None:
    x = _coloured(np.random.default_rng(4), 5)
    valid = torch.ones(5, 1, 30, dtype=torch.float64)
    valid[2, :, 11:14] = 0
    module = Wavelet34().double()
    whole, some = module(x, valid)[..., :29], module.below_25_hz(x, valid)
    read = [column for column in range(29) if column not in range(20, 24)]
    assert torch.allclose(some[..., read], whole[..., read], rtol=1e-9)
    assert not some[..., 20:24].any()


@pytest.mark.parametrize("front_end", [BandPowers, Wavelet34])
def test_what_lies_in_invalid_seconds_does_not_matter(front_end: type[torch.nn.Module]) -> None:
    rng = np.random.default_rng(1)
    x = _coloured(rng, 4)
    valid = torch.ones(4, 1, 30, dtype=torch.float64)
    valid[:, :, 7:13] = 0
    spoiled = x.clone()
    spoiled[:, :, 990:1010] = 1e-3  # well inside what is invalid: the longest wavelet reaches over 2.5 s
    module = front_end().double()
    clean, dirty = module(x, valid), module(spoiled, valid)
    clean, dirty = (clean[0], dirty[0]) if isinstance(clean, tuple) else (clean, dirty)
    assert torch.allclose(clean, dirty, rtol=1e-6)


def test_a_few_missing_seconds_change_little() -> None:
    """Losing 6 of 30 s moves a log power by less than a third of what separates sleep stages (about 0.5)."""
    x = _coloured(np.random.default_rng(2), 64) * 1e6
    valid = torch.ones(64, 1, 30, dtype=torch.float64)
    whole, _ = BandPowers().double()(x, valid)
    valid[:, :, 7:13] = 0
    part, _ = BandPowers().double()(x, valid)
    assert (whole - part).abs().mean() < 0.15
    assert (whole - part).mean().abs() < 0.03


def test_with_nothing_valid_everything_is_finite_and_said() -> None:
    x, valid = torch.zeros(2, 1, 3000), torch.zeros(2, 1, 30)
    powers, any_window = BandPowers().float()(x, valid)
    assert torch.isfinite(powers).all()
    assert bool((any_window == 0).all())
    assert torch.isfinite(Wavelet34().float()(x, valid)).all()


def test_a_gain_moves_levels_and_nothing_else() -> None:
    from hypnostream.models.token_features import SpectralTokens

    x = _coloured(np.random.default_rng(3), 5) * 1e6
    tokens = SpectralTokens((True,), (5,), 10).double()
    valid = torch.ones(5, 1, 30, dtype=torch.float64)
    shape, level, _ = tokens(x, valid)
    loud_shape, loud_level, _ = tokens(x * 1.5, valid)
    assert torch.allclose(shape, loud_shape, atol=1e-3)
    assert torch.allclose(loud_level - level, torch.full_like(level, 2 * np.log(1.5)), atol=1e-3)
