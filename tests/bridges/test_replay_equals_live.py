"""The same recording through `replay` and over real LSL through `run`: the same epochs, the same probabilities."""

import math
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hypnostream.bridges.edf import EdfSource
from hypnostream.bridges.events_table import read_events_table
from hypnostream.bridges.lsl_outlet import LslOutlets
from hypnostream.bridges.tables import read_epochs
from hypnostream.engine.results import ChannelState, StageResult
from tests.bridges.live_bed import STOPPED_WITHIN_S, bed_file, running
from tests.recordings import write_night


def sensors(results: Sequence[StageResult]) -> list[list[ChannelState]]:
    """What state the sensors were in, epoch by epoch, but for their weights."""
    return [[replace(channel, weight=None) for channel in result.channels] for result in results]


def weights(result: StageResult) -> list[float]:
    return [channel.weight or 0.0 for channel in result.channels]


@pytest.mark.parametrize(
    ("epochs", "gaps_s", "speed"),
    [
        pytest.param(
            20,
            ((130, 197), (400, 401)),
            300.0,
            id="ten minutes at 300 times the speed of life",
            marks=pytest.mark.slow,
        ),
        pytest.param(8, ((0, 35), (100, 110)), math.inf, id="a gap at the start, as fast as it goes"),
    ],
)
def test_a_replay_says_what_was_said_live(
    tmp_path: Path, lsl_session_id: str, epochs: int, gaps_s: tuple[tuple[int, int], ...], speed: float
) -> None:
    """The same file through `replay` and, as four LSL streams of 128, 64, 32 and 1 Hz, through `run`."""
    recording = write_night(tmp_path / "night.edf", epochs, gaps_s)
    # Half a second on the wall, as at the speed of life a busy machine would have.
    bed = bed_file(tmp_path, lsl_session_id, minimum=4, lateness_s=max(2.0, min(0.5 * speed, 600.0)))
    source = EdfSource(recording, chunk_s=5.0)
    outlets = LslOutlets(source, speed)
    with running(bed, tmp_path / "live") as process:
        assert outlets.wait_for_consumers(STOPPED_WITHIN_S)
        outlets.run()
        _, err = process.communicate(timeout=STOPPED_WITHIN_S)
    outlets.close()
    assert process.returncode == 0, err
    command = [sys.executable, "-m", "hypnostream", "replay", str(recording), "--out", str(tmp_path / "replay")]
    subprocess.run(command, check=True, timeout=60, capture_output=True)
    live, replayed = (read_epochs(tmp_path / how / "epochs.parquet")[1] for how in ("live", "replay"))
    assert [result.epoch for result in live] == [result.epoch for result in replayed]
    assert [result.stage for result in live] == [result.stage for result in replayed]
    assert [result.absent_reason for result in live] == [result.absent_reason for result in replayed]
    assert [result.t_start_s for result in live] == [result.t_start_s for result in replayed]
    assert sensors(live) == sensors(replayed)
    for ours, theirs in zip(live, replayed, strict=True):
        np.testing.assert_allclose(ours.probabilities, theirs.probabilities, rtol=0, atol=1e-5)
        np.testing.assert_allclose(weights(ours), weights(theirs), rtol=0, atol=1e-5)
    assert len({result.probabilities for result in replayed}) == epochs
    events, again = (read_events_table(tmp_path / how / "events.parquet")[1] for how in ("live", "replay"))
    assert [row.event for row in events] == [row.event for row in again]
