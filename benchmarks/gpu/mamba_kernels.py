"""mamba-ssm's Triton scan beside ours on one GPU: how far outputs, final state and gradients differ, and how fast.

python -m benchmarks.gpu.mamba_kernels [rounds]

Needs torch for CUDA (which brings Triton), einops, packaging, and mamba-ssm. Of that only the Triton part is used, so
it needs no CUDA compiler; without both variables its build looks for one:

    MAMBA_SKIP_CUDA_BUILD=TRUE MAMBA_FORCE_BUILD=TRUE pip install --no-deps --no-build-isolation mamba-ssm
"""

import copy
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

import torch
from torch import Tensor

from hypnostream.models import mamba_kernels
from hypnostream.models.mamba2 import Mamba2, MambaState

PARITY = 2e-3
# (d_model, d_state, headdim, batch, length): the product's epochs, its seconds, SynthSleepNet's module, a long stretch
SIZES = ((96, 16, 32, 8, 128), (128, 16, 64, 8, 1800), (512, 16, 64, 32, 20), (256, 64, 64, 8, 4096))


@dataclass(frozen=True, slots=True)
class Difference:
    """Largest differences, each relative to one plus the largest value of what it is about."""

    output: float
    state: float
    gradient: float

    @property
    def largest(self) -> float:
        """Of the three."""
        return max(self.output, self.state, self.gradient)


def difference(layer: Mamba2, batch: int, length: int) -> Difference:
    """Our scan and the kernels on the same weights, input and carried state, float32, on the layer's device."""
    generator = torch.Generator().manual_seed(0)
    device = layer.A_log.device
    u = torch.randn(batch, length, layer.d_model, generator=generator).to(device)
    state = layer.initial_state(batch)
    carried = [torch.randn(value.shape, generator=generator).to(device) for value in state]
    ours, theirs = (_answers(layer, kernels, u, carried) for kernels in ("torch", "mamba-ssm"))
    far = [float((a - b).abs().max() / (1 + a.abs().max())) for a, b in zip(ours, theirs, strict=True)]
    return Difference(far[0], max(far[1:3]), max(far[3:]))


def _answers(layer: Mamba2, kernels: str, u: Tensor, carried: Sequence[Tensor]) -> list[Tensor]:
    """Output, both parts of the state, and the gradient to input, carried state and every parameter."""
    layer = copy.deepcopy(layer)
    layer.kernels = kernels
    leaves = [value.clone().requires_grad_() for value in (u, *carried)]
    y, after = layer(leaves[0], MambaState(leaves[1], leaves[2]))
    loss = y.square().mean() + after.ssm.square().mean()
    gradients = torch.autograd.grad(loss, [*leaves, *layer.parameters()])
    # Gradients of a mean are tiny; at the scale of a sum "one plus the largest" is about the largest.
    return [y.detach(), after.conv.detach(), after.ssm.detach(), *(value * y.numel() for value in gradients)]


def trained_ms(layer: Mamba2, batch: int, length: int, rounds: int, half: bool) -> float:
    """Milliseconds of one stretch forward and backward, the median."""
    u = torch.randn(batch, length, layer.d_model, device="cuda", requires_grad=True)
    taken = []
    for _ in range(rounds + 3):
        torch.cuda.synchronize()
        start = time.perf_counter()
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=half):
            y, _ = layer(u)
        torch.autograd.grad(y.float().square().mean(), [u, *layer.parameters()])
        torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return 1000 * statistics.median(taken[3:])  # the first compile and tune


def main(rounds: int = 20) -> None:
    """Print the table; exit code 1 when something differs by more than it may, 2 when it cannot run."""
    if reason := mamba_kernels.missing():
        print(f"mamba-ssm's kernels cannot run here: {reason}. See the head of {__file__}.", file=sys.stderr)
        raise SystemExit(2)
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "triton", "mamba-ssm"))
    print(f"\n### mamba-ssm's scan beside ours\n\n{torch.cuda.get_device_name()}; {versions}.\n")
    print("Differences in float32, relative to one plus the largest value; ms are forward and backward, the median.\n")
    print(
        "| d_model, d_state, batch, length | output | final state | gradients | float32 ms, ours | kernels | times |"
        " bfloat16 ms, ours | kernels | times |"
    )
    print("|---|" + "---:|" * 9)
    worst = 0.0
    for d_model, d_state, headdim, batch, length in SIZES:
        torch.manual_seed(0)
        layer = Mamba2(d_model, d_state, headdim=headdim).to("cuda")
        far = difference(layer, batch, length)
        worst = max(worst, far.largest)
        cells = [f"{far.output:.1e}", f"{far.state:.1e}", f"{far.gradient:.1e}"]
        for half in (False, True):
            ms = []
            for kernels in ("torch", "mamba-ssm"):
                layer.kernels = kernels
                ms.append(trained_ms(layer, batch, length, rounds, half))
            cells += [f"{ms[0]:.2f}", f"{ms[1]:.2f}", f"{ms[0] / ms[1]:.1f}"]
        print(f"| {d_model}, {d_state}, {batch}, {length} | {' | '.join(cells)} |", flush=True)
    print(f"\nLargest difference {worst:.1e}; at most {PARITY:.0e} is promised.")
    if worst > PARITY:
        raise SystemExit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
