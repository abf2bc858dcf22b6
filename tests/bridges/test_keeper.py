"""What is known of a session that was cut off, before it goes on."""

import os
import time
from pathlib import Path

import pytest

from hypnostream.bridges.checkpoint import Checkpoint, write_checkpoint
from hypnostream.bridges.journal import Journal
from hypnostream.bridges.keeper import Interrupted
from hypnostream.bridges.live_session import bed_of
from hypnostream.bridges.session_folder import SessionFolder
from hypnostream.engine.backend import OnnxBackend
from hypnostream.engine.bundle import load_bundle
from hypnostream.engine.session import Session
from hypnostream.stream.source import Step
from tests.bridges.test_session_folder import RECORD


@pytest.mark.parametrize("speed", [1.0, 30.0])
def test_how_long_nothing_was_read_is_counted_from_the_last_step_whatever_was_written_since(
    tmp_path: Path, speed: float
) -> None:
    folder, bundle = SessionFolder(tmp_path), load_bundle()
    bed = bed_of(RECORD, Session(bundle, OnnxBackend(bundle), RECORD.t0_s))
    ago_s = 100.0
    write_checkpoint(
        folder.checkpoint_path, Checkpoint("abc123", 3, 500.0, time.time() - ago_s, {"epoch": 7}, bed.snapshot())
    )
    journal = Journal(folder.journal_path, 3)
    for second in (1, 2, 3):
        journal.append(Step(500.0 + second * speed))
    journal.begin(4)  # by who took it up and was killed at once
    journal.close()
    os.utime(folder.checkpoint_path)
    interrupted = Interrupted(folder)
    assert len(list(interrupted.steps())) == 3
    assert interrupted.now_s == 500.0 + 3 * speed
    assert interrupted.silence_s(speed) == pytest.approx(ago_s - 3, abs=1.0)
