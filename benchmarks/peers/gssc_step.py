"""One streaming step of GSSC 0.0.9, by the Python of the peers' environment: see benchmarks/README.md.

    .venv-peers/bin/python benchmarks/peers/gssc_step.py [steps]

Loads the two nets that lie in its wheel and times one epoch of one EEG and one EOG channel, z-scored and at the
2560 samples that it wants, through both, the hidden state of the second carried from step to step. It has no
provisional stage; a second that is staged costs it as much as an epoch. Nothing of it is kept.
"""

import json
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gssc.networks
import numpy as np
import torch
from torch import Tensor, nn

SAMPLES = 2560
HIDDEN = (10, 1, 256)
WARM_UP = 5


def load(path: Path) -> Any:
    """A net, unpickled by torch's restricted reader with the classes that it is made of and nothing else."""
    layers = ("Conv1d", "Dropout", "GroupNorm", "GRU", "Identity", "LeakyReLU", "Linear", "LogSoftmax", "AvgPool1d")
    blocks = ("ResBlock", "ResBottleneck", "ResDecision", "ResMixer", "ResSignal", "ResSleep", "SleepGRU")
    scalar = (np.float64(0).__reduce__()[0], "numpy.core.multiarray.scalar")
    allowed = [
        *(getattr(nn, name) for name in (*layers, "Sequential", "ModuleDict")),
        *(getattr(gssc.networks, name) for name in blocks),
        scalar,
        np.dtype,
        type(np.dtype(np.int64)),
        type(np.dtype(np.float64)),
    ]
    with torch.serialization.safe_globals(allowed):
        return torch.load(path, weights_only=True, map_location="cpu").eval()


class Step(nn.Module):
    """Both nets as one step: (eeg, eog, hidden) -> (log probabilities, hidden)."""

    def __init__(self, signals: Any, context: Any) -> None:
        super().__init__()
        self.signals, self.context = signals, context

    def forward(self, eeg: Tensor, eog: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """`eeg` and `eog` (1, 1, 2560), `hidden` (10, 1, 256)."""
        tokens = self.signals({"eeg": eeg, "eog": eog}, rep_output="rep_only")
        stages, hidden = self.context(tokens.swapaxes(-1, 1), hidden)
        return stages, hidden


def time_steps(run: Callable[[Tensor, Tensor, Tensor], Tensor], steps: int) -> list[float]:
    """Milliseconds of each step of `run`, which takes an epoch and the hidden state and gives the next one."""
    hidden, generator, times = torch.zeros(HIDDEN), torch.Generator().manual_seed(0), list[float]()
    for _ in range(steps + WARM_UP):
        eeg, eog = (torch.randn(1, 1, SAMPLES, generator=generator) for _ in range(2))
        before, started = hidden, time.perf_counter()
        hidden = run(eeg, eog, hidden)
        times.append(1000 * (time.perf_counter() - started))
        assert not torch.equal(hidden, before), "the state did not change"
    return times[WARM_UP:]


def in_torch(step: Step, steps: int) -> list[float]:
    """Milliseconds of each step in torch."""
    with torch.inference_mode():
        return time_steps(lambda *inputs: step(*inputs)[1], steps)


def in_onnxruntime(step: Step, steps: int) -> list[float]:
    """Milliseconds of each step as a graph in onnxruntime, one thread; it is gone at the end."""
    import onnxruntime

    options, names = onnxruntime.SessionOptions(), ["eeg", "eog", "hidden"]
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    inputs = (torch.randn(1, 1, SAMPLES), torch.randn(1, 1, SAMPLES), torch.zeros(HIDDEN))
    with warnings.catch_warnings(), torch.no_grad(), TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        graph = f"{folder}/step.onnx"
        torch.onnx.export(step, inputs, graph, input_names=names, opset_version=17, dynamo=False)
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def run(*values: Tensor) -> Tensor:
        feeds = {name: value.numpy() for name, value in zip(names, values, strict=True)}
        return torch.from_numpy(session.run(None, feeds)[1])

    return time_steps(run, steps)


def main(steps: int) -> None:
    """Print one line of JSON: milliseconds of each step, the peak memory of doing it in torch, versions."""
    torch.set_num_threads(1)
    nets = Path(gssc.networks.__file__).parent / "nets"
    step = Step(load(nets / "sig_net_v1.pt"), load(nets / "gru_net_v1.pt"))
    report: dict[str, Any] = {"torch_ms": in_torch(step, steps), "peak_mib": peak_mib()}
    versions = ["gssc", "torch"]
    with suppress(ImportError):
        report["onnxruntime_ms"] = in_onnxruntime(step, steps)
        versions.append("onnxruntime")
    report["parameters"] = sum(parameter.numel() for parameter in step.parameters())
    report["versions"] = ", ".join(f"{name} {version(name)}" for name in versions)
    print(json.dumps(report))


def peak_mib() -> float | None:
    """The largest resident memory of this process so far, where Linux says it."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    return next(int(line.split()[1]) / 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60)
