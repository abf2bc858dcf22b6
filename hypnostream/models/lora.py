"""Low-rank adaptation: a trained layer stays as it is, and a product of two thin matrices learns beside it.

After Hu et al., "LoRA" (2021), arXiv:2106.09685, scaled by alpha / sqrt(rank) as in Kalajdzievski, "rsLoRA" (2023),
arXiv:2312.03732. `adapted` attaches them, `merged` adds them to the weights, so that what is exported is plain layers.
"""

import copy
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hypnostream.ranges import above, at_least, below_one, one_of

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class LoraSettings:
    """`down` starts "gaussian" (standard deviation 1 / rank) or "uniform" (Kaiming); `up` always starts at zero, so
    that an adapted module begins as what it was."""

    rank: int = 4
    alpha: float = 16.0
    dropout: float = 0.05
    down: str = "gaussian"

    def __post_init__(self) -> None:
        at_least(1, self, "rank")
        above(0, self, "alpha")
        below_one(self, "dropout")
        one_of(("gaussian", "uniform"), self, "down")

    @property
    def scale(self) -> float:
        """What the product is multiplied by: 8 for rank 4 and alpha 16, 4 for rank 4 and alpha 8."""
        return self.alpha / math.sqrt(self.rank)


class LoraLinear(nn.Module):
    """`base(x) + scale * up(down(dropout(x)))`; only `down` (R, in) and `up` (out, R) learn."""

    def __init__(self, base: nn.Linear, settings: LoraSettings) -> None:
        super().__init__()
        self.base, self.scale = base.requires_grad_(False), settings.scale
        self.down = nn.Parameter(base.weight.new_empty(settings.rank, base.in_features))
        self.up = nn.Parameter(base.weight.new_zeros(base.out_features, settings.rank))
        self.dropout = nn.Dropout(settings.dropout)
        self.active = True
        if settings.down == "gaussian":
            nn.init.normal_(self.down, std=1 / settings.rank)
        elif settings.down == "uniform":
            nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
        else:
            raise ValueError(f"down {settings.down!r} is no start of LoRA; choose gaussian or uniform")

    def forward(self, x: Tensor) -> Tensor:
        """`x` (..., in) -> (..., out)."""
        if not self.active:
            return self.base(x)  # type: ignore[no-any-return]
        low = F.linear(self.dropout(x), self.down)  # (..., R)
        out: Tensor = self.base(x) + self.scale * F.linear(low, self.up)
        return out

    def plain(self) -> nn.Linear:
        """One layer that does the same; its weights are new, those of the base are not touched."""
        base = self.base
        out = nn.Linear(base.in_features, base.out_features, base.bias is not None, base.weight.device)
        with torch.no_grad():
            product = self.up.double() @ self.down.double()
            out.weight.copy_(base.weight.double() + self.scale * product)
            if base.bias is not None:
                out.bias.copy_(base.bias)
        return out


def adapted(module: Module, layers: Iterable[str], settings: LoraSettings) -> Module:
    """Freeze `module` and put LoRA on those of its Linear layers whose name ends in one of `layers`; in place.

    No weight of it is drawn anew. "attn.proj" means each layer of that name, "proj" also those of other parents.
    Raises ValueError when a name fits no Linear layer, or `module` is itself one.
    """
    module.requires_grad_(False)
    for wanted in layers:
        plain = dict(_plain_linears(module))
        found = [name for name in plain if f".{name}".endswith(f".{wanted}")]
        if not found:
            raise ValueError(f"no Linear layer is named {wanted!r}; there are {', '.join(plain) or 'none'}")
        for name in found:
            _replace(module, name, LoraLinear(plain[name], settings))
    return module


def merged(module: Module) -> Module:
    """A copy of `module` with plain layers in place of the adapted ones, that says the same within rounding."""
    out = copy.deepcopy(module)
    for name, each in list(out.named_modules()):
        if isinstance(each, LoraLinear):
            _replace(out, name, each.plain())
    return out


@contextmanager
def as_given(module: nn.Module) -> Iterator[None]:
    """Within it an adapted module says what it said before it was adapted."""
    layers = [each for each in module.modules() if isinstance(each, LoraLinear)]
    for each in layers:
        each.active = False
    try:
        yield
    finally:
        for each in layers:
            each.active = True


def _plain_linears(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Linear]]:
    """The Linear layers inside, by name, but for those that are adapted already."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            yield prefix + name, child
        elif not isinstance(child, LoraLinear):
            yield from _plain_linears(child, f"{prefix}{name}.")


def _replace(module: nn.Module, name: str, by: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(module.get_submodule(parent), last, by)
