"""What each kind of temporal context costs: to train, and for one step of one bed.

python -m benchmarks.context [rounds]
"""

import sys
import time
from importlib.metadata import version

import torch

from benchmarks.report import heading, quantile, table
from hypnostream.models.context import CAUSAL_KINDS, KINDS, Mixer, make_mixer
from hypnostream.models.state import State, named

D_MODEL, BATCH, LENGTH = 128, 8, 128
METHOD = f"""\
One mixer of width {D_MODEL} (d_state 16, headdim 64, 25 elements of past, 4 heads), torch {version("torch")}, one
thread. Trained: forward and backward of {BATCH} nights by {LENGTH} epochs, the kinds in turn in each round, medians
over the rounds, in seconds of CPU; bfloat16 is `torch.autocast`. One step: one bed, as torch runs it (an exported graph
is faster), on the clock."""


def trained_s(mixer: Mixer, half: bool) -> float:
    """Seconds of CPU of one stretch forward and backward."""
    u = torch.randn(BATCH, LENGTH, D_MODEL, requires_grad=True)
    start = time.process_time()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        y, _ = mixer(u)
    torch.autograd.grad(y.float().square().mean(), [u, *mixer.parameters()])
    return time.process_time() - start


@torch.no_grad()
def steps_s(mixer: Mixer, count: int) -> list[float]:
    """Seconds of each of `count` steps of one bed."""
    u, taken = torch.randn(count, 1, D_MODEL), list[float]()
    state: State = mixer.initial_state(1)
    for element in u:
        start = time.perf_counter()
        _, state = mixer.step(element, state)
        taken.append(time.perf_counter() - start)
    return taken


def main(rounds: int = 9) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    heading("Temporal context", METHOD)
    mixers: dict[str, Mixer] = {kind: make_mixer(kind, D_MODEL).train() for kind in KINDS}
    trained: dict[tuple[str, bool], list[float]] = {(kind, half): [] for kind in KINDS for half in (False, True)}
    for kind, half in trained:
        trained_s(mixers[kind], half)  # what does not count: allocation, compilation
    for _ in range(rounds):
        for (kind, half), taken in trained.items():
            taken.append(trained_s(mixers[kind], half))
    rows = []
    for kind, mixer in mixers.items():
        per_s = [f"{BATCH * LENGTH / quantile(trained[kind, half], 0.5):.0f}" for half in (False, True)]
        rows.append([kind, _parameters(mixer), _state_bytes(mixer), *per_s, *_step(kind, mixer)])
    table(["", "parameters", "state, bytes", "epochs/s", "in bfloat16", "one step, ms", "p99"], rows)


def _parameters(mixer: Mixer) -> str:
    return f"{sum(p.numel() for p in mixer.parameters())}"


def _state_bytes(mixer: Mixer) -> str:
    return f"{sum(4 * value.numel() for value in named(mixer.initial_state(1)).values())}"


def _step(kind: str, mixer: Mixer) -> list[str]:
    if kind not in CAUSAL_KINDS:
        return ["", ""]
    taken = steps_s(mixer.eval(), 1100)[100:]
    return [f"{1000 * quantile(taken, 0.5):.3f}", f"{1000 * quantile(taken, 0.99):.3f}"]


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9)
