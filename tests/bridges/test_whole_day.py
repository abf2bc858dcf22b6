"""What the benchmark of a whole day shows, in short."""

import sys

import pytest

from benchmarks.whole_day import day, equal, equal_said, replayed

HOURS = 0.5


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it measures itself in /proc")
def test_a_night_with_faults_kept_and_published_equals_its_plain_replay_in_the_log_and_at_the_subscriber() -> None:
    night, truth = day(HOURS, keep_signals=True), replayed(HOURS)
    assert len(truth) == 60
    assert {channel.quality for result in truth for channel in result.channels} > {"ok"}  # the faults were seen
    assert night.measured["lost"]["eeg"] > 0
    assert equal(truth, night.logged) == len(night.logged) == 60
    assert equal_said(truth, night.received) == len(night.received) == 60
    assert (night.counted["lost"], night.counted["missing"]) == (0, 0)
