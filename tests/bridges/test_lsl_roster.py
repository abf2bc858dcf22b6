"""Which stream is which, without a network."""

from hypnostream.bridges.lsl_frames import Known
from hypnostream.bridges.lsl_roster import MOST_STREAMS, Announced, Roster


def outlet(uid: str, name: str = "eeg", source_id: str = "serial 7", host: str = "bedside") -> Announced:
    return Announced(uid, name, "EEG", source_id, host)


def taken(roster: Roster, now_s: float, *visible: Announced) -> list[tuple[str, str]]:
    return [(known.stream_id, known.uid) for known in roster.take_up(visible, now_s)]


def test_the_next_life_of_a_stream_has_its_id() -> None:
    roster = Roster()
    assert taken(roster, 0.0, outlet("a")) == [("eeg", "a")]
    roster.opened("eeg", 0.1)
    assert not roster.missing
    roster.lost("eeg", 5.0)
    assert roster.missing
    assert taken(roster, 5.1, outlet("a")) == []  # the old life is announced for a while yet
    assert taken(roster, 5.2, outlet("a"), outlet("b")) == [("eeg", "b")]
    assert not roster.missing


def test_a_connection_that_broke_is_made_again_with_the_same_outlet() -> None:
    roster = Roster()
    taken(roster, 0.0, outlet("a"))
    roster.opened("eeg", 0.1)
    roster.lost("eeg", 5.0)
    assert taken(roster, 6.0, outlet("a")) == []
    assert taken(roster, 7.5, outlet("a")) == [("eeg", "a")]


def test_a_twin_beside_a_living_stream_gets_its_own_id() -> None:
    roster = Roster()
    taken(roster, 0.0, outlet("a"))
    roster.heard("eeg", 10.0)
    assert taken(roster, 10.0, outlet("a"), outlet("b")) == []  # not clear yet: the first may just have died
    roster.heard("eeg", 10.6)
    assert taken(roster, 10.7, outlet("a"), outlet("b")) == [("eeg'", "b")]


def test_a_twin_beside_a_silent_one_that_answers_gets_its_own_id_later() -> None:
    roster = Roster()
    taken(roster, 0.0, outlet("a"))
    assert taken(roster, 10.0, outlet("a"), outlet("b")) == []
    assert taken(roster, 13.1, outlet("a"), outlet("b")) == [("eeg'", "b")]


def test_a_hung_sender_gives_way_and_a_silent_one_does_not() -> None:
    roster = Roster()
    taken(roster, 0.0, outlet("a"))
    roster.heard("eeg", 10.0)
    assert taken(roster, 11.0, outlet("b")) == []
    assert taken(roster, 11.6, outlet("b")) == [("eeg", "b")]


def test_twins_that_both_died_are_never_guessed() -> None:
    roster = Roster()
    assert taken(roster, 0.0, outlet("a"), outlet("b")) == [("eeg", "a"), ("eeg'", "b")]
    for stream_id in ("eeg", "eeg'"):
        roster.opened(stream_id, 0.1)
        roster.lost(stream_id, 1.0)
    assert taken(roster, 9.0, outlet("c")) == [("eeg''", "c")]
    assert taken(roster, 9.1, outlet("c"), outlet("d")) == [("eeg'''", "d")]


def test_another_host_name_or_source_is_another_stream() -> None:
    roster = Roster()
    others = [outlet("b", host="other", source_id=""), outlet("c", source_id="8"), outlet("d", name="ecg")]
    assert len(taken(roster, 0.0, outlet("a", source_id=""), *others)) == 4
    roster.opened("ecg", 0.0)
    roster.lost("ecg", 1.0)
    assert taken(roster, 1.5, outlet("e", name="eeg", source_id="9")) == [("eeg'''", "e")]


def test_after_a_restart_the_outlet_itself_says_who_it_is() -> None:
    identity = outlet("a").identity
    roster = Roster([Known("eeg", identity, "a"), Known("eeg'", identity, "b")])
    assert taken(roster, 0.0, outlet("b"), outlet("a")) == [("eeg", "a"), ("eeg'", "b")]


def test_what_is_refused_or_never_opened_leaves_its_name() -> None:
    roster = Roster()
    taken(roster, 0.0, outlet("a"))
    roster.refuse("eeg")
    assert taken(roster, 100.0, outlet("a")) == []
    assert taken(roster, 100.0, outlet("a"), outlet("b", source_id="8")) == [("eeg", "b")]
    roster.lost("eeg", 101.0)
    assert not roster.missing
    assert taken(roster, 104.0, outlet("c", source_id="8")) == [("eeg", "c")]


def test_a_crowd_is_not_taken_in() -> None:
    roster = Roster()
    crowd = [outlet(str(number), name=f"s{number}") for number in range(MOST_STREAMS + 50)]
    assert len(taken(roster, 0.0, *crowd)) == MOST_STREAMS
    assert roster.full
