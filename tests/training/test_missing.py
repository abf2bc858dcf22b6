"""What goes missing goes at the rate that was asked for, nothing comes from nowhere, and a seed says it all."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator, Tensor

from hypnostream.training.damage.damaged_signal import PACKET_LOSS, SNR_DB, drifting, flat, noisy, packets_lost
from hypnostream.training.damage.missing import (
    BURSTS_S,
    CONDITIONS,
    RATES,
    arriving_late,
    bursts,
    by_epoch,
    conditions,
    lost_at_half,
    only,
    permanently_lost,
    randomly_missing,
    subsets,
)


def _chance(seed: int = 0) -> Generator:
    return torch.Generator().manual_seed(seed)


LOSSES: dict[str, Callable[[Tensor, Generator], Tensor]] = {
    "rate": lambda mask, g: randomly_missing(mask, 0.4, g),
    "bursts": lambda mask, g: bursts(mask, 0.4, 300.0, 30.0, g),
    "permanent": permanently_lost,
    "late": lambda mask, g: arriving_late(mask, 50, g),
} | {condition.name: condition.apply for condition in CONDITIONS}


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("channels", [2, 3, 8])
def test_a_random_rate_is_exact_in_each_row_and_a_step_keeps_one(rate: float, channels: int) -> None:
    left = randomly_missing(torch.ones(4, 100, channels), rate, _chance())
    assert (left == 0).sum((1, 2)).tolist() == [round(rate * 100 * channels)] * 4
    assert (left.sum(-1) >= 1).all()


def test_a_random_rate_is_of_what_is_there_and_falls_on_all_channels() -> None:
    mask = torch.ones(1, 3000, 3)
    mask[:, 1500:, 2] = 0
    left = randomly_missing(mask, 0.4, _chance())
    assert int(mask.sum() - left.sum()) == round(0.4 * 7500)
    kept = left.sum(1)[0] / mask.sum(1)[0]
    assert ((kept - 0.6).abs() < 0.08).all()


def test_told_so_a_step_may_lose_everything() -> None:
    left = randomly_missing(torch.ones(2, 200, 3), 0.5, _chance(), keep_one=False)
    assert (left == 0).sum((1, 2)).tolist() == [300, 300]
    assert (left.sum(-1) == 0).any()
    assert not randomly_missing(torch.ones(1, 9, 1), 1.0, _chance(), keep_one=False).any()
    assert randomly_missing(torch.ones(1, 9, 1), 0.5, _chance()).all()  # the only channel stays


@pytest.mark.parametrize("mean_s", BURSTS_S)
@pytest.mark.parametrize("rate", [0.1, 0.3])
def test_bursts_have_their_rate_and_their_mean_length(mean_s: float, rate: float) -> None:
    length = 20_000 if mean_s < 1000 else 60_000
    lost = bursts(torch.ones(20, length, 3), rate, mean_s, 1.0, _chance(), keep_one=False) == 0
    begins = lost[:, 1:] & ~lost[:, :-1]
    assert float(lost.float().mean()) == pytest.approx(rate, rel=0.12)
    assert float(lost[:, 1:].sum() / begins.sum()) == pytest.approx(mean_s, rel=0.12)


def test_bursts_are_as_likely_at_the_beginning_as_later() -> None:
    lost = bursts(torch.ones(4000, 2, 1), 0.3, 600.0, 30.0, _chance(), keep_one=False) == 0
    assert float(lost[:, 0].float().mean()) == pytest.approx(0.3, abs=0.03)


def test_bursts_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match=r"losses of 5\.0 s are shorter than a step of 30\.0 s"):
        bursts(torch.ones(1, 10, 3), 0.2, 5.0, 30.0, _chance())
    with pytest.raises(ValueError, match="lower the rate"):
        bursts(torch.ones(1, 10, 3), 0.9, 40.0, 30.0, _chance())
    with pytest.raises(ValueError, match=r"missing rate is 1\.5"):
        randomly_missing(torch.ones(1, 10, 3), 1.5, _chance())


def test_short_bursts_become_epochs() -> None:
    mask = torch.zeros(1, 90, 2)
    mask[0, :9, 0] = 1
    mask[0, 30:40, 0] = 1
    mask[..., 1] = 1
    assert by_epoch(mask).tolist() == [[[0, 1], [1, 1], [0, 1]]]
    with pytest.raises(ValueError, match="91 s"):
        by_epoch(torch.ones(1, 91, 2))


def test_what_is_permanently_lost_never_comes_back_and_one_channel_alone_is_lost() -> None:
    left = permanently_lost(torch.ones(200, 60, 3), _chance())
    assert (left[:, 1:] <= left[:, :-1]).all()
    assert ((left[:, -1] == 0).sum(-1) == 1).all()
    first = (left == 0).any(-1).float().argmax(1)
    assert first.min() < 6
    assert first.max() > 54
    assert {int(c) for c in (left[:, -1] == 0).float().argmax(-1)} == {0, 1, 2}


def test_late_channels_stay_once_they_are_there_and_one_is_there_from_the_start() -> None:
    left = arriving_late(torch.ones(200, 60, 3), 40, _chance())
    assert (left[:, 1:] >= left[:, :-1]).all()
    assert (left[:, 0].sum(-1) >= 1).all()
    assert left[:, 39:].all()
    assert float(left[:, 10].mean()) < 0.7


def test_there_are_all_subsets_and_one_keeps_what_it_names() -> None:
    assert [len(subsets(c)) for c in (1, 2, 3, 6)] == [1, 3, 7, 63]
    assert len(set(subsets(6))) == 63
    assert only(torch.ones(1, 2, 3), (True, False, True)).tolist() == [[[1, 0, 1]] * 2]
    with pytest.raises(ValueError, match="2 channels to keep or not, of 3"):
        only(torch.ones(1, 2, 3), (True, False))


def test_a_channel_lost_halfway_is_whole_before() -> None:
    assert lost_at_half(torch.ones(1, 4, 2), 1).tolist() == [[[1, 1], [1, 1], [1, 0], [1, 0]]]


def test_the_grid_has_each_rate_each_subset_and_each_channel_lost() -> None:
    assert [c.name for c in CONDITIONS] == [
        "rate 0.0",
        "rate 0.1",
        "rate 0.2",
        "rate 0.3",
        "rate 0.4",
        "rate 0.5",
        "only eeg_frontal + eeg_posterior",
        "only eeg_frontal + eog",
        "only eeg_frontal",
        "only eeg_posterior + eog",
        "only eeg_posterior",
        "only eog",
        "eeg_frontal lost halfway",
        "eeg_posterior lost halfway",
        "eog lost halfway",
        "bursts of 1 min",
        "bursts of 20 min",
        "one lost for good",
        "joining late",
    ]
    mask = torch.ones(1, 100, 3)
    said = {c.name: c.apply(mask, _chance()) for c in CONDITIONS}
    assert torch.equal(said["rate 0.0"], mask)
    assert said["only eog"].mean((0, 1)).tolist() == [0, 0, 1]
    assert said["eog lost halfway"].mean((0, 1)).tolist() == [1, 1, 0.5]
    long = torch.ones(1, 6000, 3)
    assert {c.name: float(c.apply(long, _chance()).mean()) for c in CONDITIONS}["bursts of 1 min"] == pytest.approx(
        0.7, abs=0.05
    )
    assert not said["one lost for good"][0, -1].all()
    assert not said["joining late"][0, 0].all()
    assert len(conditions(("eeg",))) == 10


@pytest.mark.parametrize("name", LOSSES)
def test_nothing_comes_from_nowhere_and_a_seed_says_it_all(name: str) -> None:
    mask = (torch.rand(6, 60, 3, generator=_chance(5)) > 0.3).float()
    before, state = mask.clone(), torch.get_rng_state()
    one, again, other = LOSSES[name](mask, _chance(1)), LOSSES[name](mask, _chance(1)), LOSSES[name](mask, _chance(2))
    assert torch.equal(one, again)
    assert torch.equal(mask, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert (one <= mask).all()
    if name in ("rate", "bursts", "permanent", "late", "rate 0.5"):
        assert not torch.equal(one, other)
        assert (one < mask).any()
    if name in ("rate", "bursts", "permanent", "rate 0.5"):
        assert ((one.sum(-1) > 0) == (mask.sum(-1) > 0)).all()  # a step that had something still has


@settings(max_examples=30, deadline=None)
@given(rate=st.floats(0, 1), length=st.integers(1, 40), channels=st.integers(1, 5), seed=st.integers(0, 99))
def test_any_rate_of_any_mask_leaves_one_where_one_was(rate: float, length: int, channels: int, seed: int) -> None:
    mask = (torch.rand(2, length, channels, generator=_chance(seed)) > 0.4).float()
    left = randomly_missing(mask, rate, _chance(seed + 1))
    assert (left <= mask).all()
    assert ((left.sum(-1) > 0) == (mask.sum(-1) > 0)).all()


@pytest.mark.parametrize("snr_db", SNR_DB)
def test_noise_has_its_power(snr_db: float) -> None:
    signal = torch.randn(2, 3, 3000, generator=_chance()) * 40 + 7
    noise = noisy(signal, snr_db, _chance(1)) - signal
    ratio = 10 * torch.log10(signal.var(-1, correction=0) / noise.var(-1, correction=0))
    assert torch.allclose(ratio, torch.tensor(snr_db), atol=0.01)
    silent = torch.full((1, 100), 3.0)
    assert torch.equal(noisy(silent, snr_db, _chance()), silent)


def test_a_flat_line_stays_at_what_was_last() -> None:
    signal = torch.arange(10.0)
    assert flat(signal, 4, 7).tolist() == [0, 1, 2, 3, 3, 3, 3, 7, 8, 9]
    assert flat(signal, 0, 2).tolist() == [0, 0, 2, 3, 4, 5, 6, 7, 8, 9]
    with pytest.raises(ValueError, match="samples 4 to 11"):
        flat(signal, 4, 11)


def test_drift_is_slow_and_as_large_as_asked() -> None:
    signal = torch.randn(3, 6000, generator=_chance()) * 20
    drift = drifting(signal, 5.0, 3000, _chance(1)) - signal
    assert torch.allclose(drift.std(-1, correction=0), 5 * signal.std(-1, correction=0), rtol=1e-3)
    assert float((drift[:, 1:] - drift[:, :-1]).abs().max()) < 5 * 20 * 2 * math.pi / 3000 * 2


@pytest.mark.parametrize("rate", PACKET_LOSS)
def test_packets_are_lost_whole_at_their_rate_and_for_all_channels(rate: float) -> None:
    signal = torch.randn(2, 3, 10_000, generator=_chance()) + 10
    left, received = packets_lost(signal, rate, 10, _chance(1))
    assert (received == 0).sum(-1).tolist() == [[round(rate * 1000) * 10] * 3] * 2
    assert torch.equal(left, torch.where(received > 0, signal, torch.zeros(())))
    packets = received.reshape(2, 3, 1000, 10)
    assert torch.equal(packets.amin(-1), packets.amax(-1))
    assert torch.equal(received[:, 0], received[:, 2])
    assert not torch.equal(received[0], received[1])
    with pytest.raises(ValueError, match="packets of 7"):
        packets_lost(signal, rate, 7, _chance())
