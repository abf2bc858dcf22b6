"""The oximetry on real nights: HuGCDN2014-OXI (SpO2 of 62 people) and Santa Fe data set B (one, raw counts)."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from hypnostream.engine.respiration.desaturation import Desaturation
from hypnostream.engine.respiration.desaturation_events import RULE_3, RULE_4, desaturation_event
from hypnostream.engine.respiration.indices import RunningIndices
from hypnostream.engine.respiration.oximetry import Oximetry, OximetrySecond
from hypnostream.stream.channels import MISSING, OK

DATA = Path(__file__).parents[3].parent / "shared" / "data"


class Night(NamedTuple):
    """What was found in a night of HuGCDN, and the share of its minutes that experts called apnea."""

    odi_3: float
    odi_4: float
    apnea_share: float
    seconds: list[OximetrySecond]
    found: list[Desaturation]


def hugcdn(name: str) -> Night:
    folder = DATA / "hugcdn2014_oxi"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    with np.load(folder / f"{name}.npz", allow_pickle=False) as arrays:
        raw, apnea = arrays["spo2_1hz"], arrays["apnea_1min"]
    minutes = min(len(raw) // 60, len(apnea))
    return judged(raw[: minutes * 60] / np.float32(100), raw[: minutes * 60] > 0, float(apnea[:minutes].mean()))


def judged(percent: NDArray[np.float32], known: NDArray[np.bool_], apnea_share: float) -> Night:
    running = RunningIndices()
    seconds = Oximetry().advance(percent.astype(np.float32), np.where(known, OK, MISSING).astype(np.uint8))
    said = [each for second in seconds for each in second.desaturations]
    running.saturated(seconds)
    running.hear(desaturation_event(each, 0.0) for each in said)
    found = running.indices()
    rates = [found.of("ODI", rule).value or 0.0 for rule in (RULE_3, RULE_4)]
    return Night(rates[0], rates[1], apnea_share, seconds, [each for each in said if each.status == "final"])


def test_those_with_apnea_and_desaturation_are_told_from_controls() -> None:
    controls = [hugcdn(name) for name in ("C1", "C5", "C7")]
    apnea = [hugcdn(name) for name in ("D1", "D13", "D22")]
    assert max(night.odi_3 for night in controls) < 5
    assert min(night.odi_3 for night in apnea) > 20
    assert all(night.odi_4 <= night.odi_3 for night in controls + apnea)
    for night in controls + apnea:
        assert np.mean([each.percent is None for each in night.seconds]) < 0.05
        assert max(each.depth_percent for each in night.found) < 40


@pytest.mark.slow
def test_the_odi_goes_with_the_experts_apnea_minutes_over_62_people() -> None:
    names = [f"{group}{n + 1}" for group, count in (("C", 29), ("ND", 8), ("D", 25)) for n in range(count)]
    nights = {name: hugcdn(name) for name in names}
    shares = [night.apnea_share for night in nights.values()]
    assert np.corrcoef([night.odi_3 for night in nights.values()], shares)[0, 1] > 0.9
    assert np.corrcoef([night.odi_4 for night in nights.values()], shares)[0, 1] > 0.9
    medians = [np.median([nights[name].odi_4 for name in names if name.rstrip("0123456789") == g]) for g in ("C", "D")]
    assert medians[0] < 2
    assert medians[1] > 30


def test_dropouts_of_a_real_oximeter_are_no_desaturations() -> None:
    """Santa Fe's SpO2 falls to 0 and far below when it drops out; in raw counts, so its depths mean nothing."""
    path = DATA / "santafe_slp60" / "santafe_b_slp60_2hz.npz"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    with np.load(path, allow_pickle=False) as arrays:
        counts = arrays["spo2_raw"]
    counts = counts[: len(counts) // 2 * 2].reshape(-1, 2)
    known = (counts >= 1000).all(axis=1)
    percent = counts.mean(axis=1) * (98 / np.percentile(counts[known], 99))
    night = judged(np.minimum(percent, 100), known, 0.0)
    assert (~known).sum() == 271
    assert not [each.second for each in night.seconds if each.percent is not None and not known[each.second]]
    for each in night.found:
        assert known[each.nadir_s]
        assert each.end_s is not None
        assert each.known_s <= known[each.start_s : each.end_s].sum()
    lost = np.flatnonzero(~known)
    inside = [each for each in night.found if each.end_s and ((lost >= each.start_s) & (lost < each.end_s)).all()]
    assert not inside
