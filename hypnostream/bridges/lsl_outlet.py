"""Any Source sent out over Lab Streaming Layer at a chosen pace: a simulated or recorded night as a bedside monitor."""

import time
from math import isfinite
from typing import Final

import numpy as np
import pylsl

from hypnostream.bridges.lsl_config import use_private_lsl
from hypnostream.bridges.lsl_description import buffer_s, describe
from hypnostream.stream.clock import Clock, RealTimeClock, VirtualClock
from hypnostream.stream.simulator import NightSettings, SimulatedSource, simulate_night
from hypnostream.stream.source import Chunk, Source

# LSL takes a stamp of 0.0 for "now" and -1.0 for "one sample later": these mean the same times and are taken as such.
_SPECIAL_STAMPS: Final = ((0.0, 1e-300), (-1.0, float(np.nextafter(-1.0, 0.0))))
_POLL_S = 0.02


class LslOutlets:
    """One LSL outlet for each stream of a source; stamps are stream time. `speed` may be infinite.

    liblsl hands data over in the background and drops what nobody took in time, so give readers the time to come
    (`wait_for_consumers`) and to finish (`linger`).
    """

    def __init__(self, source: Source, speed: float = 1.0, prefix: str = "") -> None:
        self._source = source
        self._speed = speed
        self._outlets = {
            stream.stream_id: pylsl.StreamOutlet(
                describe(stream, source, speed, prefix), 0, buffer_s(speed, source.duration_s, stream.rate_hz)
            )
            for stream in source.streams
        }

    def wait_for_consumers(self, timeout_s: float) -> bool:
        """Waits on the wall until every stream has a reader; after the first has one, no more than two seconds.

        False when none came: some readers take some streams only.
        """
        deadline = time.monotonic() + timeout_s
        came = False
        while time.monotonic() < deadline:
            reading = [outlet.have_consumers() for outlet in self._outlets.values()]
            if all(reading):
                return True
            if any(reading) and not came:
                came, deadline = True, min(deadline, time.monotonic() + 2.0)
            time.sleep(_POLL_S)
        return came

    def run(self, clock: Clock | None = None) -> int:
        """Sends the source to its end, each stretch when `clock` reaches its last sample; returns how many samples.

        Without a clock it keeps its own, from now, at the outlets' speed.
        """
        if clock is None:
            start_s = self._source.start_s
            clock = RealTimeClock(self._speed, start_s) if isfinite(self._speed) else VirtualClock(start_s)
        sent = 0
        while not self._source.exhausted:
            chunks = self._source.read(timeout_s=0.1)
            if chunks:
                clock.wait_until(max(float(chunk.timestamps[-1]) for chunk in chunks))
            for chunk in chunks:
                self._push(chunk)
                sent += len(chunk.timestamps)
        return sent

    def linger(self, timeout_s: float) -> bool:
        """Stays until the last reader has gone; False when one is still there after `timeout_s` on the wall."""
        deadline = time.monotonic() + timeout_s
        while any(outlet.have_consumers() for outlet in self._outlets.values()):
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        return True

    def close(self) -> None:
        """Takes the streams off the network; what no reader has received by now is lost."""
        self._outlets.clear()

    def _push(self, chunk: Chunk) -> None:
        stamps = chunk.timestamps
        for special, neighbour in _SPECIAL_STAMPS:
            stamps = np.where(stamps == special, neighbour, stamps)
        self._outlets[chunk.stream_id].push_chunk(np.ascontiguousarray(chunk.samples), stamps.tolist())


def stream_simulated_night(
    settings: NightSettings,
    speed: float,
    session_id: str,
    seed: int = 0,
    wait_for_consumers_s: float = 30.0,
    linger_s: float = 60.0,
) -> None:
    """A bedside monitor in a process of its own (multiprocessing's "spawn"): one night in a private LSL session.

    It begins when readers came, or after `wait_for_consumers_s` without, and ends when they have gone.
    """
    use_private_lsl(session_id)
    chunk_s = min(1.0, max(0.1, 0.02 * speed))  # some fifty packets a second on the wall, as an amplifier sends them
    source = SimulatedSource(simulate_night(settings, seed), chunk_s)
    outlets = LslOutlets(source, speed)
    outlets.wait_for_consumers(wait_for_consumers_s)
    outlets.run()
    outlets.linger(linger_s)
    outlets.close()
