"""An amplifier that breaks on command, in a process of its own: real LSL, and the truth about every sample.

    python benchmarks/faults/sender.py '{"session": "private-1", "name": "amplifier"}'

It is driven by lines of JSON on stdin and answers each with one on stdout; `{"do": "start"}` comes first. Channel 0
carries the sample's number, which is a matter of time alone: number n is due at `base_s` + n / rate on LSL's clock,
whatever life of the sender sends it. What lies between two numbers is therefore exactly what did not come.
"""

import json
import os
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pylsl
from numpy.typing import NDArray

PACKET_S = 0.02
QUALITIES = ("good", "nan", "flat", "saturated")
LIMIT_UV = 500.0
IN_UNIT = {"microvolts": 1.0, "millivolts": 1e-3}  # of a microvolt; all else is sent as numbers near 95


@dataclass
class Settings:
    """What the stream says of itself. `labels` are those of channels 1 and up; `format` is one of LSL's.

    An `irregular` one has `rate_hz` all the same, and does not say so.
    """

    session: str
    name: str = "amplifier"
    source_id: str = "serial-1"
    rate_hz: float = 256.0
    labels: list[str] = field(default_factory=lambda: ["EEG Fpz-Cz", "EOG horizontal"])
    format: str = "float32"
    unit: str = "microvolts"
    irregular: bool = False
    base_port: int = 16572  # LSL's own
    base_s: float | None = None


@dataclass
class Faults:
    """What is wrong at the moment; the defaults are nothing. A command sets some of them."""

    silent: bool = False  # it is switched on and sends nothing; the samples of that time are gone
    clock_s: float = 0.0  # how far its clock is off
    drift_ppm: float = 0.0
    jitter_s: float = 0.0  # each packet is late by up to so long, and stamped by when it left
    loss: float = 0.0  # the share of packets that are lost
    quality: str = "good"


class Sender:
    """The stream; one thread sends, the other obeys."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.faults, self.lock = settings, Faults(), threading.Lock()
        self.sent = self.dropped = 0
        self.first = self.last = -1
        self.last_sent_s = 0.0
        self._rng = np.random.default_rng(0)
        self._signal = np.zeros(len(settings.labels) + 1)
        self._outlet: pylsl.StreamOutlet | None = None

    def obey(self, command: dict[str, Any]) -> dict[str, Any]:
        """Does what it is told; the answer is how it stands, `utc_s` when that was so."""
        with self.lock:
            if command.pop("do") == "start":
                self._start()
            for name, value in command.items():
                if name not in Faults.__dataclass_fields__:
                    raise SystemExit(f"there is no fault {name!r}")
                setattr(self.faults, name, value)
            return {
                "utc_s": time.time(),
                "base_s": self.settings.base_s,
                "sent": self.sent,
                "dropped": self.dropped,
                "first": self.first,
                "last": self.last,
                "last_sent_utc_s": self.last_sent_s,
            }

    def _start(self) -> None:
        said = self.settings
        rate_hz = pylsl.IRREGULAR_RATE if said.irregular else said.rate_hz
        info = pylsl.StreamInfo(said.name, "EEG", len(said.labels) + 1, rate_hz, said.format, said.source_id)
        channels = info.desc().append_child("channels")
        for label in ["Counter", *said.labels]:
            channel = channels.append_child("channel")
            channel.append_child_value("label", label)
            channel.append_child_value("unit", said.unit if label != "Counter" else "count")
            if label != "Counter" and said.unit in IN_UNIT:
                channel.append_child_value("minimum", str(-LIMIT_UV * IN_UNIT[said.unit]))
                channel.append_child_value("maximum", str(LIMIT_UV * IN_UNIT[said.unit]))
        self._outlet = pylsl.StreamOutlet(info)
        if said.base_s is None:
            said.base_s = float(pylsl.local_clock())
        threading.Thread(target=self._send, daemon=True).start()

    def _send(self) -> None:
        base_s, rate_hz = self.settings.base_s or 0.0, self.settings.rate_hz
        drift_s, before_s = 0.0, float(pylsl.local_clock())
        done = int((before_s - base_s) * rate_hz)
        while True:
            time.sleep(PACKET_S)
            with self.lock:
                now_s = float(pylsl.local_clock())
                drift_s += self.faults.drift_ppm * 1e-6 * (now_s - before_s)
                before_s = now_s
                wait_s = float(self._rng.uniform(0, self.faults.jitter_s)) if self.faults.jitter_s else 0.0
                due = int((now_s - base_s) * rate_hz)
                if due == done:
                    continue
                numbers, done = np.arange(done, due), due
                if self.faults.silent or self._rng.random() < self.faults.loss:
                    self.dropped += len(numbers)
                    continue
                time.sleep(wait_s)
                off_s = self.faults.clock_s + drift_s + (wait_s - self.faults.jitter_s / 2)
                stamps = base_s + numbers / rate_hz + off_s
                assert self._outlet is not None
                self._outlet.push_chunk(self._samples(numbers), stamps.tolist())
                self.first = self.first if self.first >= 0 else int(numbers[0])
                self.last, self.last_sent_s = int(numbers[-1]), time.time()
                self.sent += len(numbers)

    def _samples(self, numbers: NDArray[np.int64]) -> Any:
        """The numbers, and what the fault makes of a signal. (n, channels)."""
        samples = np.empty((len(numbers), len(self.settings.labels) + 1))
        for row in samples:  # noise that is mostly slow, as an EEG is
            self._signal = 0.95 * self._signal + self._rng.normal(0, 8, samples.shape[1])
            row[:] = self._signal
        if self.faults.quality == "nan":
            samples[:] = np.nan
        elif self.faults.quality == "flat":
            samples[:] = 3.0
        elif self.faults.quality == "saturated":
            samples[:] = LIMIT_UV
        samples = samples * IN_UNIT[self.settings.unit] if self.settings.unit in IN_UNIT else 95 + samples / 100
        samples[:, 0] = numbers
        if self.settings.format == "string":
            return [[str(value) for value in row] for row in samples]
        return samples.astype({"float32": "f4", "double64": "f8", "int16": "i2", "int32": "i4"}[self.settings.format])


def main() -> None:
    """Obeys until stdin ends."""
    sender_settings = Settings(**json.loads(sys.argv[1]))
    pylsl.set_config_content(
        f"[ports]\nBasePort = {sender_settings.base_port}\n[multicast]\nResolveScope = machine\n"
        f"[lab]\nSessionID = {sender_settings.session}\n[log]\nlevel = -3\n"
    )
    sender = Sender(sender_settings)
    for line in sys.stdin:
        print(json.dumps(sender.obey(json.loads(line))), flush=True)
    os._exit(0)  # liblsl may wait for its consumers; there is nothing to wait for


if __name__ == "__main__":
    main()
