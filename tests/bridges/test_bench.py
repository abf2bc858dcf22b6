import sys
from pathlib import Path

import numpy as np
import pytest

from hypnostream.bridges.bench import machine, time_steps
from hypnostream.bridges.bench_night import CHANNELS, write_night
from hypnostream.bridges.bench_process import measure
from hypnostream.bridges.edf import EdfSource
from hypnostream.bridges.own_process import own_command, own_environment
from hypnostream.engine.bundle import load_bundle
from hypnostream.errors import UserError


def test_every_second_of_every_epoch_is_timed_once() -> None:
    times = time_steps(load_bundle(), epochs=2)
    assert times.final_s.shape == (2,)
    assert times.provisional_s.shape == (2 * 29,)
    assert 0 < times.final_s.min() <= times.final_s.max() < 60


def test_the_machine_has_a_name_and_cores() -> None:
    assert " core" in machine()["machine"]
    assert "Python 3." in machine()["system"]


def test_a_process_costs_what_it_takes_and_not_what_its_parent_took() -> None:
    ours = np.ones(40 << 20)  # 320 MiB here that are none of the child's
    small = measure([sys.executable, "-I", "-c", "pass"])
    large = measure([sys.executable, "-I", "-c", "import time; b = b'x' * (100 << 20); time.sleep(0.3)"])
    assert 1 < small.peak_mib < 60 < ours.nbytes / 2**20
    assert 100 < large.peak_mib < small.peak_mib + 130
    assert small.wall_s < large.wall_s
    assert large.wall_s > 0.3 > large.cpu_s


def test_a_process_that_fails_says_so_in_a_line() -> None:
    with pytest.raises(UserError, match=r"ended with 3: no such night$"):
        measure([sys.executable, "-c", "import sys; print('hm\\nno such night', file=sys.stderr); sys.exit(3)"])


def test_our_modules_run_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('a stranger from the current folder was imported')")
    monkeypatch.chdir(tmp_path)
    assert measure(own_command("hypnostream", "--version"), own_environment()).cpu_s > 0
    assert measure(own_command("hypnostream.stream.sosfilt"), own_environment()).cpu_s > 0


def test_the_recording_is_an_hour_over_and_over(tmp_path: Path) -> None:
    write_night(tmp_path / "night.edf", hours=1.5)
    source = EdfSource(tmp_path / "night.edf", chunk_s=1800.0)
    assert source.duration_s == 1.5 * 3600
    assert not source.warnings
    rates = {channel.label: info.rate_hz for info in source.streams for channel in info.channels}
    assert [rates[label] for label in CHANNELS] == [256] * 6 + [32, 1]
    first, _, again = (source.read(0.0)[0].samples for _ in range(3))
    source.close()
    np.testing.assert_array_equal(first, again)
    assert (first.std(axis=0) > 0).all()
