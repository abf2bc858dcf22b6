"""The words on the wire: one MessagePack body per message, readable in any language, open to what comes later.

Topics and kinds: a final stage is kind "epoch", status "final", topic "epoch", once an epoch; a provisional one is
kind "epoch", status "preliminary", topic "stage.provisional", once a second, so that who wants only final stages
never receives the others. Events, status notices and heartbeats have topics of their own names; the indices of
breathing are a notice on topic "indices".

The schema only ever grows: a minor version may add fields with defaults, topics, and new words where a field is
free text (`quality`, `absent_reason`, `state`, `event`). A reader ignores fields that it does not know. A new
`kind`, `status` or meaning is a new major version, which a reader refuses by name.
"""

from typing import Annotated, ClassVar, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

SCHEMA: Final = "hypnostream.message"
VERSION: Final = "1.0"
MAX_BYTES: Final = 64 * 1024  # ten times a message with eighty channels

EPOCH_TOPIC: Final = "epoch"
PROVISIONAL_TOPIC: Final = "stage.provisional"
EVENT_TOPIC: Final = "event"
STATUS_TOPIC: Final = "status"
PROCESS_TOPIC: Final = "status.process"  # notices of what befell the process, so not the same in another run of it
INDICES_TOPIC: Final = "indices"  # how breathing stands so far
HEARTBEAT_TOPIC: Final = "heartbeat"
DURABLE_TOPICS: Final = (EPOCH_TOPIC, EVENT_TOPIC, STATUS_TOPIC, PROCESS_TOPIC)  # on disk before they are published

SESSION_STARTED: Final = "session_started"
SESSION_RESUMED: Final = "session_resumed"  # by another process, after `seconds` in which nothing was read
SESSION_ENDED: Final = "session_ended"
BREATHING_INDICES: Final = "breathing_indices"
ANNOTATION: Final = "annotation"  # a marker: `subject` is who said it, `detail` what
LOG_FAILED: Final = "log_failed"  # results are published and held in memory: the disk does not take them, see `detail`
LOG_RESTORED: Final = "log_restored"  # all that was held is on disk
INSECURE: Final = "insecure"  # other machines may listen, nothing is encrypted, no one is asked who it is
KEEPING_FAILED: Final = "keeping_failed"  # what comes in is not on disk: to be killed now would cost it; see `detail`
KEEPING_RESTORED: Final = "keeping_restored"
WALL_CLOCK_SET: Final = "wall_clock_set"  # this machine's time of day was moved by `seconds` against stream time
BACKEND_FAILED: Final = "backend_failed"  # what was asked for does not run the model, or failed; onnxruntime does
BED_BEGUN: Final = "bed_begun"  # of a ward: `subject` is the bed, `detail` where it publishes
BED_FAILED: Final = "bed_failed"  # its session could not begin, or broke off for the reason `detail`; it is tried again
BED_ENDED: Final = "bed_ended"  # its session is over, `detail` says where its report is
BED_REMOVED: Final = "bed_removed"  # it is no longer one of the ward's
BED_REFUSED: Final = "bed_refused"  # of the file `subject`: it is wrong, and what it said before holds
PROCESS_STATES: Final = (
    BED_FAILED,
    BACKEND_FAILED,
    WALL_CLOCK_SET,
    SESSION_RESUMED,
    LOG_FAILED,
    LOG_RESTORED,
    INSECURE,
    KEEPING_FAILED,
    KEEPING_RESTORED,
)

# The bounds are what keeps NaN and the infinities off the wire, in both directions.
Time = Annotated[float, Meta(ge=-1e12, le=1e12)]
Duration = Annotated[float, Meta(ge=0.0, le=1e12)]
Fraction = Annotated[float, Meta(ge=0.0, le=1.0)]
Count = Annotated[int, Meta(ge=0)]
Word = Annotated[str, Meta(min_length=1, max_length=200)]
Stage = Literal["W", "N1", "N2", "N3", "R"]


