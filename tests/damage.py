"""Bytes as a failing disk, a broken program or an enemy would leave them, and the promise for whatever reads them."""

import tracemalloc
from collections.abc import Callable

import pyarrow
from hypothesis import strategies as st

# Where a format has a length or a count, these say 2^31, 2^63, -1, NaN, infinity.
NUMBERS = (
    b"\xff\xff\xff\x7f",
    b"\xff" * 8,
    b"\xff" * 7 + b"\x7f",
    b"\0\0\0\x80",
    b"\0\0\0\0\0\0\xf8\x7f",
    b"\0\0\0\0\0\0\xf0\x7f",
    bytes(8),
)
TEXTS = (
    b"1000000000000",
    b"-1",
    b"0",
    b"nan",
    b"1e308",
    b"9" * 40,
    b"",
    b'"',
    b"\\u0000",
    b"[" * 5000,
    b"<!DOCTYPE a>",
)
QUICK, MANY = 60, 3000
ALLOWANCE_BYTES = 96 << 20  # what a reader may need whatever the file says; the files of the tests are small


@st.composite
def damaged(draw: st.DrawFn, sound: bytes) -> bytes:
    """Some bytes changed, cut out, put in twice or put in from elsewhere; some tests' bytes are all invented."""
    raw = bytearray(sound)
    place = st.integers(0, max(len(sound) - 1, 0)) | st.integers(0, min(max(len(sound) - 1, 0), 400))
    for _ in range(draw(st.integers(1, 4))):
        at = min(draw(place), len(raw))
        match draw(st.sampled_from(("flip", "number", "text", "insert", "remove", "repeat", "cut"))):
            case "flip" if at < len(raw):
                raw[at] ^= draw(st.integers(1, 255))
            case "number":
                value = draw(st.sampled_from(NUMBERS))
                raw[at : at + len(value)] = value
            case "text":
                digits = next((i for i in range(at, len(raw)) if raw[i] in b"0123456789"), at)
                end = next((i for i in range(digits, len(raw)) if raw[i] not in b"0123456789."), digits)
                raw[digits:end] = draw(st.sampled_from(TEXTS))
            case "insert":
                raw[at:at] = draw(st.binary(min_size=1, max_size=20))
            case "remove":
                del raw[at : at + draw(st.integers(1, 40))]
            case "repeat":
                raw[at:at] = raw[at : at + draw(st.integers(1, 200))]
            case "cut":
                del raw[at:]
    return bytes(raw)


def assert_harmless(read: Callable[[], object], errors: tuple[type[Exception], ...], allowance: int) -> None:
    """`read` returns or raises one of `errors` in one line, and never holds more than `allowance` bytes meanwhile."""
    pool = pyarrow.default_memory_pool()
    tracemalloc.start()
    try:
        read()
    except errors as error:
        said = str(error)
    else:
        said = ""
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert "\n" not in said
    assert peak < allowance, f"{peak >> 20} MiB"
    assert (pool.max_memory() or 0) < ALLOWANCE_BYTES
