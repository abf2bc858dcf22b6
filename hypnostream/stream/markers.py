"""What a marker means: lights off, lights on, a position of the body. Everything else is a note.

Technicians type in their own words and language, software has its spellings (the standard texts of EDF+, those of the
National Sleep Research Resource), and all of it comes from outside. So a text means something only when all of it says
just that: "no lights off yet" and "lights off soon" are notes.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from hypnostream.stream.source import Annotation

LIGHTS_OFF: Final = "lights_off"
LIGHTS_ON: Final = "lights_on"
POSITION: Final = "position"
NOTE: Final = "note"

POSITIONS: Final = ("supine", "left", "right", "prone", "upright")

LONGEST_TEXT: Final = 200  # of a marker that is kept; what is longer is cut
_LONGEST_MEANING = 60  # who says lights off says it in fewer characters

# In all of these, anything but a letter or a digit has become one space, and letters are small.
_TIME = r"(?: (?:at |um |a )?\d{1,2} \d{2}(?: \d{2})?)?"
_OFF = re.compile(
    rf"(?:lights? ?(?:is |are |were )?(?:turned |switched )?(?:off|out)|(?:turn|switch) ?(?:off|out) (?:the )?lights?"
    rf"|l ?off|lout|licht(?:er)? ?aus|lumi[eè]res? (?:[eé]teintes?|off)|extinction(?: des)? (?:feux|lumi[eè]res?)"
    rf"|lu(?:z|ces) apagadas?|apaga(?:do|r)? (?:la )?lu(?:z|ces)|luci? spent[ae]|licht uit|lyset? (?:av|af|slukket)"
    rf"|ljuset? (?:av|släckt)|valot pois|luzes? apagadas?){_TIME}"
)
_ON = re.compile(
    rf"(?:lights? ?(?:is |are |were )?(?:turned |switched )?on|(?:turn|switch) ?on (?:the )?lights?"
    rf"|l ?on|licht(?:er)? ?(?:an|ein)|lumi[eè]res? (?:allum[eé]es?|on)|lu(?:z|ces) (?:encendidas?|acesas?)"
    rf"|luci? acces[ae]|licht aan|lyset? (?:på|tændt|tent)|ljuset? (?:på|tänt)|valot päälle|luzes? acesas?){_TIME}"
)
_POSITION_OF: Final = {
    **dict.fromkeys(("supine", "on back", "on the back", "rückenlage", "decubitus dorsal"), "supine"),
    **dict.fromkeys(("left side", "on left side", "side left", "left lateral", "lateral left"), "left"),
    **dict.fromkeys(("linksseitenlage", "linke seite", "decubitus lateral gauche"), "left"),
    **dict.fromkeys(("right side", "on right side", "side right", "right lateral", "lateral right"), "right"),
    **dict.fromkeys(("rechtsseitenlage", "rechte seite", "decubitus lateral droit"), "right"),
    **dict.fromkeys(("prone", "on stomach", "on the stomach", "bauchlage", "decubitus ventral"), "prone"),
    **dict.fromkeys(("upright", "sitting", "sitting up", "standing", "sitzend"), "upright"),
}
# Words that, alone, may speak of a leg, an electrode or a part of the room.
_POSITION_IF_SAID: Final = {
    **dict.fromkeys(("back", "rücken", "dorsal"), "supine"),
    **dict.fromkeys(("left", "links"), "left"),
    **dict.fromkeys(("right", "rechts"), "right"),
    **dict.fromkeys(("front", "stomach", "belly", "bauch", "ventral", "abdomen"), "prone"),
    **dict.fromkeys(("sit", "stand", "aufrecht"), "upright"),
}
_POSITION_LEAD = re.compile(
    r"(?:(?:patient|subject|body|sleep(?:ing)?) )?(?:position|pos|körperlage|lage)(?: (?:is|to))? "
)
_LEAD = re.compile(r"(?:(?:patient|subject|body|sleep(?:ing)?) )?(?:position|pos|körperlage|lage)(?: (?:is|to))? ")
_LEAD = re.compile(r"(?:event|marker|note|comment|recording|annotation) ")


@dataclass(frozen=True, slots=True)
class Marker:
    """What a text means: `kind` is one of the words above; `position` one of POSITIONS where it is a position."""

    kind: str
    position: str = ""


@dataclass(frozen=True, slots=True)
class PositionSpan:
    """A stretch of stream time in one position; `end_s` None when no other position came after."""

    position: str
    start_s: float
    end_s: float | None


def read_marker(text: str, origin: str = "") -> Marker:
    """The meaning of a marker's text. A bare "left" is a position only from an `origin` that has one in its name."""
    if len(text) > _LONGEST_MEANING:
        return Marker(NOTE)
    words = _words(text)
    words = words[lead.end() :] if (lead := _LEAD.match(words)) else words
    if _OFF.fullmatch(words):
        return Marker(LIGHTS_OFF)
    if _ON.fullmatch(words):
        return Marker(LIGHTS_ON)
    said = "posi" in origin.casefold()
    if lead := _POSITION_LEAD.match(words):
        said, words = True, words[lead.end() :]
    elif words.endswith(" position"):
        said, words = True, words.removesuffix(" position")
    position = _POSITION_OF.get(words, _POSITION_IF_SAID.get(words, "") if said else "")
    return Marker(POSITION, position) if position else Marker(NOTE)


def bounded(annotation: Annotation) -> Annotation:
    """The annotation with at most `LONGEST_TEXT` characters of text and of origin, none of them unprintable."""
    return Annotation(
        annotation.onset_s, annotation.duration_s, _printable(annotation.text), _printable(annotation.origin)
    )


def lights(annotations: Iterable[Annotation]) -> tuple[float | None, float | None]:
    """Stream time of lights off and of lights on; None where no marker says it.

    Lights are off from the first marker that says so. They are on from the last that says so, unless lights off was
    said again after it: an interruption of the night does not end it. What comes before the first lights off is no
    lights on of this night.
    """
    said = sorted((a.onset_s, read_marker(a.text, a.origin).kind) for a in annotations)
    off_s = next((at_s for at_s, kind in said if kind == LIGHTS_OFF), None)
    last = next(((at_s, kind) for at_s, kind in reversed(said) if kind in (LIGHTS_OFF, LIGHTS_ON)), None)
    on_s = last[0] if last is not None and last[1] == LIGHTS_ON and (off_s is None or last[0] > off_s) else None
    return off_s, on_s


def positions(annotations: Iterable[Annotation]) -> Sequence[PositionSpan]:
    """The positions in order; each lasts until the next one."""
    said = sorted(
        (a.onset_s, marker.position) for a in annotations if (marker := read_marker(a.text, a.origin)).kind == POSITION
    )
    ends = [*(at_s for at_s, _ in said), None][1:]
    return [PositionSpan(position, at_s, end_s) for (at_s, position), end_s in zip(said, ends, strict=True)]


def _words(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(c if c.isalnum() else " " for c in folded).split())


def _printable(text: str) -> str:
    shown = "".join(c if c.isprintable() else " " for c in text[: 4 * LONGEST_TEXT]).strip()
    return shown if len(shown) <= LONGEST_TEXT else f"{shown[: LONGEST_TEXT - 1]}…"
