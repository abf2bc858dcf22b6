"""Asking for what was missed: requests to the replay address and its replies, one MessagePack body each.

A DEALER (or REQ) socket sends a request; the reply carries the same `request` number. Versions and unknown fields are
as with `messages`. Bodies of messages come as the bytes that were published.
"""

from typing import Annotated, ClassVar, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from hypnostream.bridges.messages import MAX_BYTES, SCHEMA, VERSION, Count, MessageError, Word

MAX_REQUEST_BYTES: Final = 4096
PAGE_BYTES: Final = MAX_BYTES  # of the messages in a reply: small, as a client that hangs may leave some of them unread
PAGE_MESSAGES: Final = 200
MAX_REPLY_BYTES: Final = 4 * MAX_BYTES

_Body = Annotated[bytes, Meta(max_length=MAX_BYTES)]
_Bodies = Annotated[tuple[_Body, ...], Meta(max_length=1000)]


class _Envelope(Struct, frozen=True, kw_only=True, tag_field="kind"):
    """What every request and reply says; `request` is any number that the asking side chooses."""

    kind: ClassVar[str]
    schema: Literal["hypnostream.message"] = SCHEMA
    version: Annotated[str, Meta(pattern=r"^1\.[0-9]{1,6}$")] = VERSION
    request: Count = 0


class SnapshotRequest(_Envelope, frozen=True, kw_only=True, tag="snapshot_request"):
    """Asks for the newest message of each topic that begins with one of `topics` ("" is every topic)."""

    kind: ClassVar[str] = "snapshot_request"
    topics: Annotated[tuple[Annotated[str, Meta(max_length=200)], ...], Meta(max_length=100)] = ("",)


class ReplayRequest(_Envelope, frozen=True, kw_only=True, tag="replay_request"):
    """Asks for the messages of exactly this topic from `from_seq` to `to_seq`, both included, of one session."""

    kind: ClassVar[str] = "replay_request"
    session_id: Word
    topic: Word
    from_seq: Count
    to_seq: Count


class SnapshotReply(_Envelope, frozen=True, kw_only=True, tag="snapshot"):
    """The newest `messages`, one a topic, and the last `seq` of every topic asked for."""

    kind: ClassVar[str] = "snapshot"
    session_id: Word
    boot_id: Word
    last_seq: dict[Word, Count]
    messages: _Bodies


class ReplayReply(_Envelope, frozen=True, kw_only=True, tag="replay"):
    """A page: `messages` in the order of their `seq`. All below `next_seq` is here or is gone for good; `more` says
    that another request, from `next_seq`, brings more.
    """

    kind: ClassVar[str] = "replay"
    session_id: Word
    topic: Word
    next_seq: Count
    more: bool
    messages: _Bodies


class RefusedReply(_Envelope, frozen=True, kw_only=True, tag="refused"):
    """The request was not understood or cannot be answered; `reason` is one line. `session_id` is the one that runs."""

    kind: ClassVar[str] = "refused"
    session_id: Word
    reason: Annotated[str, Meta(max_length=500)]


_Said = TypeVar("_Said")
Request = SnapshotRequest | ReplayRequest
Reply = SnapshotReply | ReplayReply | RefusedReply

_encoder = msgspec.msgpack.Encoder()
_requests: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_replies: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)


def encode(said: Request | Reply) -> bytes:
    """The body of a request or a reply."""
    return _encoder.encode(said)


def decode_request(body: bytes) -> Request:
    """A request from bytes that anyone may have sent; MessageError says what is wrong with them."""
    return _decode(_requests, body, MAX_REQUEST_BYTES)


def decode_reply(body: bytes) -> Reply:
    """A reply from bytes that anyone may have sent; MessageError says what is wrong with them."""
    return _decode(_replies, body, MAX_REPLY_BYTES)


def _decode(decoder: "msgspec.msgpack.Decoder[_Said]", body: bytes, most: int) -> _Said:
    if len(body) > most:
        raise MessageError(f"{len(body)} bytes are over the limit of {most}")
    try:
        return decoder.decode(body)
    except (ValueError, RecursionError) as error:
        raise MessageError(f"not understood: {error}") from error
