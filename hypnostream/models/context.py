"""Temporal context by name: every arm of the ablation behind one contract, `models.state.Recurrent`.

A mixer goes where a residual is around it: `x + mixer(norm(x))`. All but "bidirectional" are causal; a row of a batch
starts anew by `state.restarted(state, mixer.initial_state(batch), reset)`.
"""

from torch import Tensor, nn

from hypnostream.models.bidirectional import Bidirectional
from hypnostream.models.cross_branch import CrossBranch
from hypnostream.models.gru import GRU
from hypnostream.models.mamba1 import Mamba1
from hypnostream.models.mamba2 import Mamba2
from hypnostream.models.past_attention import PastAttention

CAUSAL_KINDS = ("none", "gru", "mamba1", "mamba2", "attention", "mcta")
KINDS = (*CAUSAL_KINDS, "bidirectional")


def causal_only(where: str, *kinds: str | None) -> None:
    """Raises ValueError when one of the `kinds`, which are set at `where`, cannot be streamed; None is none."""
    for kind in kinds:
        if kind not in (None, *CAUSAL_KINDS):
            raise ValueError(
                f"{where} is {kind!r}, which reads the future: no bundle can; it must be one of "
                f"{', '.join(CAUSAL_KINDS)} (what it is worth, `train compare` measures)"
            )


class NoContext(nn.Module):
    """Each element as it is: what a model knows without a past. Its state is empty."""

    def initial_state(self, batch: int) -> tuple[()]:
        """Nothing."""
        return ()

    def forward(self, u: Tensor, state: tuple[()] | None = None) -> tuple[Tensor, tuple[()]]:
        """(B, L, D), unchanged."""
        return u, ()

    def step(self, u: Tensor, state: tuple[()]) -> tuple[Tensor, tuple[()]]:
        """(B, D), unchanged."""
        return u, ()


Mixer = NoContext | GRU | Mamba1 | Mamba2 | PastAttention | CrossBranch | Bidirectional


def make_mixer(
    kind: str,
    d_model: int,
    *,
    d_state: int = 16,
    headdim: int = 64,
    d_conv: int = 4,
    expand: int = 2,
    past: int = 25,
    heads: int = 4,
) -> Mixer:
    """A mixer (B, L, D) -> (B, L, D) of one of `KINDS`; sizes that a kind has no use for are ignored.

    `d_state`, `headdim`, `d_conv`, `expand`: of the Mambas; `past` (elements looked back at) and `heads`: of attention.
    Raises ValueError for an unknown kind, or sizes that do not divide.
    """
    match kind:
        case "none":
            return NoContext()
        case "gru":
            return GRU(d_model)
        case "mamba1":
            return Mamba1(d_model, d_state, d_conv, expand)
        case "mamba2":
            return Mamba2(d_model, d_state, d_conv, expand, headdim)
        case "attention":
            return PastAttention(d_model, heads, past)
        case "mcta":
            return CrossBranch(d_model, d_state, d_conv, expand, headdim, heads, past)
        case "bidirectional":
            return Bidirectional(d_model, d_state, d_conv, expand, headdim)
    raise ValueError(f"context {kind!r} is not known; choose one of {', '.join(KINDS)}")
