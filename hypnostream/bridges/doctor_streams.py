"""The LSL streams that are there: who sends what, whether it can be found again, how far its clock is."""

from collections.abc import Iterator, Sequence

import pylsl

from hypnostream.bridges.doctor import OK, PROBLEM, WARNING, Check
from hypnostream.bridges.lsl_config import reader_config
from hypnostream.config import BedConfig, LslSection
from hypnostream.errors import UserError

LOOK_S = 3.0
CLOCK_S = 2.0  # liblsl needs most of a second for an offset
MOST_STREAMS = 12
FAR_S = 3600.0


def examine(config: BedConfig) -> Iterator[Check]:
    """Every stream in sight, then whether the bed's predicates find theirs."""
    try:
        use_lsl(config.lsl)
    except UserError:  # the examination of the network says it
        return
    found: list[pylsl.StreamInfo] = pylsl.resolve_streams(LOOK_S)
    for info in found[:MOST_STREAMS]:
        yield stream(info)
    if len(found) > MOST_STREAMS:
        yield Check("LSL stream", OK, f"{len(found) - MOST_STREAMS} more")
    if not found:
        yield Check(
            "LSL streams",
            WARNING,
            f"none in sight within {LOOK_S:g} s",
            "start the sender; if it runs, look at interface, LSL configuration and firewall",
        )
    yield from _twins(found)
    yield from _wanted(config.lsl, found)


def use_lsl(section: LslSection) -> None:
    """This process's LSL is configured as the bed's reader is."""
    pylsl.set_config_content(reader_config(section.private_session, section.known_peers))


def stream(info: pylsl.StreamInfo) -> Check:
    """One stream in a line."""
    rate_hz = info.nominal_srate()
    parts = [
        f"{info.name()!r} of type {info.type()!r}",
        f"{rate_hz:g} Hz" if rate_hz else "irregular rate",
        f"{info.channel_count()} channels",
        f"from {info.hostname()!r}",
    ]
    try:
        inlet = pylsl.StreamInlet(info, 1, recover=False)
        offset_s = inlet.time_correction(CLOCK_S)
    except (TimeoutError, RuntimeError, pylsl.util.LostError):
        said = "; ".join([*parts, f"it does not answer within {CLOCK_S:g} s"])
        return Check("LSL stream", WARNING, said, "let the firewall pass TCP and UDP 16572 to 16604, both ways")
    parts.append(
        f"clock offset {offset_s * 1000:.1f} ms" if abs(offset_s) < FAR_S else f"clock offset {offset_s:.0f} s"
    )
    if not info.source_id():
        said = "; ".join([*parts, "no source_id: when its sender restarts it cannot be told from another"])
        return Check("LSL stream", WARNING, said, "set a source_id in the sender, its serial number for example")
    return Check("LSL stream", OK, "; ".join([*parts, f"source_id {info.source_id()!r}"]))


def _twins(found: Sequence[pylsl.StreamInfo]) -> Iterator[Check]:
    ids = [(info.source_id(), info.name(), info.type()) for info in found if info.source_id()]
    for source_id, name, kind in sorted({each for each in ids if ids.count(each) > 1}):
        yield Check(
            "LSL streams",
            PROBLEM,
            f"several are called {name!r} of type {kind!r} with source_id {source_id!r}: LSL may swap them",
            "give each sender its own source_id",
        )


def _wanted(section: LslSection, found: Sequence[pylsl.StreamInfo]) -> Iterator[Check]:
    matched = set()
    for predicate in section.predicates:
        infos: list[pylsl.StreamInfo] = pylsl.resolve_bypred(f"({predicate})", 1, min(section.timeout_s, LOOK_S))
        names = ", ".join(repr(info.name()) for info in infos)
        matched |= {info.uid() for info in infos}
        todo = "start the sender, or correct lsl.predicate by what is in sight"
        yield Check(
            "LSL predicate", OK if infos else PROBLEM, f"{predicate} finds {names or 'nothing'}", "" if infos else todo
        )
    count = len(matched) if section.predicates else len(found)
    if found and count < section.minimum:
        yield Check("LSL streams", PROBLEM, f"{count} of lsl.minimum {section.minimum}", "start the other senders")
