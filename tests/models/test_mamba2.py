"""Mamba-2: step, chunk and whole sequence are one and the same; nothing looks ahead; state is explicit."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnostream.models.mamba2 import Mamba2, MambaState

TOLERANCE = 1e-5


def _layer(d_state: int = 8, headdim: int = 16, chunk: int = 16) -> Mamba2:
    torch.manual_seed(0)
    return Mamba2(32, d_state, headdim=headdim, chunk=chunk).eval()


def _steps(layer: Mamba2, u: torch.Tensor, state: MambaState) -> tuple[torch.Tensor, MambaState]:
    outputs = []
    for t in range(u.shape[1]):
        y, state = layer.step(u[:, t], state)
        outputs.append(y)
    return torch.stack(outputs, 1), state


def _close(a: MambaState, b: MambaState) -> bool:
    return torch.allclose(a.conv, b.conv, atol=TOLERANCE) and torch.allclose(a.ssm, b.ssm, atol=TOLERANCE)


@torch.no_grad()
@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 200])
def test_a_sequence_equals_its_steps_and_ends_in_the_same_state(length: int) -> None:
    layer = _layer()
    u = torch.randn(3, length, 32)
    whole, after = layer(u)
    stepped, after_steps = _steps(layer, u, layer.initial_state(3))
    assert torch.allclose(whole, stepped, atol=TOLERANCE)
    assert _close(after, after_steps)


@torch.no_grad()
@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(1, 40), min_size=1, max_size=6))
def test_pieces_with_carried_state_equal_the_whole(cuts: list[int]) -> None:
    layer = _layer()
    u = torch.randn(2, sum(cuts), 32)
    whole, after = layer(u)
    state, pieces = None, []
    for piece in torch.split(u, cuts, dim=1):
        y, state = layer(piece, state)
        pieces.append(y)
    assert state is not None
    assert torch.allclose(torch.cat(pieces, 1), whole, atol=TOLERANCE)
    assert _close(state, after)


@torch.no_grad()
def test_the_future_changes_nothing_before_it() -> None:
    layer = _layer()
    u = torch.randn(1, 60, 32)
    other = u.clone()
    other[:, 41:] = torch.randn(1, 19, 32)
    assert torch.equal(layer(u)[0][:, :41], layer(other)[0][:, :41])
    assert not torch.allclose(layer(u)[0][:, 41:], layer(other)[0][:, 41:])


@torch.no_grad()
def test_every_step_changes_the_state_and_leaves_the_old_one_alone() -> None:
    layer = _layer()
    state = layer.initial_state(1)
    for _ in range(5):
        before = MambaState(state.conv.clone(), state.ssm.clone())
        _, after = layer.step(torch.randn(1, 32), state)
        assert not torch.equal(after.ssm, state.ssm)
        assert not torch.equal(after.conv, state.conv)
        assert torch.equal(before.ssm, state.ssm)
        assert torch.equal(before.conv, state.conv)
        state = after


@torch.no_grad()
def test_rows_of_a_batch_do_not_touch() -> None:
    layer = _layer()
    u = torch.randn(2, 30, 32)
    together = layer(u)[0]
    assert torch.allclose(together[0], layer(u[:1])[0][0], atol=TOLERANCE)
    assert torch.allclose(together[1], layer(u[1:])[0][0], atol=TOLERANCE)


def test_state_is_float32_and_gradients_pass_through_it() -> None:
    layer = _layer()
    u = torch.randn(1, 40, 32, requires_grad=True)
    _, state = layer(u[:, :20])
    y, _ = layer(u[:, 20:], state)
    y.sum().backward()
    assert state.ssm.dtype == torch.float32
    assert u.grad is not None
    assert u.grad[:, :20].abs().sum() > 0


def test_a_long_night_stays_finite_with_wild_input() -> None:
    layer = _layer()
    with torch.no_grad():
        y, state = layer(torch.randn(1, 3000, 32) * 100)
    assert torch.isfinite(y).all()
    assert torch.isfinite(state.ssm).all()


def test_parameters_have_the_names_and_shapes_of_mamba_ssm() -> None:
    layer = _layer()
    inner, heads, conv = 64, 4, 64 + 16
    assert {name: tuple(p.shape) for name, p in layer.named_parameters()} == {
        "in_proj.weight": (2 * inner + 16 + heads, 32),
        "conv1d.weight": (conv, 1, 4),
        "conv1d.bias": (conv,),
        "dt_bias": (heads,),
        "A_log": (heads,),
        "D": (heads,),
        "norm.weight": (inner,),
        "out_proj.weight": (32, inner),
    }


def test_a_head_size_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="headdim 48 does not divide d_inner 64"):
        Mamba2(32, headdim=48)
