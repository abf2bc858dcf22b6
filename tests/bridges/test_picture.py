import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from hypnostream.bridges.picture import HEIGHT_PX, LEFT_PX, RIGHT_PX, WIDTH_PX, Night, agreement_line, draw_night
from hypnostream.bridges.picture import statistics_line as line_of
from hypnostream.bridges.picture_panels import ABSENT, DIFFERS, QUALITY_COLOURS, STAGE_COLOURS, time_ticks
from hypnostream.engine.agreement import agreement
from hypnostream.engine.sleep_statistics import sleep_statistics
from hypnostream.stream.channels import FLAT, QUALITY_NAMES
from hypnostream.stream.stages import stage_codes
from tests.bridges.nights import CHANNELS, night

CYCLE = "www122233332222111rrrr.."


def night_of(stages: str, channels: tuple[str, ...] = CHANNELS) -> Night:
    results = night(stages, channels)
    statistics = sleep_statistics(stage_codes(result.stage for result in results))
    return Night("SC4001E0-PSG.edf", results, channels, statistics, "stager", "9f" * 32)


def pixels(night: Night) -> NDArray[np.uint8]:
    """The picture as (height, width, RGB), after Pillow has checked it."""
    png = draw_night(night)
    Image.open(BytesIO(png)).verify()
    picture = np.asarray(Image.open(BytesIO(png)).convert("RGB"))
    assert picture.shape == (HEIGHT_PX, WIDTH_PX, 3) == (900, 1600, 3)
    return picture


def count(picture: NDArray[np.uint8], colour: str) -> int:
    """How many pixels within the panels have exactly this colour."""
    rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return int((picture[:850, LEFT_PX:RIGHT_PX] == rgb).all(axis=2).sum())


def test_every_stage_and_every_state_of_a_sensor_is_in_the_picture() -> None:
    picture = pixels(night_of(CYCLE * 40))
    for colour in (*STAGE_COLOURS.values(), *QUALITY_COLOURS, ABSENT):
        assert count(picture, colour) > 400, colour
    assert count(picture, DIFFERS) == count(picture, QUALITY_COLOURS[3])  # saturated; without a reference nothing else


def test_a_stage_that_was_not_there_takes_no_room() -> None:
    only_rem, only_n3 = pixels(night_of("r" * 200)), pixels(night_of("3" * 200))
    assert count(only_rem, STAGE_COLOURS["R"]) > 3 * count(only_n3, STAGE_COLOURS["R"])
    assert count(only_n3, STAGE_COLOURS["N3"]) > 3 * count(only_rem, STAGE_COLOURS["N3"])


def test_lights_off_and_on_are_lines_through_all_panels_and_notes_are_sparse() -> None:
    plain = night_of(CYCLE * 40)
    lit = replace(plain, lights_off_s=3600.0, lights_on_s=20_000.0)
    changed = (pixels(lit) != pixels(plain)).any(axis=2)[100:790, LEFT_PX:RIGHT_PX]
    changed = changed[:, changed.mean(axis=0) > 0.7]  # whole columns
    assert 2 <= changed.shape[1] <= 6  # two lines, thin ones
    noted = replace(plain, notes=tuple((float(at_s), "note $x^2$") for at_s in range(0, 28_000, 30)))
    lines = (pixels(noted) != pixels(plain)).any(axis=2)
    assert lines[60:110].any()
    assert not lines[110:].any()  # above the panels, nowhere else
    outside = replace(plain, lights_off_s=-60.0, lights_on_s=1e9)
    assert np.array_equal(pixels(outside), pixels(plain))


def test_time_goes_from_left_to_right() -> None:
    picture = pixels(night_of("r" * 300 + "3" * 300))
    rem = [int(STAGE_COLOURS["R"][i : i + 2], 16) for i in (1, 3, 5)]
    columns = np.flatnonzero((picture[100:280] == rem).all(axis=2).any(axis=0))
    assert columns[0] == pytest.approx(LEFT_PX, abs=2)
    assert columns[-1] == pytest.approx((LEFT_PX + RIGHT_PX) / 2, abs=2)


def test_a_reference_and_where_it_differs_are_shown() -> None:
    plain = night_of(CYCLE * 40)
    scored = stage_codes(result.stage for result in plain.results)
    other = np.where(scored == 2, 3, scored)[:-50]
    same = pixels(replace(plain, reference=scored, agreement=agreement(scored, scored)))
    differs = pixels(replace(plain, reference=other, agreement=agreement(other, scored)))
    assert count(differs, DIFFERS) > count(same, DIFFERS) + 200
    assert not np.array_equal(same, pixels(plain))


