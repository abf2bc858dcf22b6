"""State as bytes and back: dataclasses of arrays, numbers and words, in MessagePack. No pickle; nothing is believed.

An array is its dtype, its shape and its samples. What comes back has the types that the dataclass says, or is refused.
"""

import math
import threading
from typing import Any, TypeVar

import msgspec
import numpy as np

_State = TypeVar("_State")
_DTYPES = {np.dtype(name).str: np.dtype(name) for name in ("f4", "f8", "i8", "i4", "u1", "?")}
_MOST_BYTES = 1 << 28
_decoders: dict[type, "msgspec.msgpack.Decoder[Any]"] = {}
_one_learns = threading.Lock()  # msgspec crashes when two threads use a type for the first time at once


def write_state(state: object) -> bytes:
    """A dataclass of arrays, numbers and words as bytes. Raises TypeError for anything else in it."""
    return msgspec.msgpack.encode(state, enc_hook=_write_array)


def read_state(data: bytes, kind: type[_State]) -> _State:
    """The state that was written, of the dataclass `kind`. Raises ValueError for bytes that are none of it."""
    try:
        return _decoder_of(kind).decode(data)
    except (msgspec.DecodeError, RecursionError, TypeError) as error:
        raise ValueError(f"not a state of {kind.__name__}: {error}") from error


def _decoder_of(kind: type[_State]) -> "msgspec.msgpack.Decoder[_State]":
    with _one_learns:
        if kind not in _decoders:
            _decoders[kind] = msgspec.msgpack.Decoder(kind, dec_hook=_read_array)
        return _decoders[kind]


def _write_array(value: object) -> object:
    if isinstance(value, np.ndarray) and value.dtype.str in _DTYPES:
        return value.dtype.str, value.shape, value.tobytes()
    raise TypeError(f"a {type(value).__name__} cannot be written as state")


def _read_array(kind: Any, value: Any) -> Any:
    if getattr(kind, "__origin__", kind) is not np.ndarray:
        raise ValueError(f"a {kind} cannot be read as state")
    wanted: np.dtype[Any] = np.dtype(kind.__args__[1].__args__[0])
    match value:
        case [str() as code, [*shape], bytes() as raw] if all(isinstance(n, int) and n >= 0 for n in shape):
            if code != wanted.str:
                raise ValueError(f"an array of {code[:10]!r} where one of {wanted.str!r} belongs")
            if len(shape) > 8 or len(raw) > _MOST_BYTES or math.prod(shape) * wanted.itemsize != len(raw):
                raise ValueError(f"an array of {len(raw)} bytes that says it is {shape[:8]}")
            return np.frombuffer(raw, wanted).reshape(shape).copy()
    raise ValueError("not an array")