class MessageError(ValueError):
    """Bytes that are not a message that this version reads, or a message that may not be sent."""


class Origin(Struct, frozen=True, kw_only=True):
    """Who speaks: the same in every message of a process, but `backend`, which is another once the first has failed.

    `session_id` names the run, random, and is kept when another process picks the run up; `boot_id` names the
    process. Each topic's `seq` starts at 0 with the session and goes on with the next process; only the heartbeat's
    starts again. `model_hash` is the bundle's, `scoring_rule` the rules by which the stages that it learned from were
    scored: "AASM", "R&K, S3 and S4 as N3", "unknown", or several with "; ".
    """

    session_id: Word
    boot_id: Word
    model_hash: Word
    backend: Word
    scoring_rule: Word = "unknown"


class Moment(Struct, frozen=True, kw_only=True):
    """When it was said. `stream_s` and `utc_s` are one moment on two clocks, so their difference turns any stream time
    of the message into UTC.

    `utc_s` is seconds since 1970 UTC, None where the recording knows no wall clock; `utc_uncertainty_s` is how far
    the pair may be off, None when that is unknown. `published_utc_s` is the publishing host's own clock.
    """

    stream_s: Time
    utc_s: Time | None
    utc_uncertainty_s: Duration | None
    published_utc_s: Time


class Channel(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One channel over an epoch: see `engine.results.ChannelState`."""

    name: Word
    quality: Word
    ok_fraction: Fraction
    imputed: bool
    weight: Fraction | None = None


class Probabilities(Struct, frozen=True, rename="upper"):
    """One number a stage, in the order of `STAGES`; on the wire by the stages' names."""

    w: Fraction
    n1: Fraction
    n2: Fraction
    n3: Fraction
    r: Fraction


class Envelope(Struct, frozen=True, kw_only=True, tag_field="kind"):
    """What every message says. `seq` counts the messages of `topic` from 0: a jump is a loss."""

    kind: ClassVar[str]
    schema: Literal["hypnostream.message"] = SCHEMA
    version: Annotated[str, Meta(pattern=r"^1\.[0-9]{1,6}$")] = VERSION
    topic: Word
    seq: Count
    origin: Origin
    time: Moment
    status: Literal["preliminary", "final", "amended", "withdrawn"] = "final"

    @property
    def key(self) -> tuple[str, str, int]:
        """Session, topic and seq: what two messages with the same key say is the same."""
        return self.origin.session_id, self.topic, self.seq


class EpochMessage(Envelope, frozen=True, kw_only=True, tag="epoch"):
    """The stage of one epoch: exactly one of `stage` and `absent_reason` is given.

    `epoch` counts from 0, `t_start_s` is stream time, `seconds` how much of the epoch had passed. `probabilities`
    are given even when the stage is absent (then they are the model's prior). `latency_s` is from the last sample that
    was waited for to this message, None where no clock says (a replay at full speed).
    """

    kind: ClassVar[str] = "epoch"
    epoch: Count
    t_start_s: Time
    seconds: Annotated[int, Meta(ge=0, le=30)]
    stage: Stage | None
    absent_reason: Word | None
    confidence: Fraction
    probabilities: Probabilities
    channels: tuple[Channel, ...]
    latency_s: Duration | None

    def __post_init__(self) -> None:
        _exactly_one("stage", self.stage, self.absent_reason)


class EventMessage(Envelope, frozen=True, kw_only=True, tag="event"):
    """Something between two moments of the night ("hypopnea"): exactly one of `event` and `absent_reason` is given.

    The latest `revision` of an `event_id` holds; `status` "withdrawn" takes it back. `t_end_s` is None while it lasts.
    `rule` is what it was decided by ("AASM 1A"), `signals` the channels that it rests on, `reason` a clause for people;
    each is absent where nothing is to be said.
    """

    kind: ClassVar[str] = "event"
    event_id: Word
    revision: Count
    event: Word | None
    absent_reason: Word | None
    t_start_s: Time
    t_end_s: Time | None
    confidence: Fraction
    channels: tuple[Channel, ...]
    latency_s: Duration | None
    rule: Word | UnsetType = UNSET
    signals: tuple[Word, ...] | UnsetType = UNSET
    reason: Word | UnsetType = UNSET

    def __post_init__(self) -> None:
        _exactly_one("event", self.event, self.absent_reason)


class RunningIndex(Struct, frozen=True, kw_only=True):
    """An index of the night so far: see `engine.respiration.index.Index`, whose fields these are. What can be told of
    no time (`value`, `low`, `high`) is None; `preliminary` events may yet count.
    """

    name: Word
    rule: Word
    unit: Word
    value: Duration | None
    low: Duration | None
    high: Duration | None
    numerator: Duration
    preliminary: Count
    hours: Duration
    denominator: Word


class StatusMessage(Envelope, frozen=True, kw_only=True, tag="status"):
    """A notice about the session ("session_started", "source_stalled"); `subject` is what it is about, where not
    the session itself; `detail` is a sentence for people. `seconds` and `samples` are the number that the notice speaks
    of, where it speaks of one (the length of a gap, how many samples were lost). `indices` are there in
    "breathing_indices" alone, `detail` then says the most important of them.
    """

    kind: ClassVar[str] = "status"
    state: Word
    subject: Word | None = None
    detail: str = ""
    seconds: Annotated[float, Meta(ge=-1e12, le=1e12)] | None = None
    samples: Count | None = None
    indices: tuple[RunningIndex, ...] | UnsetType = UNSET


class HeartbeatMessage(Envelope, frozen=True, kw_only=True, tag="heartbeat"):
    """The session is alive; the next one follows in `interval_s` of wall time.

    `last_seq` gives the last `seq` of each topic, so that a reader who lost a topic's last message learns of it;
    `replay` is the address that gives it again, absent where none does.
    """

    kind: ClassVar[str] = "heartbeat"
    interval_s: Duration
    last_seq: dict[Word, Count]
    replay: Word | UnsetType = UNSET


Message = EpochMessage | EventMessage | StatusMessage | HeartbeatMessage


class _Header(Struct):
    schema: str
    version: str


_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)
_header_decoder = msgspec.msgpack.Decoder(_Header)