def test_the_sensor_of_an_epoch_is_in_its_place() -> None:
    plain = night_of("2" * 600, ("eeg", "eog"))
    flat = QUALITY_NAMES[FLAT]
    results = [
        replace(
            result,
            channels=tuple(
                replace(state, quality=flat if state.name == "eog" and 300 <= result.epoch < 450 else "ok")
                for state in result.channels
            ),
        )
        for result in plain.results
    ]
    picture = pixels(replace(plain, results=results))
    blue = (picture[:850] == [int(QUALITY_COLOURS[FLAT][i : i + 2], 16) for i in (1, 3, 5)]).all(axis=2)
    rows, columns = np.flatnonzero(blue.any(axis=1)), np.flatnonzero(blue.any(axis=0))
    width = RIGHT_PX - LEFT_PX
    assert columns[[0, -1]] == pytest.approx([LEFT_PX + width / 2, LEFT_PX + width * 3 / 4], abs=2)
    assert rows.size > 10
    assert rows[0] > 700  # the lower of the two strips at the bottom


@pytest.mark.parametrize("stages", ["", "w", ".", "." * 300, CYCLE * 400])
def test_any_length_of_night_can_be_drawn(stages: str) -> None:
    pixels(night_of(stages))


@pytest.mark.parametrize("channels", [(), tuple(f"channel_number_{i}" for i in range(40))])
def test_any_number_of_channels_can_be_drawn(channels: tuple[str, ...]) -> None:
    pixels(night_of(CYCLE, channels))


@pytest.mark.parametrize("title", ["$\\frac{1}$.edf", "a\nb\x00\x1b[31m", "夜の記録.edf", "x" * 500, "", "%s {} _^"])
def test_any_file_name_can_be_the_title(title: str) -> None:
    pixels(replace(night_of(CYCLE), title=title, model_name=title, start_utc=datetime(2026, 1, 1, tzinfo=UTC)))


def test_drawing_needs_no_display_and_importing_the_report_no_matplotlib_or_pyarrow() -> None:
    program = """
import sys
import hypnostream.bridges.report
assert not {"matplotlib", "pyarrow"} & set(sys.modules)
from tests.bridges.test_picture import night_of
from hypnostream.bridges.picture import draw_night
draw_night(night_of("w12"))
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2])


def test_the_axis_shows_round_clock_times_where_the_start_is_known() -> None:
    positions_h, labels = time_ticks(8.0, datetime(2026, 1, 1, 22, 41, 30, tzinfo=UTC))
    assert labels == ["23:00", "00:00", "01:00", "02:00", "03:00", "04:00", "05:00", "06:00"]
    assert positions_h[0] == pytest.approx(18.5 / 60)


def test_the_axis_keeps_to_the_clock_when_it_is_put_forward() -> None:
    _, labels = time_ticks(5.0, datetime(2026, 3, 28, 23, 0, tzinfo=ZoneInfo("Europe/Berlin")))
    assert [label for label in labels if label in ("01:00", "02:00", "03:00")] == ["01:00", "03:00"]


@pytest.mark.parametrize(
    ("hours", "first", "last"), [(8.0, "0:00", "8:00"), (0.2, "0:00", "0:12"), (30.0, "0:00", "30:00")]
)
def test_the_axis_counts_hours_where_it_is_not(hours: float, first: str, last: str) -> None:
    positions_h, labels = time_ticks(hours, None)
    assert (labels[0], labels[-1]) == (first, last)
    assert 4 <= len(positions_h) <= 14


@pytest.mark.parametrize("hours", [0.01, 0.5, 3.0, 13.0, 100.0, 2000.0])
def test_the_axis_is_never_crowded(hours: float) -> None:
    assert len(time_ticks(hours, datetime(2026, 1, 1, 22, 41, tzinfo=UTC))[0]) <= 14
    assert len(time_ticks(hours, None)[0]) <= 14


def test_the_lines_of_figures_say_what_is_not_defined_with_a_dash() -> None:
    statistics = sleep_statistics(stage_codes(["W", None]))
    assert line_of(statistics) == (
        "sleep 0 min   efficiency 0 %   sleep latency –   REM latency –   awake after onset –"
        "   no answer in 1 of 2 epochs"
    )
    same = np.zeros(3, dtype=np.int8)
    assert agreement_line(agreement(same, same)) == "accuracy 1.000   κ –   macro-F1 1.000"
