"""Text and numbers in an EDF file, as recorders write them."""

import math
import re

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def printable(text: str) -> str:
    """Text from a file, safe to show: on one line, and nothing in it steers a terminal."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text)


def decode(raw: bytes) -> str:
    """UTF-8 where it is UTF-8, else Latin-1. EDF allows ASCII only, and nobody keeps to it."""
    try:
        return printable(raw.decode("utf-8"))
    except UnicodeDecodeError:
        return printable(raw.decode("latin-1"))


def field_text(raw: bytes) -> str:
    """The text of a field, without what fills it up."""
    return decode(raw.strip(b" \0"))


def field_number(text: str) -> float:
    """The number, NaN when it is none. A decimal comma is read as recorders mean it."""
    text = text.replace(",", ".")
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    return value if math.isfinite(value) else math.nan
