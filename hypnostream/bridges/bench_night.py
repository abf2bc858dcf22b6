"""The recording that speed is measured on: 6 channels at 256 Hz, one at 32 Hz, one at 1 Hz, as a plain EDF.

python -m hypnostream.bridges.bench_night NIGHT.edf [HOURS]
"""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hypnostream.bridges.edf_write import EdfSignal, write_edf
from hypnostream.stream.simulator import NightSettings, SimulatedSource, simulate_night

FAST_HZ = 256
CHANNELS = ("EEG Fpz-Cz", "EEG Pz-Oz", "EOG horizontal", "EMG chin", "ECG", "EMG tibialis", "Airflow", "SpO2")
_RECORDS_FIELD = slice(236, 244)  # of the header: how many records follow
_HEADER_BYTES_PER_CHANNEL = 256


def write_night(path: Path, hours: float = 8.0, seed: int = 1) -> None:
    """Write a simulated hour, over and over: a time base and samples as real, in a second and little memory."""
    night = simulate_night(NightSettings(duration_s=3600.0, rate_hz=FAST_HZ), seed)
    source = SimulatedSource(night, chunk_s=30.0)
    blocks: dict[str, list[NDArray[np.float32]]] = {stream.stream_id: [] for stream in source.streams}
    while not source.exhausted:
        for chunk in source.read(0.0):
            blocks[chunk.stream_id].append(chunk.samples)
    signals: dict[str, EdfSignal] = {}
    for stream in source.streams:
        samples = np.concatenate(blocks[stream.stream_id])
        for column, channel in enumerate(stream.channels):
            signals[channel.label] = EdfSignal(
                channel.label, samples[:, column], stream.rate_hz, channel.unit, channel.minimum, channel.maximum
            )
    leg = np.random.default_rng(seed).standard_normal(3600 * FAST_HZ)
    signals["EMG tibialis"] = EdfSignal("EMG tibialis", 5 * leg, FAST_HZ, "uV", -250.0, 250.0)
    write_edf(path, [signals[label] for label in CHANNELS])
    hour = path.read_bytes()
    header = hour[: _HEADER_BYTES_PER_CHANNEL * (len(CHANNELS) + 1)]
    record = (len(hour) - len(header)) // 3600
    records = round(hours * 3600)
    with path.open("wb") as file:
        file.write(header[: _RECORDS_FIELD.start] + str(records).encode().ljust(8) + header[_RECORDS_FIELD.stop :])
        while records > 0:
            file.write(hour[len(header) : len(header) + record * min(records, 3600)])
            records -= 3600


if __name__ == "__main__":
    write_night(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 8.0)
