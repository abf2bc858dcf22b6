"""NT-Xent: against its formula written out, and shared among processes."""

import math

import pytest
import torch
from torch import Tensor

from hypnostream.training.losses.contrast import nt_xent
from hypnostream.training.running.loop import Share


def by_the_formula(a: Tensor, b: Tensor, temperature: float) -> float:
    rows = [*a.double(), *b.double()]
    n, total = len(a), 0.0
    for i, row in enumerate(rows):
        similar = [math.exp(float(torch.cosine_similarity(row, other, dim=0)) / temperature) for other in rows]
        total -= math.log(similar[(i + n) % (2 * n)] / (sum(similar) - similar[i]))
    return total / (2 * n)


@pytest.mark.parametrize("temperature", [0.05, 0.5])
def test_it_is_the_formula(temperature: float) -> None:
    torch.manual_seed(0)
    a, b = torch.randn(5, 7), torch.randn(5, 7)
    assert float(nt_xent(a, b, temperature, Share())) == pytest.approx(by_the_formula(a, b, temperature), rel=1e-4)


def test_it_falls_when_views_agree_and_does_not_care_how_long_rows_are() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(8, 16), torch.randn(8, 16)
    agreed, apart = nt_xent(a, a + 0.01 * b, 0.05, Share()), nt_xent(a, b, 0.05, Share())
    assert agreed < 0.1 < apart
    assert nt_xent(9 * a, b, 0.05, Share()) == pytest.approx(float(apart), rel=1e-5)


def test_a_batch_of_one_is_fine() -> None:
    a = torch.randn(1, 4, requires_grad=True)
    loss = nt_xent(a, torch.randn(1, 4), 0.05, Share())
    (gradient,) = torch.autograd.grad(loss, a)
    assert float(loss.detach()) == 0
    assert torch.isfinite(gradient).all()


class Second(Share):
    """One of two processes whose other's rows are known; gradient goes to its own."""

    others: dict[int, Tensor]

    def gathered(self, rows: Tensor) -> Tensor:
        whole = self.others[rows.data_ptr()].detach().clone()
        whole[list(self.rows(len(whole)))] = rows
        return whole


def test_parts_of_two_processes_add_up_to_the_whole_in_value_and_gradient() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(5, 6, requires_grad=True), torch.randn(5, 6)
    whole = nt_xent(a, b, 0.1, Share())
    (expected,) = torch.autograd.grad(whole, a)
    value, gradient = 0.0, torch.zeros_like(a)
    for rank in range(2):
        share = Second(rank, 2)
        mine = list(share.rows(5))
        own_a, own_b = a.detach()[mine].requires_grad_(), b[mine]
        object.__setattr__(share, "others", {own_a.data_ptr(): a, own_b.data_ptr(): b})
        part = nt_xent(own_a, own_b, 0.1, share)
        (gradient[mine],) = torch.autograd.grad(part, own_a)
        value += float(part.detach())
    assert value == pytest.approx(float(whole.detach()), rel=1e-6)
    assert torch.allclose(gradient, expected, atol=1e-6)
