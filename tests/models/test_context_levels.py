"""Two clocks of context: a night in one piece, in epochs and in seconds is the same night; nothing looks ahead."""

import pytest
import torch
from torch import Tensor, nn

from hypnostream.models.multi_level import MultiLevel, MultiLevelState
from hypnostream.models.state import named, restarted

TOLERANCE = 1e-5
D, SECONDS = 16, 6


def _levels(kind: str = "mcta") -> MultiLevel:
    torch.manual_seed(0)
    levels = MultiLevel(D, kind, past_s=8, past_epochs=5, d_state=4, headdim=8, heads=2).eval()
    for name, parameter in levels.named_parameters():
        if "distance_bias" in name:
            nn.init.normal_(parameter)
    return levels


def _close(a: MultiLevelState, b: MultiLevelState) -> bool:
    pairs = zip(named(a).values(), named(b).values(), strict=True)
    return all(torch.allclose(x, y, atol=TOLERANCE) for x, y in pairs)


def _ticks(levels: MultiLevel, u: Tensor, state: MultiLevelState) -> tuple[Tensor, MultiLevelState]:
    outputs = []
    for epoch in range(u.shape[1]):
        for second in range(u.shape[2]):
            so_far, state = levels.tick(u[:, epoch, second], state)
        y, state = levels.close(state)
        assert torch.equal(y, so_far)
        outputs.append(y)
    return torch.stack(outputs, 1), state


@torch.no_grad()
@pytest.mark.parametrize(("kind", "epochs"), [("mcta", 1), ("mcta", 7), ("mcta", 24), ("gru", 7), ("none", 7)])
def test_a_night_equals_its_epochs_and_its_seconds(kind: str, epochs: int) -> None:
    levels, u = _levels(kind), torch.randn(2, epochs, SECONDS, D)
    whole, after = levels(u)
    assert whole.shape == (2, epochs, D)
    state, outputs = levels.initial_state(2), []
    for epoch in range(epochs):
        y, state = levels.step(u[:, epoch], state)
        outputs.append(y)
    assert torch.allclose(torch.stack(outputs, 1), whole, atol=TOLERANCE)
    assert _close(state, after)
    ticked, after_ticks = _ticks(levels, u, levels.initial_state(2))
    assert torch.allclose(ticked, whole, atol=TOLERANCE)
    assert _close(after_ticks, after)


@torch.no_grad()
def test_epochs_of_any_length_do_and_so_does_one_bed() -> None:
    levels = _levels()
    for seconds in (1, 5, 30):
        assert torch.isfinite(levels(torch.randn(1, 3, seconds, D))[0]).all()


@torch.no_grad()
def test_the_future_changes_nothing_before_it() -> None:
    """CIMSleepNet's bidirectional GRU does, at both levels."""
    levels, u = _levels(), torch.randn(1, 9, SECONDS, D)
    other = u.clone()
    other[:, 5:] = torch.randn(1, 4, SECONDS, D)
    assert torch.equal(levels(u)[0][:, :5], levels(other)[0][:, :5])
    assert not torch.allclose(levels(u)[0][:, 5:], levels(other)[0][:, 5:])


@torch.no_grad()
def test_the_seconds_of_earlier_epochs_reach_later_ones_by_both_clocks() -> None:
    levels, u = _levels(), torch.randn(1, 2, SECONDS, D)
    _, first = levels(u[:, :1])
    new = levels.initial_state(1)
    whole = levels(u[:, 1:], first)[0]
    for forgotten in (first._replace(seconds=new.seconds), first._replace(epochs=new.epochs)):
        assert not torch.allclose(levels(u[:, 1:], forgotten)[0], whole, atol=1e-5)


@torch.no_grad()
def test_a_stretch_takes_up_an_epoch_that_was_begun_second_by_second() -> None:
    levels, u = _levels(), torch.randn(1, 1, SECONDS, D)
    whole, after = levels(u)
    state = levels.initial_state(1)
    for second in range(2):
        _, state = levels.tick(u[:, 0, second], state)
    rest, after_rest = levels(u[:, :, 2:], state)
    assert torch.allclose(rest, whole, atol=TOLERANCE)
    assert _close(after_rest, after)


@torch.no_grad()
def test_the_skip_is_kept_at_both_levels() -> None:
    """With mixers that say nothing the weighted mean of the seconds themselves comes out."""
    levels, u = _levels(), torch.randn(1, 4, SECONDS, D)
    for name, parameter in levels.named_parameters():
        if name in ("seconds.out_proj.weight", "epochs.out_proj.weight"):
            parameter.zero_()
    gate = torch.sigmoid(levels.gate(u))
    assert torch.allclose(levels(u)[0], (gate * u).sum(2) / gate.sum(2), atol=TOLERANCE)


@torch.no_grad()
def test_a_reset_row_is_as_new_and_an_epoch_without_seconds_is_no_nan() -> None:
    levels, u = _levels(), torch.randn(2, 3, SECONDS, D)
    carried = levels(torch.randn(2, 3, SECONDS, D))[1]
    y, _ = levels(u, restarted(carried, levels.initial_state(2), torch.tensor([True, False])))
    assert torch.allclose(y[0], levels(u)[0][0], atol=TOLERANCE)
    assert torch.allclose(y[1], levels(u, carried)[0][1], atol=TOLERANCE)
    assert torch.isfinite(levels.close(levels.initial_state(1))[0]).all()


def test_every_parameter_learns() -> None:
    levels = _levels()
    levels(torch.randn(2, 6, SECONDS, D))[0].square().sum().backward()
    assert [n for n, p in levels.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []
