"""All the ways in which the channels that are there could give a model what it wants, best first.

The channels of one stream are the edges of a graph whose nodes are electrodes: "C4-M1" leads from M1 to C4, a bare
"C4" from a reference that nobody stated. A derivation is then a path of one edge (recorded as such, or turned over) or
of two (C4-M1 from C4 and M1 against the same reference; E1-E2 from E1-M2 and E2-M2; F4-M1 from F4-C4 and C4-M1).
Longer paths add the noise of each channel, and are not tried. Paths never leave a stream: two clocks do not subtract.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from hypnostream.stream.channels import ChannelSpec, Derivation, Term
from hypnostream.stream.labels import COMMON_REFERENCES, printable, read_label
from hypnostream.stream.parts import Part, RawChannel, order, rate_of, usable

# What may stand in, nearest first. References: the other mastoid, linked ears, behind the ears (Muse).
_REFERENCE_STAND_INS: Final = {"M1": ("M2", "LE", "TP9", "TP10"), "M2": ("M1", "LE", "TP10", "TP9")}
_NEAR_SITES: Final = {
    "Fpz": ("Fp2", "Fp1", "AFz"),
    "F4": ("AF8", "Fp2", "AF4", "F8", "F2", "F6"),
    "F3": ("AF7", "Fp1", "AF3", "F7", "F1", "F5"),
    "Fz": ("AFz", "F1", "F2", "FCz"),
    "C4": ("C2", "C6", "FC4", "CP4", "Cz"),
    "C3": ("C1", "C5", "FC3", "CP3", "Cz"),
    "Pz": ("CPz", "POz", "P1", "P2"),
    "O2": ("PO8", "PO4", "P4"),
    "O1": ("PO7", "PO3", "P3"),
    "Oz": ("POz", "Iz"),
}
_SENSOR_STAND_INS: Final = {
    "EMG chin": ("Chin1-Chin2", "Chin3-Chin1", "Chin3-Chin2", "Chin1", "Chin2", "Chin3"),
    "ECG": ("ECG1-ECG2", "ECG2", "ECG1", "ECG3"),
    "Nasal pressure": ("Airflow",),
    "Thermistor": ("Airflow",),
}
_ELECTRODE_KINDS: Final = ("eeg", "eog")


@dataclass(frozen=True, slots=True)
class _Edge:
    """A part as it is recorded (sign +1) or turned over (-1)."""

    sign: float
    part: Part


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to serve a spec. No two specs of a kind share a claim; `notes` is what people should know of it.

    `exact` is False where something stands in for what the spec asks for.
    """

    derivation: Derivation
    claims: frozenset[str]
    notes: tuple[str, ...]
    exact: bool = True


def candidates(channels: Sequence[RawChannel], spec: ChannelSpec) -> list[Candidate]:
    """Every way to serve `spec` by its derivations and what may stand in for them, best first, without repeats."""
    bench = _Bench(channels, spec)
    found: dict[frozenset[str], Candidate] = {}
    for candidate in bench.all_ways():
        found.setdefault(candidate.claims, candidate)
    return list(found.values())


def recorded_or_derived(channels: Sequence[RawChannel], spec: ChannelSpec, name: str) -> Candidate | None:
    """The best way to have the canonical `name` itself, nothing standing in."""
    reading = read_label(name)
    return _Bench(channels, spec).path(reading.plus, reading.minus, "")


def any_eeg(channels: Sequence[RawChannel], spec: ChannelSpec) -> list[Candidate]:
    """Single EEG channels of whatever place, named places before unnamed ones: the last resort."""
    parts = [part for part in usable(channels, spec) if part.channel.reading.kind == "eeg"]
    parts.sort(key=lambda part: (part.channel.reading.plus.startswith("EEG"), order(part)))
    remark = f"is nothing that the model asks for; taken for want of it (EEG channels here: {len(parts)})"
    return [as_it_stands(spec, part, part.channel.reading.name, remark) for part in parts]


