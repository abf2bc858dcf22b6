"""The result log: what is in it comes out as it was said, whatever happened to the file."""

import errno
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pyarrow
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hypnostream.bridges.messages import Message, Moment, Origin, StatusMessage, decode, encode
from hypnostream.bridges.result_log import MOST_HELD, Page, ResultLog
from hypnostream.bridges.result_messages import epoch_message
from hypnostream.engine.results import ChannelState, StageResult
from hypnostream.errors import UserError

ORIGIN = Origin(session_id="5e55", boot_id="b007", model_hash="9f2c", backend="onnxruntime")
MOMENT = Moment(stream_s=1090.0, utc_s=None, utc_uncertainty_s=None, published_utc_s=1.8e9)
ALL = 1 << 40
MANY = 10**6


def epoch(number: int) -> Message:
    channels = (ChannelState("eeg_frontal", "ok", 1.0, False),)
    result = StageResult(number, 30.0 * number, True, 30, "N2", None, (0.1, 0.1, 0.6, 0.1, 0.1), channels)
    return epoch_message(result, seq=number, origin=ORIGIN, time=MOMENT)


def status(seq: int, topic: str = "status", detail: str = "") -> Message:
    return StatusMessage(topic=topic, seq=seq, origin=ORIGIN, time=MOMENT, state="source_stalled", detail=detail)


def write(path: Path, *messages: Message) -> bytes:
    """A log with these messages; what is in the file."""
    with ResultLog(path) as log:
        for message in messages:
            log.append(message, encode(message))
        assert log.failure is None
    return path.read_bytes()


def seqs(log: ResultLog, topic: str = "epoch") -> list[int]:
    return [decode(body).seq for body in log.read(topic, 0, MANY, ALL).bodies]


