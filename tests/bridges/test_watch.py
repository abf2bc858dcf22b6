"""The terminal view: what it shows, that nothing breaks it, and that it follows a real publisher."""

import io
import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from rich.console import Console

from hypnostream.bridges.messages import (
    SESSION_ENDED,
    Channel,
    EpochMessage,
    EventMessage,
    HeartbeatMessage,
    Message,
    Moment,
    Origin,
    Probabilities,
    Stage,
    StatusMessage,
)
from hypnostream.bridges.publisher import Publisher
from hypnostream.bridges.result_log import ResultLog
from hypnostream.bridges.result_messages import epoch_message
from hypnostream.bridges.terminal_hypnogram import MOST_EPOCHS, ROWS, hypnogram
from hypnostream.bridges.watch import WatchState, render, watch
from hypnostream.engine.respiration.indices import RunningIndices
from hypnostream.engine.results import ChannelState, StageResult
from hypnostream.errors import UserError
from tests.bridges.respiratory_events import event

ORIGIN = Origin(
    session_id="5e55", boot_id="b007", model_hash="9f2cdeadbeef", backend="onnxruntime", scoring_rule="AASM"
)
MOMENT = Moment(stream_s=1090.0, utc_s=None, utc_uncertainty_s=None, published_utc_s=0.0)
SOON_S = 10.0


def result(epoch: int, stage: str | None = "N2", *, final: bool = True, seconds: int = 30) -> StageResult:
    channels = (
        ChannelState("eeg_frontal", "ok", 1.0, False),
        ChannelState("eog", "missing", 0.0, True),
        ChannelState("emg_chin", "never_present", 0.0, True),
    )
    reason = None if stage else "no_data"
    return StageResult(
        epoch, 1000.0 + 30 * epoch, final, seconds, stage, reason, (0.01, 0.02, 0.9, 0.04, 0.03), channels
    )


def said(epoch: int, stage: str | None = "N2", *, final: bool = True, seconds: int = 30) -> EpochMessage:
    stage_result = result(epoch, stage, final=final, seconds=seconds)
    return epoch_message(stage_result, seq=epoch, origin=ORIGIN, time=MOMENT, latency_s=0.0042)


def shown(state: WatchState, width: int = 100) -> str:
    console = Console(file=io.StringIO(), record=True, width=width, color_system=None)
    console.print(render(state, width))
    return console.export_text()


def drawn(stages: dict[int, str | None], width: int, provisional: tuple[int, str] | None = None) -> dict[str, str]:
    """The rows of the picture by stage, with guides and risers taken out."""
    lines = hypnogram(stages, width, provisional).plain.split("\n")
    return {line[:2].strip(): line[3:].translate(str.maketrans("┊│▏", "   ")).rstrip() for line in lines[:5]}


def test_a_night_is_drawn_epoch_for_epoch() -> None:
    stages: dict[int, str | None] = dict.fromkeys(range(120), "W")
    stages |= dict.fromkeys(range(30, 60), "N1") | dict.fromkeys(range(60, 75), "N3")
    stages |= dict.fromkeys(range(75, 90)) | dict.fromkeys(range(90, 120), "R")  # 75 to 89: absent
    assert drawn(stages, 3 + 8) == {  # an hour in 8 cells: 15 epochs each
        "W": "██   ░",
        "R": "     ░██",
        "N1": "  ██ ░",
        "N2": "     ░",
        "N3": "    █░",
    }


def test_half_a_cell_is_drawn_and_what_never_came_stays_blank() -> None:
    stages: dict[int, str | None] = {epoch: "N3" if epoch >= 90 else "N2" for epoch in (*range(10), *range(90, 100))}
    assert drawn(stages, 3 + 6, (110, "R")) == {"W": "", "R": "     ▒", "N1": "", "N2": "▌", "N3": "    ▐"}


def test_the_commonest_stage_of_a_column_is_shown() -> None:
    stages: dict[int, str | None] = {epoch: "N1" if epoch % 3 else "N2" for epoch in range(960)}
    rows = drawn(stages, 3 + 80)
    assert (rows["N1"], rows["N2"]) == ("█" * 80, "")


