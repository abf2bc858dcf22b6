"""Events as messages: what they say, that it arrives, and that what was sent before stays as it was."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from hypnostream.bridges.messages import EventMessage, MessageError, Moment, Origin, decode, encode
from hypnostream.bridges.result_messages import event_message, event_said
from hypnostream.engine.respiration.event import Event
from hypnostream.engine.results import ChannelState
from tests.bridges.respiratory_events import event, events

ORIGIN = Origin(session_id="5e55", boot_id="b007", model_hash="9f2c", backend="onnxruntime")
MOMENT = Moment(stream_s=120.5, utc_s=1.8e9, utc_uncertainty_s=0.002, published_utc_s=1.8e9)


def said(of: Event, **fields: Any) -> EventMessage:
    given: dict[str, Any] = {"seq": 0, "origin": ORIGIN, "time": MOMENT}
    return event_message(of, **given | fields)


def test_an_event_says_what_it_is_by_which_rule_and_from_what() -> None:
    channels = (ChannelState("flow", "ok", 1.0000001, False),)
    message = said(event(revision=2, status="amended", channels=channels), seq=7, latency_s=-1e-9)
    body = msgspec.msgpack.decode(encode(message))
    assert (body["kind"], body["topic"], body["seq"], body["status"]) == ("event", "event", 7, "amended")
    assert (body["event_id"], body["revision"], body["event"]) == ("e1", 2, "obstructive_apnea")
    assert (body["t_start_s"], body["t_end_s"], body["confidence"]) == (100.0, 121.5, 0.75)
    assert (body["rule"], body["signals"]) == ("AASM 1A", ["flow", "thorax"])
    assert body["reason"] == "flow fell by 96 % for 21 s"
    assert (body["channels"][0]["name"], body["channels"][0]["ok_fraction"], body["latency_s"]) == ("flow", 1.0, 0.0)


def test_what_is_not_said_takes_no_room() -> None:
    body = msgspec.msgpack.decode(encode(said(event(rule="", signals=(), reason=""))))
    assert not {"rule", "signals", "reason"} & set(body)


@given(events)
@settings(max_examples=150, deadline=None)
def test_whatever_a_detector_says_arrives_as_it_was_said(one: Event) -> None:
    message = decode(encode(said(one)))
    assert isinstance(message, EventMessage)
    assert event_said(message) == one


def test_a_long_reason_is_cut_and_the_event_goes_out() -> None:
    message = decode(encode(said(event(reason="x" * 999))))
    assert isinstance(message, EventMessage)
    assert message.reason == "x" * 200


def test_a_message_that_says_why_there_is_no_event_is_none() -> None:
    message = msgspec.structs.replace(said(event()), event=None, absent_reason="no_airflow")
    assert event_said(message) is None


@pytest.mark.parametrize("fields", [{"start_s": float("nan")}, {"end_s": float("inf")}, {"confidence": 1.5}])
def test_no_number_that_is_none_leaves(fields: dict[str, Any]) -> None:
    with pytest.raises(MessageError):
        encode(said(replace(event(), **fields)))
