"""The header of an EDF file, field by field, so that one bad field costs one channel and not the night.

We read the file ourselves, and use edfio as the oracle of our tests. edfio raises on the first field it cannot read,
joins the records of an EDF+D file into one run without its gaps, and maps the file into memory, where a night's 90 MB
count as resident. The format is small enough that two ways of reading (edfio's for sound files, ours for the rest)
would be more to trust than one: a header of 256 bytes, 256 more a channel, then records of little-endian int16.

EDF: Kemp et al. 1992, https://www.edfplus.info/specs/edf.html; EDF+: Kemp and Olivan 2003, edfplus.html beside it.
"""

import math
import os
import re
import stat
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path

from hypnostream.bridges.edf_text import field_number, field_text
from hypnostream.errors import UserError

_SIGNAL_FIELDS = (
    ("label", 16),
    ("transducer", 80),
    ("unit", 8),
    ("physical_minimum", 8),
    ("physical_maximum", 8),
    ("digital_minimum", 8),
    ("digital_maximum", 8),
    ("prefilter", 80),
    ("samples_per_record", 8),
)
_DATE_OR_TIME = re.compile(r"([0-9]{1,2})\D{1,2}([0-9]{1,2})\D{1,2}([0-9]{1,2})")
_EDF_PLUS_DATE = re.compile(r"Startdate ([0-9]{1,2})-([A-Za-z]{3})-([0-9]{4})\b")
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_ANONYMOUS = date(1985, 1, 1)  # what EDF+ writes where the date was taken out

# Beyond these the file is damaged or hostile, and the 30 s grid would be filled for years of nothing.
LONGEST_RECORD_S = 7 * 86400.0
LONGEST_RECORDING_S = 366 * 86400.0


@dataclass(frozen=True, slots=True)
class SignalHeader:
    """One channel of the header. A limit that cannot be read is NaN."""

    label: str
    transducer: str
    unit: str
    physical_minimum: float
    physical_maximum: float
    digital_minimum: float
    digital_maximum: float
    prefilter: str
    samples_per_record: int
    offset: int  # where its samples begin in a data record, in int16

    @property
    def is_annotations(self) -> bool:
        """True for the channels that hold text and record onsets instead of samples."""
        return self.label == "EDF Annotations"


@dataclass(frozen=True, slots=True)
class EdfHeader:
    """What the header says, after a look at the size of the file.

    `start` is the recorder's local time, None where the file does not know it; `records` counts the whole records that
    are there, whatever the header promised.
    """

    name: str
    start: datetime | None
    discontinuous: bool
    header_bytes: int
    records: int
    record_s: float
    signals: tuple[SignalHeader, ...]
    warnings: tuple[str, ...]

    @property
    def record_samples(self) -> int:
        """The int16 values of one data record, all channels together."""
        return sum(signal.samples_per_record for signal in self.signals)


