"""A notice as a message can hold it: what a sender's garbage made of a number or a text must not end the session."""

from dataclasses import replace

from hypnostream.stream.source import Notice

FARTHEST_S = 1e11  # three thousand years
MOST_SUBJECT, MOST_DETAIL = 200, 4000  # characters


def sayable(notice: Notice) -> Notice:
    """The notice, with texts escaped and cut, and numbers left out that are beyond all bounds; a time that is becomes
    0.0."""
    seconds = notice.seconds
    return replace(
        notice,
        subject=escaped(notice.subject)[:MOST_SUBJECT],
        at_s=notice.at_s if _bounded(notice.at_s) else 0.0,
        detail=escaped(notice.detail)[:MOST_DETAIL],
        seconds=seconds if seconds is not None and _bounded(seconds) else None,
    )


def escaped(text: str) -> str:
    """The text as UTF-8 can hold it: a file's name that is none comes from the system with lone surrogates in it."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _bounded(seconds: float) -> bool:
    return abs(seconds) <= FARTHEST_S  # of NaN it is not true either
