"""The imaginator: one set of weights in every form, nothing looks ahead, real tokens stay, never NaN."""

import math
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from hypnostream.models.imaginator import Imaginator, ImaginatorState, Imagined
from hypnostream.models.state import named, rebuilt, restarted

TOLERANCE = 1e-5
D = 12


def _imaginator(channels: int = 3, **sizes: float) -> Imaginator:
    """One whose every parameter matters: at the beginning the decoder says nothing."""
    torch.manual_seed(0)
    model = Imaginator(channels, D, d_latent=8, d_hidden=16, **{"memory": 20.0, **sizes})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


def _night(batch: int, length: int, channels: int = 3) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    mask = (torch.rand(batch, length, channels) > 0.4).float()
    age_s = torch.rand(batch, length, channels) * 900 * (1 - mask)
    return torch.randn(batch, length, channels, D), mask, age_s, torch.randn(batch, length, D)


def _steps(
    model: Imaginator, night: tuple[Tensor, Tensor, Tensor, Tensor], state: ImaginatorState
) -> tuple[Imagined, ImaginatorState]:
    tokens, mask, age_s, context = night
    said = []
    for t in range(tokens.shape[1]):
        imagined, state = model.step(tokens[:, t], mask[:, t], age_s[:, t], context[:, t], state)
        said.append(imagined)
    return Imagined(*(torch.stack(parts, 1) for parts in zip(*said, strict=True))), state


def _assert_close(a: Imagined | ImaginatorState, b: Imagined | ImaginatorState) -> None:
    for name, value in named(a).items():
        assert torch.allclose(value, named(b)[name], atol=TOLERANCE), name


@torch.no_grad()
@pytest.mark.parametrize("channels", [1, 3, 8])
@pytest.mark.parametrize("length", [1, 2, 300])
def test_a_stretch_equals_its_steps_and_ends_in_the_same_state(channels: int, length: int) -> None:
    model = _imaginator(channels)
    night = _night(2, length, channels)
    whole, after = model(*night)
    stepped, after_steps = _steps(model, night, model.initial_state(2))
    _assert_close(whole, stepped)
    _assert_close(after, after_steps)


@torch.no_grad()
@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(1, 40), min_size=1, max_size=6))
def test_pieces_with_carried_state_equal_the_whole(cuts: list[int]) -> None:
    model = _imaginator()
    night = _night(2, sum(cuts))
    whole, after = model(*night)
    state, pieces = None, []
    for piece in zip(*(torch.split(part, cuts, dim=1) for part in night), strict=True):
        imagined, state = model(*piece, state)
        pieces.append(imagined)
    assert state is not None
    _assert_close(Imagined(*(torch.cat(parts, 1) for parts in zip(*pieces, strict=True))), whole)
    _assert_close(state, after)


@torch.no_grad()
def test_the_future_changes_nothing_before_it() -> None:
    model = _imaginator()
    night = _night(1, 60)
    other = tuple(part.clone() for part in night)
    for part, fresh in zip(other, _night(1, 19), strict=True):
        part[:, 41:] = fresh
    one, two = model(*night)[0], model(*other)[0]
    for name, value in named(one).items():
        assert torch.equal(value[:, :41], named(two)[name][:, :41]), name
        assert not torch.allclose(value[:, 41:], named(two)[name][:, 41:]), name


