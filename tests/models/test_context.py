"""Temporal context, every kind: step = pieces = whole, nothing looks ahead, rows are alone, all state is explicit."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from hypnostream.models.context import CAUSAL_KINDS, KINDS, Mixer, make_mixer
from hypnostream.models.cross_branch import CrossBranch
from hypnostream.models.gru import GRU
from hypnostream.models.mamba1 import Mamba1
from hypnostream.models.past_attention import PastAttention
from hypnostream.models.state import State, detached, mapped, named, restarted

TOLERANCE = 1e-5
D = 32
RECURRENT_KINDS = tuple(kind for kind in CAUSAL_KINDS if kind != "none")


def _mixer(kind: str) -> Mixer:
    torch.manual_seed(0)
    mixer = make_mixer(kind, D, d_state=8, headdim=16, past=7).eval()
    for name, parameter in mixer.named_parameters():
        if "distance_bias" in name:  # zero at first: a mistake about distance would not be seen
            nn.init.normal_(parameter)
    return mixer


def _steps(mixer: Mixer, u: Tensor, state: State) -> tuple[Tensor, State]:
    outputs = []
    for t in range(u.shape[1]):
        y, state = mixer.step(u[:, t], state)
        outputs.append(y)
    return torch.stack(outputs, 1), state


def _close(a: State, b: State) -> bool:
    pairs = zip(named(a).values(), named(b).values(), strict=True)
    return all(torch.allclose(x, y, atol=TOLERANCE) for x, y in pairs)


@torch.no_grad()
@pytest.mark.parametrize("kind", CAUSAL_KINDS)
@pytest.mark.parametrize(("batch", "length"), [(3, 1), (1, 24), (3, 130)])
def test_a_stretch_equals_its_steps_and_ends_in_the_same_state(kind: str, batch: int, length: int) -> None:
    mixer, u = _mixer(kind), torch.randn(batch, length, D)
    whole, after = mixer(u)
    stepped, after_steps = _steps(mixer, u, mixer.initial_state(batch))
    assert whole.shape == u.shape
    assert torch.allclose(whole, stepped, atol=TOLERANCE)
    assert _close(after, after_steps)


@torch.no_grad()
@pytest.mark.parametrize("kind", CAUSAL_KINDS)
@settings(max_examples=6, deadline=None)
@given(cuts=st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_pieces_with_carried_state_equal_the_whole(kind: str, cuts: list[int]) -> None:
    mixer, u = _mixer(kind), torch.randn(2, sum(cuts), D)
    whole, after = mixer(u)
    state, pieces = mixer.initial_state(2), []
    for piece in torch.split(u, cuts, dim=1):
        y, state = mixer(piece, state)
        pieces.append(y)
    assert torch.allclose(torch.cat(pieces, 1), whole, atol=TOLERANCE)
    assert _close(state, after)


@torch.no_grad()
@pytest.mark.parametrize("kind", CAUSAL_KINDS)
def test_the_future_changes_nothing_before_it(kind: str) -> None:
    mixer, u = _mixer(kind), torch.randn(1, 90, D)
    other = u.clone()
    other[:, 70:] = torch.randn(1, 20, D)
    assert torch.equal(mixer(u)[0][:, :70], mixer(other)[0][:, :70])
    assert not torch.allclose(mixer(u)[0][:, 70:], mixer(other)[0][:, 70:])


@torch.no_grad()
@pytest.mark.parametrize("kind", RECURRENT_KINDS)
def test_the_past_does_change_what_follows(kind: str) -> None:
    mixer, u = _mixer(kind), torch.randn(1, 20, D)
    other = u.clone()
    other[:, 16] += 1
    assert not torch.allclose(mixer(u)[0][:, 19], mixer(other)[0][:, 19], atol=1e-7)


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_a_batch_do_not_touch(kind: str) -> None:
    """NeuroNet's LSTM and attention were given (B, T, E) as (T, B, E): their past was the batch's other rows."""
    mixer, u = _mixer(kind), torch.randn(3, 12, D)
    other = u.clone()
    other[0] = torch.randn(12, D)
    assert torch.equal(mixer(u)[0][1:], mixer(other)[0][1:])
    assert torch.allclose(mixer(u)[0][1:2], mixer(u[1:2])[0], atol=TOLERANCE)


@torch.no_grad()
@pytest.mark.parametrize("kind", CAUSAL_KINDS)
def test_a_reset_row_is_as_new_and_the_others_go_on(kind: str) -> None:
    mixer, before, after = _mixer(kind), torch.randn(3, 9, D), torch.randn(3, 9, D)
    carried = mixer(before)[1]
    reset = torch.tensor([False, True, False])
    y, _ = mixer(after, restarted(carried, mixer.initial_state(3), reset))
    assert torch.allclose(y[1], mixer(after)[0][1], atol=TOLERANCE)
    assert torch.allclose(y[[0, 2]], mixer(after, carried)[0][[0, 2]], atol=TOLERANCE)


@torch.no_grad()
@pytest.mark.parametrize("kind", CAUSAL_KINDS)
def test_a_step_leaves_the_old_state_alone_and_keeps_nothing_itself(kind: str) -> None:
    mixer, u = _mixer(kind), torch.randn(2, D)
    state = mixer(torch.randn(2, 5, D))[1]
    copy = mapped(state, Tensor.clone)
    first, _ = mixer.step(u, state)
    assert all(torch.equal(a, b) for a, b in zip(named(state).values(), named(copy).values(), strict=True))
    assert torch.equal(first, mixer.step(u, state)[0])


@pytest.mark.parametrize("kind", RECURRENT_KINDS)
def test_gradients_reach_back_through_the_carried_state_until_it_is_detached(kind: str) -> None:
    mixer, u = _mixer(kind), torch.randn(1, 12, D, requires_grad=True)
    _, state = mixer(u[:, :8])
    mixer(u[:, 8:], state)[0].sum().backward()
    assert u.grad is not None
    assert u.grad[:, 7].abs().sum() > 0
    again = u.detach().clone().requires_grad_()
    _, state = mixer(again[:, :8])
    mixer(again[:, 8:], detached(state))[0].sum().backward()
    assert again.grad is not None
    assert again.grad[:, :8].abs().sum() == 0


@pytest.mark.parametrize("kind", RECURRENT_KINDS)
def test_every_parameter_learns(kind: str) -> None:
    mixer = _mixer(kind)
    mixer(torch.randn(2, 20, D))[0].square().sum().backward()
    assert [n for n, p in mixer.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@torch.no_grad()
@pytest.mark.parametrize("kind", RECURRENT_KINDS)
def test_a_long_night_stays_finite_with_wild_input_and_its_state_is_float32(kind: str) -> None:
    mixer = _mixer(kind)
    y, state = mixer(torch.randn(1, 1000, D) * 100)
    assert torch.isfinite(y).all()
    assert all(torch.isfinite(value).all() and value.dtype == torch.float32 for value in named(state).values())


@pytest.mark.parametrize("kind", CAUSAL_KINDS)
def test_bfloat16_training_is_close_and_keeps_a_float32_state(kind: str) -> None:
    mixer, u = _mixer(kind), torch.randn(2, 40, D)
    state = mixer(torch.randn(2, 9, D))[1]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, after = mixer(u, state)
    plain, plain_after = mixer(u, state)
    assert (y.float() - plain).abs().max() < 0.05 * (1 + plain.abs().max())
    assert [value.dtype for value in named(after).values()] == [torch.float32] * len(named(after))
    for value, exact in zip(named(after).values(), named(plain_after).values(), strict=True):
        assert (value - exact).abs().max() < 0.05 * (1 + exact.abs().max())


@torch.no_grad()
def test_bidirectional_context_reads_the_future_and_so_refuses_to_step() -> None:
    mixer, u = _mixer("bidirectional"), torch.randn(1, 20, D)
    other = u.clone()
    other[:, 19] += 1
    assert not torch.allclose(mixer(u)[0][:, 10], mixer(other)[0][:, 10], atol=1e-7)
    state: State = mixer.initial_state(1)
    with pytest.raises(NotImplementedError, match="reads the future"):
        mixer.step(u[:, 0], state)


@torch.no_grad()
def test_attention_forgets_what_is_further_back_than_its_past() -> None:
    mixer, u = _mixer("attention"), torch.randn(1, 100, D)
    other = u.clone()
    other[:, 90 - 8] += 1  # 8 before element 90, where 7 are looked back at
    assert torch.equal(mixer(u)[0][:, 90], mixer(other)[0][:, 90])
    other[:, 90 - 7] += 1
    assert not torch.allclose(mixer(u)[0][:, 90], mixer(other)[0][:, 90], atol=1e-7)


@torch.no_grad()
def test_before_the_beginning_there_is_nothing_to_attend_to() -> None:
    """An empty place whose key is zero would draw weight all the same, if it were not known to be empty."""
    mixer, u = _mixer("attention"), torch.randn(1, 1, D)
    assert isinstance(mixer, PastAttention)
    value = mixer.source_proj(u)[..., D:]
    assert torch.allclose(mixer(u)[0], mixer.out_proj(value), atol=TOLERANCE)
    assert torch.allclose(mixer.step(u[:, 0], mixer.initial_state(1))[0], mixer.out_proj(value)[:, 0], atol=TOLERANCE)


@torch.no_grad()
def test_the_gru_is_torchs_with_a_night_per_row() -> None:
    mixer, u = _mixer("gru"), torch.randn(3, 11, D)
    assert isinstance(mixer, GRU)
    reference = nn.GRU(D, D)
    reference.load_state_dict(mixer.gru.state_dict())
    assert torch.allclose(mixer(u)[0], reference(u.transpose(0, 1))[0].transpose(0, 1), atol=TOLERANCE)


def test_mamba1_has_the_parameters_of_mamba_ssm_and_an_exact_gradient() -> None:
    torch.manual_seed(0)
    layer = Mamba1(32, d_state=8, d_conv=4, expand=2)
    assert {name: tuple(p.shape) for name, p in layer.named_parameters()} == {
        "in_proj.weight": (128, 32),
        "conv1d.weight": (64, 1, 4),
        "conv1d.bias": (64,),
        "x_proj.weight": (2 + 16, 64),
        "dt_proj.weight": (64, 2),
        "dt_proj.bias": (64,),
        "A_log": (64, 8),
        "D": (64,),
        "out_proj.weight": (32, 64),
    }
    u = torch.randn(1, 25, 32)
    y, state = layer(u)
    (y.square().sum() + state.ssm.square().sum()).backward()
    by_hand = {name: p.grad for name, p in layer.named_parameters() if p.grad is not None}
    layer.zero_grad()
    y, state = _steps(layer, u, layer.initial_state(1))
    (y.square().sum() + state.ssm.square().sum()).backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None
        assert torch.allclose(by_hand[name], parameter.grad, rtol=1e-4, atol=1e-5), name


@torch.no_grad()
def test_mcta_keeps_what_each_branch_says_and_hears_both() -> None:
    """In CIMSleepNet the skip is lost, and one branch's values are overwritten by its keys."""
    mixer, u = _mixer("mcta"), torch.randn(1, 20, D)
    assert isinstance(mixer, CrossBranch)
    whole = mixer(u)[0]
    r, a = mixer.recurrent(u)[0], mixer.recent(u)[0]
    for silent in (mixer.ask_recurrent, mixer.ask_recent):
        kept = silent.out_proj.weight.clone()
        silent.out_proj.weight.zero_()
        assert not torch.allclose(mixer(u)[0], whole, atol=1e-4)
        silent.out_proj.weight.copy_(kept)
    mixer.ask_recurrent.out_proj.weight.zero_()
    mixer.ask_recent.out_proj.weight.zero_()
    assert torch.allclose(mixer(u)[0], mixer.out_proj(torch.cat([r, a], dim=-1)), atol=TOLERANCE)


