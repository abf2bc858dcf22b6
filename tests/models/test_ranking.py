"""The largest by a network: those of a sort, for every order there is."""

from itertools import product

import pytest
import torch

from hypnostream.models.ranking import exchanges, largest


@pytest.mark.parametrize("n", range(1, 11))
def test_every_order_is_put_in_order(n: int) -> None:
    """By Knuth's zero-one principle a network that sorts all of noughts and ones sorts everything."""
    rows = torch.tensor(list(product([0.0, 1.0], repeat=n)))  # (2^n, n)
    for count in range(1, n + 1):
        found = torch.stack(largest(rows.unbind(1), count), dim=1)
        assert torch.equal(found, rows.sort(dim=1, descending=True).values[:, :count])


def test_the_numbers_are_those_that_went_in_bit_by_bit() -> None:
    torch.manual_seed(0)
    x = torch.randn(14, 500)
    assert torch.equal(torch.stack(largest(x.unbind(0), 8)), x.topk(8, dim=0).values)


def test_pairs_behind_the_wanted_are_left_out() -> None:
    assert len(exchanges(14, 8)) < len(exchanges(14, 14))
    assert exchanges(14, 1)[-1] == (0, 1, False)
    assert all(not keeps_lower for _, _, keeps_lower in exchanges(14, 1))
