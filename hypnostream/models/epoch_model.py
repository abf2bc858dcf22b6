"""What may be shipped as a bundle's epoch graph: whatever front-end it has, it is asked and carried in one way."""

from typing import Any, Protocol

from torch import Tensor

from hypnostream.models.stager import Answer
from hypnostream.models.state import State


class Sizes(Protocol):
    """What a bundle says of a model's config."""

    @property
    def channels(self) -> int:
        """How many sensors it has room for."""

    @property
    def min_valid_s(self) -> int:
        """Seconds of an epoch that a sensor must have."""


class EpochModel(Protocol):
    """A torch module whose state is zeros when a night has not begun."""

    @property
    def config(self) -> Sizes:
        """What it is like."""

    def initial_state(self, batch: int) -> State:
        """The state of a night that has not begun: zeros, as a session starts with."""

    def step(self, signal: Tensor, valid: Tensor, age_s: Tensor, state: Any) -> tuple[Answer, Any]:
        """One epoch from signals: (B, C, 3000), (B, C, 30), (B, C) -> what it is, and the next state."""

    def eval(self) -> Any:
        """As `nn.Module.eval`."""

    def float(self) -> Any:
        """As `nn.Module.float`."""
