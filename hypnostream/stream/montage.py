"""The channel resolver: which of the channels that came serves which input of a model, and why."""

import difflib
from collections.abc import Mapping, Sequence
from itertools import combinations

from hypnostream.errors import UserError
from hypnostream.stream.candidates import (
    Candidate,
    any_eeg,
    as_it_stands,
    candidates,
    difference,
    recorded_or_derived,
)
from hypnostream.stream.channels import ChannelSpec, Montage
from hypnostream.stream.labels import printable, read_label, words
from hypnostream.stream.parts import Part, RawChannel, part_of, rate_of, raw_channels, usable
from hypnostream.stream.source import StreamInfo

_MOST_TRIED = 12  # of one spec's candidates when specs compete; more would only cost time


def resolve(
    streams: Sequence[StreamInfo], specs: Sequence[ChannelSpec], overrides: Mapping[str, str] | None = None
) -> Montage:
    """The best derivation for each of `specs` from what is there; it does not depend on the order of the channels.

    As many specs as possible are served, then with as few stand-ins as possible, and no raw channel serves two of one
    kind; within that, specs count in their order and derivations in theirs. `overrides` maps a spec's name to a
    canonical derivation ("F4-M1"), to a label as the sender spells it, or to "A - B", the difference of two labels.

    Errors: `UserError` for an override of an unknown spec, of a channel that is not there, or of one that cannot be
    turned into what the spec needs.
    """
    chosen: dict[str, Candidate] = {}
    channels = raw_channels(streams)
    by_name = {spec.name: spec for spec in specs}
    for name, text in (overrides or {}).items():
        if name not in by_name:
            raise UserError(
                f"channel override '{printable(name)}' is no input of this model; it has {', '.join(by_name)}"
            )
        chosen[name] = _overridden(channels, by_name[name], text)
    shared = [
        f"{a}: shares a channel with {b}, as both were asked for by name"
        for a, b in combinations(chosen, 2)
        if by_name[a].kind == by_name[b].kind and chosen[a].claims & chosen[b].claims
    ]
    offers = {spec.name: candidates(channels, spec) for spec in specs if spec.name not in chosen}
    for kind in dict.fromkeys(spec.kind for spec in specs):
        kin = [spec for spec in specs if spec.kind == kind]
        taken = frozenset[str]().union(*(chosen[spec.name].claims for spec in kin if spec.name in chosen))
        free = [spec.name for spec in kin if spec.name not in chosen and offers[spec.name]]
        best = _assign([offers[name] for name in free], taken)
        chosen |= {name: candidate for name, candidate in zip(free, best, strict=True) if candidate is not None}
        last_resort = any_eeg(channels, kin[0]) if kind == "eeg" and not any(s.name in chosen for s in kin) else []
        if last_resort:
            chosen[kin[0].name] = last_resort[0]
    missing = tuple(
        (spec.name, _why_missing(channels, spec, offers[spec.name], specs, chosen))
        for spec in specs
        if spec.name not in chosen
    )
    return Montage(
        specs=tuple(specs),
        derivations=tuple(chosen[spec.name].derivation for spec in specs if spec.name in chosen),
        missing=missing,
        notes=(
            *shared,
            *(f"{spec.name}: {note}" for spec in specs if spec.name in chosen for note in chosen[spec.name].notes),
        ),
    )


def _assign(offers: Sequence[Sequence[Candidate]], taken: frozenset[str]) -> list[Candidate | None]:
    """One candidate a row, or None, no two with a common claim.

    Most rows served, then fewest stand-ins, then the earliest candidate in each row from the first on.
    """
    if not offers:
        return []
    best: list[Candidate | None] = []
    for candidate in [*[c for c in offers[0][:_MOST_TRIED] if not c.claims & taken], None]:
        tried = [candidate, *_assign(offers[1:], taken | candidate.claims if candidate else taken)]
        if not best or _want(tried) < _want(best):
            best = tried
        if _want(best) == (0, 0):
            break
    return best


def _want(assigned: Sequence[Candidate | None]) -> tuple[int, int]:
    """How many go without, and how many have a stand-in."""
    return sum(c is None for c in assigned), sum(c is not None and not c.exact for c in assigned)