@torch.no_grad()
def test_real_tokens_pass_unchanged_and_missing_ones_are_never_read() -> None:
    model = _imaginator()
    tokens, mask, age_s, context = _night(2, 50)
    poisoned = torch.where(mask.unsqueeze(-1) > 0, tokens, torch.tensor(math.nan))
    clean, after = model(tokens, mask, age_s, context)
    dirty, after_dirty = model(poisoned, mask, age_s, context)
    assert torch.equal(clean.tokens[mask > 0], tokens[mask > 0])
    assert torch.isfinite(dirty.tokens).all()
    assert all(torch.equal(a, b) for a, b in zip(clean, dirty, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(named(after).values(), named(after_dirty).values(), strict=True))
    stepped, _ = _steps(model, (poisoned, mask, age_s, context), model.initial_state(2))
    assert torch.isfinite(stepped.tokens).all()


def test_missing_tokens_give_no_nan_to_the_gradient() -> None:
    model = _imaginator().train()
    tokens, mask, age_s, context = _night(1, 20)
    poisoned = torch.where(mask.unsqueeze(-1) > 0, tokens, torch.tensor(math.nan))
    imagined, _ = model(poisoned, mask, age_s, context)
    (imagined.tokens.sum() + imagined.log_variance.sum()).backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert len(gradients) >= len(list(model.parameters())) - 1  # all but `distrust`, which the fusion teaches
    assert all(torch.isfinite(g).all() for g in gradients.values())


@torch.no_grad()
def test_with_nothing_there_for_a_night_it_says_something_finite_and_weights_still_sum_to_one() -> None:
    model = _imaginator()
    tokens = torch.full((1, 1000, 3, D), math.nan)
    mask, age_s = torch.zeros(1, 1000, 3), torch.full((1, 1000, 3), 1e6)
    imagined, state = model(tokens, mask, age_s)
    weights = model.weights(imagined, mask)
    assert torch.isfinite(imagined.tokens).all()
    assert torch.allclose(weights.sum(-1), torch.ones(1, 1000))
    assert all(torch.isfinite(value).all() for value in named(state).values())


@torch.no_grad()
def test_a_long_night_of_wild_tokens_stays_finite() -> None:
    model = _imaginator()
    tokens, mask, age_s, _ = _night(1, 3000)
    imagined, state = model(tokens * 1e4, mask, age_s)
    assert torch.isfinite(imagined.mean).all()
    assert imagined.log_variance.min() >= -6
    assert imagined.log_variance.max() <= 3
    assert all(torch.isfinite(value).all() for value in named(state).values())


@torch.no_grad()
def test_eval_is_deterministic_and_draws_nothing() -> None:
    # CIMSleepNet samples its latent at inference too.
    model = _imaginator(dropout=0.5)
    night = _night(1, 30)
    before = torch.get_rng_state()
    one, two = model(*night)[0], model(*night)[0]
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert torch.equal(before, torch.get_rng_state())
    model.train()
    assert not torch.equal(model(*night)[0].mean, one.mean)


@torch.no_grad()
def test_untrained_it_is_the_last_value_fading_into_the_running_mean() -> None:
    model = Imaginator(1, D).eval()
    tokens = torch.randn(1, 40, 1, D)
    mask = torch.ones(1, 40, 1)
    mask[:, 20:] = 0
    soon = torch.zeros(1, 40, 1)
    long = torch.full((1, 40, 1), 1e6)
    assert torch.allclose(model(tokens, mask, soon)[0].mean[0, 30], tokens[0, 19], atol=1e-5)
    faded = model(tokens, mask, long)[0].mean[0, 30]
    assert not torch.allclose(faded, tokens[0, 19], atol=0.1)
    assert torch.allclose(faded, tokens[0, :20].mean(0), atol=0.1)


@torch.no_grad()
def test_a_real_token_never_weighs_less_than_an_imagined_one_and_doubt_lowers_the_weight() -> None:
    model = _imaginator()
    mask = torch.tensor([[1.0, 0.0, 0.0]])
    token = torch.zeros(1, 3, D)
    for distrust in (-8.0, 0.0, 8.0):
        model.distrust.fill_(distrust)
        sure = model.weights(Imagined(token, token, torch.tensor([[3.0, -6.0, 1.0]])), mask)[0]
        assert sure[0] >= sure[1] > sure[2]
        assert math.isclose(float(sure.sum()), 1.0, abs_tol=1e-6)


@torch.no_grad()
def test_rows_of_a_batch_do_not_touch_and_a_restarted_row_is_as_at_the_beginning() -> None:
    model = _imaginator()
    night = _night(2, 30)
    together, state = model(*night)
    for row in range(2):
        alone, _ = model(*(part[row : row + 1] for part in night))
        _assert_close(alone, Imagined(*(part[row : row + 1] for part in together)))
    again, _ = model(*night, restarted(state, model.initial_state(2), torch.tensor([True, False])))
    assert torch.allclose(again.mean[0], together.mean[0], atol=TOLERANCE)
    assert not torch.allclose(again.mean[1], together.mean[1], atol=TOLERANCE)


def test_the_state_is_float32_and_a_step_leaves_the_old_one_alone() -> None:
    model = _imaginator()
    state = model.initial_state(1)
    tokens, mask, age_s, context = (part[:, 0] for part in _night(1, 1))
    before = {name: value.clone() for name, value in named(state).items()}
    _, after = model.step(tokens, torch.ones_like(mask), age_s, context, state)
    for name, value in named(state).items():
        assert torch.equal(value, before[name])
        assert not torch.equal(value, named(after)[name]), name
        assert named(after)[name].dtype == torch.float32


def test_a_further_channel_costs_little() -> None:
    def parameters(channels: int) -> int:
        return sum(p.numel() for p in Imaginator(channels, 96).parameters())

    assert parameters(8) < 150_000
    assert (parameters(8) - parameters(1)) / 7 < 0.01 * parameters(1)


class _Step(nn.Module):
    def __init__(self, model: Imaginator) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, tokens: Tensor, mask: Tensor, age_s: Tensor, context: Tensor, *state: Tensor
    ) -> tuple[Tensor, ...]:
        like = self.model.initial_state(1)
        imagined, after = self.model.step(tokens, mask, age_s, context, rebuilt(like, list(state)))
        return (*imagined, self.model.weights(imagined, mask), *named(after).values())


@torch.no_grad()
@pytest.mark.filterwarnings("ignore")
def test_the_step_exports_and_says_the_same(tmp_path: Path) -> None:
    model = _imaginator()
    state = model.initial_state(1)
    step, path = _Step(model), tmp_path / "step.onnx"
    tokens, mask, age_s, context = _night(1, 20)
    names = ["tokens", "mask", "age_s", "context", *named(state)]
    example = (tokens[:, 0], mask[:, 0], age_s[:, 0], context[:, 0], *named(state).values())
    torch.onnx.export(step, example, str(path), input_names=names, opset_version=17, dynamo=False)
    assert not {node.op_type for node in onnx.load(str(path)).graph.node} & {"Loop", "Scan", "If", "Einsum"}
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    carried = list(named(state).values())
    for t in range(20):
        here = [tokens[:, t], mask[:, t], age_s[:, t], context[:, t], *carried]
        ours = list(step(*here))
        feed = {name: value.numpy() for name, value in zip(names, here, strict=True)}
        theirs = session.run(None, {k.name: feed[k.name] for k in session.get_inputs()})
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a.numpy(), b, atol=TOLERANCE)
        carried = ours[4:]