def encode(message: Message) -> bytes:
    """The body of a message. Nothing leaves that `decode` would refuse: MessageError, for NaN above all."""
    try:
        body = _encoder.encode(message)
    except (TypeError, ValueError, OverflowError) as error:
        raise MessageError(f"a message of kind {message.kind} cannot be encoded: {error}") from error
    decode(body)
    return body


def decode(body: bytes) -> Message:
    """A message from bytes that anyone may have sent; MessageError says what is wrong with them."""
    if len(body) > MAX_BYTES:
        raise MessageError(f"a message of {len(body)} bytes is over the limit of {MAX_BYTES}")
    try:
        header = _header_decoder.decode(body)
        if header.schema != SCHEMA:
            raise MessageError(f"schema {header.schema[:50]!r} is not {SCHEMA!r}")
        if header.version.partition(".")[0] != VERSION.partition(".")[0]:
            raise MessageError(f"schema version {header.version[:20]!r} is not one that this reader of {VERSION} knows")
        return _decoder.decode(body)
    except MessageError:
        raise
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors; deep nesting is the other
        raise MessageError(f"not a message: {error}") from error


def status_topic(state: str) -> str:
    """The topic of a notice: the session's, or that of the process which it befell; indices have their own."""
    if state == BREATHING_INDICES:
        return INDICES_TOPIC
    return PROCESS_TOPIC if state in PROCESS_STATES else STATUS_TOPIC


def _exactly_one(name: str, value: str | None, absent_reason: str | None) -> None:
    if (value is None) == (absent_reason is None):
        raise ValueError(f"exactly one of {name} ({value}) and absent_reason ({absent_reason}) must be given")
