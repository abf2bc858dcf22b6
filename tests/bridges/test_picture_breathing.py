"""Breathing in the picture of a night: what is there is seen, what is not takes no room."""

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from hypnostream.bridges.picture import BOTTOM_PX, HEIGHT_PX, LEFT_PX, RIGHT_PX, WIDTH_PX, Night, draw_night
from hypnostream.bridges.picture_breathing import (
    EVENT_ROWS,
    LOW_SPO2_COLOUR,
    LOW_ZONE_COLOUR,
    Breathing,
)
from hypnostream.bridges.picture_panels import ABSENT, QUALITY_COLOURS
from hypnostream.bridges.picture_process import decode_night, encode_night
from hypnostream.engine.respiration.event import KINDS, Event
from hypnostream.engine.respiration.sensor_quality import SensorNight
from hypnostream.engine.sleep_statistics import sleep_statistics
from hypnostream.stream.channels import FLAT
from hypnostream.stream.stages import stage_codes
from tests.bridges.nights import night
from tests.bridges.respiratory_events import event

EPOCHS = 120  # an hour
SECONDS = 30 * EPOCHS


def pixels(breathing: Breathing | None, stages: str = "2" * EPOCHS) -> NDArray[np.uint8]:
    """The picture as (height, width, RGB)."""
    results = night(stages, ("eeg",))
    statistics = sleep_statistics(stage_codes(result.stage for result in results))
    png = draw_night(Night("a.edf", results, ("eeg",), statistics, "stager", "9f" * 32, breathing=breathing))
    picture = np.asarray(Image.open(BytesIO(png)).convert("RGB"))
    assert picture.shape[1] == WIDTH_PX
    return picture


def where(picture: NDArray[np.uint8], colour: str) -> NDArray[np.bool_]:
    """The pixels of exactly this colour within the panels, (height, RIGHT_PX - LEFT_PX)."""
    found: NDArray[np.bool_] = (picture[:, LEFT_PX:RIGHT_PX] == [int(colour[i : i + 2], 16) for i in (1, 3, 5)]).all(2)
    return found


def spo2(**changes: tuple[int, int, float]) -> NDArray[np.float32]:
    """An hour of 96 %, with (begin, end, percent) put in."""
    seconds = np.full(SECONDS, 96.0, np.float32)
    for begin, end, percent in changes.values():
        seconds[begin:end] = percent
    return seconds


def test_a_night_without_events_and_spo2_is_drawn_as_before() -> None:
    plain = pixels(None)
    assert plain.shape[0] == HEIGHT_PX
    late, none = event("late", start_s=1e6, end_s=2e6), event(status="withdrawn")
    for nothing in (Breathing([none, late], np.full(SECONDS, np.nan)), Breathing(spo2=np.zeros(0))):
        assert np.array_equal(pixels(nothing), plain)


def test_each_sensor_of_breathing_has_a_row_in_the_colour_of_its_state() -> None:
    flat = np.full(EPOCHS, FLAT, np.uint8)
    rows = [SensorNight("flow", flat, np.zeros(EPOCHS)), SensorNight("spo2", flat * 0, np.ones(EPOCHS))]

    def whole_rows(sensors: list[SensorNight]) -> int:
        """How many rows of pixels are flat for the whole night."""
        return int((where(pixels(Breathing(sensors=tuple(sensors))), QUALITY_COLOURS[FLAT]).mean(axis=1) > 0.95).sum())

    assert whole_rows(rows) > 10
    assert whole_rows(rows[1:]) == 0
    assert whole_rows([replace_epochs(rows[0], EPOCHS + 1), rows[1]]) == 0  # of another night: not drawn


def replace_epochs(sensor: SensorNight, epochs: int) -> SensorNight:
    return SensorNight(sensor.name, np.resize(sensor.quality, epochs), np.resize(sensor.ok_fraction, epochs))


def test_where_no_epoch_has_a_stage_breathing_alone_is_drawn() -> None:
    results = [replace(each, stage=None, absent_reason="no_data") for each in night("2" * EPOCHS, ("eeg",))]
    statistics = sleep_statistics(stage_codes(result.stage for result in results))
    sensor = SensorNight("flow", np.full(EPOCHS, FLAT, np.uint8), np.zeros(EPOCHS))
    drawn = Breathing(events=[event()], sensors=(sensor,))
    png = draw_night(Night("a.edf", results, ("eeg",), statistics, "stager", "9f" * 32, breathing=drawn))
    picture = np.asarray(Image.open(BytesIO(png)).convert("RGB"))
    assert picture.shape[0] < HEIGHT_PX
    assert where(picture, QUALITY_COLOURS[FLAT]).any()
    assert where(picture, EVENT_ROWS["obstructive_apnea"][1]).any()
    assert not where(picture, ABSENT)[:-BOTTOM_PX].any()  # no hypnogram, not even an empty one


def test_every_kind_has_its_row_and_its_place_in_time() -> None:
    said = [event(k, kind=k, start_s=400.0 * i + 300, end_s=400.0 * i + 360) for i, k in enumerate(KINDS)]
    picture = pixels(Breathing(said))
    tops = []
    for i, kind in enumerate(KINDS):
        rows, columns = np.nonzero(where(picture, EVENT_ROWS[kind][1]))
        scale = (RIGHT_PX - LEFT_PX) / SECONDS
        assert columns.min() == pytest.approx((400 * i + 300) * scale, abs=2), kind
        assert columns.max() == pytest.approx((400 * i + 360) * scale, abs=2), kind
        tops.append(rows.min())
    assert tops == sorted(tops)
    assert picture.shape[0] > HEIGHT_PX