def test_the_picture_spans_whole_hours_and_at_most_the_last_24() -> None:
    assert hypnogram({0: "W"}, 80).plain.split("\n")[-1] == "   0 h"
    assert hypnogram({959: "W", 0: "W"}, 80).plain.split("\n")[-1].split(" h")[:-1][-1].strip() == "7"
    late = hypnogram(dict.fromkeys(range(500, 500 + 4000), "W"), 100).plain.split("\n")[-1]
    assert late.split()[0] == "14"  # epoch 4499 is in hour 37: 14 to 38


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.integers(0, 2**64), st.sampled_from([*ROWS, None]), max_size=20),
    st.integers(-5, 200),
    st.none() | st.tuples(st.integers(0, 2**64), st.sampled_from(ROWS)),
)
@example({}, 80, None)
def test_every_picture_has_six_lines_that_fit(
    stages: dict[int, str | None], width: int, provisional: tuple[int, str] | None
) -> None:
    lines = hypnogram(stages, width, provisional).plain.split("\n")
    assert len(lines) == 6
    assert max(map(len, lines)) <= max(4, width)


def test_the_view_says_stage_sensors_and_origin() -> None:
    state = WatchState(address="tcp://127.0.0.1:5556", alive=True, lost=3)
    for message in (said(0), said(1, "N3"), said(2, "R", final=False, seconds=17)):
        state.update(message)
    text = shown(state)
    for words in (
        "hypnostream ● live",
        "N3 at 0:00:30",
        "R so far, 17 s",
        "90%",
        "eeg_frontal ok",
        "never present",
        "imputed",
        "latency 4.2 ms",
        "model 9f2cdead on onnxruntime",
        "rule AASM",
        "session 5e55",
        "lost 3",
        "tcp://127.0.0.1:5556",
    ):
        assert words in text, words
    assert "malformed" not in text


def test_the_view_says_that_it_lags() -> None:
    state = WatchState(alive=True, behind_s=7.4)
    state.update(said(0))
    assert "● 7 s behind" in shown(state)


def test_who_watches_late_sees_the_night_so_far(tmp_path: Path) -> None:
    with (
        ResultLog(tmp_path / "results.arrows") as log,
        Publisher(
            "tcp://127.0.0.1:*", model_hash="9f", backend="none", log=log, replay_address="tcp://127.0.0.1:*"
        ) as publisher,
    ):
        for epoch in range(20):
            publisher.publish(result(epoch), 0.0)
        done = threading.Event()
        heart = threading.Thread(target=beat, args=(publisher, done))
        heart.start()
        console = Console(file=io.StringIO(), force_terminal=False)
        state = watch(publisher.address, console, until=lambda state: len(state.stages) == 20)
        done.set()
        heart.join()
    assert (sorted(state.stages), state.lost) == (list(range(20)), 0)


def beat(publisher: Publisher, done: threading.Event) -> None:
    while not done.wait(0.02):
        publisher.heartbeat(0.0)


def test_the_view_says_when_nothing_comes() -> None:
    state = WatchState()
    assert "no session yet" in shown(state)
    state.update(said(0))
    state.late_s = 12.0
    assert "silent for 12 s" in shown(state)
    state.update(StatusMessage(topic="status", seq=0, origin=ORIGIN, time=MOMENT, state=SESSION_ENDED))
    assert "○ ended" in shown(state)


def test_a_notice_carries_the_night_s_own_time() -> None:
    state = WatchState()
    state.update(
        StatusMessage(topic="status", seq=0, origin=ORIGIN, time=MOMENT, state="source_stalled", subject="belt")
    )
    assert "source stalled belt" in shown(state)
    state.update(said(0))  # began at stream time 1000, and the notice came at 1090
    assert "0:01:30  source stalled belt" in shown(state)


def test_an_absent_stage_shows_its_reason() -> None:
    state = WatchState()
    state.update(said(0, None))
    assert "no_data at 0:00:00" in shown(state)
    assert state.stages == {0: None}


def test_amended_and_withdrawn_epochs_change_the_night() -> None:
    state = WatchState()
    for message in (said(0), said(1), said(2)):
        state.update(message)
    amended = StageResult(0, 1000.0, True, 30, "W", None, (0.9, 0, 0, 0, 0.1), ())
    state.update(replace(epoch_message(amended, seq=3, origin=ORIGIN, time=MOMENT), status="amended"))
    state.update(replace(said(1), status="withdrawn"))
    assert state.stages == {0: "W", 2: "N2"}
    assert state.final is not None
    assert state.final.epoch == 2