@pytest.mark.parametrize(
    ("kind", "sizes", "said"),
    [
        ("lstm", {}, "context 'lstm' is not known; choose one of none, gru, mamba1"),
        ("attention", {"heads": 5}, "heads 5 do not divide d_model 32"),
        ("attention", {"past": 0}, "past 0 leaves attention nothing to look back at"),
        ("mamba2", {"headdim": 48}, "headdim 48 does not divide d_inner 64"),
    ],
)
def test_what_cannot_be_made_is_refused_in_one_line(kind: str, sizes: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make_mixer(kind, D, **sizes)


@torch.no_grad()
@pytest.mark.parametrize(
    ("kind", "d_model", "sizes", "layers", "parameters", "state_bytes"),
    [
        ("mamba1", 256, {"d_state": 16}, 1, 0.44e6, 38_912),
        ("mamba2", 512, {"d_state": 16}, 1, 1.60e6, 78_208),
        ("mamba1", 128, {"d_state": 16}, 2, 0.12e6, 38_912),
        ("mamba1", 256, {"d_state": 16}, 4, 0.44e6, 155_648),
        ("mamba2", 256, {"d_state": 64}, 4, 0.43e6, 555_008),
    ],
)
def test_sizes_are_those_of_the_reference_systems(
    kind: str, d_model: int, sizes: dict[str, int], layers: int, parameters: float, state_bytes: int
) -> None:
    mixer = make_mixer(kind, d_model, **sizes)
    assert sum(4 * value.numel() for value in named(mixer.initial_state(1)).values()) * layers == state_bytes
    assert sum(p.numel() for p in mixer.parameters()) == pytest.approx(parameters, rel=0.04)


@pytest.mark.parametrize("kind", KINDS)
def test_there_is_no_batch_norm(kind: str) -> None:
    assert not [m for m in _mixer(kind).modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
