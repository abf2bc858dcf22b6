"""Killed at random and started again, publisher and subscriber lose nothing final between them."""

import signal
from pathlib import Path

import pytest

from benchmarks.chaos import chaos

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="processes cannot be killed so here")


@pytest.mark.parametrize("kills", [12, pytest.param(50, marks=pytest.mark.slow)])
def test_nothing_final_is_lost_whoever_is_killed(tmp_path: Path, kills: int) -> None:
    outcome = chaos(tmp_path, kills, seed=kills)
    assert (outcome.missing, outcome.repeated, outcome.disordered, outcome.wrong) == (0, 0, 0, 0)
    assert outcome.kills.total() >= kills
    assert outcome.said > kills
