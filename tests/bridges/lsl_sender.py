"""A device of its own: a process that sends LSL streams in real time, and that tests may stop or kill.

Channel 0 carries sample numbers that count from `base_s` on the clock of LSL, whatever life of the sender it is: what
is missing between two numbers is exactly what the stamps' gap says.
"""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess

import numpy as np
import pylsl

from hypnostream.bridges.lsl_config import use_private_lsl
from hypnostream.stream.source import Arrival, Chunk


@dataclass(frozen=True)
class Device:
    """One stream: `chunk` samples are pushed when the last of them is due; `source_id` is "id NAME" unless given.

    With `stream_clock` it declares its time, which counts from `base_s`.
    """

    name: str
    rate_hz: float = 256.0
    channels: int = 2
    chunk: int = 8
    source_id: str | None = None
    unit: str = "uV"
    base_s: float = 0.0
    stream_clock: bool = False


def outlet_of(device: Device) -> pylsl.StreamOutlet:
    source_id = f"id {device.name}" if device.source_id is None else device.source_id
    info = pylsl.StreamInfo(device.name, "EEG", device.channels, device.rate_hz, "float32", source_id)
    if device.stream_clock:
        info.desc().append_child_value("clock", "stream")
    channels = info.desc().append_child("channels")
    for index in range(device.channels):
        channel = channels.append_child("channel")
        channel.append_child_value("label", f"C{index}")
        channel.append_child_value("unit", device.unit)
    return pylsl.StreamOutlet(info)


def send(session_id: str, devices: Sequence[Device]) -> None:
    """Until it is killed."""
    use_private_lsl(session_id)
    outlets = [outlet_of(device) for device in devices]
    next_numbers = [int((pylsl.local_clock() - device.base_s) * device.rate_hz) for device in devices]
    while os.getppid() != 1:
        now_s = pylsl.local_clock()
        for index, (device, outlet) in enumerate(zip(devices, outlets, strict=True)):
            while device.base_s + (next_numbers[index] + device.chunk - 1) / device.rate_hz <= now_s:
                numbers = next_numbers[index] + np.arange(device.chunk)
                samples = np.zeros((device.chunk, device.channels), np.float32)
                samples[:, 0] = numbers
                begins_s = 0.0 if device.stream_clock else device.base_s
                outlet.push_chunk(samples, (begins_s + numbers / device.rate_hz).tolist())
                next_numbers[index] += device.chunk
        time.sleep(0.002)


@contextmanager
def sending_device(session_id: str, *devices: Device) -> Iterator[BaseProcess]:
    """The devices of one sender; killed at the end if it is still there."""
    process = multiprocessing.get_context("spawn").Process(target=send, args=(session_id, devices), daemon=True)
    process.start()
    try:
        yield process
    finally:
        kill(process)


def kill(process: BaseProcess) -> None:
    if process.pid is not None and process.is_alive():
        os.kill(process.pid, signal.SIGKILL)
    process.join()


def prove(arrivals: Sequence[Arrival], stream_id: str, rate_hz: float = 256.0) -> int:
    """That what came is what was sent: in order, once each, and what is missing is a gap in the stamps of just that
    length. Returns how many samples are missing."""
    chunks = [a for a in arrivals if isinstance(a, Chunk) and a.stream_id == stream_id]
    numbers = np.concatenate([chunk.samples[:, 0] for chunk in chunks]).astype(np.float64)
    stamps = np.concatenate([chunk.timestamps for chunk in chunks])
    steps = np.diff(numbers)
    assert steps.min() >= 1
    np.testing.assert_allclose(np.diff(stamps) * rate_hz, steps, rtol=0, atol=0.5)
    return int((steps - 1).sum())
