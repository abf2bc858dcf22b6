"""Who is in which part: subject-disjoint splits, written down before anything is trained."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hypnostream.errors import UserError
from hypnostream.training.token_night import TokenNight


@dataclass(frozen=True, slots=True)
class Split:
    """Names of nights to train on and to test on. No subject is on both sides: checked when it is made."""

    train: tuple[TokenNight, ...]
    test: tuple[TokenNight, ...]

    def __post_init__(self) -> None:
        both = {n.subject for n in self.train} & {n.subject for n in self.test}
        if both:
            raise UserError(f"subjects {sorted(both)} are in training and in test; a subject may be on one side only.")

    def manifest(self) -> dict[str, list[dict[str, str]]]:
        """What a run writes beside its weights."""
        return {
            side: [
                {"night": n.name, "subject": n.subject, "set": n.set_name, "sha256": n.source_sha256} for n in nights
            ]
            for side, nights in (("train", self.train), ("test", self.test))
        }


def split_by_subject(nights: Sequence[TokenNight], is_test: Callable[[TokenNight], bool]) -> Split:
    """Nights for which `is_test` holds against the others."""
    return Split(
        tuple(n for n in nights if not is_test(n)),
        tuple(n for n in nights if is_test(n)),
    )


def sleep_edf_fold(night: TokenNight) -> int | None:
    """The cross-validation fold of a Sleep-EDF SC night, its subject number modulo 5; None for other sets."""
    return int(night.subject.removeprefix("SC")) % 5 if night.subject.startswith("SC") else None