def _overridden(channels: Sequence[RawChannel], spec: ChannelSpec, text: str) -> Candidate:
    """What a person asked for: a raw label, the difference of two, or a canonical name."""
    setting = f"channel override {spec.name} = '{printable(text)}'"
    named = _labelled(channels, text)
    if named:
        only = _fit(named, spec, setting)
        return as_it_stands(spec, only, printable(only.channel.info.label), _rivals(named, only))
    for cut in (i for i, character in enumerate(text) if character == "-"):
        firsts, seconds = _labelled(channels, text[:cut].strip()), _labelled(channels, text[cut + 1 :].strip())
        if firsts and seconds:
            first = _fit(firsts, spec, setting)
            second = _fit([c for c in seconds if c.stream == first.channel.stream], spec, f"{setting} (in one stream)")
            return difference(spec, first, second, printable(text.strip()))
    wanted = read_label(text)
    if wanted.name:
        found = recorded_or_derived(channels, spec, text)
        if found is not None:
            return found
        refusals = [
            f"{c.quoted}: {part}"
            for c in channels
            if c.reading.plus in (wanted.plus, wanted.minus) and isinstance(part := part_of(c, spec), str)
        ]
        if refusals:
            raise UserError(f"{setting} cannot be had: {'; '.join(refusals[:3])}")
    spellings = {" ".join(words(c.info.label)): printable(c.info.label) for c in channels}
    spellings |= {" ".join(words(c.reading.name)): printable(c.info.label) for c in channels if c.reading.name}
    near = dict.fromkeys(
        spellings[key] for key in difflib.get_close_matches(" ".join(words(text)), list(spellings), n=5, cutoff=0.4)
    )
    remedy = f"near it are {', '.join(repr(label) for label in near)}" if near else "nothing is near it"
    raise UserError(f"{setting} names no channel here; {remedy} (`hypnostream inspect` lists them all)")


def _labelled(channels: Sequence[RawChannel], text: str) -> list[RawChannel]:
    """The channels whose label is `text`, or failing that, is `text` but for case and punctuation."""
    exact = [c for c in channels if c.info.label == text]
    return exact or [c for c in channels if words(text) and words(c.info.label) == words(text)]


def _fit(named: Sequence[RawChannel], spec: ChannelSpec, setting: str) -> Part:
    """The best part among channels that were asked for by label."""
    parts = usable(named, spec)
    if parts:
        return parts[0]
    reason = part_of(named[0], spec) if named else "its two labels are in different streams, which cannot be subtracted"
    raise UserError(f"{setting} cannot serve: {reason}")


def _rivals(named: Sequence[RawChannel], taken: Part) -> str:
    """The remark on further channels of the same label."""
    rate = rate_of(taken.channel.stream)
    return f"is the label of {len(named)} channels; took the one {rate}" if len(named) > 1 else ""


def _why_missing(
    channels: Sequence[RawChannel],
    spec: ChannelSpec,
    offers: Sequence[Candidate],
    specs: Sequence[ChannelSpec],
    chosen: Mapping[str, Candidate],
) -> str:
    """Why nothing serves `spec`, as a clause."""
    if offers:
        holder = next(
            other.name for other in specs if other.name in chosen and chosen[other.name].claims & offers[0].claims
        )
        return f"{offers[0].derivation.label} could serve, but already serves {holder}"
    refused = [
        f"{c.quoted} cannot serve: {part}"
        for c in channels
        if c.reading.kind == spec.kind and isinstance(part := part_of(c, spec), str) and _wanted(c, spec)
    ]
    if refused:
        return "; ".join(dict.fromkeys(refused[:4]))
    return f"no channel here reads as {_listed(spec.derivations)}"


def _wanted(channel: RawChannel, spec: ChannelSpec) -> bool:
    """Whether the channel's name is in the spec, or one of an electrode's many relations could be."""
    return spec.kind not in ("effort", "flow") or channel.reading.name in (
        read_label(name).name for name in spec.derivations
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + " or " + names[-1] if len(names) > 1 else "".join(names)
