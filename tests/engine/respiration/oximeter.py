"""Saturations worked out by hand, for the tests of this room."""

import numpy as np

from hypnostream.engine.respiration.desaturation import Desaturation
from hypnostream.engine.respiration.oximetry import Oximetry, OximetrySecond
from hypnostream.stream.channels import MISSING, OK

LOST = -1.0


def course(*parts: tuple[float, int]) -> list[float]:
    """Values held for so many seconds each; LOST for what is missing."""
    return [value for value, seconds in parts for _ in range(seconds)]


def ramp(first: float, last: float, seconds: int) -> list[float]:
    """From one value to another, both included."""
    return [float(value) for value in np.linspace(first, last, seconds)]


def take(oximetry: Oximetry, values: list[float]) -> list[OximetrySecond]:
    quality = [MISSING if value == LOST else OK for value in values]
    return oximetry.advance(np.array(values, np.float32), np.array(quality, np.uint8))


def said_of(values: list[float]) -> list[Desaturation]:
    """Every revision of every desaturation of these seconds."""
    return [each for second in take(Oximetry(), values) for each in second.desaturations]


def found_in(values: list[float]) -> list[Desaturation]:
    """The final desaturations of these seconds."""
    return [each for each in said_of(values) if each.status == "final"]