def test_an_event_that_may_still_change_is_paler_and_one_that_lasts_goes_on_to_the_end() -> None:
    lasting = event(status="preliminary", start_s=1800.0, end_s=None)
    picture = pixels(Breathing([lasting]))
    full, pale = (where(picture, colour) for colour in EVENT_ROWS["obstructive_apnea"][1:])
    assert not full.any()
    columns = np.flatnonzero(pale.any(axis=0))
    assert columns[[0, -1]] == pytest.approx([(RIGHT_PX - LEFT_PX) / 2, RIGHT_PX - LEFT_PX], abs=2)


def test_the_shortest_event_of_a_long_night_can_be_seen() -> None:
    picture = pixels(Breathing([event(start_s=9000.0, end_s=9010.0)]), stages="2" * 960)
    assert where(picture, EVENT_ROWS["obstructive_apnea"][1]).any()


def test_only_the_latest_revision_is_drawn() -> None:
    first = event(kind="hypopnea", status="preliminary", end_s=None)
    picture = pixels(Breathing([event(revision=1, kind="central_apnea"), first]))
    assert where(picture, EVENT_ROWS["central_apnea"][1]).any()
    assert not where(picture, EVENT_ROWS["hypopnea"][2]).any()


def test_a_reference_is_seen_above_ours() -> None:
    ours, theirs = event(start_s=600.0, end_s=660.0), event(start_s=660.0, end_s=720.0)
    both = pixels(Breathing([ours], reference=[theirs]))
    alone = pixels(Breathing([ours]))
    colour = EVENT_ROWS["obstructive_apnea"][1]
    assert 0 < where(both, colour).any(axis=1).sum() < where(alone, colour).any(axis=1).sum()
    assert pixels(Breathing([], reference=[theirs])).shape == both.shape


def test_time_under_90_percent_is_red_and_time_without_a_value_is_shaded() -> None:
    fine = pixels(Breathing(spo2=spo2()))
    low = pixels(Breathing(spo2=spo2(dip=(1800, 2100, 84.0), lost=(900, 1200, np.nan))))
    assert (fine[:, 600] != pixels(Breathing(spo2=spo2() + 1))[:, 600]).any()  # nothing differs there but the trace
    assert where(fine, LOW_ZONE_COLOUR).any()
    assert not where(fine, LOW_SPO2_COLOUR).any()
    assert not where(fine, ABSENT).any()
    scale = (RIGHT_PX - LEFT_PX) / SECONDS
    for colour, begin, end in ((LOW_SPO2_COLOUR, 1800, 2100), (ABSENT, 900, 1200)):
        columns = np.flatnonzero(where(low, colour).any(axis=0))
        assert columns[[0, -1]] == pytest.approx([begin * scale, end * scale], abs=2)


def test_90_percent_exactly_is_not_under_it() -> None:
    assert not where(pixels(Breathing(spo2=spo2(dip=(1800, 2100, 90.0)))), LOW_SPO2_COLOUR).any()


@pytest.mark.parametrize(
    ("seconds", "percent"), [(1, 0.0), (10, 55.0), (SECONDS - 5, 120.0), (SECONDS + 500, 100.0), (7, np.inf)]
)
def test_any_trace_can_be_drawn(seconds: int, percent: float) -> None:
    trace = np.full(seconds, 95.0)
    trace[-1] = percent
    assert pixels(Breathing(spo2=trace)).shape[0] > HEIGHT_PX


def test_the_indices_and_the_agreement_have_lines_of_their_own() -> None:
    plain = pixels(Breathing(events=[event()]))
    index = pixels(Breathing(events=[event()], indices="AHI 14.2 /h of sleep (AASM 1A)"))
    both = pixels(Breathing(events=[event()], indices="AHI 14.2 $x^2$", agreement="F1 0.9"))
    assert both.shape[0] - index.shape[0] == index.shape[0] - plain.shape[0] > 0
    assert (index[80:115, :800] != 255).any()


def test_events_are_where_they_were_on_a_clock_that_began_before() -> None:
    here = pixels(Breathing([event(start_s=600.0, end_s=660.0)]))
    live = pixels(Breathing([event(start_s=90_600.0, end_s=90_660.0)], t0_s=90_000.0))
    assert np.array_equal(here, live)


def test_breathing_survives_the_way_to_another_process() -> None:
    results = night("22", ("eeg",))
    statistics = sleep_statistics(stage_codes(result.stage for result in results))
    said: tuple[Event, ...] = (event(), event("b", end_s=None, status="preliminary"))
    sensor = SensorNight("flow", np.array([FLAT, 0], np.uint8), np.array([0.0, 1.0]))
    breathing = Breathing(said, spo2(lost=(0, 9, np.nan)), "AHI 1", (event("r"),), "F1 1", 5.0, (sensor,))
    sent = Night("a.edf", results, ("eeg",), statistics, "stager", "9f" * 32, breathing=breathing)
    came = decode_night(encode_night(sent))
    assert came.breathing is not None
    assert came.breathing.spo2 is not None
    np.testing.assert_array_equal(came.breathing.spo2, breathing.spo2)
    (its,) = came.breathing.sensors
    assert its.name == "flow"
    np.testing.assert_array_equal(its.quality, sensor.quality)
    np.testing.assert_array_equal(its.ok_fraction, sensor.ok_fraction)
    same = replace(came.breathing, spo2=None, events=tuple(came.breathing.events), sensors=())
    assert replace(same, reference=tuple(same.reference)) == replace(breathing, spo2=None, sensors=())
