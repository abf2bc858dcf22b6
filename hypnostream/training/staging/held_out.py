"""Who is held out: the published folds of Sleep-EDF, folds of any store's people, people by their names, whole sets."""

from collections.abc import Callable, Collection, Sequence

from hypnostream.errors import UserError
from hypnostream.training.nights.splits import Split, folds, sleep_edf_fold, split_by_subject
from hypnostream.training.nights.token_night import TokenNight

PUBLISHED_FOLDS = (0, 1, 2, 4)  # of Sleep-EDF SC subjects, by number modulo 5; fold 3 is kept elsewhere
# The raw night of another laboratory: `train stager` never learns from it, and `train breathing` not for a bundle. (The
# model of breathing that ships is older than this rule, and did.)
HELD_OUT = "ucddb022"
_SEED = 0
_MOST_NAMED = 12


def in_fold(fold: int) -> Callable[[TokenNight], bool]:
    """Whether a night is of a Sleep-EDF subject of this fold."""
    return lambda night: sleep_edf_fold(night) == fold


def published(nights: Sequence[TokenNight], count: int | None) -> bool:
    """Whether the folds are Sleep-EDF's published ones: none are asked for, and there are nights that have them."""
    return count is None and any(sleep_edf_fold(night) is not None for night in nights)


def folds_of(nights: Sequence[TokenNight], count: int | None) -> dict[int, Split[TokenNight]]:
    """`count` folds by subject, each set spread over them; without a count the published ones, of Sleep-EDF alone.

    Raises UserError, before anything is trained, when there are no such nights, or a fold is left without.
    """
    if published(nights, count):
        of_sleep_edf = [night for night in nights if sleep_edf_fold(night) is not None]
        splits = {fold: split_by_subject(of_sleep_edf, in_fold(fold)) for fold in PUBLISHED_FOLDS}
        for fold, split in splits.items():
            if not split.train or not split.test:
                raise UserError(f"no Sleep-EDF nights on both sides of fold {fold}: bring its people, or say --folds N")
        return splits
    people = len({night.subject for night in nights})
    if count is None:
        raise UserError(
            f"{people} people, none of Sleep-EDF's, whose folds are published: say --folds N, 2 to {people}"
        )
    return dict(enumerate(folds(nights, count, _SEED)))


def split_off(nights: Sequence[TokenNight], hold_out: Sequence[str]) -> Split[TokenNight]:
    """These people against all others; HELD_OUT, where it is there, is held out whoever is named.

    A person is named as in the store ("lab:anna") or as the set does ("anna"). Raises UserError for a name that nobody
    has or several have, and when nobody is left to train on.
    """
    away = {night.subject for night in nights if night.name == HELD_OUT}
    every = sorted({night.subject for night in nights})
    for name in hold_out:
        meant = [name] if name in every else [each for each in every if each.partition(":")[2] == name]
        if len(meant) != 1:
            known = ", ".join(meant or every[:_MOST_NAMED]) + (" ..." if not meant and len(every) > _MOST_NAMED else "")
            who = "is several people" if meant else "is nobody with a staged night"
            raise UserError(f"--hold-out {name!r} {who}; name one of {known}")
        away.add(meant[0])
    split = split_by_subject(nights, lambda night: night.subject in away)
    if not split.train:
        raise UserError(f"{len(away)} of {len(every)} people are held out and nobody is left to train on; name fewer")
    return split


def leaving_out(sets: Collection[str], nights: Sequence[TokenNight]) -> list[TokenNight]:
    """The nights of other sets than these. Raises UserError when there are none."""
    kept = [night for night in nights if night.set_name not in sets]
    if nights and not kept:
        raise UserError(f"all nights are of sets that the recipe leaves out: without = {list(sets)}")
    return kept