def as_it_stands(spec: ChannelSpec, part: Part, name: str, remark: str = "") -> Candidate:
    """One raw channel taken for `spec` without subtracting anything."""
    extra = (f"{part.channel.quoted} {remark}",) if remark else ()
    return _candidate(spec, name, [_Edge(1.0, part)], extra, site=part.channel.reading.plus)


def difference(spec: ChannelSpec, first: Part, second: Part, name: str) -> Candidate:
    """`first` minus `second`, two raw channels of one stream."""
    return _candidate(spec, name, [_Edge(1.0, first), _Edge(-1.0, second)], (), site=first.channel.reading.plus)


class _Bench:
    """The parts that are fit for one spec, and the search for paths among them."""

    def __init__(self, channels: Sequence[RawChannel], spec: ChannelSpec) -> None:
        self.spec = spec
        kinds = (*_ELECTRODE_KINDS, "reference") if spec.kind in _ELECTRODE_KINDS else (spec.kind,)
        # stream -> (plus, minus) -> what is recorded so, or turned over; every part is there under both its names.
        self.edges: dict[str, dict[tuple[str, str], list[_Edge]]] = {}
        for part in usable((c for c in channels if c.reading.kind in kinds), spec):
            edges = self.edges.setdefault(part.channel.stream.stream_id, {})
            plus, minus = part.channel.reading.plus, part.channel.reading.minus
            edges.setdefault((plus, minus), []).append(_Edge(1.0, part))
            edges.setdefault((minus, plus), []).append(_Edge(-1.0, part))
        for edges in self.edges.values():
            for parallel in edges.values():
                parallel.sort(key=_edge_order)

    def all_ways(self) -> Iterator[Candidate]:
        """By the spec's own order: exact; another reference; reference unstated; a near site; anything of the site."""
        wanted = [(name, read_label(name)) for name in self.spec.derivations]
        for _, reading in wanted:
            yield from self.ways(reading.plus, [reading.minus])
        if self.spec.kind not in _ELECTRODE_KINDS:
            for name, _ in wanted:
                for other in map(read_label, _SENSOR_STAND_INS.get(name, ())):
                    remark = "" if other.minus else f"stands in for {name}"
                    yield from self.ways(other.plus, [other.minus], remark)
            return
        for name, reading in wanted:
            others = _REFERENCE_STAND_INS.get(reading.minus, ())
            yield from self.ways(reading.plus, others, f"stands in for {name}")
        for name, reading in wanted:
            remark = f"its reference is a common one or not stated; taken as it stands for {name}"
            yield from self.ways(reading.plus, [""], remark)
        for name, reading in wanted:
            references = (reading.minus, *_REFERENCE_STAND_INS.get(reading.minus, ()), "")
            for site in _NEAR_SITES.get(reading.plus, ()):
                yield from self.ways(site, references, f"stands in for {name}, as the nearest place")
        for name, reading in wanted:
            for site in (reading.plus, *_NEAR_SITES.get(reading.plus, ())):
                ends = {minus for edges in self.edges.values() for plus, minus in edges if plus == site}
                # An eye against a site of the EEG is no EEG.
                far = sorted(end for end in ends if self.spec.kind == "eog" or end not in ("E1", "E2"))
                yield from self.ways(site, far, f"stands in for {name}, though its reference is another", hops=1)

    def ways(self, plus: str, references: Iterable[str], remark: str = "", hops: int = 2) -> Iterator[Candidate]:
        """The candidates for `plus` against each of `references`."""
        for minus in references:
            candidate = self.path(plus, minus, remark, hops) if plus != minus else None
            if candidate is not None:
                yield candidate

    def path(self, plus: str, minus: str, remark: str, hops: int = 2) -> Candidate | None:
        """`plus` minus `minus` from the stream that gives it best: full rate first, then fewest channels."""
        ends = COMMON_REFERENCES if minus == "" else (minus,)
        direct: list[list[_Edge]] = []
        derived: list[list[_Edge]] = []
        for edges in self.edges.values():
            recorded = [edge for end in ends for edge in edges.get((plus, end), [])]
            direct += [[edge] for edge in recorded]
            sure = any(not edge.part.channel.reading.assumption for edge in recorded)
            if not sure and hops > 1 and minus:
                mids = [mid for start, mid in edges if start == plus and (mid, minus) in edges]
                derived += [[edges[plus, mid][0], edges[mid, minus][0]] for mid in mids]
        found = direct + derived
        if not found:
            return None
        best = min(found, key=_way_order)
        name = f"{plus}-{minus}" if minus else plus
        rivals = [edge.part for (edge,) in direct if edge != best[0]] if len(best) == 1 else []
        notes = [_preferred(name, best[0].part, sorted(rivals, key=order))] if rivals else []
        if remark:
            notes.append(f"{name} {'made' if len(best) > 1 else 'read'} from {_sum(best)}: {remark}")
        return _candidate(self.spec, name, best, tuple(notes), site=plus, exact=not remark)


