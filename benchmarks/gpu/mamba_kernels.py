"""mamba-ssm's Triton scan beside ours on one GPU: how far outputs, final state and gradients differ, and how fast.

python -m benchmarks.gpu.mamba_kernels ROUNDS

It prints lines of JSON, each a `Row`. Exit code 2, and the reason on stderr, when the kernels cannot run.

Needs torch for CUDA (which brings Triton), einops, packaging, and mamba-ssm. Of that only the Triton part is used, so
it needs no CUDA compiler; without both variables its build looks for one:

    MAMBA_SKIP_CUDA_BUILD=TRUE MAMBA_FORCE_BUILD=TRUE pip install --no-deps --no-build-isolation mamba-ssm
"""

import copy
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import msgspec
import torch
from torch import Tensor

from benchmarks.gpu.row import Row
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


def trained_s(layer: Mamba2, batch: int, length: int, rounds: int, half: bool) -> list[float]:
    """Seconds of one stretch forward and backward, each round."""
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
    return taken[3:]  # the first compile and tune


def rows(rounds: int) -> Iterator[Row]:
    """Each size, by our scan and by the kernels, in float32 and with autocast."""
    kernels_by = ", ".join(f"{name} {version(name)}" for name in ("mamba-ssm", "triton"))
    named = {"torch": f"scan, ours, torch {version('torch')}", "mamba-ssm": f"scan, {kernels_by}"}
    for d_model, d_state, headdim, batch, length in SIZES:
        torch.manual_seed(0)
        layer = Mamba2(d_model, d_state, headdim=headdim).to("cuda")
        far = difference(layer, batch, length)
        note = f"differs by {far.output:.1e}, final state {far.state:.1e}, gradients {far.gradient:.1e}"
        for half in (False, True):
            for kernels, what in named.items():
                layer.kernels = kernels
                yield Row(
                    f"{what}, {'bfloat16' if half else 'float32'}",
                    f"{batch} of {length}, d_model {d_model}, d_state {d_state}",
                    trained_s(layer, batch, length, rounds, half),
                    note=note if kernels == "mamba-ssm" and not half else "",
                )


def main(rounds: int) -> None:
    """Print the rows."""
    if reason := mamba_kernels.missing():
        print(f"{reason}; see the head of benchmarks/gpu/mamba_kernels.py", file=sys.stderr)
        raise SystemExit(2)
    for row in rows(rounds):
        print(msgspec.json.encode(row).decode(), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