NIGHT = [epoch(0), status(0), epoch(1), epoch(2), status(1)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.arrows"


def test_what_was_appended_is_there_when_the_file_is_opened_again(path: Path) -> None:
    write(path, *NIGHT)
    with ResultLog(path) as log:
        assert (log.repaired, log.failure, log.session_id) == (None, None, "5e55")
        assert log.last_seq == {"epoch": 2, "status": 1}
        assert list(log.messages()) == NIGHT
        assert log.latest("epoch") == encode(epoch(2))
        assert log.latest("event") is None
        log.append(epoch(3), encode(epoch(3)))
        assert seqs(log) == [0, 1, 2, 3]


def test_plain_pyarrow_reads_it_while_it_is_written(path: Path) -> None:
    with ResultLog(path) as log:
        for message in NIGHT:
            log.append(message, encode(message))
        with pyarrow.OSFile(str(path), "rb") as file:
            table = pyarrow.ipc.open_stream(file).read_all()
    assert [msgspec.msgpack.decode(body or b"")["kind"] for body in table["body"].to_pylist()] == table[
        "kind"
    ].to_pylist()
    assert table["topic"].to_pylist() == ["epoch", "status", "epoch", "epoch", "status"]
    assert table["t_start_s"].to_pylist() == [0.0, None, 30.0, 60.0, None]


def test_a_process_that_is_killed_has_written_all_that_it_appended(path: Path) -> None:
    code = (
        "import os, sys, signal; from pathlib import Path; from tests.bridges.test_result_log import *\n"
        "log = ResultLog(Path(sys.argv[1]))\n"
        "for n in range(5): log.append(epoch(n), encode(epoch(n)))\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code, str(path)], cwd=root, timeout=60, check=False)
    with ResultLog(path) as log:
        assert (seqs(log), log.repaired) == ([0, 1, 2, 3, 4], None)


def test_each_message_is_on_the_disk_itself_unless_told_otherwise(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    with ResultLog(path) as log, ResultLog(path.with_name("other.arrows"), fsync=False) as careless:
        monkeypatch.setattr(os, "fsync", synced.append)
        log.append(epoch(0), encode(epoch(0)))
        careless.append(epoch(0), encode(epoch(0)))
    assert len(synced) == 1


def test_what_is_there_already_is_not_put_in_twice(path: Path) -> None:
    once = write(path, *NIGHT)
    assert write(path, *NIGHT) == once


@pytest.mark.parametrize(
    ("from_seq", "to_seq", "most_bytes", "most", "expected", "next_seq"),
    [
        (0, 9, ALL, 99, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 10),
        (3, 5, ALL, 99, [3, 4, 5], 6),
        (3, 9, 1, 99, [3], 4),  # at least one
        (3, 9, ALL, 2, [3, 4], 5),
        (8, 20, ALL, 99, [8, 9], 21),
        (30, 40, ALL, 99, [], 41),
        (5, 4, ALL, 99, [], 5),
    ],
)
def test_a_range_is_read_in_pages(
    path: Path, from_seq: int, to_seq: int, most_bytes: int, most: int, expected: list[int], next_seq: int
) -> None:
    write(path, *map(epoch, range(10)))
    with ResultLog(path) as log:
        page = log.read("epoch", from_seq, to_seq, most_bytes, most)
        assert ([decode(body).seq for body in page.bodies], page.next_seq) == (expected, next_seq)
        assert log.read("event", 0, 9, ALL) == Page([], 10)


def test_a_torn_record_is_cut_at_every_byte_and_the_log_goes_on(path: Path) -> None:
    whole, before = write(path, epoch(0), epoch(1), epoch(2)), len(write(path.with_name("b"), epoch(0), epoch(1)))
    for length in range(before + 1, len(whole), 7):
        path.write_bytes(whole[:length])
        with ResultLog(path) as log:
            assert log.repaired is not None
            assert f"{length - before} torn" in log.repaired
            assert "\n" not in log.repaired
            log.append(epoch(2), encode(epoch(2)))
        assert path.read_bytes() == whole


def test_a_record_that_is_garbled_in_the_middle_costs_only_itself(path: Path) -> None:
    one, two = len(write(path.with_name("b"), epoch(0))), len(write(path.with_name("c"), epoch(0), epoch(1)))
    whole = write(path, *map(epoch, range(4)))
    for at in range(one, two, 13):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        with ResultLog(path) as log:
            if log.repaired is None:  # a byte of padding, that says nothing
                assert seqs(log) == [0, 1, 2, 3]
                continue
            assert seqs(log) == [0, 2, 3]
        with ResultLog(path) as again, pyarrow.OSFile(str(path), "rb") as file:
            assert (again.repaired, seqs(again)) == (None, [0, 2, 3])
            assert pyarrow.ipc.open_stream(file).read_all().num_rows == 3


def test_a_beginning_that_is_torn_or_garbled_is_made_anew(path: Path) -> None:
    whole = write(path, *NIGHT)
    for damaged, kept in (
        (b"", 0),
        (whole[:100], 0),
        (whole[:9] + b"?" + whole[10:], 5),
        (b"?" * 300 + whole[300:], 5),
    ):
        path.write_bytes(damaged)
        with ResultLog(path) as log:
            assert len(list(log.messages())) == kept
            assert (log.repaired is None) == (not damaged)
            log.append(epoch(3), encode(epoch(3)))
        with pyarrow.OSFile(str(path), "rb") as file:
            assert pyarrow.ipc.open_stream(file).read_all().num_rows == kept + 1


def test_a_stream_that_pyarrow_ended_goes_on(path: Path) -> None:
    whole = write(path, *NIGHT)
    path.write_bytes(whole + b"\xff\xff\xff\xff\0\0\0\0")
    assert write(path, *NIGHT) == whole


@pytest.mark.parametrize("content", [b"a night", b"0       X X X X", b"PAR1" + bytes(500), b"\xff" * 4000])
def test_what_is_no_log_is_refused_in_one_line_and_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"results\.arrows is not a result log; move it away") as refusal:
        ResultLog(path)
    assert "\n" not in str(refusal.value)
    assert path.read_bytes() == content


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere" / "results.arrows"):
        with pytest.raises(UserError, match="results cannot be kept in"):
            ResultLog(path)


def test_a_log_of_another_program_s_messages_is_not_taken_for_ours(path: Path) -> None:
    table = pyarrow.table({"topic": ["epoch"], "body": [b"x"]})
    with pyarrow.OSFile(str(path), "wb") as file, pyarrow.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table)
    with pytest.raises(UserError, match="is not a result log"):
        ResultLog(path)


@contextmanager
def full_disk(path: Path, room: int) -> Iterator[None]:
    """The file takes `room` more bytes, then none: the process's limit on file sizes stands in for a full disk."""
    resource = pytest.importorskip("resource", reason="limits are POSIX's")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("room", [0, 1, 700])
def test_a_full_disk_is_said_holds_nothing_up_and_leaves_no_garbage(path: Path, room: int) -> None:
    begun = write(path, epoch(0))
    with ResultLog(path) as log:
        with full_disk(path, room):
            for number in (1, 2):
                log.append(epoch(number), encode(epoch(number)))
                assert log.failure == os.strerror(errno.EFBIG)
            assert not log.retry()
            assert path.read_bytes() == begun
            assert seqs(log) == [0, 1, 2]
            assert log.latest("epoch") == encode(epoch(2))
            assert [message.seq for message in log.messages()] == [0, 1, 2]
        log.append(epoch(3), encode(epoch(3)))
        assert log.failure is None
        assert seqs(log) == [0, 1, 2, 3]
        assert path.read_bytes() == write(path.with_name("never_full"), *map(epoch, range(4)))


def test_what_a_full_disk_holds_back_is_bounded(path: Path) -> None:
    with ResultLog(path) as log:
        with full_disk(path, 0):
            for number in range(MOST_HELD + 10):
                log.append(status(number), encode(status(number)))
        assert log.retry()
        assert log.read("status", 0, MANY, ALL, MANY).bodies[0] == encode(status(10))
        assert len(log.read("status", 0, MANY, ALL, MANY).bodies) == MOST_HELD


def test_a_body_that_rots_while_the_log_is_open_is_left_out(path: Path) -> None:
    whole = write(path, *map(epoch, range(3)))
    with ResultLog(path) as log:
        at = whole.find(encode(epoch(1))) + 20
        with path.open("r+b") as file:
            file.seek(at)
            file.write(b"????")
        assert seqs(log) == [0, 2]


def test_a_night_of_results_takes_little_memory(path: Path) -> None:
    with ResultLog(path, fsync=False) as log:
        log.append(epoch(0), encode(epoch(0)))
        tracemalloc.start()
        for number in range(1, 961):
            log.append(epoch(number), encode(epoch(number)))
        grown, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert grown < 400_000


def opens_or_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        log = ResultLog(path)
    except UserError:
        assert path.read_bytes() == content
        return
    with log:
        for message in log.messages():
            decode(encode(message))
        number = log.last_seq.get("epoch", -1) + 1
        log.append(epoch(number), encode(epoch(number)))
    with ResultLog(path) as again, pyarrow.OSFile(str(path), "rb") as file:
        assert again.repaired is None
        assert pyarrow.ipc.open_stream(file).read_all().num_rows == len(list(again.messages()))


fuzzed = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@fuzzed
@given(st.binary(max_size=400))
@example(b"\xff\xff\xff\xff\xff\xff\xff\x7f")
@example(b"\xff\xff\xff\xff\x10\x00\x00\x00" * 50)
def test_no_bytes_are_too_bad_for_it(path: Path, content: bytes) -> None:
    opens_or_is_refused(path, content)


@fuzzed
@given(st.data())
def test_no_alteration_of_a_log_is_too_bad_for_it(path: Path, data: st.DataObject) -> None:
    path.unlink(missing_ok=True)
    content = bytearray(write(path, *NIGHT))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        match data.draw(st.sampled_from(("change", "cut", "insert", "repeat", "length"))):
            case "change":
                content[at] = data.draw(st.integers(0, 255))
            case "cut":
                del content[at : at + data.draw(st.integers(1, 3000))]
                content = content or bytearray(b"?")
            case "insert":
                content[at:at] = data.draw(st.binary(min_size=1, max_size=9))
            case "repeat":
                content[at:at] = content[: data.draw(st.integers(1, 3000))]
            case _:
                content[at // 8 * 8 : at // 8 * 8 + 8] = data.draw(st.integers(0, 2**64 - 1)).to_bytes(8, "little")
    opens_or_is_refused(path, bytes(content))
