"""Figures of recordings that last a day can be of the time around sleep, and the report says which they are of."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypnostream.training.evaluation.around_sleep import around_sleep, near_sleep
from hypnostream.training.evaluation.command import evaluate_command
from hypnostream.training.evaluation.markdown import markdown
from hypnostream.training.evaluation.predictions import NightPrediction
from hypnostream.training.evaluation.report import evaluate
from hypnostream.training.evaluation.store import PredictionSet, write_predictions

DAY, NIGHT = 1000, 200  # epochs awake before and after, epochs asleep


def a_day(name: str = "day", sleeps: bool = True) -> NightPrediction:
    """Awake, asleep, awake, all called awake: right all day and wrong all night; an apnea label a minute."""
    reference = np.zeros(2 * DAY + NIGHT, np.int8)
    if sleeps:
        reference[DAY : DAY + NIGHT] = 2
    said = np.zeros((len(reference), 5), np.float32)
    said[:, 0] = 1
    labels = np.zeros(len(reference) // 2, np.int8)
    answers = np.full(len(labels), 0.1, np.float32)
    return NightPrediction(name, name, "lab", reference, said, binary={"apnea": (labels, answers)}, binary_s=60)


def test_only_what_lies_around_sleep_counts_and_the_report_says_so() -> None:
    whole = evaluate(PredictionSet((a_day(),), "always awake"))
    cut = evaluate(PredictionSet((a_day(),), "always awake"), around_sleep_min=30)
    assert whole.staging is not None
    assert cut.staging is not None
    assert whole.staging.figures["accuracy"].value == pytest.approx(2 * DAY / (2 * DAY + NIGHT))
    assert cut.staging.figures["accuracy"].value == pytest.approx(120 / (120 + NIGHT))
    assert cut.staging.epochs == 120 + NIGHT
    assert cut.counted.left_out == 2 * DAY - 120
    assert [task.agreement.n for task in cut.tasks] == [(120 + NIGHT) // 2]
    assert "all scored epochs of each recording" in markdown(whole)
    assert "from 30 min before the first epoch asleep to 30 min after the last; 1880 scored" in markdown(cut)


def test_time_goes_on_from_the_recordings_start() -> None:
    found = evaluate(PredictionSet((a_day(),), "always awake"), around_sleep_min=30)
    assert found.staging is not None
    assert found.staging.elapsed.first_minutes.epochs == 0


def test_a_night_without_sleep_counts_nothing_and_is_told() -> None:
    both = PredictionSet((a_day(), a_day("sleepless", sleeps=False)), "always awake")
    found = evaluate(both, around_sleep_min=30)
    assert found.counted.sleepless == 1
    assert "Nights without any sleep, of which nothing counts: 1." in markdown(found)
    assert found.staging is not None
    assert found.staging.epochs == 120 + NIGHT


def test_the_answers_are_the_same_and_a_comparison_is_cut_alike() -> None:
    before = PredictionSet((a_day(),), "always awake")
    after, _ = around_sleep(before, 10)
    assert np.array_equal(after.nights[0].probabilities, before.nights[0].probabilities)
    found = evaluate(before, before, around_sleep_min=30)
    assert found.comparison is not None
    assert found.comparison.epochs == 120 + NIGHT


@given(st.lists(st.integers(-1, 4), max_size=60), st.integers(0, 20))
def test_all_sleep_is_inside_and_what_is_inside_is_near_it(stages: list[int], minutes: int) -> None:
    inside = near_sleep(np.array(stages, np.int8), minutes)
    asleep = [i for i, stage in enumerate(stages) if stage > 0]
    for index, there in enumerate(inside):
        assert there == (bool(asleep) and asleep[0] - 2 * minutes <= index <= asleep[-1] + 2 * minutes)


def test_the_command_says_what_was_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_predictions(tmp_path / "p.parquet", PredictionSet((a_day(),), "always awake"))
    evaluate_command(tmp_path / "p.parquet", tmp_path / "cut", None, None, None, 1, False, 30.0)
    assert "accuracy 0.375" in (said := capsys.readouterr().out)
    assert "1880 scored epochs outside are left out" in said
