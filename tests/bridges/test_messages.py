"""Messages: what goes over the wire, byte for byte, and what of it is refused."""

import json
import math
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hypnostream.bridges.message_schema import json_schema
from hypnostream.bridges.messages import (
    MAX_BYTES,
    EpochMessage,
    EventMessage,
    HeartbeatMessage,
    Message,
    MessageError,
    Moment,
    Origin,
    Probabilities,
    Stage,
    StatusMessage,
    decode,
    encode,
)
from hypnostream.bridges.result_messages import epoch_message
from hypnostream.engine.results import ChannelState, StageResult
from hypnostream.stream.stages import STAGES

ORIGIN = Origin(session_id="5e55", boot_id="b007", model_hash="9f2c", backend="onnxruntime", scoring_rule="AASM")
MOMENT = Moment(stream_s=120.5, utc_s=1.8e9, utc_uncertainty_s=0.002, published_utc_s=1.8e9)
RESULT = StageResult(
    epoch=3,
    t_start_s=90.0,
    final=True,
    seconds=30,
    stage="N2",
    absent_reason=None,
    probabilities=(0.0625, 0.125, 0.5, 0.25, 0.0625),
    channels=(ChannelState("eeg_frontal", "ok", 1.0, False), ChannelState("eog", "missing", 0.0, True)),
)
EPOCH = epoch_message(RESULT, seq=3, origin=ORIGIN, time=MOMENT, latency_s=0.004)
HEARTBEAT = HeartbeatMessage(
    topic="heartbeat", seq=7, origin=ORIGIN, time=MOMENT, interval_s=1.0, last_seq={"epoch": 3}
)
EVENT = EventMessage(
    topic="event",
    seq=0,
    origin=ORIGIN,
    time=MOMENT,
    status="preliminary",
    event_id="e1",
    revision=0,
    event="apnea",
    absent_reason=None,
    t_start_s=100.0,
    t_end_s=None,
    confidence=0.75,
    channels=(),
    latency_s=None,
)
STATUS = StatusMessage(topic="status", seq=0, origin=ORIGIN, time=MOMENT, state="source_stalled", subject="belt")

# Version 1.0 as it was first sent. Readers of every 1.x must go on reading these; never renew them.
GOLDEN_EPOCH = bytes.fromhex(
    "de0011a46b696e64a565706f6368a6736368656d61b36879706e6f73747265616d2e6d657373616765a776657273696f6ea3312e30a5"
    "746f706963a565706f6368a373657103a66f726967696e85aa73657373696f6e5f6964a435653535a7626f6f745f6964a462303037aa"
    "6d6f64656c5f68617368a439663263a76261636b656e64ab6f6e6e7872756e74696d65ac73636f72696e675f72756c65a44141534da4"
    "74696d6584a873747265616d5f73cb405e200000000000a57574635f73cb41dad27480000000b17574635f756e6365727461696e7479"
    "5f73cb3f60624dd2f1a9fcaf7075626c69736865645f7574635f73cb41dad27480000000a6737461747573a566696e616ca565706f63"
    "6803a9745f73746172745f73cb4056800000000000a77365636f6e64731ea57374616765a24e32ad616273656e745f726561736f6ec0"
    "aa636f6e666964656e6365cb3fe0000000000000ad70726f626162696c697469657385a157cb3fb0000000000000a24e31cb3fc00000"
    "00000000a24e32cb3fe0000000000000a24e33cb3fd0000000000000a152cb3fb0000000000000a86368616e6e656c739284a46e616d"
    "65ab6565675f66726f6e74616ca77175616c697479a26f6bab6f6b5f6672616374696f6ecb3ff0000000000000a7696d7075746564c2"
    "84a46e616d65a3656f67a77175616c697479a76d697373696e67ab6f6b5f6672616374696f6ecb0000000000000000a7696d70757465"
    "64c3a96c6174656e63795f73cb3f70624dd2f1a9fc"
)
GOLDEN_EVENT = bytes.fromhex(  # before there were rules, signals and reasons
    "de0011a46b696e64a56576656e74a6736368656d61b36879706e6f73747265616d2e6d657373616765a776657273696f6ea3312e30a5"
    "746f706963a56576656e74a373657100a66f726967696e85aa73657373696f6e5f6964a435653535a7626f6f745f6964a462303037aa"
    "6d6f64656c5f68617368a439663263a76261636b656e64ab6f6e6e7872756e74696d65ac73636f72696e675f72756c65a44141534da4"
    "74696d6584a873747265616d5f73cb405e200000000000a57574635f73cb41dad27480000000b17574635f756e6365727461696e7479"
    "5f73cb3f60624dd2f1a9fcaf7075626c69736865645f7574635f73cb41dad27480000000a6737461747573ab7072656c696d696e6172"
    "79a86576656e745f6964a26531a87265766973696f6e00a56576656e74a561706e6561ad616273656e745f726561736f6ec0a9745f73"
    "746172745f73cb4059000000000000a7745f656e645f73c0aa636f6e666964656e6365cb3fe8000000000000a86368616e6e656c7390"
    "a96c6174656e63795f73c0"
)
GOLDEN_HEARTBEAT = bytes.fromhex(
    "8aa46b696e64a9686561727462656174a6736368656d61b36879706e6f73747265616d2e6d657373616765a776657273696f6ea3312e"
    "30a5746f706963a9686561727462656174a373657107a66f726967696e85aa73657373696f6e5f6964a435653535a7626f6f745f6964"
    "a462303037aa6d6f64656c5f68617368a439663263a76261636b656e64ab6f6e6e7872756e74696d65ac73636f72696e675f72756c65"
    "a44141534da474696d6584a873747265616d5f73cb405e200000000000a57574635f73cb41dad27480000000b17574635f756e636572"
    "7461696e74795f73cb3f60624dd2f1a9fcaf7075626c69736865645f7574635f73cb41dad27480000000a6737461747573a566696e61"
    "6caa696e74657276616c5f73cb3ff0000000000000a86c6173745f73657181a565706f636803"
)