def test_a_provisional_stage_goes_when_its_epoch_is_final() -> None:
    state = WatchState()
    state.update(said(3, final=False, seconds=29))
    assert state.provisional is not None
    state.update(said(3))
    assert state.provisional is None


def test_another_session_begins_a_new_night_and_another_process_does_not() -> None:
    state = WatchState()
    state.update(said(0))
    state.update(replace(said(1), origin=replace(ORIGIN, boot_id="b008")))
    assert state.stages == {0: "N2", 1: "N2"}
    state.update(replace(said(7), origin=replace(ORIGIN, session_id="5e56")))
    assert state.stages == {7: "N2"}


def test_only_24_hours_are_kept() -> None:
    state = WatchState()
    for epoch in range(MOST_EPOCHS + 50):
        state.update(said(epoch))
    assert (min(state.stages), len(state.stages)) == (50, MOST_EPOCHS)


def test_words_from_outside_cannot_drive_the_terminal() -> None:
    state = WatchState(address="tcp://\x1b[2J")
    evil = "\x1b]0;owned\x07\x9b2J\u202e[bold]x[/bold]"
    channel = Channel(name=evil, quality=evil, ok_fraction=1.0, imputed=False)
    origin = Origin(session_id=evil, boot_id=evil, model_hash=evil, backend=evil, scoring_rule=evil)
    state.update(replace(said(0), channels=(channel,), origin=origin, stage=None, absent_reason=evil))
    state.update(StatusMessage(topic="s", seq=0, origin=origin, time=MOMENT, state=evil, subject=evil, detail=evil))
    text = shown(state, 160)
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(text)
    assert "[bold]x[/bold]" in text


words = st.text(min_size=1, max_size=200)
times = st.floats(-1e12, 1e12)
fractions = st.floats(0, 1)
counts = st.integers(0, 2**64 - 1)
stage_names: st.SearchStrategy[Stage] = st.sampled_from(("W", "N1", "N2", "N3", "R"))
origins = st.builds(
    Origin, session_id=words, boot_id=words, model_hash=words, backend=words, scoring_rule=words
) | st.just(ORIGIN)
moments = st.builds(
    Moment,
    stream_s=times,
    utc_s=st.none() | times,
    utc_uncertainty_s=st.none() | st.floats(0, 1e12),
    published_utc_s=times,
)
channel_tuples = st.lists(
    st.builds(Channel, name=words, quality=words, ok_fraction=fractions, imputed=st.booleans()), max_size=12
).map(tuple)
statuses = st.sampled_from(("preliminary", "final", "amended", "withdrawn"))
epochs = st.one_of(
    *(
        st.builds(
            EpochMessage,
            topic=words,
            seq=counts,
            origin=origins,
            time=moments,
            status=statuses,
            epoch=st.integers(0, 2000) | counts,
            t_start_s=times,
            seconds=st.integers(0, 30),
            stage=stage,
            absent_reason=reason,
            confidence=fractions,
            probabilities=st.builds(Probabilities, fractions, fractions, fractions, fractions, fractions),
            channels=channel_tuples,
            latency_s=st.none() | st.floats(0, 1e12),
        )
        for stage, reason in ((stage_names, st.none()), (st.none(), words))
    )
)
others = st.one_of(
    st.builds(
        StatusMessage,
        topic=words,
        seq=counts,
        origin=origins,
        time=moments,
        state=words,
        subject=st.none() | words,
        detail=st.text(),
    ),
    st.builds(
        HeartbeatMessage,
        topic=words,
        seq=counts,
        origin=origins,
        time=moments,
        interval_s=st.floats(0, 1e12),
        last_seq=st.just({}),
    ),
    st.builds(
        EventMessage,
        topic=words,
        seq=counts,
        origin=origins,
        time=moments,
        status=statuses,
        event_id=words,
        revision=counts,
        event=words,
        absent_reason=st.none(),
        t_start_s=times,
        t_end_s=st.none() | times,
        confidence=fractions,
        channels=channel_tuples,
        latency_s=st.none(),
    ),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(epochs | others, max_size=6), st.integers(-10, 220), st.text(max_size=80), st.booleans(), counts)
