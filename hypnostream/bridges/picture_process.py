"""Drawing in a process of its own.

Matplotlib is half a second and 50 MB of what a night costs. Beside the process that stages, it is loaded while the
night goes by, and its memory never adds to that of a bed.
"""

import subprocess
import sys
from contextlib import suppress
from types import TracebackType
from typing import Self

import msgspec
import numpy as np

from hypnostream.bridges.own_process import own_environment
from hypnostream.bridges.picture import Night, draw_night
from hypnostream.engine.sleep_statistics import sleep_statistics

NOTHING = Night("", (), (), sleep_statistics(np.zeros(0, np.int8)), "", "")
TIMEOUT_S = 60.0  # a first picture on a machine may build matplotlib's list of fonts


class PictureProcess:
    """A process that draws one night; use it in a `with`.

    `start` it ahead, and matplotlib is loaded when there is something to draw. Where it cannot be had or fails, `draw`
    draws in this process: there is always a picture.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Let it load what it needs, and wait."""
        with suppress(OSError):
            self._process = subprocess.Popen(  # as own_command has it
                [sys.executable, "-P", "-m", "hypnostream.bridges.picture_process"],
                env=own_environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # a Ctrl-C is ours to answer
            )

    def draw(self, night: Night) -> bytes:
        """The picture as PNG."""
        if self._process is None:
            self.start()
        process, self._process = self._process, None
        if process is not None:
            try:
                png, _ = process.communicate(encode_night(night), TIMEOUT_S)
                if process.returncode == 0 and png:
                    return png
            except (OSError, subprocess.TimeoutExpired):
                process.kill()
                process.communicate()
        return draw_night(night)

    def close(self) -> None:
        """Nothing to draw: let the process end."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def draw_apart(night: Night) -> bytes:
    """The picture as PNG, by a process that is only now started."""
    return PictureProcess().draw(night)


def encode_night(night: Night) -> bytes:
    """A night as MessagePack; an array is its type and its bytes."""
    return msgspec.msgpack.encode(night, enc_hook=lambda array: (array.dtype.str, array.tobytes()))


def decode_night(data: bytes) -> Night:
    """The inverse of `encode_night`."""
    return msgspec.msgpack.decode(data, type=Night, dec_hook=lambda kind, array: np.frombuffer(array[1], array[0]))


def main() -> None:
    """Draw what comes on stdin to stdout."""
    draw_night(NOTHING)  # while nothing has come yet: half of what a first picture takes is loading fonts and the like
    if data := sys.stdin.buffer.read():
        sys.stdout.buffer.write(draw_night(decode_night(data)))


if __name__ == "__main__":
    main()