def altered(message: Message, **fields: Any) -> bytes:
    """The body of a message with fields put in that its Struct would not take."""
    return msgspec.msgpack.encode(msgspec.to_builtins(message) | fields)


@pytest.mark.parametrize(
    ("message", "golden"), [(EPOCH, GOLDEN_EPOCH), (EVENT, GOLDEN_EVENT), (HEARTBEAT, GOLDEN_HEARTBEAT)]
)
def test_bytes_on_the_wire_are_those_that_were_first_sent(message: Message, golden: bytes) -> None:
    assert encode(message) == golden
    assert decode(golden) == message


@pytest.mark.parametrize("message", [EPOCH, HEARTBEAT, EVENT, STATUS])
def test_each_kind_survives_the_way_and_names_itself(message: Message) -> None:
    assert decode(encode(message)) == message
    assert msgspec.msgpack.decode(encode(message))["kind"] == message.kind


def test_published_schema_is_current() -> None:
    file = Path(__file__).parents[2] / "docs" / "message.schema.json"
    remedy = "python -m hypnostream.bridges.message_schema"
    assert file.read_text(encoding="utf-8") == json_schema(), f"write it again: {remedy} > docs/message.schema.json"


def test_schema_demands_what_decoding_demands() -> None:
    definitions = json.loads(json_schema())["$defs"]
    for name in ("EpochMessage", "EventMessage", "StatusMessage", "HeartbeatMessage"):
        assert {"kind", "schema", "version", "topic", "seq", "origin", "time"} <= set(definitions[name]["required"])


def test_stages_are_those_of_the_models() -> None:
    assert get_args(Stage) == STAGES
    assert tuple(name.upper() for name in Probabilities.__struct_fields__) == STAGES


def test_fields_of_a_later_minor_version_are_ignored() -> None:
    assert msgspec.structs.replace(EPOCH, version="1.9") == decode(
        altered(EPOCH, version="1.9", arousal_index=3.5, more={"deep": [1, None]})
    )


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"version": "2.0"}, "version '2.0'"),
        ({"version": "one"}, "version 'one'"),
        ({"schema": "other"}, "schema 'other'"),
        ({"stage": None}, "exactly one of stage"),
        ({"absent_reason": "no_data"}, "exactly one of stage"),
        ({"absent_reason": ""}, "absent_reason"),
        ({"stage": "S2"}, "stage"),
        ({"kind": "alarm"}, "kind"),
        ({"confidence": math.nan}, "confidence"),
        ({"t_start_s": math.inf}, "t_start_s"),
        ({"latency_s": -1.0}, "latency_s"),
        ({"probabilities": {"W": 1.0}}, "probabilities"),
        ({"seq": -1}, "seq"),
        ({"seq": True}, "seq"),
        ({"padding": "x" * MAX_BYTES}, "over the limit"),
    ],
)
def test_a_message_that_is_none_is_refused_by_name(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(MessageError, match=says):
        decode(altered(EPOCH, **fields))


@pytest.mark.parametrize("field", ["schema", "version", "topic", "origin", "probabilities", "absent_reason"])
def test_a_missing_field_is_refused_by_name(field: str) -> None:
    fields = msgspec.to_builtins(EPOCH)
    del fields[field]
    with pytest.raises(MessageError, match=field):
        decode(msgspec.msgpack.encode(fields))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, -0.1, 1.1])
