"""Logs: what happens is one line each, for programs or for people, and nobody can forge one."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from hypnostream.bridges.logs import HELD_UP_S, SLOW_AGAIN_S, NoticeLog, configure_logs
from hypnostream.engine.results import StageResult
from hypnostream.errors import UserError
from hypnostream.stream.source import SAMPLES_LOST, SOURCE_FOUND, SOURCE_STALLED, Notice

STALL = Notice(SOURCE_STALLED, "oximeter", 61.25, "nothing has come for 3.1 s", seconds=3.1)


@pytest.fixture(autouse=True)
def _loggers_as_before() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("hypnostream")
    handlers, level = [*root.handlers], ours.level
    yield
    root.handlers[:] = handlers
    ours.setLevel(level)


def test_a_notice_is_one_json_object() -> None:
    out = io.StringIO()
    configure_logs("json", "info", out)
    NoticeLog().notice(STALL)
    NoticeLog().notice(Notice(SAMPLES_LOST, "amplifier", 62.0, samples=24))
    stall, lost = map(json.loads, out.getvalue().splitlines())
    assert stall.pop("time").endswith("Z")
    assert stall == {
        "level": "warning",
        "logger": "hypnostream.session",
        "event": SOURCE_STALLED,
        "message": "source_stalled: oximeter: nothing has come for 3.1 s",
        "detail": "nothing has come for 3.1 s",
        "subject": "oximeter",
        "at_s": 61.25,
        "seconds": 3.1,
    }
    assert (lost["event"], lost["samples"]) == (SAMPLES_LOST, 24)


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_name_from_the_network_cannot_forge_a_line(form: str) -> None:
    out = io.StringIO()
    configure_logs(form, "info", out)
    NoticeLog().notice(Notice(SOURCE_FOUND, "a\n2026 error \x1b[2Jforged\u2028", 1.0))
    assert out.getvalue().count("\n") == 1
    assert out.getvalue().strip().isprintable()


def test_the_level_is_the_least_that_is_said() -> None:
    out = io.StringIO()
    configure_logs("text", "warning", out)
    NoticeLog().notice(Notice(SOURCE_FOUND, "oximeter", 1.0))
    assert out.getvalue() == ""
    NoticeLog().notice(STALL)
    assert out.getvalue().split(" ", 1)[1] == "warning source_stalled: oximeter: nothing has come for 3.1 s\n"


def test_an_exception_is_one_line_too() -> None:
    for form in ("text", "json"):
        out = io.StringIO()
        configure_logs(form, "info", out)
        try:
            raise ValueError("one\ntwo")
        except ValueError:
            logging.getLogger("hypnostream.session").exception("it broke")
        assert out.getvalue().count("\n") == 1
        assert "ValueError: one" in out.getvalue()


def test_configured_again_a_record_is_said_once() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure_logs("text", "info", first)
    configure_logs("json", "info", second)
    NoticeLog().notice(STALL)
    assert (first.getvalue(), second.getvalue().count("\n")) == ("", 1)


def test_the_library_leaves_the_loggers_alone() -> None:
    root = logging.getLogger()
    before = [*root.handlers], root.level
    NoticeLog().notice(STALL)
    assert ([*root.handlers], root.level) == before
    assert logging.getLogger("hypnostream").handlers == []


def test_slow_steps_are_said_once_a_minute_with_how_many_they_were() -> None:
    out, now = io.StringIO(), [0.0]
    configure_logs("json", "info", out)
    log = NoticeLog(wall=lambda: now[0])
    for beat_s in (0.0, 1.0, 2.0, 2.0 + HELD_UP_S):  # just on time
        now[0] = beat_s
        log.heartbeat(beat_s)
    assert out.getvalue() == ""
    for _ in range(3):
        now[0] += HELD_UP_S + 1
        log.heartbeat(0.0)
    now[0] += SLOW_AGAIN_S
    late = StageResult(4, 120.0, True, 30, "W", None, (1.0, 0.0, 0.0, 0.0, 0.0), (), 0.9)
    log.publish(late, 150.0, 2.5)
    held, slow = map(json.loads, out.getvalue().splitlines())
    assert (held["event"], held["seconds"], held["times"]) == ("slow_step", 4.0, 1)
    assert slow["message"] == "slow_step: epoch 4 took 2.50 s, the model 0.90 s"
    assert slow["times"] == 3


@pytest.mark.parametrize(("form", "level"), [("xml", "info"), ("json", "loud")])
def test_an_unknown_form_or_level_is_the_user_s_mistake(form: str, level: str) -> None:
    with pytest.raises(UserError, match="is n"):
        configure_logs(form, level)
