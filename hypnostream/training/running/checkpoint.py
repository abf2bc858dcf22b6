"""All that a training is between two rounds, and as one file of tensors: what a killed run goes on from.

One safetensors file, its numbers as JSON in the header, so that weights and place can never be of two moments.
"""

import json
from dataclasses import asdict, dataclass, field

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from hypnostream.errors import UserError

FORMAT = 1


@dataclass(slots=True)
class Place:
    """Where a training is: the round to do next, steps made, the losses of this pass so far, the passes behind it."""

    pass_index: int = 0
    round_index: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    count: int = 0
    curves: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0  # at work, over all starts


@dataclass(slots=True)
class TrainingState:
    """The module with all it holds (an EMA teacher too), the optimiser's moments, the averaged weights, the place."""

    module: nn.Module
    optimiser: torch.optim.Optimizer
    averaged: list[Tensor]
    place: Place = field(default_factory=Place)

    def tensors(self) -> dict[str, Tensor]:
        """By name: `module.*`, `averaged.*` in the order of what learns, `optimiser.*` by place and name."""
        moments = self.optimiser.state_dict()["state"]
        return (
            {f"module.{name}": value for name, value in self.module.state_dict().items()}
            | {f"averaged.{index}": value for index, value in enumerate(self.averaged)}
            | {f"optimiser.{index}.{name}": value for index, each in moments.items() for name, value in each.items()}
        )


def written(state: TrainingState) -> bytes:
    """The state as a file."""
    # Cloned: tied weights share their memory, which the format refuses.
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in state.tensors().items()}
    return save(tensors, {"format": str(FORMAT), "place": json.dumps(asdict(state.place))})


def restore(state: TrainingState, content: bytes) -> None:
    """Make `state` what it was when `content` was written. Raises UserError when that was another model's."""
    try:
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
        if header["format"] != str(FORMAT):
            raise UserError(f"the checkpoint has format {header['format']} and must have {FORMAT}; begin a new run")
        state.place = Place(**json.loads(header["place"]))
        tensors = load(content)
        state.module.load_state_dict(_under("module.", tensors))
        for mean, value in zip(state.averaged, _under("averaged.", tensors).values(), strict=True):
            mean.copy_(value)
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in _under("optimiser.", tensors).items():
            index, _, name = key.partition(".")
            moments.setdefault(int(index), {})[name] = value
        groups = state.optimiser.state_dict()["param_groups"]
        state.optimiser.load_state_dict({"state": moments, "param_groups": groups})
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        line = str(error).strip().partition("\n")[0]
        raise UserError(f"the checkpoint is not of this model, or damaged ({line}); begin a new run") from error


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those named so, without the prefix; numbered ones in the order of their numbers."""
    found = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    return dict(sorted(found.items(), key=lambda item: (int(item[0]) if item[0].isdigit() else 0, item[0])))
