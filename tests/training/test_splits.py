"""Splits: a person on one side, whatever the set and the order of files; label shares nested, nobody drawn twice."""

import random
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hypnostream.errors import UserError
from hypnostream.training.nights.label_share import FRACTIONS, SEEDS, labelled_share
from hypnostream.training.nights.splits import Split, folds, read_split, split_by_subject, write_split
from hypnostream.training.recordings.subjects import person, sleep_edf_person, slpdb_person


@dataclass(frozen=True)
class Night:
    name: str
    subject: str
    set_name: str = "one"
    source_sha256: str = "0" * 64
    stage: NDArray[np.int8] = field(default_factory=lambda: np.zeros(100, np.int8))


def _nights(subjects: int = 20, each: int = 2) -> list[Night]:
    return [
        Night(f"night{s:02d}{n}", f"set:{s:02d}", "one" if s % 4 else "other")
        for s in range(subjects)
        for n in range(each)
    ]


def test_a_person_has_one_name_whatever_the_set_and_the_record() -> None:
    assert person("santafe", "slp60") == slpdb_person("slp60")
    assert slpdb_person("slp01a") == slpdb_person("slp01b") != slpdb_person("slp02a")
    assert sleep_edf_person("SC4011E0") == sleep_edf_person("SC4012E0-PSG") == "sleepedf:SC01"
    assert sleep_edf_person("ST7011J0") == "sleepedf:ST01" != sleep_edf_person("SC4011E0")
    assert person("snippets", "sleepedf_5min") == sleep_edf_person("SC4001E0")
    with pytest.raises(ValueError, match="night1"):
        sleep_edf_person("night1")


def test_one_person_in_two_sets_is_refused_on_two_sides() -> None:
    a = Night("santafe-slp60", person("santafe", "slp60"), "Santa Fe B")
    b = Night("slp60", slpdb_person("slp60"), "MIT-BIH Polysomnographic")
    with pytest.raises(UserError, match="slpdb:slp60 is in train and in test"):
        Split((a,), (b,))
    with pytest.raises(UserError, match="validation"):
        Split((a,), (), (b,))


def test_a_night_that_is_twice_in_a_split_is_refused() -> None:
    night = Night("a", "set:a")
    with pytest.raises(UserError, match="night a is twice"):
        Split((night, night), ())


@given(st.integers(2, 6), st.integers(0, 5), st.randoms(use_true_random=False))
def test_folds_test_everybody_once_keep_strata_even_and_ignore_the_order_of_files(
    count: int, seed: int, shuffler: random.Random
) -> None:
    nights = _nights()
    shuffled = nights.copy()
    shuffler.shuffle(shuffled)
    splits = folds(nights, count, seed, validation_share=0.2)
    assert [s.manifest() for s in folds(shuffled, count, seed, validation_share=0.2)] == [s.manifest() for s in splits]
    assert sorted(n.name for s in splits for n in s.test) == sorted(n.name for n in nights)
    for split in splits:
        parts = [{n.subject for n in side} for side in (split.train, split.test, split.validation)]
        assert parts[2]
        assert sum(len(part) for part in parts) == len(set().union(*parts))
        assert len(split.train) + len(split.test) + len(split.validation) == len(nights)
    sizes = [len({n.subject for n in split.test}) for split in splits]
    assert max(sizes) - min(sizes) <= 1
    others = [len({n.subject for n in split.test if n.set_name == "other"}) for split in splits]
    assert max(others) - min(others) <= 1


def test_another_seed_is_another_split() -> None:
    assert folds(_nights(), 5, 0)[0].manifest() != folds(_nights(), 5, 1)[0].manifest()


@pytest.mark.parametrize(("count", "share"), [(1, 0.0), (21, 0.0), (5, 1.0)])
def test_folds_that_cannot_be_made_are_refused(count: int, share: float) -> None:
    with pytest.raises(UserError, match="choose"):
        folds(_nights(), count, 0, validation_share=share)


def test_a_split_is_written_once_and_read_back_as_it_was(tmp_path: Path) -> None:
    nights = _nights()
    first, second = folds(nights, 5, 0)[:2]
    path = tmp_path / "run" / "manifest.json"
    write_split(path, first)
    write_split(path, first)
    assert read_split(path, nights[::-1]).manifest() == first.manifest()
    with pytest.raises(UserError, match="names another split"):
        write_split(path, second)


def test_nights_that_changed_since_the_split_are_refused(tmp_path: Path) -> None:
    nights = _nights(4)
    split = split_by_subject(nights, lambda night: night.subject == "set:00")
    write_split(tmp_path / "split.json", split)
    other = [replace(nights[0], source_sha256="1" * 64), *nights[1:]]
    with pytest.raises(UserError, match="not the one that was split"):
        read_split(tmp_path / "split.json", other)
    with pytest.raises(UserError, match="is not there"):
        read_split(tmp_path / "split.json", nights[1:])
    (tmp_path / "bad.json").write_text('{"format": "hypnostream-split-1", "train": [3]}')
    with pytest.raises(UserError, match=r"bad\.json"):
        read_split(tmp_path / "bad.json", nights)


def _staged(subjects: int = 8) -> list[Night]:
    rng = np.random.default_rng(0)
    nights = _nights(subjects)
    return [replace(n, stage=rng.integers(-1, 5, int(rng.integers(60, 140))).astype(np.int8)) for n in nights]


@pytest.mark.parametrize("seed", SEEDS)
def test_shares_of_labels_are_as_large_as_said_nested_and_of_scored_epochs(seed: int) -> None:
    nights = _staged()
    total = sum(int((night.stage >= 0).sum()) for night in nights)
    smaller = {night.name: np.zeros(len(night.stage), np.bool_) for night in nights}
    for fraction in FRACTIONS:
        given_labels = labelled_share(nights[::-1], fraction, seed)
        assert sum(int(mask.sum()) for mask in given_labels.values()) == max(1, round(fraction * total))
        for night in nights:
            mask = given_labels[night.name]
            assert not mask[night.stage < 0].any()
            assert mask[smaller[night.name]].all()
        smaller = given_labels
    assert all(mask.sum() == (night.stage >= 0).sum() for night, mask in ((n, smaller[n.name]) for n in nights))


def test_few_labels_are_a_contiguous_stretch_of_one_subject_and_seeds_differ() -> None:
    nights = _staged()
    chosen = set()
    for seed in SEEDS:
        given_labels = labelled_share(nights, 0.01, seed)
        names = {name for name, mask in given_labels.items() if mask.any()}
        assert len({night.subject for night in nights if night.name in names}) == 1
        for night in nights:
            scored = given_labels[night.name][night.stage >= 0]
            assert (np.diff(np.flatnonzero(scored)) == 1).all()
        chosen |= names
    assert len(chosen) > 1


@pytest.mark.parametrize("fraction", [0.0, 1.5, -0.1])
def test_a_share_that_is_none_is_refused(fraction: float) -> None:
    with pytest.raises(UserError, match="fraction"):
        labelled_share(_staged(), fraction, 0)
