"""mamba-ssm's Triton kernels as a fast path for the scan of Mamba-2, where there are a GPU and that package.

Called is its operator `mamba_chunk_scan_combined`, which takes a state and gives one back (its modules do not); the
convolution with its carried inputs, the gate and the norm stay ours. The kernels round as TF32 or bfloat16 does, so
results agree to about 1e-3, not to the last bit: a run says which of the two it used.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

KERNELS = ("auto", "torch", "mamba-ssm")
NEEDED = ("mamba_ssm", "triton", "einops", "packaging")


def missing() -> str | None:
    """Why the kernels cannot run here, in one line; None when they can."""
    absent = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if absent:
        return f"not installed: {', '.join(absent)}"
    if not torch.cuda.is_available():
        return "torch sees no CUDA GPU"
    try:
        _operator()
    except Exception as error:  # whatever a build for another torch or Triton raises, the torch code still runs
        return f"mamba_ssm does not load: {error}"
    return None


def used(kernels: str, u: Tensor) -> bool:
    """Whether the scan of `u` goes through the kernels: "auto" where they can run, "mamba-ssm" always, "torch" never.

    Raises RuntimeError where "mamba-ssm" was asked for and cannot be had.
    """
    if kernels == "torch" or (kernels == "auto" and not u.is_cuda):
        return False
    reason = _missing_once()
    if kernels == "mamba-ssm" and (reason or not u.is_cuda):
        raise RuntimeError(f'kernels "mamba-ssm" cannot be used: {reason or "the input is not on a GPU"}; use "torch"')
    return reason is None


def scan(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, h: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
    """As `mamba2.scan`: `x` (B, L, H, P), `dt` (B, L, H), `A` (H,), `B` and `C` (B, L, N), `h` (B, H, P, N)."""
    group_B, group_C = B.unsqueeze(2), C.to(B.dtype).unsqueeze(2)  # one group: (B, L, 1, N)
    y, h = _operator()(x.to(B.dtype), dt, A, group_B, group_C, chunk, initial_states=h, return_final_states=True)
    return y, h.float()


@cache
def _missing_once() -> str | None:
    return missing()


@cache
def _operator() -> Callable[..., Any]:
    """The operator, without running `mamba_ssm/__init__.py`: that imports a CUDA extension which only Mamba-1 needs
    and a wheel without CUDA has not, and a whole library of language models.
    """
    name = "mamba_ssm"
    if name in sys.modules:
        return _combined()
    spec = importlib.util.find_spec(name)
    if spec is None:
        raise ImportError(f"{name} is not installed")
    bare = ModuleType(name)
    bare.__path__ = list(spec.submodule_search_locations or [])
    sys.modules[name] = bare
    try:
        return _combined()
    finally:
        del sys.modules[name]  # who wants the whole package still gets it


def _combined() -> Callable[..., Any]:
    operator: Callable[..., Any] = importlib.import_module(
        "mamba_ssm.ops.triton.ssd_combined"
    ).mamba_chunk_scan_combined
    return operator
