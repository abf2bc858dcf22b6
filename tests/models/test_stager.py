"""The stager: one set of weights in every form, any subset of sensors, any amplifier."""

import numpy as np
import pytest
import torch

from hypnostream.models.context import CAUSAL_KINDS
from hypnostream.models.filling import FILLINGS
from hypnostream.models.normaliser import RunningLevel
from hypnostream.models.stager import Stager, StagerConfig, StagerEnsemble, StagerState
from hypnostream.models.state import named
from hypnostream.models.token_features import LEVEL, SHAPE

C = 3


def _stager(seed: int = 0, filling: str = "imagination", context: str = "mamba2") -> Stager:
    torch.manual_seed(seed)
    model = Stager(StagerConfig(d_model=32, headdim=16, filling=filling, context=context)).eval()
    model.inputs.running_level.origin[:, :LEVEL] = -12.0
    return model


def _features(batch: int, length: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    mask = (torch.rand(batch, length, C) > 0.3).float()
    age = torch.rand(batch, length, C) * 600 * (1 - mask)
    return torch.randn(batch, length, C, SHAPE), torch.randn(batch, length, C, LEVEL) - 12, mask, age


def _signals(batch: int, epochs: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    x = torch.randn(batch, epochs, C, 3000).cumsum(-1) * 2
    valid = (torch.rand(batch, epochs, C, 30) > 0.2).float()
    return x * valid.repeat_interleave(100, -1), valid, torch.zeros(batch, epochs, C)


@torch.no_grad()
def test_features_in_pieces_equal_the_whole_night() -> None:
    model = _stager()
    shape, level, mask, age = _features(2, 90)
    (whole, *_), after = model(shape, level, mask, age)
    state: StagerState | None = None
    pieces = []
    for start, stop in ((0, 1), (1, 40), (40, 90)):
        part = slice(start, stop)
        staged, state = model(shape[:, part], level[:, part], mask[:, part], age[:, part], state)
        pieces.append(staged.logits)
    assert state is not None
    assert torch.allclose(torch.cat(pieces, 1), whole, atol=1e-5)
    assert torch.allclose(state.level.total, after.level.total, rtol=1e-5, atol=1e-3)  # sums of hundreds
    for (name, value), other in zip(named(state.layers).items(), named(after.layers).values(), strict=True):
        assert torch.allclose(value, other, atol=1e-5), name


@torch.no_grad()
@pytest.mark.parametrize(
    ("filling", "context"), [*((f, "mamba2") for f in FILLINGS), *(("imagination", c) for c in CAUSAL_KINDS)]
)
def test_steps_on_signals_equal_the_sequence_on_their_features(filling: str, context: str) -> None:
    model = _stager(filling=filling, context=context)
    x, valid, age = _signals(2, 12)
    tokens = [model.spectral(x[:, t], valid[:, t]) for t in range(12)]
    shape, level, mask = (torch.stack(parts, 1) for parts in zip(*tokens, strict=True))
    (logits, *_), after = model(shape, level, mask, age)
    state, stepped = model.initial_state(2), []
    for t in range(12):
        (p, _), state = model.step(x[:, t], valid[:, t], age[:, t], state)
        stepped.append(p)
    assert torch.allclose(torch.stack(stepped, 1), torch.softmax(logits, -1), atol=1e-5)
    for (name, value), other in zip(named(state.layers).items(), named(after.layers).values(), strict=True):
        assert torch.allclose(value, other, atol=1e-4), name


@torch.no_grad()
def test_stretches_of_any_length_on_signals_equal_the_steps() -> None:
    ensemble = StagerEnsemble([_stager(0), _stager(1)]).eval()
    x, valid, age = _signals(2, 12)
    state, other = ensemble.initial_state(2), ensemble.initial_state(2)
    stepped, stretched = [], []
    for t in range(12):
        (p, _), state = ensemble.step(x[:, t], valid[:, t], age[:, t], state)
        stepped.append(p)
    for start, stop in ((0, 1), (1, 9), (9, 12)):
        part = slice(start, stop)
        (q, _), other = ensemble.stretch(x[:, part], valid[:, part], age[:, part], other)
        stretched.append(q)
    assert torch.allclose(torch.stack(stepped, 1), torch.cat(stretched, 1), atol=1e-5)
    for (name, value), after in zip(named(state).items(), named(other).values(), strict=True):
        assert torch.allclose(value, after, rtol=1e-5, atol=1e-4), name


@torch.no_grad()
def test_a_gain_of_half_or_double_changes_no_probability() -> None:
    model = _stager()
    x, valid, age = _signals(1, 6)
    for gain in (0.5, 1.5):
        state, other = model.initial_state(1), model.initial_state(1)
        for t in range(6):
            (p, _), state = model.step(x[:, t], valid[:, t], age[:, t], state)
            (q, _), other = model.step(x[:, t] * gain, valid[:, t], age[:, t], other)
            assert torch.allclose(p, q, atol=2e-3)


@torch.no_grad()
def test_what_a_masked_channel_holds_does_not_matter() -> None:
    model = _stager()
    shape, level, mask, age = _features(1, 20)
    hidden = mask == 0
    (logits, *_), _ = model(shape, level, mask, age)
    shape[hidden], level[hidden] = 1e3, -1e3
    (again, *_), _ = model(shape, level, mask, age)
    assert torch.allclose(logits, again, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("present", [(a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1)])
def test_any_subset_of_sensors_gives_probabilities(present: tuple[int, ...]) -> None:
    model = _stager()
    x, valid, age = _signals(1, 3)
    valid = valid * torch.tensor(present, dtype=torch.float32).view(1, 1, C, 1)
    state = model.initial_state(1)
    for t in range(3):
        before = state
        (p, _), state = model.step(x[:, t], valid[:, t], age[:, t], state)
        assert torch.isfinite(p).all()
        assert p.sum().item() == pytest.approx(1.0, abs=1e-5)
        assert not torch.equal(before.layers[0].ssm, state.layers[0].ssm)


@torch.no_grad()
def test_an_ensemble_says_the_mean_of_its_members() -> None:
    members = [_stager(seed) for seed in range(3)]
    ensemble = StagerEnsemble(members).eval()
    x, valid, age = _signals(2, 4)
    states, state = [m.initial_state(2) for m in members], ensemble.initial_state(2)
    for t in range(4):
        alone = []
        for index, member in enumerate(members):
            (p, _), states[index] = member.step(x[:, t], valid[:, t], age[:, t], states[index])
            alone.append(p)
        (together, _), state = ensemble.step(x[:, t], valid[:, t], age[:, t], state)
        assert torch.allclose(together, torch.stack(alone).mean(0), atol=1e-6)


def test_members_of_different_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="one and the same config"):
        StagerEnsemble([_stager(), Stager(StagerConfig(d_model=64, headdim=16))])


@torch.no_grad()
def test_running_level_is_the_discounted_mean_and_spread_of_what_was_there() -> None:
    rng = np.random.default_rng(0)
    value, mask = rng.normal(size=(50, 1, 2)), (rng.uniform(size=(50, 1)) > 0.4).astype(float)
    module = RunningLevel(1, 2, memory=20.0, prior_weight=5.0)
    module.prior_spread.fill_(2.0)
    state = module.initial_state(1, torch.zeros(1))
    keep = np.exp(-1 / 20)
    for t in range(50):
        found, state = module.step(
            torch.from_numpy(value[None, t]).float(), torch.from_numpy(mask[None, t]).float(), state
        )
        expected = np.zeros(4)
        if mask[t, 0]:
            weights = (keep ** np.arange(t, -1, -1)[:, None] * mask[: t + 1])[:, :, None]
            seen = value[: t + 1]
            mean = (weights * seen).sum(0)[0] / weights.sum()
            spread = (weights * np.square(seen - mean)).sum(0)[0]
            deviation = np.sqrt((spread + 5 * 2.0**2) / (weights.sum() + 5))
            expected = np.concatenate([value[t, 0] - mean, (value[t, 0] - mean) / deviation])
        assert np.abs(found[0, 0].numpy() - expected).max() < 1e-5
