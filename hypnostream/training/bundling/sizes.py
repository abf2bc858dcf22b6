"""How large models are: parameters, floating-point operations for a second of signal, bytes of carried state.

Operations are counted by torch's flop counter: matrix products and convolutions, two for each multiply-accumulate;
what is done element by element (norms, activations, a Mamba's gates) is not counted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from hypnostream.errors import UserError
from hypnostream.models.state import State, named
from hypnostream.ranges import above

CHANNELS = 8  # what the limit on operations is for


@dataclass(frozen=True, slots=True)
class Limits:
    """What a model may have: parameters, and operations for a second of `CHANNELS` channels. The defaults are those of
    what is shipped."""

    parameters: int = 2_000_000
    flops: float = 1e9

    def __post_init__(self) -> None:
        above(0, self, "parameters", "flops")


@dataclass(frozen=True, slots=True)
class Size:
    """One module. `flops` are those of a second of signal, `state_bytes` what one bed carries."""

    name: str
    parameters: int
    flops: float
    state_bytes: int = 0

    def __add__(self, other: "Size") -> "Size":
        """Both together, under this one's name."""
        return Size(
            self.name,
            self.parameters + other.parameters,
            self.flops + other.flops,
            self.state_bytes + other.state_bytes,
        )


def parameters(module: nn.Module) -> int:
    """How many numbers it holds that are parameters, learning or not; shared ones once."""
    return sum(p.numel() for p in module.parameters())


def flops(call: Callable[..., Any], *inputs: Any) -> int:
    """Operations of one call of a module, or of a method of one, as this module's head counts them."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call(*inputs)
    return int(counter.get_total_flops())


def state_bytes(state: State) -> int:
    """Bytes of a state."""
    return sum(value.numel() * value.element_size() for value in named(state).values())


def check(size: Size, limits: Limits | None = None) -> None:
    """Raises UserError when it is more than the limits allow, which are by default those of what is shipped."""
    limits = limits or Limits()
    if size.parameters > limits.parameters:
        raise UserError(
            f"{size.name} has {size.parameters:,} parameters and may have {limits.parameters:,}; lower d_model or "
            "layers, or have fewer members"
        )
    if size.flops > limits.flops:
        raise UserError(
            f"{size.name} takes {size.flops / 1e9:.2f} GFLOP a second and may take {limits.flops / 1e9:g}; lower "
            "its widths or its depth"
        )


def table(sizes: Sequence[Size]) -> str:
    """As Markdown."""
    rows = [f"| {s.name} | {s.parameters:,} | {s.flops / 1e6:,.2f} | {s.state_bytes:,} |" for s in sizes]
    return "\n".join(["| module | parameters | MFLOP a second | state, bytes |", "|---|---:|---:|---:|", *rows])
