"""The contract of everything that is carried from step to step, and states as named tensors.

A recurrent module has `initial_state(batch)`, `forward(u, state)` for a stretch and `step(u, state)` for one element;
each returns its output and the state after it, and a stretch in any pieces gives what the whole gives. A state is
tensors in NamedTuples and tuples, nested as the modules are, batch first, float32; nothing is kept anywhere else.
"""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor

State = Any  # Tensor, or a tuple (a NamedTuple or a plain one) of States


class Recurrent(Protocol):
    """What reads a sequence without seeing what comes: a mixer, an imaginator, a normaliser."""

    def initial_state(self, batch: int) -> State:
        """The state before the first step."""

    def __call__(self, u: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """A stretch (B, L, D) -> (B, L, D), and the state after it."""

    def step(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        """One element (B, D) -> (B, D), and the next state."""


def named(state: State, name: str = "") -> dict[str, Tensor]:
    """A state as named tensors, in order: `layers_0_ssm` is field `ssm` of the first of `layers`."""
    if isinstance(state, Tensor):
        return {name: state}
    fields = state._fields if hasattr(state, "_fields") else range(len(state))
    out: dict[str, Tensor] = {}
    for key, part in zip(fields, state, strict=True):
        out |= named(part, f"{name}_{key}" if name else str(key))
    return out


def rebuilt(like: State, values: list[Tensor]) -> State:
    """The inverse of `named`, by order: `values` in the shape of `like`. Raises ValueError when the count differs."""
    left = iter(values)
    state = _filled(like, left)
    if next(left, None) is not None:
        raise ValueError(f"{len(values)} tensors are more than the state has")
    return state


def _filled(like: State, values: Iterator[Tensor]) -> State:
    if isinstance(like, Tensor):
        try:
            return next(values)
        except StopIteration:
            raise ValueError("fewer tensors than the state has") from None
    parts = [_filled(part, values) for part in like]
    return type(like)(*parts) if hasattr(like, "_fields") else tuple(parts)


def mapped(state: State, change: Callable[[Tensor], Tensor]) -> State:
    """The state with each tensor changed."""
    if isinstance(state, Tensor):
        return change(state)
    parts = [mapped(part, change) for part in state]
    return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)


def detached(state: State) -> State:
    """The same state, its history forgotten by the gradient."""
    return mapped(state, Tensor.detach)


def restarted(state: State, initial: State, reset: Tensor) -> State:
    """The state with the rows for which `reset` (B,) is true as they were at the beginning."""
    values, first = list(named(state).values()), list(named(initial).values())
    chosen = [torch.where(reset.reshape(-1, *(1,) * (v.ndim - 1)), f, v) for v, f in zip(values, first, strict=True)]
    return rebuilt(state, chosen)
