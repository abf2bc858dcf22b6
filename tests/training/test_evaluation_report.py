"""Evaluation from files to files: predictions are kept whole, damage is told, a report says whose figures it has."""

import json
import re
from contextlib import suppress
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hypnostream.errors import UserError
from hypnostream.training.evaluation.command import evaluate_command, write_report
from hypnostream.training.evaluation.markdown import interval, markdown
from hypnostream.training.evaluation.pictures import pictures
from hypnostream.training.evaluation.predictions import NightPrediction
from hypnostream.training.evaluation.report import evaluate
from hypnostream.training.evaluation.store import PredictionSet, read_predictions, write_predictions
from hypnostream.training.evaluation.subjects import Estimate

SILENT = 5


def a_night(
    index: int, epochs: int = 120, way: bool = True, every_s: int = 30, set_name: str = "UCDDB"
) -> NightPrediction:
    """A night of subject `index` // 2 that is staged not too badly; nothing is said of its third epoch."""
    rng = np.random.default_rng(index)
    reference = np.repeat(rng.integers(-1, 5, epochs // 10), 10).astype(np.int8)
    each = rng.dirichlet(np.ones(5), (epochs, 30)).astype(np.float32)
    each[np.arange(epochs), :, np.maximum(reference, 0)] += 0.35
    each /= each.sum(-1, keepdims=True)
    each[2] = np.nan
    count = epochs * 30 // every_s + 1  # the last answer begins behind the last staged epoch
    truth = rng.integers(-1, 2, count).astype(np.int8)
    said = np.where(rng.random(count) < 0.1, np.nan, rng.random(count)).astype(np.float32)
    return NightPrediction(
        name=f"night{index}",
        subject=f"{set_name}:{index // 2}",
        set_name=set_name,
        reference=reference,
        probabilities=each[:, -1].copy(),
        provisional=each if way else None,
        binary={"apnea": (truth, said)} if every_s else {},
        binary_s=every_s,
    )


def a_set(count: int = 4, model: str = "stager 0.1.0") -> PredictionSet:
    return PredictionSet(tuple(a_night(i) for i in range(count)), model)


def assert_same(one: NightPrediction, other: NightPrediction) -> None:
    assert (one.name, one.subject, one.set_name, one.binary_s) == (
        other.name,
        other.subject,
        other.set_name,
        other.binary_s,
    )
    np.testing.assert_array_equal(one.reference, other.reference)
    np.testing.assert_array_equal(one.probabilities, other.probabilities)
    assert (one.provisional is None) == (other.provisional is None)
    if one.provisional is not None and other.provisional is not None:
        np.testing.assert_array_equal(one.provisional, other.provisional)
    assert one.binary.keys() == other.binary.keys()
    for task, pair in one.binary.items():
        np.testing.assert_array_equal(pair[0], other.binary[task][0])
        np.testing.assert_array_equal(pair[1], other.binary[task][1])


@pytest.mark.parametrize("every_s", [1, 7, 30, 60])
def test_predictions_come_back_as_they_were(tmp_path: Path, every_s: int) -> None:
    nights = (a_night(0, every_s=every_s), a_night(1, way=False), a_night(2, every_s=every_s))
    unstaged = NightPrediction(
        "only apnea", "hugcdn:C1", "HuGCDN", np.zeros(0, np.int8), np.zeros((0, 5), np.float32),
        binary={"hypopnea": nights[0].binary["apnea"]}, binary_s=every_s,
    )  # fmt: skip
    written = PredictionSet((*nights, unstaged), "a model", causal=False)
    write_predictions(tmp_path / "p.parquet", written)
    found = read_predictions(tmp_path / "p.parquet")
    assert (found.model, found.causal) == ("a model", False)
    for one, other in zip(found.nights, written.nights, strict=True):
        assert_same(one, other)


def test_a_row_is_an_epoch_for_everyone(tmp_path: Path) -> None:
    write_predictions(tmp_path / "p.parquet", a_set(1))
    table = pq.read_table(tmp_path / "p.parquet")
    assert table.column("epoch").to_pylist() == list(range(121))
    assert table.column("p_W").null_count == 2  # the silent epoch, and the row that only an apnea answer has
    assert set(table.column("night").to_pylist()) == {"night0"}


def test_what_cannot_be_read_back_is_not_written(tmp_path: Path) -> None:
    good = a_night(0)
    wrong = NightPrediction("n", "s", "x", good.reference, good.probabilities * 2)
    with pytest.raises(UserError, match="night 'n'"):
        write_predictions(tmp_path / "p.parquet", PredictionSet((good, wrong), "m"))
    assert list(tmp_path.iterdir()) == []


def _changed(path: Path, column: str, row: int, value: object) -> None:
    """Write the file anew with another value in one place."""
    table = pq.read_table(path)
    columns = table.to_pydict()
    columns[column][row] = value
    pq.write_table(pa.Table.from_pydict(columns, schema=table.schema), path)


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("reference", 7, "reference stage"),
        ("reference", None, "without a reference"),
        ("p_W", 1.5, "between 0 and 1"),
        ("p_W", None, "not all"),
        ("epoch", 99, "in order"),
        ("binary_s", 0, "binary_s"),
        ("apnea_reference", [1, 0], "one answer each"),
        ("apnea_reference", [3], "0, 1 or -1"),
        ("apnea_probability", [1.5], "outside 0 to 1"),
        ("apnea_probability", None, "one answer each"),
        ("provisional", [0.2] * 150, "not the final answer"),
    ],
)
def test_values_that_mean_nothing_are_told(tmp_path: Path, column: str, value: object, reason: str) -> None:
    path = tmp_path / "p.parquet"
    write_predictions(path, a_set(1))
    _changed(path, column, 5, value)
    with pytest.raises(UserError, match=reason):
        read_predictions(path)


