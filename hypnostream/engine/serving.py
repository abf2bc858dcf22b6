"""Which stream serves which input of the model, while streams come, go and come back different."""

from collections.abc import Mapping, Sequence

from hypnostream.errors import UserError
from hypnostream.stream.channels import ChannelSpec, Derivation
from hypnostream.stream.montage import resolve
from hypnostream.stream.source import SOURCE_CHANGED, SOURCE_FOUND, SOURCE_REFUSED, Notice, StreamInfo

NOT_WANTED = "what it could serve is served already, or is no input of this model"


def offer(
    streams: Sequence[StreamInfo], specs: Sequence[ChannelSpec], overrides: Mapping[str, str]
) -> tuple[tuple[Derivation, ...], str]:
    """What these streams can serve of `specs`; and why not more, when that is nothing or an override is not there.

    An override that they cannot fulfil keeps its spec free for a stream that can.
    """
    asked: dict[str, str] = {}
    refused: list[str] = []
    for spec in specs:
        if spec.name in overrides:
            text = {spec.name: overrides[spec.name]}
            try:
                resolve(streams, [spec], text)
            except UserError as error:
                refused.append(str(error))
            else:
                asked |= text
    able = [spec for spec in specs if spec.name in asked or spec.name not in overrides]
    montage = resolve(streams, able, asked)
    if montage.derivations:
        return montage.derivations, "; ".join(refused)
    why = "; ".join([*refused, *(f"{name}: {reason}" for name, reason in montage.missing)])
    return (), why or NOT_WANTED


def why_absent(
    streams: Sequence[StreamInfo], specs: Sequence[ChannelSpec], overrides: Mapping[str, str]
) -> tuple[tuple[str, str], ...]:
    """Why nothing serves these specs, by name."""
    reasons: dict[str, str] = {}
    for spec in specs:
        try:
            montage = resolve(streams, [spec], {n: text for n, text in overrides.items() if n == spec.name})
        except UserError as error:
            reasons[spec.name] = str(error)
        else:
            reasons[spec.name] = dict(montage.missing).get(spec.name, "what could serve it serves another")
    return tuple(reasons.items())


def difference(before: StreamInfo, after: StreamInfo) -> str:
    """What is different about a stream that came back, for people; "" when nothing is."""
    said: list[str] = []
    if before.rate_hz != after.rate_hz:
        said.append(f"rate {before.rate_hz:g} Hz, now {after.rate_hz:g} Hz")
    if before.format and after.format and before.format != after.format:
        said.append(f"samples as {before.format[:20]}, now {after.format[:20]}")
    if len(before.channels) != len(after.channels):
        said.append(f"{len(before.channels)} channels, now {len(after.channels)}")
    else:
        pairs = [(a, b) for a, b in zip(before.channels, after.channels, strict=True) if a != b]
        for a, b in pairs[:4]:
            if a.label != b.label:
                said.append(f"channel {a.label[:40]!r}, now {b.label[:40]!r}")
            elif a.unit != b.unit:
                said.append(f"unit of {a.label[:40]!r} {a.unit[:20]!r}, now {b.unit[:20]!r}")
            else:
                said.append(f"limits or electrode of {a.label[:40]!r}")
        if len(pairs) > 4:
            said.append(f"and {len(pairs) - 4} channels more")
    return "; ".join(said)


def taken_for(name: str, now_s: float, derivations: Sequence[Derivation], changed: str, why: str) -> Notice:
    """What is said of a stream that was found, or came back `changed`: what it serves, or `why` nothing."""
    if not derivations:
        if changed:
            return Notice(SOURCE_REFUSED, name, now_s, f"{changed}: {why}")
        return Notice(SOURCE_FOUND, name, now_s, f"serves nothing: {why or NOT_WANTED}")
    serves = ", ".join(f"{d.spec.name} from {d.label}" for d in derivations)
    serves += f" ({why})" if why else ""
    if changed:
        return Notice(SOURCE_CHANGED, name, now_s, f"{changed}; a new segment, {serves}")
    return Notice(SOURCE_FOUND, name, now_s, serves)