def test_nothing_that_can_be_received_breaks_the_view(
    messages: list[Message], width: int, address: str, alive: bool, count: int
) -> None:
    state = WatchState(address=address, alive=alive, late_s=float(count), lost=count, malformed=count, restarts=count)
    for message in messages:
        state.update(message)
    text = shown(state, width)
    assert all(character.isprintable() for line in text.split("\n") for character in line)


def night(sender: Publisher) -> None:
    """Three epochs, as a session says them."""
    for epoch, stage in enumerate(("W", "N1", None)):
        sender.publish(result(epoch, stage, final=False, seconds=10), now_s=1010.0 + 30 * epoch)
        sender.publish(result(epoch, stage), now_s=1030.0 + 30 * epoch, latency_s=0.001)
        sender.heartbeat(now_s=1030.0 + 30 * epoch)
    sender.status(SESSION_ENDED, now_s=1090.0)


def watched(console: Console, act: Callable[[Publisher], None], *, json_lines: bool = False) -> WatchState:
    """What a watcher has seen when it has followed a real publisher to the session's end."""
    states: list[WatchState] = []
    with Publisher("tcp://127.0.0.1:*", model_hash="9f2c", backend="onnxruntime", scoring_rule="AASM") as sender:
        thread = threading.Thread(
            target=lambda: states.append(
                watch(sender.address, console, json_lines=json_lines, until=lambda state: state.ended)
            )
        )
        thread.start()
        assert sender.wait_for_subscriber(SOON_S)
        act(sender)
        thread.join(SOON_S)
    assert not thread.is_alive()
    return states[0]


def test_watch_follows_a_session_to_its_end() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100, record=True)
    state = watched(console, night)
    assert (state.stages, state.lost, state.ended) == ({0: "W", 1: "N1", 2: None}, 0, True)
    text = console.export_text()
    assert "○ ended" in text
    assert "no_data at 0:01:00" in text


@pytest.mark.parametrize(("terminal", "json_lines"), [(False, False), (True, True)])
def test_without_a_terminal_or_with_json_each_final_epoch_is_a_line(terminal: bool, json_lines: bool) -> None:
    file = io.StringIO()
    watched(Console(file=file, force_terminal=terminal, width=40), night, json_lines=json_lines)
    lines = [json.loads(line) for line in file.getvalue().splitlines()]
    assert [(line["epoch"], line["stage"], line["status"]) for line in lines] == [
        (0, "W", "final"),
        (1, "N1", "final"),
        (2, None, "final"),
    ]
    assert lines[2]["absent_reason"] == "no_data"
    assert lines[0]["probabilities"].keys() == {"W", "N1", "N2", "N3", "R"}


def test_with_json_events_and_indices_are_lines_of_their_own() -> None:
    def breathed(sender: Publisher) -> None:
        sender.event(event(revision=0, status="preliminary", end_s=None), now_s=110.0)
        sender.event(event(revision=1), now_s=140.0)
        sender.indices(RunningIndices().indices(), now_s=150.0)
        sender.status(SESSION_ENDED, now_s=160.0)

    file = io.StringIO()
    watched(Console(file=file), breathed, json_lines=True)
    lines = [json.loads(line) for line in file.getvalue().splitlines()]
    assert [line["topic"] for line in lines] == ["event", "event", "indices"]
    assert [(line["revision"], line["status"]) for line in lines[:2]] == [(0, "preliminary"), (1, "final")]
    assert lines[1]["rule"] == "AASM 1A"
    assert {"AHI", "REI", "ODI"} <= {index["name"] for index in lines[2]["indices"]}


def test_a_closed_pipe_ends_the_watch_quietly() -> None:
    class Closed(io.StringIO):
        def write(self, text: str, /) -> int:
            raise BrokenPipeError

    state = watched(Console(file=Closed()), night)
    assert state.stages == {0: "W"}


def test_an_address_that_is_none_is_one_line() -> None:
    with pytest.raises(UserError, match="cannot subscribe to 'bed three'"):
        watch("bed three", Console(file=io.StringIO()))
