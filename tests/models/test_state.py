"""States as named tensors: there and back, nested as they come, row by row new."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from hypnostream.models.state import detached, mapped, named, rebuilt, restarted


class Inner(NamedTuple):
    conv: Tensor
    ssm: Tensor


class Outer(NamedTuple):
    level: Tensor
    layers: tuple[Inner, ...]
    nothing: tuple[()]


def _state(fill: float = 0.0, batch: int = 3) -> Outer:
    def tensor(*shape: int) -> Tensor:
        return torch.full((batch, *shape), fill)

    return Outer(tensor(2), (Inner(tensor(4, 3), tensor(2, 2, 2)), Inner(tensor(4, 3), tensor(2, 2, 2))), ())


def test_names_are_the_path_and_in_order() -> None:
    assert list(named(_state())) == ["level", "layers_0_conv", "layers_0_ssm", "layers_1_conv", "layers_1_ssm"]
    assert list(named(_state(), "mixer"))[:2] == ["mixer_level", "mixer_layers_0_conv"]
    assert list(named(torch.zeros(1), "alone")) == ["alone"]
    assert named(()) == {}


def test_what_was_taken_apart_is_put_together_again() -> None:
    state = mapped(_state(), torch.rand_like)
    again = rebuilt(_state(), list(named(state).values()))
    assert isinstance(again, Outer)
    assert isinstance(again.layers[1], Inner)
    assert all(a is b for a, b in zip(named(state).values(), named(again).values(), strict=True))


@pytest.mark.parametrize(("change", "said"), [(1, "6 tensors are more"), (-1, "fewer tensors")])
def test_a_wrong_number_of_tensors_is_refused(change: int, said: str) -> None:
    values = list(named(_state()).values())
    with pytest.raises(ValueError, match=said):
        rebuilt(_state(), values + values[:1] if change > 0 else values[:change])


def test_detached_states_have_no_history() -> None:
    state = mapped(_state(), lambda value: value.clone().requires_grad_() * 2)
    assert all(value.requires_grad for value in named(state).values())
    assert not any(value.requires_grad for value in named(detached(state)).values())


def test_only_the_rows_that_are_reset_begin_anew() -> None:
    after = restarted(_state(7.0), _state(1.0), torch.tensor([False, True, False]))
    for value in named(after).values():
        assert (value[1] == 1).all()
        assert (value[[0, 2]] == 7).all()


def test_a_reset_row_is_new_even_if_it_had_become_nan() -> None:
    after = restarted(_state(float("nan")), _state(1.0), torch.tensor([True, True, True]))
    assert all((value == 1).all() for value in named(after).values())