def read_header(path: str | os.PathLike[str]) -> EdfHeader:
    """The header of an EDF, EDF+C or EDF+D file.

    Raises UserError when the file cannot be opened, is not EDF, ends in the header, or holds no whole record.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise UserError(f"{path} is a folder; name an EDF file in it")
        if not stat.S_ISREG(mode):
            raise UserError(f"{path} is not a regular file; copy the recording to a file first")
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            fixed = file.read(256)
            channels = _channel_count(fixed, path.name)
            per_signal = file.read(min(256 * channels, size))  # the header may claim any number
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UserError(f"cannot read {path}: {reason}; check the name and the permissions") from error
    if len(per_signal) < 256 * channels:
        raise UserError(
            f"{path.name} ends inside its header: {channels} channels need {256 * (channels + 1)} bytes, "
            f"it has {size}; copy the file again"
        )
    warnings: list[str] = []
    record_s = _record_duration(fixed, path.name)
    signals = _signals(per_signal, channels, path.name)
    record_bytes = 2 * sum(signal.samples_per_record for signal in signals)
    if record_bytes == 0:
        raise UserError(f"{path.name} has no usable channel: every channel has 0 samples a record")
    if record_bytes > size:
        raise UserError(f"{path.name} holds no whole data record: one is larger than all {size} bytes; copy it again")
    promised = field_number(field_text(fixed[236:244]))
    header_bytes = _header_bytes(fixed, channels, size - record_bytes * (promised if promised > 0 else 0), warnings)
    records = _record_count(promised, size - header_bytes, record_bytes, record_s, path.name, warnings)
    return EdfHeader(
        name=path.name,
        start=_start(fixed, warnings),
        discontinuous=field_text(fixed[192:236]).startswith("EDF+D"),
        header_bytes=header_bytes,
        records=records,
        record_s=record_s,
        signals=signals,
        warnings=tuple(warnings),
    )


def _channel_count(fixed: bytes, name: str) -> int:
    if not fixed:
        raise UserError(f"{name} is empty; copy the file again")
    if fixed.startswith(b"\xffBIOSEMI"):
        raise UserError(f"{name} is BDF (24 bit), not EDF; convert it to EDF first")
    if fixed[:8].strip(b" \0") != b"0":
        raise UserError(f"{name} is not an EDF file: it begins with {fixed[:8]!r} instead of '0' and seven spaces")
    if len(fixed) < 256:
        raise UserError(
            f"{name} ends inside its header: it has {len(fixed)} of at least 256 bytes; copy the file again"
        )
    channels = field_number(field_text(fixed[252:256]))
    if not channels >= 1 or channels != int(channels):
        raise UserError(f"{name} has no usable channel: its header counts {field_text(fixed[252:256])!r} channels")
    return int(channels)


def _record_duration(fixed: bytes, name: str) -> float:
    record_s = field_number(field_text(fixed[244:252]))
    if not 0 <= record_s <= LONGEST_RECORD_S:
        raise UserError(
            f"{name}: a data record lasts {field_text(fixed[244:252])!r} s by its header, so no rate can be known; "
            "mend bytes 244 to 251"
        )
    return record_s


def _signals(raw: bytes, channels: int, name: str) -> tuple[SignalHeader, ...]:
    columns: dict[str, list[str]] = {}
    start = 0
    for field, width in _SIGNAL_FIELDS:
        columns[field] = [field_text(raw[start + width * i : start + width * (i + 1)]) for i in range(channels)]
        start += width * channels
    signals: list[SignalHeader] = []
    offset = 0
    for i in range(channels):
        spelled = columns["samples_per_record"][i]
        samples = field_number(spelled)
        if not samples >= 0 or samples != int(samples):
            raise UserError(
                f"{name}: channel {i + 1} ({columns['label'][i]!r}) has {spelled!r} samples a record, "
                "so the layout of the records cannot be known; mend the header"
            )
        signals.append(
            SignalHeader(
                label=columns["label"][i],
                transducer=columns["transducer"][i],
                unit=columns["unit"][i],
                physical_minimum=field_number(columns["physical_minimum"][i]),
                physical_maximum=field_number(columns["physical_maximum"][i]),
                digital_minimum=field_number(columns["digital_minimum"][i]),
                digital_maximum=field_number(columns["digital_maximum"][i]),
                prefilter=columns["prefilter"][i],
                samples_per_record=int(samples),
                offset=offset,
            )
        )
        offset += int(samples)
    return tuple(signals)


def _header_bytes(fixed: bytes, channels: int, without_data: float, warnings: list[str]) -> int:
    """Where the data begins: as the channel count says, unless the file's size proves the header's own figure right."""
    by_channels = 256 * (channels + 1)
    spelled = field_text(fixed[184:192])
    stated = field_number(spelled)
    if stated == by_channels:
        return by_channels
    if stated > by_channels and stated == without_data:
        warnings.append(f"the header says it has {spelled} bytes, {channels} channels make {by_channels}; it is padded")
        return int(stated)
    warnings.append(
        f"the header says it has {spelled!r} bytes, {channels} channels make {by_channels}; took {by_channels}"
    )
    return by_channels


def _record_count(
    promised: float, data_bytes: int, record_bytes: int, record_s: float, name: str, warnings: list[str]
) -> int:
    """How many whole records the file holds: its size decides, as in edfio and MNE, and what differs is said."""
    records, rest = divmod(data_bytes, record_bytes)
    if records < 1:
        raise UserError(
            f"{name} holds no whole data record: a record has {record_bytes} bytes, "
            f"{max(data_bytes, 0)} follow the header; copy the file again"
        )
    if records * record_s > LONGEST_RECORDING_S:
        raise UserError(
            f"{name} claims {records} records of {record_s:g} s, {records * record_s / 86400:.0f} days; mend the header"
        )
    if promised == -1:
        warnings.append(f"the recording was never closed (record count -1); its size gives {records} records")
    elif math.isnan(promised) or promised < 0:
        warnings.append(f"the header gives no record count; the file's size gives {records}")
    elif promised > records:
        warnings.append(
            f"the file is cut short: {promised:.0f} records promised, {records} whole ones are there "
            f"({(promised - records) * record_s:g} s are missing)"
        )
    elif promised < records:
        warnings.append(f"the file holds {records} records where its header promises {promised:.0f}; read all of them")
    if rest and not promised > records:
        warnings.append(f"{rest} bytes after the last whole record were ignored")
    return records


def _start(fixed: bytes, warnings: list[str]) -> datetime | None:
    day = _day(fixed, warnings)
    spelled = field_text(fixed[176:184])
    match = _DATE_OR_TIME.fullmatch(spelled)
    clock = None
    if match:
        with suppress(ValueError):
            clock = time(int(match[1]), int(match[2]), int(match[3]))
    if clock is None:
        warnings.append(f"the start time {spelled!r} is no time of day; the recording's wall time is unknown")
    return datetime.combine(day, clock) if day and clock is not None else None


def _day(fixed: bytes, warnings: list[str]) -> date | None:
    """The date of the start; the EDF+ field, which has four digits for the year, goes first. None when anonymous."""
    recording = field_text(fixed[88:168])
    in_recording = _EDF_PLUS_DATE.match(recording)
    if in_recording and in_recording[2].upper() in _MONTHS:
        try:
            if not 1970 <= int(in_recording[3]) <= 2200:
                raise ValueError
            return date(int(in_recording[3]), _MONTHS.index(in_recording[2].upper()) + 1, int(in_recording[1]))
        except ValueError:
            warnings.append(f"the start date {in_recording[0]!r} is absurd")
    spelled = field_text(fixed[168:176])
    match = _DATE_OR_TIME.fullmatch(spelled)
    try:
        if not match:
            raise ValueError
        day, month, year = (int(part) for part in match.groups())
        found = date(year + (1900 if year >= 85 else 2000), month, day)
    except ValueError:
        warnings.append(f"the start date {spelled!r} is not in the calendar; the recording's wall time is unknown")
        return None
    return None if found == _ANONYMOUS else found
