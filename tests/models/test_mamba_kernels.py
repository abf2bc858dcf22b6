"""The Triton fast path of Mamba-2: chosen by name, refused where it cannot run, the same numbers where it can."""

import pytest
import torch

from benchmarks.gpu.mamba_kernels import PARITY, difference
from hypnostream.models import mamba_kernels
from hypnostream.models.mamba2 import Mamba2

MISSING = mamba_kernels.missing()


def test_on_a_processor_auto_means_torch_and_says_the_same() -> None:
    torch.manual_seed(0)
    layer, u = Mamba2(32, d_state=8, headdim=16), torch.randn(1, 20, 32)
    assert layer.kernels == "auto"
    auto, _ = layer(u)
    layer.kernels = "torch"
    assert torch.equal(layer(u)[0], auto)


def test_kernels_that_were_asked_for_and_cannot_be_had_are_an_error_that_says_why() -> None:
    with pytest.raises(RuntimeError, match=r'kernels "mamba-ssm" cannot be used: .+; use "torch"'):
        Mamba2(32, headdim=16, kernels="mamba-ssm")(torch.randn(1, 4, 32))


def test_kernels_of_another_name_are_refused() -> None:
    with pytest.raises(ValueError, match="kernels 'cuda' are not known; choose one of auto, torch, mamba-ssm"):
        Mamba2(32, kernels="cuda")


@pytest.mark.skipif(MISSING is not None, reason=f"mamba-ssm's kernels cannot run here: {MISSING}")
@pytest.mark.parametrize(
    ("d_model", "d_state", "headdim", "batch", "length"),
    [(96, 16, 32, 1, 1), (96, 16, 32, 3, 130), (128, 16, 64, 2, 900), (128, 64, 64, 2, 200)],
)
def test_kernels_agree_in_output_final_state_and_gradients(
    d_model: int, d_state: int, headdim: int, batch: int, length: int
) -> None:
    torch.manual_seed(0)
    far = difference(Mamba2(d_model, d_state, headdim=headdim).to("cuda"), batch, length)
    assert far.largest < PARITY, far


@pytest.mark.skipif(MISSING is not None, reason=f"mamba-ssm's kernels cannot run here: {MISSING}")
@torch.no_grad()
def test_pieces_scanned_by_the_kernels_are_the_steps() -> None:
    torch.manual_seed(0)
    layer = Mamba2(96, headdim=32, kernels="mamba-ssm").to("cuda")
    u = torch.randn(2, 150, 96, device="cuda")
    stepped, state = layer.initial_state(2), None
    for piece in torch.split(u, [60, 1, 89], dim=1):
        y, state = layer(piece, state)
        for t in range(piece.shape[1]):
            expected, stepped = layer.step(piece[:, t], stepped)
            assert (y[:, t] - expected).abs().max() < PARITY * (1 + expected.abs().max())
