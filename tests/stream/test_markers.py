import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypnostream.stream.markers import (
    LIGHTS_OFF,
    LIGHTS_ON,
    LONGEST_TEXT,
    NOTE,
    POSITION,
    POSITIONS,
    bounded,
    lights,
    positions,
    read_marker,
)
from hypnostream.stream.source import Annotation


@pytest.mark.parametrize(
    "text",
    [
        "Lights off",
        "LIGHTS OUT",
        "lights_off",
        "LOff",
        "L-Off",
        "Licht aus",
        "Lichter aus",
        "Lights Off 22:41:30",
        "Extinction des feux",
        "Lumière éteinte",
        "luces apagadas",
        "Event: Lights off",
        "turn off the lights",
        "@@lights-off!!",
        "ＬＩＧＨＴＳ ＯＦＦ",
    ],
)
def test_lights_off_in_many_spellings(text: str) -> None:
    assert read_marker(text).kind == LIGHTS_OFF


@pytest.mark.parametrize(
    "text", ["Lights on", "LON", "L On", "Licht an", "lights_on", "Lights on at 6:30", "luci accese"]
)
def test_lights_on_in_many_spellings(text: str) -> None:
    assert read_marker(text).kind == LIGHTS_ON


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("Supine", "supine"),
        ("Body position: Supine", "supine"),
        ("position_supine", "supine"),
        ("Rückenlage", "supine"),
        ("Left side", "left"),
        ("POSITION - LEFT", "left"),
        ("Right position", "right"),
        ("Pos: rechts", "right"),
        ("Bauchlage", "prone"),
        ("PRONE", "prone"),
        ("Upright", "upright"),
        ("Sitting up", "upright"),
    ],
)
def test_a_position_in_many_spellings(text: str, position: str) -> None:
    marker = read_marker(text)
    assert (marker.kind, marker.position) == (POSITION, position)
    assert marker.position in POSITIONS


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no lights off yet",
        "lights off soon",
        "lights",
        "lights on/off",
        "off",
        "on",
        "leg movement left",
        "left",
        "right",
        "back",
        "Sleep stage N2",
        "position change",
        "lights off" + " " * 100 + "x" * 9999,
    ],
)
def test_what_says_anything_else_is_a_note(text: str) -> None:
    assert read_marker(text).kind == NOTE


def test_a_bare_side_is_a_position_from_a_stream_of_positions_only() -> None:
    assert read_marker("left", origin="Body Position").position == "left"
    assert read_marker("left", origin="notes").kind == NOTE


def said(*pairs: tuple[float, str]) -> list[Annotation]:
    return [Annotation(at_s, 0.0, text) for at_s, text in pairs]


def test_the_night_is_from_the_first_lights_off_to_the_last_lights_on() -> None:
    assert lights([]) == (None, None)
    assert lights(said((60, "lights off"), (9000, "lights on"))) == (60, 9000)
    # out of order, and an interruption in the night
    night = said((9000, "lights on"), (60, "lights off"), (5000, "lights on"), (5300, "lights off"))
    assert lights(night) == (60, 9000)
    # the lamp of the evening is not the morning's; after an interruption the night goes on
    assert lights(said((0, "lights on"), (60, "lights off"))) == (60, None)
    assert lights(said((60, "lights off"), (5000, "lights on"), (5300, "lights off"))) == (60, None)
    assert lights(said((9000, "lights on"))) == (None, 9000)


def test_a_position_lasts_until_the_next() -> None:
    spans = positions(said((50, "supine"), (10, "left side"), (30, "a note")))
    assert [(span.position, span.start_s, span.end_s) for span in spans] == [("left", 10, 50), ("supine", 50, None)]


@given(st.text(max_size=3000), st.text(max_size=300))
def test_any_text_has_one_meaning_and_a_bounded_length(text: str, origin: str) -> None:
    marker = read_marker(text, origin)
    assert marker.kind in (LIGHTS_OFF, LIGHTS_ON, POSITION, NOTE)
    assert (marker.kind == POSITION) == bool(marker.position)
    kept = bounded(Annotation(1.0, 0.0, text, origin))
    assert len(kept.text) <= LONGEST_TEXT
    assert kept.text.isprintable() or not kept.text
    assert kept.origin.isprintable() or not kept.origin
    assert math.isfinite(kept.onset_s)