def _edge_order(edge: _Edge) -> tuple[object, ...]:
    return (*(value for _, value in edge.part.preference), -edge.sign, *order(edge.part))


def _way_order(way: Sequence[_Edge]) -> tuple[object, ...]:
    """A full rate first, then labels that say what they are, then fewest channels."""
    assumed = any(edge.part.channel.reading.assumption for edge in way)
    return way[0].part.preference[0][1], assumed, len(way), [_edge_order(edge) for edge in way]


def _preferred(name: str, taken: Part, rivals: Sequence[Part]) -> str:
    """The note on channels that say the same, and why it was this one."""
    pairs = zip(taken.preference, rivals[0].preference, strict=True)
    reason = next((reason for (reason, a), (_, b) in pairs if a != b), "nothing but the name tells them apart")
    all_of_them = ", ".join(f"{part.channel.quoted} ({rate_of(part.channel.stream)})" for part in (taken, *rivals))
    return f"{all_of_them} read as {name}; took {taken.channel.quoted}, because {reason}"


def _sum(edges: Sequence[_Edge]) -> str:
    """The edges as words: "'C4' minus 'M1'"."""
    text = f"{'' if edges[0].sign > 0 else 'minus '}{edges[0].part.channel.quoted}"
    return text + "".join(f" {'plus' if e.sign > 0 else 'minus'} {e.part.channel.quoted}" for e in edges[1:])


def _candidate(
    spec: ChannelSpec, name: str, edges: Sequence[_Edge], notes: tuple[str, ...], *, site: str, exact: bool = True
) -> Candidate:
    stream, parts = edges[0].part.channel.stream, [edge.part for edge in edges]
    units = " and ".join(dict.fromkeys(printable(part.channel.info.unit) or "no unit" for part in parts))
    factors = ", ".join(dict.fromkeys(_times(part.factor) for part in parts if part.factor != 1.0))
    if len(edges) > 1:
        how = f"made from {_sum(edges)}"
        if not all(part.channel.reading.minus for part in parts):
            how += " (against one reference, as far as their labels say)"
    else:
        how = f"read from {parts[0].channel.quoted}" + (", turned over," if edges[0].sign < 0 else "")
    why = f"{name} {how} {rate_of(stream)} in {units}" + (f", {factors} to {spec.unit}" if factors else "")
    terms = tuple(Term(edge.part.channel.index, edge.sign * edge.part.factor) for edge in edges)
    remarks = tuple(dict.fromkeys(f"{part.channel.quoted}: {remark}" for part in parts for remark in part.remarks))
    # The first edge carries the site; what is subtracted from it may be subtracted from others too.
    claims = frozenset((site or name, f"{stream.stream_id}#{parts[0].channel.index}"))
    return Candidate(Derivation(spec, stream.stream_id, terms, name, why), claims, (*notes, *remarks), exact)


def _times(factor: float) -> str:
    return f"x{factor:g}".replace("e+0", "e").replace("e-0", "e-")