def test_no_number_that_is_none_leaves(bad: float) -> None:
    result = StageResult(3, 90.0, True, 30, "N2", None, (bad, 0.1, 0.1, 0.1, 0.1), ())
    with pytest.raises(MessageError):
        encode(epoch_message(result, seq=0, origin=ORIGIN, time=MOMENT))
    with pytest.raises(MessageError):
        encode(msgspec.structs.replace(EPOCH, latency_s=math.nan))
    with pytest.raises(MessageError):
        encode(msgspec.structs.replace(HEARTBEAT, seq=2**70))


def test_a_stage_of_another_rule_is_refused_by_name() -> None:
    with pytest.raises(MessageError, match="'S4' is none of W, N1, N2, N3, R"):
        epoch_message(StageResult(0, 0.0, True, 30, "S4", None, (1, 0, 0, 0, 0), ()), seq=0, origin=ORIGIN, time=MOMENT)


def test_an_absent_stage_keeps_its_reason_and_the_prior() -> None:
    result = StageResult(3, 90.0, True, 30, None, "no_data", (0.2, 0.2, 0.2, 0.2, 0.2), ())
    message = decode(encode(epoch_message(result, seq=0, origin=ORIGIN, time=MOMENT)))
    assert isinstance(message, EpochMessage)
    assert (message.stage, message.absent_reason, message.probabilities.n3) == (None, "no_data", 0.2)


def test_provisional_and_final_stages_go_by_different_topics() -> None:
    provisional = StageResult(3, 90.0, False, 12, "N2", None, RESULT.probabilities, ())
    message = epoch_message(provisional, seq=0, origin=ORIGIN, time=MOMENT)
    assert (message.topic, message.kind, message.status) == ("stage.provisional", "epoch", "preliminary")
    assert (EPOCH.topic, EPOCH.kind, EPOCH.status) == ("epoch", "epoch", "final")


def test_roundings_do_not_stop_a_night() -> None:
    result = StageResult(3, 90.0, True, 30, "W", None, (1.0000001, 0.0, 0.0, 0.0, 0.0), ())
    message = epoch_message(result, seq=0, origin=ORIGIN, time=MOMENT, latency_s=-1e-9)
    assert (message.confidence, message.latency_s) == (1.0, 0.0)
    encode(message)


def decodes_or_is_refused(body: bytes) -> None:
    try:
        message = decode(body)
    except MessageError:
        return
    assert decode(encode(message)) == message


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200))
@example(b"")
@example(b"\x81\xa1z" + b"\x91" * 50_000 + b"\xc0")  # nested deeper than any stack
@example(b"\x82\xa6schema\xdd\xff\xff\xff\xff")  # an array of four billion that ends at once
@example(b"\x81\xa2\xff\xff\xa2\xff\xff")  # not UTF-8
def test_no_bytes_do_harm(body: bytes) -> None:
    decodes_or_is_refused(body)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([EPOCH, HEARTBEAT, EVENT, STATUS]), st.data())
def test_no_alteration_of_a_message_does_harm(message: Message, data: st.DataObject) -> None:
    body = bytearray(encode(message))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body) - 1))
        match data.draw(st.sampled_from(("change", "cut", "insert"))):
            case "change":
                body[at] = data.draw(st.integers(0, 255))
            case "cut":
                del body[at + 1 :]
            case _:
                body[at:at] = data.draw(st.binary(min_size=1, max_size=9))
    decodes_or_is_refused(bytes(body))


@settings(max_examples=100, deadline=None)
@given(
    st.builds(
        StageResult,
        epoch=st.integers(0, 10**6),
        t_start_s=st.floats(-1e12, 1e12),
        final=st.booleans(),
        seconds=st.integers(0, 30),
        stage=st.sampled_from(STAGES),
        absent_reason=st.none(),
        probabilities=st.tuples(*[st.floats(0, 1)] * 5),
        channels=st.lists(
            st.builds(ChannelState, st.text(min_size=1, max_size=80), st.just("ok"), st.floats(0, 1), st.booleans()),
            max_size=80,
        ).map(tuple),
    )
)
def test_whatever_a_session_says_arrives_as_it_was_said(result: StageResult) -> None:
    message = decode(encode(epoch_message(result, seq=0, origin=ORIGIN, time=MOMENT)))
    assert isinstance(message, EpochMessage)
    assert (message.epoch, message.t_start_s, message.stage) == (result.epoch, result.t_start_s, result.stage)
    assert tuple(msgspec.structs.astuple(message.probabilities)) == result.probabilities
    assert [c.name for c in message.channels] == [c.name for c in result.channels]
