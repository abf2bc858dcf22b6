from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from hypnostream.bridges import picture_process
from hypnostream.bridges.picture import Night, draw_night
from hypnostream.bridges.picture_process import PictureProcess, decode_night, draw_apart, encode_night
from hypnostream.engine.agreement import agreement
from hypnostream.engine.sleep_statistics import sleep_statistics
from hypnostream.stream.stages import stage_codes
from tests.bridges.nights import CHANNELS, night


def full_night() -> Night:
    """A night in which every field is given."""
    results = night("www122233332222111rrrr.." * 4)
    codes = stage_codes(result.stage for result in results)
    reference = np.roll(codes, 2)
    return Night(
        title="Ein Schläfer",
        results=results,
        channels=list(CHANNELS),
        statistics=sleep_statistics(codes),
        model_name="stager",
        model_hash="9f" * 32,
        start_utc=datetime(2026, 1, 1, 22, 30, tzinfo=UTC),
        reference=reference,
        agreement=agreement(reference, codes),
    )


def refuse(_: Night) -> NoReturn:
    raise AssertionError("drawn in this process")


def test_a_night_survives_the_way_to_another_process() -> None:
    sent = full_night()
    came = decode_night(encode_night(sent))
    assert came.reference is not None
    np.testing.assert_array_equal(came.reference, sent.reference)
    assert replace(came, reference=None) == replace(sent, reference=None)
    without = replace(sent, reference=None, agreement=None, start_utc=None)
    assert decode_night(encode_night(without)) == without


def test_another_process_draws_the_same_picture(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "matplotlib.py").write_text("raise SystemExit('a stranger from the current folder was imported')")
    monkeypatch.chdir(tmp_path)
    here = draw_night(full_night())
    monkeypatch.setattr(picture_process, "draw_night", refuse)
    assert draw_apart(full_night()) == here


@pytest.mark.parametrize("interpreter", ["/nowhere/python", "/bin/false"])
def test_without_another_process_this_one_draws(monkeypatch: pytest.MonkeyPatch, interpreter: str) -> None:
    monkeypatch.setattr("sys.executable", interpreter)
    with PictureProcess() as process:
        process.start()
        assert process.draw(full_night()).startswith(b"\x89PNG")


def test_a_process_that_has_nothing_to_draw_ends() -> None:
    process = PictureProcess()
    process.start()
    started = process._process
    assert started is not None
    assert started.poll() is None
    process.close()
    assert started.returncode is not None
    process.close()
