"""The scaffold: causal when asked, safe with nothing there."""

import pytest
import torch

from hypnostream.models.transformer import Transformer, sinusoidal_positions


def test_a_causal_token_does_not_see_what_comes() -> None:
    torch.manual_seed(0)
    model = Transformer(16, 2, 4).eval()
    x = torch.randn(2, 9, 16)
    changed = x.clone()
    changed[:, 5:] = torch.randn(2, 4, 16)
    assert torch.equal(model(x, causal=True)[:, :5], model(changed, causal=True)[:, :5])
    assert not torch.allclose(model(x)[:, :5], model(changed)[:, :5])


def test_what_is_not_there_changes_nothing_and_nothing_there_is_no_nan() -> None:
    torch.manual_seed(0)
    model = Transformer(16, 2, 4).eval()
    x = torch.randn(2, 6, 16)
    present = torch.ones(2, 6, dtype=torch.bool)
    present[0, 3] = False
    present[1] = False
    changed = x.clone()
    changed[0, 3] = 100.0
    before, after = model(x, present=present), model(changed, present=present)
    kept = [0, 1, 2, 4, 5]
    assert torch.allclose(before[0, kept], after[0, kept], atol=1e-6)
    assert torch.isfinite(before).all()
    assert torch.isfinite(model(x, causal=True, present=present)).all()


def test_a_row_of_the_batch_does_not_see_the_others() -> None:
    torch.manual_seed(0)
    model = Transformer(16, 2, 4).eval()
    x = torch.randn(3, 5, 16)
    assert torch.allclose(model(x)[:1], model(x[:1]), atol=1e-6)


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(ValueError, match="heads 3 do not divide width 16"):
        Transformer(16, 1, 3)


def test_positions_differ_from_each_other() -> None:
    positions = sinusoidal_positions(30, 16)
    assert positions.shape == (30, 16)
    assert (torch.cdist(positions, positions) + torch.eye(30) > 0.1).all()