def test_another_parquet_or_no_parquet_is_told(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes(b"nothing")
    for name in ("a.parquet", "b.parquet", "absent.parquet"):
        with pytest.raises(UserError, match=re.escape(name)):
            read_predictions(tmp_path / name)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_a_damaged_file_is_told_or_harmless(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "p.parquet"
    if not path.exists():
        write_predictions(path, PredictionSet((a_night(0, epochs=20),), "m"))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "damaged.parquet").write_bytes(content)
    with suppress(UserError):  # and nothing else
        read_predictions(tmp_path / "damaged.parquet")


def test_a_report_says_what_whom_and_how_sure() -> None:
    nights = (*a_set().nights, *(a_night(i, set_name="simulated nights") for i in (10, 12)))
    report = evaluate(PredictionSet(nights, "stager 0.1.0"), PredictionSet(a_set().nights, "before"))
    said = markdown(report)
    assert "# stager 0.1.0, causal" in said
    assert "| UCDDB | real | 2 | 4 |" in said
    assert "| simulated nights | simulated | 2 | 2 |" in said
    assert "4 subjects it is rough" in said
    assert "epochs without an answer left out" in said
    assert "counted as wrong" in said
    assert "## Against before" in said
    assert re.search(r"\| W \| [01]\.\d{3} \[[01]\.\d{3}, [01]\.\d{3}\]", said)


def test_accuracy_of_a_task_stands_beside_the_majority_rate() -> None:
    said = markdown(evaluate(a_set()))
    tasks = said[said.index("## Apnea and hypopnea") :]
    heads = [line for line in tasks.splitlines() if "accuracy" in line and line.startswith("|")]
    assert heads
    assert all("majority rate" in line for line in heads)
    assert evaluate(a_set()).tasks[0].agreement.majority_rate is not None


def test_a_bidirectional_model_is_called_so() -> None:
    assert "bidirectional" in markdown(evaluate(PredictionSet(a_set().nights, "arm", causal=False))).splitlines()[0]


def test_a_name_from_outside_does_not_break_the_table() -> None:
    said = markdown(evaluate(PredictionSet(a_set().nights, "a|b\n# c")))
    assert "\n# c" not in said
    assert "a\\|b" in said


def test_a_figure_that_is_not_defined_is_a_dash_and_zero_has_no_sign() -> None:
    assert interval(Estimate(None)) == "–"
    assert interval(Estimate(-0.0001, -0.0002, 0.5)) == "0.000 [0.000, 0.500]"
    assert interval(Estimate(0.02), signed=True) == "+0.020"


def test_a_report_is_written_as_json_markdown_and_pictures(tmp_path: Path) -> None:
    write_predictions(tmp_path / "p.parquet", a_set())
    write_predictions(tmp_path / "q.parquet", a_set(model="before"))
    evaluate_command(tmp_path / "p.parquet", tmp_path / "out", None, None, tmp_path / "q.parquet", 1, False)
    content = json.loads((tmp_path / "out" / "report.json").read_text(), parse_constant=pytest.fail)
    assert content["staging"]["figures"]["kappa"].keys() == {"value", "low", "high"}
    assert content["comparison"]["difference"]["kappa"]["value"] == 0
    assert content["tasks"][0]["agreement"]["majority_rate"] > 0
    drawn = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    names = ["by_second", "confusion", "reliability", "since_start", "stage_bias", "subjects"]
    assert drawn == [f"{name}.png" for name in names]
    assert all((tmp_path / "out" / name).read_bytes().startswith(b"\x89PNG") for name in drawn)
    assert all(f"]({name})" in (tmp_path / "out" / "report.md").read_text() for name in drawn)


def test_nights_that_nobody_staged_still_have_a_report(tmp_path: Path) -> None:
    whole = a_night(0)
    unstaged = NightPrediction(
        "n", "s", "HuGCDN", np.zeros(0, np.int8), np.zeros((0, 5), np.float32), binary=whole.binary
    )
    report = evaluate(PredictionSet((unstaged,), "m"))
    assert report.staging is None
    assert report.provisional is None
    assert pictures(report) == {}
    write_report(report, tmp_path)
    assert "NaN" not in msgspec.json.encode(report).decode()


def test_one_night_without_an_answer_at_all_is_no_crash(tmp_path: Path) -> None:
    silent = NightPrediction("n", "s", "x", np.zeros(4, np.int8), np.full((4, 5), np.nan, np.float32),
                             provisional=np.full((4, 30, 5), np.nan, np.float32))  # fmt: skip
    report = evaluate(PredictionSet((silent,), "m"))
    write_report(report, tmp_path)
    assert report.staging is not None
    assert report.staging.figures["accuracy"].value is None
    assert report.staging.figures_all["accuracy"].value == 0


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="either"):
        evaluate_command(None, tmp_path, None, None, None, 1, False)
    with pytest.raises(UserError, match="either"):
        evaluate_command(tmp_path, tmp_path, None, tmp_path, None, 1, False)
    with pytest.raises(UserError, match="--bundle"):
        evaluate_command(tmp_path / "p.parquet", tmp_path, tmp_path, None, None, 1, False)
    with pytest.raises(UserError, match="no recording"):
        evaluate_command(None, tmp_path, None, tmp_path, None, 1, False)
